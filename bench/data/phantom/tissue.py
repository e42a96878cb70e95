"""Soft tissue around the spine in a sagittal plane, painted with a modality's own intensities."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from bench.data.phantom.shape import Geometry
from bench.data.phantom.spine import Spine
from bench.data.phantom.texture import (
    Array,
    blur,
    cut,
    generator,
    inside,
    layered,
    paint,
    smooth,
    step,
)


@dataclass(frozen=True)
class Palette:
    """Intensities of the tissues: HU for CT, relative T2 signal for MR."""

    air: float
    fat: float
    muscle: float
    lung: float
    organ: float
    vessel: float
    wall: float  # wall of a vessel; calcified in the CT of old patients
    gas: float
    bowel: float
    fluid: float
    ligament: float
    disc: float
    sac: float
    root: float
    texture: float  # amplitude of the patchy texture of organs and fat


@dataclass(frozen=True)
class Loop:
    """A rounded organ in the belly (bowel, vessel, bladder), in mm."""

    before: float  # distance of the organ's centre from the spine's front
    y: float
    z: float
    radii: tuple[float, float, float]  # along x, y and z
    turn: float  # rotation in the sagittal plane, in radians
    fill: str  # gas, bowel, fluid or organ


@dataclass(frozen=True)
class Habitus:
    """The build of a patient's body around the spine, in mm unless said otherwise."""

    fat: float  # thickness of the fat under the skin
    infiltration: float  # share of fat in the deep back muscles
    belly: float  # distance from the spine's front to the front skin
    dome: float  # height of the diaphragm
    aorta: tuple[float, float, float]  # z, radius, gap to the spine
    cava: tuple[float, float, float]
    calcified: float
    loops: tuple[Loop, ...]
    rib: float  # slope of the ribs


def habitus(rng: np.random.Generator, spine: Spine, disease: float) -> Habitus:
    """Draw a patient's build."""
    top = spine.mobile[10].centre[1]
    loops = []
    for _ in range(int(rng.integers(34, 56))):
        low = rng.random() < 0.35
        y = rng.uniform(-10, 90) if low else rng.uniform(top + 40, 0)
        fill = str(rng.choice(["bowel", "bowel", "bowel", "organ", "organ", "gas", "fluid"]))
        size = 4 + 13 * rng.beta(1.2, 2.2)
        ranges = ((0.8, 1.8), (0.7, 1.8), (0.8, 2.0))
        rx, ry, rz = (size * rng.uniform(*span) for span in ranges)
        before, z = rng.uniform(24, 165), rng.uniform(-32, 32)
        loops.append(Loop(before, float(y), z, (rx, ry, rz), rng.uniform(-1, 1), fill))
    return Habitus(
        fat=float(np.clip(rng.gamma(3.0, 5.5), 5, 42)),
        infiltration=float(np.clip(rng.beta(1.6, 4) * (0.5 + disease), 0, 0.8)),
        belly=float(rng.uniform(95, 185)),
        dome=float(top + rng.uniform(-25, 25)),
        aorta=(float(rng.normal(-9, 4)), float(rng.normal(10, 1.2)), float(rng.uniform(2, 6))),
        cava=(float(rng.normal(13, 3)), float(rng.normal(10, 1.5)), float(rng.uniform(2, 5))),
        calcified=float(disease * rng.beta(0.8, 1.2)),
        loops=tuple(loops),
        rib=float(rng.uniform(0.5, 0.9)),
    )


@dataclass(frozen=True)
class Curves:
    """Boundaries at each row of the grid (H,): x in mm unless said otherwise."""

    front: Array  # front of the spine
    trunk: Array  # the same, smoothed: vessels and the belly follow the spine less closely
    canal: Array  # centre of the canal
    slope: Array  # cosine of the canal's slope
    centre: Array  # z of the canal's centre
    depth: Array  # depth of the canal
    tips: Array  # tips of the spinous processes
    skin: Array  # skin of the back


