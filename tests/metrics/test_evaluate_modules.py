"""Every metric as a module of `evaluate`: equal to its pure function, in batches, combined, without the network."""

import json
import math
import random
import socket
import subprocess
import sys
from itertools import zip_longest

import numpy as np
import pandas as pd
import pytest

import autolora_bench
from autolora_bench import load_metric
from autolora_bench.errors import UserError
from autolora_bench.metrics import evaluate_modules
from autolora_bench.metrics.classification import FUNCTIONS, GLUE_CLASSES, GLUE_METRICS, score_classification
from autolora_bench.metrics.generation.bleu import bleu
from autolora_bench.metrics.generation.captions import cider, rouge_l, rouge_l_google
from autolora_bench.metrics.generation.e2e import E2E_METRICS, OPTIONAL_METRICS, score_e2e
from autolora_bench.metrics.generation.mteval import MtevalMode
from autolora_bench.metrics.generation.nist import nist
from autolora_bench.metrics.generation.ter import ter
from autolora_bench.metrics.generation.webnlg import (
    WEBNLG_METRICS,
    WebnlgProtocol,
    pad_references,
    score_webnlg,
)
from autolora_bench.metrics.registry import METRICS
from autolora_bench.metrics.tagging import TAGGING_METRICS, score_tagging
from autolora_bench.scoring.tags import read_tags
from autolora_bench.scoring.texts import read_e2e

OUTPUTS = [
    "The Mill is a cheap pub near the river.",
    "a b",
    "",
    "It's £20 - 25 and child friendly, isn't it?",
]
REFERENCES = [
    ["The Mill is a cheap pub by the river.", "Near the river there is a pub, The Mill."],
    ["a b c d e"],
    ["not silent", "never silent"],
    ["It is £20-25 and child friendly.", "Child friendly, it costs £20-25.", "It's child friendly."],
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "evaluate_cache"))


@pytest.fixture
def offline(monkeypatch):
    """Every attempt to reach another machine fails at once."""

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def in_batches(module, predictions, references, **options):
    """What a loop gets that adds two examples at a time, and the last one by itself."""
    for start in range(0, len(predictions) - 1, 2):
        end = min(start + 2, len(predictions) - 1)
        module.add_batch(predictions=predictions[start:end], references=references[start:end])
    module.add(prediction=predictions[-1], reference=references[-1])
    return module.compute(**options)


def equal(found, wanted):
    assert set(found) == {*wanted.values, *wanted.missing}
    assert {name: found[name] for name in wanted.values} == wanted.values
    assert all(math.isnan(found[name]) for name in wanted.missing)


def test_every_metric_and_every_benchmark_has_a_module():
    metrics = {*FUNCTIONS, *TAGGING_METRICS, *E2E_METRICS, *OPTIONAL_METRICS, *WEBNLG_METRICS}
    names = {*metrics, *GLUE_METRICS, "e2e", "webnlg", "bionlp", "tagging", "classification"}
    assert metrics <= set(METRICS)
    assert names <= set(evaluate_modules.DEFINITIONS)
    for name in evaluate_modules.DEFINITIONS:
        module = load_metric(name)
        assert module.name == name
        assert module.description


@pytest.mark.parametrize("mode", MtevalMode)
def test_e2e_in_each_mode(mode, offline):
    wanted = score_e2e(OUTPUTS, REFERENCES, mode, ["nist", "bleu", "rouge_l_google"])
    module = load_metric("e2e", mode=mode, metrics=["nist", "bleu", "rouge_l_google"])
    equal(in_batches(module, OUTPUTS, REFERENCES), wanted)
    later = load_metric("e2e").compute(
        predictions=OUTPUTS, references=REFERENCES, mode=str(mode), metrics=["nist", "bleu", "rouge_l_google"]
    )
    equal(later, wanted)


def test_all_five_of_e2e(java, offline):
    equal(in_batches(load_metric("e2e"), OUTPUTS, REFERENCES), score_e2e(OUTPUTS, REFERENCES))


@pytest.mark.parametrize("case", ["e2e_1_official_example", "e2e_4_edge_short_and_empty"])
def test_official_cases_of_e2e(case, case_folder, expected):
    outputs, references = read_e2e(case_folder(case) / "hypotheses.txt", case_folder(case) / "references.txt")
    found = in_batches(load_metric("e2e", mode="pymteval", metrics=["bleu", "nist"]), outputs, references)
    truth = expected(case)["expected"]
    assert found == pytest.approx({"bleu": truth["BLEU"], "nist": truth["NIST"]}, abs=1e-6)


