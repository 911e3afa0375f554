"""Which commit a record names: of the code that runs, or none."""

import subprocess
from pathlib import Path

import pytest

from autolora_bench.provenance import commit_of


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in a checkout of its own, with conf/ beside it."""
    checkout = tmp_path / "checkout"
    for name in ("package/__init__.py", "conf/config.yaml", "pyproject.toml"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    git(checkout, "init", "-q")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "one")
    return checkout / "package"


def test_a_clean_checkout_and_a_changed_one(package: Path) -> None:
    head = git(package, "rev-parse", "HEAD")
    assert commit_of(package) == (head, False)
    (package.parent / "notes.txt").touch()
    assert commit_of(package) == (head, False)
    (package.parent / "conf/config.yaml").write_text("a: 1")
    assert commit_of(package) == (head, True)


def test_a_new_file_counts_where_git_is_told_to_show_none(package: Path) -> None:
    git(package, "config", "status.showUntrackedFiles", "no")
    (package / "new").mkdir()
    (package / "new/method.py").touch()
    assert commit_of(package)[1] is True


def test_a_copy_inside_of_another_repository_has_no_commit(package: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ".gitignore").write_text("vendor")
    git(other, "init", "-q")
    git(other, "add", "-A")
    git(other, "commit", "-qm", "other")
    copy = other / "vendor/package"
    copy.mkdir(parents=True)
    for name in ("__init__.py", "../pyproject.toml"):
        (copy / name).touch()
    assert commit_of(copy) == (None, None)
    git(other, "add", "-f", "vendor")
    git(other, "commit", "-qm", "with it")
    assert commit_of(copy) == (git(other, "rev-parse", "HEAD"), False)


def test_gits_own_variables_name_no_other_repository(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a hook, or where a manager of settings exports them."""
    head = git(package, "rev-parse", "HEAD")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert commit_of(package) == (head, False)


def test_a_users_own_settings_of_git_are_heeded(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a container says by them which checkouts of another owner are safe."""
    (package / "notes.swp").touch()
    assert commit_of(package)[1] is True
    (package.parent.parent / "ignored").write_text("*.swp")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.excludesFile")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(package.parent.parent / "ignored"))
    assert commit_of(package)[1] is False


def test_an_installed_package_has_none(package: Path) -> None:
    (package.parent / "pyproject.toml").unlink()
    assert commit_of(package) == (None, None)
