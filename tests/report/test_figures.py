"""Figures: the numbers in them, the same bytes every time, and text that is never read as a formula."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats

from autolora_bench import cli
from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord, write_record
from autolora_bench.report.build import report_stability
from autolora_bench.report.collect import Collection, collect
from autolora_bench.report.comparisons import comparison_table, comparisons
from autolora_bench.report.costs import cost_reports, cost_tables
from autolora_bench.report.figures.grid import Scale, panels
from autolora_bench.report.figures.quality import _draw as scatter
from autolora_bench.report.figures.quality import curve_figures, pareto_figures
from autolora_bench.report.figures.ranks import _draw as heat_map
from autolora_bench.report.figures.ranks import rank_figures
from autolora_bench.report.figures.searches import STROKES, _draw, estimator_figures
from autolora_bench.report.figures.style import (
    DPI,
    SETTINGS,
    label_ends,
    label_points,
    logarithmic,
    picture,
    room_at_left,
    room_at_right,
    shortened,
    wrapped,
)
from autolora_bench.report.formats import in_format
from autolora_bench.report.frames import frames_of
from autolora_bench.report.page_plots import trajectory_panels
from autolora_bench.report.palette import looks_of
from autolora_bench.report.quality import Point, front, points_of
from autolora_bench.report.rank_maps import RankMap, published_ranks
from autolora_bench.report.runs import runs_of
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.search_lines import Trajectory, diagnostics, trajectories_of
from autolora_bench.report.tables import tables_of
from tests.report.conftest import Make, Study, write_report


@pytest.fixture(autouse=True)
def _as_figures_look() -> Iterator[None]:
    with mpl.rc_context({**SETTINGS, "figure.dpi": DPI["png"]}):
        yield


def tables(records: Sequence[RunRecord]) -> list[Table]:
    return tables_of(frames_of(runs_of(records, None)[0]), epoch="best", metrics="paper", title="T")


def test_a_folder_holds_every_format_and_figure_and_repeats(searched: Collection, tmp_path: Path) -> None:
    first = write_report(tmp_path / "a", searched, title="T")
    second = write_report(tmp_path / "b", searched, title="T")
    names = {path.relative_to(tmp_path / "a").as_posix() for path in first}
    for stem in ("scores", "comparisons", "cost", "stability", "movement"):
        assert {f"{stem}.md", f"{stem}.csv", f"{stem}.tex"} <= names or stem == "comparisons"
    kinds = {name.removeprefix("figures/").partition("-")[0] for name in names if name.endswith(".svg")}
    assert kinds == {"pareto", "cost", "ranks", "stability.svg", "estimator", "curves", "trajectory"}
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "data:image" not in page
    for title in (
        "Learning curves",
        "Estimator of the hypergradient",
        "Search of AutoLoRA, rte",
        "Ranks of AutoLoRA",
    ):
        assert title in page


def test_what_an_earlier_report_left_in_the_folder_is_told_of(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be of other records. Nothing is removed: the folder is its owner's."""
    for name, methods in (("two", ("lora", "full")), ("one", ("lora",))):
        for method in methods:
            for seed in range(2):
                write_record(tmp_path / name / f"{method}{seed}", make("rte", method, seed, 0.7))
    out = tmp_path / "out"
    assert cli.run(["report", f"records={tmp_path / 'two'}", f"out={out}"]) == 0
    assert capsys.readouterr().err == ""
    (out / "notes.md").write_text("the owner's")
    assert cli.run(["report", f"records={tmp_path / 'one'}", f"out={out}"]) == 0
    told = capsys.readouterr().err
    assert told.startswith(
        f"{out} still holds what an earlier report left: comparisons.md, comparisons.csv, "
    )
    assert told.splitlines()[0].endswith("figures/pareto-roberta_base.svg and 1 more")
    assert (out / "comparisons.md").is_file()
    assert "notes.md" not in told


