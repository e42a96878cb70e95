"""Signed distances of vertebrae, discs and canal in a sagittal plane.

Edges, cortex and mask all come from them. In a vertebra's frame `a` grows to the back, `h` to the
feet and `u` to the right, in mm from the middle of the body; `side` is the distance from the
midline, since both sides are alike. `spine` has the measures that are published; the further
numbers here only give the parts their form.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from bench.data.phantom.spine import Spine, Vertebra
from bench.data.phantom.texture import Array, cut, union

FAR = np.float32(40.0)
"""Distance in mm where nothing is near."""
LONGER = 0.16
"""By which share of its half depth the ellipse of a body is longer than the body, to the back."""


@dataclass
class Geometry:
    """The anatomy in a sagittal plane, on the grid (x, y) in mm; distances are negative inside."""

    bone: Array  # all vertebrae and the sacrum
    body: Array  # their bodies alone
    owner: NDArray[np.int16]  # index of the nearest vertebra; -1 where there is none, or a rib
    a: Array  # position in the owner's frame, relative to half its depth
    h: Array  # the same, relative to half its height
    u: Array  # mm from the owner's midline
    disc: Array
    disc_a: Array  # position in the nearest disc, relative to half its depth and height
    disc_h: Array
    disc_owner: NDArray[np.int16]  # index of the nearest disc; -1 where there is none
    rib: Array
    root: Array  # nerve roots in the foramina


def cut_plane(spine: Spine, x: Array, y: Array, z: float) -> Geometry:
    """Cut the spine with the sagittal plane at `z` mm; `x` and `y` (H, W) are in patient mm."""
    shape = x.shape
    g = Geometry(
        bone=np.full(shape, FAR, np.float32),
        body=np.full(shape, FAR, np.float32),
        owner=np.full(shape, -1, np.int16),
        a=np.zeros(shape, np.float32),
        h=np.zeros(shape, np.float32),
        u=np.zeros(shape, np.float32),
        disc=np.full(shape, FAR, np.float32),
        disc_a=np.zeros(shape, np.float32),
        disc_h=np.zeros(shape, np.float32),
        disc_owner=np.full(shape, -1, np.int16),
        rib=np.full(shape, FAR, np.float32),
        root=np.full(shape, FAR, np.float32),
    )
    second = np.full(shape, FAR, np.float32)  # distance to the second nearest vertebra
    for index, v in enumerate(spine.vertebrae):
        box = _box(v, x, y)
        if box is None:
            continue
        a, h, u = _in_frame(v.centre, v.axes, x[box], y[box], z)
        whole, own_body = vertebra(v, a, h, u)
        nearer = whole < g.bone[box]
        second[box] = np.where(nearer, g.bone[box], np.minimum(second[box], whole))
        for target, value in (
            (g.bone, whole),
            (g.owner, index),
            (g.a, a / (v.depth / 2)),
            (g.h, h / (v.height / 2)),
            (g.u, u),
        ):
            target[box] = np.where(nearer, value, target[box])
        g.body[box] = np.minimum(g.body[box], own_body)
        if not v.sacral:
            g.root[box] = np.minimum(g.root[box], _root(v, a, h, u))
        if v.thoracic:
            own_rib = _rib(v, a, h, np.abs(u)) + np.float32(0.4)  # thinner by 0.4 mm all around
            nearer = own_rib < np.minimum(g.bone[box], g.rib[box])
            # Ribs are unlabelled, so no vertebra owns them. Within 3 mm this also holds beside
            # them: a traced edge does not lie farther out.
            g.owner[box] = np.where(nearer & (own_rib < 3), -1, g.owner[box])
            g.rib[box] = np.minimum(g.rib[box], own_rib)
    # Cartilage of 0.45 mm on either side keeps neighbours apart and the facet joints open; halfway
    # between two vertebrae `g.bone - second` is 0.
    g.bone = np.maximum(g.bone, (g.bone - second) / 2 + np.float32(0.45))
    # Ribs are bone too, and end 0.6 mm before a vertebra.
    g.bone = np.minimum(g.bone, np.maximum(g.rib, 0.6 - g.bone))
    for index, (upper, lower) in enumerate(pairwise(spine.vertebrae)):
        _add_disc(g, spine, index, upper, lower, x, y, z)
    # A disc ends 0.25 mm before bone.
    g.disc = np.maximum(g.disc, np.float32(0.25) - g.bone)
    return g


def _box(v: Vertebra, x: Array, y: Array) -> tuple[slice, slice] | None:
    """Find the rows and columns of the grid that a vertebra may touch; None if it lies outside."""
    # The margins in mm hold what stands out from the body: facets, processes and ribs.
    depths = (-v.depth / 2 - 9, v.depth / 2 + v.canal[0] + v.spinous[0] + 14)
    heights = (-v.height / 2 - 24, v.height / 2 + 40)
    corners = np.array(list(product(depths, heights, (0.0,))))  # a, h, u
    points = v.centre + corners @ v.axes
    rows = _span(points[:, 1], y[:, 0])
    columns = _span(points[:, 0], x[0])
    return (rows, columns) if rows and columns else None


def _span(values: NDArray[np.float64], axis: Array) -> slice | None:
    """Find the part of a grid's axis around some values in mm; None if it lies outside."""
    first, pitch = float(axis[0]), float(axis[1] - axis[0])
    # A few pixels more, because not all rows of a bent grid begin at the same place.
    start = max(0, int((values.min() - first) / pitch) - 2)
    stop = min(len(axis), int((values.max() - first) / pitch) + 4)
    return slice(start, stop) if stop - start >= 2 else None


