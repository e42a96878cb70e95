"""A case under every method as data URIs: a small WebP, and a PNG of four colours over it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.engine.parts import Parts
from bench.report.figures import overlay, parts
from bench.report.figures.overlay import FALSE_NEGATIVE, FALSE_POSITIVE
from bench.report.sections.table import Table
from bench.store.cells import read_mask
from bench.store.results import Finished

Mask = NDArray[np.bool_]
Place = tuple[Finished, str]
"""The cell and the further row that hold a prediction."""
Places = dict[tuple[str, str], dict[str, Place]]
"""By column and row of the table: the place of each case's prediction."""
SIDE = 256
"""Pixels of a picture's longer side: enough for a tile, and some 30 kB a case under ten methods."""
HIT, EXCESS, MISSED = "#009E73", FALSE_POSITIVE, FALSE_NEGATIVE
"""Okabe and Ito's green, and the tints of the grids: apart for the colour-blind and in grey."""
_OVER, _ALONE = bytes((0, 95, 215, 235)), bytes((0, 255, 255, 255))
"""Opacity of nothing, hits, excess and misses, of 255: over an image, and where there is none."""


def places(table: Table) -> Places:
    """Return where each prediction lies: of a case that several seeds predict, the first seed's."""
    all_places: Places = {}
    seen: set[tuple[str, str, int]] = set()
    for cell in sorted(table.cells, key=lambda cell: cell.record.spec.seed):
        record = cell.record
        column = record.column.key
        fold = (column, record.method.key, record.spec.fold)
        if fold in seen:
            continue  # all seeds of a fold predict the same cases
        seen.add(fold)
        names = cell.scores()["case"]
        for row in record.rows:
            predicted = all_places.setdefault((column, row.key), {})
            for name in names:
                predicted.setdefault(name, (cell, row.extra))
    return all_places


def case(
    all_places: Places, column: str, methods: Sequence[str], name: str
) -> dict[str, Any] | None:
    """Return the pictures of a case, None where there is nothing to show.

    Returns:
        `image`, None of results from before images were kept; `reference`, likewise; `answers`, one
        a method, None where it has none.
    """
    places = [all_places.get((column, method), {}).get(name) for method in methods]
    kept = first_kept(places, name)
    masks = [predicted(place, name) for place in places]
    if kept is None:
        alone = [None if mask is None else _overlay(mask, mask, _ALONE) for mask in masks]
        return {"image": None, "reference": None, "answers": alone} if any(alone) else None
    image, reference = kept
    coloured = _coloured(places, name, image)
    if coloured:
        return coloured
    answers = []
    for mask in masks:
        fits = mask is not None and mask.shape == reference.shape
        answers.append(_overlay(mask, reference) if mask is not None and fits else None)
    return {
        "image": _webp(image),
        "reference": _overlay(reference, reference),
        "answers": answers,
    }


def _coloured(
    places: Sequence[Place | None], name: str, image: NDArray[np.uint8]
) -> dict[str, Any] | None:
    """Return a case's classes or instances in colours, None where there is one foreground.

    What is shown is the part of the image that holds all of them.

    Returns:
        What `case` does, and `words` under each answer.
    """
    first = next((place[0] for place in places if place is not None), None)
    if first is None:
        return None
    instances = parts.reference_of(first, name)  # None where there are classes and no instances
    classes = read_mask(first.folder.reference(name)) if first.record.classes else None
    reference_codes = classes if instances is None else instances.codes.astype(np.uint16)
    if reference_codes is None:
        return None
    answered = [_parts(place, name, of_classes=instances is None) for place in places]
    fitting = [
        answer if answer and answer.codes.shape == reference_codes.shape else None
        for answer in answered
    ]
    box = overlay.window([reference_codes, *(answer.codes for answer in fitting if answer)])
    answers, words = [], []
    for answer in fitting:
        drawn = None
        if answer and instances is None:
            drawn = parts.classes(answer.codes[box], SIDE)
        elif answer and instances is not None:
            dataset = first.record.spec.dataset.name
            drawn = parts.prediction(answer, instances, box, SIDE, dataset)
        answers.append(_in_colours(drawn.pixels) if drawn else None)
        words.append(drawn.words if drawn else "")
    return {
        "image": _webp(np.ascontiguousarray(image[box])),
        "reference": _in_colours(parts.classes(reference_codes[box], SIDE).pixels),
        "answers": answers,
        "words": words,
    }


def _parts(place: Place | None, name: str, of_classes: bool) -> Parts | None:
    """Return a prediction's instances, or its classes; None where there is none."""
    if place is None:
        return None
    cell, extra = place
    if not of_classes:
        return parts.parts_of(cell, name, extra)
    mask = read_mask(cell.folder.predictions(extra) / f"{name}.png")
    return None if mask is None else Parts(mask, named=True)  # numbers of classes are names


def _in_colours(pixels: NDArray[np.uint8]) -> str:
    """Return numbers of colours as a PNG, clear where there is nothing."""
    picture = Image.frombytes("P", pixels.shape[::-1], pixels.tobytes())
    colours, covers = parts.palette()
    picture.putpalette(colours)
    return _uri(picture, "PNG", bits=4, transparency=covers)


def first_kept(places: Sequence[Place | None], name: str) -> tuple[NDArray[np.uint8], Mask] | None:
    """Return a case's image and reference, as the first cell that has a prediction keeps them."""
    for place in places:
        if place is not None:
            cell, _row = place
            return cell.case(name)
    return None


def predicted(place: Place | None, name: str) -> Mask | None:
    """Return a predicted mask; None where there is none, or where its file cannot be read."""
    if place is None:
        return None
    cell, extra = place
    try:
        return cell.prediction(name, extra)
    except OSError:
        return None  # one lost picture is no reason to lose the report; the page says so


def spacing_of(name: str, place: Place | None) -> tuple[float, float] | None:
    """Return mm per pixel (row, column) of a 2D case, as its scores keep it; None if unknown."""
    if place is None:
        return None
    cell, _row = place
    return cell.spacing(name)


def _overlay(prediction: Mask, reference: Mask, covers: bytes = _OVER) -> str:
    """Return what was hit, what is too much and what was missed as a PNG, clear elsewhere."""
    answer, truth = _small(prediction), _small(reference)
    # The numbers of the palette's colours; 0, where neither has a pixel, is clear.
    kinds = np.select([answer & truth, answer & ~truth, truth & ~answer], [1, 2, 3])
    kinds = kinds.astype(np.uint8)
    picture = Image.frombytes("P", kinds.shape[::-1], kinds.tobytes())
    picture.putpalette(
        b"".join(bytes.fromhex(colour[1:]) for colour in ("#000000", HIT, EXCESS, MISSED))
    )
    return _uri(picture, "PNG", bits=2, transparency=covers)


def _webp(image: NDArray[np.uint8]) -> str:
    """Return a grey picture as a data URI."""
    return _uri(Image.fromarray(_scaled(image)), "WEBP", quality=75)


def _small(mask: Mask) -> NDArray[np.bool_]:
    """Return a mask no larger than `SIDE`: where half of what a pixel covers is foreground."""
    small: NDArray[np.bool_] = _scaled(mask.astype(np.uint8) * np.uint8(255)) > 127
    return small


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels no larger than `SIDE`, by area; smaller ones as they are."""
    height, width = pixels.shape
    share = SIDE / max(height, width)
    if share >= 1:
        return pixels
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _uri(picture: Image.Image, kind: str, **how: Any) -> str:
    """Return a picture as a data URI, which a page holds without a file beside it."""
    data = io.BytesIO()
    picture.save(data, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
