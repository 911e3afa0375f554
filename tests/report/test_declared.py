"""Declared comparisons: each is tested once or a line says why not, and the table's marks and notes agree with them."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora_bench import cli
from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun, distinct_comparisons, side_of
from autolora_bench.record import RunRecord
from autolora_bench.report.declared import without_pairs
from autolora_bench.report.prepared import Report, prepare
from autolora_bench.request import read_request
from autolora_bench.sweeps.tuned_first import planned_runs
from autolora_bench.user_code import read_own

Make = Callable[..., RunRecord]
SUITE = """# @package _global_
# Mine
compare: {compare}
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      task: rte
      method: full,lora
      seed: 0,1
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """own(compare) -> the words of a suite that declares this, in a folder with a method of one's own."""
    for group in ("suite", "method"):
        (tmp_path / group).mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("defaults: [lora]\nname: mine\ntitle: Mine\n")

    def words(compare: str) -> list[str]:
        (tmp_path / "suite" / "mine.yaml").write_text(SUITE.format(compare=compare))
        return ["suite=mine", "data=generated", "model=minilm", "--config-dir", str(tmp_path)]

    yield words
    read_own(None)


@pytest.mark.parametrize(
    ("compare", "said"),
    [
        ("[full:lroa]", "compare=full:lroa is no comparison of two methods"),
        ("[full]", "compare=full is no comparison of two methods"),
        ("[lora:lora]", "compare=lora:lora is no comparison of two methods"),
        ("[full:lora,lora:full]", "compare=[full:lora,lora:full] declares a comparison twice"),
    ],
)
def test_a_suite_that_declares_no_comparison_is_refused_before_it_is_run(
    own: Callable[[str], list[str]], compare: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["check", *own(compare)]) == 2
    assert said in capsys.readouterr().err


def test_a_suite_may_declare_methods_that_it_does_not_sweep(own: Callable[[str], list[str]]) -> None:
    """Shipped ones, and those of the user's own folder."""
    planned = planned_runs(read_request(own("[mine:lora,full:lora,adalora:mine]")))
    assert {run.experiment.method.name for run in planned} == {"full", "lora"}
    assert prepare([], planned).remarks == []


def test_a_suites_comparison_is_checked_and_tested_once(make: Make, plan: Callable[..., PlannedRun]) -> None:
    """p of seven seeds that agree is 2/128, and Holm leaves the only one as it is."""
    records = [
        make("rte", m, s, 0.5 + 0.01 * s + (m == "full") / 10) for m in ("full", "lora") for s in range(7)
    ]
    runs = [plan("rte", method, seed) for method in ("full", "lora") for seed in range(7)]

    def declared(*compare: str) -> list[PlannedRun]:
        return [replace(run, experiment=replace(run.experiment, compare=[*compare])) for run in runs]

    (table,) = prepare(records, declared("full:lora", "lora:full", "full:lora")).tables
    assert [claim.adjusted for claim in table.claims] == [2 / 128]
    with pytest.raises(UserError, match="compare=full:lroa is no comparison") as error:
        prepare(records, declared("full:lroa"))
    assert error.value.mend.startswith("did you mean lora or ")


def test_each_two_methods_are_compared_as_they_are_first_declared() -> None:
    known = ("a", "b", "c")
    assert distinct_comparisons(["a:b", "c:a", "b:a", "a:b"], known) == ["a:b", "c:a"]
    for text in ("a", "a:", ":a", "a:a", "a:d", "a:b:c", "a/x=1:a/x=2:a/x=3", ""):
        with pytest.raises(UserError, match="is no comparison of two methods"):
            distinct_comparisons(["a:b", text], known)


def of_ranks(make: Make, ranks: Sequence[int]) -> list[RunRecord]:
    """LoRA of each, eight seeds, .01 better for every one that it is higher; and full fine-tuning."""
    made = scored(make, "full", [0.9 + 0.001 * seed for seed in range(8)])
    for rank in ranks:
        for seed in range(8):
            record = make("rte", "lora", seed, 0.5 + 0.01 * rank + 0.001 * seed)
            config = {**record.config, "method": {**record.config["method"], "rank": rank, "alpha": 16.5}}
            made.append(replace(record, config=config, config_id=f"{rank:08x}"))
    return made


def test_rows_of_one_method_are_compared_by_what_tells_them_apart(make: Make) -> None:
    """p of eight seeds that agree is 2/256, and Holm multiplies it by three; a pair that is named twice counts once."""
    report = told(
        of_ranks(make, (4, 8, 16)),
        *("lora/rank=16:lora/rank=4", "lora/rank=16:full", "lora/rank=8/alpha=1.65e1:full"),
        "lora/rank=4:lora/method.rank=16.0",
    )
    (table,) = report.tables
    rows = [(table.rows[one.first].label, table.rows[one.second].label) for one in table.claims]
    first, *others = [(*names, round(one.mean, 6)) for names, one in zip(rows, table.claims, strict=True)]
    assert first == ("LoRA, rank 16", "LoRA, rank 4", 12.0)
    assert [other[:2] for other in others] == [(f"LoRA, rank {rank}", "Full fine-tuning") for rank in (16, 8)]
    assert {one.adjusted for one in table.claims} == {3 * 2 / 256}
    assert why(report) == []


