"""One decoder of masks: what a mask's values are, and over a whole set which are foreground.

A label is a text: a number ("255"), a colour ("#ff0000"), or a palette's number with its colour
("1 #ff0000"). Black is "0".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data.readers.picture import Picture, colours, is_grey
from bench.spec.case import BACKGROUND, Census, Decision
from bench.spec.errors import UsageError

BINARY = ("1", "255", "65535")
"""Labels that mean foreground in a mask that holds one label beside the background."""
VOID = (255, 65535)
"""The field's labels of pixels that belong to no class; numbers below 0 are void too."""
BRIGHT = 100
"""Classes that are numbered have no number above this; greys have."""
HALF = 127
"""Half of the greys of 8 bits: the threshold of masks that are drawn white on black."""
EVEN = 5
"""Greys that differ by no more from even steps between 0 and 255 are no numbers of classes."""
MANY = 24
"""A grey mask with more labels is no label map: JPEG or smoothing blurred it."""
NEAR, APART = 12, 24
"""Greys that differ by less may be one that JPEG changed; those that differ by more are two."""
MOSTLY = 0.5
"""Above this share of all pixels, foreground may be the background of inverted masks."""
FEW_STRAYS = 3
"""So many values far from all others are no classes, but the outlines of smoothed shapes."""
MOST = 256
"""Labels that one mask may hold."""
FEW = 6
"""Labels that an error lists."""
NEAR_WHOLE = 1e-3
"""Numbers this near to a whole one are rounded."""
WHOLE = 2.0**53
"""Floating numbers above this cannot count."""
ROUNDED = f"assumed: mask values within {NEAR_WHOLE:g} of a whole number are that number"
_TERM = re.compile(r"(?P<number>-?(0|[1-9][0-9]*))|>(?P<above>[0-9]+)|(?P<colour>#[0-9a-f]{6})")


def decode(picture: Picture, file: Path) -> tuple[NDArray[np.uint8], tuple[str, ...], str]:
    """Return a mask's codes (H, W), the labels that they number, and what was assumed.

    Raises:
        UsageError: The values are no labels: fractions, or too many.
    """
    if picture.palette is not None:
        _check_palette(picture.values, picture.palette, file)
        if not is_grey(picture.palette):
            return *_of_palette(picture), ""
    values = colours(picture)
    if values.ndim == 3:
        if is_grey(values):
            values = values[..., 0]
        elif values.dtype != np.uint8:
            raise UsageError(
                f"{file} has colours of type {values.dtype}, expected 8 bits, or grey labels: "
                "convert it"
            )
        else:
            return *_of_colours(values, file), ""
    codes, names, told = _of_numbers(values, file)
    if picture.lossy and 0 < max(map(int, names)) < APART:
        raise UsageError(
            f"{file} holds labels up to {max(map(int, names))} and was compressed as JPEG is, "
            "which makes one of another; export the mask as PNG"
        )
    if picture.palette is not None and _is_reversed(picture):
        told = "assumed: masks are read by the greys of their palette, not by its numbers"
    return codes, names, told


def _is_reversed(picture: Picture) -> bool:
    """Return whether larger numbers of a grey palette are darker."""
    assert picture.palette is not None
    greys = picture.palette[np.unique(picture.values)][:, 0].astype(int)
    return bool((np.diff(greys) < 0).any())


def _check_palette(values: NDArray[Any], palette: NDArray[np.uint8], file: Path) -> None:
    """Refuse a palette that shows two labels of a mask in one colour."""
    used = np.unique(values).tolist()
    by_colour: dict[bytes, int] = {}
    for number in used:
        other = by_colour.setdefault(palette[number].tobytes(), number)
        if other != number:
            raise UsageError(
                f"{file}: its palette shows {other} and {number} in one colour "
                f"({_hex(palette[number])}); give them two, or write the mask as grey"
            )


def _of_palette(picture: Picture) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    used, codes = np.unique(picture.values, return_inverse=True)
    palette = picture.palette
    assert palette is not None
    names = [
        f"{number} {_hex(palette[number])}" if palette[number].any() else BACKGROUND
        for number in used.tolist()
    ]
    return _merged(codes.reshape(picture.values.shape), names)