@pytest.mark.parametrize("protocol", WebnlgProtocol)
def test_webnlg_with_and_without_categories(protocol, offline):
    padded = [pad_references(texts, protocol) for texts in REFERENCES]
    metrics = ["bleu", "ter"]
    for categories in (None, ["Food", "Airport", "Artist", "Food"]):
        wanted = score_webnlg(OUTPUTS, padded, categories, protocol, metrics)
        module = load_metric("webnlg", protocol=protocol, metrics=metrics)
        equal(in_batches(module, OUTPUTS, REFERENCES, categories=categories), wanted)


def test_webnlg_with_meteor(java):
    padded = [pad_references(texts, WebnlgProtocol.GENERATION_EVAL) for texts in REFERENCES]
    equal(in_batches(load_metric("webnlg"), OUTPUTS, REFERENCES), score_webnlg(OUTPUTS, padded))


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("bleu", bleu, {}),
        ("bleu", bleu, {"lowercase": True, "tokenizer": "none"}),
        ("nist", nist, {"mode": MtevalMode.PERL}),
        ("rouge_l", rouge_l, {}),
        ("rouge_l_google", rouge_l_google, {}),
        ("cider", cider, {}),
        ("ter", ter, {}),
    ],
)
def test_metrics_of_texts(name, function, options, offline):
    wanted = {name: function(OUTPUTS, REFERENCES, **options)}
    assert in_batches(load_metric(name, **options), OUTPUTS, REFERENCES) == wanted
    single = [texts[0] for texts in REFERENCES]
    assert in_batches(load_metric(name, **options), OUTPUTS, single) == {
        name: function(OUTPUTS, [[text] for text in single], **options)
    }


@pytest.mark.parametrize("case", ["ner_1_wellformed", "ner_3_malformed_both"])
def test_entities(case, case_folder, expected):
    predicted, gold = read_tags(case_folder(case) / "data.conll", None)
    wanted = score_tagging(predicted, gold)
    for name in ("bionlp", "tagging"):
        equal(in_batches(load_metric(name), predicted, gold), wanted)
    found = load_metric("recall").compute(predictions=predicted, references=gold)
    assert found["recall"] == pytest.approx(expected(case)["recall"], abs=1e-6)
    assert all(name.startswith("recall") for name in found)


def test_official_cases_of_glue(case_folder, expected, offline):
    data = {c["name"]: c for c in json.loads((case_folder("glue_2_acc_f1") / "data.json").read_text())}
    for case in expected("glue_2_acc_f1")["cases"]:
        predictions, labels = data[case["name"]]["predictions"], data[case["name"]]["labels"]
        module = load_metric(case["task"])
        assert in_batches(module, predictions, labels) == pytest.approx(case["expected"], abs=1e-6)


@pytest.mark.parametrize("task", GLUE_METRICS)
def test_glue_is_the_pure_function(task):
    predictions, labels = drawn(task)
    wanted = score_classification(predictions, labels, GLUE_METRICS[task])
    equal(in_batches(load_metric(task), predictions, labels), wanted)
    for name in GLUE_METRICS[task]:
        assert load_metric(name).compute(predictions=predictions, references=labels) == {
            name: FUNCTIONS[name](predictions, labels)
        }


def drawn(task):
    rng = random.Random(task)
    if task == "stsb":
        return [rng.uniform(-1, 6) for _ in range(99)], [rng.uniform(0, 5) for _ in range(99)]
    classes = range(len(GLUE_CLASSES[task]))
    return [rng.choice(classes) for _ in range(99)], [rng.choice(classes) for _ in range(99)]


def test_classes_by_name_and_what_is_no_class():
    two = {"predictions": ["equivalent", "equivalent", "not_equivalent"], "references": ["equivalent"] * 3}
    assert load_metric("mrpc").compute(**two) == pytest.approx({"accuracy": 2 / 3, "f1": 0.8})
    with pytest.raises(UserError, match="'x' is no class of the task"):
        load_metric("rte").compute(predictions=["x"], references=["entailment"])
    for classes in (["equivalent"], [2]):
        with pytest.raises(UserError, match="f1 needs the classes 0 and 1"):
            load_metric("f1").compute(predictions=classes, references=classes)
    own = load_metric("classification", metrics=["matthews_correlation"])
    assert own.compute(predictions=["a", "b", "c"], references=["a", "b", "c"]) == {
        "matthews_correlation": 1.0
    }
    with pytest.raises(UserError, match=r"0\.7 is not a class"):
        load_metric("accuracy").compute(predictions=[0.7, 1], references=[1, 1])
    with pytest.raises(UserError, match="needs metrics="):
        load_metric("classification").compute(predictions=[1], references=[1])


