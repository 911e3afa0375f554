"""Several processes of one run, as far as one process shows it."""

import pytest

from autolora_bench.errors import UserError
from autolora_bench.processes import is_main, on_main, rank, world_size


@pytest.mark.parametrize("known", [{}, {"RANK": "0"}, {"RANK": "1", "MASTER_ADDR": "127.0.0.1"}])
def test_a_number_of_processes_without_what_they_find_each_other_by(
    known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a cluster's system sets WORLD_SIZE for its jobs."""
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as error:
        on_main(lambda: 0)
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in known]
    assert all(name in error.value.what for name in missing)
    assert "torchrun" in error.value.mend


def test_an_empty_number_of_processes_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "")
    assert world_size() == 1
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE=two is no number"):
        world_size()


@pytest.mark.parametrize("said", ["8", "1", "4,8", " ", "a"])
def test_without_other_processes_rank_is_somebody_elses_word(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a shell's loop over LoRA's ranks exports it: a run that took itself for another would say nothing."""
    monkeypatch.setenv("RANK", said)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert rank() == 0
    assert is_main()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert is_main()


def test_a_rank_that_no_process_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for said in ("2", "-1", "4,8", "a"):
        monkeypatch.setenv("RANK", said)
        with pytest.raises(UserError, match=f"RANK={said} is none of 2 processes"):
            is_main()
    monkeypatch.setenv("RANK", "1")
    assert not is_main()