def test_figures_are_saved_once_in_the_formats_asked_for(make: Make, tmp_path: Path) -> None:
    records = [make("rte", method, 0, 0.7) for method in ("lora", "full")]
    names = {path.name for path in write_report(tmp_path, records, figures=["png"])}
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= {"pareto-roberta_base.png"}
    assert not any(name.endswith(".svg") for name in names)
    assert (tmp_path / "figures/pareto-roberta_base.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="figures=gif is not known"):
        write_report(tmp_path, records, figures=["gif"])


def test_figures_hold_no_date(searched: Collection, tmp_path: Path) -> None:
    for path in write_report(tmp_path, searched):
        if path.suffix == ".svg":
            assert b"dc:date" not in path.read_bytes()


def test_stability_as_text(searched: Collection) -> None:
    table = json.loads(report_stability(searched, format="json"))[0]
    (row,) = table["rows"]
    assert row["seeds"] == "3"
    assert row["initialisation"] == "own"
    assert row["alpha r"].startswith("(")
    assert "rte, AutoLoRA" in report_stability(searched)


def test_broken_artefacts_are_named_not_fatal(searched: Collection, tmp_path: Path) -> None:
    (tmp_path / "runs/seed1/search/selection.json").write_text("{")
    (tmp_path / "runs/seed0/search/trajectory.jsonl").write_text("{")
    write_report(tmp_path / "out", searched)
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "seed1/search/selection.json is not readable" in page
    assert "seed0/search/trajectory.jsonl is no trajectory" in page


def test_front_is_the_set_that_nothing_beats() -> None:
    random = np.random.default_rng(2)
    points = [Point(str(i), i, *random.integers(1, 12, 2).astype(float), 0.0) for i in range(40)]
    chosen = {(p.size, p.score) for p in front(points)}
    for point in points:
        beaten = any(
            q.size <= point.size and q.score >= point.score and (q.size, q.score) != (point.size, point.score)
            for q in points
        )
        assert ((point.size, point.score) in chosen) != beaten


def test_front_where_lower_is_better() -> None:
    points = [Point("a", 0, 1.0, 5.0, 0.0), Point("b", 1, 2.0, 3.0, 0.0), Point("c", 2, 3.0, 4.0, 0.0)]
    assert [p.label for p in front(points, higher_is_better=False)] == ["a", "b"]


def boxes(axis: Any) -> dict[str, Any]:
    FigureCanvasAgg(axis.figure).draw()
    return {text.get_text(): Text.get_window_extent(text) for text in axis.texts}


def apart(found: Sequence[Any]) -> bool:
    return not any(one.overlaps(other) for one, other in combinations(found, 2))


@pytest.mark.parametrize("count", [1, 9, 30])
def test_names_beside_a_panel_do_not_touch_and_stay_in_the_figure(count: int) -> None:
    names = [f"{n} lora (learning_rate=0.001, train.epochs=30.0)" for n in range(count)]
    wide, high = room_at_right(names)
    figure, (axis,) = panels([""], 1.65, max(1.45, high), right=wide)
    axis.plot([0, 1], [0, 1])
    label_ends(axis, [(name, 1.0, 0.5, "black") for name in names])
    found = boxes(axis)
    assert len(found) == count
    assert apart(list(found.values()))
    assert axis.get_window_extent().width > 1.2 * figure.dpi
    assert all(
        box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in found.values()
    )


def test_names_of_points_do_not_touch_and_none_is_lost() -> None:
    random = np.random.default_rng(5)
    figure, (axis,) = panels([""], 3.0, 2.9, right=room_at_right(["method 10"])[0])
    places = [*random.uniform(0, 1, (12, 2)), *([0.5, 0.5] for _ in range(6))]
    axis.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
    label_points(axis, [(f"method {n}", x, y, "black") for n, (x, y) in enumerate(places)])
    found = boxes(axis)
    assert set(found) == {f"method {n}" for n in range(18)}
    assert apart(list(found.values()))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in found.values())


