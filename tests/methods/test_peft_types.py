"""Every type of the installed PEFT as a method: trained, resumed, rebuilt, exported, and loaded by stock PEFT."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from autolora_bench.config.model import ModelConfig
from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.config.peft_types import peft_types, starts_elsewhere
from autolora_bench.errors import UserError
from autolora_bench.methods.base import build_method
from autolora_bench.methods.peft_adapter import adapted_by_peft
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone
from autolora_bench.models.merged import merged
from autolora_bench.models.virtual import virtual_tokens
from autolora_bench.runner import run_experiment
from autolora_bench.tasks.base import EvaluationContext
from autolora_bench.tasks.generation.beam import beam_search, find_stops
from autolora_bench.tasks.generation.decode import decode

TYPES = list(peft_types())
SMALL: dict[str, str] = {
    "ADALORA": "{init_r: 6, target_r: 4, tinit: 1, tfinal: 1}",
    "ADAMSS": "{r: 16, num_subspaces: 2, use_asa: true, init_warmup: 1, final_warmup: 4, mask_interval: 2, "
    "asa_target_subspaces: 3}",
    "ADAPTION_PROMPT": "{adapter_len: 4, adapter_layers: 2}",
    "C3A": "{block_size: 8}",
    "CARTRIDGE": "{num_virtual_tokens: 4}",
    "CPT": "{cpt_token_ids: [1, 2, 3, 4], cpt_mask: [1, 1, 1, 1], cpt_tokens_type_mask: [1, 2, 3, 4]}",
    "FOURIERFT": "{n_frequency: 100}",
    "GRALORA": "{r: 8}",
    "HIRA": "{r: 8}",
    "LILY": "{r: 8}",
    "MISS": "{r: 8}",
    "MULTITASK_PROMPT_TUNING": "{num_virtual_tokens: 4}",
    "OFT": "{oft_block_size: 8}",
    "PEANUT": "{r: 8}",
    "PREFIX_TUNING": "{num_virtual_tokens: 4}",
    "PROMPT_TUNING": "{num_virtual_tokens: 4}",
    "PSOFT": "{r: 8}",
    "PVERA": "{r: 16}",
    "P_TUNING": "{num_virtual_tokens: 4}",
    "RANDLORA": "{r: 8}",
    "ROAD": "{group_size: 16}",
    "SHIRA": "{r: 4}",
    "TRAINABLE_TOKENS": "{token_indices: [5, 6, 7, 8, 9, 66, 67, 68, 69, 70]}",
    "VBLORA": "{vector_length: 16, num_vectors: 8}",
    "VERA": "{r: 16}",
    "WAVEFT": "{n_frequency: 100}",
}
"""Settings that fit layers of 32 and 16 units."""
OPTIONS: dict[str, str] = {
    "LORA gaussian": "{init_lora_weights: gaussian}",
    "LORA orthogonal": "{init_lora_weights: orthogonal}",
    "LORA mica": "{init_lora_weights: mica, r: 4}",
    "LORA kasa": "{kasa_config: {}, r: 4}",
    "LORA velora": "{velora_config: {}}",
    "LORA monteclora": "{monteclora_config: {buffer_size: 9}}",
    "LORA bdlora": "{use_bdlora: {nblocks: 2, target_modules_bd_a: [query, q_proj], "
    "target_modules_bd_b: [value, v_proj]}}",
    "LORA bias": "{lora_bias: true}",
    "LORA all biases": "{bias: all}",
    "LORA dora": "{use_dora: true}",
    "LORA rslora": "{use_rslora: true}",
    "LORA pattern": "{rank_pattern: {query|q_proj: 2}}",
    "ADAMSS plain": "{r: 16, num_subspaces: 2}",
}
"""Name, which begins with the type -> settings."""
BERT_ONLY_DECODERS = {
    "ADAPTION_PROMPT": "does not work on",
    "CPT": "does not work on",
    "SHADOW": "does not work on a bert model",
    "XLORA": "adapters that were trained before",
}
REFUSED: dict[str, dict[str, str]] = {
    "labels": BERT_ONLY_DECODERS,
    "tags": BERT_ONLY_DECODERS,
    "texts": {"XLORA": "adapters that were trained before"},
    "pairs": {
        "ADAPTION_PROMPT": "does not work on a t5 model",
        "CPT": "only supports task_type = CAUSAL_LM",
        "MULTITASK_PROMPT_TUNING": "no tokens to go on from",
        "SHADOW": "does not work on a t5 model",
        "XLORA": "adapters that were trained before",
    },
}
"""Kind of task -> type that is refused before anything is trained -> what the line says. Pairs are texts that an
encoder-decoder writes."""
WORDS = {
    "labels": ["task=sst2"],
    "tags": ["task=bionlp"],
    "texts": [
        *("task=e2e", "task.metrics=[bleu]", "task.epoch_records=2", "task.decoding.beams=1"),
        "task.decoding.max_new_tokens=4",
    ],
}
WORDS["pairs"] = WORDS["texts"]
SHORT = ["data.limit=16", "data.limit_evaluation=4", "train.epochs=2", "train.batch_size=4"]
LOADER = """
import json, sys
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
import transformers

