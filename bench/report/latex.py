"""Text for LaTeX."""

from __future__ import annotations

_SPECIAL = {character: f"\\{character}" for character in "{}$&#_%"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


def escape(text: str) -> str:
    """Return text with every character that LaTeX reads as a command made harmless."""
    return "".join(_SPECIAL.get(character, character) for character in text)
