"""Text as LaTeX that compiles with pdfLaTeX, XeLaTeX and LuaLaTeX, whatever its characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SPECIAL = {character: f"\\{character}" for character in "{}$&#_%"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\`{}",
    "†": r"\textsuperscript{\textdagger}",
    "‡": r"\textsuperscript{\textdaggerdbl}",
    "§": r"\textsuperscript{\S}",
    "°": r"$^\circ$",
}
_LETTERS = {
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "¶": r"\P{}",
    "©": r"\copyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
    "£": r"\pounds{}",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "„": ",,",
    "‐": "-",
    "‑": "-",
    "⁄": "/",
    "\u00a0": "~",
    "\u00ad": "",
    "\u200b": "",
    "\ufeff": "",
}
_MATHS = {
    "−": "-",
    "±": r"\pm",
    "∓": r"\mp",
    "×": r"\times",
    "÷": r"\div",
    "·": r"\cdot",
    "≥": r"\geq",
    "≤": r"\leq",
    "≠": r"\neq",
    "≈": r"\approx",
    "≡": r"\equiv",
    "∼": r"\sim",
    "≪": r"\ll",
    "≫": r"\gg",
    "∝": r"\propto",
    "∞": r"\infty",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "↔": r"\leftrightarrow",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "⇒": r"\Rightarrow",
    "⇔": r"\Leftrightarrow",
    "∈": r"\in",
    "∉": r"\notin",
    "⊂": r"\subset",
    "⊆": r"\subseteq",
    "∪": r"\cup",
    "∩": r"\cap",
    "∅": r"\emptyset",
    "∀": r"\forall",
    "∃": r"\exists",
    "∑": r"\sum",
    "∏": r"\prod",
    "∫": r"\int",
    "√": r"\surd",
    "∂": r"\partial",
    "∇": r"\nabla",
    "∘": r"\circ",
    "⊕": r"\oplus",
    "⊗": r"\otimes",
    "•": r"\bullet",
    "★": r"\star",
    "✓": r"\checkmark",
    "✗": r"\times",
    "«": r"\ll",
    "»": r"\gg",
    "ε": r"\varepsilon",
    "ϵ": r"\epsilon",
    "φ": r"\varphi",
    "ϕ": r"\phi",
    "ϑ": r"\vartheta",
    "ς": r"\varsigma",
    "ο": "o",
    "µ": r"\mu",
}
_GREEK = {
    **dict(
        zip("αβγδζηθ", ("alpha", "beta", "gamma", "delta", "zeta", "eta", "theta"), strict=True)
    ),
    **dict(zip("ικλμνξπ", ("iota", "kappa", "lambda", "mu", "nu", "xi", "pi"), strict=True)),
    **dict(zip("ρστυχψω", ("rho", "sigma", "tau", "upsilon", "chi", "psi", "omega"), strict=True)),
    **dict(zip("ΓΔΘΛΞ", ("Gamma", "Delta", "Theta", "Lambda", "Xi"), strict=True)),
    **dict(zip("ΠΣΥΦΨΩ", ("Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"), strict=True)),
}
_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True))
"""Greek capitals that look like Latin ones."""
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0331": "b",
}
"""Accents of LaTeX that all of its fonts have."""
_FORMS = {
    "<super>": r"\textsuperscript{{{}}}",
    "<sub>": "$_{{{}}}$",
    **dict.fromkeys(("<wide>", "<narrow>", "<small>", "<font>", "<compat>"), "{}"),
    **dict.fromkeys(("<square>", "<fraction>", "<noBreak>"), "{}"),
}
"""How a character is printed that Unicode calls a form of others."""
_PIECES = {
    **_SPECIAL,
    **_LETTERS,
    **{character: f"${command}$" for character, command in _MATHS.items()},
    **{character: rf"$\{command}$" for character, command in _GREEK.items()},
    **_LATIN,
}
COMMAND = r"\providecommand\benchchar[2]{{[}U+#1]}"
"""Defines what stands for a character that LaTeX's fonts lack: its number, and the character."""


_NUMBERED = re.compile(r"\\benchchar\{([0-9A-F]+)\}")
"""A character in escaped text that is printed by its number."""


def escape(text: str) -> str:
    r"""Return text with every character that LaTeX reads as a command made harmless.

    What its fonts lack becomes `\benchchar{4E2D}{...}`, which prints `[U+4E2D]` unless the paper
    defines it. A bracket or star in front is kept from the row's end before it, which would take
    it as its option.
    """
    pieces: list[str] = []
    before = ""
    for character in unicodedata.normalize("NFC", text):
        accent = _ACCENTS.get(character)
        piece = _piece(character)
        if accent and pieces:
            pieces[-1] = _accented(accent, pieces[-1])
        elif character == before and character in "-'":
            pieces.append("{}" + character)  # two of them are another sign
        else:
            pieces.append(_by_number(character) if piece is None else piece)
        before = character
    escaped = "".join(pieces)
    return "{}" + escaped if escaped.lstrip().startswith(("[", "*")) else escaped


def lacking(texts: Iterable[str]) -> list[str]:
    """Return the characters of texts that are printed by their number."""
    characters: dict[str, None] = {}
    for text in texts:
        numbers = [] if text.isascii() else _NUMBERED.findall(escape(text))
        for number in numbers:
            characters[chr(int(number, 16))] = None
    return list(characters)


def _piece(character: str) -> str | None:
    """Return a character as LaTeX; None where its fonts lack it."""
    if character in _PIECES:
        return _PIECES[character]
    if character.isascii():
        return character if character.isprintable() else " "
    base, *marks = list(unicodedata.normalize("NFD", character))
    if marks and base != character and all(mark in _ACCENTS for mark in marks):
        piece = _piece(base)
        for mark in marks:
            piece = piece and _accented(_ACCENTS[mark], piece)
        return piece
    return _alike(character)


def _alike(character: str) -> str | None:
    """Return what a character is a form of, as a wide bracket or a raised 2; None of others."""
    form, _, _ = unicodedata.decomposition(character).partition(" ")
    if form not in _FORMS:
        return None
    parts = [_piece(part) for part in unicodedata.normalize("NFKC", character)]
    if None in parts:
        return None
    return _FORMS[form].format("".join(filter(None, parts)))


def _accented(accent: str, piece: str) -> str:
    r"""Return a letter with an accent as LaTeX: `\'{e}`."""
    return f"\\{accent}{{{piece}}}"


def _by_number(character: str) -> str:
    """Return a character by its number, and itself for papers that can set it."""
    shown = character if character.isprintable() else "?"
    return rf"\benchchar{{{ord(character):04X}}}{{{shown}}}"
