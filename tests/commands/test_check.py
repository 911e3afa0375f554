"""`check` finds what a run refuses, in the same words, without torch; and says how long runs will take."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from autolora_bench import cli
from autolora_bench.commands.duration import in_words
from autolora_bench.provenance import provenance
from autolora_bench.record import PhaseRecord, RunRecord, Status, read_record, write_record
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan
from autolora_bench.tables import download

SMALL = (
    "data=generated",
    "data.limit=16",
    "data.limit_evaluation=4",
    "train.epochs=1",
    "device=cpu",
    "model=any",
)


def edit(name: str, **changes: object) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        said = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**said, **changes}))

    return write


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:100])


def shards(folder: Path) -> None:
    """Weights in two files, one of which is not there."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "one.safetensors")
    places = {name: f"{'one' if place else 'two'}.safetensors" for place, name in enumerate(tensors)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (None, ["model.targets=[nothing]"], "no linear layer of 'any' is called 'nothing'"),
        (None, ["method=full", "model.targets=[nothing]"], "no linear layer of 'any' is called 'nothing'"),
        (
            None,
            ["method=monarch", "method.blocks=5"],
            "5 blocks do not divide encoder.layer.0.attention.self.query, a layer of",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), [], "config.json: Expecting"),
        (edit("config.json", model_type="odd"), [], "model_type 'odd' is no architecture"),
        (cut("model.safetensors"), [], "model.safetensors: Error while deserializing"),
        (lambda folder: (folder / "model.safetensors").unlink(), [], "there is no model.safetensors"),
        (shards, [], "there is no two.safetensors"),
        (cut("tokenizer.json"), [], "tokenizer.json: "),
        (lambda folder: (folder / "tokenizer.json").unlink(), [], "has no tokenizer"),
    ],
)  # fmt: skip
@pytest.mark.sample(keep=("words0", "words1", "words3", "words5", "words7"))
def test_check_says_what_the_run_says(
    change: Callable[[Path], object] | None,
    words: list[str],
    said: str,
    tiny_encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "model")
    if change is not None:
        change(tmp_path / "model")
    line = [
        "task=rte",
        "method=lora",
        *SMALL,
        f"model.checkpoint={tmp_path / 'model'}",
        f"results={tmp_path}",
        *words,
    ]
    assert cli.run(["check", *line]) == 2
    checked = capsys.readouterr().out
    [found] = [
        text.removeprefix("missing: ") for text in checked.splitlines() if text.startswith("missing: ")
    ]
    assert said in found
    assert "1 runs, 1 problems" in checked
    assert cli.run(line) == 2
    ran = capsys.readouterr().err
    what, _, mend = found.rpartition(" (")
    assert f"failed: {what}\n{mend.removesuffix(')')}\n" in ran


