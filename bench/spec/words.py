"""How numbers and names are said to people: counts, and names that are too long."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "..."
"""Stands for what a shortened text leaves out."""


def p_words(p: float) -> str:
    """Return a p value as sentences have it, in the digits of the tables: `p = 0.0497`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def count(number: int, what: str, plural: str = "") -> str:
    """Return a number with its noun: `1 patient`, `2 patients`, `2 studies`.

    Args:
        number: How many.
        what: The noun for one.
        plural: The noun for several where it is not `what` with an s.
    """
    if number == 1:
        return f"1 {what}"
    return f"{number} {plural or f'{what}s'}"


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters: of a longer one the two ends stay.

    The options at the end of a method's name say what it is, so the middle goes.
    """
    if len(text) <= most:
        return text
    kept = max(2, most - len(GAP))
    first = (kept + 1) // 2
    return f"{text[:first]}{GAP}{text[len(text) - (kept - first) :]}"


def shortened_apart(texts: Sequence[str], most: int) -> dict[str, str]:
    """Return texts of at most `most` characters by the whole ones, longer where two look alike.

    Args:
        texts: What is shortened; equal ones count once.
        most: Characters of each, if that tells them apart.
    """
    wanted = list(dict.fromkeys(texts))
    longest = max(map(len, wanted), default=0)
    for length in range(most, longest):
        short = {text: shortened(text, length) for text in wanted}
        if len(set(short.values())) == len(wanted):
            return short
    return {text: text for text in wanted}
