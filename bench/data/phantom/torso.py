"""The absorption of chest, belly, ribs, shoulders and pelvis on a film."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data.phantom.film import SHAPE, Film, grid_of
from bench.data.phantom.texture import Array, blur, inside, layered, smooth, step


def soft_tissue(film: Film, rng: np.random.Generator) -> tuple[Array, Array]:
    """Give the soft tissue's absorption and the share of lung in each pixel's path."""
    y, z = grid_of(film)
    vs = film.spine.mobile
    level = [float(v.centre[1]) for v in vs]
    line = np.interp(y[:, 0], level, [v.centre[2] for v in vs]).astype(np.float32)[:, None]
    middle = blur(line * 0.55 + np.zeros_like(z), 30.0)
    wave = smooth(rng, SHAPE, 45)
    dome_y = level[9] + rng.uniform(-14, 14)
    right = np.float32(dome_y) + ((z - 55) / 9) ** 2 - 6 + wave * 3
    left = np.float32(dome_y + 9) + ((z + 55) / 9) ** 2 - 6 + wave * 3
    above = np.where(z > middle, right, left) - y  # mm above the diaphragm
    width = np.float32(rng.uniform(26, 34)) + 6 * step(y, level[3], level[8])
    heart_y, heart = level[7], rng.uniform(38, 52)
    bulge = np.sqrt(((z + 28) / heart) ** 2 + ((y - heart_y) / 58) ** 2) - 1
    knob = np.hypot(z + 24, y - level[3]) / 17 - 1
    # Negative within the spine with its vessels, the heart or the knob of the aorta.
    mediastinum = np.minimum((np.abs(z - middle) - width + wave * 2) / 30, bulge)
    mediastinum = np.minimum(mediastinum, knob)
    apex = y - np.float32(level[0] + 2)  # mm below the top of the lungs
    lung = step(mediastinum, -0.12, 0.2) * inside(-above, 9) * inside(-apex, 30)
    lung *= inside(np.abs(z) - 118, 8)
    soft = 0.46 + 0.05 * wave + 0.16 * step(above, 12, -60)
    soft -= lung * (0.24 + 0.04 * smooth(rng, SHAPE, (26, 12)))
    trachea = np.exp(-(((z - middle + 2) / 8.5) ** 2)) * inside(y - np.float32(level[4]), 14)
    soft -= 0.09 * trachea
    soft += 0.05 * inside(bulge * 30, 12)
    _bowel(soft, y, z, above, rng)
    soft += 0.05 * layered(rng, SHAPE, (80, 60), 0.0)
    return soft, lung


def _bowel(soft: Array, y: Array, z: Array, above: Array, rng: np.random.Generator) -> None:
    """Darken gas in the stomach and bowel and mottle the stool, below the diaphragm."""
    low, high = float(y.min()), float(y.max())
    wobble = smooth(rng, SHAPE, 14)
    for k in range(int(rng.integers(9, 22))):
        cy, cz = -140.0, -55.0  # the stomach
        if k:  # anywhere in the bowel
            cy, cz = low + (high - low) * rng.uniform(0.62, 1.0), rng.uniform(-105, 105)
        ry, rz = rng.uniform(7, 26), rng.uniform(7, 24)
        blob = (np.hypot((y - cy) / ry, (z - cz) / rz) - 1) * min(ry, rz) + wobble * 2.5
        soft -= inside(blob, 4) * inside(above, 6) * np.float32(rng.uniform(0.03, 0.13))
    stool = step(smooth(rng, SHAPE, 60), 0.3, 1.2) * inside(above, 10)
    soft -= 0.028 * stool * smooth(rng, SHAPE, 5)


def _strokes(paths: list[NDArray[np.float64]], width: float) -> Array:
    """Draw tubes of `width` pixels seen from the side: bright rims, fainter inside."""
    outer, inner = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    points = [np.round(p * 16).astype(np.int32).reshape(-1, 1, 2) for p in paths]
    cv2.polylines(outer, points, False, 255, max(2, round(width)), cv2.LINE_AA, 4)
    cv2.polylines(inner, points, False, 255, max(1, round(width - 3)), cv2.LINE_AA, 4)
    return blur(outer.astype(np.float32) * 0.0042 - inner.astype(np.float32) * 0.0023, 0.7)


def ribs(film: Film, rng: np.random.Generator) -> Array:
    """Draw the twelve pairs of ribs: back parts strong, front parts faint and rising."""
    reaches = (52, 78, 92, 100, 106, 112, 116, 118, 118, 112, 88, 52)
    drops = (14, 20, 26, 32, 36, 40, 44, 48, 54, 60, 58, 44)
    out = np.zeros(SHAPE, np.float32)
    spread = rng.uniform(0.75, 1.2)
    for parity in (0, 1):  # neighbours in two drawings, so that both are seen where they overlap
        back, front = [], []
        for k in range(parity, 12, 2):
            v = film.spine.vertebrae[k]
            for side in (-1.0, 1.0):
                start = v.point(v.depth * 0.45, -v.height * 0.45, side * (v.width / 2 + 1))
                reach = reaches[k] * rng.normal(1, 0.03)
                drop = drops[k] * spread * rng.normal(1, 0.08)
                s = np.linspace(0, 1, 14)
                across = side * reach * np.sin(s * np.pi / 2)
                down = drop * s**1.9 - 7 * np.sin(np.pi * np.minimum(s * 1.6, 1))
                # Known: the ribs tilt against their vertebra; a mend needs another VERSION.
                down = down - side * np.sin(v.axes[2][1]) * reach * s
                points = np.stack([np.full(14, start[0]), start[1] + down, start[2] + across], 1)
                back.append(np.stack([film.pixel(p) for p in points]))
                if 1 <= k <= 8:  # ribs 2 to 9 come round to the front
                    end = points[-1]
                    down = end[1] + 10 + 70 * s**0.8
                    across = end[2] - across * 0.75 * s**1.6
                    fore = np.stack([np.zeros(14), down, across], 1)
                    front.append(np.stack([film.pixel(p) for p in fore]))
        out += _strokes(back, 10.5 / film.scale[0]) + 0.35 * _strokes(front, 11 / film.scale[0])
    return out


def girdles(film: Film, rng: np.random.Generator) -> Array:
    """Draw clavicles and shoulder blades above, sacrum and iliac wings below."""
    vs = film.spine.vertebrae
    out = np.zeros(SHAPE, np.float32)
    s = np.linspace(0, 1, 12)
    clavicles, blades, wings = [], [], []
    t3, l5, l4 = (vs[k].centre.astype(np.float32) for k in (2, 16, 15))
    for side in (-1.0, 1.0):
        rise = rng.uniform(-4, 22)
        down = t3[1] + 4 - rise * s + 5 * np.sin(s * 2 * np.pi)
        path = np.stack([0 * s, down, t3[2] * 0.5 + side * (14 + 120 * s)], 1)
        clavicles.append(np.stack([film.pixel(p) for p in path]))
        edge = rng.uniform(66, 84)
        path = np.stack([0 * s, t3[1] - 5 + 110 * s, side * (edge + 26 * (s - 0.45) ** 2 * 4)], 1)
        blades.append(np.stack([film.pixel(p) for p in path]))
        arc = s * 2.6
        down = l5[1] + 16 - 46 * np.sin(arc * 0.75)
        path = np.stack([0 * s, down, l4[2] + side * (34 + 92 * s)], 1)
        wings.append(np.stack([film.pixel(p) for p in path]))
    out += 0.6 * _strokes(clavicles, 12 / film.scale[0]) + 0.6 * _strokes(blades, 5)
    y, z = grid_of(film)
    filled = np.zeros(SHAPE, np.uint8)
    for wing in wings:
        low = np.vstack([wing, [wing[-1][0], SHAPE[0]], [wing[0][0], SHAPE[0]]])
        cv2.fillPoly(filled, [np.round(low * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    out += blur(filled.astype(np.float32), 1.5) * np.float32(0.0014) + 0.5 * _strokes(wings, 5)
    half_width = 50 - (y - l5[1] - 12) * 0.38  # of the sacrum, which tapers
    beside = np.abs(z - l5[2]) - half_width
    sacrum = np.maximum(beside, l5[1] + 15 - y + (z - l5[2]) ** 2 * np.float32(0.008))
    out += 0.4 * inside(sacrum, 7) + 0.3 * np.exp(-((beside / 2.2) ** 2)) * inside(sacrum - 3, 6)
    for row in range(3):  # its foramina
        for side in (-1, 1):
            across = z - l5[2] - side * (19 - row * 3)
            hole = np.hypot(across, (y - l5[1] - 36 - 22 * row) * 1.2) - 5
            out -= 0.3 * inside(hole, 3) * inside(sacrum, 4)
    return out
