"""What the search leaves on disk."""

import json

import pytest
import torch

from autolora_bench.errors import UserError
from autolora_bench.search import Selection, Trajectory, load_selection, save_selection


def test_selection_survives(tmp_path):
    selection = Selection(["a", "b"], 3)
    selection.beta.data.normal_()
    save_selection(selection, tmp_path)
    loaded = Selection(["a", "b"], 3)
    load_selection(loaded, tmp_path)
    assert torch.equal(loaded.beta, selection.beta)
    assert torch.equal(loaded.current, selection.alpha())


@pytest.mark.parametrize(
    "other", [(["a", "c"], 3, "softmax"), (["a", "b"], 3, "sigmoid"), (["a", "b"], 4, "softmax")]
)
def test_another_selection_is_refused(tmp_path, other):
    save_selection(Selection(["a", "b"], 3), tmp_path)
    with pytest.raises(UserError, match="other layers or another constraint"):
        load_selection(Selection(*other), tmp_path)


def test_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_selection(Selection(["a"], 2), tmp_path)
    (tmp_path / "selection.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(UserError, match="cannot be read"):
        load_selection(Selection(["a"], 2), tmp_path)


def test_resumed_trajectory_drops_what_is_done_again(tmp_path):
    path = tmp_path / "deep" / "trajectory.jsonl"
    first = Trajectory(path)
    first.begin(0, 10)
    for step in range(8):
        first.record(step, torch.full((1, 2), float(step)))
    with path.open("a") as file:
        file.write('{"step": 8, "al')
    again = Trajectory(path)
    again.begin(4, 10)
    again.record(5, torch.full((1, 2), -5.0))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert rows[-1]["alpha"] == [[-5.0, -5.0]]


def test_new_run_replaces_an_old_trajectory(tmp_path):
    trajectory = Trajectory(tmp_path / "t.jsonl", points=5)
    for _ in range(2):
        trajectory.begin(0, 20)
        for step in range(21):
            trajectory.record(step, torch.zeros(1, 1))
    assert [json.loads(x)["step"] for x in trajectory.path.read_text().splitlines()] == [0, 4, 8, 12, 16, 20]
