"""How often the report's marks and verdicts are wrong in simulated worlds; writes CALIBRATION.md.

Run from the repository's root: ``python -m tests.stats.calibration``; it takes some minutes. Scores
are simulated, and go through the functions that print marks, verdicts and equivalence.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.spec.machine import cores, processor
from bench.stats.calibrate import FLIPS
from bench.stats.family import STAR, WEIGHTS, Family, against, all_pairs
from bench.stats.outliers import SEEN_FROM
from bench.stats.paired import EQUIVALENT_FROM, ROPE
from bench.stats.scores import PatientScores

PAGE = Path(__file__).with_name("CALIBRATION.md")
ROUNDS = 400
POINT = 0.01
Values = NDArray[np.float64]
Looks = Literal["", "undeclared", "declared"]


@dataclass(frozen=True)
class World:
    """How scores are simulated; differences are in points of Dice."""

    title: str
    patients: int = 126
    methods: int = 4
    seeds: int = 3
    folds: int = 1
    of_runs: float = 0.0
    """Standard deviation between the runs of a method, of each fold's model alone."""
    failing: float = 0.0
    """Share of patients on which the second method fails; its mean is that of the others."""
    skewed: bool = False
    """Whether differences between methods are log-normal, with a long tail."""
    ahead: float = 0.0
    """By how much the first method is truly better."""
    looks: Looks = ""
    """Whether results are looked at after each seed from the second on: p is corrected as for looks
    that nobody declared, or as for declared ones."""

    def draw(self, rng: np.random.Generator) -> PatientScores:
        """Return scores of a world."""
        shape = (self.seeds, self.patients, self.methods)
        values = 80 + rng.normal(0, 5, (1, self.patients, 1))
        values = values + self._own(rng) + rng.normal(0, 1, shape)
        models = rng.normal(0, self.of_runs, (self.seeds, self.folds, self.methods))
        values += models[:, np.arange(self.patients) % self.folds]
        values[:, :, 0] += self.ahead
        if self.failing:
            fails = rng.random(self.patients) < self.failing
            cost = 80.0
            values[:, :, 1] += self.failing * cost
            values[:, fails, 1] -= cost
        return PatientScores(
            column="mr@real-1",
            source="real",
            metric="dice",
            methods=tuple(f"m{number}" for number in range(self.methods)),
            patients=tuple(f"p{number}" for number in range(self.patients)),
            seeds=tuple(range(35, 35 + self.seeds)),
            values=POINT * values,
        )

    def _own(self, rng: np.random.Generator) -> Values:
        """Return what a method's scores of a patient have of their own, of mean 0 and SD 1.4."""
        shape = (1, self.patients, self.methods)
        if not self.skewed:
            return rng.normal(0, 1.4, shape)
        heavy = rng.lognormal(0, 1, shape)
        mean, deviation = np.exp(0.5), np.sqrt((np.e - 1) * np.e)
        return np.asarray(-1.4 * (heavy - mean) / deviation)


@dataclass(frozen=True)
class Counted:
    """Of so many worlds, those in which the report claims something."""

    world: World
    star: int = 0
    weights: int = 0
    """The mark of one seed, which speaks of these weights."""
    brackets: int = 0
    """A mark in brackets: failures that so few patients do not show could undo it."""
    verdict: int = 0
    """Better or worse, of the methods, beyond doubt."""
    dagger: int = 0
    """A method of table 1 without its mark, of the methods, where the first is the baseline."""
    undeclared: int = 0
    """The same where no comparison was declared."""
    equivalent: int = 0
    afterwards: int = 0
    """The best method, made the baseline afterwards, is called better than another."""


def count(world: World, rounds: int = ROUNDS) -> Counted:
    """Put the worlds through the report's functions."""
    rng = np.random.default_rng(35)
    counted = Counted(world)
    for _ in range(rounds):
        scores = world.draw(rng)
        if world.looks:
            counted = replace(counted, star=counted.star + _has_star_at_a_look(world, scores))
            continue
        family = against(scores, scores.methods[0], flips=FLIPS)
        best = scores.methods[int(scores.means.mean(0).argmax())]
        pairs = all_pairs(scores, flips=FLIPS)
        later = against(scores, best, flips=FLIPS, of_all=pairs)
        told = bool(pairs.with_declared(family).below(best))
        marks = {comparison.mark for comparison in family.comparisons}
        several = world.seeds > 1
        counted = replace(
            counted,
            star=counted.star + (STAR in marks),
            weights=counted.weights + (WEIGHTS in marks),
            brackets=counted.brackets + bool(marks - {STAR, WEIGHTS, ""}),
            verdict=counted.verdict + (several and _claims(family)),
            dagger=counted.dagger + (several and told),
            undeclared=counted.undeclared + (several and bool(pairs.below(best))),
            equivalent=counted.equivalent + _is_equivalent(family),
            afterwards=counted.afterwards + (several and _claims(later)),
        )
    return counted


def _has_star_at_a_look(world: World, scores: PatientScores) -> bool:
    """Return whether a star is seen at any look, of which there is one after each added seed."""
    many = world.seeds - 1
    for look in range(1, many + 1):
        seeds = slice(0, look + 1)
        now = replace(scores, seeds=scores.seeds[seeds], values=scores.values[seeds])
        looks = many
        if world.looks == "undeclared":
            looks = 2**look if look > 1 else 1
        family = against(now, now.methods[0], flips=FLIPS, looks=looks)
        if any(comparison.mark == STAR for comparison in family.comparisons):
            return True
    return False


