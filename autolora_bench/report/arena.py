"""The planted-rank arena: who finds ranks that are known? From the runs of recovery tasks to one line per allocator.

A plant is one draw of true ranks and updates; an arena has one network, task setting and mode, the same data and the
same training: nothing but the method tells its runs apart. What counts of a plant is the run whose learning rate has
the lowest error on the validation inputs: they are held out of the training inputs and are not the test's, and neither
the test nor the truth has a say.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from autolora_bench.record import RunRecord
from autolora_bench.report.correlation import over_pairs, spearman
from autolora_bench.report.frames import run_cost
from autolora_bench.report.missing_cells import unfilled_of
from autolora_bench.report.numerals import plural
from autolora_bench.report.palette import row_family
from autolora_bench.report.rows import RowRuns, rows_of, settings_note
from autolora_bench.report.runs import BEFORE_AUTO, Run, grouped, hardware, setting, told
from autolora_bench.report.scoreboard import Unfilled
from autolora_bench.report.significance import bootstrap_interval
from autolora_bench.report.tuning import by_search_rate

ERROR, CORRELATION = "relative_error", "rank_correlation"
ORACLE, UNIFORM = "oracle", "lora_uniform"
CLEAR = 0.9
"""The oracle beats uniform ranks clearly where its error is at most this share of theirs."""
MEASURES = ("error", "regret", "agreement", "cost", "total")
"""Columns of `Arena.plants` beside the correlations, whose names are the record's."""


@dataclass(frozen=True)
class RankProfile:
    """Ranks over layers in the order of their true ranks, means over plants."""

    label: str
    ranks: tuple[float, ...]
    plants: int
    """Over how many plants they are means."""


@dataclass(frozen=True)
class Arena:
    """What the allocators found on plants of one network, task setting, mode, data and training."""

    model: str
    mode: str
    setting: str
    """What tells it from the other arenas of this report, empty where nothing does."""
    rows: pd.DataFrame
    """One line per allocator, the best first: method, title, plants (how many have a score), regret_plants (how many
    have a regret), rates (rate -> on how many plants, and starts of these, it was chosen), and of every measure its
    mean over plants, and `_low` and `_high` of its interval, NaN where `bootstrap_interval` gives none."""
    plants: pd.DataFrame
    """By row (its place before sorting) and plant: the measures of the runs that count, NaN where not defined."""
    correlations: tuple[str, ...]
    """The correlations that some run has: of all layers, then of parts of them."""
    unclear: tuple[int, ...]
    """Plants where the oracle does not clearly beat uniform ranks: they are left out of the regret."""
    truth: RankProfile | None
    found: tuple[RankProfile, ...]
    """In the order of `rows`, of those that give layers ranks; without the oracle, whose ranks are the truth."""
    grids: Mapping[str, tuple[float, ...]]
    """Title -> the learning rates that were tried, those that diverged too."""
    uneven: tuple[str, ...]
    """Titles of those that were not tried with the same rates on every plant and start."""
    unfilled: tuple[Unfilled, ...]
    families: Mapping[str, str]
    """Title -> the method's family, which decides its colour."""
    ordered: bool
    """Whether the truth prefers some layers: otherwise nothing can be found."""
    told_apart: tuple[str, ...] = ()
    """What tells rows of one method apart whose titles say nothing of it."""

    @property
    def averaged(self) -> str:
        """Over which plants the ranks of `found` are means, and of which rows over fewer."""
        plants = self.plants.index.unique("plant")
        if len(plants) == 1:
            return f"plant {plants[0]}"
        fewer = [f"{one.label}: {one.plants}" for one in self.found if one.plants < len(plants)]
        return f"means over {len(plants)} plants" + (f" (of fewer: {'; '.join(fewer)})" if fewer else "")

    @property
    def title(self) -> str:
        """Mode, model, and what else tells it apart."""
        return ", ".join(filter(None, [f"Planted ranks, {self.mode}", self.model, self.setting]))


def fewer_plants(row: pd.Series) -> str:
    """`1 of 3 plants` where a row's regret is over fewer plants than its error, else nothing."""
    some, plants = int(row["regret_plants"]), int(row["plants"])
    return f"{some} of {plural(plants, 'plant')}" if 0 < some < plants else ""


def is_planted(run: Run) -> bool:
    """Whether a run's true ranks are known."""
    return run.setting("task", "truth") is not None


