"""Recovery: what the student sees, what its error means, and that whole runs are scored, kept and resumed rightly."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext, build_method
from autolora_bench.models.adapted_layers import block_and_projection
from autolora_bench.models.load import Backbone
from autolora_bench.record import RunRecord
from autolora_bench.runner import run_experiment
from autolora_bench.tasks import recovery_teacher
from autolora_bench.tasks.base import EvaluationContext
from autolora_bench.tasks.recovery import Recovery

WORDS = [
    "task=planted",
    "model=small",
    "model.random={blocks: 4, units: 16, vocabulary: 200}",
    "task.rows={train: 96, validation: 24, test: 32}",
    "task.truth=[0,1,3,4]",
    "task.rank=2",
    "train.max_steps=30",
    "train.warmup=0",
    "method.learning_rate=1e-2",
    "device=cpu",
]
SEARCH = ["method.search.components=4", "method.search.diagnose_steps=[2]"]
CPU = torch.device("cpu")


def experiment(*words: str) -> ExperimentConfig:
    with composer():
        said = {word.partition("=")[0] for word in words}
        said |= {"model.random"} if "model=any" in words else set()
        return to_experiment(compose_config([*(w for w in WORDS if w.partition("=")[0] not in said), *words]))


def prepared(folder: Path, *words: str) -> PhaseContext:
    context = PhaseContext(experiment(*words), folder, CPU)
    assert context.splits
    return context


def task_of(context: PhaseContext) -> Recovery:
    assert isinstance(context.task, Recovery)
    return context.task


def run(folder: Path, *words: str) -> RunRecord:
    record = run_experiment(experiment(*words), folder, "autolora-bench ...", None)
    assert record.error is None, record.error["traceback"]
    return record


def evaluated(context: PhaseContext, model: Any, split: str = "test", final: bool = True) -> Any:
    found = EvaluationContext(context.tokenizer, CPU, batch_size=7, final=final)
    return context.task.evaluate(model, context.splits.held_out[split], found)


def batch_of(context: PhaseContext, rows: int) -> dict[str, Tensor]:
    train = context.splits.train
    return context.task.collator(context.tokenizer)([train[i] for i in range(rows)])


def test_an_untrained_student_has_the_error_one(tmp_path: Path) -> None:
    context = prepared(tmp_path, "method=oracle")
    model = context.backbone().model
    for split in ("validation", "test"):
        assert evaluated(context, model, split).scores.values["relative_error"] == pytest.approx(1, abs=1e-6)
    whole = batch_of(context, len(context.splits.train))
    assert float(model(**whole).loss.detach()) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("own_cache")
def test_a_student_with_the_planted_weights_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Tensor] = {}
    real = recovery_teacher.planted
    monkeypatch.setattr(
        recovery_teacher, "planted", lambda model, deltas: found.update(deltas) or real(model, deltas)
    )
    context = prepared(tmp_path, "method=oracle", "task.plant_seed=3")
    truth = task_of(context).truth
    assert {name: int(torch.linalg.matrix_rank(delta)) for name, delta in found.items()} == {
        name: rank for name, rank in truth.items() if rank
    }
    backbone = context.backbone()
    with torch.no_grad():
        for name, delta in found.items():
            backbone.model.get_submodule(name).weight += delta
    assert evaluated(context, backbone.model).scores.values["relative_error"] < 1e-10


def test_the_loss_is_the_mean_square_over_the_variance_and_counts_no_padding(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    context = prepared(tmp_path, "method=oracle", *encoder(tiny_encoder), "task.planted.length=9")
    task, model = task_of(context), context.backbone().model.train()
    batch = batch_of(context, 3)
    shorter = {name: value.clone() for name, value in batch.items()}
    shorter["attention_mask"][1, 5:] = 0
    shorter["labels"][1, 5:] = -100
    with torch.no_grad():
        loss = float(model(**shorter).loss)
        states = model(
            input_ids=shorter["input_ids"], attention_mask=shorter["attention_mask"]
        ).last_hidden_state
    rows = [(states[i, : 5 if i == 1 else 11] - task.teacher.of(i)[: 5 if i == 1 else 11]) for i in range(3)]
    expected = torch.cat(rows).square().mean() / task.variance
    assert loss == pytest.approx(float(expected), rel=1e-5)


def encoder(folder: Path) -> list[str]:
    return ["model=any", f"model.checkpoint={folder}", "task.change=0.002"]


def test_no_dropout_and_no_head_on_a_transformer(tmp_path: Path, tiny_encoder: Path) -> None:
    context = prepared(tmp_path, "method=lora", *encoder(tiny_encoder))
    backbone = context.backbone()
    assert backbone.head_modules == []
    batch = batch_of(context, 4)
    model = backbone.model.train()
    with torch.no_grad():
        assert model(**batch).loss == model(**batch).loss == model.eval()(**batch).loss


def test_inputs_of_the_splits_are_disjoint(tmp_path: Path, shared_data: Path, tiny_encoder: Path) -> None:
    rows = "task.rows={train: 300, validation: 100, test: 100}"
    local = prepared(tmp_path, *encoder(tiny_encoder), "data=local", f"data.dir={shared_data}", rows)
    for context in (prepared(tmp_path, "method=lora"), local):
        splits = {"train": context.splits.train, **context.splits.held_out}
        tokens = {name: {tuple(row) for row in split["input_ids"]} for name, split in splits.items()}
        assert {name: len(split) for name, split in splits.items()} == context.experiment.task.rows  # type: ignore[attr-defined]
        assert {name: len(found) for name, found in tokens.items()} == context.experiment.task.rows  # type: ignore[attr-defined]
        assert not tokens["train"] & tokens["test"]
        assert not tokens["train"] & tokens["validation"]
        assert not tokens["validation"] & tokens["test"]


def test_random_tokens_are_the_models_own(tmp_path: Path, tiny_encoder: Path) -> None:
    context = prepared(tmp_path, *encoder(tiny_encoder), "task.planted.length=6")
    special = context.tokenizer.all_special_ids
    for row in context.splits.train["input_ids"]:
        assert len(row) == 8
        assert [token in special for token in row] == [True, *[False] * 6, True]
        assert max(row) < len(context.tokenizer)


def test_too_few_inputs_are_refused(tmp_path: Path, tiny_encoder: Path) -> None:
    tsv = tmp_path / "glue/STS-B/train.tsv"
    tsv.parent.mkdir(parents=True)
    tsv.write_text("sentence1\tsentence2\tscore\na good film\ta bad film\t1\na good film\tA good  film\t2\n")
    with pytest.raises(UserError, match="has 2 different inputs, and task"):
        prepared(tmp_path, *encoder(tiny_encoder), "data=local", f"data.dir={tmp_path}")


@pytest.mark.parametrize("data", ["planted", "local"])
def test_inputs_without_room_for_a_token_are_refused(data: str, tmp_path: Path, tiny_encoder: Path) -> None:
    tsv = tmp_path / "glue/STS-B/train.tsv"
    tsv.parent.mkdir(parents=True)
    tsv.write_text("sentence1\tsentence2\tscore\na good film\ta bad film\t1\n")
    words = ["task.max_length=2", f"data={data}", *([f"data.dir={tmp_path}"] if data == "local" else [])]
    with pytest.raises(UserError, match=r"task.max_length=2 leaves no room for a token"):
        prepared(tmp_path, *encoder(tiny_encoder), *words)


@pytest.mark.usefixtures("own_cache")
def test_the_teacher_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = task_of(prepared(tmp_path, "method=lora")).teacher

    def never(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(recovery_teacher, "_outputs", never)
    again = task_of(prepared(tmp_path, "method=oracle")).teacher
    assert torch.equal(first.states, again.states)
    assert first.changes == again.changes
    for other in ("seed=1", "task.mode=size", "task.change=0.2", "model.random.seed=1", "task.truth=uniform"):
        with pytest.raises(AssertionError, match="computed again"):
            prepared(tmp_path, "method=oracle", other)


@pytest.mark.usefixtures("own_cache")
def test_another_network_of_the_same_weights_has_another_teacher(tmp_path: Path, tiny_encoder: Path) -> None:
    """An untrained student's error is 1; against the teacher of the other network it was 15."""
    folders = [shutil.copytree(tiny_encoder, tmp_path / name) for name in ("one", "other")]
    settings = json.loads((folders[1] / "config.json").read_text())
    other = {**settings, "hidden_act": "relu", "layer_norm_eps": 1e-3}
    (folders[1] / "config.json").write_text(json.dumps(other))
    teachers = [task_of(prepared(tmp_path, "method=lora", *encoder(folder))).teacher for folder in folders]
    assert not torch.allclose(teachers[0].states, teachers[1].states)
    context = prepared(tmp_path, "method=lora", *encoder(folders[1]))
    found = evaluated(context, context.backbone().model)
    assert found.scores.values["relative_error"] == pytest.approx(1.0, rel=1e-4)


