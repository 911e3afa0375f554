"""Published values beside ours: read, matched, compared only with the same backbone and setting."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.report.formats import grid_of
from autolora_bench.report.frames import frames_of
from autolora_bench.report.published import FIELDS, read_published
from autolora_bench.report.runs import runs_of
from autolora_bench.report.tables import tables_of
from tests.report.conftest import PUBLISHED, Make, table


def test_difference_only_for_the_same_backbone_and_setting(make: Make) -> None:
    same = table([make("rte", "lora", 0, 0.8)]).rows[0]
    assert [one.method for one in same.published] == ["lora_r8"]
    assert list(same.published[0].differences.values()) == [pytest.approx(80 - 86.6)]
    other_rank = table([make("rte", "lora4", 0, 0.8)])
    assert other_rank.rows[0].published == []
    assert {one.method for one in other_rank.others} >= {"lora_r8", "bitfit"}
    assert not any(one.differences for one in other_rank.published)
    stand_in = table([make("rte", "lora", 0, 0.8, model="minilm")])
    assert stand_in.rows[0].published == []
    assert stand_in.others == []
    assert {one.backbone for one in stand_in.elsewhere} == {
        "roberta-base",
        "roberta-large",
        "deberta-v3-base",
    }


def test_no_difference_on_a_part_of_the_data_and_nothing_beside_generated_examples(make: Make) -> None:
    (part,) = table([make("rte", "lora", 0, 0.8, limit=100)]).rows[0].published
    assert list(part.values.values()) == [86.6]
    assert part.differences == {}
    generated = make("rte", "lora", 0, 0.8)
    generated.config["data"]["source"] = "generated"
    shown = table([generated])
    assert shown.published == []
    assert shown.marked == {"rte"}


def test_the_projects_own_values_are_all_readable() -> None:
    assert len(read_published()) >= 250


def test_a_checkpoint_is_another_backbone(make: Make) -> None:
    record = make("rte", "lora", 0, 0.8)
    record.config["model"]["checkpoint"] = "somewhere/minilm"
    shown = table([record])
    assert shown.model == "roberta_base (checkpoint somewhere/minilm)"
    assert shown.rows[0].published == []


def test_published_fractions_are_shown_in_our_unit(make: Make) -> None:
    record = make("webnlg", "lora4", 0, {"bleu": 0.55, "meteor": 0.41, "ter": 0.39}, model="gpt2_medium")
    record.parameters.trainable = record.parameters.head + 350_000
    (published,) = table([record]).rows[0].published
    values = {column.score: value for column, value in published.values.items()}
    assert (values["ter"], values["meteor"], values["bleu/unseen"]) == (39.0, 41.0, 46.7)


def test_average_is_compared_over_the_same_tasks_only(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "source,table,backbone,method,parameters,task,metric,value,std,how_known,note\n"
        + "".join(f"P,T,roberta-base,full,,{task},{m},80,,,\n" for task, m in
                  (("rte", "accuracy"), ("cola", "matthews_correlation"), ("average", "mean")))
    )  # fmt: skip
    records = [make("rte", "full", 0, 0.7), make("cola", "full", 0, 0.6)]

    def compared(chosen: list[RunRecord]) -> list[str]:
        runs, _ = runs_of(chosen, None)
        (shown,) = tables_of(frames_of(runs), read_published(path), epoch="best", metrics="paper", title="T")
        return [column.task for row in shown.rows for one in row.published for column in one.differences]

    assert compared(records) == ["rte", "cola", "average"]
    assert compared([*records, make("mrpc", "full", 0, 0.5)]) == ["rte", "cola"]
    runs, _ = runs_of([records[0], make("mrpc", "full", 0, 0.5)], None)
    (other,) = tables_of(frames_of(runs), read_published(path), epoch="best", metrics="paper", title="T")
    (published,) = other.rows[0].published
    assert [column.task for column in published.values] == ["rte"], "no average over other tasks is shown"


def test_an_average_over_other_metrics_is_shown_and_not_subtracted(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "source,table,backbone,method,parameters,task,metric,value,std,how_known,note\n"
        + "".join(f"P,T,roberta-base,full,,{task},{m},80,,,\n" for task, m in
                  (("rte", "accuracy"), ("cola", "accuracy"), ("average", "mean")))
    )  # fmt: skip
    runs, _ = runs_of([make("rte", "full", 0, 0.7), make("cola", "full", 0, 0.6)], None)
    (shown,) = tables_of(frames_of(runs), read_published(path), epoch="best", metrics="paper", title="T")
    (published,) = shown.rows[0].published
    assert [column.task for column in published.values] == ["rte", "average"]
    assert [column.task for column in published.differences] == ["rte"]
    assert any(
        "other metrics than ours, which counts cola matthews_correlation" in one for one in published.notes
    )


def test_a_start_from_another_tasks_adapter_is_another_setting() -> None:
    """LoRA's table has both; ours starts anew (Hu et al., 2021, Table 2)."""
    large = [one for one in read_published() if (one.backbone, one.task) == ("roberta-large", "rte")]
    assert {one.method: one.value for one in large if one.method.startswith("lora_r8")} == {
        "lora_r8": 85.2,
        "lora_r8 (MNLI start for MRPC, RTE, STS-B)": 87.4,
    }