def test_what_is_no_tag_and_no_metric_of_tags():
    tags = {"predictions": [["B-a", "I-a", "O"]], "references": [["B-a", "O", "O"]]}
    assert load_metric("tagging", metrics=["f1"]).compute(**tags) == {"f1": 0.0, "f1/a": 0.0}
    with pytest.raises(UserError, match="f2 is no metric of tags"):
        load_metric("tagging", metrics=["f2"]).compute(**tags)
    with pytest.raises(UserError, match="'1' is not a tag"):
        load_metric("tagging").compute(predictions=[["1"]], references=[["O"]])


def test_an_undefined_score_is_nan_and_the_log_says_why(caplog):
    found = load_metric("stsb").compute(predictions=[2.5, 2.5], references=[1, 2])
    assert all(math.isnan(value) for value in found.values())
    assert "pearson: undefined" in caplog.text


@pytest.mark.parametrize(
    ("name", "one"), [("mrpc", 1), ("stsb", 1.5), ("tagging", ["O"]), ("bleu", "a b c d"), ("e2e", "a")]
)
def test_nothing_to_score(name, one):
    """Whatever is empty adds nothing, and is no score."""
    for memory in (False, True):
        with pytest.raises(UserError, match="nothing to score"):
            load_metric(name, keep_in_memory=memory).compute()
        with pytest.raises(UserError, match="nothing to score"):
            load_metric(name, keep_in_memory=memory).compute(predictions=[], references=[])
    module = load_metric(name)
    module.add_batch(predictions=[], references=[])
    with pytest.raises(UserError, match="nothing to score"):
        module.compute()
    with pytest.raises(UserError, match="0 predictions for 1 labels"):
        module.add_batch(predictions=[], references=[one])


def test_an_empty_batch_before_others():
    module = load_metric("mrpc")
    module.add_batch(predictions=[], references=[])
    assert in_batches(module, [1, 0, 1], [1, 1, 1]) == pytest.approx({"accuracy": 2 / 3, "f1": 0.8})
    with pytest.raises(UserError, match="nothing to score"):
        module.compute()


def test_combined_with_others(offline):
    import evaluate

    both = evaluate.combine([load_metric("e2e", metrics=["bleu", "nist"]), load_metric("rouge_l_google")])
    for output, references in zip(OUTPUTS, REFERENCES, strict=True):
        both.add_batch(predictions=[output], references=[references])
    wanted = score_e2e(OUTPUTS, REFERENCES, metrics=["bleu", "nist", "rouge_l_google"]).values
    assert both.compute() == wanted
    for output, references in zip(OUTPUTS, REFERENCES, strict=True):
        both.add(prediction=output, reference=references)
    assert both.compute() == wanted
    named = evaluate.combine({"raw": load_metric("bleu"), "low": load_metric("bleu", lowercase=True)})
    assert named.compute(predictions=OUTPUTS, references=REFERENCES) == {
        "raw_bleu": bleu(OUTPUTS, REFERENCES),
        "low_bleu": bleu(OUTPUTS, REFERENCES, lowercase=True),
    }


def test_options_of_evaluate_are_passed_on(tmp_path):
    module = load_metric("rte", keep_in_memory=True, cache_dir=str(tmp_path), experiment_id="mine")
    assert in_batches(module, [1, 0, 1], [1, 1, 1]) == {"accuracy": 2 / 3}
    assert module.experiment_id == "mine"


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("e2f", {}, "there is no metric 'e2f'"),
        ("E2E", {}, "there is no metric 'E2E'"),
        ("rte", {"mode": "perl"}, "the metric rte has no option 'mode'"),
        ("e2e", {"protocol": "x"}, "the metric e2e has no option 'protocol'"),
    ],
)
def test_unknown_names_and_options_are_refused(name, options, what):
    with pytest.raises(UserError, match=what) as caught:
        load_metric(name, **options)
    assert caught.value.mend


