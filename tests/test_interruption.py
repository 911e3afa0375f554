"""What is left of a run that was cut off, and what becomes of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import pytest

from autolora_bench import cli, devices, ownership
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import run_folder
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.ownership import LOCK, BusyError, Owner, owned, owner_of
from autolora_bench.record import RunRecord, Status, read_record

pytestmark = pytest.mark.usefixtures("module_cache")

SMALL = [
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=32",
    "data.limit_evaluation=16",
    "device=cpu",
]
TRAIN = [
    "method=lora",
    "train.epochs=2",
    "train.batch_size=8",
    "train.checkpoint_minutes=1e-9",
    "~recipe",
    "~cell",
]


@pytest.fixture
def words(tiny_encoder: Path) -> Callable[..., list[str]]:
    def line(results: Path, *more: str) -> list[str]:
        return [*SMALL, *TRAIN, f"model.checkpoint={tiny_encoder}", f"results={results}", *more]

    return line


def folder_of(line: list[str]) -> Path:
    with composer():
        return run_folder(to_experiment(compose_config(line)))


def facts(folder: Path) -> tuple[Any, bytes]:
    record = read_record(folder / "run.json")
    assert record.status is Status.completed, record.error
    return (record.history, record.best, record.parameters), (
        folder / "finetune/weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("number", "status", "step"),
    [
        pytest.param(signal.SIGTERM, 143, 2, marks=pytest.mark.slow),
        (signal.SIGTERM, 143, 4),
        pytest.param(signal.SIGINT, 130, 5, marks=pytest.mark.slow),
    ],
)
def test_a_signal_leaves_a_checkpoint_and_a_record_and_the_same_command_goes_on(
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    step: int,
    signalled: Callable[..., None],
    undisturbed: tuple[Any, bytes],
) -> None:
    cut = words(tmp_path, "train.checkpoint_minutes=60")
    signalled(monkeypatch, step, number)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert cli.run(cut) == status
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    folder = folder_of(cut)
    record = read_record(folder / "run.json")
    assert record.status is Status.interrupted
    assert [(phase.name, phase.status) for phase in record.phases] == [("finetune", Status.interrupted)]
    newest = max(
        (folder / "finetune/checkpoints").glob("checkpoint-*"), key=lambda path: path.stat().st_mtime
    )
    assert newest.name == f"checkpoint-{step}"
    assert not (folder / LOCK).exists()
    assert cli.run(cut) == 0
    assert facts(folder) == undisturbed


def test_a_signal_stops_the_sweep_and_not_only_the_job(
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signalled: Callable[..., None],
) -> None:
    line = ["-m", "seed=0,1", *words(tmp_path)]
    signalled(monkeypatch, 2)
    assert cli.run(line) == 143
    assert len(list(tmp_path.rglob("run.json"))) == 1
    assert "the same command goes on from here" in capsys.readouterr().err


def test_a_run_ends_alike_where_max_steps_lie_inside_an_epoch(
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, cut = (words(tmp_path / name, "train.max_steps=6") for name in ("whole", "cut"))
    assert cli.run(whole) == 0
    from autolora_bench.training import finetune

    save = finetune.save_trainable

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "save_trainable", cut_off)
    assert cli.run(cut) == 130
    monkeypatch.setattr(finetune, "save_trainable", save)
    assert cli.run(cut) == 0
    assert facts(folder_of(cut)) == facts(folder_of(whole))


@pytest.fixture(scope="module")
def half_done(signalled: Callable[..., None]) -> Callable[[list[str]], Path]:
    """A command -> its run, stopped in step 6 of 8; its checkpoints."""

    def stop(line: list[str]) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            signalled(patch, 6)
            assert cli.run(line) == 143
        return folder_of(line) / "finetune" / "checkpoints"

    return stop


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated weights": lambda newest: truncate(newest / "trainable.safetensors"),
    "truncated optimizer": lambda newest: truncate(newest / "optimizer.pt"),
    "no trainer state": lambda newest: (newest / "trainer_state.json").unlink(),
    "empty folder": empty,
    "cut off before its end": lambda newest: (newest / "WHOLE").unlink(),
    "empty mark": lambda newest: (newest / "WHOLE").write_text("") and None,
    "half deleted": lambda newest: (newest / "rng_state.pth").unlink(),
    "of another configuration": lambda newest: (
        (newest / "WHOLE").write_text((newest / "WHOLE").read_text().replace("/seed0", "/seed1")) and None
    ),
    "all of them gone": lambda newest: shutil.rmtree(newest.parent),
    "best weights gone": lambda newest: (newest.parent / "best.safetensors").unlink(),
    "best weights of a later epoch": lambda newest: (
        shutil.copyfile(newest / "trainable.safetensors", newest.parent / "copy")
        and os.replace(newest.parent / "copy", newest.parent / "best.safetensors")
    ),
    "torn record": lambda newest: truncate(newest.parent.parent.parent / "run.json"),
    "empty record": lambda newest: os.truncate(newest.parent.parent.parent / "run.json", 0),
}


@pytest.fixture(scope="module")
def halves(
    tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory, half_done: Callable[[list[str]], Path]
) -> tuple[list[str], Path, Path]:
    """A command line without results, a folder of the whole run, a folder of the run cut off half-way."""
    base = [*SMALL, *TRAIN, f"model.checkpoint={tiny_encoder}"]
    whole, cut = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        assert cli.run([*base, f"results={whole}"]) == 0
        half_done([*base, f"results={cut}"])
    return base, whole, cut


@pytest.fixture(scope="module")
def undisturbed(halves: tuple[list[str], Path, Path]) -> tuple[Any, bytes]:
    """What is left of a run that nothing cut off."""
    base, whole, _ = halves
    return facts(folder_of([*base, f"results={whole}"]))


@pytest.mark.sample(keep=("cut off before its end", "best weights of a later epoch", "torn record"))
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_ends_like_a_whole_one(
    halves: tuple[list[str], Path, Path], undisturbed: tuple[Any, bytes], damage: str, tmp_path: Path
) -> None:
    base, _, cut = halves
    shutil.copytree(cut, tmp_path / "runs")
    line = [*base, f"results={tmp_path / 'runs'}"]
    DAMAGE[damage](folder_of(line) / "finetune/checkpoints/checkpoint-6")
    assert cli.run(line) == 0
    assert facts(folder_of(line)) == undisturbed
    assert not (folder_of(line) / "finetune/checkpoints").exists()


def test_checkpoints_are_bounded_while_training(halves: tuple[list[str], Path, Path]) -> None:
    assert len(list(halves[2].rglob("checkpoint-*"))) <= 2


def test_seconds_of_a_killed_attempt_count_up_to_its_last_checkpoint(
    words: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[RunRecord] = []
    run = FinetunePhase.run

    def watching(self: FinetunePhase, context: Any) -> Any:
        saved = context.saved

        def look() -> None:
            saved()
            found.append(read_record(context.folder / "run.json"))

        context.saved = look
        return run(self, context)

    monkeypatch.setattr(FinetunePhase, "run", watching)
    assert cli.run(words(tmp_path)) == 0
    seconds = [record.phases[0].seconds for record in found]
    assert len(seconds) == 8
    assert 0 < seconds[0] < seconds[-1]


def test_the_most_memory_is_that_of_all_attempts(
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signalled: Callable[..., None],
) -> None:
    line = words(tmp_path, "train.checkpoint_minutes=60")
    for peak, stopped in ((2 * 10**12, True), (10**12, False)):
        with monkeypatch.context() as patch:
            patch.setattr(devices, "peak_memory", lambda _, peak=peak: peak)
            if stopped:
                signalled(patch, 5, signal.SIGTERM)
            assert cli.run(line) == (143 if stopped else 0)
    record = read_record(folder_of(line) / "run.json")
    assert record.phases[0].peak_memory_bytes == 2 * 10**12
    assert record.phases[-1].peak_memory_bytes == 10**12


@pytest.mark.parametrize("policy", ["missing", "all", "never"])
@pytest.mark.sample(keep=("all", "never"))
def test_what_goes_on_is_said_as_it_is(
    policy: str,
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signalled: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = words(tmp_path, "train.checkpoint_minutes=60")
    with monkeypatch.context() as patch:
        signalled(patch, 5, signal.SIGINT)
        started = line if policy == "never" else [*line, f"rerun={policy}"]
        assert cli.run(started) == 130
    said = (
        "with rerun=missing in place of rerun=all, goes on" if policy == "all" else "the same command goes on"
    )
    assert said in capsys.readouterr().err
    if policy == "never":
        assert cli.run([*line, "rerun=never"]) == 0
        assert "0 of 1 runs to do, 1 left as they are (rerun=missing runs them)" in capsys.readouterr().err
        assert cli.run(["status", *line, "rerun=never"]) == 0
        assert "rerun" not in capsys.readouterr().out


def test_a_clock_that_jumps_changes_nothing(
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[Any, bytes],
) -> None:
    jumping = words(tmp_path, "train.checkpoint_minutes=60")
    days = iter(range(0, -(10**9), -1))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 2e9 + 86400.0 * next(days) * (-1) ** next(days))
        assert cli.run(jumping) == 0
    assert facts(folder_of(jumping)) == undisturbed
    record = read_record(folder_of(jumping) / "run.json")
    assert all(0 < phase.seconds < 3600 for phase in record.phases)
    assert all(0 <= (phase.train_seconds or 0) < 3600 for phase in record.phases)


class TestOwnership:
    def test_a_cell_that_is_being_run_is_skipped_and_said_so(
        self, words: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = words(tmp_path, "train.max_steps=1")
        with owned(folder_of(line)):
            assert cli.run(line) == 3
        said = capsys.readouterr().err
        assert f"is being run by process {os.getpid()}" in said
        assert "1 running" in said
        assert f"running by process {os.getpid()}" in said
        assert "failed" not in said
        assert "Traceback" not in said
        assert not list(tmp_path.rglob("run.json"))
        assert cli.run(line) == 0

    def test_a_sweep_whose_other_runs_are_being_made_elsewhere_did_not_fail(
        self, words: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = ["-m", "seed=0,1", *words(tmp_path, "train.max_steps=1")]
        busy = folder_of([*words(tmp_path, "train.max_steps=1"), "seed=1"])
        with owned(busy):
            assert cli.run(line) == 3
            said = capsys.readouterr().err
            assert "1 completed, 1 running" in said
            assert f"running by process {os.getpid()}" in said
            assert cli.run(["status", *line]) == 0
            assert "1 completed, 1 running" in capsys.readouterr().out
        assert cli.run(line) == 0

    def test_a_run_that_failed_counts_whatever_others_do(
        self, words: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any) -> None:
            raise RuntimeError("planted")

        monkeypatch.setattr(FinetunePhase, "run", broken)
        with owned(folder_of([*words(tmp_path), "seed=1"])):
            assert cli.run(["-m", "seed=0,1", *words(tmp_path)]) == 1

    def test_a_study_waits_for_a_score_that_another_process_makes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(ownership, "WAITING_SECONDS", 0.01)
        held, free = Event(), Event()

        def hold() -> None:
            with owned(tmp_path):
                held.set()
                free.wait(30)

        other = Thread(target=hold)
        other.start()
        held.wait(30)
        Timer(0.1, free.set).start()
        with owned(tmp_path, wait=True):
            assert free.is_set()
        other.join()
        assert capsys.readouterr().err.count("waiting") == 1

    def test_a_living_owner_keeps_its_lock_and_a_dead_one_loses_it(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from autolora_bench.ownership import owned\n"
            "with owned(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=str(holder.pid)), owned(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with owned(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        assert not (tmp_path / LOCK).exists()

    def test_a_killed_owner_that_nobody_reaped_loses_it_too(self, tmp_path: Path) -> None:
        """As in a container whose first process reaps none."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            with owned(tmp_path):
                os.write(writer, b"!")
                time.sleep(60)
            os._exit(0)
        assert os.read(reader, 1) == b"!"
        assert str(child) in str(owner_of(tmp_path))
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert owner_of(tmp_path) is None
        with owned(tmp_path):
            pass
        os.waitpid(child, 0)

    def test_whoever_may_not_write_the_folder_knows_a_dead_owner_all_the_same(self, tmp_path: Path) -> None:
        (tmp_path / LOCK).write_text(json.dumps({**vars(Owner.here()), "started": "another boot 1"}))
        tmp_path.chmod(0o500)
        assert owner_of(tmp_path) is None
        tmp_path.chmod(0o700)
        assert (tmp_path / LOCK).exists()

    def test_where_a_start_cannot_be_told_its_owner_is_believed_to_live(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / LOCK).write_text(json.dumps({**vars(Owner.here()), "started": ""}))
        assert owner_of(tmp_path) is not None
        (tmp_path / LOCK).write_text(json.dumps(vars(Owner.here())))
        monkeypatch.setattr(ownership, "_started", lambda pid: None)
        assert owner_of(tmp_path) is not None

    def test_on_other_systems_a_start_hangs_on_no_place_and_language(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ownership, "_started", ownership._started_elsewhere)
        (tmp_path / LOCK).write_text(json.dumps(vars(Owner.here())))
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert owner_of(tmp_path) is not None
        monkeypatch.undo()
        time.tzset()
        gone = {**vars(Owner.here()), "started": "1.5"}
        monkeypatch.setattr(ownership, "_started", ownership._started_elsewhere)
        (tmp_path / LOCK).write_text(json.dumps(gone))
        assert owner_of(tmp_path) is None

    def test_another_process_with_the_same_number_is_not_the_owner(self, tmp_path: Path) -> None:
        mine = Owner.here()
        (tmp_path / LOCK).write_text(json.dumps({**vars(mine), "started": "another boot 1"}))
        with owned(tmp_path):
            pass

    def test_an_owner_on_another_host_is_believed_to_live(self, tmp_path: Path) -> None:
        (tmp_path / LOCK).write_text(json.dumps({**vars(Owner.here()), "host": "elsewhere", "pid": 1}))
        with pytest.raises(BusyError, match="elsewhere") as caught, owned(tmp_path):
            pass
        assert str(tmp_path / LOCK) in caught.value.mend

    def test_an_owner_in_a_container_is_believed_to_live(self, tmp_path: Path) -> None:
        mine = Owner.here()
        (tmp_path / LOCK).write_text(json.dumps({**vars(mine), "space": "pid:[1]", "pid": 2**22 + 1}))
        with pytest.raises(BusyError, match=str(2**22 + 1)), owned(tmp_path):
            pass
        known = {name: value for name, value in vars(mine).items() if name != "space"}
        (tmp_path / LOCK).write_text(json.dumps({**known, "pid": 2**22 + 1}))  # by an earlier release
        with owned(tmp_path):
            pass

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
    def test_a_torn_lock_is_no_lock(self, tmp_path: Path, text: str) -> None:
        (tmp_path / LOCK).write_text(text)
        with owned(tmp_path):
            pass

    def test_of_many_that_want_it_one_gets_it(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from autolora_bench.ownership import owned, BusyError\n"
            "try:\n    with owned(Path(sys.argv[1])):\n        print('got', flush=True); sys.stdin.read()\n"
            "except BusyError:\n    print('busy', flush=True)"
        )
        (tmp_path / LOCK).write_text(json.dumps({**vars(Owner.here()), "started": "gone"}))
        many = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(6)
        ]
        answers = [process.stdout.readline().strip() for process in many if process.stdout]
        for process in many:
            process.communicate("")
        assert sorted(answers) == ["busy"] * 5 + ["got"]
