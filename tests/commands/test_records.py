"""Records without weights: everything a report needs, nothing of the machine."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora_bench import cli
from autolora_bench.portable import portable_command
from autolora_bench.record import Status, read_record, write_record
from tests.conftest import files


def out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.run(list(words)) == 0
    return capsys.readouterr().out


def test_reports_are_the_same_bytes_from_records_alone(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thin = tmp_path / "thin"
    assert f"5 records in {thin}" in out(capsys, "records", f"results={results}", f"to={thin}")
    for words in (["report"], ["report", "format=csv"], ["stability", "task=rte"]):
        assert out(capsys, *words, f"records={thin}") == out(capsys, *words, f"results={results}")
    full, small = tmp_path / "full", tmp_path / "small"
    out(capsys, "report", f"results={results}", f"out={full}")
    out(capsys, "report", f"records={thin}", f"out={small}")
    full_files, small_files = files(full), files(small)
    assert small_files.keys() == full_files.keys()
    assert any("trajectory" in name for name in small_files)
    assert [n for n in full_files if full_files[n] != small_files[n]] == ["report.html"], (
        "the page shows commands, which lose results="
    )


def test_a_plan_is_filled_from_records_and_its_commands_write_to_the_usual_place(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "records", f"results={results}", f"to={tmp_path / 'thin'}")
    words = ["-m", "task=rte", "method=lora", "seed=0,1,2", "data=generated"]
    text = out(capsys, "report", *words, f"records={tmp_path / 'thin'}")
    assert "62.50 ± 17.68" in text
    assert "seed=2" in text
    assert "results=" not in text


def test_nothing_of_the_machine_is_left_and_the_bytes_do_not_depend_on_the_folder(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "records", f"results={results}", f"to={tmp_path / 'one'}")
    shutil.copytree(results, tmp_path / "elsewhere" / "copy")
    out(capsys, "records", f"results={tmp_path / 'elsewhere' / 'copy'}", f"to={tmp_path / 'two'}")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert not any(str(tmp_path).encode() in content for content in files(tmp_path / "one").values())
    out(capsys, "records", f"records={tmp_path / 'one'}", f"to={tmp_path / 'again'}")
    assert files(tmp_path / "again") == files(tmp_path / "one")


def thinned_error(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, str], str]:
    """What is left of the error of the one record of method=full, and what was printed."""
    text = out(capsys, "records", f"results={results}", "method=full", f"to={tmp_path / 'thin'}")
    (path,) = (tmp_path / "thin").rglob("run.json")
    error = read_record(path).error
    assert error is not None
    return error, text


def test_a_traceback_keeps_its_files_and_loses_their_folders(
    results: Path, a_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(results, "full", 0, 0.5)
    record = read_record(folder / "run.json")
    record.status = Status.failed
    trace = 'File "/home/a person/lib/trainer.py", line 3\nsee https://example.org/a/b and ~/data/x.tsv'
    record.error = {"type": "E", "message": "/data/rte/dev.tsv: no", "mend": "", "traceback": trace}
    write_record(folder, record)
    error, _ = thinned_error(results, tmp_path, capsys)
    assert error["message"] == ".../dev.tsv: no"
    assert error["traceback"] == 'File ".../trainer.py", line 3\nsee https://example.org/a/b and .../x.tsv'


def test_places_with_blanks_that_a_record_names_are_cut_in_its_texts(
    results: Path, a_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing in a text says where such a path ends; the command, the settings and the locations do."""
    folder = a_run(results, "full", 0, 0.5)
    record = read_record(folder / "run.json")
    record.status = Status.failed
    record.command = "autolora-bench '++results=/home/Jane Doe/all runs' 'model.path=~/Big Models/m'"
    record.locations["data.train"] = "/home/Jane Doe/Client X/reviews.csv"
    record.config["model"]["checkpoint"] = "/srv/Jane Doe/Client Y/base"
    lines = {
        "/home/Jane Doe/Client X/reviews.csv line 3 has no label": ".../reviews.csv line 3 has no label",
        "cannot write /home/Jane Doe/all runs/rte/x: full": "cannot write .../x: full",
        "see:/srv/Jane Doe/Client Y/base, ~/Big Models/m/a.json": "see:.../base, .../a.json",
        "https://host/home/Jane Doe/Client X": "https://host/home/Jane Doe/Client X",
        'File "/home/O\'Brien/Client Z/t.py", line 1': 'File ".../t.py", line 1',
    }
    record.error = {"type": "E", "message": "\n".join(lines), "mend": "", "traceback": ""}
    write_record(folder, record)
    error, text = thinned_error(results, tmp_path, capsys)
    assert "/srv/Jane Doe/Client Y/base" in text, "it stays in the settings, and is told of"
    assert error["message"].splitlines() == list(lines.values())


