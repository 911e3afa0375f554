"""Ranks that are not learnt in the run: the allocations, what they are read from, and what a run's identity holds."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolora_bench.config.corrections import earlier_rules
from autolora_bench.config.experiment import config_id, experiment_identity
from autolora_bench.config.method import Allocation, RankedLoraConfig
from autolora_bench.config.ranks import layer_key, read_ranks
from autolora_bench.errors import UserError
from autolora_bench.methods.ranked import alike, draw_seed, ranks_for
from autolora_bench.models.adapted_layers import block_and_projection
from autolora_bench.paths import conf_dir
from autolora_bench.record import LayerRank, RunRecord, Status, write_record

MODULES = [f"bert.encoder.layer.{i}.attention.self.{p}" for i in range(6) for p in ("query", "value")]
PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published_ranks.csv"
FILE = "layer,projection,rank\n0,query,3\n0,value,0\n1,query,1\n1,value,2\n"


def config(allocation: Allocation, **more: Any) -> RankedLoraConfig:
    return RankedLoraConfig(name="x", title="X", learning_rate=1.0, allocation=allocation, **more)


def test_uniform_ranks_differ_by_one_and_sum_to_the_total() -> None:
    for total in range(1, 97):
        ranks = ranks_for(config(Allocation.uniform, total=total), MODULES, None, 0).ranks
        assert sum(ranks) == total
        assert max(ranks) - min(ranks) <= 1
        for half in (ranks[:6], ranks[6:]):
            assert abs(sum(half) - total / 2) <= 1, "the larger ranks are spread over the depth"


def test_without_a_total_uniform_and_random_have_loras() -> None:
    assert ranks_for(config(Allocation.uniform), MODULES, None, 0).ranks == (4,) * 12
    assert ranks_for(config(Allocation.random), MODULES, None, 0).total == 48


def test_random_ranks_keep_the_total_and_follow_the_seed() -> None:
    draws = [ranks_for(config(Allocation.random, total=40), MODULES, None, seed).ranks for seed in range(200)]
    assert {sum(ranks) for ranks in draws} == {40}
    assert all(1 <= rank <= 8 for ranks in draws for rank in ranks)
    assert len(set(draws)) > 190
    assert draws[3] == ranks_for(config(Allocation.random, total=40), MODULES, None, 3).ranks
    means = [sum(ranks[layer] for ranks in draws) / len(draws) for layer in range(12)]
    assert all(abs(mean - 40 / 12) < 0.5 for mean in means), "no layer is favoured"


@pytest.mark.parametrize(
    "given",
    [
        (4, 3, 5, 4, 1, 8, 2, 6, 3, 4, 5, 3),
        (0, 0, 0, 1, 2, 3, 4, 6, 8, 8, 8, 8),
        (4,) * 12,
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
    ],
)
def test_random_ranks_have_the_total_and_the_spread_of_their_source(given: tuple[int, ...]) -> None:
    """Mean and deviation exactly, with the ranks of the source; the last list leaves nothing but permutations."""
    source = {layer_key(*block_and_projection(name)): rank for name, rank in zip(MODULES, given, strict=True)}
    draws = [ranks_for(config(Allocation.random), MODULES, source, seed).ranks for seed in range(40)]
    for ranks in draws:
        assert np.mean(ranks) == pytest.approx(np.mean(given), abs=1e-12)
        assert np.std(ranks) == pytest.approx(np.std(given), abs=1e-12)
        assert set(ranks) <= set(given)
    assert len(set(draws)) >= (35 if len(set(given)) > 1 else 1)
    assert draws[7] == ranks_for(config(Allocation.random), MODULES, source, 7).ranks


def test_no_layer_is_favoured_by_random_ranks_with_a_source() -> None:
    given = (1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6)
    generator = torch.Generator().manual_seed(0)
    draws = np.array([alike(given, generator) for _ in range(400)])
    assert abs(draws.mean(axis=0) - 3.5).max() < 0.4
    counts = [np.count_nonzero(draws == rank) / draws.size for rank in range(1, 7)]
    assert max(abs(share - 1 / 6) for share in counts) < 0.02, "the source's distribution of ranks"


def test_every_task_and_seed_and_allocation_has_a_draw_of_its_own() -> None:
    tasks = [path.stem for path in (conf_dir() / "task").glob("*.yaml")]
    seeds = {draw_seed(a, task, seed) for a in Allocation for task in tasks for seed in range(5)}
    assert len(seeds) == len(Allocation) * len(tasks) * 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert draw_seed(Allocation.random, "rte", 1) == draw_seed(Allocation.random, "rte", 1)


def test_random_ranks_may_drop_layers_when_asked() -> None:
    draws = [
        ranks_for(config(Allocation.random, total=12, minimum_rank=0), MODULES, None, s).ranks
        for s in range(20)
    ]
    assert any(0 in ranks for ranks in draws)


def test_shuffled_ranks_are_a_permutation() -> None:
    source = {layer_key(i, p): 1 + (2 * i + (p == "value")) % 8 for i in range(6) for p in ("query", "value")}
    given = ranks_for(config(Allocation.given), MODULES, source, 0)
    shuffled = [ranks_for(config(Allocation.shuffled), MODULES, source, seed).ranks for seed in range(10)]
    assert given.ranks == tuple(source.values())
    assert all(Counter(ranks) == Counter(given.ranks) for ranks in shuffled)
    assert len(set(shuffled)) == 10
    assert given.ranks not in shuffled


def test_ranks_of_other_layers_are_refused() -> None:
    with pytest.raises(UserError, match=r"ranks for 1 layers, the model has 12; not in both: 0\.query"):
        ranks_for(config(Allocation.given), MODULES, {"9.query": 1}, 0)
    with pytest.raises(UserError, match="budget 500"):
        ranks_for(config(Allocation.random, total=500), MODULES, None, 0)


@pytest.mark.parametrize("name", ["query", "q", "q_proj", "q_lin", "query_proj"])
def test_a_layers_key_is_the_same_in_every_architecture(name: str) -> None:
    assert layer_key(3, name) == "3.query"


def test_the_authors_lists_are_read_by_task() -> None:
    with PUBLISHED.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == "mrpc"]
    found = read_ranks(str(PUBLISHED), "mrpc", 0)
    assert found.origin == "published_ranks.csv (mrpc)"
    assert found.ranks == {f"{row['layer']}.{row['projection']}": int(row["rank"]) for row in rows}
    with pytest.raises(UserError, match="no ranks of task wnli") as error:
        read_ranks(str(PUBLISHED), "wnli", 0)
    assert "bionlp, cola" in error.value.mend


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "ranks.csv").write_text("\ufefflayer,projection,rank\n0,query,3\n", encoding="utf-8")
    assert read_ranks(str(tmp_path / "ranks.csv"), "rte", 0).ranks == {"0.query": 3}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("layer,projection\n0,query\n", "has no column rank"),
        ("layer,projection,rank\n0,query,many\n", "holds no ranks"),
        ("layer,projection,rank\n0,query,1\n0,q,2\n", "twice"),
        ("layer,projection,rank\n0,query,-1\n", "negative"),
        ("layer,projection,rank\n0,query,1,7\n", "line 2: 4 columns where 3 are expected"),
        ("layer,projection,rank,note\n0,query,1,x\n0,value,1\n", "line 3: 3 columns where 4 are expected"),
    ],
)
def test_files_with_mistakes_are_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "ranks.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=match):
        read_ranks(str(tmp_path / "ranks.csv"), "rte", 0)


@pytest.mark.parametrize(
    "row", ['"layer": 0, "rank": 4.9', '"layer": 0.7, "rank": 4', '"layer": 0, "rank": true']
)
def test_ranks_that_are_no_whole_numbers_are_not_cut(row: str, tmp_path: Path) -> None:
    (tmp_path / "ranks.json").write_text(f'[{{{row}, "projection": "query"}}]', encoding="utf-8")
    with pytest.raises(UserError, match="is no whole number"):
        read_ranks(str(tmp_path / "ranks.json"), "rte", 0)


def write_run(folder: Path, seed: int, ranks: list[int]) -> None:
    record = RunRecord(
        "sst2", "any", "autolora", "0123abcd", seed, Status.completed, {}, "autolora-bench ..."
    )
    for i, (name, rank) in enumerate(zip(MODULES[:4], ranks, strict=True)):
        record.ranks.append(LayerRank(name, i // 2, name[-5:], rank))
    write_record(folder, record)


def test_a_run_a_record_and_a_cell_are_read(tmp_path: Path) -> None:
    cell = tmp_path / "autolora-0123abcd"
    for seed in (0, 1):
        write_run(cell / f"seed{seed}", seed, [3, 1, 4, 1 + seed])
    for source in (cell / "seed1", cell / "seed1" / "run.json"):
        found = read_ranks(str(source), "sst2", 0)
        assert (found.origin, found.cell) == ("sst2/any/autolora-0123abcd/seed1", None)
        assert found.ranks == {"0.query": 3, "0.value": 1, "1.query": 4, "1.value": 2}
    for pattern in (cell, tmp_path / "autolora-*"):
        found = read_ranks(str(pattern), "sst2", 0)
        assert (found.cell, found.origin) == (
            "sst2/any/autolora-0123abcd",
            "sst2/any/autolora-0123abcd/seed0",
        )
        assert sum(found.ranks.values()) == 9
    with pytest.raises(UserError, match="no run of seed 7"):
        read_ranks(str(cell), "sst2", 7)
    with pytest.raises(UserError, match="no such file"):
        read_ranks(str(tmp_path / "nothing"), "sst2", 0)
    shutil.copytree(cell, tmp_path / "autolora-99999999")
    with pytest.raises(UserError, match="2 of them"):
        read_ranks(str(tmp_path / "autolora-*"), "sst2", 0)


@pytest.mark.parametrize(
    "method", ["lora_from_ranks", "lora_shuffled_ranks", "lora_uniform", "lora_random_ranks"]
)
@pytest.mark.sample(keep=("lora_from_ranks", "lora_uniform"))
def test_identity_holds_what_was_read_not_where(method: str, composed: Any, tmp_path: Path) -> None:
    first, moved, changed = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    first.write_text(FILE, encoding="utf-8")
    moved.write_text(FILE, encoding="utf-8")
    changed.write_text(FILE.replace("1,value,2", "1,value,5"), encoding="utf-8")
    ids = [config_id(composed(method, f"method.source={path}")) for path in (first, moved, changed)]
    assert ids[0] == ids[1] != ids[2]
    identity = experiment_identity(composed(method, f"method.source={first}"))["method"]
    assert str(tmp_path) not in json.dumps(identity)
    copies = method != "lora_uniform"
    assert identity["ranks"] == ({"0.query": 3, "0.value": 0, "1.query": 1, "1.value": 2} if copies else {})
    assert identity["total"] == (None if copies else 6)


def test_controls_of_before_have_another_identity_and_are_said_to_be_of_before(composed: Any) -> None:
    for method in ("lora_random_ranks", "lora_shuffled_ranks"):
        found = experiment_identity(composed(method))
        assert found["method"].pop("corrections") == ["own_draw"]
        assert "seed alone" in "".join(earlier_rules(found))
        assert not earlier_rules(experiment_identity(composed(method)))
    assert "corrections" not in experiment_identity(composed("lora_uniform"))["method"]
    with pytest.raises(UserError, match="filled in by the program"):
        composed("lora", "method.corrections=[own_draw]")


def test_seeds_with_their_own_ranks_stay_one_cell(composed: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "autolora-0123abcd" / f"seed{seed}", seed, [3, 1, 4, 1 + seed])
    words = ["lora_shuffled_ranks", f"method.source={tmp_path}/autolora-0123abcd"]
    first, second = (composed(*words, f"seed={seed}") for seed in (0, 1))
    assert config_id(first) == config_id(second)
    assert experiment_identity(first)["method"]["cell"] == "sst2/any/autolora-0123abcd"
    assert first.method.origin != second.method.origin


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["lora_from_ranks", "method.source=null"], "needs ranks"),
        (["lora_shuffled_ranks", "method.total=9"], "total"),
        (["lora_uniform", "method.total=9"], "which gives the total"),
        (["lora_uniform", "method.source=null", "method.total=0"], "method.total=0"),
        (["lora_from_ranks", "+method.ranks.a=1"], "method.source together"),
        (["lora_random_ranks", "method.minimum_rank=9"], "minimum_rank"),
        (["lora_random_ranks", "method.minimum_rank=0", "method.components=0"], "components=0"),
        (["lora_random_ranks", "method.allocation_seed=-1"], "allocation_seed=-1"),
        (["lora_from_ranks", "method.source=null", "+method.ranks.a=-1"], "method.ranks.a=-1"),
        (
            ["lora_uniform", "method.source=null", "method.total=9", "+method.ranks.a=1"],
            "total=9 and method.ranks",
        ),
        (["lora_uniform", "method.rank=2"], "rank=2 has no effect"),
        (["lora_uniform", "method.allocation_seed=1"], "allocation_seed=1 with method=lora_uniform"),
        (["lora_from_ranks", "method.components=9"], "components=9 with method=lora_from_ranks"),
        (["lora_shuffled_ranks", "method.minimum_rank=0"], "minimum_rank=0 with method=lora_shuffled_ranks"),
        (["lora_random_ranks", "method.components=9"], "components=9 with method=lora_random_ranks"),
        (["lora_uniform", "method.rank=0", "method.scaling=constant"], "method.rank=0"),
        (["lora_uniform", "method.rank=0", "method.source=null"], "method.rank=0"),
    ],
)
@pytest.mark.sample(one_in=4)
def test_contradictions_are_refused(words: list[str], match: str, composed: Any) -> None:
    with pytest.raises(UserError, match=match):
        composed(*words)


def test_the_record_tells_total_and_origin(trained: Any) -> None:
    run = trained("lora_shuffled_ranks", "train.max_steps=1")
    details = run.record.phase("allocate").details
    assert details == {"total_rank": 6, "mean_rank": 1.5, "origin": "ranks.csv (sst2)"}
    assert sorted(layer.rank for layer in run.record.ranks) == [0, 1, 2, 3]
    assert trained("lora_from_ranks").record.config["method"]["ranks"]["0.query"] == 3


def test_the_rank_file_of_a_run_is_not_a_source_and_its_folder_is(tmp_path: Path) -> None:
    (tmp_path / "ranks.json").write_text('{"ranks": {"encoder.layer.0.query": 3}}', encoding="utf-8")
    with pytest.raises(UserError, match="is no table of ranks") as refused:
        read_ranks(str(tmp_path / "ranks.json"), "rte", 0)
    assert "folder of the run" in refused.value.mend


def test_a_folder_is_read_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    for name, ranks in (("runs1", [1, 1, 1, 1]), ("runs[1]", [3, 1, 4, 1])):
        write_run(tmp_path / name / "autolora-0123abcd" / "seed0", 0, ranks)
    found = read_ranks(str(tmp_path / "runs[1]" / "autolora-0123abcd"), "sst2", 0)
    assert list(found.ranks.values()) == [3, 1, 4, 1]
