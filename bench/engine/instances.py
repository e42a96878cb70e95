"""Scores of instances, such as the vertebrae of a spine: which were found, and by which name.

A binary mask scores a spine that is named one level too high as perfect, and two bodies that are
joined as nearly so. Definitions:

* An instance of a reference is what has one label. Those of a labelled prediction are found in the
  same way; those of a binary one are its components, as in panoptica: pixels that share a side, in
  a volume also voxels that share an edge or a corner.
* Matching is panoptica's at IoU 0.5 (Kofler et al. 2023): pairs by falling IoU, each instance once.
* Recognition quality is tp / (tp + fp / 2 + fn / 2), segmentation quality the mean IoU of the
  matches, panoptic quality their product (Kirillov et al. 2019).
* A vertebra is identified as in VerSe (Sekuboyina et al. 2021): of all reference centroids the one
  nearest to the predicted centroid has the same name, and is less than 20 mm away. The rate is over
  the vertebrae of the reference. The mean localisation distance is over the names that both hold.
  Components have no names, so both are undefined for them. Where the spacing is unknown, distances
  are in pixels and the limit of 20 mm is not applied.

* A binary prediction may be perfect and its components be no instances: the parts of a vertebra
  that are apart in a slice, or two that touch. `pq_of_reference` is the panoptic quality of the
  reference's own mask, cut in the same way; 1 where labels are predicted.
* Of several classes, each has values of its own instances, and instances of two classes never
  match. Where every class is one level, classes are names: all together they match whatever their
  names. A vertebra is identified among the centroids of all classes.

What neither mask holds is undefined (NaN). Where one holds instances and nothing matches, the
qualities and the Dice of matches are 0, as in panoptica.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.engine.parts import (
    BYTE,
    Codes,
    Ints,
    Parts,
    bounding_box,
    of_classes,
    of_components,
    of_labels,
    with_classes,
)
from bench.spec.metrics import INSTANCE_COUNTS, INSTANCES

State = Literal["matched", "shifted", "joined", "split", "missed"]
"""What became of an instance of the reference. Shifted: matched, by another name. Joined: mostly
under a predicted instance that also holds most of another. Split: mostly under several, each of
which lies mostly in it."""

THRESHOLD = 0.5
"""IoU from which on two instances match."""

MOST = 0.5
"""Share of an instance that is most of it."""

LIMIT = 20.0
"""Millimetres within which a vertebra is identified."""

EXACT = 1 << 24
"""Whole numbers up to this are exact in the single precision of OpenCV's histograms."""

