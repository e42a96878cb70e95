"""Text for LaTeX, and documents that compile alone and by input."""

from __future__ import annotations

from collections.abc import Sequence

_SPECIAL = {character: f"\\{character}" for character in "{}$&#_%"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"\textsuperscript{\textdagger}",
    "−": r"$-$",
}


def escape(text: str) -> str:
    """Return text with every character that LaTeX reads as a command made harmless."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def standalone(body: Sequence[str], *options: str) -> str:
    r"""Return LaTeX that compiles as it is, and that a paper with booktabs, graphicx and amssymb may \input as well.

    Args:
        body: The lines of a table.
        options: Of the page where it is compiled alone, such as `landscape`.
    """
    page = ",".join(["margin=15mm", *options])
    return "\n".join(
        [
            (
                r"% \input this file in a paper that uses booktabs, graphicx and amssymb, or"
                r" compile it as it is."
            ),
            r"\expandafter\ifx\csname @nodocument\endcsname\relax\else",
            rf"\documentclass[a4paper]{{article}}\usepackage[{page}]{{geometry}}",
            r"\usepackage{booktabs,graphicx,amssymb}\def\benchalone{1}\begin{document}\fi",
            *body,
            r"\expandafter\ifx\csname benchalone\endcsname\relax\else\end{document}\fi",
            "",
        ]
    )


def notes_under(lines: Sequence[str]) -> list[str]:
    """Return notes as small paragraphs for after a table: a float that holds them may outgrow the page and be cut."""
    return [r"{\footnotesize", *(rf"\noindent {escape(line)}\par" for line in lines), "}"]
