"""A case under every method as data URIs: the image as a small WebP, each answer as a PNG of four colours over it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from bench.report.sections.tables import Table
from bench.store.store import Store, column_of

Mask = NDArray[np.bool_]
Places = dict[tuple[str, str], dict[str, tuple[Path, str]]]
"""By (column, method): the folder and the row that answered each case."""
SIDE = 256
"""Pixels of a picture's longer side: enough for a tile, and some 30 kB a case under ten methods."""
HIT, EXCESS, MISSED = "#009E73", "#D55E00", "#56B4E9"
"""Okabe and Ito's green, orange and sky blue: apart for the colour-blind, and light against dark in
grey print."""
_OVER, _ALONE = bytes((0, 95, 215, 235)), bytes((0, 255, 255, 255))
"""How much each kind of pixel covers: over an image, and where there is none."""


def places(store: Store, table: Table) -> Places:
    """Return where each answer lies: of a case that several seeds answered, the first seed's."""
    found: Places = {}
    seen: set[tuple[str, str, int]] = set()
    mine = [
        (record, folder)
        for record, folder in store.records(table.profile)
        if record["source"] == table.source
    ]
    for record, folder in sorted(mine, key=lambda each: int(each[0]["spec"]["seed"])):
        column, method = column_of(record), record["spec"]["method"]
        if (column, method, record["spec"]["fold"]) in seen:
            continue  # all seeds of a fold answer the same cases
        seen.add((column, method, record["spec"]["fold"]))
        names = pd.read_csv(
            folder / "cases.csv", usecols=["case"], dtype=str, keep_default_na=False
        )["case"]
        for row in ("", *record["extras"]):
            answered = found.setdefault((column, f"{method}:{row}" if row else method), {})
            for name in names:
                answered.setdefault(name, (folder, row))
    return found


def case(
    store: Store, found: Places, column: str, methods: Sequence[str], name: str
) -> dict[str, Any] | None:
    """Return the pictures of a case, None where the store has nothing to show.

    Returns:
        `image`, None of results from before images were kept; `reference`, likewise; `answers`, one
        a method, None where it has none.
    """
    lying = [found.get((column, method), {}).get(name) for method in methods]
    known = next((store.case(folder, name) for folder, _ in filter(None, lying)), None)
    masks = [_answer(store, *place, name) if place else None for place in lying]
    if known is None:
        drawn = [None if mask is None else _overlay(mask, mask, _ALONE) for mask in masks]
        return {"image": None, "reference": None, "answers": drawn} if any(drawn) else None
    image, reference = known
    return {
        "image": _webp(image),
        "reference": _overlay(reference, reference),
        "answers": [
            None if mask is None or mask.shape != reference.shape else _overlay(mask, reference)
            for mask in masks
        ],
    }


def _answer(store: Store, folder: Path, row: str, name: str) -> Mask | None:
    try:
        return store.answer(folder, name, row)
    except OSError:
        return None  # one lost picture is no reason to lose the report; its tile says so


def _overlay(answer: Mask, reference: Mask, covers: bytes = _OVER) -> str:
    """Return what was hit, what is too much and what was missed as a PNG, clear elsewhere."""
    mine, truth = _small(answer), _small(reference)
    kinds = np.select([mine & truth, mine & ~truth, truth & ~mine], [1, 2, 3]).astype(np.uint8)
    picture = Image.frombytes("P", kinds.shape[::-1], kinds.tobytes())
    picture.putpalette(
        b"".join(bytes.fromhex(colour[1:]) for colour in ("#000000", HIT, EXCESS, MISSED))
    )
    return _uri(picture, "PNG", bits=2, transparency=covers)


def _webp(image: NDArray[np.uint8]) -> str:
    return _uri(Image.fromarray(_scaled(image)), "WEBP", quality=75)


def _small(mask: Mask) -> NDArray[np.bool_]:
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
    data = io.BytesIO()
    picture.save(data, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