_NAN = math.nan

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """The instances of a prediction beside those of its reference."""

    prediction: Parts
    """Cropped to the bounding box of both."""
    reference: Parts
    pixel: tuple[float, ...]
    """The sides of a pixel or voxel, in the order of the axes; 1 where unknown."""
    limit: float
    """Largest distance at which a vertebra is identified, in the unit of `pixel`."""
    within: bool
    """Whether instances of two classes never match."""

    @cached_property
    def _tally(self) -> tuple[Ints, Ints, Ints]:
        """The numbers of the reference's and the prediction's instances, and what they share.

        Both lists begin with 0, the background. The third value is (reference, prediction): pixels
        that have both numbers.
        """
        reference, predicted = self.reference.codes, self.prediction.codes
        both_are_bytes = reference.dtype == predicted.dtype == np.uint8
        if both_are_bytes and reference.size < EXACT:
            # OpenCV's histogram of pairs is the fastest way to count what they share.
            flat = [codes.reshape(len(codes), -1) for codes in (reference, predicted)]
            counts = cv2.calcHist(flat, [0, 1], None, [BYTE, BYTE], [0, BYTE, 0, BYTE])
            # The background comes first, also where no pixel is background.
            reference_numbers = np.union1d(0, np.flatnonzero(counts.any(axis=1)))
            predicted_numbers = np.union1d(0, np.flatnonzero(counts.any(axis=0)))
            occurring = np.asarray(counts)[np.ix_(reference_numbers, predicted_numbers)]
            return reference_numbers, predicted_numbers, occurring.astype(np.int64)
        reference_numbers, places_in_reference = np.unique(reference, return_inverse=True)
        predicted_numbers, places_in_prediction = np.unique(predicted, return_inverse=True)
        reference_numbers, places_in_reference = _with_background(
            reference_numbers, places_in_reference
        )
        predicted_numbers, places_in_prediction = _with_background(
            predicted_numbers, places_in_prediction
        )
        table = (len(reference_numbers), len(predicted_numbers))
        # Each pixel is counted in the place that its pair of numbers has in the flat table.
        pairs = places_in_reference.ravel() * table[1] + places_in_prediction.ravel()
        shared = np.bincount(pairs, minlength=math.prod(table))
        return reference_numbers, predicted_numbers, shared.reshape(table)

    @property
    def instances(self) -> list[int]:
        """The numbers of the reference's instances."""
        reference_numbers, _, _ = self._tally
        return [int(number) for number in reference_numbers[1:]]

    @property
    def predicted(self) -> list[int]:
        """The numbers of the prediction's instances."""
        _, predicted_numbers, _ = self._tally
        return [int(number) for number in predicted_numbers[1:]]

    @cached_property
    def classes(self) -> tuple[Ints, Ints]:
        """The class of each instance of the reference, and of the prediction."""
        reference_numbers, predicted_numbers, _ = self._tally
        of_reference = self.reference.class_of(reference_numbers[1:])
        return of_reference, self.prediction.class_of(predicted_numbers[1:])

    @cached_property
    def overlaps(self) -> Ints:
        """Pixels that two instances share which may match (reference, prediction)."""
        shared_with_background = self._tally[2]
        shared: Ints = shared_with_background[1:, 1:]
        if self.within:
            reference, predicted = self.classes
            shared = shared * (reference[:, None] == predicted[None, :])
        return shared

    @cached_property
    def sizes(self) -> tuple[Ints, Ints]:
        """Pixels of each instance of the reference, and of the prediction."""
        shared_with_background = self._tally[2]
        return shared_with_background[1:].sum(1), shared_with_background[:, 1:].sum(0)

    @cached_property
    def ious(self) -> _Floats:
        """IoU of each instance of the reference with each of the prediction."""
        reference, predicted = self.sizes
        ious: _Floats = self.overlaps / (reference[:, None] + predicted[None, :] - self.overlaps)
        return ious

    @cached_property
    def matches(self) -> list[tuple[int, int]]:
        """Instances of the reference with those of the prediction that they match, from 0.

        At an IoU of exactly 0.5 an instance may fit two; the first by its number is taken.
        """
        fits = self.ious >= THRESHOLD
        candidates = np.argwhere(fits)  # (pairs, 2), in the order of `ious[fits]`
        falling = np.argsort(-self.ious[fits], kind="stable")
        pairs: list[tuple[int, int]] = []
        matched_references: set[int] = set()
        matched_predicted: set[int] = set()
        for reference, predicted in candidates[falling].tolist():
            if reference not in matched_references and predicted not in matched_predicted:
                pairs.append((reference, predicted))
                matched_references.add(reference)
                matched_predicted.add(predicted)
        return sorted(pairs)

    @cached_property
    def states(self) -> tuple[State, ...]:
        """What became of each instance of the reference."""
        matched = dict(self.matches)
        joined, split = self._joined(), self._split()
        states: list[State] = []
        for place in range(len(self.instances)):
            if place in matched:
                states.append("shifted" if self._is_shifted(place, matched[place]) else "matched")
            elif place in joined:
                states.append("joined")
            elif place in split:
                states.append("split")
            else:
                states.append("missed")
        return tuple(states)

    def _is_shifted(self, place: int, match: int) -> bool:
        """Return whether two matching instances have different names."""
        both_named = self.reference.named and self.prediction.named
        return both_named and self.instances[place] != self.predicted[match]

    @cached_property
    def under(self) -> NDArray[np.bool_]:
        """Which instances of the reference lie mostly under which of the prediction."""
        reference_sizes, _ = self.sizes
        most: NDArray[np.bool_] = self.overlaps > MOST * reference_sizes[:, None]
        return most

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """In which instances of the reference lie most of which of the prediction."""
        _, predicted_sizes = self.sizes
        most: NDArray[np.bool_] = self.overlaps > MOST * predicted_sizes[None, :]
        return most

    def _joined(self) -> set[int]:
        """Return the instances of the reference that lie mostly under one that holds others too."""
        holds_several = self.under.sum(0) > 1
        return set(np.flatnonzero(self.under[:, holds_several].any(1)).tolist())

    def _split(self) -> set[int]:
        """Return the instances of the reference that several predicted ones cover for the most."""
        reference_sizes, _ = self.sizes
        covered = (self.overlaps * self.inside).sum(1) > MOST * reference_sizes
        by_several = self.inside.sum(1) > 1
        return set(np.flatnonzero(covered & by_several).tolist())

    @property
    def values(self) -> dict[str, float]:
        """Each metric of `bench.spec.metrics.INSTANCES` by its name; NaN if it is not defined."""
        return self._values(0)

    def _values(self, number: int) -> dict[str, float]:
        """Return the metrics of a class, or those of all where the number is 0."""
        identified, localisation = self._by_names(number)
        values = {
            **self._qualities(number),
            "identified": identified,
            "localisation": localisation,
            "pq_of_reference": self._of_reference(number),
        }
        return {metric.name: values[metric.name] for metric in INSTANCES}

    def _own(self, number: int) -> tuple[list[int], list[int]]:
        """Return the places of a class's instances in reference and prediction; of all for 0."""
        reference, predicted = self.classes
        if not number:
            return list(range(len(reference))), list(range(len(predicted)))
        own_reference = np.flatnonzero(reference == number)
        return own_reference.tolist(), np.flatnonzero(predicted == number).tolist()

    def _matches(self, number: int) -> list[tuple[int, int]]:
        """Return the matches of a class, or all where the number is 0."""
        of_reference, _ = self._own(number)
        own = set(of_reference)
        return [(reference, predicted) for reference, predicted in self.matches if reference in own]

    def _qualities(self, number: int) -> dict[str, float]:
        """Return panoptic, recognition and segmentation quality, and the Dice of matches."""
        names = ("pq", "rq", "sq", "matched_dice")
        reference, predicted = self._own(number)
        all_parts = len(reference) + len(predicted)
        if not all_parts:
            return dict.fromkeys(names, _NAN)
        ious = [float(self.ious[pair]) for pair in self._matches(number)]
        if not ious:
            return dict.fromkeys(names, 0.0)
        recognition = 2 * len(ious) / all_parts
        segmentation = math.fsum(ious) / len(ious)
        dice = math.fsum(2 * iou / (1 + iou) for iou in ious) / len(ious)
        values = (recognition * segmentation, recognition, segmentation, dice)
        return dict(zip(names, values, strict=True))

    @cached_property
    def _alike(self) -> Scored:
        """The reference's own mask in the place of the prediction, cut in the same way."""
        codes, classes = self.reference.codes, self.reference.classes
        if classes is None:
            return replace(self, prediction=of_components(codes > 0))
        numbers = classes.take(codes).astype(np.uint8)
        alike = of_classes(numbers, (0,) * int(classes.max()))
        return replace(self, prediction=alike)

    def _of_reference(self, number: int) -> float:
        """Return the panoptic quality of the reference, if its instances are found likewise."""
        of_reference, _ = self._own(number)
        if not of_reference:
            return _NAN
        if self.prediction.named or not self.reference.named:
            return 1.0
        return self._alike._qualities(number)["pq"]

    @cached_property
    def _by_name(self) -> tuple[list[int], NDArray[np.bool_], _Floats]:
        """Of the names that both hold: places in the reference, whether identified, and distances.

        The distance is that between the centroids of the same name, in the unit of `pixel`.
        """
        names, others = self.instances, self.predicted
        shared = [name for name in names if name in others]
        reference_centroids = _centroids(self.reference.codes, names, self.pixel)
        predicted_centroids = _centroids(self.prediction.codes, shared, self.pixel)
        places = [names.index(name) for name in shared]
        offsets = predicted_centroids[:, None] - reference_centroids[None]  # (shared, names, axes)
        distances = np.linalg.norm(offsets, axis=2)
        to_own_name = distances[np.arange(len(shared)), places]
        nearest_is_own_name = distances.argmin(1) == places
        return places, nearest_is_own_name & (to_own_name < self.limit), to_own_name

    def _by_names(self, number: int) -> tuple[float, float]:
        """Return identification rate and mean localisation distance, NaN where undefined."""
        names, others = self.instances, self.predicted
        wanted, _ = self._own(number)
        if not wanted or not (self.reference.named and self.prediction.named):
            return _NAN, _NAN
        if not set(names) & set(others):
            return 0.0, _NAN
        places, identified, distances = self._by_name
        of_class = np.isin(places, wanted)
        if not of_class.any():
            return 0.0, _NAN
        rate = float(identified[of_class].sum()) / len(wanted)
        return rate, float(distances[of_class].mean())

    def row(self, number: int = 0) -> dict[str, int | float]:
        """Return the columns of cases.csv that instances add, in their order.

        Args:
            number: Of the class; 0 for all together.
        """
        reference, predicted = self._own(number)
        states = [self.states[place] for place in reference]
        counts = {
            "instances": len(reference),
            "predicted": len(predicted),
            "matched": len(self._matches(number)),
            "shifted": states.count("shifted"),
            "joined": states.count("joined"),
            "split": states.count("split"),
            "missed": states.count("missed"),
        }
        return {**{name: counts[name] for name in INSTANCE_COUNTS}, **self._values(number)}


