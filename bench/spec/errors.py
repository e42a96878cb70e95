"""The one error that users are meant to read."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

from bench.spec.words import count

LONGEST = 2000
"""Characters of a line that is printed; the middle of a longer one is left out."""
JOINERS = "\u200c\u200d"
"""Characters without width that words of Persian or Hindi need between letters."""
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of controls, marks of direction, halves of characters and breaks of lines."""


def printable(text: str) -> str:
    """Return a text as one line that does nothing to a terminal or a log.

    Controls are shown as Python writes them, breaks of lines too; of a text that is too long the
    two ends stay.
    """
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]}... ({len(text) - 2 * half:,} characters) ...{text[-half:]}"
    return visible(text)


def visible(text: str) -> str:
    """Return a text of any length with its controls shown, breaks of lines too."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if unicodedata.category(character) in UNSEEN and character not in JOINERS:
        return character.encode("unicode_escape").decode("ascii")
    return character


class UsageError(Exception):
    """Wrong use or bad input: one line says what happened, what was expected and the remedy.

    Commands print the line and leave with exit code 2, before anything is trained. Names in it may
    hold anything; it is made printable here.
    """

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


class SeveralError(UsageError):
    """Several things are wrong with what was given: a line for each."""

    def __init__(self, lines: Iterable[str]) -> None:
        shown: dict[str, None] = {}
        for text in lines:
            shown.update(dict.fromkeys(map(printable, text.splitlines())))
        Exception.__init__(self, "\n".join(shown))


def short_list(names: Sequence[str], most: int = 3, what: str = "case") -> str:
    """Return how many there are and the first of them: `12 cases (a, b, c, ...)`."""
    more = ", ..." if len(names) > most else ""
    return f"{count(len(names), what)} ({', '.join(names[:most])}{more})"


def did_you_mean(given: str, valid: Iterable[str]) -> str:
    """Return a hint for a wrong name, such as `did you mean 'unet'? Valid: fcn, unet.`."""
    names = sorted(set(valid))
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}Valid: {', '.join(names) or 'none'}."