def _around(middle: float, reach: float, axis: Array) -> slice | None:
    """Find the part of a grid's axis within `reach` mm of a place; None if it lies outside."""
    offset, pitch = middle - float(axis[0]), float(axis[1] - axis[0])
    start = max(0, int((offset - reach) / pitch))
    stop = min(len(axis), int((offset + reach) / pitch) + 2)
    return slice(start, stop) if stop - start >= 2 else None


def _in_frame(
    centre: NDArray[np.float64], axes: NDArray[np.float64], x: Array, y: Array, z: float
) -> tuple[Array, Array, Array]:
    """Turn patient coordinates into a, h and u of the frame of a vertebra or disc."""
    dx = x - np.float32(centre[0])
    dy = y - np.float32(centre[1])
    dz = np.float32(z - centre[2])
    a, h, u = (dx * row[0] + dy * row[1] + dz * row[2] for row in axes.astype(np.float32))
    return a, h, u


def vertebra(v: Vertebra, a: Array, h: Array, u: Array) -> tuple[Array, Array]:
    """Give the signed distances (mm) of a whole vertebra and of its body in its own frame."""
    body = _body(v, a, h, u)
    side = np.abs(u)
    near = float(side.min())  # a part that lies nowhere so far from the midline is left out
    # The canal's ellipse begins 0.8 mm within the body, whose back wall it hollows a little.
    behind = a - np.float32(v.depth / 2 + v.canal[0] / 2 - 0.8)
    canal = _ellipse(behind, u, v.canal[0] / 2, v.canal[1] / 2)
    whole = union(body, _pedicle(v, a, h, side), 3.0)
    whole = union(whole, _lamina(v, a, h, side), 2.0)
    if near < 9:
        whole = union(whole, _spinous(v, a, h, u), 3.0)
    if near < v.canal[1] / 2 + v.pedicle[1] + 9:
        whole = union(whole, _facets(v, a, h, side), 1.5)
    if near > v.canal[1] / 2:
        whole = union(whole, _transverse(v, a, h, side), 2.0)
    return cut(whole, -canal, 1.5), cut(body, -canal, 1.5)


def _radial(u: Array, w: Array, ru: Array | float, rw: Array | float) -> Array:
    """Give the distance to an ellipse along the ray from its centre, finite at the centre."""
    inner = np.sqrt((u / ru) ** 2 + (w / rw) ** 2) + np.float32(1e-3)
    return np.sqrt(u * u + w * w + np.float32(1e-4)) * (1 - 1 / inner)


def _ellipse(u: Array, w: Array, ru: float, rw: float) -> Array:
    """Give the distance to an ellipse, bounded inside by the smaller half axis."""
    return np.maximum(_radial(u, w, ru, rw), np.float32(-min(ru, rw)))


def _body(v: Vertebra, a: Array, h: Array, u: Array) -> Array:
    """Give the distance to a body.

    It is an elliptic column with a waist, a flat back, bowl-shaped end plates and lips.
    """
    A, B, H = v.depth / 2, v.width / 2, v.height / 2  # the half axes along a, u and h
    t = np.clip(h / np.float32(H), -1.15, 1.15)
    t2 = t * t
    lip = np.maximum(t2 - np.float32(0.55), 0)  # grows towards both end plates
    spur = v.osteophyte * lip * (0.65 - np.clip(a / A, -1, 1) * 0.35)  # longest in front
    scale = 1 - v.waist * (1 - t2) - v.taper * t + spur
    # The ellipse is longer than the body and the back wall cuts it: seen from above it is a D.
    shift = np.float32(LONGER * A)
    column = _radial(a - shift, u, A * (1 + LONGER) * scale, B * scale)
    column = cut(column, a - A * scale, 2.0)
    column = np.maximum(column, np.float32(-A))  # `_radial` has no bound inside
    # Of the end plates' bowl: 0 at its rim and 1 in its middle, where it is nearly flat.
    to_rim_a, to_rim_u = a / np.float32(0.86 * A), u / np.float32(0.9 * B)
    bowl = np.maximum(1 - to_rim_a * to_rim_a - to_rim_u * to_rim_u, 0)
    bowl = bowl * (2 - bowl) * np.float32(0.8) + np.float32(0.2) * bowl
    # Each plate is tilted by half of the wedge.
    half = np.float32(H) + a * np.float32(v.wedge / (4 * A))
    upper = -h - (half - bowl * np.float32(v.concave[0]))
    # The lower bowl is deepest behind its middle.
    lower = h - (half - bowl * np.float32(v.concave[1]) * (1 + np.float32(0.35) * to_rim_a))
    depth, pit_a, pit_u = v.schmorl
    if depth:
        pit = np.float32(abs(depth)) * np.exp(-(((a - pit_a) / 4.5) ** 2) - ((u - pit_u) / 5) ** 2)
        if depth > 0:  # the sign says which end plate has the pit
            upper = upper + pit
        else:
            lower = lower + pit
    return cut(column, np.maximum(upper, lower), 2.2)


