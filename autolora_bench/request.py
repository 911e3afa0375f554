"""What the words after `autolora-bench` ask for, before anything is composed; it needs no Hydra, for short commands."""

from dataclasses import dataclass
from pathlib import Path

from autolora_bench.paths import conf_dir


@dataclass(frozen=True)
class Request:
    """What the words after `autolora-bench` ask for."""

    overrides: tuple[str, ...] = ()
    multirun: bool = False
    config_dir: Path | None = None
    reads_data: bool = True
    """False where only records of the runs are read: then data.dir need not be said."""

    @property
    def own_folder(self) -> list[str]:
        """The words that name the user's own configuration folder."""
        return ["--config-dir", str(self.config_dir)] if self.config_dir else []

    @property
    def flags(self) -> list[str]:
        """The flags, as words; Hydra wants them before the overrides."""
        return [*self.own_folder, *(["--multirun"] if self.multirun else [])]

    @property
    def said(self) -> dict[str, str]:
        """What each word says of what it names."""
        return dict(word.partition("=")[::2] for word in self.overrides)

    @property
    def folders(self) -> list[Path]:
        """Configuration folders, the user's own first."""
        return [*([self.config_dir] if self.config_dir else []), conf_dir()]
