"""A command is composed once: a single run is made as it was planned, without Hydra's second composition."""

import gc
import shlex
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from autolora_bench import cli, record
from autolora_bench.commands import launch
from autolora_bench.config import compose
from autolora_bench.garbage import for_good
from autolora_bench.provenance import provenance, why_bf16_is_slow
from autolora_bench.record import find_records, read_record

WORDS = [
    "task=sst2",
    "method=bitfit",
    "data=generated",
    "data.limit=16",
    "data.limit_evaluation=8",
    "train.epochs=1",
]


@pytest.fixture
def line(tiny_encoder: Path, own_cache: Path, tmp_path: Path) -> list[str]:
    model = [f"model.checkpoint={tiny_encoder}", "model=any", "~recipe", "~cell", "device=cpu"]
    return [*WORDS, *model, f"results={tmp_path / 'runs'}"]


def test_a_process_that_a_launcher_starts_elsewhere_asks_for_itself(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command was given where nothing asks for bf16."""
    there = "+hydra.job.env_set.ACCELERATE_MIXED_PRECISION=bf16"
    assert cli.run(["-m", *line, there]) == 1
    said = capsys.readouterr().err
    assert "1 of 1 runs to do" in said
    assert "asks accelerate to compute in bf16, and train.precision is fp32" in said
    assert "1 missing" in said
    assert not list(find_records(tmp_path / "runs"))


def test_it_is_composed_once_and_its_record_says_the_command(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[tuple[str, ...]] = []
    usual = compose.compose

    def counted(name: str, overrides: list[str], **options: object) -> object:
        composed.append(tuple(overrides))
        return usual(name, overrides, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(compose, "compose", counted)
    monkeypatch.setattr(launch, "sweep", lambda *_: pytest.fail("Hydra was asked"))
    assert cli.run(line) == 0
    assert len(composed) == 1
    (path,) = find_records(tmp_path / "runs")
    first = read_record(path)
    monkeypatch.undo()
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    words = shlex.split(first.command)[1:]
    assert cli.run([*words, "rerun=all"]) == 0
    (path,) = find_records(tmp_path / "runs")
    again = read_record(path)
    assert again.identity == first.identity
    assert again.history == first.history


def test_a_sweep_and_words_to_hydra_go_through_it(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(launch, "sweep", lambda words, job: asked.append(list(words)))
    cli.run(["-m", *line, "seed=0,1"])
    cli.run([*line, "hydra.job.name=mine"])
    assert len(asked) == 2


def test_a_run_that_is_done_again_within_a_second_is_done_again(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times in records are whole seconds, and a small run takes less."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(record, "datetime", SimpleNamespace(now=lambda zone: moment))
    assert cli.run(line) == 0
    (path,) = find_records(tmp_path / "runs")
    assert read_record(path).started == moment.isoformat()
    assert cli.run([*line, "rerun=all"]) == 0


def test_what_is_imported_for_good_is_not_looked_through_for_garbage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many_objects.py").write_text(
        "found = [[] for _ in range(1000)]\nimport gc\nwas = gc.isenabled()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    frozen = gc.get_freeze_count()
    with for_good("many_objects"):
        import many_objects  # type: ignore[import-not-found]
    assert many_objects.was is False
    assert gc.isenabled()
    after = gc.get_freeze_count()
    assert after >= frozen + 1000
    more = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    with for_good("many_objects"):
        assert gc.isenabled()
    assert gc.get_freeze_count() <= after, f"{len(more)} objects of a later run are not kept"


def test_an_import_that_fails_leaves_the_collector_as_it_was() -> None:
    with pytest.raises(ImportError), for_good("no_such_module"):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()


def test_a_run_that_its_processor_emulates_says_so_first(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: Some\nflags\t\t: fpu avx2\n")
    monkeypatch.setattr("autolora_bench.provenance.CPUINFO", tmp_path / "cpuinfo")
    assert cli.run([*line, "train.precision=bf16"]) == 0
    said = capsys.readouterr().err
    assert "note: train.precision=bf16: the processor has no bfloat16 instructions" in said
    assert said.index("note: ") < said.index("finetune")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("cpu family\t: 25\nmodel\t\t: 1\nflags\t\t: fpu avx avx2\n", "family 25 model 1, avx2"),
        (
            "cpu family\t: 6\nmodel\t\t: 143\nflags\t\t: avx2 avx512f avx512_bf16 amx_bf16\n",
            "family 6 model 143, avx2, avx512f, avx512_bf16, amx_bf16",
        ),
        (
            "CPU implementer\t: 0x41\nCPU part\t: 0xd40\nFeatures\t: asimd sve bf16\n",
            "implementer 0x41 part 0xd40, asimd, sve, bf16",
        ),
        ("", None),
    ],
)
def test_a_record_tells_processors_of_one_name_apart(
    said: str, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: Some\n{said}")
    monkeypatch.setattr("autolora_bench.provenance.CPUINFO", tmp_path / "cpuinfo")
    assert provenance()["processor"] == "Some"
    assert provenance()["microarchitecture"] == kind


@pytest.mark.parametrize(
    ("said", "slow"),
    [
        ("vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx512_bf16 avx512_fp16", True),
        ("vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx512_bf16 avx512_fp16 amx_bf16", False),
        ("vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx512_bf16", False),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: avx512f avx512_bf16 avx512_fp16", False),
    ],
)
def test_an_intel_processor_whose_amx_is_hidden_is_slow_in_bfloat16(
    said: str, slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"{said}\n")
    monkeypatch.setattr("autolora_bench.provenance.CPUINFO", tmp_path / "cpuinfo")
    assert ("AMX" in (why_bf16_is_slow() or "")) == slow