def _bar(
    u: Array, w: Array, start: tuple[float, float], end: tuple[float, float]
) -> tuple[Array, Array]:
    """Give the distance to a 2D segment and the position (0 to 1) of the nearest point on it."""
    du, dw = end[0] - start[0], end[1] - start[1]
    projected = (u - start[0]) * du + (w - start[1]) * dw
    s = np.clip(projected * np.float32(1 / (du * du + dw * dw)), 0, 1)
    return np.hypot(u - (start[0] + s * du), w - (start[1] + s * dw)), s


def anchor(v: Vertebra) -> tuple[float, float, float]:
    """Give the middle of the right pedicle (a, h, u) where it leaves the body."""
    rise = 0.34 if v.thoracic else 0.26
    return v.depth / 2, -rise * v.height, v.canal[1] / 2 + v.pedicle[1] * 0.45


def _pedicle(v: Vertebra, a: Array, h: Array, side: Array) -> Array:
    """Give the distance to the pedicles: oval rods beside the canal, which begin in the body."""
    pa, ph, pu = anchor(v)
    reach = v.canal[0] * 0.85
    rod = _radial(h - np.float32(ph), side - np.float32(pu), v.pedicle[0] / 2, v.pedicle[1] / 2)
    # From 5 mm within the body to 1 mm beyond the reach.
    return cut(rod, np.abs(a - np.float32(pa + reach / 2 - 2)) - np.float32(reach / 2 + 3), 2.5)


def _lamina(v: Vertebra, a: Array, h: Array, side: Array) -> Array:
    """Give the distance to the laminae.

    They are plates that lean back, from the pars on each side to the midline, where they are lower.
    """
    pa, ph, pu = anchor(v)
    half_height = v.height * (0.52 if v.thoracic else 0.40)
    upright_at = ph + half_height * 0.95
    lean = np.float32(0.30 if v.thoracic else 0.22)
    sheared = a - (h - np.float32(upright_at)) * lean
    plate, s = _bar(sheared, side, (pa + v.canal[0] * 0.66, pu - 0.5), (pa + v.canal[0] + 2.2, 0.0))
    middle = np.float32(ph + half_height * 0.55) + s * np.float32(half_height * 0.55)
    return _radial(plate, h - middle, 3.2, half_height)


def _spinous(v: Vertebra, a: Array, h: Array, u: Array) -> Array:
    """Give the distance to the spinous process: tall and short if lumbar, sloping if thoracic."""
    pa, ph, _ = anchor(v)
    length, drop, half_at_root, half_at_tip = v.spinous
    a0, h0 = pa + v.canal[0] + 0.5, ph + v.height * (0.62 if v.thoracic else 0.50)
    cos, sin = np.float32(np.cos(drop)), np.float32(np.sin(drop))
    along = (a - np.float32(a0)) * cos + (h - np.float32(h0)) * sin
    across = (h - np.float32(h0)) * cos - (a - np.float32(a0)) * sin
    t = np.clip(along / np.float32(length), 0, 1)  # 0 at the root, 1 at the tip
    half_height = half_at_root + (half_at_tip - half_at_root) * t
    # The lower edge hangs and the upper edge is nearly straight.
    plate: Array = np.abs(across - t * t * np.float32(half_at_tip * 0.35)) - half_height
    plate = cut(plate, np.abs(along - np.float32(length / 2)) - np.float32(length / 2), 5.0)
    # It is thickest at the root, and thicker at the tip than between.
    thin = np.float32(2.2 if v.thoracic else 2.9)
    half_thickness = thin + t * np.float32(1.7) + np.maximum(1 - t * 4, 0) * 3
    return cut(plate, np.abs(u) - half_thickness, 2.0)