def score(prediction: Parts, reference: Parts, spacing: Sequence[float] | None = None) -> Scored:
    """Score the instances of a prediction against those of its reference.

    Args:
        prediction: (H, W), or (D, H, W) of a volume, on the native grid.
        reference: Of the same shape.
        spacing: Sides of a pixel or voxel in mm in the order of the axes, None where unknown.

    Raises:
        ValueError: The shapes differ, or the spacing does not fit them.

    Source: panoptica and VerSe, as in the module's docstring.
    """
    shape = reference.codes.shape
    if prediction.codes.shape != shape:
        raise ValueError(
            f"prediction has shape {prediction.codes.shape} and reference {shape}; "
            "expected one shape: map the prediction back to the native grid first"
        )
    if spacing is None:
        pixel, limit = (1.0,) * len(shape), math.inf
    elif len(spacing) == len(shape) and all(0 < side < math.inf for side in spacing):
        pixel, limit = tuple(map(float, spacing)), LIMIT
    else:
        raise ValueError(f"spacing is {spacing}; expected {len(shape)} sides in mm, all positive")
    box = bounding_box(prediction.codes | reference.codes)
    classes_are_known = prediction.classes is not None and reference.classes is not None
    return Scored(
        _cropped(prediction, box),
        _cropped(reference, box),
        pixel,
        limit,
        within=classes_are_known and not prediction.named,
    )


