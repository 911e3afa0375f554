"""What the page holds, read without a browser: verdict, order, places, charts, size, and that nothing is trusted."""

import html.parser
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord, Status
from autolora_bench.report import page, verdict
from autolora_bench.report.collect import collect
from autolora_bench.report.figures.quality import rate_figures
from autolora_bench.report.page_plots import rate_panels
from autolora_bench.report.palette import COLOURS, looks
from autolora_bench.report.plots import Plot, PlotLine, apart
from autolora_bench.report.tuning import TunedCell
from tests.report.conftest import report

Study = tuple[list[RunRecord], list[PlannedRun]]
RESULTS = Path(__file__).resolve().parents[2] / "results"
MOST = 1_000_000
"""Bytes of a page."""


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and the text of those that hold one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(str(dict(attrs).get("class") or dict(attrs).get("id") or tag))

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open:
            self.texts.append((self.open[-1], data.strip()))

    def of(self, name: str) -> list[str]:
        """Texts right behind the start of an element of this class, id or tag."""
        return [text for place, text in self.texts if place == name]


BROWSER = """
const script = require("fs").readFileSync(process.argv[2], "utf8");
const opened = (hash, names) => {
  const boxes = names.map((value) => ({ name: "model", value, checked: true }));
  const filters = { elements: boxes, addEventListener: (kind, act) => { filters.change = act; } };
  const parts = { data: { textContent: "{}" }, filters };
  const page = { boxes, filters, address: hash };
  globalThis.location = { hash, pathname: "page", search: "" };
  globalThis.history = { replaceState: (state, title, text) => { page.address = text; } };
  globalThis.document = { getElementById: (id) => parts[id], addEventListener: () => {}, querySelectorAll: () => [] };
  (0, eval)(script);
  return page;
};
const shown = (page) => page.boxes.filter((box) => box.checked).map((box) => box.value);
const found = JSON.parse(process.argv[1]).map(([hash, names, off]) => {
  const page = opened(hash, names);
  const first = shown(page);
  for (const box of page.boxes) if (off.includes(box.value)) box.checked = false;
  page.filters.change();
  return [first, shown(opened(page.address, names)), page.address];
});
console.log(JSON.stringify(found));
"""
"""What the script of a page asks of a browser. Of an address, names of models and those that are unchecked: the models
that are shown at first, those that a page shows at the address that this gives, and that address."""


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


@pytest.fixture
def text(page_of_study: str) -> str:
    return page_of_study


def test_the_verdict_comes_first_and_says_what_the_test_separates(text: str) -> None:
    first, second = Page(text).of("verdict")
    assert first.startswith(
        "Separated after correction: AutoLoRA against LoRA, rank 8 +5.66 (on RTE accuracy"
    )
    assert "p 0.031 after correction" in first
    assert "ranks nothing: a test needs 6 shared seeds" in second
    assert text.index('class="verdict"') < text.index("<table")


def test_badges_say_what_limits_trust(text: str) -> None:
    doubts = re.findall(r'<li class="doubt"><b>(\w[\w ]*)</b> ([^<]*)', text)
    assert ("data", "not whole: MRPC") in doubts
    assert ("runs", "51 of 58 completed") in doubts
    assert ("learning rates", "not tuned: a difference may be one of rates") in doubts
    assert ("seeds", "1 seed in most cells (seed 0)") in doubts


def test_rows_stand_best_first_with_the_places_their_ties_leave(text: str) -> None:
    table = text[text.index('class="scores"') :]
    rows = re.findall(r'</i>([^<]*)(?: <small>[^<]*</small>)?</th><td class="place">([^<]*)<', table)
    assert [name for name, _ in rows[:4]] == ["AutoLoRA", "Full", "AdaLoRA", "LoRA"]
    assert dict(rows[:4])["AutoLoRA"] == "1\N{EN DASH}5"
    assert dict(rows[:4])["LoRA"] == "2\N{EN DASH}6"
    values = [float(v) for v in re.findall(r'data-task="rte" data-value="([\d.]+)"', table)][:6]
    assert values == sorted(values, reverse=True)


