"""LoRA's variants: what each start computes, that they combine, and that what they leave loads on untouched weights."""

from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
)

from autolora_bench.config.corrections import earlier_rules
from autolora_bench.config.experiment import experiment_identity
from autolora_bench.config.task import GenerationTask
from autolora_bench.config.variant import LoraGaConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext, build_method
from autolora_bench.methods.factors import FACTORS, read_factors, start_from
from autolora_bench.methods.initialising import gradient_factors
from autolora_bench.methods.ranked_model import _check_rows
from autolora_bench.methods.searching import SELECTION
from autolora_bench.runner import run_experiment
from autolora_bench.search.layers import lora_layers
from autolora_bench.training.arguments import training_arguments
from autolora_bench.training.weight_groups import WeightGroups

COMBINED = [
    ("autolora", "rslora=true", "rate_ratio=4", "start=pissa"),
    ("autolora", "dora=true"),
    ("autolora_topk", "start=eva", "lora_pro=true"),
    ("lora_from_ranks", "dora=true", "start=lora_ga"),
    ("lora_uniform", "start=eva", "rslora=true", "lora_pro=true"),
    ("lora_from_ranks", "start=corda", "rslora=true"),
    ("lora_from_ranks", "start=cur"),
    ("autolora", "options={init_lora_weights: gaussian, velora_config: {}}", "rslora=true"),
    ("lora_from_ranks", "options={lora_bias: true}", "start=lora"),
]
"""Method and options of method.variant."""
TEXTS = [
    *("task=e2e", "task.metrics=[bleu]", "task.epoch_records=2", "task.decoding.beams=1"),
    *("task.decoding.max_new_tokens=4", "data.limit=8", "data.limit_evaluation=4", "train.max_steps=3"),
]


@pytest.fixture(params=COMBINED, ids="-".join)
def combined(request: Any, trained: Any) -> Any:
    method, *options = request.param
    words = [f"{'+' * option.startswith('options')}method.variant.{option}" for option in options]
    return trained(method, *words, "train.epochs=1", "method.learning_rate=1e-3")


def loaded(run: Any) -> Any:
    """The export, by stock PEFT on the checkpoint as it is."""
    checkpoint = run.experiment.model.checkpoint
    if isinstance(run.experiment.task, GenerationTask):
        base = AutoModelForCausalLM.from_pretrained(checkpoint)
    else:
        base = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2)
    return PeftModel.from_pretrained(base, run.folder / run.record.phases[-2].artefact / "export").eval()


EXPORTED = [
    "rslora",
    "dora",
    "pissa",
    "olora",
    "lora_cur",
    "lora_ga",
    "corda",
    "eva",
    "lora_plus",
    "lora_pro",
]


@pytest.mark.parametrize("method", EXPORTED)
@pytest.mark.sample(keep=("pissa",))
def test_the_export_loads_on_untouched_weights(method: str, trained: Any) -> None:
    run = trained(method)
    torch.testing.assert_close(run.logits_of(loaded(run)), run.logits, rtol=0, atol=2e-6)


@pytest.mark.parametrize("method", EXPORTED)
@pytest.mark.sample(keep=("pissa",))
def test_so_it_does_where_a_language_models_output_layer_is_adapted(
    method: str, trained: Any, tiny_decoder: Path
) -> None:
    """PEFT's own saving adds that layer's base weight, which a start has changed."""
    words = [*TEXTS, f"model.checkpoint={tiny_decoder}", "model.targets=[q_proj,lm_head]"]
    run = trained(method, *words)
    torch.testing.assert_close(run.logits_of(loaded(run)), run.logits, rtol=0, atol=2e-5)
    saved = load_file(run.folder / "finetune/export/adapter_model.safetensors")
    assert not [name for name in saved if "lora_" not in name]


@pytest.mark.parametrize("method", ["pissa", "olora", "lora_cur", "lora_ga", "corda"])
@pytest.mark.sample(keep=("pissa",))
def test_a_start_takes_nothing_off_a_weight_that_another_layer_has_too(
    method: str, composed: Any, tiny_decoder: Path, tmp_path: Path
) -> None:
    """GPT-2's output layer is its embeddings, which would lack what was taken off and have no adapter for it."""
    folder = tmp_path / "tied"
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder)
    tokenizer.save_pretrained(folder)
    sizes = {"vocab_size": len(tokenizer), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 256}
    GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(folder)
    words = [*TEXTS, f"model.checkpoint={folder}", "model.targets=[c_attn,lm_head]"]
    record = run_experiment(composed(method, *words), tmp_path / "run", "autolora-bench ...", None)
    assert record.error is not None
    assert "lm_head of 'any' has its weight in common with the embeddings" in record.error["message"]