@pytest.mark.parametrize(
    ("architecture", "word", "said"),
    [
        ("bert", "task=e2e", "task=e2e is to write text, and a bert model is an encoder, which cannot"),
        (
            "albert",
            "train.padding_free=true",
            "train.padding_free=true does not work with the architecture albert",
        ),
    ],
)
def test_what_a_folders_architecture_rules_out_is_refused_before_anything_is_read(
    architecture: str, word: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": architecture}))
    line = ["task=rte", "method=lora", *SMALL, f"model.checkpoint={tmp_path}", f"results={tmp_path}", word]
    for words in (["check", *line], line):
        assert cli.run(words) == 2
        assert capsys.readouterr().err.startswith(f"autolora-bench: {said}")


@pytest.mark.parametrize("method", ["lora_from_ranks", "lora_shuffled_ranks", "lora_random_ranks"])
def test_ranks_of_another_model(
    method: str, tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = json.loads((tiny_encoder / "config.json").read_text())["num_hidden_layers"]
    words = ["task=rte", f"method={method}", f"method.source={tmp_path / 'ranks.csv'}", *SMALL]
    words += [f"model.checkpoint={tiny_encoder}", f"results={tmp_path}"]
    for more, status in ((0, 0), (1, 2)):
        rows = [f"{block},{name},2" for block in range(blocks + more) for name in ("query", "value")]
        (tmp_path / "ranks.csv").write_text("\n".join(["layer,projection,rank", *rows]) + "\n")
        assert cli.run(["check", *words]) == status
    line = (
        f"the source has ranks for {2 * blocks + 2} layers, the model has {2 * blocks}; not in both: "
        f"{blocks}.query, {blocks}.value"
    )
    assert f"missing: {line} (" in capsys.readouterr().out
    assert cli.run(words) == 2
    assert f"failed: {line}\n" in capsys.readouterr().err
    assert cli.run(["check", *words, "method=lora_uniform"]) == 0


def test_weights_of_a_block_are_gone(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "model")
    file = tmp_path / "model/model.safetensors"
    left = {name: weight for name, weight in load_file(file).items() if ".layer.1." not in name}
    save_file(left, file, metadata={"format": "pt"})
    words = ["task=rte", "method=full", *SMALL, f"model.checkpoint={file.parent}", f"results={tmp_path}"]
    assert cli.run(["check", *words]) == 2
    found = capsys.readouterr().out
    assert cli.run(words) == 2
    ran = capsys.readouterr().err
    for told in (found, ran):
        assert "the checkpoint of 'any' lacks weights of its model: " in told
        assert "encoder.layer.1.attention.self.query.weight" in told


def test_an_accelerator_that_is_not_there(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = [word for word in SMALL if not word.startswith("device=")]
    words += ["task=rte", "method=lora", f"model.checkpoint={tiny_encoder}", f"results={tmp_path / 'runs'}"]
    for device, status in (("cuda", 2), ("auto", 0), ("cpu", 0)):
        assert cli.run(["check", *words, f"device={device}"]) == status
        said = capsys.readouterr().out
        assert ("missing: device=cuda: torch finds none here (say device=cpu" in said) == (status == 2)


def test_a_decoder_without_an_end(
    tiny_decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_decoder, tmp_path / "model")
    edit("tokenizer_config.json", eos_token=None, tokenizer_class="PreTrainedTokenizerFast")(
        tmp_path / "model"
    )
    (tmp_path / "model" / "special_tokens_map.json").unlink(missing_ok=True)
    words = ["task=e2e", "method=lora", *SMALL, f"model.checkpoint={tmp_path / 'model'}"]
    assert cli.run(["check", *words]) == 2
    assert "has no end-of-text token" in capsys.readouterr().out


ROWS = "index\tsentence1\tsentence2\tlabel\n" + "0\ta\tb\tentailment\n1\tc\td\tnot_entailment\n" * 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ROWS.encode() + b"2\t\xff\tb\tentailment\n", "is not UTF-8"),
        (b"", "is empty"),
        (ROWS.replace("not_entailment", "perhaps").encode(), "perhaps"),
        (None, "train.tsv"),
    ],
)
def test_data_that_a_run_could_not_read(
    content: bytes | None, said: str, tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data/glue/RTE"
    folder.mkdir(parents=True)
    (folder / "dev.tsv").write_text(ROWS)
    if content is not None:
        (folder / "train.tsv").write_bytes(content)
    words = [*SMALL[1:], "data=local", f"data.dir={tmp_path / 'data'}", f"model.checkpoint={tiny_encoder}"]
    assert cli.run(["check", "task=rte", "method=lora", *words]) == 2
    assert said in capsys.readouterr().out


def test_steps_are_counted_from_the_data_and_timed_by_a_given_rate(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data/glue/RTE"
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text(ROWS)
    words = ["data=local", f"data.dir={tmp_path / 'data'}", "model=any", f"model.checkpoint={tiny_encoder}"]
    more = ["task=rte", "method=lora,autolora", "train.epochs=3", "train.batch_size=8", f"results={tmp_path}"]
    assert cli.run(["check", "-m", *words, *more, "rate=0.5"]) == 0
    # 40 rows in batches of 8: LoRA 3 x 5 steps; AutoLoRA as many again and, on half of the rows, 3 x 3 of its search
    assert "time: about 78 s for 2 runs: 39 optimizer steps at 0.5 a second" in capsys.readouterr().out


def test_a_rate_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", "task=rte", "data=generated", "rate=fast"]) == 2
    assert "rate=fast is no rate" in capsys.readouterr().err


def completed(words: tuple[str, ...], **changes: object) -> None:
    """A record of a run on this machine: 100 s for 32 examples of training, 10 s for the rest."""
    [entry] = plan(Request(words))
    phases = [
        PhaseRecord("finetune", Status.completed, seconds=100.0, steps=2, examples=32),
        PhaseRecord("evaluate", Status.completed, seconds=10.0),
    ]
    record = RunRecord(*entry.identity, Status.completed, {}, "x", phases=phases, provenance=provenance())
    for name, value in changes.items():
        record.provenance[name] = value
    write_record(entry.folder, record)


def test_the_time_is_measured_where_the_like_was_completed_here(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("task=rte", *SMALL, f"model.checkpoint={tiny_encoder}", f"results={tmp_path}")
    completed((*words, "method=lora", "seed=0", "train.epochs=2"))
    completed((*words, "method=bitfit", "seed=0", "train.epochs=2"), processor="another machine's")
    assert cli.run(["check", "-m", *words, "method=lora,bitfit", "seed=1,2"]) == 0
    said = capsys.readouterr().out
    assert "time: about 2 min for 2 runs: 2 optimizer steps, as long as those of completed runs" in said
    assert "time: not known for 2 runs of 2 optimizer steps: none like them was completed here" in said


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "3 s"), (1500, "25 min"), (12_000, "3 h 20 min"), (190_000, "2 d 4 h")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.slow
def test_checking_needs_no_torch(tiny_encoder: Path) -> None:
    words = ["check", "task=rte", "method=lora", *SMALL, f"model.checkpoint={tiny_encoder}"]
    program = f"import sys; from autolora_bench import cli; print(cli.run({words}), 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split()[-2:] == ["0", "False"]


def test_without_a_connection_the_hub_is_asked_once_and_the_advice_works(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    class Nowhere:
        def head(self, address: str, timeout: float) -> None:
            asked.append(address)
            raise ConnectionError("no route")

    monkeypatch.setattr(download, "get_session", Nowhere)
    monkeypatch.setattr(download, "_answers", {})
    monkeypatch.setattr(download.constants, "HF_HUB_OFFLINE", False)
    words = ["task=rte", "method=lora", "data=generated", "data.limit=16", f"results={tmp_path}"]
    assert cli.run(["check", *words, "model=roberta_base"]) == 2
    assert cli.run([*words, "model=roberta_base"]) == 2
    said = capsys.readouterr()
    assert len(asked) == 1
    for text in (said.out, said.err):
        assert (
            "FacebookAI/roberta-base is not on this machine, and https://huggingface.co does not answer"
            in text
        )
        assert "autolora-bench fetch" not in text
        assert "go online once, or say model.path=FOLDER" in text
    assert cli.run(["fetch", "roberta_base"]) == 2
    assert "model.path=FOLDER" in capsys.readouterr().err
    followed = [*words, "model=roberta_base", "model.architecture=null", f"model.path={tiny_encoder}"]
    assert cli.run([*followed, "train.epochs=1", "data.limit_evaluation=4", "device=cpu"]) == 0


def test_a_report_of_a_suite_needs_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "rte/minilm/lora-0/seed0"
    write_record(
        record,
        RunRecord(
            *("rte", "minilm", "lora", "0", 0),
            Status.completed,
            {"data": {"source": "hub"}, "train": {}, "method": {}, "task": {}, "model": {}},
            "x",
        ),
    )
    assert read_record(record / "run.json").status is Status.completed
    assert cli.run(["report", "suite=minilm_glue", "task=rte", f"records={tmp_path}"]) == 0
    said = capsys.readouterr()
    assert "suite=minilm_glue task=rte data.dir=DIR" in said.out
    assert "1 records of these cells are of data=hub" in said.err
    assert cli.run(["status", "suite=minilm_glue", "task=rte"]) == 0
    assert "18 runs: 18 missing" in capsys.readouterr().out


@pytest.mark.parametrize("name", [".", "..", "finetune", "run.lock", ".run.json.writing"])
def test_what_lies_in_the_way_of_a_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["task=planted", "model=small", "method=lora_uniform", "train.max_steps=1", "device=cpu"]
    words += ["task.rows={train:16,validation:4,test:4}", "train.threads=1", f"results={tmp_path / 'runs'}"]
    assert cli.run(["check", *words]) == 0
    capsys.readouterr()
    [entry] = plan(Request(tuple(words)))
    place = {".": entry.folder, "..": entry.folder.parent}.get(name, entry.folder / name)
    place.parent.mkdir(parents=True)
    if name in ("run.lock", ".run.json.writing"):
        place.mkdir()
    else:
        place.touch()
    assert cli.run(["check", *words]) == 2
    said = capsys.readouterr().out
    assert f"missing: {place} is a {'folder' if place.is_dir() else 'file'}, and a run" in said
    assert "1 runs, 1 problems" in said
    assert cli.run(words) == 1


def test_a_pipe_is_no_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["task=planted", "model=small", "method=lora_uniform", "device=cpu", "train.threads=1"]
    words.append(f"results={tmp_path / 'runs'}")
    [entry] = plan(Request(tuple(words)))
    entry.folder.mkdir(parents=True)
    os.mkfifo(entry.folder / "run.lock")
    for command in (["check", *words], words):
        assert cli.run(command) in (1, 2)
        said = capsys.readouterr()
        assert (
            f"{entry.folder / 'run.lock'} is not a file, so that it cannot be a lock" in said.out + said.err
        )


@pytest.mark.parametrize("command", ["check", "status", "report -m"])
def test_a_folder_of_data_that_no_run_reads_is_refused_by_every_command(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=rte", "method=lora", f"data.dir={tmp_path}", f"results={tmp_path}"]
    assert cli.run([*command.split(), *words]) == 2
    assert "is not read by data=hub" in capsys.readouterr().err
    assert cli.run([*command.split(), *words, "data=local"]) == (2 if command == "check" else 0)


def test_check_asks_of_the_variables_and_not_how_many_processes_there_will_be(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "task=rte", "method=lora", *SMALL, "train.precision=fp32", "train.fsdp=true"]
    words += [f"model.checkpoint={tiny_encoder}", f"results={tmp_path}"]
    assert cli.run(words) == 0
    capsys.readouterr()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert cli.run(words) == 2
    assert "missing: ACCELERATE_MIXED_PRECISION=bf16 asks accelerate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "words", "noted"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", ["train.precision=bf16"], "train.precision=bf16"),
        ("flags\t\t: fpu avx2 avx512f", ["model.dtype=bf16", "device=cpu"], "model.dtype=bf16"),
        ("flags\t\t: fpu avx512f avx512_bf16", ["train.precision=bf16"], None),
        ("flags\t\t: fpu amx_bf16 amx_tile", ["train.precision=bf16"], None),
        ("Features\t: fp asimd bf16", ["train.precision=bf16"], None),
        ("Features\t: fp asimd", ["train.precision=bf16"], "train.precision=bf16"),
        ("flags\t\t: fpu avx2", ["train.precision=fp32"], None),
        ("flags\t\t: fpu avx2", ["train.precision=bf16", "device=cuda"], None),
        ("", ["train.precision=bf16"], None),
    ],
)
@pytest.mark.sample(one_in=3)
def test_a_processor_that_emulates_bfloat16_is_named(
    said: str,
    words: list[str],
    noted: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nmodel name\t: Some\n{said}\nbugs\t\t: none\n")
    monkeypatch.setattr("autolora_bench.provenance.CPUINFO", told)
    cli.run(["check", "task=rte", "method=lora", "model=any", "data=generated", *words])
    line = f"note: where it runs on this CPU: {noted}: the processor has no bfloat16 instructions, and fp32"
    assert (line in capsys.readouterr().out) == (noted is not None)
