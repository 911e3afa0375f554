"""The words of a command line as Hydra's overrides, and what is wrong with them that Hydra would not say."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, ValueType

from autolora_bench.config.choices import GROUPS, OPTIONAL_GROUPS, check_choice, choices
from autolora_bench.config.compose import explain
from autolora_bench.errors import UserError


def parse_words(words: Sequence[str], folders: list[Path]) -> list[Override]:
    """The words in their order; a pattern is replaced by the choices that fit it.

    Args:
        folders: configuration folders, the user's own first.

    Raises:
        UserError: a word that cannot be read or stands for nothing, an unknown choice, or a sweep over suites.
    """
    try:
        parser = OverridesParser.create()
        overrides = [
            parser.parse_override(_listed(override, folders)) if _is_glob(override) else override
            for override in parser.parse_overrides(list(words))
        ]
    except UserError:
        raise
    except Exception as error:
        raise explain(error) from error
    for override in overrides:
        values = _values(override)
        if override.key_or_group == "suite" and len(values) > 1:
            raise UserError(f"{override.input_line}: a sweep is of one suite", "run the command for each")
        if override.key_or_group in (*GROUPS, *OPTIONAL_GROUPS):
            for value in values:
                check_choice(override.key_or_group, value, folders)
    return overrides


def _values(override: Override) -> list[str]:
    """What a word says, each value of a sweep; not what is null, taken out, interpolated or still to be found."""
    if override.is_delete() or override.is_interval_sweep():
        return []
    if not override.is_sweep_override():
        found = [override.value()]
    else:
        found = list(override.sweep_string_iterator())
        if not found:
            raise UserError(f"{override.input_line} stands for nothing", "give it at least one value")
    return [str(value) for value in found if value not in (None, "null") and "${" not in str(value)]


def _is_glob(override: Override) -> bool:
    return override.value_type is ValueType.GLOB_CHOICE_SWEEP


def _listed(override: Override, folders: list[Path]) -> str:
    """The word with the choices that its pattern stands for."""
    pattern, group = override.value(), override.key_or_group
    assert isinstance(pattern, Glob)
    names = pattern.filter(sorted(choices(group, folders)))
    if not names:
        raise UserError(
            f"{override.input_line} fits nothing", f"a pattern chooses among the files of conf/{group}/"
        )
    return f"{group}={','.join(names)}"
