"""What predictions from outside are scored against, and where their scores go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import options
from bench.spec.errors import UsageError
from bench.store.cells import OUTSIDE, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.readers.classes import Classes
    from bench.data.readers.pairing import Side
    from bench.data.readers.patients import Choice
    from bench.data.splits import Splitting
    from bench.engine.outside.references import References, Rules
    from bench.spec.case import Case
    from bench.spec.names import Column

TABLE = "a table with the columns file and patient"
"""What `--patients` takes, as errors say it."""

USUAL = ("labels", "labelstr", "labelsts", "masks", "gt", "groundtruth")
"""Names of folders of references, in small letters, that say nothing of their dataset."""


@dataclass(frozen=True)
class Part:
    """A fold: which of the cases are tested in it, by the names that predictions are paired by."""

    keys: tuple[str, ...]
    split: str = ""
    """Content hash of the split."""


@dataclass(frozen=True)
class Place:
    """Where the scores go, and what they are of."""

    profile: str
    column: Column
    references: References
    parts: tuple[Part, ...]
    others: tuple[str, ...] = ()
    """Names of cases that are not tested."""
    images: Callable[[str], NDArray[np.uint8] | None] = lambda key: None
    """Returns a case's image (H, W) in 8 bit, where there is one."""
    cases: Mapping[str, Case] = field(default_factory=dict)
    """The cases of a prepared dataset, by the same names."""


def beside(
    folder: Path, patients: str | None, pattern: str | None, images: Path | None, rules: Rules
) -> Place:
    """Return the place of a folder of references."""
    from bench.data.readers import masks
    from bench.data.readers.patients import joined, unread
    from bench.engine.outside.references import of_folder, read_references
    from bench.spec import texts
    from bench.spec.names import Column, DatasetId, Spec

    side = masks.side(folder, "--reference")
    targets = of_folder(side, _patient_of(side, patients, pattern))
    references = read_references(targets, rules, f"--reference {folder}")
    if pattern:
        places = {path: path.parent.name for path in side.by_key.values()}
        lines = joined(pattern, places, _patient_of(side, patients, pattern))
        references = replace(references, remarks=(*references.remarks, *lines))
    if patients:
        table = Path(Spec.parse(patients).name)
        assumed = (*texts.assumed([table]), *unread(table, _choice(patients)))
        lines = tuple(line.removeprefix("assumed: ") for line in assumed)
        references = replace(references, remarks=(*references.remarks, *lines))
    identity = DatasetId(_title(folder), "external", references.digest)
    show = _images(images, side) if images else None
    part = Part(tuple(targets))
    if show is None:
        return Place(OUTSIDE, Column(identity), references, (part,))
    return Place(OUTSIDE, Column(identity), references, (part,), images=show)


def _title(folder: Path) -> str:
    """Return the dataset's name: the folder's, or that of the one around a folder of USUAL."""
    from bench.data.readers.folder import safe_title

    resolved = folder.resolve()
    says_nothing = resolved.name.lower() in USUAL
    return safe_title(resolved.parent if says_nothing and resolved.parent.name else resolved)


def _patient_of(side: Side, table: str | None, pattern: str | None) -> Callable[[Path], str]:
    """Return a function from a reference's path to its patient, "" where it is unknown."""
    from bench.data.readers import patients
    from bench.data.readers.walk import stem
    from bench.spec.names import Spec

    if (table is None) == (pattern is None):
        raise UsageError(
            f"whose cases are they? give one of --patients FILE ({TABLE}) and "
            "--pattern '{patient}_*'; --pattern '{patient}' where each case is a patient"
        )
    if pattern is not None:
        return patients.by_pattern(pattern, side.folder)
    assert table is not None
    spec = Spec.parse(table)
    inside = {path: path.relative_to(side.folder) for path in side.by_key.values()}
    names = [path.as_posix() for path in inside.values()]
    entries = patients.read(Path(spec.name), _choice(table), f"--patients {spec.name}", names)
    # Names in the table may have suffixes or not.
    stems = {}
    for path in inside.values():
        stems[path.as_posix()] = path.with_name(stem(path)).as_posix()
    matched = patients.match(entries, stems)
    return lambda path: matched.patients.get(inside[path].as_posix(), "")