def curves(spine: Spine, build: Habitus, y: Array) -> Curves:
    """Interpolate the spine's landmarks to the rows at heights `y` (H,) mm."""

    def along(points: list[NDArray[np.float64]], axis: int, sigma: float) -> NDArray[np.float64]:
        ys = np.array([p[1] for p in points])
        order = np.argsort(ys)
        values = np.interp(y, ys[order], np.array([p[axis] for p in points])[order])
        return gaussian_filter1d(values, sigma / float(y[1] - y[0]), mode="nearest")

    vs = spine.vertebrae
    fronts, middle = [], []
    for v in vs:
        fronts += [v.point(-v.depth / 2, t * v.height / 2) for t in (-1, 1)]
        behind = v.depth / 2 + v.canal[0] / 2
        middle += [v.point(behind, t * v.height / 2) for t in (-0.8, 0.8)]
    front = along(fronts, 0, 2.0)
    # The belly does not follow the sacrum.
    held = np.where(y > -15, np.interp(-15, y, front), front)
    trunk = gaussian_filter1d(0.35 * front + 0.65 * held, 16 / float(y[1] - y[0]), mode="nearest")
    canal = along(middle, 0, 5.0)
    centre = along(middle, 2, 8.0)
    depth = np.interp(y, [v.centre[1] for v in vs], [v.canal[0] for v in vs])
    ends = [v.point(v.depth / 2 + v.canal[0] + v.spinous[0] * 0.95, v.height * 0.4) for v in vs]
    tips = along(ends, 0, 12.0)
    hull = gaussian_filter1d(np.maximum(tips, gaussian_filter1d(tips, 45 / float(y[1] - y[0]))), 15)
    slope = 1 / np.sqrt(1 + np.gradient(canal, y) ** 2)
    skin = hull + build.fat * (1 + 0.6 * step(y.astype(np.float32), -90, 40)) + 3
    parts = (front, trunk, canal, slope, centre, depth, tips, skin)
    return Curves(*(p.astype(np.float32) for p in parts))


def surroundings(
    key: tuple[str, int, int],
    spine: Spine,
    build: Habitus,
    g: Geometry,
    c: Curves,
    grid: tuple[Array, Array],
    z: float,
    palette: Palette,
) -> Array:
    """Paint everything but bone: fat, muscle, chest, belly, vessels, ligaments, discs and canal.

    Args:
        key: name, seed and patient, for textures that neighbouring slices share.
        spine: the patient's spine.
        build: the patient's habitus.
        g: the spine in this plane.
        c: the boundaries along the rows.
        grid: x and y (H, W) in patient mm.
        z: the plane's place in mm.
        palette: the tissues' intensities.
    """
    x, y = grid
    rng = generator(*key, "tissue")
    pitch = float(x[0, 1] - x[0, 0])
    depth = z / 22.0
    mottle = layered(rng, x.shape, 9 / pitch, depth)
    image = np.full(x.shape, palette.fat, np.float32) + palette.texture * 0.5 * mottle
    # Septa and small vessels in fat: thin curved lines where a smooth field changes its sign.
    for cell, width in ((15.0, 0.07), (8.0, 0.10)):
        septa = np.exp(-((layered(rng, x.shape, cell / pitch, depth) / width) ** 2))
        paint(image, septa * 0.24, palette.muscle)
    _belly(image, rng, build, c, x, y, z, palette, mottle)
    _back(image, rng, build, c, x, y, z, palette)
    _vessels(image, build, c, x, y, z, palette, mottle)
    _canal(image, g, c, x, y, z, palette)
    paint(image, inside(g.root, 1.2), palette.root)
    # Longitudinal ligaments and the capsules that hug the bone.
    paint(image, inside(g.bone - 0.8, 1.2) * 0.4, palette.ligament)
    sag = smooth(rng, x.shape, 60 / pitch)
    for edge in (c.skin[:, None] - x, x - (c.trunk - build.belly)[:, None] + 5 * sag):
        paint(image, inside(edge + sag - 2.0, 1.0), palette.muscle)
        paint(image, inside(edge + sag, 1.0), palette.air)
    return image