def _facets(v: Vertebra, a: Array, h: Array, side: Array) -> Array:
    """Give the distance to the upper and lower articular processes of either side."""
    pa, ph, pu = anchor(v)
    canal = v.canal[0]
    # The upper one rises from the pedicle, and moves outwards.
    up = v.pedicle[0] / 2 + (5.0 if v.thoracic else 9.0)
    bar, s = _bar(a, h, (pa + canal * 0.55, ph + 2), (pa + canal * 0.62, ph - up))
    upper = np.sqrt(bar**2 + ((side - (pu + 1.5 + s * 0.5)) * 0.75) ** 2)
    upper = upper - (4.6 - 1.6 * s)
    # The lower one is nearer to the midline: it lies inside the upper one of the next vertebra.
    inner = pu - (1.0 if v.thoracic else 3.0)
    back = canal * (0.92 if v.thoracic else 1.08)
    down = v.height * (0.86 if v.thoracic else 1.02)
    bar, s = _bar(a, h, (pa + canal * 0.72, ph + 4), (pa + back, ph + down))
    lower = np.sqrt(bar**2 + ((side - inner) * 0.7) ** 2) - (4.4 - 0.8 * s)
    out: Array = np.minimum(upper, lower)
    return out


def _transverse(v: Vertebra, a: Array, h: Array, side: Array) -> Array:
    """Give the distance to the transverse processes: sideways if lumbar, and back if thoracic."""
    pa, ph, pu = anchor(v)
    reach, back = (17.0, 15.0) if v.thoracic else (24.0, 6.0)
    bar, s = _bar(a, side, (pa + v.canal[0] * 0.5, pu), (pa + v.canal[0] * 0.5 + back, pu + reach))
    out: Array = np.hypot(bar, (h - np.float32(ph + 1)) * np.float32(0.75)) - (4.4 - s)
    return out


def _rib(v: Vertebra, a: Array, h: Array, side: Array) -> Array:
    """Give the distance to the rib.

    Its head is beside the upper end plate, its neck before the transverse process.
    """
    pa, _, _ = anchor(v)
    start = (pa - 3.0, v.width / 2 + 1.5)
    end = (pa + v.canal[0] * 0.5 + 12, v.width / 2 + 18.0)
    bar, s = _bar(a, side, start, end)
    middle = s * np.float32(4 + 0.5 * v.height) - np.float32(v.height / 2)
    out: Array = np.hypot(bar, (h - middle) * np.float32(0.75)) - (4.6 - 1.2 * s)
    return out


def _root(v: Vertebra, a: Array, h: Array, u: Array) -> Array:
    """Give the distance to the nerve root, which runs sideways and down from below the pedicle."""
    pa, ph, _ = anchor(v)
    way = np.clip(
        (np.abs(u) - np.float32(v.canal[1] / 2 - 5)) / 12, 0, 1
    )  # from the canal outwards
    below = ph + v.pedicle[0] / 2 + 3.5 + way * 5
    spot = np.hypot(a - (pa + 5.5 - way * 3), h - below) - np.float32(2.6)
    return np.where(np.abs(u) > v.canal[1] / 2 - 5, spot, FAR)


def _add_disc(
    g: Geometry,
    spine: Spine,
    index: int,
    upper: Vertebra,
    lower: Vertebra,
    x: Array,
    y: Array,
    z: float,
) -> None:
    """Add the disc between two bodies: a column between end plates that may bulge to the back."""
    top, bottom = upper.point(0, upper.height / 2), lower.point(0, -lower.height / 2)
    axes = upper.axes + lower.axes
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    centre = (top + bottom) / 2
    gap = float(np.linalg.norm(top - bottom))
    A, B = (upper.depth + lower.depth) / 4, min(upper.width, lower.width) / 2  # half axes
    reach = np.abs(axes[0, :2]) * (A + 8) + np.abs(axes[1, :2]) * (gap / 2 + 9)  # along x and y
    rows = _around(centre[1], reach[1], y[:, 0])
    columns = _around(centre[0], reach[0], x[0])
    if rows is None or columns is None:
        return
    box = rows, columns
    a, h, u = _in_frame(centre, axes, x[box], y[box], z)
    bulge = spine.disc_bulge[index]
    half_depth = A * (1 + LONGER) + 0.5 + bulge * 0.35
    column = _radial(a - np.float32(LONGER * A), u, half_depth, B + 0.5)
    column = cut(column, a - np.float32(A - 1.0 + bulge), 3.0)
    # It reaches into the bowls of both end plates; `cut_plane` then takes the bone away.
    disc = cut(column, np.abs(h) - np.float32(gap / 2 + 4.5), 1.0)
    nearer = disc < g.disc[box]
    for target, value in (
        (g.disc, disc),
        (g.disc_a, a / np.float32(A)),
        (g.disc_h, h / np.float32(gap / 2 + 1.5)),
        (g.disc_owner, index),
    ):
        target[box] = np.where(nearer, value, target[box])