def test_chart_data_are_those_of_the_table(text: str) -> None:
    chart = data_of(text)["charts"][0]
    rte = next(n for n, y in enumerate(chart["ys"]) if y["title"] == "RTE accuracy")
    parameters = next(n for n, x in enumerate(chart["xs"]) if x.startswith("parameters"))
    points = [p for p in chart["points"] if (p["y"], p["x"]) == (rte, parameters)]
    labels = {p["method"]: chart["methods"][p["method"]]["label"] for p in points}
    held = {labels[p["method"]]: p for p in points}
    assert held["LoRA, rank 4"]["size"] == 0.1475
    assert held["AutoLoRA"]["said"] == "80.75 ± 0.51, 6 seeds"
    assert len(held["AutoLoRA"]["runs"]) == 6
    for point in points:
        better = [p for p in points if p["size"] <= point["size"] and p["score"] > point["score"]]
        assert point["front"] == (not better)
    best = next(method for method, label in labels.items() if label == "AutoLoRA")
    ties = {labels[method] for method in chart["ys"][rte]["ties"][str(best)]}
    assert ties == {"Full", "AdaLoRA", "LoRA, rank 4", "AutoLoRA, released estimator"}


def test_seconds_of_several_machines_are_no_choice(make: Callable[..., RunRecord]) -> None:
    records = [make("rte", method, seed, 0.7) for method in ("lora", "full") for seed in (0, 1)]
    assert any("seconds" in x for x in data_of(report(records, format="html"))["charts"][0]["xs"])
    records[0].provenance["device"] = "another GPU"
    assert not any("seconds" in x for x in data_of(report(records, format="html"))["charts"][0]["xs"])


def test_a_comparison_with_a_row_is_that_of_the_table_of_comparisons(study: Study, text: str) -> None:
    tables = {table["title"]: table["rows"] for table in json.loads(report(*study, format="json"))["tables"]}
    declared = next(row for row in tables["Paired comparisons: roberta_base"] if row["on"] == "RTE accuracy")
    versus = {row[0]: row for row in data_of(text)["versus"][0]["AutoLoRA"]}
    assert declared["second"] == "LoRA, rank 8"
    row = versus["LoRA, rank 8"]
    assert row[1:4] == [declared["difference"], declared["95 % interval"], declared["pairs"]]
    assert row[4].startswith("separated")
    assert all(line[4].startswith("not") for label, line in versus.items() if label != "LoRA, rank 8")


@pytest.mark.skipif(not shutil.which("node"), reason="no node on this machine")
def test_an_address_opens_the_models_that_were_chosen() -> None:
    spaced, nested, odd = ("any (checkpoint a)", "any (checkpoint b)"), ("x", "x (y)"), ("a", "b & c=d", "ü")
    chosen = [
        ("", names, off) for names in (spaced, nested, odd) for off in (names[:1], names[1:], names, ())
    ]
    three = ("minilm", "roberta_base", "any (checkpoint a)")
    earlier = {"#model=minilm": three[:1], "#model=minilm+roberta_base": three[:2], "#model=-": ()}
    cases = [*chosen, *((address, three, ()) for address in earlier)]
    words = ["node", "-e", BROWSER, json.dumps(cases), str(page.ASSETS / "page.js")]
    found = json.loads(subprocess.run(words, capture_output=True, check=True, timeout=60).stdout)
    for (_, names, off), (first, again, address) in zip(chosen, found, strict=False):
        assert first == list(names)
        assert again == [name for name in names if name not in off], address
    assert found[3][2] == "page", "the address of a page that shows all says nothing"
    assert [first for first, _, _ in found[len(chosen) :]] == list(map(list, earlier.values()))


def test_what_the_script_hides_no_rule_shows_again() -> None:
    """A class with a display of its own, as .maps has, wins over the browser's rule for `hidden`."""
    style = (Path(verdict.__file__).parent / "assets" / "page.css").read_text()
    assert re.search(r"\.maps \{[^}]*display: flex", style)
    assert re.search(r"(?m)^\[hidden\] \{ display: none !important; \}$", style)


def test_scores_that_a_guesser_reaches_are_marked(make: Callable[..., RunRecord]) -> None:
    records = [make("rte", "lora", 0, 0.58), make("rte", "full", 0, 0.6)]
    shown = report(records, format="html")
    cells = re.findall(r'data-value="([\d.]+)" class="([^"]*)"', shown)
    assert {value[:2]: "guess" in kinds for value, kinds in cells} == {"58": True, "60": False}
    assert "no better than guessing: 1 of 2 on RTE accuracy" in shown


