"""Compositions of a sweep's jobs: those whose words choose the same files share one, which is the slow part."""

import pickle
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autolora_bench.config.choices import GROUPS, OPTIONAL_GROUPS
from autolora_bench.config.compose import asks_for_the_seed, compose_config, to_objects
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.parts import PartComposer

UNPICKLABLE = (pickle.PicklingError, AttributeError, TypeError)
"""What pickle raises for settings of the user's own that hold a function, say: each job makes its own."""


class JobComposer:
    """Composes jobs; use inside `compose.composer()`.

    Words that give a value are put into a copy of what the others choose as Hydra itself does, after everything that
    files say and before interpolations are resolved. Jobs that differ in their seed alone share the objects too, unless
    a setting is interpolated from the seed.

    Args:
        extra: words of every job, such as that of the user's own configuration folder.
    """

    def __init__(self, extra: Sequence[str]) -> None:
        self.extra = list(extra)
        self.choose = PartComposer(extra)
        self.parser = OverridesParser.create()
        self.parsed: dict[str, Override] = {}
        """A sweep says the same words in many jobs."""
        self.composed: dict[tuple[str, ...], tuple[bytes, DictConfig, bool]] = {}
        """Words that choose files -> what they compose to, Hydra's own node, whether a setting asks for the seed."""
        self.made: dict[tuple[str, ...], bytes] = {}
        """Words without the seed -> their objects, pickled: read back in half the time of a deep copy."""

    def __call__(self, job: Sequence[str]) -> ExperimentConfig:
        """The job's objects, not checked yet. Raises UserError as `compose_config` and `to_objects`."""
        for word in job:
            if word not in self.parsed:
                (self.parsed[word],) = self.parser.parse_overrides([word])
        overrides = [self.parsed[word] for word in job]
        seed = next((o.value() for o in overrides if o.key_or_group == "seed" and _gives_value(o)), None)
        rest = tuple(word for word in job if not word.startswith("seed="))
        if rest in self.made and type(seed) is int:
            made: ExperimentConfig = pickle.loads(self.made[rest])
            return replace(made, seed=seed)
        files = tuple(o.input_line or "" for o in overrides if not _gives_value(o))
        if files not in self.composed:
            whole, hydra = self.choose(files)
            self.composed[files] = pickle.dumps(whole), hydra, asks_for_the_seed(whole)
        pickled, hydra, seeded = self.composed[files]
        config = pickle.loads(pickled)
        try:
            for override in overrides:
                if _gives_value(override):
                    OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        except (OmegaConfBaseException, AssertionError):  # composed in full, it is said as for a run alone
            return to_objects(compose_config([*self.extra, *job]))
        said = [word for word in job if not word.lstrip("+~").startswith("hydra")]
        experiment = to_objects(config, hydra, said, self._other)
        seeded = seeded or ("$" in "".join(rest) and asks_for_the_seed(config))
        # of a control the run that it is compared with may ask for the seed
        if not seeded and getattr(experiment.method, "reference", None) is None:
            with suppress(*UNPICKLABLE):
                self.made[rest] = pickle.dumps(experiment)
        return experiment

    def _other(self, words: Sequence[str]) -> ExperimentConfig:
        """Of the same sweep, composed from all of its words."""
        return self([word for word in words if word not in self.extra])


def _gives_value(override: Override) -> bool:
    """Whether a word sets one value of the experiment and does nothing else."""
    name = override.key_or_group
    group = name in (*GROUPS, *OPTIONAL_GROUPS) or "/" in name or override.package is not None
    return override.type is OverrideType.CHANGE and not group and not name.startswith("hydra.")
