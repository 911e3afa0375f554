"""What a method does not work on, in a sweep: said by every command, run by none, in nobody's way."""

from pathlib import Path

import pytest

from autolora_bench import cli

SAID = "left out: method=llama_adapter does not work on classification (task=sst2): its prompts are PEFT's"


@pytest.fixture
def words(tiny_encoder: Path, own_cache: Path, tmp_path: Path) -> list[str]:
    """A sweep over a method that does not work on its task, and one that does."""
    sweep = ["-m", "task=sst2", "method=llama_adapter,bitfit", "data=generated", f"results={tmp_path}/runs"]
    model = ["model=any", f"model.checkpoint={tiny_encoder}", "device=cpu"]
    return [*sweep, *model, "train.max_steps=1", "data.limit=16", "data.limit_evaluation=8"]


def test_the_rest_of_the_sweep_is_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", *words]) == 0
    checked = capsys.readouterr().out
    assert SAID in checked
    assert "1 runs, 0 problems" in checked
    assert cli.run(words) == 0
    said = capsys.readouterr().err
    assert SAID in said
    assert "1 of 1 runs to do" in said
    assert "failed" not in said
    assert cli.run(["status", *words]) == 0
    assert "1 runs: 1 completed" in (status := capsys.readouterr().out)
    assert SAID in status
    assert cli.run(["report", *words]) == 0
    reported = capsys.readouterr()
    assert SAID in reported.err
    assert "| BitFit |" in reported.out
    assert "llama_adapter" not in reported.out
