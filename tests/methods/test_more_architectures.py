"""Tiny random models of every architecture that is adapted: trained by four methods, stopped and resumed, exported,
loaded again by transformers and PEFT; with frozen weights in NF4, and with blocks that are computed again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from torch._dynamo.utils import counters
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from autolora_bench import cli
from autolora_bench.config.architectures import Is, has, those
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.model import ModelConfig, Quantization
from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.errors import UserError
from autolora_bench.interruption import Interrupted
from autolora_bench.methods.base import PhaseContext, build_method
from autolora_bench.methods.peft_adapter import adapted_by_peft
from autolora_bench.models.export import export
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone
from autolora_bench.models.targets import target_modules
from autolora_bench.record import Status, find_records, read_record
from autolora_bench.training.checkpoints import CheckpointPolicy

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
POSITIONS = {"max_position_embeddings": 280}
DEBERTA_V3 = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
GROUPED = {**SIZES, **POSITIONS, "num_key_value_heads": 2}
ENCODERS: dict[str, dict[str, Any]] = {
    "albert": {**SIZES, **POSITIONS, "embedding_size": 16},
    "bert": {**SIZES, **POSITIONS},
    "deberta-v2": {**SIZES, **POSITIONS, **DEBERTA_V3},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, **POSITIONS},
    "electra": {**SIZES, **POSITIONS, "embedding_size": 16},
    "modernbert": {**SIZES, **POSITIONS, "local_attention": 16, "reference_compile": False},
    "mpnet": {**SIZES, **POSITIONS},
    "roberta": {**SIZES, **POSITIONS, "type_vocab_size": 1},
    "xlm-roberta": {**SIZES, **POSITIONS, "type_vocab_size": 1},
}
DECODERS: dict[str, dict[str, Any]] = {
    "gemma2": {**GROUPED, "head_dim": 8, "sliding_window": 32},
    "gemma3_text": {**GROUPED, "head_dim": 8, "sliding_window": 32},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 280},
    "gpt_neox": {**SIZES, **POSITIONS},
    "llama": GROUPED,
    "mistral": GROUPED,
    "olmo2": GROUPED,
    "opt": {**SIZES, **POSITIONS, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi3": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
}
TARGETS = {
    **{name: {"query", "value"} for name in ("bert", "roberta")},
    **{name: {"q_proj", "v_proj"} for name in ("gemma2", "llama", "mistral", "opt", "qwen2")},
    "distilbert": {"q_lin", "v_lin"},
    "gpt2": {"query", "value"},
    "mpnet": {"q", "v"},
    "albert": {"query", "value"},
    "deberta-v2": {"query_proj", "value_proj"},
    "electra": {"query", "value"},
    "modernbert": {"Wqkv"},
    "xlm-roberta": {"query", "value"},
    "gemma3_text": {"q_proj", "v_proj"},
    "gpt_neox": {"query_key_value"},
    "olmo2": {"q_proj", "v_proj"},
    "phi3": {"qkv_proj"},
    "qwen3": {"q_proj", "v_proj"},
}

QUICK = {("deberta-v2", "lora"), ("modernbert", "lora"), ("qwen3", "lora")}
METHODS = ["lora", "autolora", "adalora", "full"]


def model_in(folder: Path, architecture: str, tokenizer_from: Path) -> Path:
    """A random model with the tokenizer of another folder."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from)
    if architecture == "mpnet":  # whose positions are counted after token 1, whatever its configuration says
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(1)
    tokenizer.save_pretrained(folder)
    marks = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    settings = (ENCODERS | DECODERS)[architecture]
    config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), **settings, **marks)
    torch.manual_seed(0)
    kind = AutoModel if architecture in ENCODERS else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_decoders_classifier_reads_no_padding(
    architecture: str, tiny_decoder: Path, tmp_path: Path
) -> None:
    """Whatever config.json says that padding is: a text has one score, alone and in a batch."""
    folder = model_in(tmp_path / "model", architecture, tiny_decoder)
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stated | {"pad_token_id": 5}))
    head = HeadSpec(HeadKind.sequence, ("no", "yes"))
    found = load_backbone(ModelConfig(name="any", checkpoint=str(folder)), head)
    model, tokenizer = found.model.eval(), found.tokenizer
    texts = ["a", "a longer text than the first one"]
    with torch.no_grad():
        together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def words_of(model: Path, method: str, *more: str) -> list[str]:
    search = ["method.search.epochs=1", "method.search.batch_size=4"] if method == "autolora" else []
    small = [
        *search,
        "data=generated",
        "data.limit=16",
        "data.limit_evaluation=8",
        "train.batch_size=4",
        "train.epochs=1",
    ]
    run = [
        "task=sst2",
        f"method={method}",
        "model=any",
        f"model.checkpoint={model}",
        "device=cpu",
        "~recipe",
        "~cell",
    ]
    return [*run, *small, "train.checkpoint_minutes=1e-9", "method.learning_rate=1e-2", *more]


