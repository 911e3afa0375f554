"""Records of strangers: one that cannot be read is a line, and text in it has no effect where it is shown."""

import csv
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autolora_bench import cli
from autolora_bench.errors import UserError
from autolora_bench.record import TornRecordError, read_record
from autolora_bench.report.formats import escape
from autolora_bench.untrusted import csv_cell, parse_json, printable, read_bytes

Out = Callable[..., str]


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    def said(*words: str, status: int = 0) -> str:
        assert cli.run(list(words)) == status
        captured = capsys.readouterr()
        assert "Traceback (most recent call last)" not in captured.out + captured.err
        return captured.out + captured.err

    return said


def text_of(good: Path, *changes: tuple[str, str]) -> str:
    text = (good / "run.json").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


BAD: dict[str, Callable[[Path, Path], object]] = {
    "deep": lambda path, good: path.write_text("[" * 200_000),
    "deep inside": lambda path, good: path.write_text(
        text_of(good, ('"provenance": {}', '"provenance": ' + '{"a":' * 150 + "1" + "}" * 150))
    ),
    "half a character": lambda path, good: path.write_text(
        text_of(good, ('"task": "rte"', '"task": "\\ud800"'))
    ),
    "half a character inside": lambda path, good: path.write_text(
        text_of(good, ('"provenance": {}', '"provenance": {"commit": "\\udfff"}'))
    ),
    "digits without end": lambda path, good: path.write_text(text_of(good, ("0.5", "1" + "0" * 400))),
    "digits inside": lambda path, good: path.write_text(
        text_of(good, ('"provenance": {}', '"provenance": {"threads": 1' + "0" * 400 + "}"))
    ),
    "1e400": lambda path, good: path.write_text(text_of(good, ("0.5", "1e400"))),
    "1e400 inside": lambda path, good: path.write_text(
        text_of(good, ('"provenance": {}', '"provenance": {"threads": 1e400}'))
    ),
    "not a number": lambda path, good: path.write_text(text_of(good, ("0.5", "NaN"))),
    "a long name": lambda path, good: path.write_text(
        text_of(good, ('"task": "rte"', f'"task": "{"x" * 300}"'))
    ),
    "a name that moves the cursor": lambda path, good: path.write_text(
        text_of(good, ('"task": "rte"', '"task": "\\u001b[2Jrte"'))
    ),
    "a number for a text": lambda path, good: path.write_text(
        text_of(good, ('"method": "lora"', '"method": 1'))
    ),
    "a truth for a number": lambda path, good: path.write_text(text_of(good, ('"step": 10', '"step": true'))),
    "pipe": lambda path, good: os.mkfifo(path),
    "device": lambda path, good: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path, good: path.symlink_to("nowhere"),
    "link to itself": lambda path, good: path.symlink_to(path),
    "empty": lambda path, good: path.write_text(""),
    "zeros": lambda path, good: path.write_bytes(bytes(1000)),
}


@pytest.fixture
def good(a_run: Callable[..., Path], tmp_path: Path) -> Path:
    return a_run(tmp_path / "good", "lora", 0, 0.5)


@pytest.mark.sample(
    keep=(
        "deep inside",
        "half a character",
        "1e400",
        "a long name",
        "a name that moves the cursor",
        "a number for a text",
        "pipe",
        "link to itself",
    )
)
@pytest.mark.parametrize("kind", BAD)
def test_a_record_that_cannot_be_read_is_a_line_and_the_rest_is_reported(
    kind: str, good: Path, tmp_path: Path, out: Out
) -> None:
    path = tmp_path / "bad" / "a" / "run.json"
    path.parent.mkdir(parents=True)
    BAD[kind](path, good)
    alone = out("report", f"records={tmp_path / 'good'}")
    both = out("report", f"records={tmp_path / 'good'}", f"merge={tmp_path / 'bad'}")
    [line] = [line for line in both.splitlines() if line not in alone.splitlines() and line]
    assert line.startswith(f"- UNREADABLE {escape(str(path))}: ")
    assert len(line) < len(str(path)) + 300
    assert [one for one in both.splitlines() if one != line and one] == [
        one for one in alone.splitlines() if one
    ]
    both = f"records={tmp_path / 'good'},{tmp_path / 'bad'}"
    said = out("records", both, f"to={tmp_path / 'thin'}", status=1)
    assert "1 records in" in said
    assert f"note: {path}" in said


