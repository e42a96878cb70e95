from __future__ import annotations

from bench.report.document import escape


def test_latex_escapes_what_users_name() -> None:
    assert (
        escape("a_b & 5% #1 {x} $y$ \\z ~^")
        == r"a\_b \& 5\% \#1 \{x\} \$y\$ \textbackslash{}z \textasciitilde{}\textasciicircum{}"
    )
