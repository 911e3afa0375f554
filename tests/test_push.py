"""Exports that are sent to a model hub, with only the network replaced: a server on this machine answers as a hub does
and keeps what it was sent."""

import base64
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants

import autolora_bench as ab
from autolora_bench import cli
from autolora_bench.errors import UserError
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.push import _api_of
from autolora_bench.record import Status, find_records, read_record
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan
from autolora_bench.tables import download

NO_TORCH = (
    "import sys; from autolora_bench import cli; sys.exit(cli.run(sys.argv[1:]) or 'torch' in sys.modules)"
)


@dataclass
class Repository:
    """What a hub keeps of a model."""

    private: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def tags(self) -> list[str]:
        """Those of its card, as a hub reads them."""
        front = re.match(r"---\n(.*?)\n---\n", self.files.get("README.md", b"").decode(), re.DOTALL)
        return yaml.safe_load(front[1]).get("tags", []) if front else []


class FakeHub:
    """Answers as a hub; `failing` says which requests it refuses, and how."""

    def __init__(self) -> None:
        self.account: dict[str, Any] = {
            "type": "user",
            "name": "me",
            "orgs": [{"name": "lab", "roleInOrg": "write"}, {"name": "readers", "roleInOrg": "read"}],
            "auth": {"accessToken": {"role": "write"}},
        }
        self.repositories: dict[str, Repository] = {}
        self.failing: dict[str, int] = {}
        self.asked: list[str] = []
        self.endpoint = ""

    def answer(self, path: str, token: str | None, body: bytes) -> tuple[int, dict[str, Any]]:
        path = path.partition("?")[0]
        self.asked.append(path)
        for part, status in self.failing.items():
            if part in path:
                return status, {"error": f"no {part} today"}
        if path == "/":
            return 200, {}
        if token != "Bearer hf_secret":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/whoami-v2":
            return 200, self.account
        if path == "/api/validate-yaml":
            front = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
            assert front is not None
            assert isinstance(yaml.safe_load(front[1])["tags"], list)
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            status = 409 if name in self.repositories else 200
            self.repositories.setdefault(name, Repository(private=asked.get("visibility") == "private"))
            return status, {"url": f"{self.endpoint}/{name}"}
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w+)/main)?", path)
        assert found is not None, path
        repository = self.repositories.get(found[1])
        if repository is None:
            return 404, {"error": "Repository not found"}
        return 200, self._of_repository(found[1], repository, found[2], body)

    def _of_repository(
        self, name: str, repository: Repository, what: str | None, body: bytes
    ) -> dict[str, Any]:
        files = repository.files
        if what == "preupload":
            asked = json.loads(body)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]
            return {"files": [mode | {"oid": git_blob(files.get(mode["path"]))} for mode in modes]}
        if what == "commit":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    repository.messages.append(value["summary"])
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                else:
                    del files[value["path"]]
            return {"commitUrl": f"{self.endpoint}/{name}/commit/1", "commitOid": "1"}
        siblings = [{"rfilename": file} for file in [".gitattributes", *files]]
        return {
            "id": name,
            "sha": "1",
            "private": repository.private,
            "tags": repository.tags,
            "siblings": siblings,
        }


def git_blob(content: bytes | None) -> str | None:
    """A file's name in git."""
    return None if content is None else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on which `me` is logged in."""
    fake = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = fake.answer(self.path, self.headers.get("Authorization"), body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    fake.endpoint = f"http://127.0.0.1:{server.server_port}"
    point_at(fake.endpoint, monkeypatch)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield fake
    server.shutdown()
    server.server_close()


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "_answers", {})
    _api_of.cache_clear()


@pytest.fixture(scope="session")
def trained(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Words of a run, and the results folder in which it is completed."""
    results = tmp_path_factory.mktemp("trained") / "runs"
    words = [
        *("task=sst2", "method=lora", "data=generated", "data.limit=16", "data.limit_evaluation=8"),
        *(
            "train.epochs=1",
            f"model.checkpoint={tiny_encoder}",
            "model=any",
            "~recipe",
            "~cell",
            "device=cpu",
        ),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(results.parent / "cache"))
        assert cli.run([*words, f"results={results}"]) == 0
    return words, results


