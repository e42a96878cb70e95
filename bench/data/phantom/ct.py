"""Sagittal CT: Hounsfield units of bone and soft tissue, sharpness, noise and metal streaks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data.phantom.levels import of_vertebrae, verse
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
from bench.data.phantom.tissue import Palette, surroundings

WINDOW = (-250.0, 1000.0)  # HU


@dataclass(frozen=True)
class Kernel:
    """A scanner's ranges over patients: `sharp` is the blur in mm, `noise` is in HU."""

    sharp: tuple[float, float]
    noise: tuple[float, float]
    metal: float  # share of patients


VERSE = Protocol(
    shape=(369, 166),
    factor=1,
    spacing=(0.92, 1.08),
    low=(20.0, 75.0),
    place=0.41,
    reach=15.0,
    disease=0.85,
    cobb=8.0,
    cut_labelled=False,
    tracing=0.30,
)
PRIVATE = Protocol(
    shape=(768, 534),
    factor=2,
    spacing=(0.42, 0.50),
    low=(40.0, 85.0),
    place=0.55,
    reach=12.0,
    disease=0.15,
    cobb=3.0,
    cut_labelled=True,
    tracing=0.28,
)
KERNELS = {
    "ct-verse": (VERSE, Kernel((0.55, 0.9), (28.0, 75.0), 0.06)),
    "ct-pri": (PRIVATE, Kernel((0.45, 0.6), (16.0, 34.0), 0.0)),
}


