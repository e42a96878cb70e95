"""The geometry of a scoliosis film: from a patient in mm to the pixels of an AP projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.phantom.spine import Spine, Vertebra, build
from bench.data.phantom.texture import Array, generator

SHAPE = (750, 250)


@dataclass(frozen=True)
class Film:
    """The pose and scale of one film; the patient's right is on the left of the image."""

    spine: Spine
    # mm per pixel, rows and columns: published films are resized without keeping the aspect ratio.
    scale: tuple[float, float]
    origin: tuple[float, float]  # y and z in mm of pixel (0, SHAPE[1] / 2)
    lean: float  # dz / dy of the patient against the film

    def pixel(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project a point (3,) of the patient to (column, row)."""
        y, z = point[1] - self.origin[0], point[2] - self.origin[1]
        z += y * self.lean
        return np.array([SHAPE[1] / 2 - z / self.scale[1], y / self.scale[0]])


def film_of(key: tuple[str, int, int], film_rng: np.random.Generator) -> Film:
    """Draw the patient's curve and this film's pose."""
    spine = build(
        generator(*key),
        disease=0.25,
        cobb=(5.0, 60.0),
        bend=float(film_rng.normal(0, 1.5)),
        transitional=False,
    )
    rng = generator(*key, "film")
    vs = spine.mobile
    top = vs[0].point(0, -vs[0].height / 2)[1]
    bottom = vs[-1].point(0, vs[-1].height / 2)[1]
    above = rng.uniform(25, 75) + film_rng.normal(0, 4)
    below = rng.uniform(40, 110) + film_rng.normal(0, 4)
    rows = (bottom - top) / (SHAPE[0] - above - below)
    middle = float(np.mean([v.centre[2] for v in vs])) + rng.normal(0, 6) + film_rng.normal(0, 2)
    scale = (float(rows), float(rows) * rng.uniform(1.05, 1.4))
    lean = float(rng.normal(0, 0.015) + film_rng.normal(0, 0.006))
    return Film(spine, scale, (float(top - above * rows), middle), lean)


def corners_of(film: Film, v: Vertebra) -> NDArray[np.float64]:
    """Give a body's four corners (column, row) in order around it."""
    B, H = v.width / 2, v.height / 2
    around = ((-H, -B), (-H, B), (H, B), (H, -B))
    return np.stack([film.pixel(v.point(0, h, u)) for h, u in around])


def grid_of(film: Film) -> tuple[Array, Array]:
    """Give y and z in mm of every pixel."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    y = rows * np.float32(film.scale[0])
    z = (cols - SHAPE[1] / 2) * np.float32(-film.scale[1]) - y * np.float32(film.lean)
    return y + np.float32(film.origin[0]), z + np.float32(film.origin[1])