def _choice(table: str) -> Choice:
    """Return which columns of a table of patients are read.

    Raises:
        UsageError: `--patients` has other options.
    """
    from bench.data.readers import patients
    from bench.spec.names import Spec

    given = {}
    for option in Spec.parse(table).options:
        key, _, value = option.partition("=")
        given[key] = value
    if given.keys() - {"file", "patient"}:
        raise UsageError(f"--patients {table}: expected FILE[:file=COLUMN][:patient=COLUMN]")
    return patients.Choice("", given.get("file", ""), given.get("patient", ""))


def _images(folder: Path, references: Side) -> Callable[[str], NDArray[np.uint8] | None]:
    """Return a function that reads a case's image in 8 bit; None where it has none, or a volume."""
    from bench.data.readers import masks, pairing
    from bench.data.readers.folder import picture
    from bench.data.readers.picture import luminance
    from bench.spec.dataset import unit_image

    # The references stand in the place of images, and the images in that of masks.
    paired, _, _ = pairing.pairs(references, masks.side(folder, "--images"))
    files = {pair.key: pair.mask for pair in paired}
    if not files:
        raise UsageError(f"--images {folder}: no image has the name of a reference; rename them")

    def read(key: str) -> NDArray[np.uint8] | None:
        """Return the grey image (H, W) of a reference, None where it has none."""
        if key not in files:
            return None
        drawn = picture(files[key], masks.LARGEST)
        unit = unit_image(luminance(drawn), files[key], padding=drawn.padding)
        return (unit >> 8).astype("uint8")

    return read


def on_dataset(
    text: str, data: Path | None, splitting: Splitting, profile: str | None, store: Store
) -> Place:
    """Return the place of a prepared dataset: the test cases of a split, or of each fold."""
    from bench.data import cache
    from bench.engine.outside.references import Rules, of_dataset, read_references
    from bench.launch import matrix
    from bench.spec import registry
    from bench.spec.case import VOID
    from bench.spec.metrics import TOLERANCE
    from bench.spec.names import Column
    from bench.spec.plain import content_hash
    from bench.spec.profile import load_profile
    from bench.store.plan import Plan
    from bench.store.results import finished_profiles

    specs = registry.expand(registry.DATASETS, text)
    if len(specs) > 1:
        raise UsageError(f"--dataset {text} names {len(specs)} datasets; name one")
    own_profiles = [name for name in finished_profiles(store) if name != OUTSIDE]
    settings = load_profile(profile or next(iter(own_profiles), "cpu"))
    if settings.nsd_tolerance != TOLERANCE:
        raise UsageError(
            f"--profile {settings.name}: its NSD accepts {settings.nsd_tolerance:g}, and masks "
            f"from outside are scored with {TOLERANCE:g}; score them apart, by --reference"
        )
    (reader,) = matrix.find(specs, data, settings)
    with options.preparing_quietly() as told:
        ref = reader.prepare(told)
    prepared = cache.load(Path(ref.cache))
    store.open(settings)
    plan = Plan(store, settings.name)
    splits = plan.splits(ref.id, prepared.patients, splitting, prepared.official)
    tested = [split.indexes(prepared, "test") for split in splits]
    tested_in_any_fold: dict[int, None] = {}
    for indexes in tested:
        tested_in_any_fold.update(dict.fromkeys(indexes))
    targets = of_dataset(prepared, list(tested_in_any_fold))
    rules = Rules(classes=numbered(prepared.classes, VOID))
    references = read_references(targets, rules, text, partial=True)
    if prepared.levels:
        references = replace(references, class_levels=prepared.class_levels)
    parts = []
    for split, indexes in zip(splits, tested, strict=True):
        keys = tuple(prepared.cases[index].id.lower() for index in indexes)
        parts.append(Part(keys, content_hash(split.sides)))
    places = {case.id.lower(): index for index, case in enumerate(prepared.cases)}

    def image(key: str) -> NDArray[np.uint8]:
        return (prepared.image(places[key]) >> 8).astype("uint8")

    return Place(
        settings.name,
        Column(ref.id, splitting.scheme),
        references,
        tuple(parts),
        tuple(places),
        image,
        {case.id.lower(): case for case in prepared.cases},
    )


def numbered(classes: Sequence[str], void: int | None = None) -> Classes | None:
    """Return the classes of a dataset as its label maps number them; None of one foreground."""
    from bench.data.readers.classes import Classes

    return Classes.numbered(classes, void) if classes else None