def _cropped(parts: Parts, box: tuple[slice, ...]) -> Parts:
    return replace(parts, codes=np.ascontiguousarray(parts.codes[box]))


def _with_background(numbers: Ints, inverse: Ints) -> tuple[Ints, Ints]:
    """Return numbers that begin with 0, and the places of pixels among them."""
    if numbers[0] == 0:
        return numbers, inverse
    return np.concatenate(([0], numbers)), inverse + 1


def _centroids(codes: Codes, numbers: Sequence[int], pixel: Sequence[float]) -> _Floats:
    """Return the mean position (n, axes) of each instance's pixels, in the unit of `pixel`."""
    # Pixels of one instance follow each other in a row: there are few such runs and many pixels. So
    # the mean is over the runs' middles, each weighted by its length.
    width = codes.shape[-1] + 1
    lines = np.zeros((codes.size // (width - 1), width), codes.dtype)  # a 0 ends each row
    lines[:, :-1] = codes.reshape(-1, width - 1)
    flat = lines.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], changes))  # of the runs
    lengths = np.diff(np.concatenate((starts, [flat.size])))
    of_instance = flat.take(starts) > 0
    starts, lengths = starts[of_instance], lengths[of_instance]
    rows, first_columns = np.divmod(starts, width)
    # For each axis the position of every run's middle.
    middles = [*np.unravel_index(rows, codes.shape[:-1]), first_columns + (lengths - 1) / 2]
    occurring, instance_of_run = np.unique(flat.take(starts), return_inverse=True)
    sizes = np.bincount(instance_of_run, lengths)
    sums = [np.bincount(instance_of_run, lengths * middle) for middle in middles]
    means: _Floats = np.stack(sums, axis=1) / sizes[:, None] * np.array(pixel)
    return means[np.searchsorted(occurring, numbers)]


def rows(
    prediction: Parts,
    labels: NDArray[np.integer] | None,
    reference: NDArray[np.uint8] | NDArray[np.bool_],
    classes: int,
    spacing: Sequence[float] | None,
) -> list[dict[str, int | float]]:
    """Return the columns of cases.csv that instances add: of all, and of each class.

    There are none where no instances are asked for.

    Args:
        prediction: The instances of the prediction.
        labels: Numbers of the reference's instances, None where none are asked for.
        reference: The reference, which has the numbers of classes where there are several.
        classes: How many classes there are, 0 of one foreground.
        spacing: As `score` takes it.
    """
    if labels is None:
        return []
    reference_parts = of_labels(labels)
    if classes:
        reference_parts = with_classes(reference_parts, np.asarray(reference, np.uint8))
    scored = score(prediction, reference_parts, spacing)
    of_all_and_each = [scored.row()]
    by_class = scored if scored.within else replace(scored, within=True)
    for number in range(1, classes + 1):
        of_all_and_each.append(by_class.row(number))
    return of_all_and_each
