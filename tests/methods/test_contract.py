"""What every method of conf/method must hold, found without being named."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer

from autolora_bench.config.allocators import AllocatorConfig, LoraBalancedConfig
from autolora_bench.config.choices import schema_of
from autolora_bench.config.method import (
    AdaLoraConfig,
    AdapterConfig,
    AutoLoraConfig,
    BitFitConfig,
    FullConfig,
    HeadOnlyConfig,
    LoraConfig,
    MethodConfig,
    MonarchConfig,
    Placement,
    RankedLoraConfig,
)
from autolora_bench.config.prompts import (
    IA3Config,
    LlamaAdapterConfig,
    PrefixConfig,
    PromptConfig,
    PTuningConfig,
)
from autolora_bench.config.registry import kind_of, methods
from autolora_bench.config.task import RecoveryTask
from autolora_bench.config.variant import Start, VariantConfig
from autolora_bench.methods.adapter import load_adapter
from autolora_bench.methods.base import build_method
from autolora_bench.methods.llama_adapter import load_llama_adapter
from autolora_bench.paths import conf_dir

NAMES = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))
METHODS = [
    name
    for name in NAMES
    if methods()[str(schema_of("method", name, [conf_dir()]))].works_on.tasks != (RecoveryTask,)
    and name != "peft"
]
"""Those that know a planted truth are trained in tests/tasks/test_recovery.py, types of PEFT in test_peft_types.py."""
D, F, BLOCKS, LABELS = 32, 64, 2, 2
"""The tiny BERT: hidden size, feed-forward size, blocks; labels of the task."""


def head(run: Any) -> int:
    """Weights of the head that is trained: a language model has its own already."""
    return D * LABELS + LABELS if hasattr(run.experiment.task, "labels") else 0


NORMS = 2 * BLOCKS + 1
LOADER = """
import gc

gc.disable()
import json, sys
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

jobs = json.loads(sys.argv[1])
found = {}
for name, (base, labels, folder, batch) in jobs.items():
    torch.manual_seed(123)
    if name.startswith("peft "):
        if labels:
            plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
        else:
            plain = AutoModelForCausalLM.from_pretrained(base)
        model = PeftModel.from_pretrained(plain, folder)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        found[name] = model.eval()(**load_file(batch)).logits
assert not any(name.startswith("autolora_bench") for name in sys.modules)
save_file(found, sys.argv[2])
"""

pytestmark = [pytest.mark.every_method, pytest.mark.parametrize("method", METHODS)]


def rank_weights(run: Any, path: str) -> int:
    """Sum of r (inputs + outputs) over the layers of a file of ranks."""
    ranks = json.loads((run.folder / path).read_text())["ranks"]
    return sum(rank * (D + (D if ".attention." in name else F)) for name, rank in ranks.items())


def pretrained(run: Any) -> int:
    return sum(
        t.numel() for t in load_file(Path(run.experiment.model.checkpoint) / "model.safetensors").values()
    )


def adapter_weights(c: AdapterConfig) -> int:
    """LoRA paper, section 5.1: N (2 D M + M + D) + 2 D L."""
    per_block = 2 if c.placement is Placement.houlsby else 1
    adapters = per_block * (BLOCKS - round(c.drop * BLOCKS))
    norms = NORMS * c.layer_norms + adapters * (c.placement is Placement.lin)
    return adapters * (2 * D * c.bottleneck + c.bottleneck + D) + 2 * D * norms


def lstm_weights(h: int) -> int:
    """Two layers both ways: four gates on input and state with two biases; then two linear layers."""
    layers = 2 * 4 * h * ((D + h + 2) + (2 * h + h + 2))
    return layers + (2 * h + 1) * 2 * h + (2 * h + 1) * D


COUNTS: dict[type[MethodConfig], Callable[[Any, Any], int]] = {
    FullConfig: lambda c, run: pretrained(run),
    BitFitConfig: lambda c, run: BLOCKS * (4 * D + F + D + 2 * D) + D + D,  # with the pooler's
    AdapterConfig: lambda c, run: adapter_weights(c),
    LoraConfig: lambda c, run: 2 * BLOCKS * (c.rank * 2 * D + c.variant.dora * D),
    MonarchConfig: lambda c, run: 2 * BLOCKS * c.blocks * c.block_rank * 2 * D,
    AdaLoraConfig: lambda c, run: 2 * BLOCKS * c.target_rank * (2 * D + 1),
    AutoLoraConfig: lambda c, run: rank_weights(run, "threshold/ranks.json"),
    RankedLoraConfig: lambda c, run: rank_weights(run, "allocate/ranks.json"),
    AllocatorConfig: lambda c, run: rank_weights(run, "search/ranks.json"),
    PrefixConfig: lambda c, run: 2 * BLOCKS * D * c.virtual_tokens,
    PromptConfig: lambda c, run: D * c.virtual_tokens,
    PTuningConfig: lambda c, run: D * c.virtual_tokens + lstm_weights(D // 2),
    LlamaAdapterConfig: lambda c, run: BLOCKS * (D * c.virtual_tokens + run.model.config.num_attention_heads),
    IA3Config: lambda c, run: BLOCKS * (2 * D + F),
    HeadOnlyConfig: lambda c, run: 0,
}
"""Trained weights without the head, by a formula of each kind's own: a new kind must state its."""


