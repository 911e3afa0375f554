"""Exports are the same bytes in every process, and a pipeline made of one knows the classes by name."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, pipeline

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.data import Source
from autolora_bench.config.model import ModelConfig, PackageSource
from autolora_bench.config.task import (
    GenerationTask,
    HubSource,
    Layout,
    LocalSource,
    Protocol,
    Serialization,
    TableSource,
    TaggingTask,
)
from autolora_bench.data.table_layout import read_hub_table, read_table_layout
from autolora_bench.models import hub
from autolora_bench.models.export_folder import PublicName, public_name
from autolora_bench.models.export_reading import reading_of, table_columns, tags_reading, written_record
from autolora_bench.models.load import HeadKind
from autolora_bench.record import read_record
from autolora_bench.runner import run_experiment
from autolora_bench.tasks.generation.encode import Encoder
from autolora_bench.tasks.generation.records import serialize
from autolora_bench.tasks.generation.task import PairEncoder

ADAPTERS = """
import sys
from pathlib import Path
import peft
from transformers import AutoModelForSequenceClassification
from autolora_bench.models.export_folder import PublicName, _settle_adapter

layers = ["query", "key", "value", "attention.output.dense", "intermediate.dense"]
kinds = {
    "lora": peft.LoraConfig(task_type="SEQ_CLS", target_modules=layers, modules_to_save=["classifier"]),
    "ia3": peft.IA3Config(task_type="SEQ_CLS", target_modules=layers, feedforward_modules=layers[3:]),
}
for name, config in kinds.items():
    base = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
    folder = Path(sys.argv[2], name)
    peft.get_peft_model(base, config).save_pretrained(folder)
    _settle_adapter(folder / "adapter_config.json", PublicName("org/name", "main", "org/name"))
    print((folder / "adapter_config.json").read_text())
"""
TAGS = {
    "O",
    *(f"{mark}-{kind}" for mark in "BI" for kind in ("DNA", "protein", "cell_type", "cell_line", "RNA")),
}
SMALL = [
    "data=generated",
    "data.limit=24",
    "data.limit_evaluation=8",
    "train.epochs=1",
    "model=any",
    "device=cpu",
]


@pytest.mark.slow
def test_an_adapters_description_is_the_same_whatever_the_order_of_sets(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    found = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", ADAPTERS, str(tiny_encoder), str(tmp_path / seed)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        found.add(answer.stdout)
    assert len(found) == 1
    assert '"base_model_name_or_path": "org/name"' in found.pop()


@pytest.mark.parametrize(
    ("task", "method", "labels"),
    [
        ("cola", "dora", {"unacceptable", "acceptable"}),
        ("mnli", "full", {"entailment", "neutral", "contradiction"}),
        ("bionlp", "lora", TAGS),
    ],
)  # fmt: skip
@pytest.mark.sample(keep=("bionlp",))
def test_the_cards_lines_make_a_pipeline_that_names_the_classes(
    task: str, method: str, labels: set[str], tiny_encoder: Path, tmp_path: Path
) -> None:
    with composer():
        words = [*SMALL, f"task={task}", f"method={method}", f"model.checkpoint={tiny_encoder}"]
        experiment = to_experiment(compose_config(words))
    blank = tmp_path / "Client X"
    command = (
        f"autolora-bench task={task} method={method} model.checkpoint='{blank}/{tiny_encoder.name}' "
        f"'+results={blank}'"
    )
    record = run_experiment(experiment, tmp_path / "run", command, None)
    assert record.error is None, record.error
    export = tmp_path / "run/finetune/export"
    card = (export / "README.md").read_text()
    assert (
        f"\n    autolora-bench task={task} method={method} model.checkpoint=.../{tiny_encoder.name}\n" in card
    )
    assert f"fingerprint `{str(record.data['fingerprint'])[:16]}`" in card
    assert "Licence: none is granted here." in card
    assert str(tmp_path) not in card
    assert "Client X" not in card
    [code] = re.findall(r"```python\n(.*?)```", (export / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"FOLDER": str(export), "BASE": str(tiny_encoder)}
    exec(code, names)
    kind = "token-classification" if task == "bionlp" else "text-classification"
    answers = pipeline(kind, model=names["model"], tokenizer=names["tokenizer"])("the film is good")
    assert {answer.get("label") or answer.get("entity") for answer in answers} <= labels
    assert set(names["model"].config.id2label.values()) == labels
    assert read_record(tmp_path / "run/run.json").status.value == "completed"


PROMPTS = ["method=prompt_tuning", "method.virtual_tokens=3"]
POLY = ["method=peft", "method.type=POLY"]
MULTITASK = [
    *("method=peft", "method.type=MULTITASK_PROMPT_TUNING", "+method.settings.num_virtual_tokens=3"),
]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("decoder", ["task=bionlp", "method=lora"]),
        ("encoder", ["task=bionlp", *PROMPTS]),
        ("encoder", ["task=bionlp", *MULTITASK]),
        ("encoder", ["task=bionlp", *POLY]),
        ("encoder", ["task=rte", "method=lora", "task.max_length=12"]),
        ("encoder", ["task=rte", "task.max_length=12", *POLY]),
        ("encoder", ["task=sst2", *MULTITASK]),
    ],
    ids=["blanks", "prompt", "multitask", "poly", "pairs", "poly-pairs", "multitask-texts"],
)
@pytest.mark.sample(keep=("blanks", "multitask", "pairs", "poly-pairs"))
def test_the_cards_lines_read_an_input_as_the_run_did(
    kind: str, words: list[str], tiny_encoder: Path, tiny_decoder: Path, tmp_path: Path
) -> None:
    """The answers of the run, with their probabilities: words with the blanks before them, without outputs of virtual
    tokens, of pairs the task's first tokens."""
    base = tiny_decoder if kind == "decoder" else tiny_encoder
    with composer():
        small = [*SMALL, "method.learning_rate=2e-2", "train.batch_size=4", "train.warmup=0"]
        experiment = to_experiment(compose_config([*small, *words, f"model.checkpoint={base}"]))
    record = run_experiment(experiment, tmp_path / "run", "", None)
    assert record.error is None, record.error
    [code] = re.findall(
        r"```python\n(.*?)```", (tmp_path / "run/finetune/export/README.md").read_text(), re.DOTALL
    )
    names: dict[str, Any] = {"FOLDER": str(tmp_path / "run/finetune/export"), "BASE": str(base)}
    exec(code, names)
    file = min((tmp_path / "run/evaluate").glob("*.examples.jsonl"))
    examples = [json.loads(line) for line in file.read_text().splitlines()]
    longest = max(len(names["tokenizer"](*texts_of(one))["input_ids"]) for one in examples)
    assert longest > 12 or "task.max_length=12" not in words
    for example in examples:
        labels, chances = answers_of(code, names, example)
        assert labels == example["prediction"]
        assert chances == pytest.approx(example["probability"], abs=1e-4)


SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "tiny_encoder_decoder.py"
KEYS = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
SAMPLING = {"do_sample": True, "repetition_penalty": 1.7, "num_beams": 4, "min_new_tokens": 9}


def writer_in(folder: Path, kind: str, tiny_decoder: Path) -> Path:
    """A T5 or BART, or a decoder with sharper outputs that ends lines as often as it writes an `e`; generation settings
    of its own, as many published models have."""
    if kind == "decoder":
        shutil.copytree(tiny_decoder, folder)
        model, tokenizer = (
            AutoModelForCausalLM.from_pretrained(folder),
            AutoTokenizer.from_pretrained(folder),
        )
        [line], [often] = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("\n", "e"))
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(6 if weight.ndim == 2 else 1)
            model.lm_head.weight[line] = model.lm_head.weight[often] * 1.01
        model.save_pretrained(folder)
    else:
        folder.mkdir()
        runpy.run_path(str(SCRIPT))["save_tiny_encoder_decoder"](kind, folder)
    said = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(said | SAMPLING))
    return folder


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("decoder", ["method=lora", "task.decoding.no_repeat_ngram=2"]),
        ("decoder", ["method=full", "task.decoding.beams=1", "task.decoding.no_repeat_ngram=0"]),
        ("decoder", [*PROMPTS, "task.decoding.blank_line_ends=false"]),
        ("t5", ["method=lora"]),
        ("bart", ["method=full"]),
    ],
    ids=["decoder", "greedy", "prompt", "t5", "bart"],
)
@pytest.mark.sample(keep=("decoder",))
def test_the_cards_lines_write_what_the_run_wrote(
    kind: str, words: list[str], tiny_decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = writer_in(tmp_path / "base", kind, tiny_decoder)
    with composer():
        small = [*SMALL, "task=e2e", "task.metrics=[bleu]", "task.decoding.max_new_tokens=12"]
        few = ["task.decoding.beams=3", "task.epoch_records=1", "data.limit=4", "data.limit_evaluation=4"]
        rate = ["method.learning_rate=2e-2", "train.warmup=0"]
        experiment = to_experiment(compose_config([*small, *few, *rate, *words, f"model.checkpoint={base}"]))
    record = run_experiment(experiment, tmp_path / "run", "", None)
    assert record.error is None, record.error
    export = tmp_path / "run/finetune/export"
    [code] = re.findall(r"```python\n(.*?)```", (export / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"FOLDER": str(export), "BASE": str(base)}
    exec(code, names)
    written = [json.loads(line) for line in (tmp_path / "run/evaluate/test.jsonl").read_text().splitlines()]
    for one in written:
        fields = re.findall(r"(\w+)\[(.*?)\]", one["record"])
        names["record"] = " | ".join(f"{KEYS.get(key, key)} : {value}" for key, value in fields)
        capsys.readouterr()
        exec(code[code.index("\ntokens = ") :], names)
        assert capsys.readouterr().out == one["output"] + "\n"
    assert len({one["output"] for one in written}) > (kind == "decoder")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["task=e2e"], "name : Blue Spice | Type : pub | area : city centre"),
        (["task=webnlg", "task.serialization=plain"], "Aarhus_Airport | cityServed | Aarhus"),
    ],
)
def test_a_cards_record_has_the_form_that_the_run_read(words: list[str], expected: str) -> None:
    with composer():
        task = to_experiment(compose_config(["model=any", "method=lora", *words])).task
    assert isinstance(task, GenerationTask)
    for source in (Source.local, Source.hub, Source.generated):
        assert table_columns(task, source) == []
    assert written_record(task, []) == expected
    task.table = TableSource(inputs=["head", "body"], label="tail")
    assert table_columns(task, Source.files) == table_columns(task, Source.hub) == ["head", "body"]
    assert written_record(task, ["head", "body"]) == "head : ... | body : ..."


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("serialization", Serialization)
@pytest.mark.parametrize("text", [["eatType", "b c"], ["priceRange"], "eatType", None])
@pytest.mark.parametrize("source", [Source.local, Source.hub])
def test_a_declared_tables_card_has_the_record_that_the_run_read(
    source: Source, text: Any, serialization: Serialization, protocol: Protocol, tmp_path: Path
) -> None:
    """With `...` in every cell the run's own record is what the card shows."""
    columns = {"references": "out"} | ({} if text is None else {"text": text})
    table = tmp_path / "rows.csv"
    table.write_text("text,eatType,b c,priceRange,out\n...,...,...,...,it\n")
    with composer():
        experiment = to_experiment(compose_config(["task=e2e", "model=any", "method=lora"]))
    task = experiment.task
    assert isinstance(task, GenerationTask)
    task.serialization, task.protocol, experiment.data.source = serialization, protocol, source
    if source is Source.local:
        task.local = LocalSource(layout=Layout.csv, columns=columns)
        rows, _ = read_table_layout([table], task)
    else:
        task.hub = HubSource(path="a/b", layout=Layout.csv, columns=columns)
        rows, _ = read_hub_table([table], task, task.hub, "train")
    model = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=False))
    reading = reading_of(model, framed_letters("ab"), HeadKind.language_model, experiment, adapter=False)
    [record] = re.findall(r"^record = (.*)$", reading.lines, re.MULTILINE)
    assert json.loads(record) == serialize(rows["fields"][0], rows["text"][0], task)
    assert not any("The run read a record as" in note for note in reading.notes)
    told = any(f"values as {protocol.value}" in note for note in reading.notes)
    assert told == (serialization is Serialization.lora and protocol is Protocol.tokenized)
    experiment.data.source = Source.generated
    other = reading_of(model, framed_letters("ab"), HeadKind.language_model, experiment, adapter=False)
    assert "Blue Spice" in other.lines


