"""Worlds like one's own results, of which the truth is known: all methods are equal in the mean.

A world has the patients, the outliers and the variation between runs of the results. Its patients
are drawn from the results' own, with all methods together; what differs from run to run is drawn
for each method alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.stats.scores import PatientScores


@dataclass(frozen=True)
class Worlds:
    """What the scores of a dataset are drawn from."""

    scores: PatientScores
    """The results: the patients and seeds that all methods have."""
    base: NDArray[np.float64]
    """(patient, method): means over seeds, moved so that all methods have the same mean."""
    of_runs: NDArray[np.float64]
    """(method): standard deviation between the means of runs; 0 where there is one seed."""
    rest: NDArray[np.float64]
    """(seed, patient, method): what is left of a run's score, scaled to its true variance."""

    @classmethod
    def like(cls, scores: PatientScores) -> Worlds:
        """Return the worlds that are like a dataset's results."""
        whole = scores.complete()
        values = whole.values
        seeds, patients, _ = values.shape
        of_patients, of_seeds = values.mean(0), values.mean(1)
        means = of_patients.mean(0)
        base = of_patients - means + means.mean()
        if seeds < 2 or patients < 2:
            return cls(whole, base, np.zeros(len(means)), np.zeros_like(values))
        rest = values - of_patients - of_seeds[:, None] + means
        noise = (rest**2).sum((0, 1)) / ((seeds - 1) * (patients - 1))
        between = of_seeds.var(0, ddof=1) - noise / patients
        # Residuals vary less than what they are the residuals of: means were taken off.
        to_true_variance = np.sqrt(seeds * patients / ((seeds - 1) * (patients - 1)))
        return cls(
            scores=whole,
            base=base,
            of_runs=np.sqrt(np.maximum(between, 0)),
            rest=to_true_variance * rest,
        )

    def draw(self, rng: np.random.Generator, ahead: float = 0.0) -> PatientScores:
        """Return a world's scores, in which the first method is truly ahead of all others.

        Args:
            rng: Source of the world.
            ahead: By how much; 0 for equal methods.
        """
        seeds, patients, methods = self.scores.values.shape
        chosen = rng.integers(0, patients, size=(patients,))
        seed_of_rest = rng.integers(0, seeds, size=(seeds, patients, methods))
        rest = self.rest[seed_of_rest, chosen[:, None], np.arange(methods)]
        runs = rng.normal(0, self.of_runs, (seeds, methods))
        values = self.base[chosen] + runs[:, None] + rest
        values[:, :, 0] += self.scores.sign * ahead
        return replace(self.scores, values=values)
