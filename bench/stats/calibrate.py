"""How often the report's own marks and verdicts are wrong, in worlds like one's own results.

The worlds go through the functions that print star, dagger, verdict and equivalence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.spec.config import SEED
from bench.stats.family import STAR, WEIGHTS, Correction, Family, against, all_pairs
from bench.stats.intervals import LEVEL, Interval
from bench.stats.paired import ROPE
from bench.stats.scores import PatientScores
from bench.stats.worlds import Worlds

ROUNDS = 2_000
"""Worlds of each kind."""
FLIPS = 1_999
"""Random flips of a test, a fiftieth of the report's: there are 2,000 worlds."""
MARK, VERDICT = "a mark in the comparisons", "a verdict better or worse"
DAGGER, EQUIVALENT = "a method of table 1 without its mark", "a verdict equivalent"
"""The four claims that are counted: whether a world has at least one of them."""


@dataclass(frozen=True)
class Rate:
    """In how many worlds the report claims what is not true."""

    column: str
    claim: str
    """One of MARK, VERDICT, DAGGER and EQUIVALENT."""
    truth: str
    """What is true in these worlds."""
    correction: Correction
    wrong: int
    rounds: int
    interval: Interval
    """Clopper and Pearson's 95 %."""

    @property
    def rate(self) -> float:
        """Share of worlds."""
        return self.wrong / self.rounds


Kind = Literal["equal", "ahead", "table"]
"""Worlds of equal methods for the comparisons; worlds whose first method is ahead by the region of
practical equivalence; worlds of equal methods for table 1."""


@dataclass(frozen=True)
class Task:
    """Worlds of one kind, to be counted by a process."""

    worlds: Worlds
    kind: Kind
    correction: Correction
    rounds: int
    seed: int

    def rates(self) -> list[Rate]:
        """Return how often the report is wrong, for each claim that this kind of world tests."""
        if self.kind == "table":
            return [self._rate(DAGGER, sum(map(_is_told_apart, self._drawn())))]
        baseline = self.worlds.scores.methods[0]
        families = []
        for world in self._drawn():
            families.append(against(world, baseline, correction=self.correction, flips=FLIPS))
        if self.kind == "ahead":
            return [self._rate(EQUIVALENT, sum(map(_has_equivalent, families)))]
        return [
            self._rate(MARK, sum(map(_has_mark, families))),
            self._rate(VERDICT, sum(map(_has_verdict, families))),
        ]

    @property
    def _ahead(self) -> float:
        return ROPE if self.kind == "ahead" else 0.0

    def _drawn(self) -> Iterator[PatientScores]:
        """Yield the scores of each world, which are the same whenever they are drawn."""
        rng = np.random.default_rng(self.seed)
        for _ in range(self.rounds):
            yield self.worlds.draw(rng, self._ahead)

    def _rate(self, claim: str, wrong: int) -> Rate:
        """Return in how many worlds a claim was wrong, with its Clopper-Pearson interval."""
        from scipy.stats import binomtest

        ends = binomtest(wrong, self.rounds).proportion_ci(LEVEL, method="exact")
        truth = "all methods equal"
        if self._ahead:
            truth = f"the first ahead by {100 * self._ahead:g} points"
        return Rate(
            column=self.worlds.scores.column,
            claim=claim,
            truth=truth,
            correction=self.correction,
            wrong=wrong,
            rounds=self.rounds,
            interval=(float(ends.low), float(ends.high)),
        )


def tasks(scores: PatientScores, rounds: int = ROUNDS, seed: int = SEED) -> list[Task]:
    """Return what is to be counted of one dataset; nothing where no two methods share two patients.

    The first method is the baseline of every family.
    """
    worlds = Worlds.like(scores)
    seeds, patients, methods = worlds.scores.values.shape
    if patients < 2 or methods < 2:
        return []
    # With several seeds the report never corrects by max-T.
    corrections: tuple[Correction, ...] = ("holm",) if seeds > 1 else ("holm", "max-t")
    wanted = []
    for correction in corrections:
        wanted.append(Task(worlds, "equal", correction, rounds, seed))
        wanted.append(Task(worlds, "ahead", correction, rounds, seed))
    correction_of_table = corrections[-1]
    return [*wanted, Task(worlds, "table", correction_of_table, rounds, seed)]


def _has_mark(family: Family) -> bool:
    return any(comparison.mark in (STAR, WEIGHTS) for comparison in family.comparisons)


def _has_verdict(family: Family) -> bool:
    return any(comparison.claims for comparison in family.comparisons)


def _has_equivalent(family: Family) -> bool:
    return any(comparison.verdict == "equivalent" for comparison in family.comparisons)


def _is_told_apart(world: PatientScores) -> bool:
    """Return whether table 1 tells a method from the best."""
    means = world.sign * world.means.mean(0)
    best = world.methods[int(means.argmax())]
    return bool(all_pairs(world, flips=FLIPS).below(best))
