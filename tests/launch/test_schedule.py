from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.launch.schedule import Schedule, longest_first, schedule

SECONDS = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=60)
SLOTS = st.integers(1, 80)


def lpt(seconds: list[float], slots: int) -> Schedule:
    return schedule(longest_first(seconds, lambda each: each), slots)


@given(SECONDS, SLOTS)
def test_any_order_ends_between_the_bound_and_grahams(seconds: list[float], slots: int) -> None:
    made = schedule(seconds, slots)
    even = math.fsum(seconds) / slots
    assert made.bound == max(max(seconds), even)
    assert (
        made.bound * (1 - 1e-12)
        <= made.wall
        <= (even + max(seconds) * (1 - 1 / slots)) * (1 + 1e-12)
    )
    assert 0 <= made.idle < 1
    assert made.tail >= 0
    assert made.tail <= max(seconds) * (1 + 1e-9)  # who is still at work then began before


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=6), st.integers(1, 3))
def test_longest_first_is_within_a_third_of_the_best_of_all_ways(
    seconds: list[float], slots: int
) -> None:
    made = lpt(seconds, slots)
    ways: list[tuple[float, ...]] = [(0.0,) * slots]
    for each in seconds:
        ways = [(*way[:k], way[k] + each, *way[k + 1 :]) for way in ways for k in range(slots)]
    best = min(max(way) for way in ways)
    assert made.bound <= best * (1 + 1e-12)
    assert best * (1 - 1e-12) <= made.wall <= best * (4 / 3 - 1 / (3 * slots)) * (1 + 1e-12)


@given(SECONDS, SLOTS)
def test_every_cell_runs_once_and_no_slot_has_two(seconds: list[float], slots: int) -> None:
    made = lpt(seconds, slots)
    assert sorted(made.seconds) == sorted(seconds)
    assert len(made.starts) == len(made.takers) == len(seconds)
    assert list(made.starts) == sorted(made.starts)
    ends = dict.fromkeys(range(slots), 0.0)
    for each, start, slot in zip(made.seconds, made.starts, made.takers, strict=True):
        assert (
            start == ends[slot] == min(ends.values())
        )  # as soon as the first slot is free, and not before
        ends[slot] = start + each
    assert made.wall == max(ends.values())


@given(SECONDS)
def test_one_slot_takes_the_sum_and_many_the_longest(seconds: list[float]) -> None:
    one, many = lpt(seconds, 1), lpt(seconds, len(seconds))
    assert one.wall == pytest.approx(math.fsum(seconds))
    assert (one.idle, one.tail) == (pytest.approx(0, abs=1e-12), 0)
    assert many.wall == max(seconds)


def test_longest_first_keeps_the_order_of_equals_and_puts_the_unknown_first() -> None:
    known = {"a": 1.0, "b": 3.0, "c": 3.0, "d": 2.0}
    assert longest_first("abcdx", lambda cell: known.get(cell, math.inf)) == [
        "x",
        "b",
        "c",
        "d",
        "a",
    ]


def test_a_long_cell_at_the_end_is_what_the_order_avoids() -> None:
    seconds = [1.0] * 8 + [4.0]
    late, early = schedule(seconds, 4), lpt(seconds, 4)
    assert (late.wall, late.tail, late.idle) == (6.0, 4.0, 0.5)
    assert (early.wall, early.bound, early.idle) == (4.0, 4.0, 0.25)
    assert early.tail == pytest.approx(2.0)


def test_it_is_grahams_worst_case() -> None:
    made = lpt([5.0, 5.0, 4.0, 4.0, 3.0, 3.0, 3.0], 3)
    assert (made.wall, made.bound) == (11.0, 9.0)  # 4/3 - 1/9 of the optimum, which is 9
