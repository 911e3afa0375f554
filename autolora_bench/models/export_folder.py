"""Makes an exported folder stand alone: the same bytes from the same run, no path of this machine, and beside the
weights the tokenizer, the model's configuration with its class names, and a card that says how to load it."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.config.model import Dtype, ModelConfig, Quantization
from autolora_bench.errors import UserError
from autolora_bench.models.export_reading import reading_of
from autolora_bench.models.load import HeadKind
from autolora_bench.models.locate import locate
from autolora_bench.models.storage import TYPES
from autolora_bench.record import Evaluation, write_atomically

ADAPTER = "adapter_config.json"
CARD = "README.md"
UNORDERED = ("target_modules", "modules_to_save", "feedforward_modules", "exclude_modules")
"""What PEFT keeps as sets, whose order changes from process to process."""
SCORED = (HeadKind.sequence, HeadKind.tokens)
"""Heads of classifiers and taggers."""
IMPORTED = ("GenerationConfig", "NoRepeatNGramLogitsProcessor", "pipeline")
"""What a card's lines may use of transformers beside its Auto classes."""
PEFT_TEXT = """\
from peft import PeftModel
from transformers import AutoConfig, {auto}, AutoTokenizer

config = AutoConfig.from_pretrained(FOLDER)
base = {auto}.from_pretrained({base}, config=config{revision})
model = PeftModel.from_pretrained(base, FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
"""
UNPACKED_TEXT = """
for module in base.modules():  # on some CPUs bitsandbytes would repack the weights and compute in bf16
    if hasattr(module, "support_avx512bf16_for_cpu"):
        module.support_avx512bf16_for_cpu = False
model = """
PLAIN_TEXT = """\
from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
"""
ADAPTERS_TEXT = """\
from pathlib import Path

from autolora_bench.methods.{module} import {load}
from transformers import AutoConfig, {auto}, AutoTokenizer

config = AutoConfig.from_pretrained(FOLDER)
base = {auto}.from_pretrained({base}, config=config{revision})
model = {load}(base, Path(FOLDER))
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
"""
LOADERS = {
    "bottleneck_adapter.json": ("adapter", "load_adapter"),
    "llama_adapter.json": ("llama_adapter", "load_llama_adapter"),
}
"""What describes weights that neither PEFT nor transformers load -> module and name of the function that does."""


@dataclass(frozen=True)
class PublicName:
    """How others name a pretrained model."""

    hub: str | None
    """Its name on the Hugging Face hub; None where it has none, as a folder of this machine."""
    revision: str | None
    shown: str
    """For a reader, without a path of this machine."""


def public_name(model: ModelConfig) -> PublicName:
    """The pretrained model's name for others. Raises UserError as `locate`."""
    location = locate(model)
    hub = location.source if location.kind == "hub" else None if model.checkpoint is not None else model.hub
    return PublicName(hub, model.revision if hub else None, hub or location.label)


@dataclass(frozen=True)
class Origin:
    """What a card tells of the run that made the weights."""

    experiment: ExperimentConfig
    data: str
    """The fingerprint of its examples."""
    command: str
    """What makes it again, without folders of a machine; may be empty."""
    scores: Mapping[str, Evaluation]
    """Split -> evaluation of the exported weights."""
    commit: str | None = None
    """Of the pretrained model, where it came from a hub."""


def complete_export(
    folder: Path,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    head: HeadKind,
    made: Origin,
) -> None:
    """Add to a folder that holds the exported weights what makes it stand alone.

    Args:
        folder: what a method's export has written.
        model: the trained model; its configuration has the names of the classes.
        tokenizer: the model's.
        head: which of transformers' classes loads it.
        made: what the card tells of the run.

    Raises:
        UserError: the folder cannot be written.
    """
    named = public_name(made.experiment.model)
    base = replace(named, revision=made.commit) if made.commit and named.hub else named
    _save_configuration(model.get_base_model() if isinstance(model, PeftModel) else model, head, folder)
    _save_tokenizer(tokenizer, folder)
    if (folder / ADAPTER).is_file():
        _settle_adapter(folder / ADAPTER, base)
    loading = _loading(folder, model, tokenizer, head, made, base)
    write_atomically(folder / CARD, _card(folder, made, base, loading))


