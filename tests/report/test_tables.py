"""What tables say: means against numpy, marks, gaps, variants, published values, every format."""

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord, Status
from autolora_bench.report.aggregate import tables_of
from autolora_bench.report.command import FORMATS, report
from autolora_bench.report.entries import entries_of
from autolora_bench.report.latex import latex
from autolora_bench.report.published import read_published
from autolora_bench.report.scoreboard import Row, Table

Make = Callable[..., RunRecord]
Study = tuple[list[RunRecord], list[PlannedRun]]
PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published.csv"


def table(records: list[RunRecord], planned: list[PlannedRun] | None = None, **choices: str) -> Table:
    entries, _ = entries_of(records, planned)
    options = {"epoch": "best", "metrics": "paper", "title": "T", **choices}
    return tables_of(entries, read_published(PUBLISHED), **options)[0]


def cells(row: Row) -> dict[str, float | None]:
    return {f"{column.task}/{column.split}/{column.score}": cell.mean for column, cell in row.cells.items()}


@pytest.mark.parametrize("name", ["markdown", "latex", "csv", "html"])
def test_golden(study: Study, golden: Callable[[str, str], None], name: str) -> None:
    suffix = {"markdown": "md", "latex": "tex"}.get(name, name)
    text = report(*study, format=name, title="Study", published=PUBLISHED, figures=False)
    golden(f"study.{suffix}", _without_assets(text) if name == "html" else text)
    assert text == report(*study, format=name, title="Study", published=PUBLISHED, figures=False)


def _without_assets(page: str) -> str:
    """The page without style, script, their digests and images, which have files and tests of their own."""
    page = re.sub(r"(?s)(<style>|<script>).*?(?=</style>|</script>)", r"\1", page)
    return re.sub(r"sha256-[^']*|(?<=base64,)[^\"]*", "...", page)


def test_golden_both_epochs_all_metrics(study: Study, golden: Callable[[str, str], None]) -> None:
    golden("both.md", report(*study, epoch="both", metrics="all", title="Study", published=PUBLISHED))


def test_mean_and_deviation_equal_numpy(make: Make) -> None:
    scores = [0.71, 0.745, 0.69, 0.73]
    shown = table([make("rte", "lora", seed, score) for seed, score in enumerate(scores)])
    (cell,) = shown.rows[0].cells.values()
    assert cell.mean == pytest.approx(100 * np.mean(scores))
    assert cell.std == pytest.approx(100 * np.std(scores, ddof=1))


def test_methods_stand_in_the_papers_order(make: Make) -> None:
    records = [make("rte", method, 0, 0.7) for method in ("uniform", "autolora", "adalora", "lora", "full")]
    assert [row.method for row in table(records).rows] == ["full", "lora", "adalora", "autolora", "uniform"]


def test_two_configurations_are_two_rows_and_never_averaged(make: Make) -> None:
    rows = table([make("rte", "lora", 0, 0.8), make("rte", "lora4", 0, 0.6)]).rows
    assert [(row.label, cells(row)["rte/validation/accuracy"]) for row in rows] == [
        ("lora (rank=4)", 60.0),
        ("lora (rank=8)", 80.0),
    ]


def test_settings_that_differ_from_task_to_task_do_not_split_a_row(make: Make) -> None:
    (row,) = table([make("rte", "lora", 0, 0.8), make("cola", "lora", 0, 0.6, limit=10)]).rows
    assert row.label == "lora"
    assert row.parameters == [294_912, 294_912]


def test_many_differing_settings_are_named_in_a_footnote(make: Make) -> None:
    other = make("rte", "lora", 0, 0.7, limit=10)
    other.config["train"] |= {"epochs": 9, "batch_size": 4, "clip": 0.5}
    shown = table([make("rte", "lora", 0, 0.8), other])
    assert {row.label for row in shown.rows} == {"lora [A]", "lora [B]"}
    assert any(
        re.search(r"lora \[.\]: data\.limit=10, train\.batch_size=4.*epochs=9", note)
        for note in shown.footnotes
    )


