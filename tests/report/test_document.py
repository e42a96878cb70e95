from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench.report import document
from bench.report.document import Block, Cell, Document, Head, Note, escape, latex, rounded


def test_latex_escapes_what_users_name() -> None:
    assert (
        escape("a_b & 5% #1 {x} $y$ \\z ~^")
        == r"a\_b \& 5\% \#1 \{x\} \$y\$ \textbackslash{}z \textasciitilde{}\textasciicircum{}"
    )


SHORT, LONG = "[short] MR: 2 patients.", "[long] A note that has much to say. " * 10
ODD = ("[size 0.5] net", "* star", "脊柱 α≥β é Ж 😀", 'a_b{}&%$#~^\\|<>"`')


def odd(rows: int = 1, heads: int = 2, *, blocks: int = 1) -> Document:
    """Return a document of texts that LaTeX could misread."""
    names = [f"{ODD[number % len(ODD)]} {number // 20}" for number in range(rows * len(ODD))]
    cells = [Cell("[1, 2]", "like")] * (heads - 1)
    part = Block(
        (Head("[Method]", "left"), *[Head("Dice α", group="[MR]")] * (heads - 1)),
        tuple((Cell(name), *cells) for name in names),
        caption="[a block]",
    )
    return Document(
        "odd", "Odd", "[Caption] of α", (part,) * blocks, (Note(SHORT), Note(LONG), Note(SHORT))
    )


def test_a_row_that_begins_with_a_bracket_is_no_option() -> None:
    lines = latex(odd()).splitlines()
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) == 5
    assert not any(line.startswith(("[", "*")) for line in lines)
    assert r"{}[Method] & Dice $\alpha$ \\ \midrule" in lines


def test_short_notes_stand_beneath_their_table_and_long_ones_begin_a_paragraph() -> None:
    text = latex(odd())
    inside, after = text.split(r"\end{threeparttable}")
    assert inside.count(r"\item {}[short] MR: 2 patients.") == 2
    assert "much to say" not in inside
    assert r"\par{\footnotesize" + "\n" + r"\noindent {}[a block]\par" in after
    assert r"\noindent {}[long] A note" in after


def test_a_full_page_leaves_no_room_for_notes() -> None:
    text = latex(odd(rows=7))  # 28 rows
    assert text.count(r"\item {}") == 2
    full = latex(odd(rows=8))  # 32 rows: a float for each name
    assert full.count(r"\begin{table}") > 1
    assert full.count(r"\item {}") == 2


def test_a_table_is_as_wide_as_it_needs() -> None:
    fit = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"
    assert latex(odd()).count(fit) == 1
    assert latex(odd(blocks=2)).count(fit) == 2


def test_characters_without_a_font_are_named() -> None:
    said = document.unprintable([odd()])
    assert "脊 U+810A, 柱 U+67F1, Ж U+0416, 😀 U+1F600" in said
    assert said in latex(odd())
    plain = Document("plain", "Plain", "α", (Block((Head("é"),), ((Cell("1"),),)),))
    assert document.unprintable([plain]) == ""
    assert "benchchar" not in latex(plain)


PAPERS = {
    "alone": "",
    "in a paper without threeparttable": "\\usepackage{booktabs,graphicx,amssymb}",
    "in a paper that sets the characters": (
        "\\usepackage{booktabs,graphicx,amssymb,threeparttable}\\newcommand\\benchchar[2]{(#1)}"
    ),
}


@pytest.mark.parametrize("how", PAPERS)
def test_odd_texts_compile(tmp_path: Path, how: str) -> None:
    compiler = shutil.which("pdflatex")
    if not compiler:
        pytest.skip("no LaTeX compiler is installed")
    name = "odd.tex"
    (tmp_path / name).write_text(latex(odd(rows=7, heads=12, blocks=2)), encoding="utf-8")
    if PAPERS[how]:
        name = "paper.tex"
        (tmp_path / name).write_text(
            f"\\documentclass[twocolumn]{{article}}{PAPERS[how]}\\begin{{document}}"
            "Before.\\input{odd.tex}After.\\end{document}"
        )
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", name],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout[-2000:].decode("latin-1")


def test_names_make_no_tag_link_or_line_of_markdown() -> None:
    evil = "a\x1b[31m\n# b <script>x</script> ![p](http://h/x.png) | c"
    block = Block(heads=(Head(evil, "left"),), rows=((Cell(evil),),), caption=evil)
    text = document.markdown(
        Document(name="n", heading=evil, caption=evil, blocks=(block,), notes=(Note(evil),))
    )
    assert "\x1b" not in text
    assert "<script" not in text
    assert "</script" not in text
    assert "](" not in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == [text.splitlines()[0]]
    assert text.count("a\\x1b[31m\\n# b &lt;script>x&lt;/script> ![p]\\(http") == 6


def test_sums_that_differ_in_their_last_bits_are_printed_alike() -> None:
    below, above = np.nextafter(80.135, 0), np.nextafter(80.135, 100)
    assert f"{below:.2f}" != f"{above:.2f}"
    assert rounded(below, ".2f") == rounded(above, ".2f") == rounded(80.135, ".2f")
    assert rounded(1.234567e-9, ".3g") == "1.23e-09"