def test_runs_that_were_cut_short_are_not_compared(make: Make) -> None:
    record = make("rte", "lora", 0, 0.5)
    record.config["train"]["max_steps"] = 5
    (published,) = table([record]).rows[0].published
    assert published.differences == {}


def test_a_users_own_values_stand_beside_the_projects(make: Make, tmp_path: Path) -> None:
    head, first, *_ = PUBLISHED.read_text().splitlines()
    added = "Zhang et al.,Table 1,roberta-base,autolora,,rte,accuracy,85.1,,read in the source,"
    path = tmp_path / "own.csv"
    path.write_text("\n".join([head, added, first.replace("87.6", "12.3")]) + "\n")
    both = read_published(PUBLISHED, path)
    assert len(both) == len(read_published(PUBLISHED)) + 1
    assert 12.3 in [one.value for one in both]
    assert 87.6 not in [one.value for one in both if one.group == both[0].group and one.task == "mnli"]
    runs, _ = runs_of([make("rte", "autolora", 0, 0.8)], None)
    (shown,) = tables_of(frames_of(runs), both, epoch="best", metrics="paper", title="T")
    (published,) = shown.rows[0].published
    assert list(published.differences.values()) == [pytest.approx(80 - 85.1)]


def scored_on(
    record: RunRecord, place: str, scores: dict[str, float], language: str | None = None
) -> RunRecord:
    """The record with these splits as its evaluation or test splits."""
    (one, *_) = record.best.values()
    held = {split: replace(one, split=split, scores={"accuracy": value}) for split, value in scores.items()}
    record.config["task"] |= {place: list(scores), "language": language}
    record.best, record.last, record.test = (held, held, {}) if place == "evaluation" else (held, held, held)
    return record


def beside(record: RunRecord, values: dict[str, float], tmp_path: Path) -> dict[str, float]:
    """Split -> what was published of it, in a file with these tasks."""
    path = tmp_path / "own.csv"
    lines = [f"P,T,roberta-base,full,,{task},accuracy,{value},,," for task, value in values.items()]
    path.write_text("\n".join([",".join(FIELDS), *lines]) + "\n")
    runs, _ = runs_of([record], None)
    (shown,) = tables_of(frames_of(runs), read_published(path), epoch="best", metrics="paper", title="T")
    found = [one for row in shown.rows for one in row.published]
    for one in found:
        for column, gap in one.differences.items():
            assert gap == pytest.approx(
                100 * record.best[column.split].scores["accuracy"] - one.values[column]
            )
    return {column.split: value for one in found for column, value in one.values.items()}


@pytest.mark.parametrize(
    ("place", "splits", "language", "shown"),
    [
        ("evaluation", ["validation", "hard"], None, {"validation": 90.0, "hard": 60.0}),
        ("evaluation", ["validation", "validation_hard"], None, {"validation": 90.0, "validation_hard": 60.0}),
        ("evaluation", ["dev_mismatched", "dev"], None, {"dev": 90.0, "dev_mismatched": 50.0}),
        ("test", ["test_en", "test_de"], "en", {"test_en": 90.0, "test_de": 70.0}),
        ("test", ["test_de", "test_en"], "en", {"test_en": 90.0, "test_de": 70.0}),
        ("test", ["test_de", "test_fr"], "fr", {"test_fr": 90.0, "test_de": 70.0}),
        ("test", ["test_de"], "en", {"test_de": 70.0}),
    ],
)  # fmt: skip
def test_a_tasks_bare_name_is_its_first_split_and_others_have_names_of_their_own(
    make: Make,
    tmp_path: Path,
    place: str,
    splits: Sequence[str],
    language: str | None,
    shown: dict[str, float],
) -> None:
    record = scored_on(make("rte", "full", 0, 0.8), place, dict.fromkeys(splits, 0.8), language)
    values = {"rte": 90.0, "rte_hard": 60.0, "rte_mm": 50.0, "rte_de": 70.0}
    assert beside(record, values, tmp_path) == shown
    bare = {split: value for split, value in shown.items() if value == 90.0}
    assert beside(record, {"rte": 90.0}, tmp_path) == bare


