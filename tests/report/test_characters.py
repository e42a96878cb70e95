"""Text as LaTeX: harmless in any place, and readable by every engine."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.characters import escape, lacking


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("α ≥ β", r"$\alpha$ $\geq$ $\beta$"),
        ("é ü Å ø ß", r"\'{e} \"{u} \r{A} \o{} \ss{}"),
        ("x\u0304", r"\={x}"),
        ("m² H₂O", r"m\textsuperscript{2} H$_{2}$O"),
        ("（a）ﬁ", "(a)fi"),
        ("[size 0.5]", "{}[size 0.5]"),
        ("* star", "{}* star"),
        ("bench run --seeds 3", "bench run -{}-seeds 3"),
        ("5–10", "5--10"),
        ("脊 Ж", r"\benchchar{810A}{脊} \benchchar{0416}{Ж}"),
        ("\ud800", r"\benchchar{D800}{?}"),
        ("a\n\tb\u00ad", "a  b"),
    ],
)
def test_characters_become_commands(text: str, latex: str) -> None:
    assert escape(text) == latex


def test_what_is_printed_by_number_is_named_once() -> None:
    assert lacking(["脊 α", "Ж脊", "plain"]) == ["脊", "Ж"]


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_what_is_left_of_any_text_is_ascii_and_in_balance(text: str) -> None:
    latex = escape(text)
    assert not latex.lstrip().startswith(("[", "*"))
    for character in lacking([text]):
        shown = character if character.isprintable() else "?"
        latex = latex.replace(f"\\benchchar{{{ord(character):04X}}}{{{shown}}}", "")
    assert latex.isascii()
    assert latex.isprintable()
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")
    assert latex.replace(r"\$", "").count("$") % 2 == 0


def test_no_letter_of_latin_1_is_lacking_but_those_without_a_font() -> None:
    letters = [chr(number) for number in range(0xC0, 0x100) if chr(number).isalpha()]
    assert {unicodedata.name(one).split()[-1] for one in lacking(letters)} <= {"ETH", "THORN"}
