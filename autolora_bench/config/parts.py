"""Compositions of many jobs that choose different files: each part of a configuration is merged once for all of them.

Hydra merges files one after the other. What a setting of the top level comes to, such as `task`, depends on what the
files say of it alone, and of the settings that its interpolations name. So each is merged apart, by Hydra's own code,
which is shown that part of every file, and once for all jobs that take it from the same files: the jobs of a sweep over
methods share everything but `method`. What cannot be told apart is composed whole.
"""

import dataclasses
import pickle
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, open_dict

from autolora_bench.config.compose import CONFIG, FAULTS, NAMED, compose_config
from autolora_bench.config.experiment import IDENTITY_NODES, ExperimentConfig

HYDRA, REST = "hydra", "rest"
"""Parts beside the nodes of an experiment: Hydra's own settings, and everything else."""
PARTS = (*IDENTITY_NODES, REST)
FIRST = re.compile(r"\w+")
Parts = frozenset[str]
Origin = tuple[str | None, str | None]
"""A file and the place in the configuration that it is read into."""


class PartComposer:
    """Composes what words choose, for as long as the files stay as they are; use inside `compose.composer()`.

    Args:
        extra: words of every composition, such as that of the user's own configuration folder.
    """

    def __init__(self, extra: Sequence[str]) -> None:
        self.extra = list(extra)
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        self.parser = OverridesParser.create()
        _, self.files = loader._parse_overrides_and_create_caching_repo(CONFIG, self.extra)
        self.loader = _PartLoader(loader.config_search_path)
        self.says: dict[Origin, dict[str, Parts]] = {}
        """What each file says something of, and the parts that it names there."""
        self.merged: dict[tuple[str, Parts, tuple[Origin, ...]], bytes] = {}
        self.whole: dict[tuple[Origin, ...], DictConfig] = {}
        """What was composed whole, by the files that say something of Hydra's own node."""

    def __call__(self, words: Sequence[str]) -> tuple[DictConfig, DictConfig]:
        """The composed configuration without Hydra's node, and that node.

        Of a composition in parts, it is the node of one that has it from the same files: what other words Hydra was
        given does not show in it.

        Args:
            words: choices of files, and others; the fewer values they give, the more is shared.

        Raises:
            UserError: as `compose_config`.
        """
        try:
            defaults = self._defaults(words)
            needed = self._needs(defaults)
            key = tuple(_origin(one) for one in defaults if HYDRA in self.says[_origin(one)])
            if key in self.whole:
                return self._join(defaults, needed, self.whole[key])
        except FAULTS:  # composed whole, it is said as for a run alone
            key = None
        whole = compose_config([*self.extra, *words])
        config, hydra = whole.copy(), whole.hydra
        with open_dict(config):
            del config[HYDRA]
        if key is not None:
            self.whole[key] = whole
        return config, hydra

    def _defaults(self, words: Sequence[str]) -> list[ResultDefault]:
        """The files that words choose, in the order in which they are merged.

        Raises:
            ValueError: words that do more than to choose files.
            HydraException, OmegaConfBaseException, YAMLError: words or files that are wrong.
        """
        overrides = self.parser.parse_overrides([*self.extra, *words])
        said = overrides[len(self.extra) :]
        listed = create_defaults_list(self.files, CONFIG, overrides, prepend_hydra=True, skip_missing=False)
        if len(listed.config_overrides) > len(self.extra) or any(o.is_sweep_override() for o in said):
            raise ValueError(f"{words} do more than to choose files")
        return listed.defaults

    def _needs(self, defaults: Sequence[ResultDefault]) -> dict[str, Parts]:
        """Every part, with itself and the parts that its interpolations name, perhaps through others.

        Raises:
            ValueError: these cannot be told.
        """
        for default in defaults:
            if _origin(default) not in self.says:
                self.says[_origin(default)] = dict(self._read(default))
        said = [self.says[_origin(default)] for default in defaults]
        needed = {part: _needed(part, said) for part in PARTS}
        if any(HYDRA in parts for parts in needed.values()):
            raise ValueError("settings of Hydra's own are named")
        return needed

    def _join(
        self, defaults: Sequence[ResultDefault], needed: dict[str, Parts], whole: DictConfig
    ) -> tuple[DictConfig, DictConfig]:
        """The parts as one configuration, and Hydra's node of `whole`."""
        settings: dict[str, Any] = {}
        for part, parts in needed.items():
            of_part = [one for one in defaults if not parts.isdisjoint(self.says[_origin(one)])]
            root = self._merge(part, parts, of_part)
            settings.update(root.__dict__["_content"])
        root.__dict__["_content"] = {
            field.name: settings[field.name] for field in dataclasses.fields(ExperimentConfig)
        }
        for node in settings.values():
            node._set_parent(root)
        OmegaConf.set_struct(root, True)
        OmegaConf.copy_cache(whole, root)
        return root, whole.hydra

    def _read(self, default: ResultDefault) -> Iterator[tuple[str, Parts]]:
        """The parts that a file says something of, each with those that it names there; Hydra's own need none."""
        loaded = self.files.load_config(cast(str, default.config_path))
        assert loaded is not None
        said = OmegaConf.to_container(loaded.config, resolve=False)
        if default.package:
            said = {default.package.partition(".")[0]: said}
        if not isinstance(said, dict):
            raise ValueError(f"{default.config_path} is no mapping")
        named: dict[str, set[str]] = {}
        for name, value in said.items():
            part = _part(str(name))
            named.setdefault(part, set()).update(set() if part == HYDRA else _named(value))
        yield from ((part, frozenset(names)) for part, names in named.items())

    def _merge(self, part: str, needed: Parts, defaults: Sequence[ResultDefault]) -> DictConfig:
        """A configuration of this part alone, merged together with those that it needs."""
        key = part, needed, tuple(_origin(one) for one in defaults)
        if key not in self.merged:
            self.loader.parts = needed
            root = self.loader._compose_config_from_defaults_list(
                list(defaults), CachingConfigRepository(self.files.delegate)
            )
            content = root.__dict__["_content"]
            root.__dict__["_content"] = {name: node for name, node in content.items() if _part(name) == part}
            self.merged[key] = pickle.dumps(root)
        return cast(DictConfig, pickle.loads(self.merged[key]))


