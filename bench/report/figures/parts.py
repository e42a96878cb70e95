"""Classes and instances in colours: which is which, and what was missed, joined, split, shifted.

Colours are Okabe and Ito's with a grey, which the colour-blind tell apart. Two consecutive numbers
never have the same colour. What an instance became is also told by its outline and in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.engine import instances
from bench.engine.instances import Scored
from bench.engine.parts import Parts, of_labels, of_mask, with_classes
from bench.spec.case import VOID
from bench.store.cells import read_labels, read_mask
from bench.store.results import Finished

COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
)
"""Of instances and classes, in the order of their numbers: Okabe and Ito, with grey."""
WHITE, BLACK = len(COLOURS) + 1, len(COLOURS) + 2
"""Numbers of colours in a picture, after 0 for nothing and those of `COLOURS` from 1."""
FILL, LINE = 165, 255
"""How opaque a fill and an outline are, of 255."""
STRIPE, DASH = 3, 3
"""Pixels of a stripe, and of a dash."""
FEW = 6
"""Number of missed (joined, split, shifted) instances that words name; the rest is counted."""
MEANING = (
    "Each instance has the colour of its name; without names, that of its match. Stripes: "
    "joined. White outline: a part of one, or named as another. Black: of no instance. Dashed "
    "outline: missed."
)
"""What colours and outlines of instances mean."""
VERSE = (
    *(f"C{number}" for number in range(1, 8)),
    *(f"T{number}" for number in range(1, 13)),
    *(f"L{number}" for number in range(1, 7)),
)
"""VerSe's names of the levels 1 to 25."""
AS_VERSE = ("ct-verse", "xray")
"""Datasets that number their levels as VerSe."""
_Map = NDArray[np.integer]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """A picture of numbers of colours (H, W), and what is to be said under it."""

    pixels: NDArray[np.uint8]
    words: str = ""


def number_of(label: int) -> int:
    """Return the number of the colour of a class or an instance, from 1 on."""
    return (label - 1) % len(COLOURS) + 1


def palette() -> tuple[bytes, bytes]:
    """Return the colours of pictures, three bytes each, and how much each covers."""
    colours = ("#000000", *COLOURS, "#FFFFFF", "#000000")
    covers = (0, *(FILL for _ in COLOURS), LINE, FILL)  # white is an outline, black a fill
    return b"".join(bytes.fromhex(colour[1:]) for colour in colours), bytes(covers)


def name_of(dataset: str, number: int) -> str:
    """Return the name of a level as its dataset numbers it; the number where names are unknown."""
    if dataset not in AS_VERSE:
        return str(number)
    if 1 <= number <= len(VERSE):
        return VERSE[number - 1]
    return "T13" if number == 28 else str(number)  # 26 is the sacrum and 27 the coccyx


def reference_of(cell: Finished, case: str) -> Parts | None:
    """Return the instances of a reference (H, W).

    None of a volume, which has no picture, and where no instances were kept.
    """
    labels = read_labels(cell.folder.reference_instances(case))
    if labels is None or labels.ndim != 2:
        return None
    parts = of_labels(labels)
    numbers = read_mask(cell.folder.reference(case)) if cell.record.classes else None
    if numbers is None or numbers.shape != labels.shape:  # one foreground, or a damaged file
        return parts
    return with_classes(parts, numbers)


def parts_of(cell: Finished, case: str, extra: str = "") -> Parts | None:
    """Return the instances of a prediction, as they were scored; None where there is none."""
    folder = cell.folder
    if folder.instances(extra).is_dir():
        labels = read_labels(folder.instances(extra) / f"{case}.png")
        return None if labels is None else of_labels(labels)
    mask = read_mask(folder.predictions(extra) / f"{case}.png")
    if mask is None:
        return None
    reference = read_mask(folder.reference(case))
    if reference is None or reference.shape != mask.shape:
        return None
    no_class_is_one_level = (0,) * len(cell.record.classes)
    return of_mask(mask, reference, no_class_is_one_level)


def classes(labels: _Map, side: int) -> Drawn:
    """Return the picture of classes, or of a reference's instances, no larger than `side`."""
    # Maps of classes have bytes; in wider numbers of instances the number of VOID is an instance.
    void = VOID if labels.dtype == np.uint8 else 0
    small = _smaller(np.where(labels == void, 0, labels), side)
    pixels = np.zeros(small.shape, np.uint8)
    for number in np.unique(small):
        if number:
            pixels[small == number] = number_of(int(number))
    return Drawn(pixels)