def arenas_of(runs: Sequence[Run]) -> list[Arena]:
    """One per network, task setting, mode, data and training, in the order of the runs that have a planted truth."""
    groups = grouped(filter(is_planted, runs), _key)
    settings = {key: _setting(members[0]) for key, members in groups.items()}
    found = []
    for key, members in groups.items():
        like = {other: settings[other] for other in groups if groups[other][0].model == members[0].model}
        own = [*_telling(settings, "model", False), *_telling(like, "model", True)]
        found.append(
            _arena(members, ", ".join(f"{name}={told(settings[key], name)}" for name in sorted(own)))
        )
    return found


def _telling(settings: Mapping[str, Mapping[str, str]], section: str, inside: bool) -> list[str]:
    """The settings inside or outside of a section in which some arenas differ, but for the mode."""
    names = {name for one in settings.values() for name in one} - {"mode", "model.name"}
    return [
        name
        for name in names
        if (name.partition(".")[0] == section) is inside
        and len({one.get(name) for one in settings.values()}) > 1
    ]


def chosen(tries: pd.DataFrame) -> pd.DataFrame:
    """Of every row, plant and start the try with the lowest validation error; of equal ones the lowest rate.

    Args:
        tries: with row, plant, seed, rate and validation; it may hold test errors and truths, which are not looked at.
    """
    known = tries[tries["validation"].notna()].sort_values(["validation", "rate"], kind="stable")
    keys = ["row", "plant", "seed"]
    return known.drop_duplicates(keys).sort_values(keys)


def regret(error: pd.Series, oracle: pd.Series, uniform: pd.Series) -> pd.Series:
    """(error - oracle's) / (uniform's - oracle's): 0 is as good as to know the truth, 1 as good as uniform ranks.

    NaN where the oracle does not clearly beat uniform ranks (`CLEAR`). All three have the same plants.
    """
    return ((error - oracle) / (uniform - oracle)).where(oracle <= CLEAR * uniform)


def _setting(run: Run) -> dict[str, str]:
    """All but the method and the plant's seed. Where the plant names its layers, those adapted are the method's."""
    adapted = [] if run.setting("task", "layers") is None else ["model.targets"]
    left = {"task.plant_seed", "train.evaluation_batch_size", *adapted}
    return BEFORE_AUTO | {
        name.removeprefix("task."): value
        for name, value in run.settings.items()
        if name not in left and not name.startswith("method.")
    }


def _key(run: Run) -> str:
    return json.dumps([run.model, sorted(_setting(run).items())])


def _without_rates(runs: Sequence[Run]) -> list[Run]:
    """The runs as their rows know them: without what is chosen by validation error, and without the plant.

    A search's own rate is left out where it follows the method's (`tuning.by_search_rate`).
    """
    groups = grouped(runs, lambda run: _rateless(run, keeps_search_rate=False).config_id)
    return [
        _rateless(run, keeps_search_rate=bool(held))
        for group in groups.values()
        for held, own in by_search_rate(group).items()
        for run in own
    ]


def _rateless(run: Run, *, keeps_search_rate: bool) -> Run:
    """The run without its learning rate and its plant, and another config_id for that."""
    method = {k: v for k, v in run.config["method"].items() if k != "learning_rate"}
    if isinstance(method.get("search"), dict) and not keeps_search_rate:
        method["search"] = {k: v for k, v in method["search"].items() if k != "learning_rate"}
    task = {name: value for name, value in run.config["task"].items() if name != "plant_seed"}
    config = run.config | {"method": method, "task": task}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return replace(run, config=config, config_id=digest)