def _belly(
    image: Array,
    rng: np.random.Generator,
    build: Habitus,
    c: Curves,
    x: Array,
    y: Array,
    z: float,
    palette: Palette,
    mottle: Array,
) -> None:
    """Paint abdominal wall, liver, chest, bowel loops and the psoas in front of the spine."""
    pitch = float(x[0, 1] - x[0, 0])
    before = c.trunk[:, None] - x  # mm in front of the spine
    warp = layered(rng, x.shape, 22 / pitch, z / 22.0)
    dome = np.float32(build.dome) + (before - 45) ** 2 * np.float32(0.004) + warp * 2
    liver = cut(dome - y, -before + 24 - z * 0.35 + warp * 3, 4)
    liver = cut(liver, y - (build.dome + 95 + z - before * 0.4) - warp * 6, 8)
    veins = np.exp(-((layered(rng, x.shape, 13 / pitch, z / 16.0) / 0.12) ** 2))
    paint(image, inside(liver, 1.6), palette.organ + palette.texture * (0.3 * mottle - 0.9 * veins))
    limit = build.belly - 0.6 * build.fat - 18  # mm from the spine to the abdominal wall
    wall = np.abs(before - np.float32(limit + 6) + warp * 2) - 5
    paint(image, inside(wall, 2.0), palette.muscle)
    # Collapsed small bowel: patches with feathered folds.
    mass = step(layered(rng, x.shape, 17 / pitch, z / 20.0), 0.1, 0.5)
    mass = mass * inside(np.maximum(22 - before, before - limit), 8)
    mass = mass * inside(y - 40 * warp - 10, 20)
    folds = layered(rng, x.shape, (5 / pitch, 3 / pitch), z / 8.0)
    paint(image, mass * 0.8, 0.6 * palette.bowel + 0.4 * palette.muscle + palette.texture * folds)
    values = {
        "gas": palette.gas,
        "bowel": palette.bowel,
        "fluid": palette.fluid,
        "organ": palette.organ,
    }
    for loop in build.loops:
        left = 1 - ((z - loop.z) / loop.radii[2]) ** 2
        rows = np.abs(y[:, 0] - loop.y) < max(loop.radii) + 6
        if left > 0.05 and rows.any():
            fields = (before, y, warp, mottle)
            _loop(image, loop, left, rows, fields, values[loop.fill], palette, limit)
    lung = np.maximum(y - dome + 3, 14 - before + 6 * np.float32(np.exp(-((z / 14) ** 2))))
    paint(image, inside(lung + warp * 1.5, 2.0), palette.lung + palette.texture * 0.4 * mottle)
    # Psoas beside the lumbar bodies, crura of the diaphragm before the upper ones.
    if abs(z) > 17:
        psoas = np.maximum(np.abs(before + 8) - 6 - (abs(z) - 17) * 1.6, -150 - y)
        paint(image, inside(psoas + warp * 2, 2.0), palette.muscle)
    crus = cut(np.abs(before - 4.5 - warp) - 2.4, np.abs(y - np.float32(build.dome + 62)) - 45, 3)
    paint(image, inside(crus, 1.2) * 0.8, palette.muscle)


def _loop(
    image: Array,
    loop: Loop,
    left: float,
    rows: NDArray[np.bool_],
    fields: tuple[Array, ...],
    value: float,
    palette: Palette,
    limit: float,
) -> None:
    """Paint one loop with its wall; `left` is the share of its cross section in this plane."""
    part = image[rows]
    before, y, warp, mottle = (f[rows] for f in fields)
    rx, ry, _ = loop.radii
    dx, dy = before - np.float32(loop.before), y - np.float32(loop.y)
    cs, sn = np.float32(np.cos(loop.turn)), np.float32(np.sin(loop.turn))
    ring = np.sqrt(((dx * cs + dy * sn) / rx) ** 2 + ((dy * cs - dx * sn) / ry) ** 2)
    blob = (ring - np.float32(np.sqrt(left))) * min(rx, ry) + warp * 1.8
    behind = inside(np.maximum(12 - before, before - limit), 6)
    paint(part, inside(blob - 1.6, 1.4) * behind * 0.8, palette.muscle)
    paint(part, inside(blob + 0.4 * mottle, 1.6) * behind, value + palette.texture * mottle)
    image[rows] = part


