"""The one error that users are meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """Wrong use or bad input: one line says what happened, what was expected and the remedy.

    Commands print the line and leave with exit code 2, before anything is trained.
    """


def did_you_mean(given: str, valid: Iterable[str]) -> str:
    """Return a hint for a wrong name, such as `did you mean 'unet'? Valid: fcn, unet.`."""
    names = sorted(valid)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}Valid: {', '.join(names) or 'none'}."