def render(
    name: str, seed: int, patient: int, place: tuple[int, int], levels: bool = False
) -> tuple[Array, NDArray[np.uint8], tuple[float, float]]:
    """Render one CT slice.

    Returns:
        Image (H, W) in [0, 1], mask (H, W) of 0 and 1 or labels by level, spacing in mm.
    """
    protocol, kernel = KERNELS[name]
    plane = plane_of(name, seed, patient, place, protocol)
    who, rng = plane.patient, generator(name, seed, patient, "scanner")
    contrast = float(rng.choice([45.0, 45.0, rng.uniform(120, 260)]))
    palette = Palette(
        air=-1000,
        fat=-100,
        muscle=52,
        lung=-820,
        organ=62 + contrast * 0.12,
        vessel=contrast,
        wall=620,
        gas=-900,
        bowel=float(rng.choice([25.0, 30.0, 180.0])),
        fluid=12,
        ligament=60,
        disc=88,
        sac=15,
        root=30,
        texture=9,
    )
    key = (name, seed, patient)
    hu = surroundings(
        key, who.spine, who.habitus, plane.geometry, who.curves, (who.x, who.y), plane.z, palette
    )
    hu = enlarge(hu, protocol.shape)
    _bone(hu, plane, protocol, rng)
    sharp = rng.uniform(*kernel.sharp) / who.spacing
    hu = blur(hu, float(sharp))
    if rng.random() < kernel.metal:
        _metal(hu, plane, rng)
    hu += _noise(plane.rng, protocol.shape, float(rng.uniform(*kernel.noise)), who.spacing)
    image = np.clip((hu - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)
    mask = mask_of(plane, protocol)
    if levels:
        mask = of_vertebrae(mask, plane, verse(len(who.spine.mobile)))
    return image, mask, (who.spacing, who.spacing)


def distance(name: str, seed: int, patient: int, positions: int) -> float | None:
    """Return the mm from a slice of a patient to the next, None where there is one slice."""
    return distance_of(name, seed, patient, positions, KERNELS[name][0])


def _bone(hu: Array, plane: Plane, protocol: Protocol, rng: np.random.Generator) -> None:
    """Paint cortex and trabecular bone; thin shells and low HU where density is lost."""
    who, coarse = plane.patient, plane.geometry
    distance, body, along, height = (
        enlarge(f, protocol.shape) for f in (coarse.bone, coarse.body, coarse.a, coarse.h)
    )
    table = np.array([v.density for v in who.spine.vertebrae] + [1.0], np.float32)
    density = enlarge(blur(table[coarse.owner], 0.8), protocol.shape)
    pitch = who.spacing
    mesh = smooth(plane.rng, protocol.shape, (1.3 / pitch, 0.9 / pitch))
    patches = layered(rng, protocol.shape, 6 / pitch, plane.z / 12.0)
    marrow = 185 * density + 60 * density * mesh + 26 * patches
    # Trabeculae thicken towards the end plates; the basivertebral vein leaves a soft cleft at
    # mid-height.
    marrow += 60 * step(np.abs(height), 0.6, 1.0) * inside(body, 1.0)
    vein = np.exp(-((height / 0.16) ** 2)) * step(along, 0.1, 0.9)
    vein = vein * float(np.exp(-((plane.z / 7) ** 2)))
    marrow -= 150 * vein * inside(body, 2.0)
    for i, v in enumerate(who.spine.vertebrae):
        if v.lesion[3]:
            _haemangioma(marrow, plane, protocol, i)
    shell = 0.55 + 0.45 * density
    posterior = step(body, 1.0, 4.0)
    rind = inside(-distance - shell * (1.15 + 0.55 * posterior), 0.9)
    cortex = (640 + 260 * posterior) * (0.6 + 0.4 * density) + 70 * patches
    paint(hu, inside(distance, 0.7), marrow + (cortex - marrow) * rind)


def _haemangioma(marrow: Array, plane: Plane, protocol: Protocol, index: int) -> None:
    """Replace the marrow by fat with a few thick trabeculae (polka dots)."""
    v = plane.patient.spine.vertebrae[index]
    a, h, u, radius = v.lesion
    left = radius**2 - (plane.z - v.centre[2] - u) ** 2
    if left <= 1:
        return
    x, y = (enlarge(f, protocol.shape) for f in (plane.patient.x, plane.patient.y))
    px, py, _ = v.point(a, h)
    ball = np.hypot(x - np.float32(px), y - np.float32(py)) - np.float32(np.sqrt(left))
    pitch = plane.patient.spacing
    dots = smooth(plane.rng, protocol.shape, (9 / pitch, 1.7 / pitch))
    paint(marrow, inside(ball, 2.5), -20 + 420 * step(dots, 0.6, 1.5))


def _noise(rng: np.random.Generator, shape: tuple[int, int], amount: float, pitch: float) -> Array:
    """Draw reconstruction noise: a fine grain whose strength varies from row to row."""
    white = rng.standard_normal(shape, dtype=np.float32)
    grain = blur(white, 0.42 / pitch) - blur(white, 1.5 / pitch)
    rows = smooth(rng, (shape[0], 1), 2.0)
    return grain * np.float32(amount / grain.std()) * (1 + 0.18 * rows)


def _metal(hu: Array, plane: Plane, rng: np.random.Generator) -> None:
    """Add a screw's cross section with the dark and bright streaks it casts along the rows."""
    who = plane.patient
    mobile = who.spine.mobile
    pitch = who.spacing
    for i in rng.choice(np.arange(len(mobile) - 5, len(mobile)), 2, replace=False):
        v = mobile[int(i)]
        side = v.canal[1] / 2 + v.pedicle[1] * 0.45  # mm from the midline to a pedicle
        if abs(abs(plane.z - v.centre[2]) - side) > 5:
            continue  # the plane does not meet the screw
        ends = []
        for point in (
            v.point(v.depth / 2 + v.canal[0] + 8, -v.height * 0.28),
            v.point(-v.depth * 0.15, -v.height * 0.2),
        ):
            column = round((point[0] - float(who.x[0, 0])) / pitch)
            row = round((point[1] - float(who.y[0, 0])) / pitch)
            ends.append((column, row))
        mask = np.zeros(hu.shape, np.uint8)
        cv2.line(mask, ends[0], ends[1], 1, max(2, round(5 / pitch)))
        screw = blur(mask.astype(np.float32), 0.6)
        streak = blur(screw, (1.2, 28.0)) * (1 + 0.8 * smooth(plane.rng, hu.shape, (2.5, 60.0)))
        hu += 900 * streak - 1500 * blur(screw, (6.0, 22.0))
        paint(hu, np.clip(screw, 0, 1), 3000.0)
