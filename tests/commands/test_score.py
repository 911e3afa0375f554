"""`autolora-bench score`: arguments and printed JSON; the scores themselves are tested with the metrics."""

import json
from pathlib import Path

import pytest

from autolora_bench import cli

CONLL = "tnf B-protein B-protein\nalpha I-protein O\n. O O\n\nrna B-RNA B-RNA\n"


def test_json_is_printed_with_sorted_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.conll"
    file.write_text(CONLL, encoding="utf-8")
    assert cli.run(["score", "task=bionlp", f"predictions={file}"]) == 0
    printed = capsys.readouterr().out
    report = json.loads(printed)
    assert report["scores"]["f1"] == 0.5
    assert printed == json.dumps(report, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["task=e2e"], "score needs predictions="),
        (["predictions=x"], "score needs task="),
        (["task=e2f", "predictions=x"], "there is no task 'e2f' to score"),
        (["task=e2e", "file.txt"], "'file.txt' is not NAME=VALUE"),
        (["task=e2e", "task=rte", "predictions=x"], "task= is given twice"),
        (["task=bionlp", "predictions=/nowhere/x"], "/nowhere/x cannot be read: No such file"),
    ],
)
def test_mistakes_are_named(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["score", *words]) == 2
    captured = capsys.readouterr()
    assert what in captured.err
    assert not captured.out
    assert len(captured.err.strip().splitlines()) == 2


def test_different_line_counts_are_refused_with_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.txt").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "ref.txt").write_text("a\n\nb\n\nc\n", encoding="utf-8")
    words = ["score", "task=e2e", f"predictions={tmp_path / 'out.txt'}", f"references={tmp_path / 'ref.txt'}"]
    assert cli.run(words) == 2
    error = capsys.readouterr().err
    assert "2" in error
    assert "3" in error