def test_the_plants_seed_is_the_runs_unless_it_is_said(tmp_path: Path) -> None:
    plants = [
        task_of(prepared(tmp_path, *words)).teacher.states
        for words in (["seed=5"], ["seed=1", "task.plant_seed=5"], ["seed=1"])
    ]
    assert torch.equal(plants[0], plants[1])
    assert not torch.allclose(plants[0], plants[2])


def test_a_teacher_without_updates_is_noise_of_the_same_size(tmp_path: Path) -> None:
    context = prepared(tmp_path, "method=lora", "task.truth=none")
    task = task_of(context)
    assert set(task.truth.values()) == {0}
    model = context.backbone().model
    assert evaluated(context, model).scores.values["relative_error"] == pytest.approx(1, abs=1e-6)
    with torch.no_grad():
        batch = batch_of(context, 96)
        states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    spread = (states.flatten(0, 1) - states.flatten(0, 1).mean(dim=0)).square().mean()
    assert task.variance / float(spread) == pytest.approx(0.35**2, rel=0.05)


def test_the_oracle_beats_uniform_and_uniform_the_reverse(tmp_path: Path) -> None:
    steps = ["train.max_steps=75", "task.rows.train=300", "method.learning_rate=2e-2"]
    records = {m: run(tmp_path / m, f"method={m}", *steps) for m in ("oracle", "lora_uniform", "reversed")}
    errors = {name: record.test["test"].scores["relative_error"] for name, record in records.items()}
    assert errors["oracle"] < 0.7 * errors["lora_uniform"] < errors["lora_uniform"] < errors["reversed"]  # type: ignore[operator]
    for record in records.values():
        assert sum(layer.rank for layer in record.ranks) == 8
        assert record.data["plant"]["truth"] == records["oracle"].data["plant"]["truth"]
    truth = records["oracle"].data["plant"]["truth"]
    assert {layer.module: layer.rank for layer in records["oracle"].ranks} == truth
    assert records["oracle"].test["test"].scores["rank_correlation"] == pytest.approx(1)
    assert records["reversed"].test["test"].scores["rank_correlation"] == pytest.approx(-1)
    uniform = records["lora_uniform"].test["test"]
    assert uniform.scores["rank_correlation"] is None
    assert "rank_correlation: undefined" in (uniform.note or "")


