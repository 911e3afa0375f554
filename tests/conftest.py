"""Fixtures shared by every test: where the real data and the metric cases are, if they are there at all."""

import gc
import os
import pickle
import runpy
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


MANY_MODULES = 50
_imported = 0


gc.disable()  # what test modules import stays: it is not looked through while it comes


def pytest_collection_finish() -> None:
    """From now on garbage is collected, though seldom."""
    gc.enable()
    gc.set_threshold(20_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every training collects garbage: let it not look through all that was imported."""
    global _imported
    if len(sys.modules) > _imported + MANY_MODULES:
        _imported = len(sys.modules)
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `sample` every `one_in`-th case is among the quick tests, and those that `keep` names.

    Where the count begins follows from the test's name, so that tests over the same cases take different ones.
    """
    counted: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("sample")
        if marker is None or item.get_closest_marker("slow"):
            continue
        test = item.nodeid.partition("[")[0]
        turn = counted[test] + crc32(test.encode())
        counted[test] += 1
        one_in, case = marker.kwargs.get("one_in"), item.callspec.id  # type: ignore[attr-defined]
        kept = {case, *case.split("-")} & set(marker.kwargs.get("keep", ()))
        if not kept and (one_in is None or turn % one_in):
            item.add_marker(pytest.mark.slow)


def _ours_alone(repository: Any) -> bool:
    """Whether nothing is searched but conf/, of which no test changes a file."""
    from autolora_bench.paths import conf_dir

    return all(
        source.path == str(conf_dir()) for source in repository.get_sources() if source.scheme() == "file"
    )


@pytest.fixture(scope="session", autouse=True)
def _merge_once() -> Iterator[None]:
    """Most compositions choose the same files of conf/: those are listed and merged once, and a word is read once.
    Words come after, as ever.

    Nothing is remembered where a user's own folder of configurations is searched too.
    """
    from hydra._internal import config_loader_impl, defaults_list
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override, ValueType

    from autolora_bench.config import parts

    merge = ConfigLoaderImpl._compose_config_from_defaults_list
    list_defaults = defaults_list.create_defaults_list
    merged: dict[str, bytes] = {}
    listed: dict[str, bytes] = {}
    parse = OverridesParser.parse_rule
    parsed: dict[tuple[str, str], bytes] = {}

    def remembered(self: Any, defaults: list[Any], repo: Any) -> Any:
        if not _ours_alone(repo):
            return merge(self, defaults, repo)
        chosen = repr(defaults)
        if chosen not in merged:
            made = merge(self, defaults, repo)
            try:
                merged[chosen] = pickle.dumps(made)
            except pickle.PicklingError:  # of a class whose module a launcher has imported anew
                return made
        return pickle.loads(merged[chosen])

    def listed_once(repo: Any, config_name: Any, overrides_list: list[Any], **how: bool) -> Any:
        if not _ours_alone(repo):
            return list_defaults(repo, config_name, overrides_list, **how)
        given = defaults_list.Overrides(repo, overrides_list)
        words, given.config_overrides = given.config_overrides, []
        chosen = repr((config_name, given, how))
        if chosen not in listed:
            made = list_defaults(repo, config_name, overrides_list, **how)
            made.config_overrides, made.overrides.config_overrides, made.defaults_tree = [], [], None
            listed[chosen] = pickle.dumps(made)
        found = pickle.loads(listed[chosen])
        found.config_overrides = found.overrides.config_overrides = words
        return found

    def parsed_once(self: Any, word: str, rule: str) -> Any:
        if (word, rule) in parsed:
            return pickle.loads(parsed[word, rule])
        made = parse(self, word, rule)
        if isinstance(made, Override) and made.value_type is ValueType.ELEMENT:
            parsed[word, rule] = pickle.dumps(made)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OverridesParser, "parse_rule", parsed_once)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", remembered)
        patch.setattr(config_loader_impl, "create_defaults_list", listed_once)
        patch.setattr(parts, "create_defaults_list", listed_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _wait_for_no_disk() -> Iterator[None]:
    """What a power cut would leave is not tested, and a small run asks the disk fifty times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _repeat_no_chores() -> Iterator[None]:
    """What libraries do anew in every run, and no test looks at: a fifth of a small run's time.

    The template of PEFT's model card is compiled once. Torch keeps no stack for a seed that waits for an accelerator.
    Before and after a training only young garbage is looked for, unless an accelerator's memory hangs on it.
    """
    import jinja2

    compile_template, format_stack, collect = jinja2.Environment.compile, traceback.format_stack, gc.collect
    compiled: dict[tuple[Any, ...], Any] = {}

    def caller() -> str:
        return str(sys._getframe(2).f_globals.get("__name__"))

    def compiled_once(self: jinja2.Environment, source: Any, *how: Any, **more: Any) -> Any:
        if not isinstance(source, str):
            return compile_template(self, source, *how, **more)
        key = (self, source, how, *sorted(more.items()))
        if key not in compiled:
            compiled[key] = compile_template(self, source, *how, **more)
        return compiled[key]

    def no_stack_of_torch(*which: Any, **more: Any) -> list[str]:
        waits = caller() in ("torch.cuda", "torch.mtia", "torch.xpu")
        return [] if waits else format_stack(*which, **more)

    def young(generation: int = 2) -> int:
        routine = caller() in ("autolora_bench.devices", "accelerate.utils.memory")
        accelerated = "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized()
        return collect(1) if routine and not accelerated else collect(generation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compiled_once)
        patch.setattr(traceback, "format_stack", no_stack_of_torch)
        patch.setattr(gc, "collect", young)
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty at first."""
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def own_folder(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own to work in, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that the tests of one module share."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(folder))
        yield folder


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, by the paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _beside_checkout(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / folder))
    if not path.is_dir():
        pytest.skip(f"{folder} not found: set {variable} to its folder")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets in their publishers' layouts (docs/data.md); skips where absent."""
    return _beside_checkout("AUTOLORA_BENCH_DATA", "data")


@pytest.fixture(scope="session")
def peft_experiments() -> Path:
    """Folder of the 103 adapter_config.json files of PEFT's own comparison (huggingface/peft, method_comparison,
    Apache-2.0), named <study>__<method>__<experiment>.json; skips where absent."""
    return _beside_checkout("AUTOLORA_BENCH_PEFT_EXPERIMENTS", "peft_experiments")


@pytest.fixture(scope="session")
def metric_cases() -> Path:
    """Folder of inputs and expected values from the official scorers; skips where absent."""
    return _beside_checkout("AUTOLORA_BENCH_METRIC_CASES", "metric_cases")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer BERT encoder whose vocabulary is that of the generated English tasks."""
    return _saved("tiny_encoder", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Llama that reads bytes."""
    return _saved("tiny_decoder", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_xlmr(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer XLM-R with the words of `tiny_encoder`: its special tokens in their order, two </s>
    between texts, and no token types."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoTokenizer, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    folder, marks = tmp_path_factory.mktemp("tiny_xlmr"), ["<s>", "<pad>", "</s>", "<unk>"]
    words = [w for w in AutoTokenizer.from_pretrained(tiny_encoder).get_vocab() if not w.startswith("[")]
    vocabulary = {word: number for number, word in enumerate([*marks, *sorted(words)])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token"), marks, strict=True))
    inputs = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=inputs, bos_token="<s>", eos_token="</s>", **names
    )
    tokenizer.save_pretrained(folder)
    config = XLMRobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=274,
        type_vocab_size=1,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    XLMRobertaModel(config).save_pretrained(folder)
    return folder


def _saved(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    save = runpy.run_path(str(REPOSITORY / "scripts" / f"{name}.py"))[f"save_{name}"]
    folder: Path = save(tmp_path_factory.mktemp(name))
    return folder


@pytest.fixture
def interrupt_every_training_once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """step -> a checkpoint after so many steps, Ctrl-C after the next; a list that fills with where it happened."""
    from autolora_bench.training.checkpoints import CheckpointPolicy

    def interrupt(step: int) -> list[str]:
        interrupted: list[str] = []
        on_step_end = CheckpointPolicy.on_step_end

        def interrupting(self: Any, args: Any, state: Any, control: Any, **more: Any) -> Any:
            control = on_step_end(self, args, state, control, **more)
            if str(args.output_dir) not in interrupted:
                control.should_save |= state.global_step == step
                if state.global_step == step + 1:
                    interrupted.append(str(args.output_dir))
                    raise KeyboardInterrupt
            return control

        monkeypatch.setattr(CheckpointPolicy, "on_step_end", interrupting)
        return interrupted

    return interrupt


@pytest.fixture
def resumed() -> Callable[..., Any]:
    """Experiment and folder -> the record of a run that is started again for as long as something stops it."""
    from autolora_bench.record import RunRecord, Status, read_record
    from autolora_bench.runner import run_experiment

    def run(experiment: Any, folder: Path) -> RunRecord:
        record: RunRecord | None = None
        while record is None or record.status is not Status.completed:
            try:
                record = run_experiment(experiment, folder, "autolora-bench ...", record)
                assert record.error is None, record.error["traceback"]
            except KeyboardInterrupt:
                record = read_record(folder / "run.json")
        return record

    return run


@pytest.fixture(scope="session")
def signalled() -> Callable[..., None]:
    """Patch, step, number and what then -> this process gets a signal in the middle of that optimizer step, once."""
    from autolora_bench.training.checkpoints import CheckpointPolicy

    def send(
        patch: pytest.MonkeyPatch,
        step: int,
        number: int = signal.SIGTERM,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        begin, sent = CheckpointPolicy.on_step_begin, []

        def sending(self: Any, args: Any, state: Any, control: Any, **more: Any) -> Any:
            if state.global_step + 1 == step and not sent:
                sent.append(step)
                os.kill(os.getpid(), number)
                then()
            return begin(self, args, state, control, **more)

        patch.setattr(CheckpointPolicy, "on_step_begin", sending)

    return send
