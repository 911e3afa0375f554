"""Rows and claims: a recipe never splits a row, two configurations of a task do, and bold says what the claims say."""

import csv
import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora_bench.config.choices import choices
from autolora_bench.config.compose import compose_config, composer, to_objects
from autolora_bench.config.identity import identity
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord, Status
from autolora_bench.report import shipped
from autolora_bench.report.build import FORMATS
from autolora_bench.report.comparisons import comparison_table
from autolora_bench.report.costs import cost_tables
from autolora_bench.report.figures.quality import pareto_figures
from autolora_bench.report.frames import frames_of
from autolora_bench.report.prepared import prepare
from autolora_bench.report.runs import flatten, runs_of
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.shipped import OPEN, shipped_settings
from autolora_bench.report.tables import tables_of
from autolora_bench.user_code import read_own
from tests.report.conftest import report

Make = Callable[..., RunRecord]
EPOCHS = {"rte": 1, "cola": 3, "mrpc": 2}


def table(records: list[RunRecord], planned: list[PlannedRun] | None = None, **choices: Any) -> Table:
    options = {"epoch": "best", "metrics": "headline", "title": "T", **choices}
    return tables_of(frames_of(runs_of(records, planned)[0]), **options)[0]


def changed(record: RunRecord, **settings: Any) -> RunRecord:
    """The record with other settings, `train__epochs=3`, and an identity of its own."""
    for name, value in settings.items():
        *path, last = name.split("__")
        node = record.config
        for part in path:
            node = node[part]
        node[last] = value
    record.config_id = f"{hash(tuple(sorted((k, str(v)) for k, v in settings.items()))) % 16**8:08x}"
    return record


def recipes(make: Make, method: str, score: float = 0.7, seeds: int = 2) -> list[RunRecord]:
    """A method on three tasks, each with its recipe's epochs."""
    return [
        changed(make(task, method, seed, score + 0.01 * seed), train__epochs=float(epochs))
        for task, epochs in EPOCHS.items()
        for seed in range(seeds)
    ]


def means(shown: Table) -> dict[str, list[float | None]]:
    return {
        row.label: [None if cell.mean is None else round(cell.mean, 2) for cell in row.cells.values()]
        for row in shown.rows
    }


def test_a_second_setting_on_one_task_splits_there_alone(make: Make) -> None:
    records = recipes(make, "lora") + recipes(make, "full")
    records.append(changed(make("cola", "lora", 0, 0.4), train__epochs=30.0, method__learning_rate=0.5))
    assert means(table(records)) == {
        "Full fine-tuning": [70.5, 70.5, 70.5, 70.5],
        "LoRA, learning_rate=0.0001": [70.5, 70.5, 70.5, 70.5],
        "LoRA, learning_rate=0.5, train.epochs=30.0": [None, 40.0, None, None],
    }


def test_the_same_departure_is_the_same_row_on_every_task(make: Make) -> None:
    records = recipes(make, "autolora", seeds=1)
    for task in ("rte", "mrpc"):
        other = {"train__epochs": float(EPOCHS[task]), "method__search__estimator": "released"}
        records.append(changed(make(task, "autolora", 0, 0.6), **other))
    unrolled = {"train__epochs": 1.0, "method__search__estimator": "unrolled"}
    records.append(changed(make("rte", "autolora", 0, 0.5), **unrolled))
    assert means(table(records)) == {
        "AutoLoRA": [70.0, 70.0, 70.0, 70.0],
        "AutoLoRA, released estimator": [60.0, None, 60.0, None],
        "AutoLoRA, unrolled estimator": [50.0, None, None, None],
    }


def test_ranks_that_no_task_shares_are_never_one_row(make: Make) -> None:
    records = [
        changed(make(task, "lora", 0, rank / 100), method__rank=rank)
        for task, ranks in {"rte": (1, 2), "cola": (4, 8)}.items()
        for rank in ranks
    ]
    assert means(table(records)) == {
        f"LoRA, rank {rank}": [float(rank), None, None] if rank < 4 else [None, float(rank), None]
        for rank in (1, 2, 4, 8)
    }


