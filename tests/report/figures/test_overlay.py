from __future__ import annotations

import cv2
import numpy as np

from bench.report.figures import overlay


def test_a_false_positive_is_lighter_than_a_false_negative_also_on_grey_paper() -> None:
    image = np.arange(256, dtype=np.uint8)[None]
    yes, no = np.ones((1, 256), bool), np.zeros((1, 256), bool)
    grey = [
        cv2.cvtColor(overlay.tinted(image, *pair), cv2.COLOR_RGB2GRAY)
        for pair in ((yes, no), (no, yes))
    ]
    assert grey[0].min() > grey[1].max() + 10
    for hit in (yes, no):
        np.testing.assert_array_equal(overlay.tinted(image, hit, hit)[..., 0], image)
