"""PEFT's types and their settings, read off the text of the installed PEFT: importing it imports torch.

So `ls` and `check` know every type of the PEFT that will run, and a wrong setting shows before anything is loaded.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OWN = {
    "peft_type": "method.type names it",
    "task_type": "the task decides it",
    "base_model_name_or_path": "model= names it",
    "revision": "model.revision names it",
    "inference_mode": "a run trains",
    "auto_mapping": "PEFT fills it in",
    "peft_version": "PEFT fills it in",
    "runtime_config": "PEFT does not save it",
}
"""Fields of an adapter_config.json that say nothing of the method -> who decides them here."""


COMMON = (
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    *("fan_in_fan_out", "bias", "init_weights", "token_dim", "num_transformer_submodules"),
    *("num_attention_heads", "num_layers"),
)
"""Settings of many types, about where and not what."""
ELSEWHERE = (
    *("C3A", "CARTRIDGE", "CPT", "FOURIERFT", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"),
    *("PROMPT_TUNING", "UNILORA", "VBLORA"),
)
"""Types whose model does not first put out what the pretrained one does (tests/methods/test_peft_types.py)."""
UNSTATED = object()
"""A default that only PEFT itself can work out; no value of a file equals it."""


@dataclass(frozen=True)
class PeftTypeInfo:
    """One type of PEFT."""

    name: str
    """As in PeftType, such as BOFT."""
    config: str
    """Its configuration class."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Setting -> default; UNSTATED where the source does not write it as a literal. Without those of OWN."""

    @property
    def own(self) -> list[str]:
        """The settings that make the type what it is."""
        return [name for name in self.settings if name not in COMMON]

    @property
    def dropout(self) -> str | None:
        """The setting that is the probability of dropping inputs; None for a type without."""
        named = [name for name in self.settings if name.endswith("_dropout") and name != "rank_dropout"]
        chosen = [name for name in named if name not in ("module_dropout", "encoder_dropout")]
        return chosen[0] if len(chosen) == 1 else None

    @property
    def prompts(self) -> bool:
        """Whether it puts virtual tokens before the input."""
        return "num_virtual_tokens" in self.settings


def starts_elsewhere(kind: str, settings: Mapping[str, Any]) -> bool:
    """Whether a model with this type and these settings first puts out something else than the pretrained one. KaSA, an
    option of LoRA, cuts small singular values off the weights."""
    return kind in ELSEWHERE or settings.get("kasa_config") is not None


@cache
def peft_types() -> dict[str, PeftTypeInfo]:
    """Every type of the installed PEFT, by name, in the alphabet's order."""
    spec = find_spec("peft")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    files = [root / "config.py", root / "tuners" / "lycoris_utils.py", *root.glob("tuners/*/config.py")]
    classes = {one.name: one for path in files for one in _classes(path)}
    found = {}
    for node in classes.values():
        name = _type_of(node)
        if name is not None:
            settings = {key: value for key, value in _settings(node, classes).items() if key not in OWN}
            found[name] = PeftTypeInfo(name, node.name, settings)
    return dict(sorted(found.items()))


def _classes(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node


def _type_of(node: ast.ClassDef) -> str | None:
    """X of `self.peft_type = PeftType.X` in the class."""
    for one in ast.walk(node):
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "self.peft_type":
            return ast.unparse(one.value).removeprefix("PeftType.")
    return None


def _settings(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, Any]:
    """Fields of the dataclass, those of its bases first."""
    found: dict[str, Any] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found |= _settings(classes[base.id], classes)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            found[line.target.id] = _default(line.value)
    return found


def _default(value: ast.expr | None) -> Any:
    if isinstance(value, ast.Call):
        named = {word.arg: word.value for word in value.keywords}
        if "default_factory" in named:
            return {"dict": {}, "list": []}.get(ast.unparse(named["default_factory"]), UNSTATED)
        value = named.get("default")
    if isinstance(value, ast.Attribute):  # of an enumeration, whose values are its names
        return value.attr
    try:
        return UNSTATED if value is None else ast.literal_eval(value)
    except ValueError:
        return UNSTATED