class _PartLoader(ConfigLoaderImpl):
    """Hydra's loader, which takes some parts of every file alone. A schema of them all is taken whole."""

    parts: Parts = frozenset()

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        result = super()._load_single_config(default, repo)
        config = cast(DictConfig, result.config)
        if not config._is_typed():
            for name in [name for name in config if _part(str(name)) not in self.parts]:
                del config[name]
        return result


def _origin(default: ResultDefault) -> Origin:
    return default.config_path, default.package


def _part(name: str) -> str:
    """Of a setting of the top level."""
    return name if name in (*IDENTITY_NODES, HYDRA) else REST


def _named(node: Any) -> set[str]:
    """The parts that interpolations name. Raises ValueError for one that asks more than a setting by its full name."""
    if isinstance(node, dict):
        return set().union(*map(_named, node.values()))
    if isinstance(node, list):
        return set().union(*map(_named, node))
    if not isinstance(node, str) or "${" not in node:
        return set()
    first = [FIRST.match(name) for name in NAMED.findall(node)]
    if len(first) < node.count("${") or None in first:
        raise ValueError(f"{node} may name any setting")
    return {_part(found[0]) for found in first if found is not None}


def _needed(part: str, said: Sequence[dict[str, Parts]]) -> Parts:
    """The part and those that its interpolations name, perhaps through others."""
    found = {part}
    while True:
        named = set().union(*(names for of_file in said for one, names in of_file.items() if one in found))
        if named <= found:
            return frozenset(found)
        found |= named