def framed_letters(alphabet: str) -> PreTrainedTokenizerFast:
    """Of single letters, others have no token, between a begin and an end of text."""
    marks = ["<s>", "</s>", "<pad>"]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate([*marks, *alphabet])}, []))
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    names = dict(zip(("bos_token", "eos_token", "pad_token"), marks, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@pytest.mark.parametrize("alphabet", ["ACGT", "\u4e00\u4e01", "abc"])
@pytest.mark.parametrize("halves", [Encoder, PairEncoder])
def test_a_card_frames_a_record_as_the_run_did(halves: type[Encoder], alphabet: str) -> None:
    """Also where the record that the card shows has no token in the vocabulary, as one of DNA."""
    with composer():
        experiment = to_experiment(compose_config(["task=e2e", "model=any", "method=lora"]))
    both, tokenizer = halves is PairEncoder, framed_letters(alphabet)
    model = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=both, decoder_start_token_id=2))
    kind = HeadKind.text_to_text if both else HeadKind.language_model
    reading = reading_of(model, tokenizer, kind, experiment, adapter=False)
    [tokens] = re.findall(r"^tokens = (.*)$", reading.lines, re.MULTILINE)
    ids = tokenizer(alphabet, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(alphabet)
    assert isinstance(experiment.task, GenerationTask)
    expected = halves(experiment.task, tokenizer).framed(ids)
    assert eval(tokens, {"tokenizer": tokenizer, "record": alphabet}) == expected


def texts_of(example: dict[str, Any]) -> list[str]:
    columns = ("sentence", "sentence1", "sentence2")
    return [example[name] for name in columns if name in example] or [" ".join(example["tokens"])]


def answers_of(code: str, names: dict[str, Any], example: dict[str, Any]) -> tuple[Any, Any]:
    """What the lines say of an example in the place of their own, and the probabilities."""
    kinds = names["model"].config.id2label
    if "pipeline(" in code:
        answer = eval(code.splitlines()[-1], names)(
            dict(zip(("text", "text_pair"), texts_of(example), strict=False))
        )
        return answer["label"], answer["score"]
    lines = code[code.index("\ninputs = ") :]
    for column in ("sentence", "sentence1", "sentence2"):
        lines = lines.replace(f'"{column}"', repr(example.get(column)))
    exec(lines, names | (found := {"words": example.get("tokens")}), found)
    most, places = found["logits"][0].detach().softmax(-1).max(-1)
    if "tokens" not in example:
        return kinds[int(places)], float(most)
    word_ids = found["inputs"].word_ids()
    return list(found["tags"].values()), [
        float(most[word_ids.index(word)]) for word in range(len(example["tokens"]))
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["task.max_length=64"], "in windows of at most 64 tokens, cut between words, sharing 32 of them;"),
        (["task.max_length=40", "task.stride=0"], "in windows of at most 40 tokens, cut between words;"),
        (["task.long=truncate"], "the words within the first 256 tokens, and tagged the others O;"),
    ],
)
def test_a_taggers_card_tells_how_long_sentences_were_read(words: list[str], expected: str) -> None:
    with composer():
        task = to_experiment(compose_config(["task=bionlp", "model=any", "method=lora", *words])).task
    assert isinstance(task, TaggingTask)
    [note] = tags_reading(task, "", 0, blank=False).notes
    assert expected in note


