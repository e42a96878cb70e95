"""What a reader may hand over."""

from __future__ import annotations

import numpy as np
import pytest

from bench.spec.case import Sample
from bench.spec.errors import UsageError


def sample(*spacing: float) -> Sample:
    pixels = np.zeros((4, 4), np.uint16)
    row, column = spacing
    return Sample("a1", "a", pixels, pixels.astype(np.uint8), (row, column))


@pytest.mark.parametrize(
    "side", [0.0, -1.0, float("nan"), float("inf"), 1e-300, 1e-9, 1e4, 1e9, 1e300]
)
def test_a_spacing_that_no_image_has_is_refused(side: float) -> None:
    for sides in ((side, 1.0), (1.0, side)):
        with pytest.raises(UsageError, match=r"case a1: its pixels are .* mm, expected"):
            sample(*sides)


@pytest.mark.parametrize("side", [4e-6, 2.5e-4, 0.1, 1.0, 30.0])
def test_microscopes_and_scanners_are_read(side: float) -> None:
    assert sample(side, side).spacing == (side, side)