@pytest.mark.parametrize("method", ["autolora", "autolora_topk", "adalora", "eva", "full", "bitfit"])
@pytest.mark.sample(keep=("autolora", "full"))
def test_methods_run_on_it(tmp_path: Path, method: str) -> None:
    rate = "method.learning_rate=1e-3" if method in ("full", "bitfit") else "method.learning_rate=1e-2"
    record = run(tmp_path, f"method={method}", rate, *(SEARCH if method.startswith("autolora") else ()))
    scores = record.test["test"].scores
    hopeless = method == "bitfit"  # biases cannot follow a change of weights
    assert 0 < scores["relative_error"] < (1.01 if hopeless else 1)  # type: ignore[operator]
    assert record.headline == "relative_error"
    assert record.metrics == {"relative_error": False, "rank_correlation": True}
    if method in ("full", "bitfit"):
        assert scores["rank_correlation"] is None
        assert "gives layers no ranks" in (record.test["test"].note or "")
        return
    truth = record.data["plant"]["truth"]
    found = {layer.module: layer.rank for layer in record.ranks}
    assert list(found) == list(truth)
    if len(set(found.values())) > 1:
        expected = spearmanr(list(found.values()), list(truth.values())).statistic
        assert scores["rank_correlation"] == pytest.approx(expected)


