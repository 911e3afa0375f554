"""What a run reads, noted when it is read first and held against it whenever it is read again.

A run that was interrupted may find other files under the same path. To go on with them would train one model on two
data sets, or begin an adapter on one backbone and end it on another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autolora_bench.errors import UserError

DATA = "data"
EXAMPLES = "the examples"
MEND = "put back what was there to go on from here, or start the run again with rerun=all"


@dataclass
class Inputs:
    """The SHA-256 of everything that a run reads.

    Args:
        noted: what (DATA, record.PRETRAINED) -> name -> SHA-256, of earlier attempts too; added to in place.
        save: puts it on disk; called as soon as something is noted, before it is used.
    """

    noted: dict[str, dict[str, str]] = field(default_factory=dict)
    save: Callable[[], None] = lambda: None

    def check(self, what: str, found: Mapping[str, str]) -> None:
        """Note what was found, or hold it against what was noted; an empty mapping says nothing.

        Raises:
            UserError: something was added, removed or changed since the run began.
        """
        if not found:
            return
        if what not in self.noted:
            self.noted[what] = dict(found)
            self.save()
        changed = differing(self.noted[what], found)
        if changed:
            raise changed_since(what, changed)


def differing(noted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The names that are not the same in both, files before what was read from them."""
    names = [name for name in sorted({*noted, *found}) if noted.get(name) != found.get(name)]
    return [name for name in names if name != EXAMPLES] or names


def changed_since(what: str, names: list[str]) -> UserError:
    """The error that says it."""
    return UserError(f"{what} changed since this run began: {', '.join(names)}", MEND)
