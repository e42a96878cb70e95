"""Text that a spreadsheet would compute: quoted where it is written, as it was where it is read."""

from __future__ import annotations

import re

_COMPUTED = re.compile(r"'*[=@+\t\r-].", re.DOTALL)
"""How a text begins that a spreadsheet computes, with quotes before it or without."""
_SIGNED = re.compile(r"[+-][\d.,eE±%()\[\] †‡§°*+-]*|- .*")
"""Numbers with a sign, and what no spreadsheet computes."""


def harmless(text: str) -> str:
    """Return a value to be written, with a quote before what a spreadsheet would compute."""
    if _COMPUTED.match(text) and not _SIGNED.fullmatch(text):
        return f"'{text}"
    return text


def as_it_was(text: str) -> str:
    """Return a value that was read, without the quote that `harmless` put before it."""
    if text.startswith("'") and harmless(text[1:]) == text:
        return text[1:]
    return text