def test_a_method_has_its_colour_in_every_figure(make: Make) -> None:
    few = looks_of(tables([make("rte", "autolora", 0, 0.7), make("rte", "lora", 0, 0.7)])[0].rows)
    records = [
        make("rte", m, 0, 0.7)
        for m in ("full", "lora", "lora4", "adalora", "autolora", "released", "uniform")
    ]
    many = tables(records)[0]
    colours = {row.label: look.colour for row, look in zip(many.rows, looks_of(many.rows), strict=True)}
    assert [look.colour for look in few] == [colours["LoRA, rank 4"], colours["AutoLoRA"]]
    assert colours["AutoLoRA"] == colours["AutoLoRA, released estimator"]
    assert len(set(colours.values())) == 5
    kinds = {(look.colour, look.marker) for look in looks_of(many.rows)}
    assert len(kinds) == len(many.rows)


def test_published_ranks_are_read_for_every_task() -> None:
    found = published_ranks()
    assert set(found) >= {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "bionlp"}
    assert all((len(one.blocks), one.projections) == (12, ("query", "value")) for one in found.values())
    assert found["cola"].ranks[2, "query"] == 5


def test_rank_figures_show_published_ones_beside(make: Make) -> None:
    (picture,) = rank_figures(tables([make("rte", "autolora", seed, 0.7) for seed in range(2)]))
    assert "the authors published" in picture.caption
    assert "roberta_base" in picture.caption
    assert "seeds 0, 1" in picture.caption


def test_published_ranks_stand_beside_autolora_on_real_data_only(make: Make) -> None:
    generated = make("rte", "autolora", 0, 0.7)
    generated.config["data"]["source"] = "generated"
    for record in (generated, make("rte", "adalora", 0, 0.7)):
        (picture,) = rank_figures(tables([record]))
        assert "published" not in picture.caption


def test_equal_ranks_make_no_figure(make: Make) -> None:
    record = make("rte", "lora", 0, 0.7)
    for layer in record.ranks:
        layer.rank = 8
    assert rank_figures(tables([record])) == []


def test_diagnostics_are_read_and_garbage_left_out(make: Make) -> None:
    record = make("rte", "autolora", 0, 0.7)
    assert diagnostics(record)["cosine"] == [(1, 0.995), (10, 0.9998)]
    record.phases[0].details["diagnostics"] = [
        {"step": 1, "cosine": "high"},
        7,
        {"step": None, "cosine": 1.0},
    ]
    assert diagnostics(record) == {}
    record.phases[0].details["diagnostics"] = "none"
    assert estimator_figures(tables([record])) == []


def test_a_term_of_nought_has_no_place_on_a_logarithmic_axis(make: Make) -> None:
    """Its label would lie below every page, and every panel collapse."""
    some, none = make("rte", "autolora", 0, 0.7), make("rte", "autolora", 1, 0.6)
    points = none.phases[0].details["diagnostics"]
    none.phases[0].details = {"diagnostics": [{**point, "implicit_norm": 0.0} for point in points]}
    [drawn] = estimator_figures(tables([some, none]))
    assert drawn.svg


def test_no_curve_of_one_epoch(make: Make) -> None:
    record = make("rte", "lora", 0, 0.7)
    record.history = record.history[:1]
    assert curve_figures(tables([record])) == []


def test_names_are_never_formulas(make: Make) -> None:
    records = [make("rte", method, 0, 0.7) for method in ("lora", "full")]
    for record in records:
        record.method = r"$\frac{" + record.method + "漢"
    (picture,) = pareto_figures(tables(records))
    assert r"$\frac{" in picture.alt


def test_comparisons_and_costs_of_the_study(study: Study, golden: Callable[[str, str], None]) -> None:
    shown = tables_of(frames_of(runs_of(*study)[0]), epoch="best", metrics="paper", title="Study")
    golden("comparisons.md", in_format(comparisons(shown), "markdown"))
    golden("cost.md", in_format(cost_reports(cost_tables(shown)), "markdown"))


