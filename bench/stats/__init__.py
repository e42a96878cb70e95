"""Statistics that a paper can stand on: numbers only, the patient as the unit, no torch.

`scores` makes one value a patient of cases; `intervals`, `flips` and `paired` say how sure a mean
and a difference are; `family` corrects for how many were asked; `ranking` ranks over datasets;
`power` plans and `calibrate` checks all of it on one's own results.
"""

from bench.stats.intervals import LEVEL, Interval, interval

__all__ = ["LEVEL", "Interval", "interval"]
