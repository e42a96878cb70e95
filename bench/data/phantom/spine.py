"""One patient's spine: levels, sizes, sagittal and coronal curve, and disease, in millimetres.

Patient axes: x grows to the back, y to the feet, z to the right of the patient. Vertebra axes:
posterior (a), caudal (h), lateral (u), with the origin in the middle of the body.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

_LEVELS = (
    (18.5, 24.5, 14.1, 16, 21, 9.6, 8, 3.5, 25, 3, 28, 30),  # T1
    (19.6, 24.9, 15.6, 15.5, 19.3, 11, 7.8, 3.2, 23, 3, 32, 30),  # T2
    (22.7, 24.6, 15.7, 15.6, 18.5, 11.9, 6, 3.2, 20, 3.5, 38, 30),  # T3
    (23.3, 24.5, 16.2, 15.9, 17.3, 12, 5, 3.3, 16, 3.5, 45, 32),  # T4
    (24.3, 24.9, 16.2, 16, 17.3, 11.5, 5, 3.4, 11, 4, 52, 34),  # T5
    (26.0, 26.2, 17.4, 15.8, 17.4, 12, 5.4, 3.6, 5, 4, 56, 36),  # T6
    (27.4, 27.8, 18.2, 15.9, 17.3, 12, 5.9, 3.9, -1, 4, 56, 36),  # T7
    (27.9, 29.5, 18.7, 15.9, 17.7, 12.5, 6.2, 4.2, -6, 4, 52, 34),  # T8
    (29.3, 30.6, 19.3, 15.7, 17.9, 13.9, 6.7, 4.7, -11, 3.5, 44, 30),  # T9
    (30.5, 31.9, 20.2, 15.5, 18.2, 14.9, 7.6, 5.3, -15, 3, 34, 27),  # T10
    (31.9, 34.9, 21.3, 16.1, 19.4, 17.4, 8.4, 6.0, -18, 3, 24, 25),  # T11
    (32.8, 39.0, 22.7, 18.1, 22.2, 16.7, 8.6, 6.8, -19, 3, 16, 25),  # T12
    (34.1, 41.2, 23.8, 19.0, 23.7, 15.9, 8.6, 7.8, -17.5, 2, 11, 27),  # L1
    (34.6, 42.6, 24.3, 18.2, 23.8, 15.0, 8.3, 9.0, -13, 0.5, 9, 29),  # L2
    (35.2, 44.1, 23.8, 17.5, 24.3, 14.4, 10.2, 10.0, -6, -1, 8, 29),  # L3
    (35.5, 46.6, 24.1, 18.6, 25.4, 15.5, 12.5, 10.8, 5, -3, 9, 27),  # L4
    (34.7, 47.3, 22.9, 19.7, 27, 16, 16, 9.5, 21, -8, 14, 21),  # L5
)
"""Measures of each level, T1 to L5, in mm and degrees.

Upper end-plate depth and width, posterior body height, canal depth and width, pedicle height and
width: means of Panjabi et al., Spine 16:888 (1991) and 17:299 (1992). Then the height of the disc
below, the tilt of the body (front end down is positive) of an adult with 40 degrees of sacral
slope, 60 of lumbar lordosis and 45 of kyphosis (Roussouly & Nnadi, Eur Spine J 19:1824, 2010), the
wedge of the body itself, and the drop and length of the spinous process.
"""
(
    _DEPTH,
    _WIDTH,
    _HEIGHT,
    _CANAL_DEPTH,
    _CANAL_WIDTH,
    _PEDICLE_HEIGHT,
    _PEDICLE_WIDTH,
    _DISC,
    _TILT,
    _WEDGE,
    _SPINOUS_DROP,
    _SPINOUS_LENGTH,
) = zip(*_LEVELS, strict=True)
# S1 to S5, typical adult values.
_SACRAL = {
    "depth": (31.0, 22.0, 17.0, 14.0, 11.0),
    "height": (29.0, 24.0, 20.0, 17.0, 15.0),
    "width": (86.0, 72.0, 62.0, 54.0, 40.0),
    "tilt": (4.0, 6.0, 0.0, -12.0, -28.0),
    "canal": (17.0, 13.0, 10.0, 7.0, 5.0),
}
THORACIC = 12
"""Number of thoracic vertebrae: the levels below it."""


@dataclass(frozen=True)
class Vertebra:
    """One vertebra (or sacral piece): its place and rotation, its measures in mm, its disease."""

    level: int  # 0 is T1, 11 is T12, 12 is L1; sacral pieces follow the last lumbar one
    sacral: bool
    depth: float
    width: float
    height: float
    wedge: float  # posterior minus anterior height
    taper: float  # relative loss of depth from the upper to the lower end plate
    concave: tuple[float, float]  # depth of the upper and lower end plate's bowl
    waist: float  # relative loss of depth and width at mid-height
    osteophyte: float  # growth of depth and width at the end plates, relative
    schmorl: tuple[float, float, float]  # depth (negative: lower end plate), a, u
    density: float  # trabecular bone relative to a healthy adult
    canal: tuple[float, float]  # depth, width
    pedicle: tuple[float, float]  # height, width
    # Length, drop in radians, half height at root and at tip.
    spinous: tuple[float, float, float, float]
    lesion: tuple[float, float, float, float]  # haemangioma: a, h, u, radius (0: none)
    modic: tuple[float, float]  # marrow at each end plate: fatty (positive), sclerotic (negative)
    centre: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    axes: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))  # rows a, h, u

    @property
    def thoracic(self) -> bool:
        """Return whether it is one of T1 to T12, and neither lumbar nor sacral."""
        return self.level < THORACIC

    def point(self, a: float, h: float, u: float = 0.0) -> NDArray[np.float64]:
        """Give the patient coordinates of a point in the vertebra's frame."""
        out: NDArray[np.float64] = self.centre + np.array([a, h, u]) @ self.axes
        return out


