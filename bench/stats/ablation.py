"""The ablation: a method's on/off options in all combinations, and what each of them does, paired by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.spec import options, registry
from bench.spec.errors import UsageError, did_you_mean
from bench.stats import Interval, interval

MOST = 5
"""Factors at most: 32 arms."""


@dataclass(frozen=True)
class Arm:
    """One combination of the factors."""

    spec: str
    """The method's spec, as `bench run` takes it."""
    switches: tuple[bool, ...]
    """Whether each factor is on."""


def arms(spec: str, names: str, scale: str) -> tuple[tuple[str, ...], list[Arm]]:
    """Return the factors and their arms, all off first and all on last, as the paper's table 2 has them.

    Args:
        spec: A method with options; those that are switched may not be among them.
        names: The options to switch, separated by commas; empty for the method's own choice.
        scale: The profile's scale, which decides the options' defaults.

    Raises:
        UsageError: An option is no on/off option, is switched twice or given as well, or there is
            none.
    """
    specs = registry.expand(registry.METHODS, spec)
    if len(specs) > 1:
        raise UsageError(
            f"--method '{spec}' names {len(specs)} methods; an ablation switches one, such as"
            f" {specs[0]}"
        )
    spec = specs[0]
    name, *pairs = spec.split(":")
    cls = registry.load(registry.METHODS, name)
    known, given = options.options(cls), options.parse(name, pairs, cls)
    switches = [
        key for key, field in known.items() if isinstance(field.default, bool) and key != "tuned"
    ]
    usual: tuple[str, ...] = getattr(cls, "factors", ())
    factors = tuple(filter(None, (part.strip() for part in names.split(",")))) or usual
    if not factors:
        raise UsageError(
            f"{name} has no modules to switch; its on/off options: {', '.join(switches) or 'none'}"
        )
    for factor in factors:
        if factor not in switches:
            raise UsageError(
                f"{name} has no on/off option '{factor}'; {did_you_mean(factor, switches)}"
            )
        if factor in given or factors.count(factor) > 1:
            raise UsageError(
                f"--factors switches '{factor}', so it cannot be given in '{spec}' or twice; leave"
                " it out"
            )
    if len(factors) > MOST:
        raise UsageError(
            f"{len(factors)} factors make {2 ** len(factors)} arms; expected {MOST} factors at most"
        )
    defaults = {**{key: field.default for key, field in known.items()}, **cls.scales.get(scale, {})}
    made = []
    for reverse in product((False, True), repeat=len(factors)):
        values = dict(
            zip(factors, reversed(reverse), strict=True)
        )  # the first factor changes fastest
        changed = {key: value for key, value in values.items() if value != defaults[key]}
        made.append(
            Arm(
                options.canonical(name, given | changed, cls),
                tuple(values[factor] for factor in factors),
            )
        )
    return factors, made


@dataclass(frozen=True)
class Effect:
    """What a factor does, or what several do together beyond the sum of each; in fractions of a score."""

    name: str
    mean: float
    patients: Interval
    """95 % interval over patients."""
    seeds: Interval
    """95 % interval over seeds, NaN for one seed."""


@dataclass(frozen=True)
class Scores:
    """The arms' scores of the same patients under the same seeds."""

    arms: tuple[Arm, ...]
    factors: tuple[str, ...]
    values: NDArray[np.float64]
    """(arm, seed, patient): a patient's cases are averaged first."""

    @classmethod
    def of(
        cls,
        arms: Sequence[Arm],
        factors: tuple[str, ...],
        cases: pd.DataFrame,
        metric: str,
        row: str,
    ) -> Scores:
        """Arrange the cases of a dataset; `row` is empty for the answers, `prior` for that row.

        Raises:
            UsageError: The arms were not tested on the same patients under the same seeds.
        """
        suffix = f":{row}" if row else ""
        tables = []
        for arm in arms:
            mine = cases[cases.method == arm.spec + suffix]
            tables.append(
                mine.pivot_table(index="seed", columns="patient", values=metric, aggfunc="mean")
            )
        first = tables[0]
        for arm, table in zip(arms, tables, strict=True):
            same = table.index.equals(first.index) and table.columns.equals(first.columns)
            if not same or table.isna().to_numpy().any():
                raise UsageError(
                    f"{arm.spec} was not tested on the same patients and seeds as {arms[0].spec};"
                    " run again"
                )
        return cls(tuple(arms), factors, np.stack([table.to_numpy(float) for table in tables]))

    def effects(self) -> list[Effect]:
        """Return the main effects and all interactions.

        A main effect is the mean of the arms with the factor on, less that of those with it off. An
        interaction is the difference of differences: what a second factor adds to the effect of the
        first.
        """
        signs = np.where([arm.switches for arm in self.arms], 1.0, -1.0)
        found = []
        for size in range(1, len(self.factors) + 1):
            for chosen in combinations(range(len(self.factors)), size):
                weights = signs[:, list(chosen)].prod(1) * 2**size / len(self.arms)
                name = " x ".join(self.factors[i] for i in chosen)
                found.append(effect(name, np.tensordot(weights, self.values, 1)))
        return found


def effect(name: str, values: NDArray[np.float64]) -> Effect:
    """Return the mean of values (seed, patient) with its intervals."""
    return Effect(name, float(values.mean()), interval(values.mean(0)), interval(values.mean(1)))


def shared_weights(initial: Sequence[dict[str, str]]) -> tuple[int, int]:
    """Compare the arms' weights before training.

    A module is shared where two arms or more have one of that name whose tensors have the same
    names and shapes.

    Args:
        initial: `shape:digest` of each tensor, by name, of each arm under one seed.

    Returns:
        How many tensors the shared modules have, and how many of those start the same in all arms
            that share them.
    """
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for digests in initial:
        modules: dict[str, dict[str, str]] = {}
        for name, digest in digests.items():
            modules.setdefault(name.rpartition(".")[0], {})[name] = digest
        for module, tensors in modules.items():
            shapes = " ".join(
                f"{name} {digest.split(':')[0]}" for name, digest in sorted(tensors.items())
            )
            found.setdefault((module, shapes), []).append(tensors)
    shared = [each for each in found.values() if len(each) > 1]
    same = sum(len({tensors[name] for tensors in each}) == 1 for each in shared for name in each[0])
    return sum(len(each[0]) for each in shared), same
