"""report, stability and status as a user calls them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from autolora_bench import cli
from autolora_bench.commands.options import COMMANDS


def out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.run(list(words)) == 0
    return capsys.readouterr().out


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]


def test_report_shows_mean_and_deviation_of_what_is_there(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = rows(out(capsys, "report", f"results={results}"))
    assert any("RTE" in cell for cell in table[0])
    assert any("SST-2" in cell for cell in table[0])
    lora = next(row for row in table if row[0] == "LoRA")
    assert any(cell.startswith("62.50 ± 17.68") for cell in lora)


def test_task_and_method_choose_among_the_records(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "report", f"results={results}", "task=rte", "method=autolora")
    assert "SST-2" not in text
    scores, *_ = text.split("## Cost")
    assert [row[0] for row in rows(scores)[2:]] == ["AutoLoRA"]


def test_settings_say_what_was_meant_to_be_run_and_what_is_missing(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "task=rte", "method=lora", "seed=0,1,2", "data=generated", f"results={results}"]
    text = out(capsys, "report", *words)
    assert "seed=2" in text
    assert "1 missing" in out(capsys, "status", *words)


def test_a_suite_of_which_nothing_was_run_is_shown_with_what_fills_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["suite=demo", f"results={tmp_path / 'not there yet'}"]
    for layout in ("markdown", "latex", "csv", "html"):
        assert out(capsys, "report", *words, f"format={layout}")
    text = out(capsys, "report", *words)
    assert [row[1] for row in rows(text)[2:]] == ["--"] * 4
    assert "autolora-bench -m task=sst2,rte method=lora seed=0 suite=demo" in text


def test_other_peoples_records_are_merged(
    results: Path, a_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_run(tmp_path / "theirs", "full", 0, 0.875)
    assert "Full fine-tuning" not in [row[0] for row in rows(out(capsys, "report", f"results={results}"))]
    merged = out(capsys, "report", f"results={results}", f"merge={tmp_path / 'theirs'}")
    assert "Full fine-tuning" in [row[0] for row in rows(merged)]


@pytest.mark.parametrize("word", ["records", "merge"])
def test_a_folder_may_have_a_comma_in_its_name(
    word: str, results: Path, a_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_run(tmp_path / "theirs, ours", "full", 0, 0.875)
    text = out(capsys, "report", f"results={results}", f"{word}={tmp_path / 'theirs, ours'}")
    assert "Full fine-tuning" in [row[0] for row in rows(text)]
    many = ",".join([str(results)] * 80)  # longer than a path may be
    assert rows(out(capsys, "report", f"{word}={many}", f"results={results}"))


def test_out_writes_every_format(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = out(capsys, "report", f"results={results}", f"out={tmp_path / 'page'}").split()
    for name in ("report.html", "scores.md", "scores.csv", "scores.tex"):
        assert str(tmp_path / "page" / name) in listed
        assert (tmp_path / "page" / name).stat().st_size > 0


def test_stability_of_equal_searches_is_perfect(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, _, row, *_ = rows(out(capsys, "stability", f"results={results}", "task=rte"))
    found = dict(zip(head, row, strict=True))
    assert found["seeds"] == "2"
    assert found["total rank"].startswith("4")


def test_nothing_to_report_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", f"results={tmp_path / 'none'}"]) == 2
    assert "results=DIR" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["format=csv", "examples=3"])
def test_a_folder_has_every_format(
    word: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = word.partition("=")[0]
    assert cli.run(["report", f"results={results}", f"out={tmp_path / 'shown'}", word]) == 2
    assert f"{name}= and out= do not go together" in capsys.readouterr().err
    assert not (tmp_path / "shown").exists()


@pytest.mark.parametrize("command", ["report", "stability", "records"])
@pytest.mark.parametrize("word", ["results=", "records=", "merge=,", "out=", "published=", "to="])
def test_a_variable_that_is_not_set_names_no_folder(
    command: str,
    word: str,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("the user's own")
    before = sorted(path.name for path in tmp_path.iterdir())
    place = [] if word == "results=" else [f"results={results}"]
    assert cli.run([command, *(["to=thin"] if command == "records" else []), *place, word]) == 2
    if word.partition("=")[0] in {option.name for option in COMMANDS[command].takes}:
        assert f"{word} is empty\n" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "report.html").read_text() == "the user's own"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--json", "format=csv"], "--json and format=csv do not go together"),
        (["--json", "out=page"], "--json and out= do not go together"),
        (["figures=pdf"], "figures=pdf without out="),
    ],
)
def test_what_would_not_be_given_is_refused(
    words: list[str], said: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", f"results={results}", *words]) == 2
    assert said in capsys.readouterr().err
    assert out(capsys, "report", f"results={results}", "--json", "format=json").startswith("{")


def test_records_that_cannot_be_read_are_named_whatever_was_asked_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text('{"version": "1"}')
    assert cli.run(["report", f"results={tmp_path}", "task=rte"]) == 2
    assert "is a record of version '1'; this program reads version 1" in capsys.readouterr().err