def test_the_untrained_model_is_a_row_called_so_everywhere(make: Make) -> None:
    records = recipes(make, "lora") + recipes(make, "adalora")
    before = changed(
        make("cola", "lora", 0, 0.0), method__learning_rate=1e-12, train__max_steps=1, train__epochs=30.0
    )
    before.parameters.trainable = before.parameters.head + 10
    shown = table([*records, before])
    assert means(shown)["Untrained model"] == [None, 0.0, None, None]
    assert means(shown)["LoRA"] == [70.5, 70.5, 70.5, 70.5]
    assert list(cost_tables([shown])[0].rows.index) == ["Untrained model", "LoRA", "AdaLoRA"]
    assert {row[0] for row in comparison_table(shown).rows} == {"LoRA"}
    assert "Untrained model" in pareto_figures([shown])[0].alt
    lines = csv.DictReader(io.StringIO(report([*records, before], format="csv")))
    assert {line["settings"] for line in lines if line["method"] == "lora"} == {""}


def test_failed_tries_of_settings_never_completed_stand_below_the_table(make: Make) -> None:
    failed = changed(make("cola", "lora", 0, status=Status.failed), method__learning_rate=0.5)
    shown = table([*recipes(make, "lora"), failed])
    assert list(means(shown)) == ["LoRA"]
    assert means(shown)["LoRA"] == [70.5, 70.5, 70.5, 70.5]
    (gap,) = shown.unfilled
    assert gap.what.startswith("LoRA, learning_rate=0.5")
    assert gap.what.endswith("on cola: failed (seed 0)")


def test_a_task_whose_only_runs_failed_keeps_its_cell(make: Make) -> None:
    records = [record for record in recipes(make, "lora") if record.task != "cola"]
    failed = changed(make("cola", "lora", 0, status=Status.failed), train__epochs=3.0)
    shown = table([*records, failed])
    (row,) = shown.rows
    assert [cell.state for column, cell in row.cells.items() if column.task == "cola"] == ["failed"]


def test_what_was_planned_stays_in_the_table_before_it_is_run(
    make: Make, plan: Callable[..., PlannedRun]
) -> None:
    shown = table([make("rte", "lora", 0, 0.7)], [plan("rte", name) for name in ("lora", "lora4", "full")])
    assert [row.label for row in shown.rows] == ["Full", "LoRA, rank 4", "LoRA, rank 8"]


def six(make: Make, scores: dict[str, float], task: str = "rte") -> list[RunRecord]:
    """Six seeds that all differ by the same between methods: p of two methods is 2/64."""
    return [
        make(task, method, seed, score + 0.01 * seed) for method, score in scores.items() for seed in range(6)
    ]


@pytest.mark.parametrize(
    ("methods", "bold"), [(("lora", "full"), True), (("lora", "full", "adalora"), False)]
)
def test_bold_and_comparisons_are_one_answer(make: Make, methods: tuple[str, ...], bold: bool) -> None:
    """Closed form: with m methods there are m (m - 1) / 2 comparisons of p 2/64, and Holm multiplies the least."""
    shown = table(six(make, {name: 0.5 + 0.1 * place for place, name in enumerate(methods)}))
    count = len(list(itertools.combinations(methods, 2)))
    assert [claim.adjusted for claim in shown.claims] == pytest.approx([count * 2 / 64] * count)
    assert any(cell.best for row in shown.rows for cell in row.cells.values()) is bold
    texts = {
        name: report(six(make, dict.fromkeys(methods, 0.5)), format=name, figures=False) for name in FORMATS
    }
    assert "**" not in texts["markdown"]
    assert "textbf" not in texts["latex"]


@pytest.mark.parametrize("epoch", ["best", "last", "both"])
def test_every_bold_cell_is_separated_from_the_second_best(make: Make, epoch: str) -> None:
    records = [
        make(task, method, seed, score + 0.01 * seed)
        for task, base in (("rte", 0.5), ("cola", 0.2), ("mrpc", 0.6))
        for method, score in (("autolora", base + 0.1), ("lora", base + 0.05), ("full", base))
        for seed in range(9)
    ]
    shown = table(records, epoch=epoch)
    marked = {column: row.label for row in shown.rows for column, cell in row.cells.items() if cell.best}
    assert {column.task for column in marked} == {"rte", "cola", "mrpc"}, (
        "three tasks are too few for their average"
    )
    for column, label in marked.items():
        means = sorted(((row.cells[column].mean or 0, row.label) for row in shown.rows), reverse=True)
        (claim,) = [c for c in shown.claims if c.columns == (column,)]
        assert claim.separated
        assert {means[0][1], means[1][1]} == {shown.rows[claim.first].label, shown.rows[claim.second].label}
        assert means[0][1] == label