def test_query_and_value_are_scored_apart(tmp_path: Path, tiny_encoder: Path) -> None:
    words = ["method=reversed", *encoder(tiny_encoder), "task.truth=[0,1,2,5]", "train.max_steps=2"]
    record = run(tmp_path, *words)
    scores = record.test["test"].scores
    assert scores["rank_correlation/query"] in (pytest.approx(1), pytest.approx(-1))
    assert scores["rank_correlation/value"] in (pytest.approx(1), pytest.approx(-1))
    assert scores["rank_correlation/planted"] == pytest.approx(-1)


BERT = [
    "model=small_bert",
    "model.random={kind: bert, blocks: 2, units: 16, vocabulary: 200}",
    "task.layers=[key,attention.output.dense,intermediate.dense,output.dense]",
    "task.truth=[0,0,0,1,1,3,5,6]",
    "task.change=0.2",
]
OUTSIDE = {"key", "attention.output.dense", "intermediate.dense", "output.dense"}


def test_ranks_are_planted_in_other_layers_than_those_that_are_adapted(tmp_path: Path) -> None:
    contexts = [
        prepared(tmp_path, "method=lora", *BERT, f"model.targets={targets}")
        for targets in ("all-linear", "[query,value]")
    ]
    first, second = (task_of(context) for context in contexts)
    assert torch.equal(first.teacher.states, second.teacher.states)  # one plant, whoever looks for it
    assert first.truth == second.truth
    for context, count in zip(contexts, (12, 4), strict=True):
        assert len(context.backbone().targets) == count
        assert set(context.backbone().targets) <= set(first.truth)
    found = {name: block_and_projection(name)[1] for name in first.truth}
    assert [*found] == contexts[0].backbone().targets
    assert {found[name] for name, rank in first.truth.items() if rank} <= OUTSIDE
    planted = sorted(rank for name, rank in first.truth.items() if found[name] in OUTSIDE)
    assert planted == [0, 0, 0, 1, 1, 3, 5, 6]
    model = contexts[0].backbone().model
    weights = {model.get_submodule(name).weight.shape for name in first.truth}
    assert weights == {(16, 16)}


def test_a_truth_outside_of_query_and_value_is_found_by_who_looks_there(tmp_path: Path) -> None:
    steps = ["train.max_steps=45", "task.rows.train=200", "method.learning_rate=3e-2"]
    every = run(tmp_path / "oracle", "method=oracle", *BERT, "model.targets=all-linear", *steps)
    truth = every.data["plant"]["truth"]
    assert {layer.module: layer.rank for layer in every.ranks} == truth
    assert every.test["test"].scores["rank_correlation"] == pytest.approx(1)
    few = run(tmp_path / "few", "method=lora_uniform", *BERT, "task.budget=4", *steps)
    assert sum(layer.rank for layer in few.ranks) == sum(truth.values()) == 16
    assert few.parameters == every.parameters  # layers of one size: equal ranks are equal weights
    found = {layer.module: layer.rank for layer in few.ranks}
    expected = spearmanr([found.get(name, 0) for name in truth], [*truth.values()]).statistic
    assert few.test["test"].scores["rank_correlation"] == pytest.approx(expected)
    assert expected < 0
    assert few.test["test"].scores["relative_error"] > 2 * every.test["test"].scores["relative_error"]  # type: ignore[operator]


