"""Figures are drawn again where a record, the question or the program changed, and only there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autolora_bench.config import registry
from autolora_bench.report.build import exhibits
from autolora_bench.report.collect import Collection
from autolora_bench.report.figures import reuse
from autolora_bench.report.figures.style import Picture, named_apart
from autolora_bench.report.prepared import prepare
from tests.report.conftest import Plan, write_report

DRAWN = b"<svg>drawn</svg>"


@pytest.fixture(autouse=True)
def cache(own_cache: Path) -> Path:
    return own_cache / "figures"


@pytest.fixture
def picture() -> tuple[Picture, list[str]]:
    """A picture, and the formats that it was drawn in."""
    drawn: list[str] = []

    def render(form: str) -> bytes:
        drawn.append(form)
        return DRAWN

    return Picture("one", "", "", render), drawn


def test_what_is_kept_is_not_drawn_again(picture: tuple[Picture, list[str]]) -> None:
    one, drawn = picture
    for _ in range(2):
        (again,) = reuse.reused([one], "key")
        assert again.svg == DRAWN
    assert drawn == ["svg"]
    (other,) = reuse.reused([one], "other")
    assert (other.svg, other.png) == (DRAWN, DRAWN)
    assert drawn == ["svg", "svg", "png"]


@pytest.mark.parametrize(
    "damage", [lambda kept: kept[:-1], lambda kept: b"", lambda kept: kept[:40] + b"x" * 7]
)
def test_what_is_damaged_is_drawn_again(
    damage: Callable[[bytes], bytes], picture: tuple[Picture, list[str]], cache: Path
) -> None:
    one, drawn = picture
    assert reuse.reused([one], "key")[0].svg == DRAWN
    (file,) = (cache / "key").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert reuse.reused([one], "key")[0].svg == DRAWN
    assert drawn == ["svg", "svg"]


def test_without_a_place_to_keep_them_they_are_drawn(picture: tuple[Picture, list[str]], cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("no folder")
    assert reuse.reused([picture[0]], "key")[0].svg == DRAWN


def test_the_oldest_go(picture: tuple[Picture, list[str]], cache: Path) -> None:
    for number in range(reuse.KEPT + 3):
        assert reuse.reused([picture[0]], f"key{number}")[0].svg == DRAWN
    left = {path.name for path in cache.iterdir()}
    assert len(left) == reuse.KEPT
    assert f"key{reuse.KEPT + 2}" in left


def test_the_second_report_of_the_same_records_draws_nothing_and_is_the_same(
    searched: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    real = True
    kept = reuse._kept

    def watched(picture: Picture, folder: Path) -> Picture:
        def render(form: str) -> bytes:
            drawn.append(picture.name)
            return picture.render(form) if real else b"<svg/>"

        return kept(Picture(picture.name, picture.caption, picture.alt, render), folder)

    monkeypatch.setattr(reuse, "_kept", watched)
    first = write_report(tmp_path / "a", searched)
    assert drawn
    drawn.clear()
    second = write_report(tmp_path / "b", searched)
    assert not drawn
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    real = False  # whether it is drawn counts here
    write_report(tmp_path / "c", searched, title="Another")
    assert drawn


def test_a_changed_file_of_a_run_is_another_report(searched: Collection) -> None:
    before = reuse.report_key(searched, None, (), [])
    assert before == reuse.report_key(searched, None, (), [])
    (folder,) = (path for path in searched.folders.values() if path.name == "seed1")
    for name in ("run.json", "search/selection.json", "search/trajectory.jsonl", "threshold/ranks.json"):
        (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
        after = reuse.report_key(searched, None, (), [])
        assert after != before
        before = after
    assert before != reuse.report_key(searched, [], (), [])
    assert reuse.report_key(Collection(searched.records), None, (), []) is None


def test_a_title_that_changed_is_drawn(searched: Collection, plan: Plan) -> None:
    planned = [plan("rte", "autolora", seed) for seed in range(3)] + [plan("rte", "adalora")]
    method = replace(planned[-1].experiment.method, title="Another title")
    other = replace(planned[-1], experiment=replace(planned[-1].experiment, method=method))
    assert other.identity == planned[-1].identity
    first, again, renamed = (
        next(
            one.svg for one in exhibits(prepare(searched, runs)).figures if one.name == "pareto-roberta_base"
        )
        for runs in (planned, planned, [*planned[:-1], other])
    )
    assert first == again != renamed


def test_a_changed_file_of_the_own_folder_is_another_report(
    searched: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    (own / "method").mkdir(parents=True)
    monkeypatch.setattr(reuse, "own_folders", [own])
    keys = []
    for name, text in (
        ("method/mine.yaml", "title: First"),
        ("method/mine.yaml", "title: Second"),
        ("README.md", "No setting stands here."),
    ):
        (own / name).write_text(text)
        keys.append(reuse.report_key(searched, None, (), []))
    assert keys[0] != keys[1] == keys[2]
    monkeypatch.setitem(registry.metric_digests, "mine", {str(own / "metrics" / "mine.py"): "0" * 64})
    assert reuse.report_key(searched, None, (), []) != keys[2]


def test_pictures_of_one_name_are_told_apart() -> None:
    pictures = [
        Picture(name, caption, "", lambda form: b"")
        for name, caption in (("a", "1"), ("A", "2"), ("a-2", "3"))
    ]
    assert [(one.name, one.caption) for one in named_apart(pictures)] == [
        ("a", "1"),
        ("A-2", "2"),
        ("a-2-2", "3"),
    ]