@pytest.mark.sample(keep=("lora_from_ranks-start=corda-rslora=true",))
def test_variants_combine_with_learnt_and_given_ranks(combined: Any) -> None:
    torch.testing.assert_close(
        combined.first_logits, combined.logits_of(combined.context.backbone().model), rtol=0, atol=2e-6
    )
    torch.testing.assert_close(combined.logits_of(loaded(combined)), combined.logits, rtol=0, atol=2e-6)
    rebuilt = build_method(combined.experiment.method).rebuild(combined.context)
    torch.testing.assert_close(combined.logits_of(rebuilt), combined.logits, rtol=0, atol=0)


def test_rslora_scales_by_the_root_of_the_rank(trained: Any) -> None:
    run = trained("rslora", "train.max_steps=1")
    layers = lora_layers(run.model).values()
    assert {layer.scaling["default"] for layer in layers} == {run.experiment.method.alpha / 2}


def test_rslora_scales_the_search_by_the_root_of_its_components(composed: Any, tmp_path: Path) -> None:
    """16 / sqrt(4) is 32 / 4, exactly: the two searches are the same, and plain LoRA's is another."""
    found = {}
    for name, words in {
        "rslora": ["method.search.rslora=true"],
        "twice": ["method.search.alpha=32"],
        "plain": [],
    }.items():
        experiment = composed("autolora", "method.search.components=4", "method.search.max_steps=3", *words)
        context = PhaseContext(experiment, tmp_path / name, torch.device("cpu"))
        build_method(experiment.method).phases()[0].run(context)
        found[name] = (tmp_path / name / SELECTION).read_bytes()
    assert found["rslora"] == found["twice"] != found["plain"]


def test_autolora_retrains_dora_with_the_ranks_it_learnt(trained: Any) -> None:
    """Magnitudes start as the norms of the weight's rows, and are trained beside the factors of the learnt ranks."""
    run = trained("autolora", "method.variant.dora=true", "train.epochs=1", "method.learning_rate=1e-3")
    ranks = [layer.rank for layer in run.record.ranks]
    magnitudes = {name: w for name, w in run.model.named_parameters() if "magnitude" in name}
    assert len(magnitudes) == len(ranks) == 4
    assert run.record.parameters.method == sum(64 * rank + 32 for rank in ranks)
    for name, layer in lora_layers(run.model).items():
        [first] = [w for key, w in run.before.items() if name in key and "magnitude" in key]
        torch.testing.assert_close(
            first, layer.get_base_layer().weight.detach().norm(dim=1), rtol=1e-6, atol=0
        )
    assert all(not torch.equal(w, run.before[name]) for name, w in magnitudes.items())


def test_pissa_starts_with_the_best_approximation_of_each_weight(trained: Any) -> None:
    run = trained("pissa")
    model = run.context.backbone().model
    for name, (a, b) in read_factors(run.folder / FACTORS).items():
        u, s, v = torch.linalg.svd(model.get_submodule(name).weight.detach().double())
        scale = run.experiment.method.alpha / run.experiment.method.rank
        torch.testing.assert_close(scale * (b @ a).double(), u[:, :4] * s[:4] @ v[:4], rtol=0, atol=1e-5)


def test_cur_starts_with_rows_of_each_weight_that_give_back_most_of_it(trained: Any) -> None:
    run = trained("lora_cur")
    model = run.context.backbone().model
    for name, (a, b) in read_factors(run.folder / FACTORS).items():
        weight = model.get_submodule(name).weight.detach()
        directions = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(weight).T
        torch.testing.assert_close(directions.max(dim=1).values, torch.ones(len(a)))
        torch.testing.assert_close(a.norm(), b.norm())
        scale = run.experiment.method.alpha / run.experiment.method.rank
        left, best = (weight - scale * b @ a).norm(), torch.linalg.svdvals(weight)[4:].norm()
        assert best < left < weight.norm()


