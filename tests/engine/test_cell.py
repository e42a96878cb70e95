"""A cell whose method reports nothing, and one that does not fit into the device's memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.user import SMOKE, Bench

SILENT = '''
from dataclasses import dataclass
from torch import nn
from bench.spec.method import Method

@dataclass(frozen=True)
class Silent(Method):
    """Trains itself and does not report a step."""
    title = "Silent"
    source = "tests"

    def build(self, task):
        return nn.Conv2d(1, 1, 1)

    def fit(self, cases, task, work, device, seed, tell):
        return self.build(task)
'''


def test_a_method_that_trains_itself_must_report_a_step(
    bench: Bench, slices: Callable[..., Path]
) -> None:
    (bench.home / "silent.py").write_text(SILENT)
    said = bench.run(slices(), "./silent.py:Silent", code=1)
    assert "Silent reported no step of its training; expected fit to call tell(Note(" in said


def test_the_log_says_in_how_many_parts_a_batch_goes(
    bench: Bench, slices: Callable[..., Path]
) -> None:
    profile = bench.home / "three.toml"
    profile.write_text(SMOKE.replace("batch = 2", "batch = 3"))
    bench.run(slices(), "faulty:how=memory", "--profile", str(profile))
    (log,) = bench.home.rglob("log.txt")
    told = [line for line in log.read_text().splitlines() if line.startswith("out of the device")]
    assert [line.split(" go in ")[1] for line in told] == [
        "2 parts from now on",
        "3 parts from now on",
    ]