@pytest.mark.parametrize(
    ("ranks", "compare", "said", "mend"),
    [
        ((4, 16), "lora/rank=3:full", "not one row of lora has rank=3", "its rows have rank=4; rank=16; say"),
        (
            (4, 16),
            "full:lora/alpha=16.5",
            "not one row of lora has alpha=16.5",
            "its rows have rank=4; rank=16",
        ),
        (
            (4,),
            "lora/rank=3:full",
            "not one row of lora has rank=3",
            "there is one row of lora: write lora, or have ",
        ),
        ((4, 16), "lora/rank=4:lora/rank=4.0", "names one row twice", "name another row"),
        ((4, 16), "lora/rank:full", "is no comparison of two methods", "write method:other, as in "),
    ],
)
def test_rows_that_are_not_known_are_asked_for_by_name(
    make: Make, ranks: tuple[int, ...], compare: str, said: str, mend: str
) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as error:
        told(of_ranks(make, ranks), compare)
    assert error.value.mend.startswith(mend)


def test_where_no_row_is_named_it_is_told_for_every_model(make: Make) -> None:
    """Also of what a suite declares."""
    made = of_ranks(make, (4, 16))
    made += [replace(record, model="bert_base") for record in of_ranks(make, (4,))]
    report = told(made, "lora/rank=16:full", "lora/rank=4:full")
    assert [line for line in report.remarks if line.startswith("compare=")] == [
        "compare=lora/rank=16:full is not tested on bert_base: no row is lora/rank=16."
    ]
    tables = report.tables[:1]
    assert without_pairs(["lora/rnak=4:full"], [], tables) == [
        f"compare=lora/rnak=4:full is not tested on {tables[0].model}: no row is lora/rnak=4."
    ]


def test_the_only_row_of_a_method_may_be_named_by_its_settings(make: Make) -> None:
    (table,) = told(of_ranks(make, (4,)), "lora/rank=4:full").tables
    assert [one.adjusted for one in table.claims] == [2 / 256]


def scored(make: Make, method: str, scores: list[float], task: str = "rte") -> list[RunRecord]:
    return [make(task, method, seed, score) for seed, score in enumerate(scores)]


def shuffled(records: list[RunRecord]) -> list[RunRecord]:
    """The same with shuffled labels."""
    for record in records:
        record.task = record.config["task"]["name"] = f"{record.task}_shuffled"
        record.config["data"]["shuffle_labels"] = True
        record.config_id = f"5{record.config_id[1:]}"
    return records


def in_nist(records: list[RunRecord]) -> list[RunRecord]:
    """The same scores of a metric whose unit is no hundredth."""
    for record in records:
        record.headline, record.metrics = "nist", {"nist": True}
        record.config["task"]["metrics"] = ["nist"]
        for each in [*record.best.values(), *record.last.values()]:
            each.scores = {
                "nist": each.scores["accuracy"] if "accuracy" in each.scores else each.scores["nist"]
            }
        record.history = []
    return records


def told(records: list[RunRecord], *compare: str) -> Report:
    return prepare(records, compare=[*compare])


def claimed(report: Report) -> list[tuple[tuple[str, ...], int]]:
    """The tasks of every claim, and its pairs."""
    (table,) = report.tables
    return [(tuple(column.task for column in claim.columns), claim.pairs) for claim in table.claims]


@pytest.mark.parametrize("seeds", [3, 6])
def test_tasks_that_cannot_be_averaged_stand_alone(make: Make, seeds: int) -> None:
    """Of two units, as on a single task: what three seeds show is shown, untested."""
    scores = [0.5 + 0.01 * seed for seed in range(seeds)]
    rte = [one for m in ("full", "lora") for one in scored(make, m, scores)]
    mrpc = [one for m in ("full", "lora") for one in in_nist(scored(make, m, scores, "mrpc"))]
    cola = [one for m in ("full", "lora") for one in scored(make, m, scores, "cola")]
    alone, other = (("rte",), seeds), (("mrpc",), seeds)
    report = told(rte + mrpc, "full:lora")
    assert (sorted(claimed(report)), report.remarks) == (sorted([alone, other]), [])
    both = (("rte", "cola"), 2 * seeds)
    by_itself = [alone, (("cola",), seeds)] if seeds == 6 else []
    assert sorted(claimed(told(rte + cola + mrpc, "full:lora"))) == sorted([both, other, *by_itself])


def why(report: Report) -> list[str]:
    start = "compare=full:lora is not tested on roberta_base: "
    return [line.removeprefix(start) for line in report.remarks if line.startswith(start)]


