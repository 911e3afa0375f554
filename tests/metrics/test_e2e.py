import pytest

from autolora_bench.errors import UserError
from autolora_bench.metrics.generation.e2e import E2E_METRICS, score_e2e
from autolora_bench.metrics.generation.mteval import MtevalMode
from autolora_bench.scoring.score import score
from autolora_bench.scoring.texts import read_e2e

CASES = ["e2e_1_official_example", "e2e_4_edge_short_and_empty"]
OFFICIAL = {"bleu": "BLEU", "nist": "NIST", "meteor": "METEOR", "rouge_l": "ROUGE_L", "cider": "CIDEr"}


@pytest.mark.parametrize("case", CASES)
def test_python_mode_equals_the_official_scorer_in_all_five(case, metric_cases, expected, java):
    truth, folder = expected(case), metric_cases / case
    arguments = {
        "task": "e2e",
        "predictions": f"{folder}/hypotheses.txt",
        "references": f"{folder}/references.txt",
    }
    report = score({**arguments, "mode": "pymteval"})
    assert report["scores"] == pytest.approx(
        {m: truth["expected"][name] for m, name in OFFICIAL.items()}, abs=1e-6
    )
    assert (report["n"], report["references"], report["mode"]) == (truth["n"], truth["n_refs"], "pymteval")
    assert report["missing"] == {}


@pytest.mark.parametrize("case", CASES)
def test_perl_mode_equals_the_official_scorer(case, metric_cases, expected):
    truth = expected(case)
    files = read_e2e(metric_cases / case / "hypotheses.txt", metric_cases / case / "references.txt")
    values = score_e2e(*files, MtevalMode.PERL, ["bleu", "nist"]).values
    for name, value in truth["perl_mode_4_decimals"].items():
        assert values[name.lower()] == pytest.approx(value, abs=truth["perl_tolerance_abs"])


def test_default_is_the_clean_value(metric_cases, expected, java):
    folder = metric_cases / CASES[1]
    clean, truth = expected(CASES[1])["clean_variant"], expected(CASES[1])["expected"]
    report = score(
        {"task": "e2e", "predictions": f"{folder}/hypotheses.txt", "references": f"{folder}/references.txt"}
    )
    assert report["mode"] == "clean"
    assert report["scores"]["bleu"] == pytest.approx(clean["BLEU"], abs=1e-6)
    assert report["scores"]["nist"] == pytest.approx(clean["NIST_pymteval_length_term"], abs=1e-6)
    for name in ("meteor", "rouge_l", "cider"):
        assert report["scores"][name] == pytest.approx(truth[OFFICIAL[name]], abs=1e-6)


def test_on_ordinary_outputs_the_clean_value_is_the_official_one(metric_cases, expected):
    files = read_e2e(metric_cases / CASES[0] / "hypotheses.txt", metric_cases / CASES[0] / "references.txt")
    truth = expected(CASES[0])["expected"]
    values = score_e2e(*files, metrics=["bleu", "nist"]).values
    assert values == pytest.approx({"bleu": truth["BLEU"], "nist": truth["NIST"]}, abs=1e-9)


def test_without_java_the_other_metrics_are_still_computed(fake_java):
    fake_java("echo the machine has no memory >&2; exit 3")
    scores = score_e2e(["a b c d"], [["a b c d"]], metrics=[*E2E_METRICS, "rouge_l_google"])
    assert scores.values["bleu"] == pytest.approx(1.0)
    assert scores.values["nist"] == pytest.approx(2.0)
    assert scores.values["rouge_l_google"] == 1.0
    assert set(scores.missing) == {"meteor", "rouge_l", "cider"}
    assert all("the machine has no memory" in reason for reason in scores.missing.values())


def test_all_outputs_empty(java):
    scores = score_e2e(["", "  "], [["The Eagle is cheap."], ["Zizzi sells sushi.", "Sushi at Zizzi."]])
    assert scores.missing == {}
    assert scores.values == dict.fromkeys(E2E_METRICS, 0.0)


def test_one_segment_with_one_reference(java):
    values = score_e2e(["Zizzi sells good sushi."], [["Zizzi sells good sushi."]]).values
    assert values["bleu"] == pytest.approx(1.0)
    assert values["meteor"] == pytest.approx(1.0)
    assert values["rouge_l"] == pytest.approx(1.0)
    assert values["cider"] == 0.0  # one segment has no idf


def test_unknown_metric_is_refused():
    with pytest.raises(UserError, match="ter"):
        score_e2e(["a"], [["a"]], metrics=["ter"])


def test_blank_references_that_fill_up_a_list_count_for_nothing(java):
    """BLEU would take their length for the closest, CIDEr their zero into its mean."""
    outputs, references = (
        ["The Mill is a", "Zizzi, a"],
        ["The Mill is a cheap pub.", "Zizzi, a café, sells sushi."],
    )
    for mode in MtevalMode:
        wanted = score_e2e(outputs, [[text] for text in references], mode)
        assert score_e2e(outputs, [[text, "", "  "] for text in references], mode) == wanted
    with pytest.raises(UserError, match="segment 2 has no reference"):
        score_e2e(outputs, [["a"], ["", " "]])