def test_olora_starts_orthonormal(composed: Any, tmp_path: Path) -> None:
    experiment = composed("olora")
    context = PhaseContext(experiment, tmp_path, torch.device("cpu"))
    build_method(experiment.method).phases()[0].run(context)
    for a, b in read_factors(tmp_path / FACTORS).values():
        torch.testing.assert_close(b.T @ b, torch.eye(len(a)), rtol=0, atol=1e-5)


def test_lora_gas_first_step_is_the_closest_of_its_rank() -> None:
    """Theorem 3.1: the directions of the first step span the 2 r largest singular values of the gradient."""
    gradient = torch.randn(20, 12, generator=torch.Generator().manual_seed(0))
    a, b = gradient_factors(gradient, 3, LoraGaConfig(gamma=4.0))
    torch.testing.assert_close(a.norm(dim=1), torch.full((3,), 20**0.25 / 2))
    torch.testing.assert_close(b.norm(dim=0), torch.full((3,), 20**0.25 / 2))
    unit_a, unit_b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=0)
    step = unit_b @ (unit_b.T @ gradient) + (gradient @ unit_a.T) @ unit_a
    u, s, v = torch.linalg.svd(gradient, full_matrices=False)
    torch.testing.assert_close(step, (u[:, :6] * s[:6]) @ v[:6], rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["ipm", "kpm"])
@pytest.mark.sample(keep=("ipm",))
def test_corda_starts_with_components_of_the_weight_on_its_inputs(mode: str, trained: Any) -> None:
    """W C less the start's part of it, C the inputs' correlations, has the other singular values of W C; by hand, in
    double precision (CorDA's cordalib/decomposition.py scales every example by its largest input, and damps C)."""
    run = trained("corda", f"method.variant.corda.mode={mode}", "train.epochs=1")
    model = run.context.backbone().model.eval()
    factors = read_factors(run.folder / FACTORS)
    correlations: dict[str, Any] = {}

    def correlate(name: str, inputs: torch.Tensor) -> None:
        rows = inputs[0].double() / inputs.max().double().abs()
        correlations[name] = correlations.get(name, 0) + rows.T @ rows

    for name in factors:
        layer = model.get_submodule(name)
        layer.register_forward_hook(lambda layer, inputs, _, name=name: correlate(name, inputs[0]))
    train, collate = run.context.splits.train, run.context.task.collator(run.context.tokenizer)
    with torch.no_grad():
        for example in train:
            model(**collate([example]))
    assert run.record.phase("initialise").examples == len(train)
    method = run.experiment.method
    for name, (a, b) in factors.items():
        c = correlations[name] / len(train)
        c += 0.01 * c.diag().mean() * torch.eye(len(c))
        weight = model.get_submodule(name).weight.detach().double()
        values = torch.linalg.svdvals(weight @ c)
        taken = method.alpha / method.rank * (b.double() @ a.double()) @ c
        kept = values[method.rank :] if mode == "ipm" else values[: -method.rank]
        left = torch.linalg.svdvals(weight @ c - taken)[: len(kept)]
        torch.testing.assert_close(left, kept, rtol=1e-3, atol=1e-4 * float(values[0]))


def test_eva_spends_the_budget_and_starts_along_the_inputs(trained: Any) -> None:
    run = trained("eva")
    ranks = {layer.module: layer.rank for layer in run.record.ranks}
    config = run.experiment.method
    assert sum(ranks.values()) == config.rank * len(ranks)
    assert max(ranks.values()) <= config.variant.eva.rho * config.rank
    for a, b in read_factors(run.folder / FACTORS).values():
        torch.testing.assert_close(a @ a.T, torch.eye(len(a)), rtol=0, atol=1e-4)
        assert not b.any()
    entry = run.record.phase("initialise")
    assert 0 < entry.examples < entry.tokens
    for layer in lora_layers(run.model).values():
        assert layer.scaling["default"] == config.alpha / config.rank


STARTS = ("pissa", "olora", "lora_ga", "corda")