def test_what_hinders_a_comparison_is_said(make: Make) -> None:
    six = [0.5 + 0.01 * seed for seed in range(6)]
    full = scored(make, "full", six)
    assert why(told(full + scored(make, "lora", six[:1]), "full:lora")) == [
        "LoRA has one scored seed of a task at most."
    ]
    assert why(told(full[:1] + scored(make, "lora", six[:1]), "full:lora")) == [
        "Full fine-tuning and LoRA have one scored seed of a task at most."
    ]
    undefined: list[Any] = [None] * 6
    assert why(told(full + scored(make, "lora", undefined), "full:lora")) == ["LoRA has no headline score."]
    controls = shuffled(scored(make, "full", six) + scored(make, "lora", six))
    assert why(told(full + scored(make, "lora", six, "cola") + controls, "full:lora")) == [
        "they share several seeds on shuffled labels alone, a control that methods are not compared on."
    ]
    other = [replace(one, seed=one.seed + 6) for one in scored(make, "lora", six)]
    assert why(told(full + other, "full:lora")) == [
        "their scored runs share fewer than two seeds of a task with the same data."
    ]
    assert why(told(full + scored(make, "lora", six), "full:lora")) == []


def test_a_method_that_one_of_several_models_lacks_is_told_of(make: Make) -> None:
    six = [0.5 + 0.01 * seed for seed in range(6)]
    alone = [replace(one, model="minilm") for one in scored(make, "full", six)]
    remarks = told(scored(make, "full", six) + scored(make, "lora", six) + alone, "full:lora").remarks
    assert [line for line in remarks if line.startswith("compare=")] == [
        "compare=full:lora is not tested on minilm: there are no runs of lora."
    ]


def test_comparisons_are_checked_in_every_job_of_a_sweep() -> None:
    words = [
        "-m",
        "task=planted",
        "model=small",
        "method=lora,oracle",
        "compare=[lora:oracle],[lorra:oracle]",
    ]
    with pytest.raises(UserError, match="compare=lorra:oracle is no comparison"):
        planned_runs(read_request(words))


def test_the_family_names_what_is_compared_alone(make: Make) -> None:
    six = [0.5 + 0.01 * seed for seed in range(6)]
    made = scored(make, "full", six) + scored(make, "lora", six[:1]) + scored(make, "adalora", six)
    report = told(made, "full:lora", "full:adalora")
    (family,) = [note for note in report.comparisons[0].notes if note.startswith("Family: ")]
    assert family.startswith("Family: as declared, Full fine-tuning against AdaLoRA. ")
    assert why(report) == ["LoRA has one scored seed of a task at most."]


@pytest.mark.parametrize("tasks", [("rte",), ("rte", "cola", "mrpc")])
@pytest.mark.parametrize("fall", [0.2, 0.0])
def test_means_that_say_another_order_than_their_pairs_are_told_of(
    make: Make, tasks: tuple[str, ...], fall: float
) -> None:
    """Full is ahead by .01 on the three seeds of both; on its own other three it falls below."""
    made = []
    for task in tasks:
        made += scored(make, "full", [0.71 + 0.001 * s - (fall if s > 2 else 0.0) for s in range(6)], task)
        made += scored(make, "lora", [0.70 + 0.001 * s for s in range(3)], task)
    (table,) = told(made, "full:lora").comparisons
    turned = [note for note in table.notes if note.startswith("The means of the table say another order")]
    assert len(turned) == (1 if fall else 0)


@pytest.mark.parametrize("compare", [("full:lora",), ("full:adalora",), ("full:lora", "full:adalora")])
def test_the_best_is_marked_where_it_is_separated_from_all_that_are_second(
    make: Make, compare: tuple[str, ...]
) -> None:
    made = scored(make, "full", [0.8 + 0.001 * seed for seed in range(8)])
    made += scored(make, "lora", [0.7] * 8) + scored(make, "adalora", [0.7] * 8)
    (table,) = told(made, *compare).tables
    marked = {row.method for row in table.rows for cell in row.cells.values() if cell.best}
    assert marked == ({"full"} if len(compare) == 2 else set())


def test_of_two_that_are_best_none_is_marked(make: Make) -> None:
    """Equal means over other seeds; in the pairs either is ahead."""
    for ahead, behind in (("full", "lora"), ("lora", "full")):
        made = scored(make, ahead, [0.75] * 8) + scored(make, behind, [0.7] * 8 + [0.95] * 2)
        (table,) = told(made, "full:lora").tables
        assert [claim.separated for claim in table.claims] == [True]
        assert not any(cell.best for row in table.rows for cell in row.cells.values())


def test_a_value_that_names_a_row_may_hold_slashes() -> None:
    assert side_of("lora_shuffled_ranks/cell=stsb/minilm/autolora-1/rank=4") == (
        "lora_shuffled_ranks",
        ["cell=stsb/minilm/autolora-1", "rank=4"],
    )
    assert side_of("lora") == ("lora", [])