@pytest.mark.sample(keep=("deep", "device", "a number for a text"))
@pytest.mark.parametrize("kind", ["deep", "pipe", "device", "link to nothing", "a number for a text"])
def test_status_and_a_sweep_say_so_too(kind: str, good: Path, tmp_path: Path, out: Out) -> None:
    words = ["task=rte", "method=lora", "data=generated", f"results={tmp_path / 'good'}"]
    saved = tmp_path / "saved"
    saved.mkdir()
    shutil.copy(good / "run.json", saved / "run.json")
    (good / "run.json").unlink()
    BAD[kind](good / "run.json", saved)
    assert "1 unreadable" in out("status", *words)
    if kind != "deep":
        assert "not a readable record" in out(*words, status=2)
    assert os.path.lexists(good / "run.json")


@pytest.mark.parametrize("name", ["search/selection.json", "search/trajectory.jsonl", "threshold/ranks.json"])
@pytest.mark.parametrize("kind", ["deep", "digits", "pipe", "half", "types"])
@pytest.mark.sample(one_in=7)
def test_an_artefact_that_cannot_be_read_stops_nothing(
    name: str,
    kind: str,
    a_run: Callable[..., Path],
    tmp_path: Path,
    out: Out,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed in (0, 1, 2):
        a_run(tmp_path / "runs", "autolora", seed, 0.5)
    path = a_run(tmp_path / "runs", "autolora", 3, 0.5) / name
    path.unlink()
    texts = {"deep": "[" * 200_000, "digits": '{"step": 1, "alpha": [[1' + "0" * 400 + "]]}"}
    texts |= {
        "half": '{"modules": ["\\ud800"], "alpha": [[1]], "kept": {}}',
        "types": '{"alpha": "x", "modules": 3}',
    }
    os.mkfifo(path) if kind == "pipe" else path.write_text(texts[kind])
    results = f"results={tmp_path / 'runs'}"
    assert "autolora" in out("report", results).lower()
    assert "autolora" in out("stability", results).lower()
    assert cli.run(["records", results, f"to={tmp_path / 'thin'}"]) in (
        0,
        1,
    )  # some kinds are read as nothing
    assert re.search("[34] records in", capsys.readouterr().out)


def test_a_lock_that_is_none_keeps_nobody_out(good: Path, tmp_path: Path, out: Out) -> None:
    words = ["status", "task=rte", "method=lora", "seed=1", "data=generated", f"results={tmp_path / 'good'}"]
    lock = good.with_name("seed1") / "run.lock"
    lock.parent.mkdir()
    for text in ("[" * 100_000, '{"host": [], "pid": "x", "started": 1, "since": null}', "x" * 10**6):
        lock.write_text(text)
        assert "1 missing" in out(*words)
    lock.unlink()
    os.mkfifo(lock)
    assert "1 missing" in out(*words)


def test_a_torn_record_is_told_from_one_of_another_kind(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text((good / "run.json").read_text()[:200])
    with pytest.raises(TornRecordError):
        read_record(path)
    path.write_bytes((good / "run.json").read_bytes()[:200] + bytes(200))  # blocks that were never written
    with pytest.raises(TornRecordError):
        read_record(path)
    for whole_but_wrong in (b"[]", (good / "run.json").read_bytes().replace(b"rte", b"\xe9", 1)):
        path.write_bytes(whole_but_wrong)
        with pytest.raises(UserError, match="not a readable record") as caught:
            read_record(path)
        assert not isinstance(caught.value, TornRecordError)


def test_a_mark_of_the_byte_order_is_no_part_of_a_record(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"\xef\xbb\xbf" + (good / "run.json").read_bytes())
    assert read_record(path) == read_record(good / "run.json")


CONTROL = "\x1b]0;owned\x07\x1b[31m\u202e\x9b2J\r"


def test_control_characters_of_a_record_do_not_reach_the_terminal(
    good: Path, a_run: Callable[..., Path], tmp_path: Path, out: Out
) -> None:
    other = a_run(tmp_path / "good", "full", 0, 0.6)
    for folder in (good, other):
        values = json.loads((folder / "run.json").read_text())
        values["data"] = {"source": CONTROL, "notes": [CONTROL]}
        values["command"] = f"autolora-bench {CONTROL}"
        values["provenance"] = {"commit": CONTROL, "processor": CONTROL, "device": "cpu"}
        values["best"]["validation"]["note"] = CONTROL
        values["error"] = {"type": CONTROL, "message": CONTROL, "mend": CONTROL, "traceback": CONTROL}
        if folder == other:
            values["status"] = "failed"
        (folder / "run.json").write_text(json.dumps(values))
    said = [
        out("report", f"records={tmp_path / 'good'}", f"format={f}")
        for f in ("markdown", "latex", "csv", "html")
    ]
    said += [out("records", f"records={tmp_path / 'good'}", f"to={tmp_path / 'thin'}")]
    out("report", f"records={tmp_path / 'good'}", f"out={tmp_path / 'out'}")
    said += [
        path.read_text() for path in (tmp_path / "out").rglob("*") if path.suffix in (".md", ".csv", ".tex")
    ]
    for text in said:
        assert not set(text) & set(CONTROL) - set("0;owned[31m2J]")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("\t=1", "'\t=1"),
        *((same, same) for same in ("lora", "-0.52", "+1.20", "--", "-1.20 ± 0.30", "", "a=b")),
        (-0.5, -0.5),
    ],
)
def test_a_cell_never_begins_a_formula(text: object, cell: object) -> None:
    assert csv_cell(text) == cell