def _of_colours(values: NDArray[Any], file: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    used, codes = np.unique(packed, return_inverse=True)
    if len(used) > MANY:
        raise UsageError(
            f"{file} holds {len(used)} colours, as JPEG and smoothing leave them; "
            "expected one colour a class: export the masks as PNG, without smoothing"
        )
    names = [f"#{number:06x}" if number else BACKGROUND for number in used.tolist()]
    return _merged(codes.reshape(packed.shape), names)


def is_near_whole(values: NDArray[Any]) -> bool:
    """Return whether all numbers are finite, and so near to whole ones that these are meant."""
    with np.errstate(invalid="ignore"):  # infinite values are near to none
        return bool((np.abs(values - np.rint(values)) <= NEAR_WHOLE).all())


def _of_numbers(values: NDArray[Any], file: Path) -> tuple[NDArray[np.uint8], tuple[str, ...], str]:
    told = ""
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    if values.dtype == np.uint8:
        return *_of_bytes(values), told
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if not is_near_whole(values):
            raise UsageError(
                f"{file}: values are not whole numbers; expected labels, not probabilities: "
                "cut them at a value such as 0.5 and save whole numbers"
            )
        if np.abs(whole).max(initial=0) > WHOLE:
            raise UsageError(
                f"{file} holds values up to {np.abs(whole).max():g}; expected a label map of "
                "whole numbers: export it again"
            )
        if (values != whole).any():
            told = ROUNDED
        values = whole.astype(np.int64)
    used, codes = np.unique(values, return_inverse=True)
    if len(used) > MOST:
        raise UsageError(
            f"{file} holds {len(used)} values; expected a label map of {MOST} labels at most"
        )
    return codes.reshape(values.shape).astype(np.uint8), tuple(map(str, used.tolist())), told


def _of_bytes(values: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return codes and labels of 8-bit numbers; most masks hold 0 and one other."""
    plain = np.ascontiguousarray(values)
    most = int(plain.max())
    brightest = plain == most
    if np.count_nonzero(brightest) == np.count_nonzero(plain) < plain.size:
        return brightest.view(np.uint8), (BACKGROUND, str(most))
    used = np.flatnonzero(cv2.calcHist([plain], [0], None, [256], [0, 256]))
    table = np.zeros(256, np.uint8)
    table[used] = np.arange(len(used))
    return np.asarray(cv2.LUT(plain, table)), tuple(map(str, used.tolist()))


def _merged(codes: NDArray[Any], names: Iterable[str]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Give equal names one code."""
    listed = list(names)
    unique = list(dict.fromkeys(listed))
    table = np.array([unique.index(name) for name in listed], np.uint8)
    return table[codes], tuple(unique)


def _hex(colour: NDArray[np.uint8]) -> str:
    return "#" + bytes(colour.tolist()).hex()


def number(label: str) -> int | None:
    """Return the number of a label: its own, or that of a palette; None of a colour alone."""
    head = label.split(" ")[0]
    return None if head.startswith("#") else int(head)


def colour(label: str) -> str:
    """Return the colour of a label, empty where it is a number."""
    return label[label.index("#") :] if "#" in label else ""


def choose(census: Census, option: str) -> Decision:
    """Return which labels of a set of masks are foreground.

    Args:
        census: The labels that occur, over all masks.
        option: What the user wants (`1+2`, `#ff0000`, `>127`), or empty.

    Raises:
        UsageError: A wanted label occurs nowhere, or there is a choice that the user must make.
    """
    census = replace(census, counts=dict(sorted(census.counts.items(), key=_order)))
    beside = [label for label in census.counts if label != BACKGROUND]
    binary = _is_binary(census, beside)
    chosen = _wanted(census, option, binary) if option else _default(census, beside, binary)
    _refuse_near(census, option, chosen)
    if not (">" in option and (_is_smooth(census, beside) or _above_classes(option, beside))):
        _refuse_void(census, beside, binary, chosen)
    told = []
    if binary and len(chosen) > 1:
        told.append(f"assumed: {_and(chosen)} both mean foreground, in different masks")
    for held, file in census.masks.items() if option else ():
        if set(held) - {BACKGROUND} and not set(held) & set(chosen):
            told.append(f"assumed: masks such as {file} have no foreground under this choice")
            break
    if not option and _share(census, chosen) > MOSTLY:
        told.append(
            f"assumed: {_and(chosen)} is foreground, not the background, though it covers "
            f"{100 * _share(census, chosen):.0f} % of all pixels"
        )
    if len(beside) == 1 and colour(beside[0]):
        told.append(f"assumed: the one colour {beside[0]} is foreground")
    return Decision(frozenset(chosen), tuple(told))


def check_likely(census: Census, decision: Decision) -> None:
    """Refuse a foreground that nobody chose and that covers most of the pixels.

    It is nearly always the background of inverted masks.

    Raises:
        UsageError: It has more than `MOSTLY` of the pixels.
    """
    file = census.masks[max(census.masks, key=len)] if census.masks else "masks"
    others = {label for label, pixels in census.counts.items() if pixels} - decision.foreground
    if not others or _share(census, decision.foreground) <= MOSTLY:
        return
    chosen = [label for label in census.counts if label in decision.foreground]
    shares = ", ".join(f"{label} ({_percent(census, label)})" for label in census.counts)
    ways = ["+".join(dict.fromkeys(map(_term, labels))) for labels in (chosen, sorted(others))]
    raise UsageError(
        f"{file}: masks hold the values {shares}; {_and(chosen)} may be the background of inverted "
        f"masks: say which are foreground, foreground={ways[0]} or foreground={ways[1]}"
    )


def _order(entry: tuple[str, int]) -> tuple[float, str]:
    """Return a key that sorts numbers as numbers, then colours."""
    value = number(entry[0])
    return (np.inf if value is None else value, entry[0])


def _is_binary(census: Census, beside: Collection[str]) -> bool:
    """Return whether every mask holds one of 1, 255 and 65535 at most, beside the background."""
    if not set(beside) <= set(BINARY):
        return False
    return all(len(set(labels) - {BACKGROUND}) <= 1 for labels in census.masks)


def _default(census: Census, beside: list[str], binary: bool) -> list[str]:
    if binary or not beside:
        return beside
    file = census.masks[max(census.masks, key=len)]
    if len(beside) == 1 and colour(beside[0]) and BACKGROUND in census.counts:
        return beside
    _refuse_void(census, beside, binary, beside)
    has_background = bool(census.counts.get(BACKGROUND))
    ways = _choices(beside, has_background)
    if any(map(colour, beside)):
        held = [label for label, pixels in census.counts.items() if pixels]
        shares = ", ".join(f"{label} {_percent(census, label)}" for label in held)
        raise UsageError(
            f"{file} and others hold colours ({shares}); say which are foreground: {ways}"
        )
    if _is_smooth(census, beside) or _beside_void([int(label) for label in beside]):
        raise UsageError(f"{file} and others {_blurred(census)}")
    shares = ", ".join(f"{label} ({_percent(census, label)})" for label in beside[:FEW])
    shown = f"value{'s' * (len(beside) > 1)} {shares}{' ...' * (len(beside) > FEW)}"
    others = "beside 0" if has_background else "and no 0"
    raise UsageError(
        f"{file}: masks hold the {shown} {others}; say which are foreground: {ways}{_apart(beside)}"
    )


def _choices(labels: Sequence[str], has_background: bool) -> str:
    """Return the options that say which labels are foreground, none before another.

    Args:
        labels: Those beside 0.
        has_background: Whether pixels are 0; else one of the labels is the background's.
    """
    terms = list(dict.fromkeys(map(_term, labels)))
    together = f"foreground={'+'.join(terms[:FEW])}{'+...' * (len(terms) > FEW)}"
    if len(terms) == 1 or _has_void(labels):  # a void label is no background
        return together
    if len(terms) > 2:
        return f"{together}, {'or some of them' if has_background else 'less the background'}"
    ways = [f"foreground={term}" for term in terms]
    if has_background:
        return f"{', '.join(ways)} or {together}"
    return " or ".join(ways)


def _apart(labels: Sequence[str]) -> str:
    """Return the options that keep numbers apart, as classes or as void; empty of one number."""
    known = [label for label in labels if int(label) > 0]  # none below 0 is a class
    if not known or len(labels) == 1:
        return ""
    way = f"; or keep classes apart: labels=NAME={known[0]}/..."
    void = [label for label in known if int(label) in VOID]
    if void and void != known:
        way += (
            f"; or leave pixels out that belong to no class: labels=NAME={known[0]}/"
            f"{'.../' * (len(known) > 2)}void={void[0]}"
        )
    return way


def _is_smooth(census: Census, beside: Sequence[str]) -> bool:
    """Return whether there are too many values for classes, as JPEG and smoothing leave them."""
    return len(beside) > MANY or _is_blurred(census, beside)


def _is_blurred(census: Census, beside: Sequence[str]) -> bool:
    """Return whether several values lie about few, far from those of classes."""
    values = [int(label) for label in beside]
    return len(values) > 3 and max(values) > BRIGHT and len(_peaks(census)) < len(values) / 2


def _beside_void(values: Collection[int]) -> set[int]:
    """Return the neighbours of 255 or 65535 among numbers, as greys have and no void label has."""
    held = set(VOID).intersection(values)
    return {value for void, value in product(held, values) if 0 < void - value < NEAR}


def _share(census: Census, labels: Iterable[str]) -> float:
    """Return the share of all pixels that have one of some labels."""
    return sum(census.counts[label] for label in labels) / sum(census.counts.values())


def _percent(census: Census, label: str) -> str:
    return f"{100 * _share(census, [label]):.3g} %"


def _term(label: str) -> str:
    """Return how a label is chosen by the option."""
    return colour(label) or label


def _blurred(census: Census) -> str:
    """Return the advice for masks of many grey values: a threshold between their peaks."""
    words, ways = smoothed(census), thresholds(census)
    if not ways:
        return f"{words}; expected label maps: export the masks as PNG, without smoothing"
    peaks = _and(map(str, _peaks(census)))
    told = f"{words}; most lie about {peaks}: say which are foreground, {' or '.join(ways)}"
    if census.lossy or len(census.counts) > MANY:
        return told
    first = next(label for label in census.counts if label != BACKGROUND)
    return f"{told}; or, where they are classes, labels=NAME={first}/..."


def smoothed(census: Census) -> str:
    """Return in words that masks of numbers hold values as smoothing leaves them."""
    values = [int(label) for label in census.counts if not colour(label)]
    return (
        f"hold {len(values)} values from {min(values)} to {max(values)}, "
        "as JPEG and smoothing leave them"
    )


def thresholds(census: Census) -> list[str]:
    """Return the options of the thresholds between the values about which most pixels lie."""
    return [f"foreground=>{(one + other) // 2}" for one, other in pairwise(_peaks(census))]


def are_strays(census: Census, labels: Iterable[str]) -> bool:
    """Return whether labels are numbers far from those of most pixels, as smoothing leaves them."""
    peaks = _peaks(census)
    values = [int(label) for label in labels if not colour(label)]
    far = [value for value in values if all(abs(value - peak) >= NEAR for peak in peaks)]
    return len(far) >= FEW_STRAYS


def nearest(census: Census, owner: Callable[[str], str]) -> tuple[str, str] | None:
    """Return two numbers of different owners that JPEG may have made of one; None if none are."""
    numbers = sorted((label for label in census.counts if not colour(label)), key=int)
    for one, other in pairwise(numbers):
        if int(other) - int(one) < APART and owner(one) != owner(other):
            return one, other
    return None


def _refuse_near(census: Census, option: str, chosen: Collection[str]) -> None:
    """Refuse a choice between labels of which JPEG makes one from the other.

    Raises:
        UsageError: A mask was compressed so, and labels of both sides lie near each other, or a
            threshold lies near what many pixels hold.
    """
    if not census.lossy:
        return
    cuts = [int(term.strip()[1:]) for term in option.split("+") if ">" in term]
    near = any(abs(peak - cut) < NEAR for peak, cut in product(_peaks(census), cuts))
    if near or (not cuts and nearest(census, lambda label: str(label in chosen))):
        file = census.masks[max(census.masks, key=len)]
        said = f"foreground={option}: " if option else ""
        raise UsageError(f"{said}{file} and others {_blurred(census)}")


def _peaks(census: Census, share: float = 0.005) -> list[int]:
    """Return the values about which many pixels lie, the most frequent of each neighbourhood."""
    counts = {int(label): count for label, count in census.counts.items() if not colour(label)}
    peaks: list[int] = []
    for value in sorted(counts, key=lambda value: -counts[value]):
        near = [count for other, count in counts.items() if abs(other - value) < NEAR]
        if sum(near) < share * sum(counts.values()) or max(near) > counts[value]:
            continue  # few pixels, or the slope of another peak
        if all(abs(value - peak) >= APART for peak in peaks):
            peaks.append(value)
    return sorted(peaks)


def _wanted(census: Census, option: str, binary: bool) -> list[str]:
    """Return the labels that an option names.

    Raises:
        UsageError: A term cannot be read, occurs in no mask, or has several colours.
    """
    chosen: list[str] = []
    for term in option.lower().split("+"):
        match = _TERM.fullmatch(term.strip())
        if not match:
            raise UsageError(
                f"foreground={option}: {term!r} is no label; "
                "expected numbers, colours or a threshold joined by +: 1+2, #ff0000, >127"
            )
        matched = _matching(census, match)
        if not matched:
            raise UsageError(
                f"foreground={option}: {term} occurs in no mask; they hold {_held(census)}"
            )
        tints = {colour(label) for label in matched} - {grey_colour(term)}
        if match["number"] and len(tints) > 1:
            way = f"choose by colour: foreground={_term(matched[0])}"
            if "" in tints:  # a number without a colour cannot be chosen by one
                way = f"if it is one class in all masks, say so: labels=NAME={term}"
            raise UsageError(
                f"foreground={option}: number {term} has several colours ({_and(matched)}); {way}"
            )
        chosen += matched
    if binary and set(chosen) & set(BINARY):
        chosen += [label for label in census.counts if label in BINARY]
    _check_threshold(census, option, chosen)
    if set(chosen) >= {label for label, count in census.counts.items() if count}:
        raise UsageError(f"foreground={option} is every label of the masks; leave one out")
    return list(dict.fromkeys(chosen))


def _check_threshold(census: Census, option: str, chosen: Collection[str]) -> None:
    """Refuse a threshold above all labels of a mask, or over colours: its foreground would be lost.

    Raises:
        UsageError: There is such a mask.
    """
    for held, file in census.masks.items() if ">" in option else ():
        beside = [label for label in held if label != BACKGROUND]
        if beside and (any(map(colour, beside)) or not set(beside) & set(chosen)):
            raise UsageError(
                f"foreground={option}: {file} holds {_and(beside[:4])}, of which none is above it; "
                "write all masks on one scale of grey"
            )


def _matching(census: Census, match: re.Match[str]) -> list[str]:
    if match["colour"]:
        tint = match["colour"]
        return [label for label in census.counts if tint in (colour(label), grey_colour(label))]
    if match["above"]:
        limit = int(match["above"])
        return [label for label in census.counts if not colour(label) and int(label) > limit]
    grey = grey_colour(match["number"])
    return [
        label
        for label in census.counts
        if number(label) == int(match["number"]) or (grey and label == grey)
    ]


def grey_colour(label: str) -> str:
    """Return a number of 8 bits as a colour, so that white may be chosen as #ffffff."""
    if not label.isdecimal() or int(label) >= MOST:
        return ""
    grey = f"{int(label):02x}"
    return f"#{grey}{grey}{grey}"


def _held(census: Census) -> str:
    """Return in words what the masks hold beside the background."""
    beside = [label for label in census.counts if label != BACKGROUND]
    if not beside:
        return "nothing but 0"
    few = beside[:6]
    more = f" and {len(beside) - 6} more" if len(beside) > 6 else ""
    return (", ".join(few) if more else _and(few)) + more


def _refuse_void(
    census: Census, beside: Collection[str], binary: bool, chosen: Collection[str]
) -> None:
    """Refuse 255 beside the numbers of classes: its pixels are neither foreground nor background.

    Where no mask holds both and both are `chosen`, they mean the same in different masks.

    Raises:
        UsageError: A mask has such pixels.
    """
    numbers = [value for label in beside if (value := number(label)) is not None]
    void, classes = _void_and_classes(numbers)
    if binary:
        void = [int(label) for label in beside if label != "1" and (label,) in census.masks]
        classes = [1] if "1" in beside else []
    elif _are_greys(numbers) and min(numbers) > 0:
        return
    if not void or not classes or min(classes) > BRIGHT:
        return
    both_chosen = {*void, *classes} <= set(map(number, chosen))
    if both_chosen and not binary and not _share_a_mask(census, void, classes):
        return
    file = next(file for labels, file in census.masks.items() if {*map(number, labels)} & set(void))
    if not any(map(colour, beside)) and (are_strays(census, beside) or _beside_void(numbers)):
        raise UsageError(f"{file} and others {_blurred(census)}")
    way = ""
    if void[0] > 0:  # one below 0 cannot be named
        way = f", or leave them out: labels=NAME={classes[0]}/.../void={void[0]}"
        if max(classes) <= HALF:
            way += f"; if {void[0]} is the foreground and the others are not: foreground=>{HALF}"
    raise UsageError(
        f"{file}: {void[0]} beside {_and(map(str, classes[:4]))} is, by custom, the void label of "
        f"pixels that belong to no class; give these pixels a class or 0 in the masks{way}"
    )


def _above_classes(option: str, beside: Collection[str]) -> bool:
    """Return whether an option is one threshold between the numbers of classes and 255."""
    match = _TERM.fullmatch(option.strip())
    if not match or not match["above"]:
        return False
    numbers = [value for label in beside if (value := number(label)) is not None]
    void, classes = _void_and_classes(numbers)
    low = {*classes} - _beside_void(numbers)
    cut = int(match["above"])
    return cut >= HALF and min(void, default=0) > cut >= max(low, default=0)


def _void_and_classes(numbers: Iterable[int]) -> tuple[list[int], list[int]]:
    """Return the labels of no class, which lie below 0 or are 255 or 65535, and all others."""
    void: list[int] = []
    classes: list[int] = []
    for value in numbers:
        (void if value < 0 or value in VOID else classes).append(value)
    return void, classes


def _has_void(labels: Iterable[str]) -> bool:
    """Return whether one of the labels is a void label beside the numbers of classes."""
    numbers = [value for label in labels if (value := number(label)) is not None]
    void, classes = _void_and_classes(numbers)
    return bool(void and classes and min(classes) <= BRIGHT)


def _share_a_mask(census: Census, some: Collection[int], others: Collection[int]) -> bool:
    """Return whether one mask holds a label of either kind."""
    by_mask = [{*map(number, labels)} for labels in census.masks]
    return any(held & set(some) and held & set(others) for held in by_mask)


def _are_greys(numbers: Collection[int]) -> bool:
    """Return whether numbers are even steps up to 255, as picture editors write classes."""
    steps = np.linspace(0, max(numbers, default=0), len(numbers) + 1)[1:]
    return 1 < len(numbers) <= MANY and bool(np.abs(np.sort([*numbers]) - steps).max() <= EVEN)


def _and(words: Iterable[str]) -> str:
    *head, last = list(words)
    return f"{', '.join(head)} and {last}" if head else last