def test_a_card_offers_no_lines_for_a_network_that_nothing_loads(tmp_path: Path) -> None:
    words = [
        "task=planted",
        "data=planted",
        "model=small",
        "method=lora",
        "task.mode=size",
        "train.max_steps=1",
    ]
    with composer():
        experiment = to_experiment(compose_config([*words, "device=cpu", "train.epochs=1"]))
    record = run_experiment(experiment, tmp_path / "run", "autolora-bench task=planted model=small", None)
    assert record.error is None, record.error
    card = (tmp_path / "run/finetune/export/README.md").read_text()
    assert "```" not in card
    assert "No library loads this network of random weights: the command above makes it again." in card


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ModelConfig("any", checkpoint="org/name", revision="v1"), PublicName("org/name", "v1", "org/name")),
        (
            ModelConfig("x", hub="org/name", path="{f}", revision="v1"),
            PublicName("org/name", "v1", "org/name"),
        ),
        (ModelConfig("any", checkpoint="{f}"), PublicName(None, None, "weights")),
        (
            ModelConfig("x", hub="org/name", package=PackageSource(["nowhere"], "1", folder="a")),
            PublicName("org/name", None, "org/name"),
        ),
    ],
)
def test_how_others_name_a_model(
    model: ModelConfig, expected: PublicName, tmp_path: Path, tiny_encoder: Path
) -> None:
    (tmp_path / "weights").symlink_to(tiny_encoder)
    for name in ("checkpoint", "path"):
        if getattr(model, name):
            setattr(model, name, getattr(model, name).replace("{f}", str(tmp_path / "weights")))
    assert public_name(model) == expected


def test_an_adapter_names_the_commit_that_it_was_trained_on(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = shutil.copytree(tiny_encoder, tmp_path / commit)
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(folder))
    with composer():
        words = [*SMALL, "task=cola", "method=lora", "model.checkpoint=org/name"]
        experiment = to_experiment(compose_config(words))
    record = run_experiment(experiment, tmp_path / "run", "", None)
    assert record.error is None, record.error
    export = tmp_path / "run/finetune/export"
    said = json.loads((export / "adapter_config.json").read_text())
    assert (said["base_model_name_or_path"], said["revision"]) == ("org/name", commit)
    assert f"revision='{commit}'" in (export / "README.md").read_text()
