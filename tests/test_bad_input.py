"""What a user can get wrong, and the line that says so: never a traceback, never a file's content executed."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from autolora_bench import cli
from autolora_bench.cli import COMMANDS
from autolora_bench.config.experiment import config_id, experiment_identity
from autolora_bench.record import RunRecord, Status, write_record
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan

GENERATED = (
    "task=sst2",
    "data=generated",
    "results={t}/runs",
    "train.max_steps=1",
    "data.limit=8",
    "data.limit_evaluation=4",
)
LOCAL = (
    "task=sst2",
    "data=local",
    "data.dir={t}/data",
    "results={t}/runs",
    "model=any",
    "model.checkpoint={m}",
)
WEIGHTS = (
    "task=sst2",
    "data=generated",
    "data.limit=8",
    "results={t}/runs",
    "model=any",
    "model.checkpoint={t}/w",
)
Prepare = Callable[[Path, Path], object]


@dataclass(frozen=True)
class Case:
    """One mistake. In its words {t} is an empty folder, {m} that of a tiny model."""

    words: tuple[str, ...]
    expected: str
    status: int = 2
    prepare: Prepare = field(default=lambda folder, model: None)
    starts: bool = False
    """Whether the mistake shows only once the run has begun: then the run's own lines stand around the message."""
    environment: dict[str, str] = field(default_factory=dict)


def bad(*words: str, expected: str, base: tuple[str, ...] = GENERATED, **more: object) -> Case:
    return Case((*base, *words), expected, **more)  # type: ignore[arg-type]


def search(word: str) -> Case:
    """AutoLoRA with a setting of its search that cannot be."""
    word = f"method.search.{word}"
    return bad("method=autolora", word, expected=word)


def text(name: str, content: str | bytes) -> Prepare:
    """Write a file of that content."""

    def write(folder: Path, model: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


ROWS = "sentence\tlabel\n" + "a good film\t1\na bad film\t0\n" * 8


def sst2(train: str | bytes | None, dev: str | bytes | None = ROWS) -> Prepare:
    """SST-2's two files."""

    def write(folder: Path, model: Path) -> None:
        (folder / "data" / "glue" / "SST-2").mkdir(parents=True)
        for name, content in (("train.tsv", train), ("dev.tsv", dev)):
            if content is not None:
                text(f"data/glue/SST-2/{name}", content)(folder, model)

    return write


def splits(folder_name: str, suffix: str, content: str | bytes, names: tuple[str, ...]) -> Prepare:
    """The same content in every split's file."""

    def write(folder: Path, model: Path) -> None:
        for name in names:
            text(f"data/{folder_name}/{name}{suffix}", content)(folder, model)

    return write


def damaged(change: Callable[[Path], object]) -> Prepare:
    """A copy of the tiny model in {t}/w, changed."""

    def write(folder: Path, model: Path) -> None:
        shutil.copytree(model, folder / "w")
        change(folder / "w")

    return write


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:100])


class Bomb:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.mark, "w")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(str(folder.parent / "EXECUTED"))))


def without(pattern: str) -> Callable[[Path], object]:
    """Removes the files that fit."""
    return lambda folder: [file.unlink() for file in folder.glob(pattern)]


def without_second_block(folder: Path) -> None:
    file = folder / "model.safetensors"
    kept = {name: weight for name, weight in load_file(file).items() if "layer.1." not in name}
    save_file(kept, file, {"format": "pt"})


def of_other_words(folder: Path) -> None:
    """A tokenizer that knows words of another language."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    special = [word for word in words if word.startswith("[")]
    tokenizer["model"]["vocab"] = {
        word if word in special else f"mot{place}": place for word, place in words.items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def of_more_words(folder: Path) -> None:
    """A tokenizer of a model with more embeddings."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {
        word: place if word.startswith("[") else place + 1000 for word, place in words.items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    names = ("AutoConfig", "AutoModelForSequenceClassification")
    config |= {"model_type": "mine", "auto_map": dict.fromkeys(names, "mine.Mine")}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(folder.parent / 'EXECUTED')!r}, 'w')\n")