def test_further_splits_are_no_tasks_of_a_published_average(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    names = (
        ("rte", "accuracy"),
        ("rte_hard", "accuracy"),
        ("cola", "matthews_correlation"),
        ("average", "mean"),
    )
    lines = [f"P,T,roberta-base,full,,{task},{metric},80,,," for task, metric in names]
    path.write_text("\n".join([",".join(FIELDS), *lines]) + "\n")
    records = [scored_on(make("rte", "full", 0, 0.7), "evaluation", {"validation": 0.7, "hard": 0.5})]
    runs, _ = runs_of([*records, make("cola", "full", 0, 0.6)], None)
    (shown,) = tables_of(frames_of(runs), read_published(path), epoch="best", metrics="paper", title="T")
    gaps = {(c.task, c.split): gap for row in shown.rows for c, gap in row.published[0].differences.items()}
    assert gaps == pytest.approx(
        {("rte", "validation"): -10, ("rte", "hard"): -30, ("cola", "validation"): -20, ("average", ""): -15}
    )


@pytest.mark.parametrize(
    ("text", "weights", "shown"),
    [
        ("0.30M", 300_000, "0.30"),
        ("0.3", 300_000, "0.3"),
        ("300K", 300_000, "0.3"),
        ("0.3 m", 300_000, "0.3"),
        ("1.2B", 1_200_000_000, "1200"),
        ("", None, ""),
    ],
)
def test_a_published_size_is_known_in_any_spelling(
    make: Make, tmp_path: Path, text: str, weights: float | None, shown: str
) -> None:
    """LoRA of rank 8 has 294,912 weights: a row that states 1.2B is no row of it, one that states nothing may be."""
    path = tmp_path / "own.csv"
    path.write_text(",".join(FIELDS) + f"\nP,T,roberta-base,lora,{text},rte,accuracy,80,,,\n")
    (one,) = read_published(path)
    assert one.weights == (None if weights is None else pytest.approx(weights))
    runs, _ = runs_of([make("rte", "lora", 0, 0.8)], None)
    (found,) = tables_of(frames_of(runs), [one], epoch="best", metrics="paper", title="T")
    assert bool(found.rows[0].published) == (weights != 1_200_000_000)
    (line,) = [line for line in grid_of(found).lines if line.published]
    assert line.texts[2].value == shown


@pytest.mark.parametrize("text", ["about 3M", "300 thousand", "-1M", "nan", "M", "1e999"])
def test_a_size_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(",".join(FIELDS) + f"\n\nP,T,roberta-base,lora,{text},rte,accuracy,80,,,\n")
    with pytest.raises(UserError, match=rf"own.csv line 3: parameters '{text}' is no number of weights"):
        read_published(path)


def test_sources_are_named_where_nothing_is_run(plan: Callable[..., PlannedRun]) -> None:
    shown = table([], [plan("rte", "lora")])
    assert any("Hu et al." in note for note in shown.footnotes)


@pytest.mark.parametrize("cells", [-1, 1])
def test_a_row_that_a_bare_comma_cut_is_refused(tmp_path: Path, cells: int) -> None:
    """As the loaders and the scorer refuse theirs: what is beyond the first line's columns would go unread."""
    row = ["x"] * (len(FIELDS) + cells)
    (tmp_path / "own.csv").write_text(",".join(FIELDS) + "\n\n" + ",".join(row) + "\n")
    with pytest.raises(
        UserError, match=rf"own.csv, line 3: {len(row)} columns where {len(FIELDS)} are expected"
    ):
        read_published(tmp_path / "own.csv")


def test_malformed_published_values_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(PUBLISHED.read_text().replace("87.6,", "about 87,", 1))
    with pytest.raises(UserError, match=r"own.csv line 2: 'about 87' is not a number"):
        read_published(path)
    path.write_text("source,value\n")
    with pytest.raises(UserError, match="no column"):
        read_published(path)
