"""The ablation: a method's on/off options in all combinations, and the effect of each option.

Effects are paired by patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.spec.arms import Arm
from bench.spec.errors import UsageError
from bench.spec.names import Row
from bench.stats import Interval, interval
from bench.stats.family import corrected_for_looks, holm
from bench.stats.paired import primary_p


@dataclass(frozen=True)
class Effect:
    """The effect of one factor, or the interaction of several, in the unit of the score."""

    name: str
    mean: float
    patients: Interval
    """95 % interval over patients."""
    seeds: Interval
    """95 % interval over seeds, NaN for one seed."""
    p: float
    """Of the primary test, corrected for all effects of the ablation and for the looks."""


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
        """Arrange the cases of a dataset.

        Args:
            arms: The arms of the ablation.
            factors: Names of the options that the arms switch on and off.
            cases: The rows of the dataset in `Store.cases`.
            metric: Name of a metric.
            row: Empty for a method's own predictions, `prior` for its priors.

        Raises:
            UsageError: The arms were not tested on the same patients under the same seeds.
        """
        tables = []
        for arm in arms:
            of_arm = cases[cases.method == Row(arm.spec, row).key]
            tables.append(
                of_arm.pivot_table(index="seed", columns="patient", values=metric, aggfunc="mean")
            )
        first = tables[0]
        for arm, table in zip(arms, tables, strict=True):
            same = table.index.equals(first.index) and table.columns.equals(first.columns)
            if not same or table.isna().to_numpy().any():
                raise UsageError(
                    f"{arm.spec} was not tested on the same patients and seeds as {arms[0].spec}; "
                    "run again"
                )
        return cls(tuple(arms), factors, np.stack([table.to_numpy(float) for table in tables]))

    def contrasts(self) -> dict[str, NDArray[np.float64]]:
        """Return the main effects and all interactions by name, each (seed, patient).

        A main effect is the mean of the arms with the factor on minus the mean of the arms with it
        off. An interaction is the difference of two such differences: how much the effect of one
        factor changes when the other is on.
        """
        signs = np.where([arm.switches for arm in self.arms], 1.0, -1.0)  # (arm, factor)
        contrasts = {}
        for size in range(1, len(self.factors) + 1):
            for chosen in combinations(range(len(self.factors)), size):
                # 2**size turns the mean over all arms into one over those of a combination.
                weights = signs[:, list(chosen)].prod(1) * 2**size / len(self.arms)
                name = " x ".join(self.factors[i] for i in chosen)
                contrasts[name] = np.tensordot(weights, self.values, axes=1)
        return contrasts


def effects(contrasts: Mapping[str, NDArray[np.float64]], looks: int = 1) -> list[Effect]:
    """Return the effects of contrasts (seed, patient) by name, all tested as one family.

    The test is the primary one, as of two methods; p is corrected by Holm for the number of
    effects, and by Bonferroni for the looks.
    """
    by_seed = np.stack(list(contrasts.values()), axis=2)  # (seed, patient, effect)
    adjusted = corrected_for_looks(holm(primary_p(by_seed)), looks)
    return [
        Effect(
            name=name,
            mean=float(contrast.mean()),
            patients=interval(contrast.mean(0)),
            seeds=interval(contrast.mean(1)),
            p=float(p),
        )
        for (name, contrast), p in zip(contrasts.items(), adjusted, strict=True)
    ]


def shared_weights(initial: Sequence[dict[str, str]]) -> tuple[int, int]:
    """Compare the arms' weights before training.

    A module is shared when at least two arms have a module of that name, and its tensors have the
    same names and shapes.

    Args:
        initial: `shape:digest` of each tensor, by name, of each arm under one seed.

    Returns:
        How many tensors the shared modules have, and how many of them have the same initial values
            in all arms that share them.
    """
    # For each module's name and shapes, the tensors of the arms that have such a module.
    by_module: dict[tuple[str, str], list[dict[str, str]]] = {}
    for digests in initial:
        modules: dict[str, dict[str, str]] = {}
        for name, digest in digests.items():
            module_name = name.rpartition(".")[0]
            modules.setdefault(module_name, {})[name] = digest
        for module, tensors in modules.items():
            named = sorted(tensors.items())
            shapes = " ".join(f"{name} {digest.split(':')[0]}" for name, digest in named)
            by_module.setdefault((module, shapes), []).append(tensors)
    shared = same = 0
    for arms_tensors in by_module.values():
        if len(arms_tensors) < 2:
            continue
        for name in arms_tensors[0]:
            shared += 1
            same += len({tensors[name] for tensors in arms_tensors}) == 1
    return shared, same