def record(**changes: object) -> Prepare:
    """A completed run's record with some fields changed."""

    def write(folder: Path, model: Path) -> None:
        [entry] = plan(Request(tuple(word.replace("{t}", str(folder)) for word in GENERATED)))
        cell = entry.experiment
        identity = ("sst2", cell.model.name, cell.method.name, config_id(cell), 0)
        write_record(entry.folder, RunRecord(*identity, Status.completed, experiment_identity(cell), "x"))
        path = entry.folder / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return write


def own(group: str, content: str) -> Prepare:
    """A user's own YAML file `mine` of a group, in {t}/conf."""
    return text(f"conf/{group}/mine.yaml", content)


CONF = ("--config-dir", "{t}/conf")
TASK = (
    "# mine\ndefaults:\n  - /schema/task/classification@_here_\nname: mine\ntitle: t\nmetrics: [accuracy]\n"
)

CASES = {
    # words
    "unknown task": bad("task=sst3", expected="task=sst3 is not known"),
    "unknown method": bad("method=lorra", expected="did you mean lora"),
    "unknown model": bad("model=bert", expected="model=bert is not known"),
    "unknown data": bad("data=web", expected="data=web is not known"),
    "unknown suite": bad("suite=table9", expected="suite=table9 is not known"),
    "unknown setting": bad("trian.epochs=3", expected="did you mean train.epochs"),
    "unknown setting deep": bad(
        "method.search.ruel=budget", "method=autolora", expected="there is no setting"
    ),
    "unknown option": bad("--verbose", expected="unknown option --verbose"),
    "unknown command": Case(("raport",), "did you mean report"),
    "bare word": bad("lora", expected="'lora' is no setting"),
    "several values": bad("seed=0,1", expected="add -m"),
    "unclosed bracket": bad("task.metrics=[accuracy", expected="configuration:"),
    "empty list of metrics": bad("task.metrics=[]", expected="task.metrics"),
    "unknown metric": bad("task.metrics=[accuracyy]", expected="accuracyy"),
    "metric of another kind": bad(
        "task.metrics=[bleu]", expected="bleu is no metric of task=sst2", starts=True
    ),
    "metric of two classes for three": bad(
        "task=mnli", "task.metrics=[f1]", expected="f1 is no metric of task=mnli", starts=True
    ),
    "metric of classes for values": bad(
        "task=stsb", "task.metrics=[accuracy]", expected="accuracy is no metric of task=stsb"
    ),
    "metric of another protocol": bad(
        "task=e2e", "model=gpt2", "task.metrics=[bleu,ter]", expected="ter is no metric of task=e2e"
    ),
    "setting of the chosen task": bad(
        "task=e2e", "task.decoding.beam=4", expected="did you mean task.decoding.beams"
    ),
    "length penalty no number": bad(
        "task=e2e",
        "model=gpt2",
        "task.decoding.length_penalty=nan",
        expected="task.decoding.length_penalty=nan",
    ),
    "stride backwards": bad("task=bionlp", "task.stride=-1", expected="task.stride=-1"),
    "empty value": bad("seed=", expected="seed"),
    "no config folder": Case(("--config-dir", "{t}/none", *GENERATED), "no such folder"),
    "group deleted": bad("~method", expected="method"),
    # values
    "epochs are text": bad("train.epochs=many", expected="could not be converted to Float"),
    "no epochs": bad("train.epochs=0", expected="train.epochs=0"),
    "epochs no number": bad("train.epochs=nan", expected="train.epochs=nan"),
    "epochs without end": bad("train.epochs=inf", expected="train.epochs=inf"),
    "no steps": bad("train.max_steps=0", expected="train.max_steps=0"),
    "no batch": bad("train.batch_size=0", expected="train.batch_size=0"),
    "accumulation does not divide": bad("train.accumulation=3", expected="does not divide"),
    "no accumulation": bad("train.accumulation=0", expected="train.accumulation=0"),
    "no evaluation batch": bad("train.evaluation_batch_size=0", expected="train.evaluation_batch_size"),
    "negative clip": bad("train.clip=-1", expected="train.clip=-1"),
    "negative decay": bad("train.weight_decay=-1", expected="train.weight_decay=-1"),
    "label smoothing": bad("train.label_smoothing=1.5", expected="train.label_smoothing=1.5"),
    "warm-up": bad("train.warmup=2", expected="train.warmup=2"),
    "no log steps": bad("train.log_steps=0", expected="train.log_steps=0"),
    "no checkpoint minutes": bad("train.checkpoint_minutes=-1", expected="train.checkpoint_minutes=-1"),
    "no threads": bad("train.threads=0", expected="train.threads=0"),
    "unknown tracker": bad("train.trackers=[abacus]", expected="abacus"),
    "unknown schedule": bad("train.schedule=sawtooth", expected="sawtooth"),
    "unknown precision": bad("train.precision=fp8", expected="fp8"),
    "negative seed": bad("seed=-1", expected="seed=-1"),
    "seed too large": bad("seed=99999999999", expected="seed=99999999999"),
    "no learning rate": bad("method.learning_rate=0", expected="method.learning_rate"),
    "dropout": bad("method.dropout=1.5", expected="method.dropout=1.5"),
    "rank": bad("method.rank=0", expected="method.rank=0"),
    "rule without budget": bad("method=autolora", "method.search.rule=budget", expected="rule=budget"),
    "no search": search("epochs=0"),
    "search of no steps": search("max_steps=0"),
    "search of no validation batch": search("validation_batch_size=0"),
    "search without scale": search("alpha=0.0"),
    "search's learning rate": search("learning_rate=-1.0"),
    "search's seed": search("initialisation_seed=-1"),
    "rank that decides nothing": bad(
        "method=autolora", "method.rank=2", expected="method.rank=2 has no effect with method.scaling=alpha"
    ),
    "scale no number": bad("method.alpha=nan", expected="method.alpha=nan is no finite number"),
    "learning rate without end": bad("method.learning_rate=inf", expected="method.learning_rate=inf is no"),
    "number in a list": bad(
        "method=autolora", "method.search.betas=[0.9,nan]", expected="method.search.betas[1]=nan is no"
    ),
    "check of a search of nothing": Case(
        ("check", *GENERATED, "method=autolora", "method.search.epochs=-3"), "method.search.epochs=-3"
    ),
    "limit": bad("data.limit=0", expected="data.limit=0"),
    "generated for no task": bad("task.generated=null", expected="data=generated"),
    "local without folder": bad("data=local", expected="data.dir"),
    "max length": bad("task.max_length=0", expected="task.max_length=0"),
    "unknown device": bad(
        "device=tpu", "model=any", "model.checkpoint={m}", expected="device=tpu", starts=True
    ),
    "absent device": bad(
        "device=mps", "model=any", "model.checkpoint={m}", expected="device=mps", starts=True
    ),
    # names that would leave the results folder
    "model name climbs": bad("model.name=../../x", expected="model.name=../../x"),
    "method name with slash": bad("method.name=a/b", expected="method.name=a/b"),
    "task name is a parent": bad("task.name=..", expected="task.name=.."),
    "task name is absolute": bad("task.name=/tmp/x", expected="task.name=/tmp/x"),
    "model name with backslash": bad("model.name='a\\\\b'", expected="model.name="),
    "method name is empty": bad("method.name=''", expected="method.name="),
    "method name is hidden": bad("method.name=.x", expected="method.name=.x"),
    # the user's own YAML
    "YAML tag": Case(
        (*CONF, "task=mine", *GENERATED[1:]),
        "tag",
        prepare=own("task", TASK + "labels: !!python/object/apply:os.getcwd []\n"),
    ),
    "YAML broken": Case(
        (*CONF, "task=mine", *GENERATED[1:]), "configuration:", prepare=own("task", "# m\na: [1\n")
    ),
    "YAML of a list": Case((*CONF, "task=mine", *GENERATED[1:]), "mine", prepare=own("task", "# m\n- 1\n")),
    "YAML with a new key": Case(
        (*CONF, "task=mine", *GENERATED[1:]), "colour", prepare=own("task", TASK + "colour: red\n")
    ),
    "YAML not UTF-8": Case(
        (*CONF, "task=mine", *GENERATED[1:]), "mine", prepare=text("conf/task/mine.yaml", b"# \xff\n")
    ),
    "one value of a list": bad(
        "task.evaluation=dev", expected="put it in brackets, as in 'task.evaluation=[dev]'"
    ),
    "several files as a list": Case(
        ("task=any", "data.train=[a.csv,b.csv]"),
        "data.train=[a.csv,b.csv] is a list, and this setting takes one text\nsay one file, pattern or folder;",
    ),
    "a list where one text goes": bad(
        "model.checkpoint=[a,b]", expected="say one; for a run with each add -m and leave the brackets out"
    ),
    "a span of seeds": Case(("-m", "seed=0-7", *GENERATED), "several are written 'seed=range(0,8)'"),
    "a whole number with an exponent": bad("data.limit=1e3", expected="write data.limit=1000"),
    "no whole number": bad("train.batch_size=1.5", expected="train.batch_size=1.5 is no whole number"),
    "one value of a list inside a mapping": bad(
        "task.hub.files={train:abc}", expected="task.hub.files.train: Invalid value assigned"
    ),
    "records of a suite that tunes": Case(
        ("report", "suite=fair", "task=rte", "data=generated", "records={t}"),
        "say results={t}, or leave the suite out",
    ),
    "unknown recipe": bad("recipe=minilm/colla", expected="recipe=minilm/colla is not known"),
    "unknown cell": bad("cell=minlm/sora", expected="did you mean minilm/sora"),
    "unknown shared settings": bad("shared=minilmm", expected="did you mean minilm"),
    "unknown training settings": bad("train=nosuch", expected="conf/train/ holds all"),
    "two suites": Case(("suite=table1,table3",), "a sweep is of one suite"),
    "a range beside a number": Case(
        ("-m", "seed=range(0,4),7", *GENERATED),
        "seed=range(0,4),7: a range beside other values cannot be read",
    ),
    "a range of nothing": Case(("-m", "seed=range(0,0)", *GENERATED), "seed=range(0,0) stands for nothing"),
    "plus before a setting that is none": bad("+train.epoch=7", expected="there is no setting train.epoch"),
    "plus before another method's setting": bad(
        "method=lora", "+method.search.interval=2", expected="there is no setting method.search"
    ),
    "an entry without a plus": bad(
        "method=lora_from_ranks",
        "method.ranks={0.query:4}",
        expected="put a plus before it, as in +method.ranks",
    ),
    "two rates for one head": bad(
        "method=head_only", "train.head_learning_rate=3e-3", expected="trains the head alone"
    ),
    "smoothed labels of a regression": bad(
        "train.label_smoothing=0.1", expected="no labels to smooth", base=("task=stsb", *GENERATED[1:])
    ),
    "nothing evaluated": bad("task.evaluation=[]", expected="task.evaluation"),
    "settings of a suite that are none": Case(
        ("--cfg", "job", "suite=figure3", "method.search.intervall=2"), "no setting method.search.intervall"
    ),
    "suite's YAML broken": Case(
        (*CONF, "suite=mine"),
        "mine.yaml cannot be read",
        prepare=own("suite", "# @package _global_\na: [1\n"),
    ),
    "suite not about all groups": Case(
        (*CONF, "suite=mine"),
        "starts with '# @package _global_'",
        prepare=own("suite", "train: {epochs: 2}\n"),
    ),
    "suite's choices are a number": Case(
        (*CONF, "suite=mine"),
        "is no suite",
        prepare=own("suite", "# @package _global_\nhydra: {sweeper: {params: 3}}\n"),
    ),
    "suite of an unknown task": Case(
        (*CONF, "suite=mine"),
        "task=rtee is not known",
        prepare=own(
            "suite", "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {task: 'rtee,cola'}}}\n"
        ),
    ),
    "YAML without a schema": Case(
        (*CONF, "method=mine", *GENERATED), "title", prepare=own("method", "# m\nname: mine\n")
    ),
    # data files
    "no data folder": bad(expected="there is no folder", base=LOCAL, starts=True),
    "no data file": bad(expected="train.tsv", base=LOCAL, prepare=sst2(None), starts=True),
    "empty data file": bad(expected="train.tsv is empty", base=LOCAL, prepare=sst2(""), starts=True),
    "header alone": bad(expected="no rows", base=LOCAL, prepare=sst2("sentence\tlabel\n"), starts=True),
    "column missing": bad(expected="no column", base=LOCAL, prepare=sst2("text\tlabel\nx\t1\n"), starts=True),
    "row too short": bad(
        expected="line 2: 1 columns", base=LOCAL, prepare=sst2("sentence\tlabel\nx\n"), starts=True
    ),
    "unknown label": bad(expected="line 2", base=LOCAL, prepare=sst2("sentence\tlabel\nx\t7\n"), starts=True),
    "not UTF-8": bad(
        expected="is not UTF-8", base=LOCAL, prepare=sst2(b"sentence\tlabel\n\xff\t1\n"), starts=True
    ),
    "binary": bad(expected="train.tsv", base=LOCAL, prepare=sst2(bytes(range(256)) * 4), starts=True),
    "dev is a folder": bad(
        expected="dev.tsv",
        base=LOCAL,
        starts=True,
        prepare=lambda t, m: (sst2(ROWS, None)(t, m), (t / "data/glue/SST-2/dev.tsv").mkdir()),
    ),
    "too few examples to search": bad(
        "method=autolora",
        expected="example",
        base=LOCAL,
        prepare=sst2("sentence\tlabel\nx\t1\n"),
        starts=True,
    ),
    "score not a number": bad(
        "task=stsb",
        expected="line",
        base=LOCAL,
        starts=True,
        prepare=splits(
            "glue/STS-B",
            ".tsv",
            "\t".join("0123456789abcdef"[:10]) + "\n" + "x\t" * 9 + "many\n",
            ("train", "dev"),
        ),
    ),
    "tag unknown": bad(
        "task=bionlp",
        expected="tag 'B-cat' is none of",
        base=LOCAL,
        starts=True,
        prepare=splits("bionlp2004", ".iob2", "cat\tB-cat\n", ("train", "validation", "test")),
    ),
    "token without tag": bad(
        "task=bionlp",
        expected="expected a token, a tab and a tag",
        base=LOCAL,
        starts=True,
        prepare=splits("bionlp2004", ".iob2", "cat\n", ("train", "validation", "test")),
    ),
    "entity without a beginning": bad(
        "task=bionlp",
        expected="begins with B-DNA",
        base=LOCAL,
        starts=True,
        prepare=splits("bionlp2004", ".iob2", "cat\tI-DNA\n", ("train", "validation", "test")),
    ),
    # weights
    "no weights": bad(expected="holds no model", base=WEIGHTS, starts=True),
    "configuration no JSON": bad(
        expected="config",
        base=WEIGHTS,
        starts=True,
        prepare=damaged(lambda w: (w / "config.json").write_text("{")),
    ),
    "weights cut off": bad(
        expected="w", base=WEIGHTS, starts=True, prepare=damaged(cut("model.safetensors"))
    ),
    "weights gone": bad(
        expected="w",
        base=WEIGHTS,
        starts=True,
        prepare=damaged(lambda w: (w / "model.safetensors").unlink()),
    ),
    "weights a malicious pickle": bad(expected="w", base=WEIGHTS, starts=True, prepare=damaged(pickled)),
    "weights with code": bad(expected="w", base=WEIGHTS, starts=True, prepare=damaged(remote_code)),
    "tokenizer cut off": bad(expected="w", base=WEIGHTS, starts=True, prepare=damaged(cut("tokenizer.json"))),
    "no tokenizer": bad(
        expected="has no tokenizer", base=WEIGHTS, starts=True, prepare=damaged(without("tokenizer*"))
    ),
    "a tokenizer of other words": bad(
        expected="train: the tokenizer does not know",
        base=WEIGHTS,
        starts=True,
        prepare=damaged(of_other_words),
    ),
    "a tokenizer of more words": bad(
        expected="and the model has embeddings for",
        base=WEIGHTS,
        starts=True,
        prepare=damaged(of_more_words),
    ),
    "weights of one block missing": bad(
        "method=full",
        expected="lacks weights of its model: bert.encoder.layer.1.attention.self.query.weight",
        base=WEIGHTS,
        starts=True,
        prepare=damaged(without_second_block),
    ),
    "a search that never moves a selection variable": bad(
        "method=autolora",
        "method.search.interval=1000000",
        expected="the selection variables would never move",
        base=WEIGHTS,
        starts=True,
        prepare=damaged(bool),
    ),
    "no layers to adapt": bad("model.targets=[]", expected="model.targets is empty"),
    "a label twice": bad(
        "task.labels=[no,yes,no]", expected="task.labels=['no', 'yes', 'no'] names no twice"
    ),
    "a single label": bad("task.labels=[yes]", expected="task.labels=['yes'] is too short"),
    "an entity twice": bad(
        "task=bionlp", "task.entities=[x,x]", expected="task.entities=['x', 'x'] names x twice"
    ),
    "nothing to tag": bad("task=bionlp", "task.entities=[]", expected="task.entities is empty"),
    "no such layers": bad(
        "model.targets=[nothing]", expected="nothing", base=WEIGHTS, starts=True, prepare=damaged(bool)
    ),
    "weights of another architecture": bad(
        "model.architecture=llama",
        expected="states model.architecture=llama, its weights are of a bert model",
        base=WEIGHTS,
        starts=True,
        prepare=damaged(bool),
    ),
    "wrong checksum": bad(
        f"model.sha256={'0' * 64}", expected="checksum", base=WEIGHTS, starts=True, prepare=damaged(bool)
    ),
    # results
    "results are a file": Case(
        ("task=sst2", "data=generated", "results={t}/f/runs"), "cannot write results", prepare=text("f", "x")
    ),
    "record of another version": bad(expected="version 99", prepare=record(version=99)),
    "record without a field": bad(expected="not a readable record", prepare=record(status="done")),
    "record of another configuration": bad(expected="another configuration", prepare=record(config={})),
    "nothing to report": Case(("report", "results={t}/none"), "there is no folder"),
    "a misspelt word before a missing folder": Case(
        ("stability", "suit=table1", "results={t}/none"), "did you mean suite"
    ),
    "unknown format": Case(("report", "results={t}/runs", "format=docx"), "docx", prepare=record()),
    "unknown epoch": Case(("report", "results={t}/runs", "epoch=first"), "first", prepare=record()),
    "published values missing": Case(
        ("report", "results={t}/runs", "published={t}/none.csv"), "none.csv", prepare=record()
    ),
    "no results to merge": Case(("report", "results={t}/runs", "merge={t}/none"), "none", prepare=record()),
    "stability without a search": Case(
        ("stability", "results={t}/runs"),
        "no two seeds of a method that gives layers different ranks",
        prepare=record(),
    ),
    "status of a sweep without -m": Case(("status", "task=rte,cola", "data=generated"), "add -m"),
    "check of an unknown suite": Case(("check", "suite=tabel1"), "did you mean table1"),
    "records without a place": Case(("records", "results={t}/runs"), "where to", prepare=record()),
    "records over the runs": Case(
        ("records", "results={t}/runs", "to={t}/runs/../runs"), "is a run's own folder", prepare=record()
    ),
    "records where nothing can be written": Case(
        ("records", "results={t}/runs", "to=/dev/null/x"), "cannot write", prepare=record()
    ),
    # other commands
    "list of nothing": Case(("ls", "taskz"), "did you mean tasks"),
    "completion for an unknown shell": Case(("completion", "fish"), "for which shell"),
    "fetch of nothing": Case(("fetch",), "which model"),
    "fetch of the unknown": Case(("fetch", "bert"), "model=bert is not known"),
    "fetch where nothing can be written": Case(
        ("fetch", "mpnet_base"),
        "cannot write /dev/null/x",
        starts=True,
        environment={"AUTOLORA_BENCH_CACHE": "/dev/null/x"},
    ),
    "report where nothing can be written": Case(
        ("report", "results={t}/runs", "out=/dev/null/x"), "cannot write", prepare=record()
    ),
    "score without a task": Case(("score", "predictions={t}/p", "references={t}/r"), "task"),
    "score of an unknown task": Case(("score", "task=xyz", "predictions={t}/p", "references={t}/r"), "xyz"),
    "score without a file": Case(("score", "task=sst2", "predictions={t}/p", "references={t}/r"), "{t}/"),
    "score of nothing": Case(
        ("score", "task=sst2", "predictions={t}/p", "references={t}/p"), "empty", prepare=text("p", "")
    ),
    "score of predictions alone": Case(
        ("score", "task=stsb", "predictions={t}/p.jsonl"), "references=FILE", prepare=text("p.jsonl", "1.5\n")
    ),
    "score by a metric of two classes": Case(
        ("score", "task=mnli", "predictions={t}/p", "metrics=f1"),
        "f1 is no metric",
        prepare=text("p", "1 1\n"),
    ),
    "score with a bare word": Case(("score", "sst2"), "is not NAME=VALUE"),
    # environment
    "hub out of reach": Case(
        ("task=sst2", "data=hub", "results={t}/runs", "model=any", "model.checkpoint={m}"),
        "sst2",
        starts=True,
        environment={"HF_HUB_OFFLINE": "1", "HF_HOME": "{t}/hf"},
    ),
}