def test_bold_needs_separation(make: Make) -> None:
    def best(gap: float, seeds: int) -> bool:
        records = [make("rte", "lora", seed, 0.7 + 0.01 * seed) for seed in range(seeds)]
        records += [make("rte", "autolora", seed, 0.7 + 0.01 * seed + gap) for seed in range(seeds)]
        autolora = table(records).rows[1]
        return next(iter(autolora.cells.values())).best

    assert best(0.001, 6)
    assert not best(0.2, 5)
    assert not best(0.0, 6)


def test_bold_where_lower_is_better(make: Make) -> None:
    low = {"bleu": 0.4, "meteor": 0.3, "ter": 0.3}
    records = [make("webnlg", "lora", seed, {**low, "ter": 0.4 + 0.01 * seed}) for seed in range(10)]
    records += [make("webnlg", "full", seed, {**low, "ter": 0.3 + 0.01 * seed}) for seed in range(10)]
    marked = {
        (row.method, column.score)
        for row in table(records).rows
        for column, cell in row.cells.items()
        if cell.best
    }
    assert ("full", "ter") in marked
    assert not {("lora", "ter"), ("full", "bleu"), ("lora", "bleu")} & marked


def test_failed_missing_and_undefined_are_told_apart(make: Make, plan: Callable[..., PlannedRun]) -> None:
    records = [
        make("rte", "full", 0, 0.7),
        make("rte", "lora", 0, status=Status.failed),
        make("rte", "adalora", 0, {"accuracy": None}),
    ]
    planned = [plan("rte", method) for method in ("full", "lora", "adalora", "autolora")]
    shown = table(records, planned)
    states = {row.method: next(iter(row.cells.values())).state for row in shown.rows[1:]}
    assert states == {"lora": "failed", "adalora": "undefined", "autolora": "--"}
    assert [gap.command for gap in shown.unfilled] == [planned[1].command, planned[3].command]
    assert any("adalora" in note and "not defined for seed 0" in note for note in shown.footnotes)


def test_seeds_of_one_gap_share_a_command(study: Study) -> None:
    shown = table(*study)
    assert "autolora-bench -m task=cola method=autolora model=roberta_base seed=1,2" in {
        g.command for g in shown.unfilled
    }


def test_average_is_by_seed_and_only_over_complete_rows(make: Make) -> None:
    records = [
        make(task, "lora", seed, score + 0.1 * seed)
        for task, score in (("rte", 0.5), ("cola", 0.3))
        for seed in (0, 1)
    ]
    records.append(make("rte", "full", 0, 0.9))
    full, lora = table(records).rows
    means = {
        row.method: [cell for column, cell in row.cells.items() if column.is_average] for row in (full, lora)
    }
    assert means["full"][0].mean is None
    assert means["lora"][0].mean == pytest.approx(45.0)
    assert means["lora"][0].std == pytest.approx(np.std([40, 50], ddof=1))


def test_average_over_tasks_with_different_seeds_has_no_deviation(make: Make) -> None:
    records = [make("rte", "lora", 0, 0.5), make("rte", "lora", 1, 0.7), make("cola", "lora", 0, 0.4)]
    average = next(cell for column, cell in table(records).rows[0].cells.items() if column.is_average)
    assert (average.mean, average.std, average.n) == (pytest.approx(50.0), None, 1)


def test_no_average_of_scores_that_cannot_be_added(make: Make) -> None:
    nist = make("rte", "lora", 0, 0.5)
    other = make("cola", "lora", 0, {"nist": 8.0}, headline="nist")
    other.config["task"]["metrics"] = ["nist"]
    assert not any(column.is_average for column in table([nist, other]).columns)


def test_last_epoch_and_test_scores(make: Make) -> None:
    rte = table([make("rte", "lora", 0, 0.8)], epoch="last").rows[0]
    assert cells(rte)["rte/validation/accuracy"] == pytest.approx(79.0)
    webnlg = table([make("webnlg", "lora", 0, {"bleu": 0.5, "meteor": 0.4, "ter": 0.45})], epoch="last").rows[
        0
    ]
    assert cells(webnlg)["webnlg/test/bleu"] == pytest.approx(50.0)
    assert cells(webnlg)["webnlg/test/bleu/unseen"] == pytest.approx(40.0)


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
        entries, _ = entries_of(chosen, None)
        (shown,) = tables_of(entries, read_published(path), epoch="best", metrics="paper", title="T")
        return [column.task for row in shown.rows for one in row.published for column in one.differences]

    assert compared(records) == ["rte", "cola", "average"]
    assert compared([*records, make("mrpc", "full", 0, 0.5)]) == ["rte", "cola"]