@pytest.fixture
def words(trained: tuple[list[str], Path], own_folder: Path) -> Iterator[list[str]]:
    """Words of the run, whose results folder is empty."""
    yield [*trained[0], "results=runs"]
    assert not list(Path("runs").rglob("run.lock"))


@pytest.fixture
def completed(words: list[str], trained: tuple[list[str], Path]) -> list[str]:
    """Words of the run, which is completed."""
    shutil.copytree(trained[1], "runs")
    return words


def export_of(words: list[str]) -> Path:
    [entry] = plan(Request(tuple(words)))
    return entry.folder / "finetune/export"


def logits(code: str, folder: Path, base: str) -> torch.Tensor:
    names: dict[str, Any] = {"FOLDER": str(folder), "BASE": base}
    exec(code, names)
    inputs = names["tokenizer"]("the film is good", return_tensors="pt")
    with torch.no_grad():
        found: torch.Tensor = names["model"].eval()(**inputs).logits
    return found


def test_a_run_is_trained_and_sent_whole_and_a_model_loads_from_what_arrived(
    words: list[str], hub: FakeHub, tmp_path: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*words, "push=me/first"]) == 0
    assert f"{hub.endpoint}/me/first" in capsys.readouterr().out
    export, sent = export_of(words), hub.repositories["me/first"]
    assert sent.files == {path.name: path.read_bytes() for path in export.iterdir()}
    assert {"adapter_model.safetensors", "tokenizer.json", "README.md"} <= {*sent.files}
    assert sent.private
    [message] = sent.messages
    assert message.startswith("sst2/lora/seed0 of any, configuration ")
    here = [str(place).encode() for place in (tmp_path, tiny_encoder, Path.home())]
    assert not [name for name, content in sent.files.items() for place in here if place in content]
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    for name, content in sent.files.items():
        (arrived / name).write_bytes(content)
    [code] = re.findall(r"```python\n(.*?)```", sent.files["README.md"].decode(), re.DOTALL)
    found = [logits(code, folder, str(tiny_encoder)) for folder in (export, arrived)]
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_where_it_was_sent_is_no_part_of_the_run(words: list[str], hub: FakeHub) -> None:
    [plain], [pushed] = plan(Request(tuple(words))), plan(Request((*words, "push=me/first")))
    assert pushed.folder == plain.folder
    assert pushed.command == plain.command
    assert cli.run([*words, "push=me/first"]) == 0
    assert "push" not in (plain.folder / "run.json").read_text()
    assert read_record(plain.folder / "run.json").command == plain.command