def _save_configuration(model: Any, head: HeadKind, folder: Path) -> None:
    """Of the model with its head: the same whether it was trained just now or resumed at its end."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    if head is HeadKind.sequence and config.problem_type is None:  # the first training pass notes it
        config.problem_type = "single_label_classification"
    if hasattr(config, "use_cache"):
        config.use_cache = True
    if hasattr(
        config, "quantization_config"
    ):  # the base's weights are quantised when it is loaded: the card says how
        del config.quantization_config
    config.save_pretrained(folder)


def _save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """As it was loaded: what the last batch was cut and padded to is no part of it, nor where it lay."""
    fresh = copy.deepcopy(tokenizer)
    backend = getattr(fresh, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    for name in ("is_local", "local_files_only", "name_or_path"):
        fresh.init_kwargs.pop(name, None)
    try:
        fresh.save_pretrained(folder)
    except Exception as error:  # of the tokenizers library, which has no other class for a full disk
        raise UserError(
            f"cannot write {folder}: {error}", "free some space or choose another folder with results=DIR"
        ) from error


def _settle_adapter(path: Path, base: PublicName) -> None:
    said = json.loads(path.read_text(encoding="utf-8"))
    said |= {"base_model_name_or_path": base.hub, "revision": base.revision}
    for name in UNORDERED:
        if isinstance(said.get(name), list):
            said[name] = sorted(set(said[name]))
    write_atomically(path, json.dumps(said, indent=2, sort_keys=True) + "\n")


def _storage(model: ModelConfig) -> str:
    """Arguments of from_pretrained that store the base's weights as in the training."""
    half = "" if model.dtype is Dtype.fp32 else f", dtype={TYPES[model.dtype]}"
    return half + (", quantization_config=nf4" if model.quantization is Quantization.nf4 else "")


def _nf4_text(model: Any) -> str:
    said = model.config.quantization_config
    return (
        'nf4 = BitsAndBytesConfig(\n    load_in_4bit=True,\n    bnb_4bit_quant_type="nf4",\n'
        f"    bnb_4bit_use_double_quant=True,\n    bnb_4bit_compute_dtype={said.bnb_4bit_compute_dtype},\n"
        f"    llm_int8_skip_modules={sorted(set(said.llm_int8_skip_modules))},\n)"
    )


def _loading(
    folder: Path,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    head: HeadKind,
    made: Origin,
    base: PublicName,
) -> list[str]:
    """The card's lines on how the model is loaded and what it reads."""
    e = made.experiment
    if e.model.random is not None:
        source = "the command above" if made.command else "its run"
        return [f"No library loads this network of random weights: {source} makes it again."]
    complete, adapter = (folder / "model.safetensors").is_file(), (folder / ADAPTER).is_file()
    reading = reading_of(model, tokenizer, head, e, adapter)
    module, load = next((pair for name, pair in LOADERS.items() if (folder / name).is_file()), ("", ""))
    text = PEFT_TEXT if adapter else PLAIN_TEXT if complete else ADAPTERS_TEXT
    loading = text.format(
        auto=head.value.__name__,
        module=module,
        load=load,
        base=repr(base.hub) if base.hub else "BASE",
        revision=(f", revision={base.revision!r}" if base.revision else "") + _storage(e.model),
    )
    loading += reading.lines
    used = [name for name in IMPORTED if f"{name}(" in reading.lines]
    loading = loading.replace("AutoTokenizer\n", f"{', '.join(['AutoTokenizer', *used])}\n", 1)
    if e.model.quantization is Quantization.nf4:
        loading = loading.replace("AutoTokenizer", "AutoTokenizer, BitsAndBytesConfig", 1)
        loading = loading.replace("\nbase = ", f"\n{_nf4_text(model)}\nbase = ", 1)
        if text is not PLAIN_TEXT:
            loading = loading.replace("\nmodel = ", UNPACKED_TEXT, 1)
    if "torch." in loading:
        loading = f"import torch\n{loading}"
    fetched = ", or the name of its repository once it was pushed" if text is not ADAPTERS_TEXT else ""
    where = f"FOLDER is this folder{fetched}" + (
        "." if base.hub or complete else f", BASE that of {base.shown}."
    )
    if e.model.dtype is not Dtype.fp32 and adapter and head in SCORED:
        where += (
            " The head was trained in fp32, and these lines round it: scores may differ in their last digits."
        )
    return ["```python", loading.rstrip(), "```", "", where, *(["", *reading.notes] if reading.notes else [])]


def _card(folder: Path, made: Origin, base: PublicName, loading: list[str]) -> str:
    e = made.experiment
    rows = [
        f"| {split} | {name} | {value:.6g} |"
        for split, evaluation in made.scores.items()
        for name, value in evaluation.scores.items()
        if value is not None
    ]
    front = {
        "base_model": base.hub,
        "library_name": "peft" if (folder / ADAPTER).is_file() else "transformers",
    }
    lines = [
        "---",
        *(f"{name}: {value}" for name, value in front.items() if value),
        f"tags: [autolora-bench, {e.method.name}]",
        "---",
        f"# {base.shown}, {e.method.title}, {e.task.title}",
        "",
        f"Trained by autolora-bench: task `{e.task.name}`, method `{e.method.name}`, model `{e.model.name}`, "
        f"{e.data.source.name} data (fingerprint `{made.data[:16]}`), seed {e.seed}, configuration "
        f"`{config_id(e)}`.",
        "",
        *([f"    {made.command}", ""] if made.command else []),
        "| split | metric | score |",
        "| :--- | :--- | ---: |",
        *rows,
        "",
        *loading,
        "",
        f"Licence: none is granted here. Those of the base model, {base.shown}, and of the data of `{e.task.name}` "
        "hold for it too: read them before you pass it on.",
    ]
    return "\n".join(lines) + "\n"