def stop_at_the_second_checkpoint(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = CheckpointPolicy.on_save, []

    def stopping(self: CheckpointPolicy, *given: Any, **options: Any) -> Any:
        found = save(self, *given, **options)
        saved.append(1)
        if len(saved) == 2:
            raise Interrupted(15)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPolicy, "on_save", stopping)
        assert cli.run(words) == 143


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        pytest.param(name, method, marks=[] if (name, method) in QUICK else pytest.mark.slow)
        for name in (*ENCODERS, *DECODERS)
        for method in METHODS
    ],
)
@pytest.mark.sample(one_in=3)
def test_trained_resumed_exported_and_loaded_again(
    architecture: str,
    method: str,
    tiny_encoder: Path,
    tiny_decoder: Path,
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_in(
        own_folder / "model", architecture, tiny_encoder if architecture in ENCODERS else tiny_decoder
    )
    stop_at_the_second_checkpoint(words_of(model, method), monkeypatch)
    assert cli.run(words_of(model, method)) == 0
    assert cli.run(words_of(model, method, "results=fresh")) == 0
    resumed, fresh = (next(Path(name).rglob("weights.safetensors")) for name in ("runs", "fresh"))
    assert resumed.read_bytes() == fresh.read_bytes()
    record = read_record(next(find_records(Path("runs"))))
    assert record.status is Status.completed
    if method != "full":
        assert {layer.projection for layer in record.ranks} == TARGETS[architecture]

    with composer():
        experiment = to_experiment(compose_config(words_of(model, method)))
    context = PhaseContext(experiment, resumed.parent.parent, torch.device("cpu"))
    ours = build_method(experiment.method).rebuild(context).eval()
    export = resumed.parent / "export"
    attention = {"attn_implementation": ours.config._attn_implementation}
    if architecture == "mpnet":  # transformers itself has eager attention alone for it
        attention = {}
    if method == "full":
        theirs: Any = AutoModelForSequenceClassification.from_pretrained(export, **attention).eval()
    else:
        config = AutoConfig.from_pretrained(export)
        base = AutoModelForSequenceClassification.from_pretrained(model, config=config, **attention)
        theirs = PeftModel.from_pretrained(base, export).eval()
    inputs = inputs_of(AutoTokenizer.from_pretrained(export))
    with torch.no_grad():
        torch.testing.assert_close(theirs(**inputs).logits, ours(**inputs).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "LN_TUNING"])
def test_types_of_peft_that_touch_no_layer_of_gpt2s_attention_are_exported_as_they_are(
    kind: str, tiny_decoder: Path, own_folder: Path
) -> None:
    model = model_in(own_folder / "model", "gpt2", tiny_decoder)
    settings = ["+method.settings.num_virtual_tokens=4"] if kind == "PREFIX_TUNING" else []
    words = words_of(model, "peft", f"method.type={kind}", *settings)
    assert cli.run(words) == 0
    with composer():
        experiment = to_experiment(compose_config(words))
    export = next(Path("runs").rglob("export"))
    context = PhaseContext(experiment, export.parents[1], torch.device("cpu"))
    ours = build_method(experiment.method).rebuild(context).eval()
    base = AutoModelForSequenceClassification.from_pretrained(
        model, config=AutoConfig.from_pretrained(export)
    )
    theirs = PeftModel.from_pretrained(base, export).eval()
    inputs = inputs_of(AutoTokenizer.from_pretrained(export))
    with torch.no_grad():
        torch.testing.assert_close(theirs(**inputs).logits, ours(**inputs).logits, rtol=1e-5, atol=1e-6)