def _arena(runs: Sequence[Run], telling: str) -> Arena:
    found = rows_of(_without_rates(runs))
    rows = [row for row in found if row.alive or any(map(_has_diverged, row.runs))] or found
    tries = _tries(rows)
    counted = _counted(tries)
    plants = _by_plant(counted)
    oracle, uniform = (_reference(plants, rows, name) for name in (ORACLE, UNIFORM))
    unclear = _unclear(oracle["error"], uniform["error"])
    for number in plants.index.unique("row"):
        own = plants.loc[number]
        known = (frame["error"].reindex(own.index) for frame in (oracle, uniform))
        plants.loc[[number], "regret"] = regret(own["error"], *known).values
        plants.loc[[number], "cost"] = _cost(own, uniform).values
        plants.loc[[number], "agreement"] = _agreement(tries[tries["row"] == number], own.index).values
    correlations = tuple(name for name in plants.columns if name.startswith(CORRELATION))
    lines = _summary(plants, rows, counted, correlations)
    profiles = [_profile(counted, n, rows[n].label) for n in lines.index if rows[n].method != ORACLE]
    truths = [planted for planted in tries["truth"] if planted]
    return Arena(
        model=runs[0].model,
        mode=str(runs[0].setting("task", "mode")),
        setting=telling,
        rows=lines,
        plants=plants,
        correlations=correlations,
        unclear=unclear,
        truth=RankProfile("planted", tuple(map(float, sorted(truths[0].values()))), tries["plant"].nunique())
        if truths
        else None,
        found=tuple(profile for profile in profiles if profile),
        grids={
            rows[int(n)].label: tuple(sorted(set(own["rate"].dropna()))) for n, own in tries.groupby("row")
        },
        uneven=tuple(rows[int(n)].label for n, own in tries.groupby("row") if _is_uneven(own)),
        unfilled=tuple(unfilled_of(rows)),
        families={row.label: row_family(row) for row in rows},
        ordered=any(len(set(planted.values())) > 1 for planted in truths),
        told_apart=tuple(settings_note([row for row in rows if row.untold == row.variant])),
    )


def _has_diverged(run: Run) -> bool:
    return run.record is not None and run.record.diverged


def _tries(rows: Sequence[RowRuns]) -> pd.DataFrame:
    """One line per run that was completed or diverged."""
    lines = [
        _try(number, run.record)
        for number, row in enumerate(rows)
        for run in row.runs
        if run.record and (run.completed or _has_diverged(run))
    ]
    columns = [
        *("row", "plant", "seed", "rate", "validation", "error"),
        *("cpu", "hardware", "total", "truth", "ranks"),
    ]
    return pd.DataFrame(
        lines, columns=list(dict.fromkeys([*columns, CORRELATION, *(n for one in lines for n in one)]))
    )


def _try(number: int, record: RunRecord) -> dict[str, Any]:
    moment = record.last if setting(record, "train", "keep") == "last" else record.best
    split = next(iter(setting(record, "task", "evaluation") or []), "")
    if record.diverged:
        moment = {}  # what it scored before counts as nothing
    test = next(iter(record.test.values()), None)
    scores = test.scores if test and not record.diverged else {}
    plant, seed = record.data.get("plant"), setting(record, "task", "plant_seed")
    truth = plant.get("truth") if isinstance(plant, dict) else None
    return {
        "row": number,
        "plant": record.seed if seed is None else seed,
        "seed": record.seed,
        "rate": setting(record, "method", "learning_rate"),
        "validation": moment[split].scores.get(ERROR) if split in moment else None,
        "error": scores.get(ERROR),
        "cpu": run_cost(record).cpu,
        "hardware": hardware(record),
        "total": sum(layer.rank for layer in record.ranks) if record.ranks else None,
        "truth": truth if isinstance(truth, dict) else {},
        "ranks": {layer.module: layer.rank for layer in record.ranks},
        **{name: value for name, value in scores.items() if name.startswith(CORRELATION)},
    }


def _counted(tries: pd.DataFrame) -> pd.DataFrame:
    """What counts of each row, plant and start (its index): of the starts of a plant those that were tried with as many
    rates as any of its starts. NaN where every rate diverged or has no score."""
    tried = tries.groupby(["row", "plant", "seed"])["rate"].nunique()
    whole = tried == tried.groupby(["row", "plant"]).transform("max")
    return chosen(tries).set_index(["row", "plant", "seed"]).reindex(whole.index[whole])


def _by_plant(counted: pd.DataFrame) -> pd.DataFrame:
    """Means over the starts of a plant; NaN where one of them has none."""
    by_plant = counted.groupby(["row", "plant"])
    correlations = [name for name in counted.columns if name.startswith(CORRELATION)]
    numbers = ["error", "cpu", "total", *correlations]
    sums = counted[numbers].astype("float64").groupby(["row", "plant"]).sum(min_count=1)
    whole = counted[numbers].notna().groupby(["row", "plant"]).all()
    means = sums.div(by_plant.size(), axis=0).where(whole)
    machines = by_plant["hardware"].agg(lambda own: own.iloc[0] if own.nunique(dropna=False) == 1 else None)
    return means.join(machines).assign(regret=np.nan, cost=np.nan, agreement=np.nan)