@pytest.mark.parametrize("method", [*STARTS, *(f"autolora {start}" for start in STARTS)])
@pytest.mark.sample(keep=("olora",))
def test_dropout_takes_nothing_of_the_weights_that_a_start_took(method: str, trained: Any) -> None:
    """In training mode, with dropout 0.5: at the start the pretrained model; later, what was trained is dropped."""
    name, _, start = method.partition(" ")
    words = ["method.dropout=0.5", "train.epochs=1", "method.learning_rate=1e-3"]
    run = trained(name, *words, *([f"method.variant.start={start}"] if start else []))
    adapt = build_method(run.experiment.method).phases()[-1].adapt
    expected = run.logits_of(run.context.backbone().model)

    def logits_in_training(model: Any) -> Any:
        """All other dropout off."""
        model.train()
        for layer in model.modules():
            if isinstance(layer, torch.nn.Dropout) and layer.p != 0.5:
                layer.p = 0.0
        return model(**{k: v for k, v in run.batch.items() if k != "labels"}).logits.detach()

    fresh = adapt(run.context.backbone(), run.context)
    assert [p for p in fresh.modules() if isinstance(p, torch.nn.Dropout) and p.p == 0.5]
    torch.testing.assert_close(logits_in_training(fresh), expected, rtol=0, atol=1e-5)
    rebuilt = build_method(run.experiment.method).rebuild(run.context)
    first, second = logits_in_training(rebuilt), logits_in_training(rebuilt)
    assert not torch.allclose(first, second, atol=1e-6), "what was trained is dropped"
    restored = run.logits_of(rebuilt.eval())
    torch.testing.assert_close(restored, run.logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("starts", [("lora_ga",), pytest.param(STARTS, marks=pytest.mark.slow)], ids=len)
def test_at_a_vanishing_rate_every_start_has_the_pretrained_loss(
    starts: tuple[str, ...], composed: Any, tiny_decoder: Path, tmp_path: Path
) -> None:
    """Of a Llama without dropout of its own: all starts, each without and with LoRA's, have one training loss."""
    texts = ["task=e2e", "task.metrics=[bleu]", "task.epoch_records=1", "task.decoding.beams=1"]
    small = ["task.decoding.max_new_tokens=2", "data.limit=4", "data.limit_evaluation=2", "train.epochs=1"]
    words = [*texts, *small, "method.learning_rate=1e-9", f"model.checkpoint={tiny_decoder}"]
    losses = {}
    for method in ("lora", *starts):
        for dropout in (0, 0.1):
            cell = composed(method, *words, f"method.dropout={dropout}")
            record = run_experiment(cell, tmp_path / f"{method}{dropout}", "autolora-bench ...", None)
            assert record.error is None, record.error["traceback"]
            losses[method, dropout] = record.history[0].train_loss
    expected = losses["lora", 0]
    assert losses == pytest.approx(dict.fromkeys(product(("lora", *starts), (0, 0.1)), expected), abs=1e-4)


def test_with_dropout_the_layer_computes_what_it_says() -> None:
    """W x + s (B A - B0 A0) d(x) for the very mask d that was drawn, after A and B have moved; bf16 too."""
    generator = torch.Generator().manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(6, 5, bias=False))
    weight = base[0].weight.detach().clone()
    config = LoraConfig(r=2, lora_alpha=3.0, lora_dropout=0.5, target_modules=["0"])
    model = get_peft_model(base, config)
    a, b = (torch.randn(shape, generator=generator) for shape in ((2, 6), (5, 2)))
    start_from(model, {"0": (a, b)}, take_off=True)
    [layer] = lora_layers(model).values()
    moved_a, moved_b = a + 0.3, b - 0.2
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(moved_a)
        layer.lora_B["default"].weight.copy_(moved_b)
    x = torch.randn(4, 6, generator=generator)
    masks = []
    layer.lora_dropout["default"].register_forward_hook(lambda _, inputs, output: masks.append(output))
    found = model.train()(x)
    change = 1.5 * (moved_b @ moved_a - b @ a)
    torch.testing.assert_close(found, x @ weight.T + masks[0] @ change.T)
    assert (masks[0] == 0).any()
    plain = model.eval()(x)
    torch.testing.assert_close(plain, x @ (weight + change).T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.train()(x)
    torch.testing.assert_close(half.float(), x @ weight.T + masks[-1] @ change.T, rtol=0.05, atol=0.15)


def groups_of(run: Any) -> dict[str, dict[str, Any]]:
    """Trained weight -> the options of its parameter group, in the optimizer that its run had."""
    arguments = training_arguments(
        run.experiment.train, run.folder / "none", learning_rate=1e-4, seed=0, device=torch.device("cpu")
    )
    phase = build_method(run.experiment.method).phases()[-1]
    heads = run.context.backbone().head_modules
    groups = WeightGroups(tuple(heads), run.experiment.method.weight_decay)
    make = phase._optimizer(run.context, groups)  # type: ignore[attr-defined]
    assert make is not None
    found = {id(p): group for group in make(run.model, arguments).param_groups for p in group["params"]}
    trained = {name: found.pop(id(p)) for name, p in run.model.named_parameters() if p.requires_grad}
    assert not found, "nothing else, and nothing twice"
    return trained


def test_lora_plus_learns_b_faster_and_the_head_as_ever(trained: Any) -> None:
    for name, group in groups_of(trained("lora_plus", "train.max_steps=1")).items():
        assert group["lr"] == pytest.approx(16e-4 if "lora_B" in name else 1e-4)
        assert group["weight_decay"] == (0 if name.endswith("bias") else 0.01)


@pytest.mark.parametrize("method", [*STARTS, "ia3", "lora_pro"])
@pytest.mark.sample(keep=("corda", "ia3", "pissa"))
def test_what_their_authors_do_not_decay_is_not_decayed(method: str, trained: Any) -> None:
    """The head is, as every method's."""
    run = trained(method)
    decays = {name: group["weight_decay"] for name, group in groups_of(run).items()}
    heads = {name for name in decays if "classifier" in name and name.endswith("weight")}
    assert len(heads) == 1
    assert {name for name, decay in decays.items() if decay} == heads
    assert getattr(run.experiment.method, "dropout", 0) == 0
    assert experiment_identity(run.experiment)["method"]["weight_decay"] == 0


@pytest.mark.parametrize("zeros", [False, True])
def test_dora_is_refused_where_a_row_has_no_direction(zeros: bool) -> None:
    """Its output is no number at once, whatever the rate."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[1] *= not zeros
    made = LoraConfig(target_modules=["0"], r=2, use_dora=True)
    model = get_peft_model(torch.nn.Sequential(layer), made)  # type: ignore[arg-type]
    assert bool(model(torch.ones(1, 4)).isnan().any()) is zeros
    with pytest.raises(UserError, match="row of zeros") if zeros else nullcontext():
        _check_rows(model)


def test_doras_magnitudes_are_not_decayed(trained: Any) -> None:
    for name, group in groups_of(trained("dora")).items():
        assert group["weight_decay"] == (0 if "magnitude" in name or name.endswith("bias") else 0.01)


def test_without_a_decay_of_its_own_a_method_has_the_trainers_groups(trained: Any) -> None:
    """The same groups as transformers' Trainer makes; and with one, all but the head has it."""
    run = trained("lora")
    phase = build_method(run.experiment.method).phases()[-1]
    assert phase._optimizer(run.context, WeightGroups(("classifier",))) is None  # type: ignore[attr-defined]
    arguments = training_arguments(
        run.experiment.train, run.folder / "none", learning_rate=1e-4, seed=0, device=torch.device("cpu")
    )
    ours = WeightGroups(("classifier",)).groups(run.model, arguments)
    theirs = Trainer(run.model, arguments).create_optimizer().param_groups
    assert {frozenset(map(id, g["params"])): g["weight_decay"] for g in ours} == {
        frozenset(map(id, g["params"])): g["weight_decay"] for g in theirs if g["params"]
    }
    own = WeightGroups(("classifier",), 0.3).groups(run.model, arguments)
    assert sorted(g["weight_decay"] for g in own) == [0, 0.01, 0.3]


@pytest.mark.parametrize(
    ("method", "words", "corrections", "earlier"),
    [
        ("lora", [], [], []),
        ("pissa", [], [], []),
        ("pissa", ["method.dropout=0.1"], ["start_not_dropped"], ["dropout removed parts"]),
        ("pissa", ["method.weight_decay=null"], [], ["A and B were decayed"]),
        ("autolora", ["method.variant.start=pissa"], ["start_not_dropped"], []),
        ("dora", [], ["magnitudes_not_decayed"], ["DoRA's magnitudes"]),
        ("dora", ["train.weight_decay=0"], [], []),
        ("autolora", ["method.variant.dora=true"], ["magnitudes_not_decayed"], ["DoRA's magnitudes"]),
        ("lora_plus", [], ["head_outside_ratio"], ["the head's biases"]),
        ("lora_plus", ["method.variant.rate_ratio=1"], [], []),
        ("ia3", ["method.weight_decay=null"], [], ["IA3's factors were decayed"]),
        ("lora_pro", ["method.variant.rslora=false"], [], ["alpha / rank"]),
        ("llama_adapter", [], ["gate_of_each_head"], ["one gate a block"]),
        ("lora", ["train.group_by_length=true"], ["grouped_by_seed"], ["an order of each method's own"]),
        ("lora_balanced", ["train.group_by_length=true"], [], []),
        ("lora_learned_rates", ["method.weight_decay=0.3"], ["decayed_as_trained"], ["decayed the head"]),
        ("lora_learned_rates", ["method.weight_decay=0.01"], [], []),
        ("lora_ga", ["train.batch_size=5"], ["start_by_labels"], ["weighed batches of its examples"]),
        ("lora_ga", [], [], []),
    ],
)
@pytest.mark.sample(one_in=4)
def test_runs_by_earlier_rules_have_another_identity_and_are_said_to_be(
    method: str, words: list[str], corrections: list[str], earlier: list[str], composed: Any
) -> None:
    found = experiment_identity(composed(method, *words))
    assert found["method"].pop("corrections", []) == corrections
    said = " ".join(earlier_rules(found))
    assert all(clause in said for clause in earlier)
    assert not said or earlier or corrections
    if not words:
        assert not earlier_rules(experiment_identity(composed(method)))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["lora_pro=true", "dora=true"], "lora_pro with method.variant.dora"),
        (["lora_pro=true", "rate_ratio=2"], "one learning rate"),
        (["rate_ratio=0"], "rate_ratio=0"),
        (["lora_ga.examples=0"], "lora_ga.examples=0"),
        (["eva.rho=0.5"], "eva.rho=0.5"),
        (["eva.tau=1"], "eva.tau=1"),
    ],
)
@pytest.mark.sample(one_in=3)
def test_variants_that_cannot_be_are_refused(words: list[str], what: str, composed: Any) -> None:
    with pytest.raises(UserError, match=what):
        composed("lora", *[f"method.variant.{word}" for word in words])