def prediction(
    parts: Parts, reference: Parts, box: tuple[slice, slice], side: int, dataset: str
) -> Drawn:
    """Return the picture of predicted instances beside those of the reference.

    An instance has the colour of its name, or of the one that it matches. Stripes: it joins
    several. A white outline: it is a part of one, or has another name. Black: it is of no
    instance. A dashed outline: an instance of the reference that was missed.

    Args:
        parts: The instances of the prediction (H, W).
        reference: Those of the reference.
        box: The part of the image that is shown.
        side: Pixels of the picture's longer side at most.
        dataset: The name of the dataset, which says how levels are called.
    """
    scored = instances.score(parts, reference)
    small, small_reference = (_smaller(of.codes[box], side) for of in (parts, reference))
    of_none = _of_no_instance(scored)
    match_of = {place: match for match, place in scored.matches}  # by the predicted one's place
    pixels = np.zeros(small.shape, np.uint8)
    for place, number in enumerate(scored.predicted):
        where = small == number
        match = scored.instances[match_of[place]] if place in match_of else 0
        # Those that are mostly covered by this one, and those in which most of this one lies.
        joined = [scored.instances[under] for under in np.flatnonzero(scored.under[:, place])]
        lies_in = [scored.instances[around] for around in np.flatnonzero(scored.inside[:, place])]
        if place in of_none:
            pixels[where] = BLACK
        elif match:
            pixels[where] = number_of(number if parts.named else match)
            if parts.named and number != match:
                pixels[_edge(where)] = WHITE
        elif len(joined) > 1:
            _stripes(pixels, where, joined)
        else:
            pixels[where] = number_of(lies_in[0])
            pixels[_edge(where)] = WHITE
    for number, state in zip(scored.instances, scored.states, strict=True):
        if state == "missed":
            _dashes(pixels, small_reference == number)
    return Drawn(pixels, words(scored, dataset))


def words(scored: Scored, dataset: str) -> str:
    """Return what became of the instances of a case, by their names."""
    remarks = []
    by_state: dict[str, list[str]] = {}
    for number, state in zip(scored.instances, scored.states, strict=True):
        by_state.setdefault(state, []).append(name_of(dataset, number))
    names_of_shifted = []
    for place, predicted_place in scored.matches:
        if scored.states[place] == "shifted":
            name, wrong_name = scored.instances[place], scored.predicted[predicted_place]
            names_of_shifted.append(f"{name_of(dataset, name)} as {name_of(dataset, wrong_name)}")
    by_state["shifted"] = names_of_shifted
    for state in ("missed", "joined", "split", "shifted"):
        names = by_state.get(state, [])
        if names:
            more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
            remarks.append(f"{state} {', '.join(names[:FEW])}{more}")
    of_none = _of_no_instance(scored)
    if of_none:
        remarks.append(f"{len(of_none)} of no instance")
    total = len(scored.instances)
    return "; ".join([f"{len(scored.matches)} of {total} found", *remarks])


def _of_no_instance(scored: Scored) -> set[int]:
    """Return the places of the predicted instances that match none, join none and lie in none.

    The table of instances calls every predicted instance without a match extra: also one that
    joins several or lies in one.
    """
    matched = {predicted for _, predicted in scored.matches}
    joins_or_lies_in = (scored.under.sum(0) > 1) | scored.inside.any(0)
    return set(np.flatnonzero(~joins_or_lies_in).tolist()) - matched


def _smaller(labels: _Map, side: int) -> NDArray[np.int64]:
    """Return numbers (H, W) on no more than `side` pixels a side, by the nearest ones."""
    height, width = labels.shape
    share = side / max(height, width)
    scaled = labels.astype(np.float64)  # exact, and a type that OpenCV resizes
    if share < 1:
        size = max(1, round(width * share)), max(1, round(height * share))
        scaled = np.asarray(cv2.resize(scaled, size, interpolation=cv2.INTER_NEAREST))
    return scaled.astype(np.int64)


def _edge(where: _Bools) -> _Bools:
    """Return the outline of a part, within it."""
    bits = where.astype(np.uint8)
    inner = cv2.erode(
        bits, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    edge: _Bools = where & (np.asarray(inner) == 0)
    return edge


def _stripes(pixels: NDArray[np.uint8], where: _Bools, numbers: Sequence[int]) -> None:
    """Fill a part with stripes in the colours of several instances."""
    rows, columns = np.nonzero(where)
    turn = ((rows + columns) // STRIPE) % len(numbers)
    pixels[rows, columns] = np.array([number_of(number) for number in numbers], np.uint8)[turn]


def _dashes(pixels: NDArray[np.uint8], where: _Bools) -> None:
    """Draw a dashed outline, white and black, which shows on any ground."""
    rows, columns = np.nonzero(_edge(where))
    turn = ((rows + columns) // DASH) % 2
    pixels[rows, columns] = np.where(turn, WHITE, BLACK)
