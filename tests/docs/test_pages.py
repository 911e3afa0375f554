"""docs/ is whole: generated parts are fresh, every method has its section, links lead somewhere, the pages build."""

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from autolora_bench.config.choices import choices
from autolora_bench.paths import conf_dir

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PARTS = ("**Idea.**", "**Equation.**", "**Cost.**", "**When.**", "**Source.**")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def test_generated_parts_are_fresh() -> None:
    texts = runpy.run_path(str(REPOSITORY / "scripts" / "docs_reference.py"))["texts"]()
    stale = [path.name for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run: python scripts/docs_reference.py"


def test_every_setting_of_the_reference_can_be_typed() -> None:
    named = re.findall(
        r"^\| `([^`]+)` \|", (DOCS / "reference/settings.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {"seed", "train.epochs", "tuning.rates", "data.name", "task.kind", "task.label"} <= set(named)
    assert not {"task.name", "model.name", "task.title", "model.title"} & set(named)
    assert not [name for name in named if not re.fullmatch(r"[a-z]\w*(\.[a-z]\w*)*", name)]


def sections() -> dict[str, str]:
    """Heading of a method -> what stands below it."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "methods").glob("*.md")))
    found = re.split(r"^## `(\w+)`$", text, flags=re.MULTILINE)[1:]
    return {
        name: re.split(r"^# ", body, flags=re.MULTILINE)[0]
        for name, body in zip(*[iter(found)] * 2, strict=True)
    }


@pytest.mark.parametrize("method", choices("method", [conf_dir()]))
def test_every_method_has_a_section(method: str) -> None:
    section = sections()[method]
    assert all(part in section for part in PARTS)
    assert f"<!-- generated: method {method} -->" in section


def test_no_section_is_about_a_method_that_is_not_there() -> None:
    assert sections().keys() <= choices("method", [conf_dir()]).keys()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        *(f"docs/{path.relative_to(DOCS)}" for path in sorted(DOCS.rglob("*.md"))),
    ],
)
def test_links_lead_to_files_for_who_reads_in_place(page: str) -> None:
    place = REPOSITORY / page
    for link in LINK.findall(place.read_text(encoding="utf-8")):
        assert (place.parent / link).exists(), link


def test_every_page_is_in_the_navigation() -> None:
    shown = re.findall(
        r"- ([\w/]+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE
    )
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages == {name for name in shown if not name.startswith("results/")}


def test_the_files_that_the_architecture_names_are_there() -> None:
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", (DOCS / "architecture.md").read_text(encoding="utf-8"))
    homes = (REPOSITORY / "autolora_bench", REPOSITORY)
    assert named
    assert not [name for name in named if not any((home / name).is_file() for home in homes)]


def test_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_pages_build_and_load_nothing_from_the_network(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed (pip install '.[docs]')")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "search.ipynb").is_file()
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(https?:[^\"\s>]+)", text)
        assert not [url for url in loaded if "canonical" not in url], page