@pytest.mark.slow
def test_a_search_over_all_linear_layers_drops_some(tmp_path: Path) -> None:
    faster = "method.search.selection_learning_rate=0.1"
    record = run(tmp_path, "method=autolora_all_linear", *BERT, "task.budget=1", faster, *SEARCH)
    assert len(record.ranks) == 12
    assert sum(layer.rank for layer in record.ranks) == 12
    assert 0 in {layer.rank for layer in record.ranks}


def test_what_cannot_be_planted_or_known_is_refused(tmp_path: Path) -> None:
    record = run_experiment(experiment("method=oracle", *BERT), tmp_path, "autolora-bench ...", None)
    assert record.error is not None
    assert "layers have planted ranks and no adapter" in record.error["message"]
    with pytest.raises(UserError, match=r"task.layers: no linear layer of 'small_bert' is called 'keys'"):
        prepared(tmp_path, "method=lora", *BERT, "task.layers=[keys]")
    with pytest.raises(UserError, match=r"task\.layers names key twice"):
        experiment("method=lora", *BERT, "task.layers=[key,key]")


def test_the_best_epoch_is_the_one_with_the_smallest_error(tmp_path: Path) -> None:
    words = ["method=lora", "train.keep=best", "method.learning_rate=0.3", "train.max_steps=60"]
    record = run(tmp_path, *words)
    errors = [e.scores["relative_error"] for e in record.history]
    assert min(errors) < errors[-1]  # type: ignore[type-var, operator]
    assert record.best["validation"].scores["relative_error"] == min(errors)  # type: ignore[type-var]
    assert record.phase("evaluate").details["validation"]["relative_error"] == pytest.approx(min(errors))  # type: ignore[union-attr, type-var]


@pytest.mark.parametrize("method", ["autolora_topk", "oracle"])
@pytest.mark.sample(keep=("autolora_topk",))
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    tmp_path: Path, method: str, interrupt_every_training_once: Any, resumed: Any
) -> None:
    words = [f"method={method}", *(SEARCH if method.startswith("autolora") else ()), "train.max_steps=10"]
    whole = run(tmp_path / "whole", *words)
    interrupted = interrupt_every_training_once(step=4)
    record = resumed(experiment(*words), tmp_path / "parts")
    assert len(interrupted) == 1 + method.startswith("autolora")
    assert record.history == whole.history
    assert record.test == whole.test
    assert record.ranks == whole.ranks
    assert record.data == whole.data


def test_accumulation_changes_nothing_but_rounding(tmp_path: Path) -> None:
    words = ["method=oracle", "train.max_steps=6"]
    parts = [run(tmp_path / str(n), *words, f"train.accumulation={n}") for n in (1, 4)]
    errors = [record.test["test"].scores["relative_error"] for record in parts]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)


def test_the_adapter_of_a_transformer_loads_on_the_plain_model(tmp_path: Path, tiny_encoder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    words = ["method=oracle", *encoder(tiny_encoder)]
    run(tmp_path, *words)
    context = prepared(tmp_path, *words)
    method: Callable[..., Any] = build_method(context.experiment.method).rebuild
    rebuilt = method(context).eval()
    loaded = PeftModel.from_pretrained(
        AutoModel.from_pretrained(tiny_encoder), tmp_path / "finetune/export"
    ).eval()
    batch = {
        name: value for name, value in batch_of(context, 5).items() if name not in ("labels", "variance")
    }
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(**batch).last_hidden_state, rebuilt(**batch).last_hidden_state, atol=1e-6, rtol=0
        )


def test_a_backbone_keeps_the_names_of_its_layers(tmp_path: Path, tiny_encoder: Path) -> None:
    backbone: Backbone = prepared(tmp_path, *encoder(tiny_encoder)).backbone()
    assert backbone.targets[0] == "encoder.layer.0.attention.self.query"
    assert type(backbone.model).__name__ == "BertModel"