def test_the_family_is_what_was_declared(make: Make) -> None:
    records = six(make, {"full": 0.5, "lora": 0.6, "adalora": 0.7, "autolora": 0.8})

    def pairs(**choices: Any) -> list[tuple[str, str]]:
        shown = table(records, **choices)
        return [(shown.rows[c.first].method, shown.rows[c.second].method) for c in shown.claims]

    assert pairs() == [("autolora", "lora")]
    assert pairs(compare=["full:lora", "autolora:adalora", "autolora:absent"]) == [
        ("full", "lora"),
        ("autolora", "adalora"),
    ]


def test_over_several_tasks_the_task_is_the_unit(make: Make) -> None:
    """Five tasks of three seeds are no fifteen chances: five signs give p 1/16 at least, and that is not tested."""
    tasks = ("rte", "cola", "mrpc")
    records = [
        make(task, method, seed, score + 0.01 * seed)
        for task in tasks
        for method, score in (("autolora", 0.7), ("lora", 0.5))
        for seed in range(4)
    ]
    shown = table(records)
    (claim,) = shown.claims
    assert (claim.pairs, len(claim.units), claim.p, claim.adjusted) == (12, 3, None, None)
    (row,) = comparison_table(shown).rows
    line = dict(zip(comparison_table(shown).head, row, strict=True))
    assert (line["unit"], line["pairs"], line["p"], line["separated"]) == ("3 tasks", "12", "", "not tested")
    assert not any(cell.best for row in shown.rows for cell in row.cells.values())


def test_what_pairs_share_is_said(make: Make) -> None:
    records = [
        changed(make(task, method, seed, 0.7), **extra)
        for task in ("rte", "cola")
        for method, extra in (
            ("autolora", {"method__search__initialisation_seed": 0}),
            ("lora", {"method__allocation": "random"}),
        )
        for seed in range(3)
    ]
    notes = " ".join(comparison_table(table(records)).notes)
    assert "LoRA: 6 runs share 3 random draws of ranks." in notes
    assert "AutoLoRA: the searches of all seeds start from the same LoRA values" in notes


def test_where_rank_makes_no_difference_allocations_cannot_be_compared(make: Make) -> None:
    def notes(step: float) -> str:
        records = [
            changed(
                make("rte", "lora", seed, 0.6 + step * place + 0.02 * ((seed + place) % 3)), method__rank=rank
            )
            for place, rank in enumerate((1, 2, 4, 8, 16))
            for seed in range(3)
        ]
        return " ".join(table(records).footnotes)

    assert "allocations of ranks cannot be compared there" in notes(0.0)
    assert "rank makes a difference there" in notes(0.05)


def test_it_is_said_why_a_record_is_not_shown(make: Make, plan: Callable[..., PlannedRun]) -> None:
    other = changed(make("rte", "lora", 0, 0.7), data__source="local")
    text = report([other, make("cola", "full", 0, 0.2)], [plan("rte", "lora")])
    assert (
        "2 records found that this report does not ask for; 1 record with data.source=local instead of hub."
        in text
    )


def test_a_suite_declares_its_family(make: Make, plan: Callable[..., PlannedRun]) -> None:
    records = six(make, {"full": 0.5, "lora": 0.6, "autolora": 0.8})
    planned = [plan("rte", name, seed) for name in ("full", "lora", "autolora") for seed in range(6)]
    planned = [replace(run, experiment=replace(run.experiment, compare=["full:lora"])) for run in planned]
    (table,) = prepare(records, planned).tables
    assert [(table.rows[c.first].method, table.rows[c.second].method) for c in table.claims] == [
        ("full", "lora")
    ]
    (table,) = prepare(records, planned, compare=["autolora:full"]).tables
    assert [(table.rows[c.first].method, table.rows[c.second].method) for c in table.claims] == [
        ("autolora", "full")
    ]
    with pytest.raises(UserError, match="compare=lora:adolora is no comparison"):
        prepare(records, compare=["lora:adolora"])


