"""Sagittal T2 MR: bright fluid, dark cortex and ligaments, surface coil shading, Rician noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.data.phantom.levels import of_vertebrae, spider, with_discs
from bench.data.phantom.sagittal import Plane, Protocol, distance_of, mask_of, plane_of
from bench.data.phantom.texture import (
    Array,
    blur,
    enlarge,
    generator,
    inside,
    layered,
    paint,
    smooth,
    step,
)
from bench.data.phantom.tissue import Palette, sac_distance, surroundings

MR = Protocol(
    shape=(880, 880),
    factor=2,
    spacing=(0.32, 0.38),
    low=(45.0, 95.0),
    place=0.60,
    reach=15.0,
    disease=0.75,
    cobb=5.0,
    cut_labelled=True,
    tracing=0.36,
)


def render(
    name: str, seed: int, patient: int, place: tuple[int, int], levels: bool = False
) -> tuple[Array, NDArray[np.uint8], tuple[float, float]]:
    """Render one MR slice.

    Returns:
        Image (H, W) in [0, 1], mask (H, W) of 0 and 1 or labels by level, spacing in mm.
    """
    plane, before, behind = (
        plane_of(name, seed, patient, place, MR, offset) for offset in (0.0, -1.3, 1.3)
    )
    who = plane.patient
    rng = generator(name, seed, patient, "scanner")
    fat = float(rng.uniform(0.62, 0.85))
    palette = Palette(
        air=0.0,
        fat=fat,
        muscle=float(rng.uniform(0.14, 0.22)),
        lung=0.04,
        organ=0.22,
        vessel=0.05,
        wall=0.1,
        gas=0.02,
        bowel=0.42,
        fluid=0.9,
        ligament=0.06,
        disc=0.14,
        sac=1.0,
        root=0.3,
        texture=0.07,
    )
    key = (name, seed, patient)
    level = float(rng.uniform(0.34, 0.55))
    # A slice is 4 mm thick: the mean of two planes blurs everything that runs obliquely through it.
    first = _signal(key, before, palette, level)
    second = _signal(key, behind, palette, level)
    signal: Array = (first + second) / 2
    signal = blur(np.maximum(signal, 0), float(rng.uniform(0.45, 0.75)))
    signal *= _coil(plane, rng)
    signal = enlarge(_rician(signal, plane.rng, float(rng.uniform(0.018, 0.05))), MR.shape)
    image: Array = np.clip(signal * np.float32(rng.uniform(0.75, 1.1)), 0, 1)
    mask = mask_of(plane, MR)
    if levels:
        mask = of_vertebrae(mask, plane, spider(len(who.spine.mobile)))
        mask = with_discs(mask, plane, MR)
    return image, mask, (who.spacing, who.spacing)


def distance(name: str, seed: int, patient: int, positions: int) -> float | None:
    """Return the mm from a slice of a patient to the next, None where there is one slice."""
    return distance_of(name, seed, patient, positions, MR)


def _signal(key: tuple[str, int, int], plane: Plane, palette: Palette, level: float) -> Array:
    """Give the T2 signal of one thin plane; `level` is the marrow's."""
    who = plane.patient
    grid = (who.x, who.y)
    signal = surroundings(
        key, who.spine, who.habitus, plane.geometry, who.curves, grid, plane.z, palette
    )
    _nuclei(signal, plane)
    _cord(signal, plane)
    _bone(signal, plane, level)
    return signal


def _nuclei(signal: Array, plane: Plane) -> None:
    """Paint the discs with a dark annulus.

    The nucleus is bright with a dark cleft in a healthy disc, and dark in a degenerated one.
    """
    g, spine = plane.geometry, plane.patient.spine
    health = np.array([*spine.disc_health, 0.0], np.float32)[g.disc_owner]
    grain = smooth(plane.rng, signal.shape, 4.0)
    core = step(np.hypot(g.disc_a * 0.95 - 0.06, g.disc_h * 0.75) + 0.08 * grain, 1.0, 0.3)
    cleft = np.exp(-((g.disc_h / 0.13) ** 2)) * step(np.abs(g.disc_a), 0.75, 0.4)
    healthy = 0.60 * health * core * (1 - 0.4 * cleft)
    degenerated = 0.09 * (1 - health) * core
    paint(signal, inside(g.disc, 0.9), 0.09 + healthy + degenerated + 0.03 * grain * core)


