"""Less memory: frozen weights in 16 bits or NF4, and blocks that are computed again; what is trained stays the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autolora_bench.errors import UserError
from autolora_bench.methods.base import build_method
from autolora_bench.models.merged import merged

SHORT = ["train=reference", "train.epochs=2", "data.limit=32", "data.limit_evaluation=8"]
SEARCHED = [*SHORT, "method.search.epochs=2"]
FEW = ["train=reference", "task=e2e", "task.metrics=[bleu]", "task.epoch_records=2", "task.decoding.beams=2"]
FEW += ["task.decoding.max_new_tokens=4", "data.limit=12", "data.limit_evaluation=4", "train.epochs=1"]
BF16, NF4 = "model.dtype=bf16", "model.quantization=nf4"


def words_for(method: str, *more: str) -> list[str]:
    return [*(SEARCHED if method == "autolora" else SHORT), *more]


def weights_of(run: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in run.model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize(("method", "precision"), [("lora", "bf16"), ("autolora", "fp32")])
@pytest.mark.sample(keep=("autolora",))
def test_sixteen_bits_are_the_frozen_weights_alone(
    method: str, precision: str, trained: Callable[..., Any]
) -> None:
    run = trained(method, *words_for(method, BF16, f"train.precision={precision}"))
    trained_ones = load_file(run.folder / run.record.phases[-2].artefact / "weights.safetensors")
    kept = {name: w.dtype for name, w in run.before.items() if "original" not in name}
    assert {kept[name] for name in kept.keys() - trained_ones.keys()} == {torch.bfloat16}
    assert (
        {kept[name] for name in trained_ones}
        == {weight.dtype for weight in trained_ones.values()}
        == {torch.float32}
    )
    assert any("classifier" in name for name in trained_ones)
    export = load_file(run.folder / run.record.phases[-2].artefact / "export/adapter_model.safetensors")
    assert {weight.dtype for weight in export.values()} == {torch.float32}
    assert any(not torch.equal(w, run.before[n]) for n, w in weights_of(run).items() if "lora_" in n)
    if precision == "fp32":  # otherwise the trained model's forward still runs under autocast
        rebuilt = build_method(run.experiment.method).rebuild(run.context)
        torch.testing.assert_close(run.logits_of(rebuilt), run.logits)


@pytest.mark.parametrize("storage", [BF16, NF4])
def test_losses_are_near_those_of_full_weights(storage: str, trained: Callable[..., Any]) -> None:
    """A tenth is far less than the loss falls by, and more than rounding a tiny model's weights costs."""
    full, stored = trained("lora", *SHORT), trained("lora", *SHORT, storage)
    for ours, theirs in zip(stored.record.history, full.record.history, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=0.1)


@pytest.mark.parametrize("method", ["lora", "autolora", "adalora"])
@pytest.mark.sample(keep=("lora",))
def test_nf4_is_the_frozen_matrices_alone(method: str, trained: Callable[..., Any]) -> None:
    run = trained(method, *words_for(method), NF4)
    packed = [name for name, p in run.model.named_parameters() if p.dtype is torch.uint8]
    assert packed
    assert all(".encoder.layer." in name for name in packed)
    full = trained(method, *words_for(method))
    assert run.record.parameters == full.record.parameters
    assert {weight.dtype for weight in weights_of(run).values()} == {torch.float32}
    torch.testing.assert_close(
        run.logits_of(build_method(run.experiment.method).rebuild(run.context)), run.logits
    )


@pytest.mark.parametrize(
    ("method", "storage"), [("lora", (BF16,)), ("autolora", (NF4,)), ("autolora", (NF4, BF16))], ids=str
)
@pytest.mark.sample(keep=("autolora-('model.quantization=nf4',)",))
def test_resumed_bit_for_bit(
    method: str,
    storage: tuple[str, ...],
    trained: Any,
    tmp_path: Path,
    interrupt_every_training_once: Any,
    resumed: Any,
) -> None:
    run = trained(method, *words_for(method), *storage)
    interrupted = interrupt_every_training_once(step=2)
    record = resumed(run.experiment, tmp_path)
    assert len(interrupted) == sum(phase.steps is not None for phase in record.phases)
    for path in run.folder.rglob("*"):
        if path.name in ("weights.safetensors", "selection.json", "trajectory.jsonl"):
            assert (tmp_path / path.relative_to(run.folder)).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("storage", [(BF16,), (NF4,), (NF4, BF16)], ids=" ".join)