OWN = """
from dataclasses import dataclass
from autolora_bench.config.method import MethodConfig
from autolora_bench.config.ranges import Size
from autolora_bench.config.registry import method

@method("norm_ranks", runs=":make")
@dataclass
class NormRanks(MethodConfig):
    norm: str = "spectral"
    size: Size = 1

def make(config): ...
"""
OWN_FILE = "defaults: [/schema/method/norm_ranks@_here_]\nname: norm_ranks\ntitle: Norm\nlearning_rate: 1e-4\nsize: 2\n"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A folder with a method of one's own."""
    for name, text in {"methods/norm_ranks.py": OWN, "method/norm_ranks.yaml": OWN_FILE}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    yield tmp_path
    read_own(None)


def owned(make: Make, score: float, seeds: int = 6, **settings: Any) -> list[RunRecord]:
    said = {f"method__{name}": value for name, value in {"norm": "spectral", "size": 2, **settings}.items()}
    made = [make("rte", "lora", seed, score + 0.01 * seed) for seed in range(seeds)]
    named = [replace(changed(one, **said, method__name="norm_ranks"), method="norm_ranks") for one in made]
    return [replace(one, provenance={**one.provenance, "method": {"title": "Norm"}}) for one in named]


def test_the_bare_title_of_a_method_of_ones_own_is_that_of_its_own_settings(make: Make, own: Path) -> None:
    """fro has more runs, and comes first in the alphabet; spectral is the default of the class, 2 of the file."""
    records = six(make, {"lora": 0.5}) + owned(make, 0.6, norm="fro") + owned(make, 0.7, seeds=5)
    with pytest.raises(UserError, match="several settings") as error:
        prepare(records, compare=["norm_ranks:lora"])
    assert "(norm=fro; norm=spectral)" in error.value.what
    assert "--config-dir" in str(error.value.mend)
    (shown,) = prepare(records).tables
    assert [row.label for row in shown.rows] == ["LoRA", "Norm, norm=fro", "Norm, norm=spectral"]
    assert not any(row.main for row in shown.rows if row.method == "norm_ranks")

    read_own(own)
    (shown,) = prepare(records, compare=["norm_ranks:lora"]).tables
    assert {row.label: dict(row.variant) for row in shown.rows if row.method == "norm_ranks"} == {
        "Norm": {"method.norm": "spectral"},
        "Norm, norm=fro": {"method.norm": "fro"},
    }
    (claim,) = shown.claims
    assert (shown.rows[claim.first].label, round(claim.mean, 6)) == ("Norm", 20.0)

    read_own(None)
    with pytest.raises(UserError, match="which of them are its own is not known"):
        prepare(records, compare=["norm_ranks:lora"])


def test_a_row_of_unknown_own_settings_says_all_of_them(make: Make) -> None:
    records = [one for n, m in ((1, "a"), (2, "a"), (2, "b")) for one in owned(make, 0.5, 2, size=n, norm=m)]
    assert list(means(table(records))) == [
        "Norm, norm=a, size=1",
        "Norm, norm=a, size=2",
        "Norm, norm=b, size=2",
    ]


def test_one_setting_of_a_method_of_ones_own_has_the_bare_title(make: Make) -> None:
    records = owned(make, 0.5) + six(make, {"lora": 0.6})
    assert list(means(table(records))) == ["LoRA", "Norm"]
    (shown,) = prepare(records, compare=["norm_ranks:lora"]).tables
    assert len(shown.claims) == 1


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_shipped_settings_are_what_hydra_composes(few: bool) -> None:
    names = ["lora", "autolora_all_linear", "dora"] if few else [*choices("method", [conf_dir()])]
    with composer():
        for name in names:
            words = [
                f"method={name}",
                "task=sst2",
                "model=any",
                *(["method.type=BOFT"] if name == "peft" else []),
            ]
            composed = flatten(identity(to_objects(compose_config(words)).method))
            shipped = flatten(shipped_settings(name) or {})
            told = {name: value for name, value in shipped.items() if value != OPEN}
            assert {"name", "learning_rate"} <= told.keys()
            left = {name for name, value in shipped.items() if value == OPEN} | {"type"}
            assert {k: v for k, v in told.items() if k not in left} == {
                k: v for k, v in composed.items() if k not in left
            }


def test_methods_of_ones_own_that_extend_each_other_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "method").mkdir()
    for name, other in (("mine", "other"), ("other", "mine")):
        (tmp_path / "method" / f"{name}.yaml").write_text(f"defaults: [{other}]\n")
    monkeypatch.setattr(shipped, "own_folders", [tmp_path])
    assert shipped.shipped_settings("mine") is None
