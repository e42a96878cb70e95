"""Scoliosis films: an AP projection of T1 to L5 with chest, belly and pelvis and low contrast."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data.phantom.film import SHAPE, Film, corners_of, film_of
from bench.data.phantom.levels import verse
from bench.data.phantom.shape import anchor
from bench.data.phantom.spine import Vertebra
from bench.data.phantom.texture import Array, blur, generator, inside, smooth, step
from bench.data.phantom.torso import girdles, ribs, soft_tissue

INSTRUMENTED = 0.2  # share of patients with screws and rods


def render(
    name: str, seed: int, patient: int, place: tuple[int, int], levels: bool = False
) -> tuple[Array, NDArray[np.uint8], None]:
    """Render one film.

    Returns:
        Image (H, W) in [0, 1], mask (H, W) of 0 and 1 or labels by level, and None: a film's scale
        is unknown.
    """
    key = (name, seed, patient)
    film_rng = generator(*key, *place)
    film = film_of(key, film_rng)
    rng = generator(*key, "scene")
    soft, lung = soft_tissue(film, rng)
    bone = ribs(film, rng) * 0.5 + girdles(film, rng)
    for v in film.spine.mobile:
        _vertebra(bone, film, v)
    image = soft + bone * _contrast(film, rng, lung)
    metal = _metal(film, rng) if rng.random() < INSTRUMENTED else None
    return _expose(image, metal, rng, film_rng), _mask(film, film_rng, levels), None


def _mask(film: Film, rng: np.random.Generator, levels: bool) -> NDArray[np.uint8]:
    """Fill each body's quadrilateral, with corners that are off by about a reader's error."""
    mask = np.zeros(SHAPE, np.uint8)
    numbers = verse(len(film.spine.mobile)).tolist()
    for v, number in zip(film.spine.mobile, numbers, strict=True):
        corners = corners_of(film, v) + rng.normal(0, 0.9, (4, 2))
        value = number if levels else 1
        cv2.fillConvexPoly(mask, np.round(corners * 16).astype(np.int32), value, shift=4)
    return mask


def _vertebra(bone: Array, film: Film, v: Vertebra) -> None:
    """Add one vertebra: body, pedicle rings, laminae, spinous and transverse processes."""
    origin = film.pixel(v.centre)
    side = film.pixel(v.point(0, 0, 1)) - origin
    down = film.pixel(v.point(0, 1, 0)) - origin
    rx, ry = abs(side[0]) * (v.width / 2 + 32) + 6, abs(down[1]) * (v.height / 2 + 34) + 6
    c0, c1 = max(0, int(origin[0] - rx)), min(SHAPE[1], int(origin[0] + rx))
    r0, r1 = max(0, int(origin[1] - ry)), min(SHAPE[0], int(origin[1] + ry))
    if c1 - c0 < 2 or r1 - r0 < 2:
        return
    rows, cols = np.mgrid[r0:r1, c0:c1].astype(np.float32)
    dc, dr = cols - np.float32(origin[0]), rows - np.float32(origin[1])
    inverse = np.linalg.inv(np.stack([side, down], 1)).astype(np.float32)
    # Each pixel in mm from the middle of the body: p to the right of the patient, q to the feet.
    p = inverse[0, 0] * dc + inverse[0, 1] * dr
    q = inverse[1, 0] * dc + inverse[1, 1] * dr

    def project(a: float, h: float, u: float) -> tuple[np.float32, np.float32]:
        """Give p and q of a point of the vertebra."""
        projected = inverse @ (film.pixel(v.point(a, h, u)) - origin).astype(np.float32)
        return projected[0], projected[1]

    out = _front(v, p, q)
    pa, ph, pu = anchor(v)
    for sign in (-1.0, 1.0):
        # The ring of the pedicle.
        u, w = project(pa + 5, ph, sign * pu)
        ring = np.hypot((p - u) / (v.pedicle[1] / 2 + 0.6), (q - w) / (v.pedicle[0] / 2)) - 1
        out += 0.30 * np.exp(-((ring * v.pedicle[1] / 2 / 1.1) ** 2)) + 0.10 * inside(ring * 4, 2)
        # The transverse process.
        u1, w1 = project(pa + 12, ph + 1, sign * (pu + (17 if v.thoracic else 25)))
        length = (u1 - u) ** 2 + (w1 - w) ** 2
        t = np.clip(((p - u) * (u1 - u) + (q - w) * (w1 - w)) / length, 0, 1)
        out += 0.26 * inside(np.hypot(p - u - t * (u1 - u), q - w - t * (w1 - w)) - 4.2 + t, 2.5)
        # The lamina.
        u2, w2 = project(pa + v.canal[0], v.height * 0.62, sign * (pu - 2))
        t = np.clip((q - w) / (w2 - w), 0, 1)
        across = np.abs(p - u - t * (u2 - u)) - 5.0
        along = np.abs(q - (w + w2) / 2) - abs(w2 - w) / 2
        out += 0.22 * inside(np.maximum(across, along), 3)
    # The tip of the spinous process.
    low = v.height * 0.45 + v.spinous[0] * 0.5 * np.sin(v.spinous[1])
    u, w = project(pa + v.canal[0] + v.spinous[0] * 0.7, low, 0)
    tip = (np.hypot((p - u) / 3.4, (q - w) / 8.0) - 1) * 3.4
    out += 0.30 * np.exp(-((tip / 1.2) ** 2)) + 0.14 * inside(tip, 2)
    bone[r0:r1, c0:c1] += out


def _front(v: Vertebra, p: Array, q: Array) -> Array:
    """Give a body's absorption: the column, the rims of both end plates and the lateral cortex."""
    B, H = v.width / 2, v.height / 2
    t = np.clip(q / np.float32(H), -1, 1)
    half = B * (1 - v.waist * 1.1 * (1 - t * t))
    sideways = np.abs(p) - half
    upright = np.abs(q) - np.float32(H)
    box = np.maximum(sideways, upright)
    chord = np.sqrt(np.clip(1.12 - (p / half) ** 2, 0, 1))
    out: Array = 0.46 * inside(box, 1.8) * chord * v.density
    out += 0.32 * np.exp(-((sideways / 1.1) ** 2)) * inside(upright, 2.0)
    # The rims of a tilted end plate are an ellipse, so its front and back lie at two heights.
    apart = abs(float(v.axes[0][1])) * v.depth * 0.32
    bow = 1 - (p / B) ** 2 * 0.85
    for sign in (-1.0, 1.0):
        for shift in (-apart, apart):
            rim = q - np.float32(sign * H) - shift * np.clip(bow, 0, 1)
            out += 0.20 * np.exp(-((rim / 1.1) ** 2)) * inside(np.abs(p) - B, 2.0)
    return out