def test_differences_equal_scipys_exact_test(make: Make) -> None:
    random = np.random.default_rng(4)
    scores = {name: random.normal(0.7, 0.01, 8).round(4) for name in ("lora", "autolora")}
    records = [
        make("rte", name, seed, float(v)) for name, values in scores.items() for seed, v in enumerate(values)
    ]
    (row,) = comparison_table(tables(records)[0]).rows
    differences = 100 * (scores["autolora"] - scores["lora"])
    expected = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert row[3] == f"{differences.mean():+.2f}".replace("-", "\N{MINUS SIGN}")
    assert row[7] == f"{expected.pvalue:.4f}"


@pytest.mark.parametrize("form", ["svg", "png"])
@pytest.mark.sample(keep=("svg",))
def test_lines_above_a_figure_leave_what_is_drawn_as_large_as_it_was(form: str) -> None:
    """With any number of them: their texts touch nothing and leave the figure nowhere."""
    sizes, titles = set(), []

    def draw() -> Figure:
        titles = ("panel", "a title of a column: accuracy (validation matched)", "panel")
        figure, axes = panels(titles, 1.85, 1.45, columns=2)
        for axis in axes:
            axis.plot([1, 2, 30], [1, 5, 2])
            axis.set(xlabel="x", ylabel="y")
        drawn.append(figure)
        return figure

    drawn: list[Figure] = []
    for words in (1, 30, 90):
        assert picture("name", "subject " * words, "", "", draw).render(form)
        figure = drawn[-1]
        FigureCanvasAgg(figure).draw()
        heading = figure.get_suptitle()
        titles.append(heading.count("\n") + 1)
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        (above,) = [text.get_window_extent() for text in texts if text.get_text() == heading]
        own = [t for axis in figure.axes for t in (axis.title, axis.xaxis.label, axis.yaxis.label)]
        others = [text.get_window_extent() for text in own]
        assert apart([above, *others])
        assert above.x0 >= 0
        assert above.x1 <= figure.bbox.x1
        assert above.y1 <= figure.bbox.y1
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in others)
        inches = [axis.get_window_extent().size / figure.dpi for axis in figure.axes]
        sizes |= {(round(wide, 3), round(high, 3)) for wide, high in inches}
    assert titles[0] == 1
    assert titles[2] > titles[1] > 1
    assert len(sizes) == 1


@pytest.mark.parametrize("spread", [2.0, 6.0, 15.0, 50.0, 2_000.0, 1e6])
def test_ticks_of_a_logarithmic_axis_do_not_touch(spread: float) -> None:
    figure, (axis,) = panels([""], 1.85, 1.45)
    axis.plot([3e-5, 3e-5 * spread], [3e-5, 3e-5 * spread])
    for which in ("x", "y"):
        logarithmic(axis, which)
        assert len(getattr(axis, f"get_{which}ticks")()) > 1
    FigureCanvasAgg(figure).draw()
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        shown = [label.get_window_extent() for label in labels]
        assert apart(shown)
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 for box in shown)


def test_ticks_of_a_logarithmic_axis_are_round() -> None:
    _, (axis,) = panels([""], 3.05, 1.45)
    axis.set_xlim(0.8, 6)
    logarithmic(axis, "x")
    assert axis.get_xticks().tolist() == [1, 2, 5]
    axis.set_xlim(1e-4, 1e-2)
    logarithmic(axis, "x")
    assert axis.get_xticks().tolist() == pytest.approx([1e-4, 3e-4, 1e-3, 3e-3, 1e-2])


@pytest.mark.parametrize(
    "name", ["WARMUP MOMENTUM MONARCH MOMENT", "W" * 34, "自动低秩适配方法的比较", "lora"]
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_in_any_letters_stay_in_the_figure(name: str) -> None:
    label = wrapped(name)
    figure, axes = panels(["", ""], 1.75, 1.45, names=room_at_left([label]), right=room_at_right([name])[0])
    for axis in axes:
        axis.plot([0, 1], [0, 1])
        label_ends(axis, [(name, 1.0, 0.5, "black")])
    axes[0].set_yticks([0.5], [label])
    axes[1].set_yticks([])
    FigureCanvasAgg(figure).draw()
    found = [text.get_window_extent() for text in figure.findobj(Text) if text.get_text() in (name, label)]
    assert len(found) >= 3
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in found)
    assert apart([*found, *(axis.get_window_extent() for axis in axes)])