def test_a_csv_of_a_strangers_record_holds_no_formula(
    good: Path, a_run: Callable[..., Path], tmp_path: Path, out: Out
) -> None:
    values = json.loads((good / "run.json").read_text())
    values["method"] = values["config"]["method"]["name"] = "=HYPERLINK(1)"
    values["provenance"] = {"device": "@SUM(1)"}
    (good / "run.json").write_text(json.dumps(values))
    text = out("report", f"records={tmp_path / 'good'}", "format=csv")
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert "'=HYPERLINK(1)" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]


def test_text_that_may_be_shown_is_shown_as_it_is() -> None:
    text = "ä € 漢 😀 a\u00a0b\tc\n± 1"
    assert printable(text) == text
    assert printable("\x1b[1m\r\u202e") == "\\x1b[1m\\r\\u202e"


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_bytes(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(OSError, match="11 bytes"):
        read_bytes(tmp_path / "large", largest=10)


@pytest.mark.parametrize(
    "text", ["[" * 10**6, "1e999", "NaN", "-Infinity", '"\\ud800"', "1" * 5000, "1" * 30, "{"]
)
def test_what_no_record_holds_is_no_json(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text.encode())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    for name, one in inner:
        yield from places(one, (*path, name))


VALUES: list[Any] = [
    "\x1b[31m",
    -1,
    1e300,
    2**62,
    2**70,
    True,
    None,
    [],
    {},
    [[1]],
    {"a": {"b": 1}},
    "x" * 5000,
    "",
]


@pytest.mark.parametrize("count", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_any_value_at_any_place_of_a_record_is_reported_or_refused(
    a_run: Callable[..., Path], tmp_path: Path, count: int
) -> None:
    """A sample of all pairs of a place and a value; nothing but a refusal or a report may come of one."""
    from autolora_bench.report.build import render
    from autolora_bench.report.collect import collect
    from autolora_bench.report.prepared import prepare

    a_run(tmp_path / "good", "lora", 0, 0.5)
    path = a_run(tmp_path / "bad", "autolora", 0, 0.6) / "run.json"
    record = json.loads(path.read_text())
    pairs = [(place, value) for place in places(record) for value in VALUES]
    refused = 0
    for place, value in random.Random(0).sample(pairs, count):
        changed = json.loads(json.dumps(record))
        node = changed
        for name in place[:-1]:
            node = node[name]
        node[place[-1]] = value
        path.write_text(json.dumps(changed))
        found = collect(tmp_path / "good", tmp_path / "bad")
        refused += len(found.unreadable)
        for layout in ("markdown", "csv"):
            assert "50.00" in render(prepare(found), layout) or layout == "csv"
    assert count / 8 < refused < 0.94 * count


@pytest.mark.slow
def test_commands_that_read_no_record_do_not_load_pydantic() -> None:
    code = (
        "import sys; from autolora_bench import cli\n"
        "assert cli.run(['ls']) == 0 and cli.run(['status', 'task=rte', 'data=generated', 'results=nowhere']) == 0\n"
        "print([name for name in sys.modules if name.startswith('pydantic')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