def low_rank(c: Any, name: str) -> bool:
    return "lora_" in name or ".modules_to_save." in name


def prompts(c: Any, name: str) -> bool:
    return name.startswith("prompt_encoder.") or ".modules_to_save." in name


MOVED: dict[type[MethodConfig], Callable[[Any, str], bool]] = {
    FullConfig: lambda c, name: True,
    BitFitConfig: lambda c, name: name.endswith(".bias") or name.startswith("classifier."),
    AdapterConfig: lambda c, name: (
        ".adapter" in name or name.startswith("classifier.") or (c.layer_norms and "LayerNorm" in name)
    ),
    LoraConfig: low_rank,
    MonarchConfig: lambda c, name: ".monarch." in name or name.startswith("classifier."),
    AdaLoraConfig: low_rank,
    AutoLoraConfig: low_rank,
    RankedLoraConfig: low_rank,
    AllocatorConfig: low_rank,
    PrefixConfig: prompts,
    PromptConfig: prompts,
    PTuningConfig: prompts,
    LlamaAdapterConfig: lambda c, name: ".adaption_" in name,
    IA3Config: lambda c, name: ".ia3_l." in name or ".modules_to_save." in name,
    HeadOnlyConfig: lambda c, name: name.startswith("classifier."),
}
"""Which weights a kind of method may move: a new kind must state its."""


def stated(table: dict[type[MethodConfig], Any], config: MethodConfig) -> Any:
    kinds = [kind for kind in type(config).__mro__ if kind in table]
    if not kinds:
        pytest.fail(f"{type(config).__name__} has no entry in this file's table: state what holds for it")
    return table[kinds[0]]


def departure(c: MethodConfig) -> float:
    """How far from the pretrained logits a method may start: not at all, by rounding, as adapters near identity, or
    by a first step down the gradient."""
    variant = getattr(c, "variant", VariantConfig())
    if variant.start is Start.gora:
        return 1e-3
    if variant.start.changes_weights or variant.dora:
        return 2e-6
    return 1e-4 if isinstance(c, AdapterConfig) else 0


def test_output_is_unchanged_at_the_start(method: str, trained: Any) -> None:
    run = trained(method)
    if isinstance(run.experiment.method, LoraBalancedConfig):
        pytest.skip("it goes on with what it trained: test_balanced.py holds its start")
    expected = run.logits_of(run.context.backbone().model)
    if kind_of(run.experiment.method).works_on.starts_unchanged:
        torch.testing.assert_close(run.first_logits, expected, rtol=0, atol=departure(run.experiment.method))
    else:
        assert not torch.allclose(run.first_logits, expected, atol=1e-5)
        fresh = build_method(run.experiment.method).phases()[-1].adapt(run.context.backbone(), run.context)
        torch.testing.assert_close(run.logits_of(fresh.get_base_model()), expected, rtol=0, atol=0)


def test_trainable_count_is_the_formula(method: str, trained: Any) -> None:
    run = trained(method)
    expected = stated(COUNTS, run.experiment.method)(run.experiment.method, run)
    counted = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    assert counted == expected + head(run)
    assert run.record.parameters.trainable == counted
    assert run.record.parameters.method == expected
    assert run.record.parameters.total == pretrained(run) + head(run)


def test_only_intended_weights_move_and_all_of_them_do(method: str, trained: Any) -> None:
    run = trained(method)
    may_move = stated(MOVED, run.experiment.method)
    moved = {
        name
        for name, weight in run.model.named_parameters()
        if weight.shape != run.before[name].shape or not torch.equal(weight, run.before[name])
    }
    assert moved == {name for name in run.before if may_move(run.experiment.method, name)}