@pytest.mark.parametrize("rows", [3, 14, 36])
def test_a_figure_of_many_rows_is_high_enough_for_all_names(make: Make, rows: int) -> None:
    """All have one size, and names that find no room beside their points."""
    records = [make("rte", "lora", 0, 0.7 + 0.0001 * n) for n in range(rows)]
    for number, record in enumerate(records):
        record.method = f"a method of a long name, number {number}"
    (shown,) = tables(records)
    (column,) = (one for one in shown.columns if one.headline)
    figure = scatter(shown, {column: points_of(shown, column)})
    found = boxes(figure.axes[0])
    assert len(found) == rows
    assert apart(list(found.values()))
    assert all(box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in found.values())
    assert (figure.axes[0].get_window_extent().height / figure.dpi == pytest.approx(2.05)) == (rows < 36)


def test_rows_of_a_sweep_have_names_of_their_own() -> None:
    """Cut no shorter than tells them apart; where that would be endless, numbered."""
    rates = [
        f"LoRA, alpha=16.0, dropout=0.1, learning_rate={rate}" for rate in ("0.0001", "0.0002", "0.0102")
    ]
    names = shortened([*rates, "LoRA"])
    assert list(names) == [*rates, "LoRA"]
    assert len({*names.values()}) == 4
    assert names["LoRA"] == "LoRA"
    assert max(map(len, names.values())) == len(rates[0])
    assert shortened(["a" * 40, "b"])["a" * 40] == "a" * 35 + "\N{HORIZONTAL ELLIPSIS}"
    endless = shortened(["x" * 500 + end for end in "ab"])
    assert len({*endless.values()}) == 2
    assert max(map(len, endless.values())) < 130


def test_the_text_beside_a_scatter_plot_lists_every_point(make: Make) -> None:
    """As the table has them; roughly 295,000 and 124.6 million weights."""
    records = [make("rte", "lora", 0, 0.7), make("rte", "full", 0, 0.69)]
    (picture,) = pareto_figures(tables(records))
    assert picture.alt == (
        "Scatter plot of score against millions of parameters. RTE accuracy. Full fine-tuning: 69.00 at 125; "
        "LoRA: 70.00 at 0.295. On the front: LoRA."
    )


def test_names_of_points_find_their_place_beside_a_panel_with_longer_names() -> None:
    right = room_at_right(["AutoLoRA (method.search.rank=8,more=2)"])[0]
    _, (axis,) = panels([""], 2.25, 2.05, left=0.8, right=right)
    axis.set(xlim=(0.7, 4), ylim=(0, 1))
    logarithmic(axis, "x")
    label_points(axis, [(f"method {name}", x, 0.5, "black") for name, x in (("A", 1), ("B", 1.25), ("C", 3))])
    assert apart(list(boxes(axis).values()))


def test_a_search_by_another_rule_is_drawn_by_what_it_kept(searched: Collection, tmp_path: Path) -> None:
    """Dark lines are the components that were kept, and 1/k is drawn where it decided."""
    paper = trajectories(searched)
    assert (paper.level, paper.told) == (1 / 8, " Dark: kept; pale: dropped. Dotted: the threshold, 0.125.")
    assert paper.kept is not None
    assert dark_lines(paper) == int(paper.kept.sum())
    assert strokes(paper) == {"kept": int(paper.kept.sum()), "dropped": int((~paper.kept).sum()), "level": 8}

    run = tmp_path / "runs/seed0"
    ranks = json.loads((run / "threshold/ranks.json").read_text())
    kept = {name: [place == layer for place in range(8)] for layer, name in enumerate(ranks["kept"])}
    (run / "threshold/ranks.json").write_text(json.dumps({"kept": kept}))
    record = json.loads((run / "run.json").read_text())
    record["config"]["method"].setdefault("search", {})["rule"] = "budget"
    (run / "run.json").write_text(json.dumps(record))
    budget = trajectories(collect(tmp_path / "runs"))
    assert (budget.level, budget.told, dark_lines(budget)) == (None, " Dark: kept; pale: dropped.", 8)
    assert strokes(budget) == {"kept": 8, "dropped": 56, "level": 0}

    (run / "threshold/ranks.json").unlink()
    gone = trajectories(collect(tmp_path / "runs"))
    assert (gone.kept, gone.told, dark_lines(gone)) == (None, " Which were kept is not known.", 0)