def test_inputs_that_cannot_be_scored_are_refused():
    module = load_metric("e2e", mode="fast", metrics=["bleu"])
    with pytest.raises(UserError, match="mode=fast is unknown"):
        module.compute(predictions=["a"], references=[["a"]])
    with pytest.raises(UserError, match="segment 1 has no reference"):
        load_metric("bleu").compute(predictions=["a"], references=[[""]])
    assert load_metric("bleu").compute(predictions=["a b c d"], references=["a b c d"])["bleu"] > 0.99


@pytest.mark.parametrize(
    ("name", "predictions", "references", "what"),
    [
        ("mrpc", ["equivalent"], [1], "predictions of type str with references of type int"),
        ("mrpc", [1, "equivalent"], [1, 0], "predictions of type int and str with references of type int"),
        ("stsb", ["x"], [1.0], "predictions of type str with references of type float"),
        ("bleu", ["a"], [[1]], "example 1: a reference is of type int"),
        ("bleu", ["a", ["b"]], ["a", "b"], "example 2: its prediction is of type list"),
        ("bleu", ["a", None], ["a", "b"], "example 2: its prediction is of type NoneType"),
        ("bleu", ["a", math.nan], ["a", "b"], "example 2: its prediction is of type float"),
        ("e2e", ["a", "b"], [["a"], {"text": ["b"]}], "example 2: a reference is of type dict"),
        ("e2e", ["a", "b"], [["a"], ["b", None]], "example 2: a reference is of type NoneType"),
        ("webnlg", ["a", "b"], [["a"], ["b", math.nan]], "example 2: a reference is of type float"),
        ("cider", ["a", "b"], [["a"], [["b", "c"]]], "example 2: a reference is of type list"),
        ("bleu", ["a", "b"], ["a", None], "example 2: a reference is of type NoneType"),
        ("bleu", "ab", ["a", "b"], "predictions are given as one value of type str"),
        ("accuracy", "01", "01", "predictions are given as one value of type str"),
        ("bleu", ["a"], iter(["a"]), "references are given as one value of type list_iterator"),
        ("bleu", {"a", "b"}, ["a", "b"], "predictions are given as one value of type set"),
        ("bleu", ["a"], pd.DataFrame({"a": ["b"]}), "references are given as one value of type DataFrame"),
        ("bleu", {"a": "b"}, ["b"], "predictions are given as one value of type dict"),
        ("tagging", ["O"], ["O"], "predictions of type str"),
        ("accuracy", [1], None, "was given no references"),
    ],
)
def test_what_a_metric_does_not_take_is_two_lines(name, predictions, references, what):
    with pytest.raises(UserError, match=what) as caught:
        load_metric(name).compute(predictions=predictions, references=references)
    assert caught.value.mend
    assert "\n" not in caught.value.what + caught.value.mend


MIXED = [REFERENCES[0], REFERENCES[1][0], REFERENCES[2], REFERENCES[3]]


