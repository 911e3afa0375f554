"""Encoder-decoders write texts: trained, resumed, exported, loaded again; teacher forcing, smoothing, beams."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from autolora_bench.config.task import IGNORED, DecodingConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import build_method
from autolora_bench.tasks.generation.beam import Stops, beam_search
from autolora_bench.tasks.generation.encode import padded

KINDS = ["bart", "t5"]
WORDS = [
    "task=e2e",
    "task.metrics=[bleu]",
    "task.epoch_records=2",
    "task.decoding.beams=2",
    "task.decoding.max_new_tokens=4",
    "train.epochs=1",
    "data.limit=8",
    "data.limit_evaluation=4",
    "train.batch_size=4",
]
SEARCH = ["method.search.epochs=1", "method.search.batch_size=4"]
LABELS = ["task=bionlp"]
METHODS = ["lora", "autolora", "adalora", "full", "ia3", "prefix_tuning", "prompt_tuning", "p_tuning"]
RANKED = METHODS[:3]
QUICK = {("t5", "lora"), ("bart", "autolora")}


@pytest.fixture(scope="session")
def run_of(trained: Callable[..., Any], encoder_decoders: dict[str, Path]) -> Callable[..., Any]:
    def find(kind: str, method: str, *more: str) -> Any:
        search = SEARCH if method == "autolora" else []
        return trained(method, f"model.checkpoint={encoder_decoders[kind]}", *WORDS, *search, *more)

    return find


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param(kind, method, marks=[] if (kind, method) in QUICK else pytest.mark.slow)
        for kind in KINDS
        for method in METHODS
    ],
)
@pytest.mark.sample(keep=("t5",))
def test_trained_resumed_exported_and_loaded_again(
    kind: str,
    method: str,
    run_of: Callable[..., Any],
    encoder_decoders: dict[str, Path],
    tmp_path: Path,
    interrupt_every_training_once: Any,
    resumed: Any,
) -> None:
    run = run_of(kind, method)
    assert run.record.best["validation"].scores
    rebuilt = build_method(run.experiment.method).rebuild(run.context)
    torch.testing.assert_close(run.logits_of(rebuilt), run.logits, rtol=0, atol=0)
    phase = "retrain" if method == "autolora" else "finetune"
    export = run.folder / phase / "export"
    if method == "full":
        theirs = AutoModelForSeq2SeqLM.from_pretrained(export)
    else:
        theirs = PeftModel.from_pretrained(
            AutoModelForSeq2SeqLM.from_pretrained(encoder_decoders[kind]), export
        )
    if method in RANKED:
        keys = [(layer.block, layer.projection) for layer in run.record.ranks]
        assert len(set(keys)) == len(keys) == 2 * 6
    torch.testing.assert_close(run.logits_of(theirs), run.logits, rtol=1e-5, atol=1e-6)

    interrupted = interrupt_every_training_once(step=2)
    again = resumed(run.experiment, tmp_path)
    assert len(interrupted) == sum(one.steps is not None for one in again.phases)
    assert (tmp_path / phase / "weights.safetensors").read_bytes() == (
        run.folder / phase / "weights.safetensors"
    ).read_bytes()
    for path in (tmp_path / "evaluate").glob("*.jsonl"):
        assert path.read_bytes() == (run.folder / "evaluate" / path.name).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sample(keep=("t5",))
def test_the_batch_is_what_the_model_itself_would_make_of_its_labels(
    kind: str, run_of: Callable[..., Any]
) -> None:
    run = run_of(kind, {"t5": "lora", "bart": "autolora"}[kind])
    batch, model = run.batch, run.model.get_base_model()
    theirs = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    counted = batch["labels"] != IGNORED
    assert torch.equal(batch["decoder_input_ids"][counted], theirs[counted])
    ends = {int(row[row != IGNORED][-1]) for row in batch["labels"]}
    assert ends == {model.config.eos_token_id}
    assert {
        int(row[mask == 1][-1]) for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    } == ends


@pytest.mark.parametrize("smoothing", [pytest.param(0, marks=pytest.mark.slow), 0.1])
def test_micro_batches_add_up(smoothing: float, run_of: Callable[..., Any]) -> None:
    """Labels of micro-batches differ in number: the whole batch's mean loss weighs tokens, not micro-batches."""
    words = ["method.dropout=0", "train.max_steps=2", f"train.label_smoothing={smoothing}"]
    whole, parts = (run_of("bart", "lora", *words, f"train.accumulation={n}") for n in (1, 2))
    for name, weight in whole.model.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(
                dict(parts.model.named_parameters())[name], weight, rtol=1e-2, atol=1e-4
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beams", [1, 3])
def test_outputs_are_those_of_generate(
    kind: str, beams: int, tiny_encoder_decoder: Callable[..., Any]
) -> None:
    vocabulary = 40
    model = tiny_encoder_decoder(kind, vocabulary).double().eval()
    end = model.config.eos_token_id
    drawn = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.copy_(torch.randn(weight.shape, generator=drawn, dtype=weight.dtype) * 0.25)
    settings = DecodingConfig(beams=beams, length_penalty=0.9, no_repeat_ngram=0, max_new_tokens=8)
    ends = torch.zeros(vocabulary, dtype=torch.bool)
    nothing = ends.clone()
    ends[end] = True
    generator = torch.Generator().manual_seed(1)
    records = [torch.randint(4, vocabulary, (n,), generator=generator).tolist() for n in (3, 7, 5, 2)]
    tokens, mask = padded(records, model.config.pad_token_id)
    options = {"length_penalty": 0.9, "early_stopping": "never"} if beams > 1 else {}
    config = GenerationConfig(
        num_beams=beams,
        do_sample=False,
        max_new_tokens=8,
        eos_token_id=end,
        pad_token_id=model.config.pad_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
        **options,
    )
    expected = model.generate(tokens, attention_mask=mask, generation_config=config)[:, 1:].tolist()
    found = beam_search(model, tokens, mask, settings, Stops(ends, nothing, nothing))
    assert len({tuple(output) for output in found}) > 1
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == (theirs[: theirs.index(end) + 1] if end in theirs else theirs)


@pytest.mark.parametrize(
    ("method", "words", "what"),
    [
        ("lora", LABELS, "an encoder-decoder, whose answers are texts, and task=bionlp is tagging"),
        ("bitfit", [], "method=bitfit is not proved on an encoder-decoder"),
        ("olora", [], "start=olora is not proved"),
        ("lora", ["method.variant.start=pissa"], "start=pissa is not proved"),
        ("lora", ["train.padding_free=true"], "architecture t5"),
        ("lora", ["model.dtype=bf16"], "an encoder-decoder"),
        ("lora", ["train.gradient_checkpointing=true"], "an encoder-decoder"),
    ],
)
@pytest.mark.sample(one_in=3)
def test_what_is_not_proved_is_refused(
    method: str, words: list[str], what: str, composed: Callable[..., Any]
) -> None:
    with pytest.raises(UserError) as error:
        composed(method, *([] if words == LABELS else WORDS), "model.architecture=t5", *words)
    assert what in error.value.what
    assert error.value.mend


def test_a_kind_that_is_not_known_is_refused(
    encoder_decoders: dict[str, Path], tmp_path: Path, composed: Any
) -> None:
    from autolora_bench.models.preflight import check_model

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "marian", "is_encoder_decoder": true}', encoding="utf-8"
    )
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="of a kind that is not known here"):
        check_model(composed("lora", *WORDS, f"model.checkpoint={folder}"))