@pytest.mark.parametrize(
    ("search", "level"),
    [
        ({"rule": "half"}, 0.5),
        ({"rule": "threshold", "threshold": 0.3}, 0.3),
        ({"rule": "mean"}, None),
        ({"rule": "of another version"}, None),
        ({}, 1 / 8),
    ],
)
def test_the_level_of_a_rule_is_drawn(
    search: dict[str, object], level: float | None, searched: Collection, tmp_path: Path
) -> None:
    path = tmp_path / "runs/seed0/run.json"
    record = json.loads(path.read_text())
    record["config"]["method"]["search"] = search
    path.write_text(json.dumps(record))
    assert trajectories(collect(tmp_path / "runs")).level == level


def strokes(found: Trajectory) -> dict[str, int]:
    """Lines of each kind in the figure, told by their colour, width and dashes."""
    (axes,) = _draw(found).axes
    lines: dict[str, int] = dict.fromkeys(("kept", "dropped", "level"), 0)
    for own in axes.collections:
        for name in lines:
            style = STROKES[name]
            alike = to_hex(own.get_colors()[0]) == to_hex(style["colors"]) if len(own.get_colors()) else False
            if alike and own.get_linewidths()[0] == style["linewidths"]:
                lines[name] += len(own.get_segments())
    return lines


def test_ticks_tell_their_values_apart_and_steps_are_whole() -> None:
    scale = Scale(0.1249996, 0.1250004, 1.1)
    names = [name for _, name in scale.ticks(5)]
    assert len(set(names)) == len(names) > 1
    for place, name in scale.ticks(5):
        assert place == pytest.approx(float(scale.place(float(name))), abs=1e-6)
    assert [name for _, name in Scale(0.125, 0.125, 1.0).ticks(5)] == ["0.125"]
    assert [name for _, name in Scale(0, 3, 1.0).ticks(4, whole=True)] == ["0", "1", "2", "3"]
    assert scale.place(scale.low) < scale.place(scale.high) < 1.1


@pytest.mark.parametrize("name", ["query_key_value", "dense_h_to_4h", "layer.DenseReluDense.wi_0"])
def test_no_name_of_a_projection_leaves_a_heat_map(name: str) -> None:
    blocks = tuple(range(3))
    one = RankMap(
        "rte, seed 0", (name, "value"), blocks, {(b, p): b + 1.0 for b in blocks for p in (name, "value")}
    )
    figure = heat_map([(one, None)])
    FigureCanvasAgg(figure).draw()
    width = figure.get_figwidth() * figure.dpi
    for text in figure.findobj(Text):
        if text.get_text():
            box = text.get_window_extent()
            assert box.x0 >= 0, text.get_text()
            assert box.x1 <= width, text.get_text()
    (squares,) = figure.axes[0].collections
    shades = [sum(colour[:3]) for colour in squares.get_facecolor()]
    assert shades[0] > shades[2] > shades[4], "darker is higher"


def trajectories(collection: Collection) -> Trajectory:
    found, problems = trajectories_of(tables(collection.records), collection.folders)
    assert problems == []
    return found[0]


def dark_lines(found: Trajectory) -> int:
    (panels,) = trajectory_panels([found])
    return sum(str(plot).count("kept") for *_, plot in panels.plots)