QUICK = (
    *("unknown suite", "metric of another kind", "metric of another protocol", "setting of the chosen task"),
    *("unclosed bracket", "group deleted", "empty value", "length penalty no number", "unknown tracker"),
    *("accumulation does not divide", "rank that decides nothing", "number in a list", "absent device"),
    *("check of a search of nothing", "generated for no task", "model name climbs", "task name is absolute"),
    *("YAML tag", "YAML broken", "YAML with a new key", "YAML not UTF-8", "suite not about all groups"),
    *("unknown recipe", "two suites", "a range of nothing", "plus before a setting that is none"),
    *("an entry without a plus", "two rates for one head", "smoothed labels of a regression"),
    *("settings of a suite that are none", "suite's choices are a number", "suite of an unknown task"),
    *("no data folder", "unknown label", "too few examples to search", "weights a malicious pickle"),
    *("weights with code", "a tokenizer of other words", "a tokenizer of more words", "wrong checksum"),
    *("weights of one block missing", "weights of another architecture", "record of another version"),
    *("a search that never moves a selection variable", "nothing to report", "unknown format"),
    *("published values missing", "no results to merge", "stability without a search"),
    *("status of a sweep without -m", "records without a place", "completion for an unknown shell"),
    *("fetch where nothing can be written", "report where nothing can be written", "score without a task"),
    *("score without a file", "score of nothing", "score by a metric of two classes", "hub out of reach"),
    *("score with a bare word", "several files as a list", "a list where one text goes"),
)
"""One of every kind, but for those that another file has: command lines (test_cli.py), ranges (config/test_ranges.py),
files of data (data/) and of weights (commands/test_check.py)."""


@pytest.mark.sample(keep=QUICK)
@pytest.mark.parametrize("name", CASES)
def test_one_line_says_what_is_wrong_and_one_how_to_mend_it(
    name: str,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    places = {"{t}": str(tmp_path), "{m}": str(tiny_encoder)}

    def placed(word: str) -> str:
        for mark, path in places.items():
            word = word.replace(mark, path)
        return word

    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    for variable, value in case.environment.items():
        monkeypatch.setenv(variable, placed(value))
    monkeypatch.chdir(tmp_path)
    case.prepare(tmp_path, tiny_encoder)
    assert cli.run([placed(word) for word in case.words]) == case.status
    said = capsys.readouterr().err
    assert placed(case.expected) in said
    assert "Traceback" not in said
    assert "should not happen" not in said
    assert len(said.strip().splitlines()) <= (6 if case.starts else 5 if "record" in name else 2), said
    assert not (tmp_path / "EXECUTED").exists()
    assert not (tmp_path.parent / "x").exists()


def test_every_command_is_among_them() -> None:
    assert set(QUICK) <= set(CASES)
    assert {case.words[0] for case in CASES.values()} >= set(COMMANDS) - {"help"}