@pytest.mark.parametrize(
    "references",
    [
        MIXED,
        tuple(tuple(texts) for texts in REFERENCES),
        [np.array(texts) for texts in REFERENCES],
        pd.Series(MIXED, index=[7, 5, 3, 1]),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_one_reference_or_several_in_any_usual_form_and_order(references, turn):
    """sacrebleu's own value: `evaluate` writes a list as Python shows it where the first reference is a text."""
    from sacrebleu import corpus_bleu

    streams = list(zip_longest(*REFERENCES))
    wanted = corpus_bleu(OUTPUTS, streams, smooth_method="none", force=True).score / 100
    given = references[::turn]
    for found in (
        load_metric("bleu").compute(predictions=OUTPUTS[::turn], references=given),
        in_batches(load_metric("bleu"), OUTPUTS[::turn], list(given)),
    ):
        assert found == {"bleu": pytest.approx(wanted)}
    outputs = pd.Series(OUTPUTS[::turn], index=[7, 5, 3, 1])
    nist_of = load_metric("e2e", metrics="nist").compute(predictions=outputs, references=given)
    assert nist_of == {"nist": pytest.approx(nist(OUTPUTS, REFERENCES))}


def test_a_batch_that_is_refused_adds_nothing():
    module = load_metric("bleu")
    for refused in ([REFERENCES[0], {"text": "x"}], [REFERENCES[0], None]):
        with pytest.raises(UserError, match="example 2"):
            module.add_batch(predictions=OUTPUTS[:2], references=refused)
    with pytest.raises(UserError, match="a reference is of type NoneType"):
        module.add(prediction="a", reference=None)
    assert in_batches(module, OUTPUTS, REFERENCES) == {"bleu": bleu(OUTPUTS, REFERENCES)}


def test_metrics_may_be_one_name_and_must_be_one():
    text = {"predictions": OUTPUTS, "references": REFERENCES}
    wanted = {"bleu": bleu(OUTPUTS, REFERENCES, lowercase=True)}
    assert load_metric("e2e", metrics="bleu").compute(**text) == wanted
    assert load_metric("e2e").compute(**text, metrics=("bleu",)) == wanted
    assert load_metric("e2e", metrics=np.array(["bleu"])).compute(**text) == wanted
    assert load_metric("e2e", metrics=iter(["bleu"])).compute(**text) == wanted
    for name in ("e2e", "webnlg", "tagging", "classification"):
        with pytest.raises(UserError, match=f"{name} needs the names of its metrics"):
            load_metric(name, metrics=[])


@pytest.mark.parametrize("odd", [None, "", " ", math.nan])
def test_a_category_is_a_name(odd):
    text = {"predictions": ["a", "b"], "references": ["a", "b"]}
    with pytest.raises(UserError, match="category 2 is"):
        load_metric("webnlg", metrics=["ter"]).compute(**text, categories=["Food", odd])
    with pytest.raises(UserError, match="categories are one text"):
        load_metric("webnlg", metrics=["ter"]).compute(**text, categories="AB")


def test_one_value_is_no_column_and_a_row_may_be_called_columns():
    with pytest.raises(UserError, match="predictions are given as one value"):
        load_metric("rte").compute(predictions=np.array(1), references=np.array(1))
    named = pd.Series(OUTPUTS, index=["columns", *range(1, len(OUTPUTS))])
    assert load_metric("bleu").compute(predictions=named, references=REFERENCES) == load_metric(
        "bleu"
    ).compute(predictions=OUTPUTS, references=REFERENCES)


def test_one_by_one_all_are_of_one_kind():
    module = load_metric("mrpc")
    with pytest.raises(UserError, match="predictions of type str with references of type int"):
        module.add(prediction="equivalent", reference=1)
    module.add(prediction=1, reference=1)
    with pytest.raises(UserError, match="after what was added before"):
        module.add(prediction="equivalent", reference="equivalent")
    module.add(prediction=0, reference=1)
    assert module.compute() == pytest.approx({"accuracy": 0.5, "f1": 2 / 3})


def test_a_tokenizer_of_bleu_is_one_of_sacrebleus(monkeypatch):
    from sacrebleu.metrics import bleu as module

    text = {"predictions": ["a b c d"], "references": ["a b c d"]}
    with pytest.raises(UserError, match="tokenizer=nope is unknown") as caught:
        load_metric("bleu", tokenizer="nope").compute(**text)
    assert "13a" in caught.value.mend
    monkeypatch.setattr(module, "_get_tokenizer", lambda _: (_ for _ in ()).throw(RuntimeError("\npip x\n")))
    with pytest.raises(UserError, match="tokenizer=ja-mecab cannot be had here: pip x"):
        load_metric("bleu", tokenizer="ja-mecab").compute(**text)


@pytest.mark.slow
def test_the_package_and_its_command_start_without_evaluate_and_pandas():
    code = (
        "import sys, autolora_bench, autolora_bench.cli as cli; cli.run(['ls', 'methods']); cli.run(['score']);"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"evaluate", "pandas", "datasets", "torch"}
    with pytest.raises(AttributeError):
        autolora_bench.load_metrics  # noqa: B018


@pytest.mark.network
@pytest.mark.parametrize("task", GLUE_METRICS)
def test_glue_is_the_hubs_own(task):
    import evaluate

    theirs = evaluate.load("glue", {"mnli_mm": "mnli_mismatched"}.get(task, task))
    predictions, labels = drawn(task)
    wanted = {
        {"spearmanr": "spearman"}.get(name, name): value
        for name, value in theirs.compute(predictions=predictions, references=labels).items()
    }
    found = load_metric(task).compute(predictions=predictions, references=labels)
    assert found == pytest.approx(wanted, abs=1e-6)