def _contrast(film: Film, rng: np.random.Generator, lung: Array) -> Array:
    """Give the contrast of bone, which varies strongly over the film."""
    rows = np.linspace(0, 1, SHAPE[0], dtype=np.float32)[:, None]
    down = 0.36 - 0.10 * step(rows, 0.45, 0.75) + 0.03 * smooth(rng, SHAPE, 140)
    return np.clip(down * np.float32(rng.uniform(0.55, 1.15)) + 0.04 * lung, 0.06, 0.6)


def _metal(film: Film, rng: np.random.Generator) -> Array:
    """Draw pedicle screws and two rods over a part of the curve; absorption of 1 is opaque."""
    vs = film.spine.mobile
    first = int(rng.integers(1, 8))
    last = int(rng.integers(first + 5, 17))
    out = np.zeros(SHAPE, np.uint8)
    for sign in (-1.0, 1.0):
        rod = []
        for k in range(first, last + 1):
            v = vs[k]
            pa, ph, pu = anchor(v)
            head = film.pixel(v.point(pa + 24, ph, sign * (pu + 2)))
            tip = film.pixel(v.point(-4, ph + 1, sign * pu * 0.35))
            rod.append(head)
            if rng.random() < 0.75 or k in (first, last):
                start, end = (tuple(np.round(point * 16).astype(int)) for point in (head, tip))
                width, radius = round(4.2 / film.scale[0]), round(4.4 / film.scale[0] * 16)
                cv2.line(out, start, end, 215, width, cv2.LINE_AA, 4)
                cv2.circle(out, start, radius, 255, -1, cv2.LINE_AA, 4)
        path = np.stack(rod)
        path[:, 0] = np.convolve(np.pad(path[:, 0], 2, mode="edge"), np.ones(5) / 5, "valid")
        points = np.round(path * 16).astype(np.int32)
        cv2.polylines(out, [points], False, 240, round(3.8 / film.scale[0]), cv2.LINE_AA, 4)
    return blur(out.astype(np.float32) * np.float32(1 / 255), 0.6)


def _expose(
    image: Array, metal: Array | None, rng: np.random.Generator, film_rng: np.random.Generator
) -> Array:
    """Turn absorption into a film: scatter, blur, noise, exposure, collimator and marker."""
    scatter = rng.uniform(0.25, 0.5)
    image = image * np.float32(1 - scatter) + blur(image, 22.0) * np.float32(scatter)
    image = blur(image, float(rng.uniform(0.6, 1.1)))
    if metal is not None:
        image = image + metal * np.float32(0.55) - blur(metal, 9.0) * np.float32(0.06)
    rows = np.linspace(-1, 1, SHAPE[0], dtype=np.float32)[:, None]
    image = image + np.float32(rng.normal(0, 0.09)) * rows
    image = image + np.float32(rng.normal(0, 0.05) + film_rng.normal(0, 0.02))
    amount = float(rng.uniform(0.016, 0.036))
    grain = film_rng.standard_normal(SHAPE, dtype=np.float32) * 0.7
    grain += blur(film_rng.standard_normal(SHAPE, dtype=np.float32), 1.0) * 1.6
    image = image + grain * np.float32(amount) * (0.6 + np.clip(image, 0, 1))
    gain = float(rng.uniform(0.8, 1.35) * film_rng.normal(1, 0.03))
    image = (image - 0.45) * np.float32(gain) + np.float32(0.45)
    if rng.random() < 0.3:
        cols = np.arange(SHAPE[1], dtype=np.float32)
        edge = float(rng.uniform(4, 26))
        image *= step(np.minimum(cols, SHAPE[1] - 1 - cols), edge - 2.0, edge + 2.0)
    if rng.random() < 0.5:
        letter, column = ("R", 14) if rng.random() < 0.5 else ("L", 195)
        at = (column + int(rng.integers(0, 28)), int(rng.integers(25, 140)))
        stamp = np.zeros(SHAPE, np.uint8)
        cv2.putText(stamp, letter, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
        image = np.maximum(image, stamp.astype(np.float32) * np.float32(0.9 / 255))
    out: Array = np.clip(image, 0, 1).astype(np.float32)
    return out
