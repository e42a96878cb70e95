"""The one error that users are meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UsageError(Exception):
    """Wrong use or bad input: one line says what happened, what was expected and the remedy.

    Commands print the line and leave with exit code 2, before anything is trained.
    """


def short_list(names: Sequence[str], most: int = 3, what: str = "case") -> str:
    """Return how many there are and the first of them: `12 cases (a, b, c, ...)`."""
    more = ", ..." if len(names) > most else ""
    return f"{len(names)} {what}{'s' * (len(names) != 1)} ({', '.join(names[:most])}{more})"


def did_you_mean(given: str, valid: Iterable[str]) -> str:
    """Return a hint for a wrong name, such as `did you mean 'unet'? Valid: fcn, unet.`."""
    names = sorted(valid)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}Valid: {', '.join(names) or 'none'}."
