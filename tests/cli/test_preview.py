from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.cli.preview import sheet
from bench.spec.case import Case, Dataset

PATIENTS = ("$^0^$", r"$\frac{1$", "_", "%", "\\", "{", "<b>", "x" * 300)


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # the long name
def test_a_name_is_no_formula(tmp_path: Path) -> None:
    cases = tuple(Case(f"c{i}", patient, 4, 4, None) for i, patient in enumerate(PATIENTS))
    images = np.zeros(16 * len(cases), np.uint16)
    masks = np.zeros(16 * len(cases), np.uint8)
    starts = tuple(range(0, 16 * len(cases), 16))
    dataset = Dataset("$a^$", "real", "0" * 64, cases, images, masks, starts, (), frozenset())
    sheet(dataset, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()
