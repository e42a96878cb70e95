r"""Macros that a paper defines: by LaTeX's commands, by xparse's, or by TeX's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.paper.tokens import Stream, Token, text_of, words_of

PARAMETERS = tuple("123456789")
"""How many parameters a macro may have."""
DEFINERS = {
    "newcommand": "latex",
    "renewcommand": "latex",
    "providecommand": "latex",
    "DeclareRobustCommand": "latex",
    "NewDocumentCommand": "xparse",
    "RenewDocumentCommand": "xparse",
    "ProvideDocumentCommand": "xparse",
    "DeclareDocumentCommand": "xparse",
    "def": "tex",
    "edef": "tex",
    "gdef": "tex",
    "xdef": "tex",
    "let": "let",
}
"""Commands that define a macro, with how they are written."""


@dataclass
class Macro:
    """What a command means."""

    kind: str = ""
    """A macro of `numbers.tex`; none for the paper's own."""
    body: tuple[Token, ...] = ()
    parameters: tuple[tuple[Token, ...] | None, ...] = ()
    """For each parameter what it is where it is left out; None where it cannot be."""
    is_plain: bool = True
    """Whether its parameters are of a form that can be followed."""
    is_used: bool = False


def meaning(stream: Stream, form: str, macros: Mapping[str, Macro]) -> Macro:
    """Take what stands behind the name of a macro that is defined.

    Args:
        stream: The tokens that wait.
        form: How the definition is written, of `DEFINERS`.
        macros: The macros by name.
    """
    if form == "let":
        return _other_name(stream, macros)
    parameters: tuple[tuple[Token, ...] | None, ...] | None
    if form == "latex":
        parameters = _latex_parameters(stream)
    elif form == "xparse":
        parameters = _xparse_parameters(stream.argument() or ())
    else:
        parameters = _tex_parameters(stream)
    body = stream.argument() or ()
    return Macro("", body, parameters or (), parameters is not None)


def _other_name(stream: Stream, macros: Mapping[str, Macro]) -> Macro:
    r"""Take the meaning that \let gives."""
    if stream.next_word() == "=":
        stream.pop()
    meant = text_of(stream.argument() or ()).removeprefix("\\")
    return macros.get(meant, Macro())


def _latex_parameters(stream: Stream) -> tuple[tuple[Token, ...] | None, ...]:
    r"""Take the parameters of \newcommand: `[2][default]`; only the first may have a default."""
    count = words_of(stream.option() or ())
    default = stream.option()
    parameters: list[tuple[Token, ...] | None] = [None] * (int(count) if count in PARAMETERS else 0)
    if parameters:
        parameters[0] = default
    return tuple(parameters)


def _tex_parameters(stream: Stream) -> tuple[None, ...] | None:
    r"""Take the parameters of \def; None where something stands between them."""
    taken = []
    while stream and stream.peek() != "{":
        taken.append(stream.pop())
    text = "".join(text_of(taken).split())
    count = text.count("#")
    plain = "".join(f"#{number + 1}" for number in range(count))
    return (None,) * count if text == plain else None


def _xparse_parameters(spec: Sequence[Token]) -> tuple[tuple[Token, ...] | None, ...] | None:
    """Return the parameters of `m O{default} o`; None where there are others."""
    parameters: list[tuple[Token, ...] | None] = []
    for kind, default in re.findall(r"([A-Za-z+!>])(?:\{([^{}]*)\})?", words_of(spec)):
        if kind == "m":
            parameters.append(None)
        elif kind in "oO":
            parameters.append(tuple(spec[0]._replace(text=part) for part in [default] if part))
        elif kind != "+":
            return None
    return tuple(parameters)


def filled(
    body: Sequence[Token], values: Sequence[tuple[Token, ...] | None], use: Token
) -> list[Token]:
    """Return a macro's body with its parameters in place, at the line of its use."""
    body_with_values: list[Token] = []
    is_parameter = False
    for token in body:
        text = token.text
        if text == "#" and not is_parameter:
            is_parameter = True
            continue
        if is_parameter and text[0].isdigit():
            number = int(text[0]) - 1
            body_with_values += values[number] or () if number < len(values) else ()
            text = text[1:]
        if text:
            body_with_values.append(Token(text, use.file, use.line, use.depth + 1))
        is_parameter = False
    return body_with_values