@pytest.mark.parametrize(
    ("method", "word", "what"),
    [
        ("gora", "method.variant.gora.learning_rate=0.9 method.variant.start=lora", "takes no such step"),
        ("autolora", "method.variant.eva.rho=5 method.variant.start=eva", "not EVA's to choose"),
        ("increlora", "method.minimum_rank=0", "begins with one component"),
        ("l1ra", "method.minimum_rank=0", "prunes no layer's last component"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(
    method: str, word: str, what: str, composed: Any
) -> None:
    with pytest.raises(UserError, match=what):
        composed(method, *word.split())


def test_a_rank_with_too_few_singular_vectors_is_refused(composed: Any, tmp_path: Path) -> None:
    record = run_experiment(composed("lora_ga", "method.rank=17"), tmp_path, "autolora-bench ...", None)
    assert record.error is not None
    assert record.error["message"].startswith("rank 17 is too large for this start")
    assert record.error["mend"] == "say a rank of at most 16"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("{lora_biass: true}", "lora_biass is no option"),
        ("{r: 8}", "the method decides the ranks"),
        ("{init_lora_weights: eva}", "init_lora_weights=eva"),
        ("{kasa_config: {}}", "method=peft"),
        ("{use_qalora: true}", "quantised"),
    ],
)
@pytest.mark.sample(one_in=2)
def test_options_that_cannot_be_are_refused(options: str, what: str, composed: Any) -> None:
    with pytest.raises(UserError, match=what):
        composed("lora", f"+method.variant.options={options}")


def test_options_do_not_go_with_a_start_that_changes_the_weights(composed: Any) -> None:
    with pytest.raises(UserError, match="knows the update scale B A alone"):
        composed("lora", "+method.variant.options={lora_bias: true}", "method.variant.start=pissa")


def test_what_peft_refuses_of_options_is_said_in_a_line(composed: Any, tmp_path: Path) -> None:
    """One of the given ranks is odd."""
    experiment = composed("lora_from_ranks", "+method.variant.options={init_lora_weights: orthogonal}")
    record = run_experiment(experiment, tmp_path, "autolora-bench ...", None)
    assert record.error is not None
    assert record.error["type"] == "UserError"
    assert "requires the LoRA rank to be even" in record.error["message"]
