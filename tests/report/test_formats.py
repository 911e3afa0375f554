"""Every format: golden files, hostile names, LaTeX that compiles."""

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.report.build import FORMATS
from autolora_bench.report.formats import PlainTable, escape, in_format
from tests.report.conftest import PUBLISHED, Make, Study, report


@pytest.mark.parametrize("name", ["markdown", "latex", "csv", "html"])
def test_golden(study: Study, golden: Callable[[str, str], None], name: str) -> None:
    suffix = {"markdown": "md", "latex": "tex"}.get(name, name)
    text = report(*study, format=name, title="Study", published=[PUBLISHED], figures=False)
    golden(f"study.{suffix}", _without_assets(text) if name == "html" else text)
    assert text == report(*study, format=name, title="Study", published=[PUBLISHED], figures=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p < 0.05, A & B, a > b, a_b, [1] Hu, C:\\dir", "p < 0.05, A & B, a > b, a_b, [1] Hu, C:\\dir"),
        ("<b>bold</b> a&lt;b <!-- x", r"\<b>bold\</b> a\&lt;b \<!-- x"),
        ("see [x](y) [a][b] [c]: d", r"see [x\](y) [a\][b] [c\]: d"),
        ("[x] box", r"\[x] box"),
        ("> quoted > not", r"\> quoted > not"),
        ("a|b `c` SST-2* _d", r"a\|b \`c\` SST-2\* \_d"),
        ("a\\*b ends\\", r"a\\\*b ends\\"),
    ],
)
def test_markdown_escapes_what_it_would_not_show_and_nothing_else(text: str, shown: str) -> None:
    assert escape(text) == shown


def _without_assets(page: str) -> str:
    """The page without style, script, their digests and the runs' data, which have files and tests of their own."""
    page = re.sub(r"(?s)(<style>|<script[^>]*>).*?(?=</style>|</script>)", r"\1", page)
    return re.sub(r"sha256-[^']*", "...", page)


def test_golden_both_epochs_all_metrics(study: Study, golden: Callable[[str, str], None]) -> None:
    golden("both.md", report(*study, epoch="both", metrics="all", title="Study", published=[PUBLISHED]))


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


def test_a_csv_of_several_tables_is_one_frame_that_names_them() -> None:
    tables = [
        PlainTable("Cost: a on X", ("method", "CPU", "runs"), (("LoRA", "1.5", "3"), ("Full", "2.5", "4"))),
        PlainTable("Cost: b on Y", ("method", "runs", "peak, all"), (("LoRA", "5", "1.00 GiB"),)),
    ]
    found = pd.read_csv(io.StringIO(in_format(tables, "csv")), keep_default_na=False)
    assert found.to_dict("list") == {
        "table": ["Cost: a on X", "Cost: a on X", "Cost: b on Y"],
        "method": ["LoRA", "Full", "LoRA"],
        "CPU": ["1.5", "2.5", ""],
        "runs": [3, 4, 5],
        "peak, all": ["", "", "1.00 GiB"],
    }
    assert in_format(tables[:1], "csv") == "method,CPU,runs\nLoRA,1.5,3\nFull,2.5,4\n"


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
    assert not re.search(r"(?<!\\)<script>", re.sub(r"(?s)```.*?```", "", texts["markdown"]))
    for block in texts["markdown"].split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") - line.count("\\|") for line in lines}) <= 1
    assert texts["latex"].count("\\end{document}") == 1


def test_a_star_that_begins_a_row_is_text(make: Make) -> None:
    """LaTeX takes it for a part of the end of the row before: \\\\* forbids a page break."""
    record = make("rte", "lora", 0, 0.7)
    record.method = "*star"
    rows = re.findall(r"(?m)^(\S+) & 70", report([make("rte", "full", 0, 0.7), record], format="latex"))
    assert rows[-1] == "{*}star"


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


def test_nothing_to_report_is_said() -> None:
    with pytest.raises(UserError, match="nothing to report"):
        report([])


def test_unknown_choices_are_named(make: Make) -> None:
    for choice in ({"format": "pdf"}, {"epoch": "first"}, {"metrics": "some"}):
        with pytest.raises(UserError, match="is not known"):
            report([make("rte", "lora", 0, 0.7)], **choice)