def test_a_completed_run_is_only_sent_and_once(
    completed: list[str], hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert cli.run([*completed, "push=me/again"]) == 0
        said = capsys.readouterr()
        assert said.out == f"sst2/lora/seed0  ->  {hub.endpoint}/me/again\n"
        assert "0 of 1 runs to do" in said.err
    assert len(hub.repositories["me/again"].messages) == 1


@pytest.mark.slow
def test_sending_a_completed_run_does_not_import_torch(completed: list[str], hub: FakeHub) -> None:
    """As a user's command, in a process of its own."""
    for _ in range(2):
        answer = subprocess.run(
            [sys.executable, "-c", NO_TORCH, *completed, "push=me/again"],
            env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"},
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout == f"sst2/lora/seed0  ->  {hub.endpoint}/me/again\n"
        assert "0 of 1 runs to do" in answer.stderr
    assert len(hub.repositories["me/again"].messages) == 1


@pytest.mark.parametrize("name", ["first", "a/b/c", "me/", "me/two--lines", "me/with space", "''"])
def test_a_name_that_no_repository_has_is_refused(
    name: str, words: list[str], hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*words, f"push={name}"]) == 2
    assert "push" in capsys.readouterr().err
    assert not [*find_records(Path("runs"))]
    assert hub.asked == []


def no_token(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("HF_TOKEN")


def wrong_token(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HF_TOKEN", "hf_old")


def reader(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.account["auth"]["accessToken"]["role"] = "read"


def somebody_else(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.account["name"] = "you"


def only_reads(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.account |= {"name": "you", "orgs": [{"name": "me", "roleInOrg": "read"}]}


def switched_off(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(constants, "HF_HUB_OFFLINE", True)


def gone(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        patch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")


def broken(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.failing = {"whoami": 500}


def broken_repository(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.failing = {"/api/models/": 500}


def another_model(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    hub.repositories["me/first"] = Repository(files={"README.md": b"# mine", "model.safetensors": b""})


@pytest.mark.parametrize(
    ("hinder", "said"),
    [
        (no_token, "nobody is logged in to http://"),
        (wrong_token, "does not know the token"),
        (reader, "the token may only read"),
        (
            somebody_else,
            "you is logged in, who may not write for me\nsay one of: push=you/first, push=lab/first",
        ),
        (only_reads, "you is logged in, who may not write for me\nsay one of: push=you/first; or"),
        (switched_off, "HF_HUB_OFFLINE forbids to ask the hub\nunset HF_HUB_OFFLINE"),
        (gone, "does not answer\ngo online"),
        (broken, "does not say who is logged in"),
        (broken_repository, "the hub does not say what is there"),
        (another_model, "there is a model that autolora-bench did not send (model.safetensors)"),
    ],
)
@pytest.mark.sample(keep=("no_token", "wrong_token", "somebody_else", "switched_off", "another_model"))
def test_what_hinders_is_said_before_anything_is_trained(
    hinder: Any,
    said: str,
    words: list[str],
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hinder(hub, monkeypatch)
    assert cli.run([*words, "push=me/first"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "hf_" not in error
    assert not [*find_records(Path("runs"))]
    assert not [path for path in hub.asked if path.endswith(("create", "main"))]
    assert cli.run(["check", *words, "push=me/first"]) == 2
    assert said.partition("\n")[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ({"commit": 403}, "the hub answers 403: no commit today"),
        ({"commit": 500}, "the hub answers 500: no commit today"),
        ({"preupload": 403}, "the hub answers 403: no preupload today"),
        ({"create": 403}, "the hub answers 403: no create today"),
    ],
)
@pytest.mark.sample(keep=("failing0",))
def test_what_fails_afterwards_loses_nothing_and_the_same_command_sends_it(
    failing: dict[str, int],
    said: str,
    words: list[str],
    hub: FakeHub,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.failing = failing
    assert cli.run([*words, "push=me/first"]) == 1
    error = capsys.readouterr().err
    [line] = [line for line in error.splitlines() if "was not sent" in line]
    assert line.startswith("autolora-bench: me/first was not sent: ")
    assert said in line
    assert "the run is completed: the same command sends what is left" in error
    assert "hf_secret" not in error
    [path] = find_records(Path("runs"))
    assert read_record(path).status is Status.completed
    hub.failing, before = {}, path.read_bytes()
    assert cli.run([*words, "push=me/first"]) == 0
    assert "0 of 1 runs to do" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert len(hub.repositories["me/first"].files) > 3


def test_one_failure_does_not_stop_the_others(
    completed: list[str], hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.failing = {"lora-0/commit": 403}
    sweep = ["-m", *completed, "seed=0,1", "push=me/${method.name}-${seed}"]
    assert cli.run(sweep) == 1
    assert "me/lora-0 was not sent" in capsys.readouterr().err
    assert hub.repositories["me/lora-1"].files


@pytest.mark.parametrize("seeds", ["0", pytest.param("0,1", marks=pytest.mark.slow)])
def test_several_runs_to_one_name_are_refused_with_names_that_work(
    seeds: str,
    words: list[str],
    hub: FakeHub,
    trained: tuple[list[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the names, those of `seeds` are sent to; the first run was completed before."""
    sweep = ["-m", *words, "method=lora,bitfit", "seed=0,1"]
    assert cli.run([*sweep, "push=me/all"]) == 2
    error = capsys.readouterr().err
    assert "push=me/all is asked of 4 runs" in error
    assert not [*find_records(Path("runs"))]
    name = re.search(r"push='(.+)'", error)
    assert name is not None
    assert name[1] == "me/all-${method.name}-${seed}"
    shutil.copytree(trained[1], "runs", dirs_exist_ok=True)
    assert cli.run([*sweep[:-1], f"seed={seeds}", f"push={name[1]}"]) == 0
    assert {*hub.repositories} == {
        f"me/all-{method}-{seed}" for method in ("lora", "bitfit") for seed in seeds.split(",")
    }
    for path in find_records(Path("runs")):
        record = read_record(path)
        sent = hub.repositories[f"me/all-{record.method}-{record.seed}"].files
        assert sent == {file.name: file.read_bytes() for file in (path.parent / "finetune/export").iterdir()}
        assert "push" not in path.read_text()


def test_names_follow_whatever_differs(words: list[str], hub: FakeHub) -> None:
    words = [word for word in words if not word.startswith("method=")]
    sweep = Request((*words, "method=lora", "method.rank=2,4", "push=lab/x-r${method.rank}"), multirun=True)
    assert [entry.experiment.push for entry in plan(sweep)] == ["lab/x-r2", "lab/x-r4"]
    with pytest.raises(UserError) as caught:
        plan(Request((*words, "method=lora", "push=me/a,me/b"), multirun=True))
    assert "push=me/a and push=me/b are asked of one run" in str(caught.value)


@pytest.mark.parametrize("suite", ["fair", "tune"])
def test_runs_that_are_chosen_as_it_goes_are_not_sent(
    suite: str, words: list[str], hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    if suite == "tune":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    assert cli.run([f"suite={suite}", *words, "push=me/first"]) == 2
    assert "push=me/first with a" in capsys.readouterr().err
    assert not [*find_records(Path("runs"))]


def test_what_a_loader_would_find_of_an_earlier_export_goes_and_a_users_own_files_stay(
    completed: list[str], hub: FakeHub
) -> None:
    card = b"---\ntags: [autolora-bench, full]\n---\n"
    own = {"LICENSE": b"mine", "plots/loss.png": b"png", "more/model.safetensors": b"mine"}
    old = {"README.md": card, "model.safetensors": b"old", "bottleneck_adapter.json": b"{}"}
    hub.repositories["me/first"] = Repository(files={**own, **old})
    export = export_of(completed)
    (export / "notes.odt").write_bytes(b"a user's")
    (export / ".README.md.writing").write_bytes(b"torn")
    (export / "extra.json").symlink_to(export / "config.json")
    assert cli.run([*completed, "push=me/first"]) == 0
    exported = {path.name for path in export.iterdir()} - {"notes.odt", ".README.md.writing", "extra.json"}
    assert {*hub.repositories["me/first"].files} == {*own, *exported}


def test_a_public_repository_stays_public_and_that_is_said_first(
    completed: list[str], hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories["lab/open"] = Repository(private=False)
    assert cli.run([*completed, "push=lab/open"]) == 0
    assert "note: lab/open is public" in capsys.readouterr().err
    assert not hub.repositories["lab/open"].private


def test_an_export_that_is_gone_is_told_and_made_again(
    completed: list[str], hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(export_of(completed))
    assert cli.run([*completed, "push=me/first"]) == 2
    assert "there is no export in" in capsys.readouterr().err
    assert cli.run([*completed, "push=me/first", "rerun=all"]) == 0
    assert hub.repositories["me/first"].files


@pytest.mark.parametrize("fault", ["gone", "cut off"])
def test_an_export_without_its_weights_takes_none_from_the_hub(
    fault: str, completed: list[str], hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*completed, "push=me/first"]) == 0
    sent = dict(hub.repositories["me/first"].files)
    weights = export_of(completed) / "adapter_model.safetensors"
    if fault == "gone":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert cli.run([*completed, "push=me/first"]) == 2
    said = capsys.readouterr().err
    assert ("has no weights" if fault == "gone" else "is damaged") in said
    assert "rerun=all" in said
    assert hub.repositories["me/first"].files == sent


def test_a_failed_run_is_not_sent(words: list[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(FinetunePhase, "run", fails)
    assert cli.run([*words, "push=me/first"]) == 1
    [path] = find_records(Path("runs"))
    assert read_record(path).status is Status.failed
    assert hub.repositories == {}


def test_from_python(completed: list[str], hub: FakeHub) -> None:
    said = {name: value or None for name, _, value in (word.partition("=") for word in completed)}
    record = ab.run(**said, push="me/python")
    assert record.status is Status.completed
    assert hub.repositories["me/python"].files
    hub.failing = {"commit": 403}
    with pytest.raises(ab.PushFailedError) as caught:
        ab.run(**said, push="me/second")
    assert "me/second was not sent" in str(caught.value)
    hub.failing = {}
    records = ab.sweep(**{**said, "seed": [0, 1]}, push="me/swept-${seed}")
    assert [record.seed for record in records] == [0, 1]
    assert {"me/swept-0", "me/swept-1"} <= {*hub.repositories}
