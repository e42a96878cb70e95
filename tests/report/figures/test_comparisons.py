from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report.figures import comparisons

NAMES = ["U-Net", "FCN", "Verdiff-Net, prior alone", "an oracle [told]"]


def square(values: list[list[float]]) -> pd.DataFrame:
    return pd.DataFrame(values, NAMES, NAMES)


P = square(
    [
        [1, 0.01, 0.3, np.nan],
        [0.01, 1, 0.0, np.nan],
        [0.3, 0.0, 1, np.nan],
        [np.nan, np.nan, np.nan, 1],
    ]
)


DIFFERENCES = square(
    [[0, 0.1, 0.01, -0.1], [-0.1, 0, -0.1, -0.2], [-0.01, 0.1, 0, -0.1], [0.1, 0.2, 0.1, 0]]
)


@pytest.mark.parametrize(("count", "times"), [(1, 1), (4, 2)])
def test_maps_and_diagrams_are_drawn_the_same_each_time(
    count: int, times: int, tmp_path: Path
) -> None:
    part = P.iloc[:count, :count]
    ranks = pd.Series(np.arange(1.0, count + 1), part.index)
    chances = pd.DataFrame(np.eye(count), part.index, range(1, count + 1))
    made = []
    for number in range(times):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths = {
            what: [folder / f"{what}.png", folder / f"{what}.pdf"]
            for what in ("pairs", "ranks", "diagram")
        }
        comparisons.significance(part, DIFFERENCES.iloc[:count, :count], "MR, Dice", paths["pairs"])
        comparisons.ranks(chances, "MR, Dice", paths["ranks"])
        comparisons.critical_difference(
            {"MR": ranks, "CT": ranks},
            {"MR": part, "CT": part},
            {"MR": part < 0, "CT": part < 0},
            "Dice",
            paths["diagram"],
        )
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[-1]
    assert len(made[0]) == 6


def test_a_diagram_joins_what_the_tests_do_not_tell_apart_and_dashes_what_is_in_doubt() -> None:
    ranks = pd.Series([1.0, 2.0, 3.0], NAMES[:3])
    p = pd.DataFrame([[1, 0.3, 0.01], [0.3, 1, 0.02], [0.01, 0.02, 1]], NAMES[:3], NAMES[:3])
    sure = comparisons.lines_of(ranks, p, p < 0)
    assert sure == [comparisons.Line((0, 1))]
    doubt = p == 0.02
    lines = comparisons.lines_of(ranks, p, doubt)
    assert lines == [comparisons.Line((0, 1)), comparisons.Line((1, 2), dashed=True)]


def test_p_values_are_short_and_never_zero() -> None:
    assert [comparisons.shown(p) for p in (0.0, 0.0009, 0.0234, 0.4, 0.999, 1.0, np.nan)] == [
        "p<.001",
        "p<.001",
        "p=.023",
        "p=.400",
        "p=1",
        "p=1",
        "",
    ]
    assert [comparisons.shown(p) for p in (0.0497, 0.0503)] == ["p=.0497", "p=.0503"]