kinds = {"labels": "SequenceClassification", "tags": "TokenClassification", "texts": "CausalLM", "pairs": "Seq2SeqLM"}
found = {}
for name, (kind, base, labels, folder, batch, more) in json.loads(sys.argv[1]).items():
    torch.manual_seed(123)
    auto = getattr(transformers, f"AutoModelFor{kinds[kind]}")
    if more is None:
        model = auto.from_pretrained(folder)
    else:
        plain = auto.from_pretrained(base, **({"num_labels": labels} if labels else {}))
        model = PeftModel.from_pretrained(plain, folder)
    inputs = load_file(batch)
    if more:
        inputs["task_ids"] = torch.zeros(len(inputs["input_ids"]), dtype=torch.long)
    with torch.no_grad():
        found[name] = model.eval()(**inputs, **({"labels": None} if "CPT" in name else {})).logits.contiguous()
assert not any(name.startswith("autolora_bench") for name in sys.modules)
save_file(found, sys.argv[2])
"""
T5_LAYERS = (("query, q_proj", "q"), ("value, v_proj", "v"), ("query|q_proj: 2", "q: 2"))
CASES = [*TYPES, *OPTIONS]


def quick(kind: str, number: int) -> bool:
    """A few of the types with labels, one with every other kind of task."""
    names = {
        "labels": ("ADALORA", "LILY", "VERA", "LORA kasa"),
        "tags": ("LN_TUNING",),
        "texts": ("C3A",),
        "pairs": ("PREFIX_TUNING",),
    }
    return CASES[number] in names[kind]


def cases(*kinds: str) -> Any:
    """All cases of these kinds of task."""
    marked = [
        pytest.param(kind, name, marks=[] if quick(kind, number) else pytest.mark.slow)
        for kind, (number, name) in product(kinds, enumerate(CASES))
        if name not in REFUSED[kind]
    ]
    return pytest.mark.parametrize(("kind", "name"), marked)


@pytest.fixture(scope="session")
def bases(tiny_encoder: Path, tiny_decoder: Path, encoder_decoders: dict[str, Path]) -> dict[str, Path]:
    """Kind of task -> a tiny random BERT, Llama or T5."""
    return {
        "labels": tiny_encoder,
        "tags": tiny_encoder,
        "texts": tiny_decoder,
        "pairs": encoder_decoders["t5"],
    }


@pytest.fixture(scope="session")
def tried(trained: Any, bases: dict[str, Path]) -> Callable[[str, str], Any]:
    """Kind of task, case -> its run."""

    def run(kind: str, name: str, *more: str) -> Any:
        return trained("peft", *words_of(kind, name, bases[kind]), *more)

    return run


def words_of(kind: str, name: str, base: Path) -> list[str]:
    settings = OPTIONS.get(name, SMALL.get(name, "{}"))
    for bert, t5 in T5_LAYERS if kind == "pairs" else ():
        settings = settings.replace(bert, t5)
    return [
        *WORDS[kind],
        *SHORT,
        f"model.checkpoint={base}",
        f"method.type={name.split()[0]}",
        f"+method.settings={settings}",
    ]


@cases(*WORDS)
def test_a_type_trains_what_it_says_and_all_of_the_head(kind: str, name: str, tried: Any) -> None:
    run = tried(kind, name)
    trainable = {n: w for n, w in run.model.named_parameters() if w.requires_grad}
    moved = {
        n
        for n, w in run.model.named_parameters()
        if w.shape != run.before[n].shape or not torch.equal(w, run.before[n])
    }
    head = {n for n in trainable if ".classifier." in f".{n}"}
    assert moved <= set(trainable)
    assert bool(head) == (kind in ("labels", "tags"))
    assert head <= moved
    assert moved - head, "nothing beside the head was trained"
    counted = sum(w.numel() for w in trainable.values())
    assert run.record.parameters.trainable == counted
    assert run.record.parameters.head == sum(trainable[n].numel() for n in head)
    assert run.record.parameters.method == counted - run.record.parameters.head


@cases(*WORDS)
def test_a_type_starts_at_the_pretrained_model_or_is_known_not_to(kind: str, name: str, tried: Any) -> None:
    run = tried(kind, name)
    expected = run.logits_of(run.context.backbone().model)
    gap = float((run.first_logits - expected).abs().max())
    method = run.experiment.method
    assert gap > 1e-7 if starts_elsewhere(method.type, method.settings) else gap < 2e-5, gap


@cases(*WORDS)
@pytest.mark.sample(keep=("ADALORA",))
def test_a_resumed_run_is_the_uninterrupted_one_and_is_rebuilt(
    kind: str, name: str, tried: Any, tmp_path: Path, interrupt_every_training_once: Any, resumed: Any
) -> None:
    run = tried(kind, name)
    rebuilt = build_method(run.experiment.method).rebuild(run.context)
    torch.testing.assert_close(run.logits_of(rebuilt), run.logits, rtol=0, atol=0)
    interrupted = interrupt_every_training_once(step=2)
    record = resumed(run.experiment, tmp_path)
    assert interrupted
    assert record.history == run.record.history
    assert [phase.details for phase in record.phases] == [phase.details for phase in run.record.phases]
    weights = Path("finetune", "weights.safetensors")
    assert (tmp_path / weights).read_bytes() == (run.folder / weights).read_bytes()


@pytest.fixture(scope="session")
def loaded(tried: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """Kind of task, case -> logits of its export, loaded where nobody knows this project, all of a kind together."""

    @cache
    def load(kind: str) -> Any:
        folder = tmp_path_factory.mktemp("loaded")
        jobs: dict[str, Any] = {}
        for number, name in enumerate(CASES):
            if name not in REFUSED[kind]:
                jobs[name] = job(kind, name, folder / f"{number}.batch")
        command = [sys.executable, "-W", "ignore", "-c", LOADER, json.dumps(jobs), str(folder / "logits")]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return load_file(folder / "logits")

    def job(kind: str, name: str, batch: Path) -> list[Any]:
        run = tried(kind, name)
        export = run.folder / "finetune" / "export"
        save_file({k: v for k, v in run.batch.items() if k != "labels"}, batch)
        more: bool | None = name in ("MULTITASK_PROMPT_TUNING", "POLY")
        if not (export / "adapter_config.json").is_file():
            more = None
        labels = {"labels": 2, "tags": 11, "texts": 0, "pairs": 0}[kind]
        return [kind, run.experiment.model.checkpoint, labels, str(export), str(batch), more]

    return lambda kind, name: load(kind)[name]


@cases(*WORDS)
@pytest.mark.slow
def test_an_export_loads_elsewhere_with_the_same_logits(
    kind: str, name: str, tried: Any, loaded: Any
) -> None:
    run = tried(kind, name)
    found = loaded(kind, name)
    virtual = found.shape[1] - run.logits.shape[1] if kind in ("tags", "texts") else 0
    torch.testing.assert_close(found[:, virtual:], run.logits, rtol=0, atol=2e-6)


@cases("pairs")
def test_an_encoder_decoder_writes_as_it_was_trained(kind: str, name: str, tried: Any) -> None:
    """Greedy decoding, which encodes once and remembers, against the likeliest token of a whole pass after each."""
    run = tried(kind, name)
    model, context = run.model.eval(), run.context
    prompts = run.batch["input_ids"][:2]
    mask = run.batch["attention_mask"][:2]
    settings = replace(run.experiment.task.decoding, max_new_tokens=6, beams=1, no_repeat_ngram=0)
    stops = find_stops(context.tokenizer, int(model.config.vocab_size), torch.device("cpu"))
    with merged(model) as plain:
        found = beam_search(plain, prompts, mask, settings, stops, virtual_tokens(model))
    written = torch.full((2, 1), model.config.decoder_start_token_id)
    for _ in range(6):
        with torch.no_grad():
            logits = model(input_ids=prompts, attention_mask=mask, decoder_input_ids=written).logits
        written = torch.cat([written, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    for tokens, expected in zip(found, written[:, 1:].tolist(), strict=True):
        assert tokens == expected[: len(tokens)]
        assert tokens


@cases("texts")
def test_texts_are_decoded_by_the_model_that_was_trained(kind: str, name: str, tried: Any) -> None:
    """Greedy decoding with a cache, against the likeliest token of a whole pass after each."""
    run = tried(kind, name)
    model, context = run.model.eval(), run.context
    prompt = run.batch["input_ids"][0][run.batch["labels"][0] == -100].tolist()[:20]
    settings = run.experiment.task.decoding
    settings = type(settings)(
        **{**vars(settings), "max_new_tokens": 5, "beams": 1, "batch_size": 1, "no_repeat_ngram": 0}
    )
    setup = EvaluationContext(context.tokenizer, torch.device("cpu"), 1, bf16=False)
    text = decode(model, [prompt], settings, setup)[0]
    tokens = list(prompt)
    for _ in range(5):
        with torch.no_grad():
            ids = torch.tensor([tokens])
            more = {"labels": None} if name == "CPT" else {}
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits
        tokens.append(int(logits[0, -1].argmax()))
    expected = context.tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True)
    said, expected = (" ".join(one.split()) for one in (text, expected))
    assert expected.startswith(said)
    assert said or not expected


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in REFUSED.items() for n in names])
@pytest.mark.sample(one_in=4)
def test_what_cannot_be_is_refused_in_a_line(
    kind: str, name: str, composed: Any, bases: dict[str, Path], tmp_path: Path
) -> None:
    try:
        experiment = composed("peft", *words_of(kind, name, bases[kind]))
    except UserError as error:
        said = error.what
    else:
        record = run_experiment(experiment, tmp_path, "autolora-bench ...", None)
        assert record.error is not None
        assert record.error["type"] == "UserError"
        assert not [phase for phase in record.phases if phase.steps]
        said = record.error["message"]
    assert REFUSED[kind][name] in said
    assert "\n" not in said


@pytest.mark.parametrize("kind", ["LORA", "VERA"])
def test_blocks_that_were_asked_for_are_the_only_ones(
    kind: str, composed: Any, tiny_encoder: Path, tmp_path: Path
) -> None:
    """PEFT passes layers_to_transform over beside whole names, which is how layers are found where none is named."""
    experiment = composed(
        "peft",
        f"method.type={kind}",
        "+method.settings={layers_to_transform: [1]}",
        f"model.checkpoint={tiny_encoder}",
        "task=sst2",
        "data.limit=8",
        "train.max_steps=1",
    )
    assert "blocks_as_asked" in experiment.method.corrections
    record = run_experiment(experiment, tmp_path, "autolora-bench ...", None)
    assert record.error is None, record.error
    trained = load_file(tmp_path / "finetune/weights.safetensors")
    blocks = {name.partition("layer.")[2].partition(".")[0] for name in trained if "layer." in name}
    assert blocks == {"1"}


def adapted(folder: Path, kind: str, settings: dict[str, Any]) -> set[str]:
    """Names of what a type trains of a classifier beside its head."""
    backbone = load_backbone(
        ModelConfig(name="any", checkpoint=str(folder)), HeadSpec(HeadKind.sequence, ("a", "b"))
    )
    method = PeftMethodConfig(name="peft", title=kind, type=kind, settings=settings)
    return trained_beside_the_head(adapted_by_peft(backbone, HeadKind.sequence, method))


def trained_beside_the_head(model: torch.nn.Module) -> set[str]:
    return {n for n, w in model.named_parameters() if w.requires_grad and ".classifier." not in n}


PARAMETERS: dict[str, Any] = {
    "target_modules": [],
    "target_parameters": ["intermediate.dense.weight"],
    "r": 2,
}


@pytest.mark.parametrize(
    ("settings", "what", "mend"),
    [
        ({"target_modules": ["query", "valeu"]}, "target_modules of LORA: nothing", "did you mean value"),
        ({"target_modules": ["uery"]}, "called uery", "did you mean query"),
        ({"exclude_modules": ["quary"]}, "exclude_modules of LORA", "did you mean query"),
        ({"modules_to_save": ["poooler"]}, "modules_to_save of LORA", "did you mean pooler"),
        ({"modules_to_save": "pooler"}, "is no list", "[pooler]"),
        ({"rank_pattern": {"query": 2, "quary": 8}}, "rank_pattern of LORA", "did you mean query"),
        ({"alpha_pattern": {"layer.2.*query": 8}}, "alpha_pattern of LORA", "choose among"),
        ({"rank_pattern": {"que(": 8}}, "PEFT refuses LORA", "other method.settings"),
        (
            {"target_modules": ["query"], "rank_pattern": {"value": 16}},
            "nothing of the adapted layers is called value",
            "choose among: query; or leave it out (said by a file: '+method.settings={rank_pattern: {}}')",
        ),
        ({"alpha_pattern": {"key": 16}}, "nothing of the adapted layers is called key", "query, value"),
        (
            {"target_modules": "all-linear", "rank_pattern": {"word_embeddings": 2}},
            "adapted layers is called word_embeddings",
            "choose among: dense, key, query, value;",
        ),
        (
            {"target_modules": ["query"], "layers_to_transform": [1], "rank_pattern": {"0.*query": 2}},
            "rank_pattern of LORA",
            "choose among: query;",
        ),
        (PARAMETERS | {"rank_pattern": {"intermediate.dense": 7}}, "rank_pattern of LORA", "dense.weight"),
        (
            {"modules_to_save": ["lm_head"]},
            "nothing of the model is called lm_head",
            "{modules_to_save: null}",
        ),
        ({"layers_to_transform": [0], "layers_pattern": "("}, "PEFT refuses LORA", "other method.settings"),
        ({"layers_to_transform": [0], "layers_pattern": 5}, "PEFT refuses LORA", "other method.settings"),
        ({"target_parameters": ["output.dense.wieght"]}, "target_parameters of LORA", "weight"),
        ({"target_modules": 5}, "PEFT refuses LORA", "other method.settings"),
        ({"layers_to_transform": ["x"]}, "has not: x", "from 0"),
        ({"layers_to_transform": [0, 7]}, "blocks that the model has not: 7", "from 0"),
        ({"layers_to_transform": [0, 7], "target_modules": ["query"]}, "has not: 7", "from 0"),
    ],
)
def test_what_names_nothing_of_the_model_is_refused(
    settings: dict[str, Any], what: str, mend: str, tiny_encoder: Path
) -> None:
    """PEFT passes it over beside names that are there."""
    with pytest.raises(UserError) as refused:
        adapted(tiny_encoder, "LORA", settings)
    assert what in refused.value.what
    assert mend in refused.value.mend


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("LORA", {"target_modules": ["self.query", "bert.encoder.layer.1.attention.self.value"]}),
        ("LORA", {"target_modules": r".*\.[01]\..*(query|key)", "exclude_modules": ".*layer.0.*"}),
        (
            "LORA",
            {
                "target_modules": ["query"],
                "rank_pattern": {"1.*query": 2, "^bert.*0.attention.self.query": 3},
            },
        ),
        ("LORA", {"target_modules": ["query"], "modules_to_save": ["pooler", "score", "classifier"]}),
        ("LORA", {"target_modules": ["dense"], "layers_to_transform": [1], "layers_pattern": "layer"}),
        ("LORA", {"target_modules": ["query"], "layers_to_transform": 0, "exclude_modules": ["layer.1"]}),
        ("OSF", {"target_modules": ["query"], "rank_pattern": {"attention": 2}}),
        ("LORA", {"target_modules": [], "target_parameters": ["intermediate.dense.weight"]}),
    ],
)
def test_what_names_layers_by_any_rule_of_pefts_goes_where_peft_puts_it(
    kind: str, settings: dict[str, Any], tiny_encoder: Path
) -> None:
    config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)]
    base = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)
    plain = {name: value.copy() if isinstance(value, list) else value for name, value in settings.items()}
    theirs = trained_beside_the_head(peft.get_peft_model(base, config(task_type="SEQ_CLS", **plain)))
    assert adapted(tiny_encoder, kind, settings) == theirs
    assert theirs


@pytest.mark.parametrize(
    ("kind", "settings", "shapes"),
    [
        ("LORA", PARAMETERS | {"rank_pattern": {"1.intermediate.dense.weight": 4}}, {2, 4}),
        ("LORA", PARAMETERS | {"rank_pattern": {"intermediate.dense.weight": 4}}, {4}),
        ("LORA", {"target_modules": "all-linear", "r": 2, "rank_pattern": {"key": 3}}, {2, 3}),
        (
            "LORA",
            {"target_modules": ".*(query|key)", "r": 2, "rank_pattern": {"layer.*.(key|value)": 3}},
            {2, 3},
        ),
        ("LORA", {"r": 2, "rank_pattern": {"value": 3}}, {2, 3}),
        ("LOHA", {"r": 2, "rank_pattern": {"value": 3}}, {2, 3}),
    ],
)
def test_a_pattern_of_what_is_adapted_is_heeded(
    kind: str, settings: dict[str, Any], shapes: set[int], tiny_encoder: Path
) -> None:
    backbone = load_backbone(
        ModelConfig(name="any", checkpoint=str(tiny_encoder)), HeadSpec(HeadKind.sequence, ("a", "b"))
    )
    method = PeftMethodConfig(name="peft", title=kind, type=kind, settings=settings)
    model = adapted_by_peft(backbone, HeadKind.sequence, method)
    trained = trained_beside_the_head(model)
    assert {min(w.shape) for n, w in model.named_parameters() if n in trained} == shapes


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "PROMPT_TUNING"])
def test_a_prompt_made_for_another_model_has_this_ones_sizes(
    kind: str, composed: Any, tiny_encoder: Path, tmp_path: Path
) -> None:
    foreign = {
        "token_dim": 3072,
        "num_layers": 28,
        "num_attention_heads": 24,
        "num_transformer_submodules": 2,
    }
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"peft_type": kind, "num_virtual_tokens": 4, **foreign}))
    method = composed("peft", f"method.config={file}").method
    backbone = load_backbone(
        ModelConfig(name="any", checkpoint=str(tiny_encoder)), HeadSpec(HeadKind.sequence, ("a", "b"))
    )
    model: Any = adapted_by_peft(backbone, HeadKind.sequence, method)
    size, layers = backbone.model.config.hidden_size, backbone.model.config.num_hidden_layers
    [weight] = [w for n, w in model.named_parameters() if "prompt_encoder" in n]
    assert weight.shape == (4, size * (2 * layers if kind == "PREFIX_TUNING" else 1))
    assert model(input_ids=torch.tensor([[5, 6]])).logits.shape == (1, 2)


def test_a_prompt_of_no_tokens_is_no_training(tiny_encoder: Path) -> None:
    with pytest.raises(UserError, match="trains nothing but the head"):
        adapted(tiny_encoder, "PROMPT_TUNING", {"num_virtual_tokens": 0})
