"""Text that a spreadsheet would compute is harmless where it is written."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from bench.spec import formulas


@given(st.text("=+-@'\t a1,|", max_size=6))
def test_what_a_spreadsheet_would_compute_is_written_as_text_and_read_as_it_was(text: str) -> None:
    written = formulas.harmless(text)
    assert formulas.as_it_was(written) == text
    assert not re.match(r"[=@\t].", written)
    assert formulas.as_it_was(text) == text or text.startswith("'")