def _cord(signal: Array, plane: Plane) -> None:
    """Paint the cord down to its conus at L1, and below it the roots of the cauda equina."""
    who, g = plane.patient, plane.geometry
    c, x, y = who.curves, who.x, who.y
    rng = generator(who.spine.size.hex(), "cord")
    end = float(who.spine.mobile[12].centre[1]) + rng.uniform(-22, 18)
    sac = sac_distance(g, c, x, y, plane.z)
    across = (np.float32(plane.z) - c.centre)[:, None]
    slim = 1 - step(y, end - 45, end) * np.float32(0.95)
    wide = np.sqrt(np.maximum(1 - (across / (4.8 * slim + 0.01)) ** 2, 0)) * 3.6 * slim
    off = (x - c.canal[:, None] - step(y, end - 40, end) * 2.0) * c.slope[:, None]
    cord = np.abs(off) - wide
    paint(signal, inside(cord, 1.0) * inside(sac, 1.0) * (slim > 0.1), 0.42)
    # Roots are threads along the canal: noise stretched in y, sampled at the position across the
    # sac.
    threads = smooth(plane.rng, signal.shape, (60.0, 1.6))
    columns = np.clip((off * 2 + 40).astype(np.int32), 0, signal.shape[1] - 1)
    strand = np.take_along_axis(threads, columns, axis=1)
    behind = step(off, -2.5, 3.0) * step(y, end - 25, end) * step(y, 40, 0)
    paint(signal, inside(sac + 0.6, 0.8) * behind * step(strand, -0.2, 0.9) * 0.75, 0.5)


def _bone(signal: Array, plane: Plane, level: float) -> None:
    """Paint marrow and dark cortex, and the patient's Modic changes, veins and haemangiomas."""
    who, g = plane.patient, plane.geometry
    vertebrae = who.spine.vertebrae
    rng = generator(who.spine.size.hex(), "marrow")
    pitch = float(who.x[0, 1] - who.x[0, 0])
    patches = layered(rng, signal.shape, 5 / pitch, plane.z / 10.0)
    grain = smooth(plane.rng, signal.shape, 1.6)
    own = np.array([rng.normal(0, 0.02) for _ in vertebrae] + [0.0], np.float32)[g.owner]
    marrow = level + own + 0.045 * patches + 0.02 * grain
    upper = np.array([v.modic[0] for v in vertebrae] + [0.0], np.float32)[g.owner]
    lower = np.array([v.modic[1] for v in vertebrae] + [0.0], np.float32)[g.owner]
    inner = inside(g.body, 1.0)
    spread = 0.25 * patches
    modic = upper * step(g.h + spread, -0.35, -0.95) + lower * step(g.h + spread, 0.35, 0.95)
    marrow += 0.13 * inner * modic
    vein = np.exp(-((g.h / 0.13) ** 2)) * step(g.a, 0.25, 0.95) * np.exp(-((g.u / 6) ** 2))
    paint(marrow, vein * inner * 0.8, level + 0.3)
    for v in vertebrae:
        a, h, u, radius = v.lesion
        left = radius**2 - (plane.z - v.centre[2] - u) ** 2
        if left > 1:
            px, py, _ = v.point(a, h)
            ball = np.hypot(who.x - np.float32(px), who.y - np.float32(py))
            ball = ball - np.float32(np.sqrt(left))
            paint(marrow, inside(ball + patches, 2.0), level + 0.3 + 0.1 * grain)
    posterior = step(g.body, 1.0, 4.0)
    marrow *= 1 - 0.15 * posterior
    rind = inside(-g.bone - (0.6 + 0.3 * posterior), 0.9)
    paint(signal, inside(g.bone, 0.9), marrow + (0.05 - marrow) * rind)


def _coil(plane: Plane, rng: np.random.Generator) -> Array:
    """Give the surface coil's sensitivity: high behind the spine, low in front and at both ends."""
    who = plane.patient
    before = np.maximum(who.curves.skin[:, None] - who.x, 0)
    y = (who.y - who.y.mean()) / np.float32(np.ptp(who.y))
    fall = np.exp(-before / np.float32(rng.uniform(110, 330)))
    ends = 1 - np.float32(rng.uniform(0.1, 1.0)) * (y - np.float32(rng.uniform(-0.12, 0.12))) ** 2
    slow = 1 + 0.10 * smooth(rng, before.shape, 130.0)
    out: Array = (fall * ends * slow * np.float32(1.55)).astype(np.float32)
    return out


def _rician(signal: Array, rng: np.random.Generator, sigma: float) -> Array:
    """Add the noise of a magnitude image: Gaussian in the real and imaginary channel."""
    real = signal + rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(sigma)
    imaginary = rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(sigma)
    out: Array = np.hypot(real, imaginary)
    return out