def test_nothing_of_a_record_becomes_an_element_an_attribute_or_a_script(
    make: Callable[..., RunRecord],
) -> None:
    evil = "</script><script>window.broken=1</script><img src=x onerror=broken()>\"' onclick=x style=y&\u2028"
    records = [
        make("rte", method, seed, 0.7 + seed / 50) for method in ("lora", "autolora") for seed in range(6)
    ]
    for record in records:
        record.method += evil
        record.model = record.provenance["commit"] = record.provenance["device"] = evil
        record.finished = evil
        record.config["method"][evil] = evil
        record.phases[0].details = {"diagnostics": [{"step": 1, "cosine": 0.5}], "classifier_reads": evil}
    page = Page(report(records, format="html", title=evil))
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not [tag for tag, _ in page.elements if tag in ("img", "iframe", "object", "link", "base")]
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src", "action")}
    links = {a["href"] for tag, a in page.elements if tag == "a"}
    assert all(str(link).startswith("#") for link in links)


def test_a_page_of_many_evaluations_leaves_histories_out_and_keeps_curves(
    make: Callable[..., RunRecord],
) -> None:
    records = [make("rte", "lora", seed, 0.7) for seed in range(2)]
    names = [part[0] for part in data_of(report(records, format="html"))["runs"][0]["sections"]]
    assert "History" in names
    records[1].history *= 2000
    run = data_of(report(records, format="html", figures=False))["runs"][0]
    assert [part[0] for part in run["sections"]] == [name for name in names if name != "History"]
    assert len(run["curve"]) == 3


def test_links_of_the_page_lead_to_its_sections(text: str) -> None:
    elements = Page(text).elements
    places = {a["id"] for _, a in elements if "id" in a}
    links = [str(a["href"]).removeprefix("#") for tag, a in elements if tag == "a"]
    assert links
    assert set(links) <= places
    assert len([a["id"] for _, a in elements if "id" in a]) == len(places)


def test_a_page_of_many_methods_is_small_and_names_each() -> None:
    shown = report(collect(RESULTS / "methods" / "records"), format="html")
    assert len(shown.encode()) < MOST
    table = shown[shown.index('class="scores"') :]
    assert len(re.findall(r"<tbody data-method", table[: table.index("</table>")])) == 32
    assert "no better than guessing: 31 of 32 on RTE accuracy" in shown


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/report.html")), ids=lambda path: path.parent.name)
def test_committed_pages_are_small_and_load_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < MOST
    assert not [a for _, a in Page(text).elements if "src" in a]


def test_plots_are_well_formed_and_name_their_lines() -> None:
    lines = (
        PlotLine("a <b> & c", ((1.0, 0.5), (2.0, 0.7)), "s1 d0", ((0.4, 0.6), (0.6, 0.8))),
        PlotLine("one point", ((1.0, 3.0),), "s2 d1"),
        PlotLine("none", (), "s3 d2"),
    )
    drawn = ElementTree.fromstring(Plot("<title>", "epoch", lines, log_y=True, level=1.0).svg())
    assert [t.text for t in drawn.iter("title")].count("a <b> & c") == 2
    assert len(list(drawn.iter("polyline"))) == 1
    assert len(list(drawn.iter("circle"))) == 1
    assert "none" not in {t.text for t in drawn.iter("title")}


@pytest.mark.parametrize("places", [[], [5.0], [5.0, 5.0, 5.0], [0.0, 99.0, 99.5, 100.0], [1.0] * 9])
def test_labels_keep_their_distance_and_their_order(places: list[float]) -> None:
    found = apart(places, 10.0, 0.0, 100.0)
    assert all(later - earlier > 10.0 - 1e-9 for earlier, later in pairwise(found))
    assert all(0.0 <= place <= 100.0 for place in found)


def test_a_family_has_one_colour_and_its_methods_other_markers() -> None:
    found = looks(["lora", "variant", "variant", "autolora", "no such family"])
    assert [look.colour for look in found[:4]] == [
        COLOURS[f] for f in ("lora", "variant", "variant", "autolora")
    ]
    assert found[1].marker != found[2].marker
    assert found[4].colour == COLOURS["other"]