def _is_uneven(tries: pd.DataFrame) -> bool:
    """Whether a row was tried with other rates on one plant, or start of it, than on another."""
    return len({frozenset(own["rate"].dropna()) for _, own in tries.groupby(["plant", "seed"])}) > 1


def _reference(plants: pd.DataFrame, rows: Sequence[RowRuns], method: str) -> pd.DataFrame:
    """A control's measures by plant; no line where it was not run."""
    numbers = [n for n, row in enumerate(rows) if row.method == method and n in plants.index.unique("row")]
    numbers.sort(key=lambda n: not rows[n].main)
    if not numbers:
        return plants.iloc[:0].droplevel("row")
    return plants.loc[numbers[0]]


def _unclear(oracle: pd.Series, uniform: pd.Series) -> tuple[int, ...]:
    both = pd.concat({"oracle": oracle, "uniform": uniform}, axis=1).dropna()
    return tuple(int(plant) for plant in both.index[both["oracle"] > CLEAR * both["uniform"]])


def _cost(own: pd.DataFrame, uniform: pd.DataFrame) -> pd.Series:
    """Processor seconds of optimizer steps over those of LoRA with uniform ranks, on the same plant and machine."""
    base = uniform.reindex(own.index)
    return (own["cpu"] / base["cpu"]).where(own["hardware"] == base["hardware"])


def _agreement(tries: pd.DataFrame, plants: pd.Index) -> pd.Series:
    """By plant: mean Spearman correlation of the ranks of every two starts, NaN for one start.

    All with the learning rate that most starts were tried with; of equally common ones that of the lowest mean error.
    """
    found = pd.Series(np.nan, index=plants)
    for plant, own in tries[tries["validation"].notna()].groupby("plant"):
        rates = (
            own.groupby("rate")["validation"]
            .agg(["size", "mean"])
            .sort_values(["size", "mean"], ascending=[False, True])
        )
        starts = own[own["rate"] == rates.index[0]].drop_duplicates("seed") if len(rates) else own.iloc[:0]
        tables = [
            np.array([ranks.get(name, 0) for name in truth], dtype=np.float64)
            for truth, ranks in zip(starts["truth"], starts["ranks"], strict=True)
            if truth and ranks
        ]
        mean = over_pairs(tables, spearman)
        if mean is not None and plant in found.index:
            found[plant] = mean
    return found


def _summary(
    plants: pd.DataFrame, rows: Sequence[RowRuns], counted: pd.DataFrame, correlations: Sequence[str]
) -> pd.DataFrame:
    lines = {}
    names = [f"{name}{end}" for name in (*correlations, *MEASURES) for end in ("", "_low", "_high")]
    for number in plants.index.unique("row"):
        own = plants.loc[number]
        line: dict[str, Any] = {
            "method": rows[number].method,
            "title": rows[number].label,
            "plants": int(own["error"].notna().sum()),
            "regret_plants": int(own["regret"].notna().sum()),
            "rates": counted.loc[number, "rate"].value_counts().sort_index().to_dict(),
        }
        for name in (*correlations, *MEASURES):
            values = own[name].dropna().to_numpy(dtype=np.float64)
            line[name] = float(values.mean()) if len(values) else float("nan")
            line[f"{name}_low"], line[f"{name}_high"] = bootstrap_interval([values]) or (np.nan, np.nan)
        lines[number] = line
    columns = ["method", "title", "plants", "regret_plants", "rates", *names]
    frame = pd.DataFrame(list(lines.values()), index=list(lines), columns=columns)
    return frame.sort_values(["regret", "error"], kind="stable")


def _profile(counted: pd.DataFrame, number: int, label: str) -> RankProfile | None:
    """Found ranks with the layers in the order of the truth, the first start of every plant that has a score."""
    best = counted.loc[number].dropna(subset=["validation"]).reset_index().drop_duplicates("plant")
    lines = [
        [ranks.get(name, 0) for name in sorted(truth, key=truth.__getitem__)]
        for truth, ranks in zip(best["truth"], best["ranks"], strict=True)
        if truth and ranks
    ]
    if not lines or len({len(line) for line in lines}) > 1:
        return None
    return RankProfile(label, tuple(np.mean(lines, axis=0).tolist()), len(lines))