def test_malformed_published_values_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(PUBLISHED.read_text().replace("87.6,", "about 87,", 1))
    with pytest.raises(UserError, match=r"own.csv line 2: 'about 87' is not a number"):
        read_published(path)
    path.write_text("source,value\n")
    with pytest.raises(UserError, match="no column"):
        read_published(path)


def test_footnotes_name_what_a_reader_must_know(make: Make) -> None:
    one = make("rte", "lora", 0, 0.7, data={"subsets": {"train": [1000, 2490]}, "notes": ["7 rows dropped"]})
    two = make(
        "rte",
        "lora",
        1,
        0.7,
        limit=50,
        data={"fingerprint": "other"},
        provenance={"dirty": True, "processor": "CPU X", "cores": 2},
    )
    text = " ".join(table([one, two]).footnotes)
    for said in ("1,000 of 2,490 rows", "7 rows dropped", "at most 50 training", "fingerprints differ"):
        assert said in text
    for said in ("with local changes", "CPU X", "Test GPU", "fp32", "lean upwards"):
        assert said in text


def test_records_outside_the_plan_are_counted_not_shown(make: Make, plan: Callable[..., PlannedRun]) -> None:
    text = report([make("rte", "lora", 0, 0.7), make("cola", "full", 0, 0.2)], [plan("rte", "lora")])
    assert "1 record found that this report does not ask for" in text
    assert "CoLA" not in text


def test_csv_is_tidy_and_exact(make: Make) -> None:
    lines = list(
        csv.DictReader(
            io.StringIO(report([make("rte", "lora", s, v) for s, v in ((0, 0.701), (3, 0.7))], format="csv"))
        )
    )
    assert (lines[0]["mean"], lines[0]["n"], lines[0]["seeds"], lines[0]["state"]) == (
        "70.05",
        "2",
        "0 3",
        "completed",
    )


EVIL = "x<script>alert(1)</script> | \\end{document} $&%#_{}~^ `'\" \u202e*é漢\x00"


def hostile(make: Make) -> RunRecord:
    origin = {"commit": EVIL, "processor": EVIL}
    record = make("rte", "lora", 0, 0.7, command=EVIL, data={"source": EVIL}, provenance=origin)
    record.method = EVIL
    record.config["task"]["title"] = EVIL
    return record


def test_hostile_names_stay_text(make: Make) -> None:
    record = hostile(make)
    texts = {name: report([record], format=name, title=EVIL) for name in FORMATS}
    assert "<script>alert" not in texts["html"]
    assert "<script>" not in re.sub(r"(?s)```.*?```", "", texts["markdown"])
    assert (
        len(
            {
                line.count("|") - line.count("\\|")
                for line in texts["markdown"].splitlines()
                if line.startswith("|")
            }
        )
        == 1
    )
    assert texts["latex"].count("\\end{document}") == 1


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_latex_compiles(study: Study, make: Make, tmp_path: Path) -> None:
    (tmp_path / "study.tex").write_text(
        report(*study, format="latex", epoch="both", title=EVIL), encoding="utf-8"
    )
    (tmp_path / "evil.tex").write_text(report([hostile(make)], format="latex"), encoding="utf-8")
    for name in ("study", "evil"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_latex_body_alone_can_be_included(study: Study) -> None:
    body = latex([table(*study)], standalone=False)
    assert "documentclass" not in body
    assert body.startswith(r"\begin{table}")


def test_nothing_to_report_is_said() -> None:
    with pytest.raises(UserError, match="nothing to report"):
        report([])


def test_unknown_choices_are_named(make: Make) -> None:
    for choice in ({"format": "pdf"}, {"epoch": "first"}, {"metrics": "some"}):
        with pytest.raises(UserError, match="is not known"):
            report([make("rte", "lora", 0, 0.7)], **choice)