def _claims(family: Family) -> bool:
    return any(comparison.claims for comparison in family.comparisons)


def _is_equivalent(family: Family) -> bool:
    return any(comparison.verdict == "equivalent" for comparison in family.comparisons)


def equal() -> list[World]:
    """Return worlds in which all methods are equal."""
    worlds = []
    for seeds in (1, 3):
        for patients in (9, 25, 126):
            worlds.append(World("runs do not vary", patients, seeds=seeds))
    worlds.append(World("runs do not vary", methods=10))
    for seeds in (1, 2, 3, 5):
        worlds.append(World("runs vary by 1 point", seeds=seeds, of_runs=1))
    for patients in (9, 25):
        worlds.append(World("runs vary by 1 point", patients, of_runs=1))
    worlds.append(World("runs vary by 1 point", methods=10, of_runs=1))
    for seeds in (1, 3):
        worlds.append(World("runs vary by 1 point", seeds=seeds, folds=5, of_runs=1))
    ways: tuple[Looks, ...] = ("undeclared", "declared")
    for looks in ways:
        title = f"runs vary by 1 point, looked at after each seed, looks {looks}"
        worlds.append(World(title, seeds=5, of_runs=1, looks=looks))
    for patients in (9, 25, 60, 126):
        for seeds in (1, 3):
            title = "one method fails on 5 % of patients"
            worlds.append(World(title, patients, methods=2, seeds=seeds, failing=0.05))
    return worlds


def half_a_point() -> list[World]:
    """Return worlds in which the first of two methods is ahead by the region of equivalence."""
    ahead = 100 * ROPE
    worlds = []
    for patients in (6, 12, 43, 126):
        title = "skewed"
        worlds.append(World(title, patients, methods=2, skewed=True, ahead=ahead))
    for seeds in (2, 3, 5):
        title = "runs vary by a quarter point"
        worlds.append(World(title, methods=2, seeds=seeds, of_runs=0.25, ahead=ahead))
    return worlds


def power() -> list[World]:
    """Return worlds of two methods of which the first is truly better."""
    worlds = []
    for ahead in (0.5, 1.0, 2.0):
        for patients in (9, 25, 43, 126):
            for seeds in (1, 3, 5):
                title = f"ahead by {ahead:g} points"
                worlds.append(World(title, patients, 2, seeds, of_runs=0.5, ahead=ahead))
    return worlds


def percent(number: int) -> str:
    """Return a count as a percentage of the worlds."""
    return f"{100 * number / ROUNDS:.1f}"


def table(rows: Sequence[Counted], columns: dict[str, Callable[[Counted], int]]) -> list[str]:
    """Return the lines of a Markdown table."""
    heads = ["world", "methods", "patients", "seeds", "folds", *columns]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for row in rows:
        world = row.world
        numbers = (world.methods, world.patients, world.seeds, world.folds)
        shares = [percent(value(row)) for value in columns.values()]
        lines.append(f"| {world.title} | {' | '.join(map(str, numbers))} | {' | '.join(shares)} |")
    return lines


def page(rows: Sequence[Counted]) -> str:
    """Return the page."""
    false = [row for row in rows if row.world in equal()]
    near = [row for row in rows if row.world in half_a_point()]
    found = [row for row in rows if row.world in power()]
    lines = [
        "# How often marks and verdicts are wrong",
        "",
        f"`python -m tests.stats.calibration`: {ROUNDS} simulated worlds a row, {FLIPS:,} flips a",
        f"test; {processor()}, Python {platform.python_version()}. Percent of worlds in which at",
        "least one claim of a kind is made; nominal is 5 %, with a standard error of 1.1. A star,",
        "a verdict and a method of table 1 without its mark speak of methods. With one seed there",
        "is none of them: ° speaks of the weights that were compared, and is right about them.",
        "Where results are looked at after each seed, from the second on, only stars are counted.",
        "",
        "## Equal methods: every claim is wrong",
        "",
        *table(
            false,
            {
                "star": lambda row: row.star,
                "verdict": lambda row: row.verdict,
                "a method without †": lambda row: row.dagger,
                "the same, none declared": lambda row: row.undeclared,
                "best made the baseline afterwards": lambda row: row.afterwards,
                "° (weights)": lambda row: row.weights,
                "in brackets": lambda row: row.brackets,
            },
        ),
        "",
        f"Under {SEEN_FROM} patients a mark is in brackets where unseen failures could undo it.",
        "Declared pairs have the p of their family in table 1 too, so that a pair has one p; this",
        "makes a method without † a little more frequent.",
        "",
        f"## {100 * ROPE:g} points apart: `equivalent` is wrong",
        "",
        *table(near, {"equivalent": lambda row: row.equivalent}),
        "",
        f"Under {EQUIVALENT_FROM} patients nothing is called equivalent.",
        "",
        "## Power: a true difference is found",
        "",
        "Runs vary by half a point.",
        "",
        *table(
            found,
            {
                "star": lambda row: row.star,
                "° (weights)": lambda row: row.weights,
                "in brackets": lambda row: row.brackets,
            },
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate, and write the page."""
    worlds = [*equal(), *half_a_point(), *power()]
    with ProcessPoolExecutor(cores()) as pool:
        PAGE.write_text(page(list(pool.map(count, worlds))), encoding="utf-8")


if __name__ == "__main__":
    main()