@dataclass(frozen=True)
class Spine:
    """A patient's vertebrae from T1 to the sacrum's last piece, and the discs below each."""

    vertebrae: tuple[Vertebra, ...]
    disc_height: tuple[float, ...]
    disc_health: tuple[float, ...]  # 1 is a well hydrated nucleus, 0 a black disc
    disc_bulge: tuple[float, ...]  # mm beyond the end plates, to the back
    size: float  # of the patient, 1 on average

    @property
    def mobile(self) -> tuple[Vertebra, ...]:
        """Give the vertebrae above the sacrum."""
        return tuple(v for v in self.vertebrae if not v.sacral)


def build(
    rng: np.random.Generator,
    *,
    disease: float,
    cobb: tuple[float, float] = (0.0, 14.0),
    bend: float = 0.0,
    transitional: bool = True,
) -> Spine:
    """Draw a patient's spine.

    Args:
        rng: the patient's generator.
        disease: 0 for healthy young adults to 1 for an old clinical population.
        cobb: range of the scoliosis angle in degrees.
        bend: degrees by which a film's pose straightens or deepens the coronal curve.
        transitional: allow four or six lumbar vertebrae (about one patient in twelve).
    """
    size = float(np.clip(rng.normal(1.0, 0.06), 0.86, 1.16))
    age = float(np.clip(rng.beta(2, 2) * (0.25 + 0.75 * disease), 0, 1))
    draw = rng.random()
    # Rows of `_LEVELS`: a sixth lumbar vertebra is like L4, and of four L3 is missing.
    lumbar = list(range(12, 17))
    if transitional and draw < 0.05:
        lumbar = [12, 13, 14, 15, 15, 16]
    elif transitional and draw < 0.08:
        lumbar = [12, 13, 15, 16]
    rows = list(range(12)) + lumbar
    tilt, coronal, turn = _curves(rng, rows, cobb, bend)
    height, health, bulge = _discs(rng, rows, age, size, disease)
    shapes = [_shape(rng, row, size, age, disease) for row in rows]
    shapes += [_sacral(rng, piece, size) for piece in range(5)]
    slips = _slips(rng, len(shapes), disease, len(rows))
    vertebrae = _chain(shapes, tilt, coronal, turn, height, slips)
    return Spine(tuple(vertebrae), tuple(height), tuple(health), tuple(bulge), size)