def test_a_small_record_of_an_earlier_version_that_left_more_in_it_is_written_over(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["records", f"results={results}", "task=sst2", f"to={tmp_path}/thin"]
    out(capsys, *words)
    (path,) = (tmp_path / "thin").rglob("run.json")
    whole = path.read_text()
    record = read_record(path)
    record.command += " 'data.train=.../Jane Doe/Client X/reviews.csv' +x={a:/home/jane/y.csv}"
    write_record(path.parent, record)
    out(capsys, *words)
    assert path.read_text() == whole


def test_runs_under_way_are_left_out_and_said(
    results: Path, a_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(results, "full", 0, 0.5)
    record = read_record(folder / "run.json")
    record.status = Status.running
    write_record(folder, record)
    text = out(capsys, "records", f"results={results}", f"to={tmp_path / 'thin'}")
    assert "5 records" in text
    assert "1 not ended" in text


def test_a_record_whose_names_lead_elsewhere_is_left_out(
    results: Path, a_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(results, "full", 0, 0.5)
    record = read_record(folder / "run.json")
    record.task = "../../outside"
    write_record(folder, record)
    assert cli.run(["records", f"results={results}", f"to={tmp_path / 'deep' / 'thin'}"]) == 1
    text = capsys.readouterr().out
    assert f"note: {folder}: the names in its record lead out of" in text
    assert "5 records in" in text
    assert not (tmp_path / "outside").exists()
    assert len([*(tmp_path / "deep" / "thin").rglob("run.json")]) == 5


@pytest.mark.parametrize(
    ("words", "to"),
    [
        (["results=runs"], "runs"),
        (["results=runs"], "link"),
        (["results=runs"], "deep/../runs"),
        (["results=runs/rte"], "runs"),
        (["results=."], "runs"),
        (["results=elsewhere"], "runs"),
        (["records=elsewhere", "merge=runs"], "runs"),
    ],
)
@pytest.mark.sample(one_in=2)
def test_a_runs_own_folder_is_never_written_into(
    words: list[str],
    to: str,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(results)
    shutil.copytree(results, tmp_path / "elsewhere")
    shutil.rmtree(results / "sst2")
    before = files(results)
    monkeypatch.chdir(tmp_path)
    assert cli.run(["records", *words, f"to={to}"]) == 2
    assert "is a run's own folder" in capsys.readouterr().err
    assert files(results) == before


def test_records_are_written_again_over_earlier_ones(
    results: Path, a_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thin = results / "thin"
    out(capsys, "records", f"results={results}", f"to={thin}")
    before = files(thin)
    a_run(results, "full", 0, 0.5)
    assert "6 records" in out(capsys, "records", f"results={results}", f"to={thin}")
    assert files(thin).items() > before.items()
    assert cli.run(["records", f"records={thin}", f"to={thin}"]) == 2


def test_what_cannot_be_read_is_said_and_the_rest_is_written(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = next(results.rglob("run.json"))
    broken.write_text("{")
    assert cli.run(["records", f"results={results}", f"to={tmp_path / 'thin'}"]) == 1
    text = capsys.readouterr().out
    assert str(broken.relative_to(results)) in text
    assert "4 records" in text


def test_where_to_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["records"]) == 2
    assert "to=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "thin"),
    [
        ("autolora-bench task=rte data.dir=data", "autolora-bench task=rte data.dir=DIR"),
        ("autolora-bench results=/a/b seed=1", "autolora-bench seed=1"),
        ("autolora-bench --config-dir mine task=rte", "autolora-bench --config-dir DIR task=rte"),
        ("autolora-bench model.path='/a b/c' x=1", "autolora-bench model.path=DIR x=1"),
        ("autolora-bench method.source=/a/runs/seed0", "autolora-bench method.source=.../seed0"),
        ("autolora-bench method.source=runs/x/seed0", "autolora-bench method.source=runs/x/seed0"),
        ("autolora-bench model.checkpoint=org/name", "autolora-bench model.checkpoint=org/name"),
        (
            "autolora-bench 'data.train=/home/Jane Doe/Client X/a b.csv'",
            "autolora-bench 'data.train=.../a b.csv'",
        ),
        ("autolora-bench 'method.source=~/Client X/run'", "autolora-bench method.source=.../run"),
        ("autolora-bench method.source=~jane/run", "autolora-bench method.source=.../run"),
        ("autolora-bench '+x={a:/home/jane/x/y.csv}'", "autolora-bench '+x={a:.../y.csv}'"),
        ("autolora-bench 'x=[/home/J D/a.csv, ~/Q R/b]'", "autolora-bench 'x=[.../a.csv, .../b]'"),
        ("""autolora-bench 'x={a: "/Client, X/y z/b"}'""", """autolora-bench 'x={a: ".../b"}'"""),
        ("""autolora-bench "x=/home/O'Brien/Client X/b\"""", "autolora-bench x=.../b"),
        ("autolora-bench 'x=file:///home/J D/y z/b'", "autolora-bench x=file://.../b"),
        ("autolora-bench '+x={u:https://h.org/a/b}'", "autolora-bench '+x={u:https://h.org/a/b}'"),
        ("autolora-bench ++results=/home/jane/r +data.dir=/a/b", "autolora-bench +data.dir=DIR"),
        ("autolora-bench '~recipe' '~cell/minilm/lora'", "autolora-bench '~recipe' '~cell/minilm/lora'"),
    ],
)
def test_commands_name_no_folder_of_the_machine(command: str, thin: str) -> None:
    assert portable_command(command) == thin
    assert portable_command(thin) == thin
