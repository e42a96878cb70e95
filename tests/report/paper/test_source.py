"""How a paper is read: its files, its macros, and what is left unread."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.report.paper.source import Paper, read

NUMBERS = "\\benchset{Dice}{mr}{unet}{81.25}\n"
DICE = ("Dice", "mr", "unet")


def written(folder: Path, text: str, **files: str) -> Path:
    """Write a paper and further files beside it; `a__b` is b in the folder a."""
    for name, inner in {"numbers": NUMBERS, **files}.items():
        path = folder / (name.replace("__", "/") + ".tex")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(inner)
    path = folder / "paper.tex"
    path.write_text(
        "\\documentclass[a4paper,margin=2.5cm]{article}\n\\input{numbers}\n"
        f"\\begin{{document}}\n{text}\n\\end{{document}}\n"
    )
    return path


def places(paper: Paper) -> list[str]:
    """Return the uses with their file and line."""
    uses = (*paper.numbers, *paper.claims)
    return [f"{use.file.name}:{use.line} {use}" for use in uses]


INPUTS = {
    "a name in braces": r"\input{chap}",
    "a name without braces": r"\input chap",
    "a name with its suffix": "\\input chap.tex\n",
    "a name in quotes": r'\input "chap"',
    "include": r"\include{chap}",
    "subfile": r"\subfile{chap}",
    "import from a folder": r"\import{part/}{inner}",
    "import without the slash": r"\import{part}{inner}",
    "import with a star": r"\import*{part/}{inner}",
    "subimport": r"\subimport{part/}{inner}",
    "inputfrom": r"\inputfrom{part/}{inner.tex}",
    "a name in a macro": r"\newcommand\where{chap}\input{\where}",
    "a macro that inputs": r"\newcommand\take[1]{\input{#1}}\take{chap}",
    "where it exists": r"\InputIfFileExists{chap}{}{}",
    "a chapter in a chapter": r"\input{outer}",
}


@pytest.mark.parametrize("how", INPUTS)
def test_files_are_read_however_they_come(tmp_path: Path, how: str) -> None:
    use = "one\n\\benchDice{mr}{unet}"
    more = {"chap": use, "part__inner": use, "outer": "\\input chap"}
    paper = read(written(tmp_path, INPUTS[how], **more))
    [place] = places(paper)
    assert place in (
        r"chap.tex:2 \benchDice{mr}{unet}",
        r"inner.tex:2 \benchDice{mr}{unet}",
    )
    assert paper.unread == ()


def test_a_chapter_imports_from_its_own_folder(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        r"\import{part/}{inner}",
        part__inner=r"\input{beside}\subimport{deep/}{last}\input{numbers}",
        part__beside=r"\benchDice{mr}{beside}",
        part__deep__last=r"\benchDice{mr}{last}",
    )
    assert [use.name[2] for use in read(path).numbers] == ["beside", "last"]


def test_a_file_may_set_numbers_and_use_them(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\\benchset{Dice}{mr}{fcn}{\\textbf{73.75}}\n\\benchDice{mr}{fcn} \\benchDice{mr}{unet}",
    )
    paper = read(path)
    assert [use.name[2] for use in paper.numbers] == ["fcn", "unet"]
    assert paper.frozen == {DICE: "81.25", ("Dice", "mr", "fcn"): r"\textbf{73.75}"}


MACROS = {
    "newcommand": r"\newcommand{\of}[1]{\benchDice{mr}{#1}}",
    "newcommand without braces": r"\newcommand\of[1]{\benchDice{mr}{#1}}",
    "newcommand with a star": r"\newcommand*\of[1]{\benchDice{mr}{#1}}",
    "renewcommand": r"\newcommand\of[1]{?}\renewcommand{\of}[1]{\benchDice{mr}{#1}}",
    "renewcommand alone": r"\renewcommand\of[1]{\benchDice{mr}{#1}}",
    "providecommand": r"\providecommand\of[1]{\benchDice{mr}{#1}}",
    "a robust command": r"\DeclareRobustCommand\of[1]{\benchDice{mr}{#1}}",
    "def": r"\def\of#1{\benchDice{mr}{#1}}",
    "long gdef": r"\long\gdef\of #1{\benchDice{mr}{#1}}",
    "xparse": r"\NewDocumentCommand\of{m}{\benchDice{mr}{#1}}",
    "xparse with a default": r"\NewDocumentCommand{\of}{O{mr} m}{\benchDice{#1}{#2}}",
    "a default": r"\newcommand\of[2][mr]{\benchDice{#1}{#2}}",
    "let": r"\newcommand\on{\benchDice{mr}}\let\of\on",
    "let with a sign": r"\newcommand\on{\benchDice{mr}}\let\of=\on",
    "the first arguments alone": r"\newcommand\of{\benchDice{mr}}",
    "a macro of a macro": r"\newcommand\at[2]{\benchDice{#1}{#2}}\newcommand\of[1]{\at{mr}{#1}}",
    "a macro that defines": r"\newcommand\set[1]{\newcommand\of[1]{\benchDice{#1}{##1}}}\set{mr}",
    "a name by its macro": r"\newcommand\where{mr}\newcommand\of[1]{\benchDice{\where}{#1}}",
    "a redefinition of ours": (
        r"\let\old\benchDice\renewcommand\benchDice[2]{\textbf{\old{#1}{#2}}}"
        r"\newcommand\of[1]{\benchDice{mr}{#1}}"
    ),
    "benchget": r"\newcommand\of[1]{\benchget{Dice}{mr}{#1}}",
}


@pytest.mark.parametrize("how", MACROS)
@pytest.mark.parametrize(
    "use", [r"\of{unet}", r"\of {unet}", r"\textbf{\of{unet}}", "\\of\n{unet}"]
)
def test_a_macro_of_the_papers_own_stands_at_the_line_of_its_use(
    tmp_path: Path, how: str, use: str
) -> None:
    paper = read(written(tmp_path, f"{MACROS[how]}\n{use} and more"))
    assert places(paper) == [r"paper.tex:5 \benchDice{mr}{unet}"]
    assert paper.unread == ()


def test_a_claim_through_a_macro_is_one(tmp_path: Path) -> None:
    text = "\\newcommand\\better[2]{\\benchDiceBetter{mr}{#1}{#2}{is better}}\n\\better{a}{b}"
    paper = read(written(tmp_path, text))
    assert places(paper) == [r"paper.tex:5 \benchDiceBetter{mr}{a}{b}"]
    assert paper.unread == ()


def test_what_no_use_was_seen_of_is_read_where_it_is_defined(tmp_path: Path) -> None:
    text = (
        "\\newcommand\\of[1]{\\benchDice{mr}{#1}}\n"
        "\\def\\odd#1/#2.{\\benchDiceBetter{mr}{#1}{#2}{x}}\n\\odd unet/fcn."
    )
    paper = read(written(tmp_path, text))
    assert places(paper) == [r"paper.tex:4 \benchDice{mr}{#1}"]
    [line] = paper.unread
    assert r"paper.tex:5: \benchDiceBetter{mr}{#1}{#2}, whose macro is not used" in line


def test_a_group_gives_a_macro_its_meaning_back(tmp_path: Path) -> None:
    text = (
        r"\newcommand\it{\benchDice{mr}{a}}{\renewcommand\it{\benchDice{mr}{b}}\it}" + "\n\\it\n"
        r"\begin{table}\gdef\it{\benchDice{mr}{c}}\end{table}" + "\n\\it"
    )
    assert places(read(written(tmp_path, text))) == [
        r"paper.tex:4 \benchDice{mr}{b}",
        r"paper.tex:5 \benchDice{mr}{a}",
        r"paper.tex:7 \benchDice{mr}{c}",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "% \\benchDice{mr}{fcn}",
        "\\begin{comment}\n\\benchDice{mr}{fcn}\n\\end{comment}",
        "\\begin{verbatim}\n\\benchDice{mr}{fcn}\n\\end{verbatim}",
        "\\verb|\\benchDice{mr}{fcn}|",
        "\\iffalse\\ifx a b\\fi\\benchDice{mr}{fcn}\\fi",
        "\\texttt{\\string\\benchDice}",
    ],
)
def test_what_is_not_printed_is_not_checked(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, f"{text}\n\\benchDice{{mr}}{{unet}}")
    [use] = read(path).numbers
    assert (use.name, use.line) == (DICE, 5 + text.count("\n"))


def test_both_branches_of_a_condition_are_read(tmp_path: Path) -> None:
    text = r"\ifdraft\benchDice{mr}{a}\else\benchDice{mr}{b}\fi\iffalse\else\benchDice{mr}{c}\fi"
    assert [use.name[2] for use in read(written(tmp_path, text)).numbers] == ["a", "b", "c"]


def test_a_style_beside_the_paper_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, r"\usepackage[x]{other,mine}\of{unet}")
    (tmp_path / "mine.sty").write_text(r"\newcommand\of[1]{\benchDice{mr}{#1}}")
    (tmp_path / "other.sty").write_text(r"\of{fcn}")
    assert places(read(path)) == [r"paper.tex:4 \benchDice{mr}{unet}"]


def test_what_is_lost_is_named(tmp_path: Path) -> None:
    text = "\\input{lost}\n\\def\\a{\\a}\\a\n\\benchDice{mr}{unet}"
    first, second = read(written(tmp_path, text)).unread
    assert first.endswith(r"paper.tex:4: \input of lost: no such file")
    assert r"paper.tex:5: \a calls itself" in second


@pytest.mark.parametrize(
    "text",
    [
        r"\def\a{\a\a}\benchDice{mr}{\a}",
        r"\def\a{\b\b}\def\b{\a\a}\a",
        r"\def\a#1{#1#1}\a\a",
        "\\iffalse",
    ],
)
def test_what_never_ends_is_named_and_the_rest_is_read(tmp_path: Path, text: str) -> None:
    paper = read(written(tmp_path, f"{text}\n\\benchDice{{mr}}{{unet}}"))
    assert paper.numbers[-1].name == DICE
    assert paper.unread


def test_numbers_that_are_typed_are_seen(tmp_path: Path) -> None:
    text = (
        "\\begin{tabular}{p{2.5cm}r}U-Net & 81.25 $\\pm$ 3.10\\% \\\\\n"
        "a & \\textbf{0.812}, (73.75).\\end{tabular}\n"
        "\\includegraphics[width=0.5\\linewidth]{a1.5} \\vspace{1.5\\parskip} 10.3390/x v2.1.0\n"
        "\\begin{tikzpicture}\\draw (0.1,0.2);\\end{tikzpicture}\\benchDice{mr}{smp:depth=3.5}\n"
        "\\newcommand\\best{99.9}\\best"
    )
    paper = read(written(tmp_path, text))
    assert [(one.line, one.text) for one in paper.typed] == [
        (4, "81.25"),
        (4, "3.10"),
        (5, "0.812"),
        (5, "73.75"),
        (8, "99.9"),
    ]


@pytest.mark.parametrize("seed", range(40))
def test_damaged_papers_end(tmp_path: Path, seed: int) -> None:
    """Papers of random pieces are read to their end, and what stands apart from them is seen."""
    rng = random.Random(seed)
    pieces = ["{", "}", "[", "]", "#1", "##", "\\x", "\\y", "\\newcommand", "\\def", "\\let", "*"]
    pieces += ["\\input", "\\import", "\\benchDice", "\\benchset", "\\begin{a}", "\\end{b}", "1.5"]
    pieces += ["\\iffalse", "\\fi", "\\\\", " ", "\n", "\\verb", "\\usepackage", "\\benchget"]
    text = "".join(rng.choices(pieces, k=60))
    paper = read(written(tmp_path, "\\benchDice{mr}{unet}\n" + text))
    assert (paper.numbers[0].name, paper.numbers[0].line) == (DICE, 4)


def test_a_brace_that_stays_open_is_told(tmp_path: Path) -> None:
    paper = read(written(tmp_path, "\\def\\x{\n\\benchDice{mr}{unet}"))
    assert len(paper.numbers) == 1
    assert any("paper.tex:4: a brace that is never closed" in line for line in paper.unread)