def _curves(
    rng: np.random.Generator, rows: list[int], cobb: tuple[float, float], bend: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw tilt, coronal tilt and axial turn (radians) of each vertebra and sacral piece."""
    # Of this patient: degrees of sacral slope more than 40, lordosis and kyphosis relative to the
    # adult of `_LEVELS`, and degrees by which the whole spine leans.
    slope, lordosis, lean = rng.normal(0, 7), rng.normal(1.0, 0.16), rng.normal(0, 2.5)
    kyphosis = np.clip(rng.normal(1.0, 0.2), 0.5, 1.6)
    base = np.array([_TILT[r] for r in rows], float)
    lumbar = np.array([r >= 12 for r in rows])
    # Both curves begin between T12 and L1, where the tilt is about -18 degrees.
    tilt = np.where(lumbar, (base + 18) * lordosis - 18, (base + 18) * kyphosis - 18)
    share_of_slope = np.clip((np.arange(len(rows)) - 11) / 6.0, 0, 1)  # 0 at T12, 1 at the sacrum
    tilt += lean + slope * share_of_slope + rng.normal(0, 0.8, len(rows))
    plate = 40 + lean + slope + (lordosis - 1) * 40  # degrees of the sacrum's slope
    sacral = plate + np.array(_SACRAL["tilt"]) * rng.uniform(0.6, 1.4)
    tilt = np.concatenate([tilt, sacral])
    # The main curve is half a sine period between its end vertebrae; smaller curves above and below
    # balance it.
    angle = rng.uniform(*cobb) + bend
    apex, half = rng.uniform(5.0, 13.5), rng.uniform(3.0, 4.6)
    side = rng.choice([-1.0, 1.0])
    place = np.arange(len(tilt)) - apex
    fall = np.exp(-((place / (half * 1.9)) ** 2))
    coronal = side * angle / 2 * 1.22 * np.sin(np.clip(place / half, -3.0, 3.0) * np.pi / 2) * fall
    coronal += rng.normal(0, 0.5, len(tilt)) + rng.normal(0, 0.6)
    turn = side * angle * 0.35 * np.cos(np.clip(place / half, -2, 2) * np.pi / 2) * fall
    turn = turn + rng.normal(0, 2.0)
    return np.deg2rad(tilt), np.deg2rad(coronal), np.deg2rad(turn)


def _discs(
    rng: np.random.Generator, rows: list[int], age: float, size: float, disease: float
) -> tuple[list[float], list[float], list[float]]:
    """Draw height, health and bulge of the disc below each vertebra; the sacrum has remnants."""
    heights, health, bulge = [], [], []
    for row in rows:
        low = 0.25 if row >= 14 else 0.0  # the lowest lumbar discs degenerate first
        well = float(np.clip(0.95 - age * 0.9 - low * disease + rng.normal(0, 0.22), 0, 1))
        narrow = 1.0 - 0.55 * max(0.0, 0.45 - well) / 0.45 * rng.uniform(0.3, 1.0)
        heights.append(_DISC[row] * size * narrow * rng.uniform(0.9, 1.1))
        health.append(well)
        bulge.append(float(0.6 + (1 - well) * rng.gamma(2.0, 1.1)))
    # The last five are the remnants below S1 to S5.
    return [*heights, 1.8, 0.6, 0.3, 0.3, 0.3], [*health, *[0.3] * 5], [*bulge, *[0.0] * 5]


def _slips(
    rng: np.random.Generator, count: int, disease: float, mobile: int
) -> NDArray[np.float64]:
    """Draw the forward slip (mm) of each vertebra on the one below.

    A few patients have spondylolisthesis.
    """
    slip = rng.normal(0, 0.35, count)
    if rng.random() < 0.18 * disease:
        level = mobile - 1 - int(rng.integers(0, 3))
        slip[level] += rng.choice([1.0, 1.0, -0.6]) * rng.uniform(3.0, 9.0)
    slip[mobile:] = 0.0
    return slip


def _shape(rng: np.random.Generator, row: int, size: float, age: float, disease: float) -> Vertebra:
    """Draw one vertebra's measures and disease; `_chain` puts it in its place."""
    lumbar = row >= 12
    height = _HEIGHT[row] * size * rng.normal(1.06, 0.025)
    depth = _DEPTH[row] * size * rng.normal(1.0, 0.02)
    wedge = depth * float(np.tan(np.deg2rad(_WEDGE[row] + rng.normal(0, 1.0))))
    concave = [float(rng.uniform(1.0, 2.2)), float(rng.uniform(1.2, 2.6))]
    density = float(np.clip(1.15 - 0.7 * age + rng.normal(0, 0.08), 0.3, 1.3))
    if rng.random() < 0.10 * disease * (1.6 if 9 <= row <= 14 else 0.7):
        kind = rng.integers(0, 3)
        loss = height * rng.uniform(0.18, 0.45)
        if kind == 0:  # anterior wedge fracture
            wedge += loss
            height -= loss / 2
        elif kind == 1:  # biconcave fracture
            concave = [c + loss * 0.45 for c in concave]
        else:  # crush fracture
            height -= loss
        density *= 1.2  # impacted trabeculae
    schmorl = (0.0, 0.0, 0.0)
    if rng.random() < 0.05 + 0.12 * disease:
        sign = rng.choice([-1.0, 1.0])
        pit = rng.uniform((2.5, -0.18 * depth, -8), (6.0, 0.25 * depth, 8))
        schmorl = (float(sign * pit[0]), float(pit[1]), float(pit[2]))
    lesion = (0.0, 0.0, 0.0, 0.0)
    if rng.random() < 0.07:
        low = (-0.2 * depth, -0.2 * height, -10, 3)
        high = (0.2 * depth, 0.2 * height, 10, 8)
        spot = rng.uniform(low, high)
        lesion = (float(spot[0]), float(spot[1]), float(spot[2]), float(spot[3]))
    modic = rng.normal(0, 1, 2) * (rng.random(2) < 0.3 * age * (1.3 if lumbar else 0.5))
    drop = np.deg2rad(_SPINOUS_DROP[row] + rng.normal(0, 4))
    half_heights = (5.5, 8.5) if lumbar else (4.5, 4.2)  # of the spinous process: root and tip
    means = (_SPINOUS_LENGTH[row], *half_heights)
    length, root, tip = (size * mean * float(rng.normal(1, 0.09)) for mean in means)
    return Vertebra(
        level=row,
        sacral=False,
        depth=depth,
        width=_WIDTH[row] * size,
        height=height,
        wedge=wedge,
        taper=float(rng.normal(-0.03, 0.015)),
        concave=(concave[0], concave[1]),
        waist=float(rng.uniform(0.05, 0.13)),
        osteophyte=float(max(0.0, rng.normal(0.02 + 0.16 * age, 0.06))),
        schmorl=schmorl,
        density=density,
        canal=(_CANAL_DEPTH[row] * size * float(rng.uniform(0.88, 1.02)), _CANAL_WIDTH[row] * size),
        pedicle=(_PEDICLE_HEIGHT[row] * size, _PEDICLE_WIDTH[row] * size),
        spinous=(length, float(drop), root, tip),
        lesion=lesion,
        modic=(float(modic[0]), float(modic[1])),
    )


def _sacral(rng: np.random.Generator, piece: int, size: float) -> Vertebra:
    """Draw one sacral piece: a body with wide wings, a narrowing canal and a low crest."""
    depth = _SACRAL["depth"][piece] * size
    canal = _SACRAL["canal"][piece] * size
    return Vertebra(
        level=17 + piece,
        sacral=True,
        depth=depth,
        width=_SACRAL["width"][piece] * size,
        height=_SACRAL["height"][piece] * size,
        wedge=-depth * 0.06,
        taper=0.12,
        concave=(1.2 if piece == 0 else 0.3, 0.3),
        waist=0.03,
        osteophyte=0.0,
        schmorl=(0.0, 0.0, 0.0),
        density=float(rng.normal(0.9, 0.08)),
        canal=(canal, canal * 1.7),
        pedicle=(17.0 * size, 20.0 * size),
        spinous=(9.0 * size, 0.7, 7.0 * size, 5.0 * size),
        lesion=(0.0, 0.0, 0.0, 0.0),
        modic=(0.0, 0.0),
    )


def _chain(
    shapes: list[Vertebra],
    tilt: NDArray[np.float64],
    coronal: NDArray[np.float64],
    turn: NDArray[np.float64],
    discs: list[float],
    slip: NDArray[np.float64],
) -> list[Vertebra]:
    """Stack the bodies on each other along their own axes; S1's upper end plate is the origin."""
    axes = [_axes(t, c, r) for t, c, r in zip(tilt, coronal, turn, strict=True)]
    first = next(i for i, s in enumerate(shapes) if s.sacral)
    half = [s.height / 2 for s in shapes]
    centres = [np.zeros(3)] * len(shapes)
    centres[first] = axes[first][1] * half[first]
    for i in range(first - 1, -1, -1):
        mean = (axes[i][1] + axes[i + 1][1]) / 2
        step = axes[i][1] * half[i] + mean * discs[i] + axes[i + 1][1] * half[i + 1]
        centres[i] = centres[i + 1] - step - axes[i + 1][0] * slip[i]
    for i in range(first + 1, len(shapes)):
        end = centres[i - 1] + axes[i - 1][1] * half[i - 1]
        centres[i] = end + axes[i][1] * (half[i] + discs[i - 1])
    return [replace(s, centre=c, axes=x) for s, c, x in zip(shapes, centres, axes, strict=True)]


def _axes(tilt: float, coronal: float, turn: float) -> NDArray[np.float64]:
    """Give the rows (posterior, caudal, lateral) of a vertebra's frame in patient axes."""
    ct, st, cc, sc = np.cos(tilt), np.sin(tilt), np.cos(coronal), np.sin(coronal)
    down = np.array([st * cc, ct * cc, sc])
    side = np.array([0.0, -sc, cc])
    side -= down * (side @ down)
    side /= np.linalg.norm(side)
    back = np.cross(down, side)
    turned = back * np.cos(turn) + side * np.sin(turn)
    return np.stack([turned, down, side * np.cos(turn) - back * np.sin(turn)])