def test_tuned_rates_are_drawn_with_the_chosen_one_marked_and_a_diverged_one_left_out() -> None:
    trials = {1e-4: 60.0, 3e-4: 70.0, 1e-3: None}
    cells = [
        TunedCell("rte", "m", method, label, trials, frozenset(), True, 3e-4, 3, 1.0, 1.0, 0, family)
        for method, label, family in (("lora", "LoRA", "lora"), ("autolora", "AutoLoRA", "autolora"))
    ]
    (panels,) = rate_panels(cells)
    ((task, _, drawn),) = panels.plots
    svg = ElementTree.fromstring(drawn)
    assert task == "rte"
    assert {t.text for t in svg.iter("title")} == {"LoRA", "AutoLoRA"}
    assert [len(str(line.get("points")).split()) for line in svg.iter("polyline")] == [2, 2]
    assert len(list(svg.iter("circle"))) == 2
    (picture,) = rate_figures(cells)
    assert picture.svg.startswith(b"<?xml")
    assert COLOURS["autolora"].encode() in picture.svg


@pytest.mark.parametrize(
    ("fewest", "most", "sound"), [(1, 1, False), (0, 0, False), (1, 3, False), (2, 3, False), (3, 3, True)]
)
def test_rates_are_trusted_where_all_methods_had_as_many(fewest: int, most: int, sound: bool) -> None:
    assert verdict._rates_badge(fewest, most).sound is sound


def test_models_side_by_side_are_of_the_same_settings(make: Callable[..., RunRecord]) -> None:
    records = [make("rte", method, 0, score) for method, score in (("lora4", 0.7), ("lora", 0.8))]
    records += [make("rte", "lora", 0, 0.6, model="other")]
    found = Page(report(records, format="html"))
    sideways = [
        text for text in found.texts if text[1] in ("60.00", "70.00", "80.00", "LoRA, rank 4", "LoRA, rank 8")
    ]
    start = next(n for n, (_, text) in enumerate(found.texts) if "side by side" in text)
    told = [text for _, text in found.texts[start : start + 30]]
    assert sideways
    place = told.index("LoRA, rank 8")
    assert told[place + 1 : place + 3] == ["80.00", "60.00"]


def test_models_with_rates_of_their_own_stand_in_one_line(make: Callable[..., RunRecord]) -> None:
    records = [
        make("rte", "lora", 0, 0.7),
        make("rte", "lora", 0, 0.65),
        make("rte", "lora", 0, 0.6, model="other"),
    ]
    for record, rate in zip(records, (1e-3, 3e-3, 5e-4), strict=True):
        record.config["method"]["learning_rate"], record.config_id = rate, f"id{rate}"
    told = [text for _, text in Page(report(records, format="html")).texts]
    start = next(n for n, text in enumerate(told) if "side by side" in text)
    scores = [text for text in told[start : start + 30] if text in ("70.00", "65.00", "60.00")]
    assert scores[:3] in (["70.00", "60.00", "65.00"], ["65.00", "60.00", "70.00"])


def test_a_method_that_failed_in_every_seed_is_counted(make: Callable[..., RunRecord]) -> None:
    records = [make("rte", "lora", seed, 0.7) for seed in range(3)]
    records += [make("rte", "adalora", 0, status=Status.failed, error={"type": "E", "message": "no"})]
    assert "all completed; none of AdaLoRA" in report(records, format="html")


@pytest.mark.parametrize("values", [(76.93, 77.06), (100.4, 101.6), (100002.0, 100004.0), (76.252, 76.256)])
def test_ticks_say_where_they_are(values: tuple[float, float]) -> None:
    line = PlotLine("a", ((1.0, values[0]), (2.0, values[1])), "s1 d0")
    drawn = ElementTree.fromstring(Plot("t", "epoch", (line,)).svg())
    said = [float(t.text or "") for t in drawn.iter("text") if t.get("class") == "end"]
    steps = [b - a for a, b in pairwise(said)]
    assert len(said) > 1
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-6)
    assert values[0] - (values[1] - values[0]) < said[0] < said[-1] < values[1] + (values[1] - values[0])