def test_loss_falls(method: str, trained: Any) -> None:
    """Prompts before a random encoder lower it little and slowly: their later epochs are taken together. A training
    that goes on from another is below LoRA's first epoch."""
    epochs = {"prefix_tuning": 12, "prompt_tuning": 12, "p_tuning": 6}.get(method)
    slow = epochs is not None
    run = trained(method, f"train.epochs={epochs}") if slow else trained(method)
    first = trained("lora") if method == "lora_balanced" else run
    losses = [evaluation.train_loss for evaluation in (*first.record.history[:1], *run.record.history)]
    later = losses[len(losses) // 2 + 1 :] if slow else losses[-1:]
    assert sum(later) / len(later) < losses[0]


def test_the_record_says_what_a_classifier_reads_that_authors_do_not(method: str, trained: Any) -> None:
    run = trained(method)
    [details] = [p.details for p in run.record.phases if p.name in ("finetune", "retrain")]
    said = method in ("prompt_tuning", "p_tuning")
    assert ("classifier_reads" in details) == said
    assert not said or "first virtual token" in details["classifier_reads"]


def test_rebuilt_model_gives_the_same_logits(method: str, trained: Any) -> None:
    run = trained(method)
    rebuilt = build_method(run.experiment.method).rebuild(run.context)
    torch.testing.assert_close(run.logits_of(rebuilt), run.logits, rtol=0, atol=0)


@pytest.fixture(scope="module")
def loaded(
    trained: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, torch.Tensor]:
    """Of the methods that are tested now: method -> logits of its export, loaded where nobody knows this project."""
    here = [item for item in request.session.items if item.path == request.path]
    tested = {item.callspec.params["method"] for item in here}  # type: ignore[attr-defined]
    folder = tmp_path_factory.mktemp("loaded")
    jobs: dict[str, tuple[str, int, str, str]] = {}
    for method in sorted(tested):
        run = trained(method)
        export = run.folder / run.record.phases[-2].artefact / "export"
        kind = "peft" if (export / "adapter_config.json").is_file() else "transformers"
        if kind == "peft" or (export / "model.safetensors").is_file():
            save_file({k: v for k, v in run.batch.items() if k != "labels"}, folder / f"{method}.batch")
            base, labels = run.experiment.model.checkpoint, LABELS if head(run) else 0
            jobs[f"{kind} {method}"] = (base, labels, str(export), str(folder / f"{method}.batch"))
    command = [sys.executable, "-c", LOADER, json.dumps(jobs), str(folder / "logits")]
    subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return {name.split()[1]: logits for name, logits in load_file(folder / "logits").items()}


def test_export_loads_elsewhere_with_the_same_logits(method: str, trained: Any, loaded: Any) -> None:
    run = trained(method)
    export = run.folder / run.record.phases[-2].artefact / "export"
    assert not [path for path in export.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    if method in loaded:
        found = loaded[method]
    else:
        load = load_llama_adapter if (export / "llama_adapter.json").is_file() else load_adapter
        found = run.logits_of(load(run.context.backbone(seed=99).model, export))
    torch.testing.assert_close(found, run.logits, rtol=0, atol=1e-6)


def test_export_says_what_it_is_and_names_no_folder_of_this_machine(method: str, trained: Any) -> None:
    run = trained(method)
    export = run.folder / run.record.phases[-2].artefact / "export"
    here = [str(place).encode() for place in (run.folder, run.experiment.model.checkpoint, Path.home())]
    for path in export.rglob("*"):
        assert not any(place in path.read_bytes() for place in here), path.name
    config = AutoConfig.from_pretrained(export)
    assert config.use_cache is True
    if head(run):
        assert list(config.id2label.values()) == run.experiment.task.labels
    words = "the film is good"
    tokens = AutoTokenizer.from_pretrained(export)(words)["input_ids"]
    assert tokens == run.context.tokenizer(words)["input_ids"]
    card = (export / "README.md").read_text()
    assert f"seed {run.experiment.seed}" in card
    assert f"| {run.record.headline} |" in card
    assert "More Information Needed" not in card
    weights = {"bottleneck_adapter": "load_adapter(", "llama_adapter": "load_llama_adapter("}
    for name, load in weights.items():
        assert (load in card) is (export / f"{name}.json").is_file()
    if (export / "adapter_config.json").is_file():
        said = json.loads((export / "adapter_config.json").read_text())
        assert said["base_model_name_or_path"] is None
        for name in ("target_modules", "modules_to_save"):
            if isinstance(said.get(name), list):
                assert said[name] == sorted(set(said[name]))


@pytest.mark.sample(keep=("autolora", "adalora", "lora_balanced", "gora", "adapter"))
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    method: str, trained: Any, tmp_path: Path, interrupt_every_training_once: Any, resumed: Any
) -> None:
    run = trained(method)
    interrupted = interrupt_every_training_once(step=2 if method == "lora_balanced" else 4)
    record = resumed(run.experiment, tmp_path)
    assert len(interrupted) == sum(phase.steps is not None for phase in run.record.phases)
    assert record.history == run.record.history
    assert [phase.details for phase in record.phases] == [phase.details for phase in run.record.phases]
    for path in run.folder.rglob("*"):
        if path.name in ("weights.safetensors", "selection.json", "trajectory.jsonl", "ranks.json"):
            assert (tmp_path / path.relative_to(run.folder)).read_bytes() == path.read_bytes(), path.name