def gpt2_by_peft(folder: Path, kind: str, settings: dict[str, Any], targets: list[str] | None = None) -> Any:
    head = HeadSpec(HeadKind.sequence, ("no", "yes"))
    backbone = load_backbone(ModelConfig(name="any", checkpoint=str(folder), targets=targets), head)
    method = PeftMethodConfig(name="peft", title=kind, type=kind, settings=settings)
    return adapted_by_peft(backbone, HeadKind.sequence, method).eval()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("LORA", {"target_modules": ["c_attn", "c_proj"], "r": 2}),
        ("VERA", {"target_modules": ["attn.c_proj"], "r": 2}),
        ("LORA", {"target_modules": [], "target_parameters": ["c_attn.weight"], "r": 2}),
    ],
)
def test_a_type_that_names_gpt2s_layers_finds_them_and_loads_in_stock_peft(
    kind: str, settings: dict[str, Any], tiny_decoder: Path, tmp_path: Path
) -> None:
    """Though query, key and value are layers of their own where nobody names any."""
    folder = model_in(tmp_path / "model", "gpt2", tiny_decoder)
    ours = gpt2_by_peft(folder, kind, settings)
    with torch.no_grad():
        for weight in ours.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.3)
    export(ours, tmp_path / "export")
    theirs = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=2, pad_token_id=ours.config.pad_token_id
        ),
        tmp_path / "export",
    ).eval()
    inputs = inputs_of(AutoTokenizer.from_pretrained(folder))
    with torch.no_grad(), ours.disable_adapter():
        plain = ours(**inputs).logits
    with torch.no_grad():
        found = ours(**inputs).logits
        torch.testing.assert_close(theirs(**inputs).logits, found, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(plain, found, atol=1e-3)


@pytest.mark.parametrize("kind", ["LORA", "IA3"])
def test_what_mends_a_type_on_gpt2_does(kind: str, tiny_decoder: Path, tmp_path: Path) -> None:
    folder = model_in(tmp_path / "model", "gpt2", tiny_decoder)
    with pytest.raises(UserError, match="knows no query and value of GPT-2") as refused:
        gpt2_by_peft(folder, kind, {})
    said = yaml.safe_load(refused.value.mend.partition("=")[2].strip("'"))
    model = gpt2_by_peft(folder, kind, *(({}, said) if kind == "LORA" else (said,)))
    assert any("c_attn" in name and weight.requires_grad for name, weight in model.named_parameters())


def inputs_of(tokenizer: Any) -> dict[str, torch.Tensor]:
    encoded = tokenizer(["the film was good", "dull"], padding=True, return_tensors="pt")
    return {name: tensor for name, tensor in encoded.items() if name != "token_type_ids"}


def lora_gradients(
    model: Path, again: bool = False, compiled: bool = False, **storage: Any
) -> tuple[list[str], torch.Tensor]:
    """Linear layers that are packed, and the gradients of all B (A's are zero at the start) as one vector."""
    torch.manual_seed(0)
    config = ModelConfig(name="m", checkpoint=str(model), **storage)
    backbone = load_backbone(config, HeadSpec(HeadKind.sequence, ("no", "yes")))
    options = {"target_modules": backbone.targets, "modules_to_save": backbone.head_modules, "r": 2}
    lora: Any = get_peft_model(backbone.model, LoraConfig(task_type="SEQ_CLS", **options)).train()
    if again:
        lora.gradient_checkpointing_enable({"use_reentrant": False})
    computed = torch.compile(lora, backend="aot_eager") if compiled else lora
    inputs = inputs_of(backbone.tokenizer)
    for columns in (None, -1):  # of two lengths, for which other graphs are made
        torch.manual_seed(1)
        batch = {name: tensor[:, :columns] for name, tensor in inputs.items()}
        computed(**batch, labels=torch.tensor([1, 0])).loss.backward()
    found = [weight.grad.flatten() for name, weight in lora.named_parameters() if "lora_B" in name]
    return [n for n, w in lora.named_parameters() if w.dtype is torch.uint8], torch.cat(found)


@pytest.mark.parametrize("architecture", [*ENCODERS, *DECODERS])
@pytest.mark.sample(keep=("bert", "gpt2", "llama", "qwen3"))
def test_lora_learns_with_less_memory(
    architecture: str, tiny_encoder: Path, tiny_decoder: Path, tmp_path: Path
) -> None:
    """NF4 has the gradients of the full weights up to its rounding, recomputation up to the order of sums."""
    model = model_in(tmp_path, architecture, tiny_encoder if architecture in ENCODERS else tiny_decoder)
    _, full = lora_gradients(model)
    assert full.abs().sum() > 0
    if not has(architecture, Is.never_recomputed):
        torch.testing.assert_close(lora_gradients(model, again=True)[1], full, rtol=1e-5, atol=1e-7)
    if has(architecture, Is.nf4):
        packed, stored = lora_gradients(model, quantization=Quantization.nf4)
        assert len(packed) >= 2 * 4
        assert not torch.equal(stored, full)
        assert torch.cosine_similarity(stored, full, dim=0) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("architecture", those(Is.compiled))
def test_lora_learns_the_same_from_a_compiled_model(
    architecture: str, tiny_encoder: Path, tiny_decoder: Path, tmp_path: Path
) -> None:
    model = model_in(tmp_path, architecture, tiny_encoder if architecture in ENCODERS else tiny_decoder)
    _, expected = lora_gradients(model)
    torch.compiler.reset()
    before = counters["stats"]["unique_graphs"]
    torch.testing.assert_close(lora_gradients(model, compiled=True)[1], expected, rtol=1e-4, atol=1e-6)
    assert counters["stats"]["unique_graphs"] >= before + 2


@pytest.mark.parametrize("word", ["all-linear", "all_linear", "[all-linear]", "[all_linear]"])
@pytest.mark.sample(one_in=2)
def test_all_linear_is_one_word(word: str) -> None:
    with composer():
        found = to_experiment(compose_config(["task=sst2", "data=generated", f"model.targets={word}"]))
    assert found.model.targets == ["all_linear"]


def test_what_no_table_names_is_peft_s_choice_or_all_linear() -> None:
    with torch.device("meta"):
        bloom = AutoModel.from_config(
            AutoConfig.for_model("bloom", hidden_size=16, n_layer=2, n_head=2, vocab_size=9)
        )
        cohere = AutoModel.from_config(AutoConfig.for_model("nystromformer", **SIZES, vocab_size=9))
    named = target_modules(bloom, ModelConfig(name="m"))
    assert {name.rpartition(".")[2] for name in named} == {"query_key_value"}
    every = target_modules(cohere, ModelConfig(name="m"))
    assert every == target_modules(cohere, ModelConfig(name="m", targets=["all_linear"]))
    assert len(every) == 2 * 6