def _back(
    image: Array,
    rng: np.random.Generator,
    build: Habitus,
    c: Curves,
    x: Array,
    y: Array,
    z: float,
    palette: Palette,
) -> None:
    """Paint the back muscles with their fat streaks, the interspinous ligaments and the fascia."""
    pitch = float(x[0, 1] - x[0, 0])
    side = float(np.clip((abs(z - float(c.centre.mean())) - 3) / 6, 0, 1))
    fascia = c.tips[:, None] + np.float32(1.0 + 7.0 * side)
    start = (c.canal + c.depth * 0.3)[:, None]
    # Fibres run along the back: noise stretched down the rows, sampled at the position across the
    # muscle.
    place = (x - c.tips[:, None] + y * np.float32(0.12)) / np.float32(pitch)
    place = place + np.float32(x.shape[1] * 0.7)
    down = np.arange(x.shape[0], dtype=np.float32)[:, None] + np.zeros_like(x)

    def sampled(cell: tuple[float, float]) -> Array:
        noise = layered(rng, x.shape, cell, z / 14.0)
        edges = cv2.BORDER_REFLECT_101
        return np.asarray(cv2.remap(noise, place, down, cv2.INTER_LINEAR, None, edges))

    fibres = sampled((16 / pitch, 1.7 / pitch))
    coarse = sampled((24 / pitch, 6 / pitch))
    low = step(y, -140, 0)
    fatty = build.infiltration
    streak = step(fibres * 0.6 + coarse * 0.7, 1.5 - 2.2 * fatty, 2.4 - 1.4 * fatty)
    streak = np.clip(streak * (0.45 + low) + fatty * 0.25 * low, 0, 1)
    muscle = palette.muscle + (palette.fat - palette.muscle) * streak
    muscle = muscle + palette.texture * 0.35 * fibres
    between = step(coarse + fibres * 0.5, -0.6, 1.0)  # fat and fibres between the spinous processes
    ligament = palette.ligament * 0.4 + muscle * 0.6 + (palette.fat - muscle) * 0.75 * between
    region = np.maximum(start - x, x - fascia)
    paint(image, inside(region, 2.0), muscle * np.float32(side) + ligament * np.float32(1 - side))
    paint(image, inside(np.abs(x - fascia) - 0.6, 1.0) * 0.8, palette.ligament)


def _vessels(
    image: Array,
    build: Habitus,
    c: Curves,
    x: Array,
    y: Array,
    z: float,
    palette: Palette,
    mottle: Array,
) -> None:
    """Paint the aorta and the vena cava, which end at L4, with calcified plaques in old aortas."""
    before = np.minimum(c.trunk, c.front)[:, None] - x
    for z0, radius, gap in (build.aorta, build.cava):
        # Vessels wander sideways, so that one slice does not show them over their whole course.
        aside = z - np.float32(z0) - 4 * np.sin(y[:, 0] / 55 + np.float32(z0 + radius))
        chord = np.float32(radius**2) - aside**2
        if chord.max() <= 1:
            continue
        half = np.where(chord > 0, np.sqrt(np.maximum(chord, 0)), np.float32(-3))[:, None]
        half = half * (1 - 0.5 * step(y, -70, -30))
        tube = np.abs(before - np.float32(gap + radius) + mottle * 0.8) - half
        tube = cut(tube, y + np.float32(28), 6.0)
        paint(image, inside(tube - 1.2, 1.2), palette.fat * 0.4 + palette.muscle * 0.6)
        paint(image, inside(tube, 1.2), palette.vessel)
        if (z0, radius, gap) == build.aorta:
            old = build.calcified
            plaque = step(blur(mottle, 1.0), 1.1 - 1.3 * old, 1.5 - 1.3 * old)
            weight = inside(np.abs(tube) - 0.9, 1.0) * plaque * float(old > 0.3)
            paint(image, weight, palette.wall)


def _canal(
    image: Array, g: Geometry, c: Curves, x: Array, y: Array, z: float, palette: Palette
) -> None:
    """Paint the discs, the fat of the canal and foramina, and the dural sac inside it."""
    off = np.abs(x - c.canal[:, None]) * c.slope[:, None]
    half = c.depth[:, None] / 2
    across = np.float32(z) - c.centre[:, None]
    canal = np.maximum(off - half, np.abs(across) - half * 1.6)
    paint(image, inside(canal, 1.5), palette.fat)
    paint(image, inside(g.disc, 1.0), palette.disc)
    sac = sac_distance(g, c, x, y, z)
    paint(image, inside(sac - 0.5, 0.8), palette.ligament)
    paint(image, inside(sac, 0.8), palette.sac)


def sac_distance(g: Geometry, c: Curves, x: Array, y: Array, z: float) -> Array:
    """Give the distance to the dural sac, which tapers to S2; bulging discs narrow it."""
    across = (np.float32(z) - c.centre)[:, None]
    taper = 1 - step(y, -25, 48) * np.float32(0.75)
    rx, rz = c.depth[:, None] * 0.40 * taper, c.depth[:, None] * 0.56 * taper
    chord = 1 - (across / rz) ** 2
    off = (x - c.canal[:, None] + c.depth[:, None] * 0.04) * c.slope[:, None]
    outside = np.where(chord <= 0, np.float32(8), np.float32(0))
    sac = np.abs(off) - rx * np.sqrt(np.maximum(chord, 0)) + outside
    sac = cut(sac, y - np.float32(50), 3.0)
    return np.maximum(sac, np.float32(0.8) - np.minimum(g.disc, g.bone))
