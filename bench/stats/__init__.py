"""The statistics of the report, with numpy and scipy only; the unit of inference is the patient.

`scores` averages the cases of each patient; `intervals`, `flips` and `paired` give intervals and
tests of means and differences; `family` corrects for the number of tests; `ranking` ranks methods
over datasets; `power` plans a study and `calibrate` checks the tests on the user's own results.
"""

from bench.stats.intervals import LEVEL, Interval, interval

__all__ = ["LEVEL", "Interval", "interval"]