@pytest.mark.sample(keep=("model.dtype=bf16", "model.quantization=nf4"))
def test_the_card_loads_the_export(
    storage: tuple[str, ...], trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the very lines of its README; in bf16 up to the rounding of a head that is then in bf16 too.

    On a CPU that bitsandbytes repacks weights for, too, which fails on this model's rows of 32.
    """
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    run = trained("lora", *SHORT, *storage)
    export = run.folder / "finetune/export"
    assert "quantization_config" not in (export / "config.json").read_text(encoding="utf-8")
    text = (export / "README.md").read_text(encoding="utf-8").split("```")[1].removeprefix("python")
    lines = [line for line in text.strip().splitlines() if not line.startswith("pipeline(")]
    place = repr(str(export)), repr(run.experiment.model.checkpoint)
    found: dict[str, Any] = {}
    exec("\n".join(lines).replace("FOLDER", place[0]).replace("BASE", place[1]), found)
    tolerance = 2e-2 if BF16 in storage else 1e-5
    torch.testing.assert_close(
        run.logits_of(found["model"].eval()).float(), run.logits, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("storage", [BF16, NF4])
@pytest.mark.sample(keep=("model.quantization=nf4",))
def test_a_language_model_learns_and_writes(
    storage: str, trained: Callable[..., Any], tiny_decoder: Path
) -> None:
    run = trained("lora", f"model.checkpoint={tiny_decoder}", *FEW, storage)
    assert run.record.best["validation"].scores
    before = {name: weight.clone() for name, weight in run.model.named_parameters()}
    with merged(run.model) as plain:
        assert plain is run.model.get_base_model()
        assert all(torch.equal(weight, before[name]) for name, weight in run.model.named_parameters())


def test_evaluation_in_between_leaves_nf4_differentiable(trained: Callable[..., Any]) -> None:
    """bitsandbytes would repack weights for reading and pass no gradient through them after that."""
    run = trained("lora", *SHORT, NF4)
    model = run.model
    run.logits_of(model)
    model.train()
    model.zero_grad()
    model(**run.batch).loss.backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if "lora_A" in n
    )


@pytest.mark.parametrize(
    ("method", "words", "what"),
    [
        ("full", [BF16], "method=full"),
        ("bitfit", [BF16], "method=bitfit"),
        ("full", [NF4], "method=full"),
        ("lora", [NF4, "method.variant.start=pissa"], "start=pissa"),
        ("lora", [BF16, "method.variant.start=olora"], "start=olora"),
        ("lora", [NF4, "method.variant.start=lora_ga"], "start=lora_ga"),
        ("lora", [BF16, "method.variant.lora_pro=true"], "lora_pro"),
        ("lora_gradient_ranks", [NF4], "reads ranks off"),
        ("adapter", [BF16], "method=adapter"),
        ("lora", ["model.dtype=fp16"], "fp16"),
        ("adalora", [BF16], "method=adalora"),
        ("lora", [NF4, "model.architecture=gpt2"], "architecture gpt2"),
        ("lora", ["train.gradient_checkpointing=true", "train.padding_free=true"], "gradient_checkpointing"),
        ("lora", ["train.gradient_checkpointing=true", "model.architecture=mpnet"], "architecture mpnet"),
        ("prefix_tuning", ["train.gradient_checkpointing=true"], "method=prefix_tuning"),
        (
            "autolora",
            ["train.gradient_checkpointing=true", "method.search.diagnose_steps=[1]"],
            "diagnose_steps",
        ),
        (
            "autolora",
            ["train.gradient_checkpointing=true", "method.search.estimator=unrolled"],
            "estimator=unrolled",
        ),
        (
            "lora_learned_rates",
            ["train.gradient_checkpointing=true", "method.rates.exact=true", "method.rates.inner_steps=2"],
            "method.rates.exact=true",
        ),
    ],
)
@pytest.mark.sample(one_in=4)
def test_what_is_not_proved_is_refused(
    method: str, words: list[str], what: str, composed: Callable[..., Any]
) -> None:
    with pytest.raises(UserError) as error:
        composed(method, *words)
    assert what in error.value.what
    assert error.value.mend


@pytest.mark.parametrize("storage", [BF16, NF4])
def test_methods_that_freeze_the_weights_are_not_said_to_change_them(
    storage: str, composed: Callable[..., Any]
) -> None:
    for method in ("head_only", "ia3", "monarch", "prompt_tuning"):
        with pytest.raises(UserError, match=f"method={method}, for which it is not proved"):
            composed(method, storage)
    for method in ("full", "bitfit"):
        with pytest.raises(UserError, match=f"method={method}, which changes the pretrained weights"):
            composed(method, storage)


def test_rates_that_are_learnt_at_the_models_own_weights_go_with_blocks_computed_again(
    composed: Callable[..., Any],
) -> None:
    assert composed("lora_learned_rates", "train.gradient_checkpointing=true").train.gradient_checkpointing


def test_a_missing_package_is_refused_before_training(
    composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autolora_bench.config import memory

    monkeypatch.setattr(memory, "find_spec", lambda name: None)
    memory.check_package(composed("lora"))
    with pytest.raises(UserError) as error:
        memory.check_package(composed("lora", NF4))
    assert "pip install 'autolora-bench[nf4]'" in error.value.mend


@pytest.mark.parametrize(
    "method",
    [
        *("autolora", "full"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("lora", "dora", "monarch", "adalora", "bitfit", "head_only")
        ),
    ],
)
@pytest.mark.sample(one_in=2)
def test_computed_again_trains_the_same(method: str, trained: Callable[..., Any]) -> None:
    """With dropout: the second pass draws the masks of the first. Weights and selection are equal bit for bit."""
    plain, again = (
        trained(method, *words_for(method), f"train.gradient_checkpointing={on}") for on in ("false", "true")
    )
    found, wanted = weights_of(again), weights_of(plain)
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=0)
    for path in plain.folder.rglob("selection.json"):
        assert (again.folder / path.relative_to(plain.folder)).read_bytes() == path.read_bytes()


def test_blocks_are_computed_again(trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    from transformers.models.bert.modeling_bert import BertSelfAttention

    forward = BertSelfAttention.forward

    def counted(self: Any, *given: Any, **options: Any) -> Any:
        calls.append(self.training)
        return forward(self, *given, **options)

    monkeypatch.setattr(BertSelfAttention, "forward", counted)
    words = ["train.epochs=1", "data.limit=8", "data.limit_evaluation=4", "train.batch_size=8"]
    trained("lora", *words)
    plain = sum(calls)
    calls.clear()
    trained("lora", *words, "train.gradient_checkpointing=true")
    assert sum(calls) == 2 * plain
