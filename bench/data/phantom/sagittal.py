"""The parts that sagittal CT and MR share: a patient, the place of a slice, and the mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.data.phantom.shape import Geometry, cut_plane
from bench.data.phantom.spine import Spine, build
from bench.data.phantom.texture import Array, enlarge, generator, layered, smooth
from bench.data.phantom.tissue import Curves, Habitus, curves, habitus


@dataclass(frozen=True)
class Protocol:
    """How a sagittal modality is acquired.

    `shape` is (rows, columns) of the image. The anatomy is evaluated on a grid that is coarser by
    `factor`, close to the matrix that scanners acquire before they interpolate. `spacing` (mm) and
    `low` (mm of sacrum below S1's end plate) are ranges over patients; `reach` is the z of the
    outermost slices in mm. `cut_labelled` says whether a vertebra that the upper edge cuts is
    labelled. `tracing` is the annotators' edge noise in mm; it sets the Dice that a perfect method
    reaches, about 0.96 in all three datasets.
    """

    shape: tuple[int, int]
    factor: int
    spacing: tuple[float, float]
    low: tuple[float, float]
    place: float  # of the spine, as a share of the width
    reach: float
    disease: float
    cobb: float  # largest scoliosis angle in degrees
    cut_labelled: bool
    tracing: float


@dataclass(frozen=True)
class Patient:
    """A patient of a sagittal modality, shared by its slices."""

    spine: Spine
    habitus: Habitus
    spacing: float
    x: Array  # (H, W) of the coarse grid, mm
    y: Array
    curves: Curves
    middle: float  # z of the visible spine
    labelled: NDArray[np.bool_]  # per vertebra, the last entry is for no vertebra


@dataclass(frozen=True)
class Plane:
    """One slice of a patient on the coarse grid."""

    patient: Patient
    geometry: Geometry
    z: float
    rng: np.random.Generator


@lru_cache(maxsize=4)
def patient_of(name: str, seed: int, patient: int, protocol: Protocol) -> Patient:
    """Draw a patient's anatomy and field of view."""
    rng = generator(name, seed, patient)
    spine = build(rng, disease=protocol.disease, cobb=(0.0, protocol.cobb))
    frame = habitus(rng, spine, protocol.disease)
    spacing = float(rng.uniform(*protocol.spacing))
    rows, cols = (n // protocol.factor for n in protocol.shape)
    pitch = spacing * protocol.shape[0] / rows
    bottom = rng.uniform(*protocol.low)
    y = (np.arange(rows, dtype=np.float32) - rows + 1) * np.float32(pitch) + np.float32(bottom)
    seen = np.array([v.centre for v in spine.mobile if float(y[0]) < v.centre[1] < float(y[-1])])
    middle = float((seen[:, 2].min() + seen[:, 2].max()) / 2 + rng.normal(0, 0.8))
    centre = (seen[:, 0].min() + seen[:, 0].max()) / 2
    left = centre - (protocol.place + rng.uniform(-0.03, 0.03)) * cols * pitch
    x = np.arange(cols, dtype=np.float32) * np.float32(pitch) + np.float32(left)
    labelled = []
    for v in spine.vertebrae:
        is_fully_in_view = v.point(0, -v.height / 2)[1] > float(y[0]) + 2
        labelled.append(not v.sacral and (protocol.cut_labelled or is_fully_in_view))
    gx, gy = np.meshgrid(x, y)
    return Patient(
        spine=spine,
        habitus=frame,
        spacing=spacing,
        x=gx,
        y=gy,
        curves=curves(spine, frame, y),
        middle=middle,
        labelled=np.array([*labelled, False]),
    )


def distance_of(
    name: str, seed: int, patient: int, positions: int, protocol: Protocol
) -> float | None:
    """Return the mm from a slice of a patient to the next, None where there is one slice."""
    if positions == 1:
        return None
    size = patient_of(name, seed, patient, protocol).spine.size
    return 2 * protocol.reach * size / (positions - 1)


def plane_of(
    name: str,
    seed: int,
    patient: int,
    place: tuple[int, int],
    protocol: Protocol,
    offset: float = 0.0,
) -> Plane:
    """Cut one slice of a patient; `place` is (position, positions), `offset` is in mm."""
    who = patient_of(name, seed, patient, protocol)
    position, positions = place
    share = 0.0 if positions == 1 else 2 * position / (positions - 1) - 1
    z = share * protocol.reach * who.spine.size + who.middle + offset
    pitch = float(who.x[0, 1] - who.x[0, 0])
    warp = generator(name, seed, patient, "warp")
    # Bend the grid by about a millimetre: real outlines are no exact formulas.
    shift = [layered(warp, who.x.shape, 17 / pitch, z / 22.0) * 0.9 for _ in range(2)]
    fine = [layered(warp, who.x.shape, 5 / pitch, z / 9.0) * np.float32(0.28) for _ in range(2)]
    geometry = cut_plane(who.spine, who.x + shift[0] + fine[0], who.y + shift[1] + fine[1], z)
    return Plane(who, geometry, z, generator(name, seed, patient, position, positions))


def mask_of(plane: Plane, protocol: Protocol) -> NDArray[np.uint8]:
    """Label the vertebrae as an annotator would, with small errors along the edge."""
    g = plane.geometry
    # Bone that is not labelled lies 3 mm outside of the edge, so that no error along it is drawn.
    wanted = np.where(plane.patient.labelled[g.owner], g.bone, np.maximum(g.bone, np.float32(3)))
    wobble = smooth(plane.rng, protocol.shape, 3.5 / plane.patient.spacing)
    wobble = wobble * np.float32(protocol.tracing)
    return (enlarge(wanted, protocol.shape) + wobble < 0).astype(np.uint8)
