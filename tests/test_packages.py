"""The wheel and the sdist: what is in them, what they say of themselves, and that they work away from the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
RECORDS = REPOSITORY / "results" / "records" / "e2e"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(source: Path, kind: str, folder: Path) -> Path:
    """A `wheel` or `sdist` of the source, made by the back end that pyproject.toml names; nothing is downloaded."""
    run("-c", BUILD, f"build_{kind}", folder, cwd=source)
    (found,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From a copy of the checkout, for a build writes into its source."""
    source = tmp_path_factory.mktemp("source")
    for name in ("autolora_bench", "conf"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for pattern in ("*.md", "*.toml", "*.in", "*.cff", "setup.py", "LICENSE", "results/*.csv"):
        for path in REPOSITORY.glob(pattern):
            target = source / path.relative_to(REPOSITORY)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    return built(source, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From the sdist, so that a file the sdist lacks is missed."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return built(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check")
    run("-m", "pip", "install", *options, "--target", target, wheel, cwd=target)
    return target


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as wheel:
        return set(wheel.namelist())


def metadata(wheel: Path) -> Message:
    (name,) = (one for one in names(wheel) if one.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(name))


def test_the_wheel_holds_every_file_that_the_program_reads(wheel: Path) -> None:
    held = names(wheel)
    package = REPOSITORY / "autolora_bench"
    wanted = {
        path.relative_to(REPOSITORY).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    wanted |= {
        f"autolora_bench/{p.relative_to(REPOSITORY).as_posix()}" for p in REPOSITORY.glob("conf/**/*.yaml")
    }
    wanted |= {
        f"autolora_bench/{p.relative_to(REPOSITORY).as_posix()}" for p in REPOSITORY.glob("results/*.csv")
    }
    assert wanted <= held
    assert not [name for name in held if name.startswith(("tests/", "conf/", "results/", "docs/"))]


def test_the_sdist_holds_what_a_reader_of_the_source_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "setup.py"} <= held


def test_the_metadata_are_complete(wheel: Path) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert said["Summary"] == PROJECT["description"]
    assert said["License-Expression"] == "Apache-2.0"
    assert said["License-File"] == "LICENSE"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Author"]
    assert said["Keywords"]
    assert said["Description-Content-Type"] == "text/markdown"
    assert str(said.get_payload()).lstrip().startswith("# autolora-bench")
    assert any("AutoLoRA paper" in url for url in said.get_all("Project-URL", []))
    assert set(said.get_all("Classifier", [])) >= {
        "Programming Language :: Python :: 3.11",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    }
    assert set(said.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("place", ["format=html", pytest.param("out=shown", marks=pytest.mark.slow)])
def test_an_installed_copy_works_away_from_the_checkout(place: str, installed: Path, tmp_path: Path) -> None:
    path = {"PYTHONPATH": str(installed)}
    where = run("-c", "import autolora_bench; print(autolora_bench.__file__)", cwd=tmp_path, **path)
    assert Path(where.strip()).is_relative_to(installed)
    shutil.copytree(RECORDS, tmp_path / "records")
    page = run("-m", "autolora_bench", "report", "records=records", place, cwd=tmp_path, **path)
    if place == "out=shown":
        page = (tmp_path / "shown" / "report.html").read_text(encoding="utf-8")
    assert "Hu et al., LoRA" in page
    assert "<style>:root" in page


def test_the_installed_program_is_the_command_of_the_metadata(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin" / "autolora-bench"
    text = run(script, cwd=tmp_path, PYTHONPATH=str(installed))
    for word in ("report", "lora_random_ranks", "minilm"):
        assert word in text
