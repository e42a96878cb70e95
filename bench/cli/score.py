"""`bench score`: predictions from outside, scored beside references or on a prepared dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import options
from bench.spec.errors import SeveralError, UsageError, short_list
from bench.spec.words import count
from bench.store.cells import OUTSIDE, Store
from bench.store.scores import CLASS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.readers.classes import Classes
    from bench.data.readers.pairing import Side
    from bench.data.splits import Splitting
    from bench.engine.outside.references import References, Rules
    from bench.engine.outside.scoring import Scored
    from bench.engine.volumes import Stack
    from bench.spec.case import Case
    from bench.spec.names import Column
    from bench.store.layout import CellFolder
    from bench.store.outside import OutsideCell

TABLE = "a table with the columns file and patient"
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


def score(
    predictions: Annotated[
        list[str], typer.Option(help="NAME=FOLDER of a method; a name twice is a second run of it.")
    ],
    reference: Annotated[Path | None, typer.Option(help="Folder of the references.")] = None,
    patients: Annotated[
        str | None,
        typer.Option(
            help="CSV with the columns file and patient: FILE[:file=COLUMN][:patient=COLUMN]."
        ),
    ] = None,
    pattern: Annotated[str | None, typer.Option(help=options.PATTERN)] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, for the pictures of the report.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A dataset that is prepared here, instead of --reference.")
    ] = None,
    data: options.Data = None,
    folds: options.Folds = 1,
    split: options.SplitFile = None,
    profile: Annotated[
        str | None,
        typer.Option(help="With --dataset: beside which results; default: the latest, or cpu."),
    ] = None,
    foreground: Annotated[
        str, typer.Option(help="Labels that are foreground: 1+2, #ff0000 or >127.")
    ] = "",
    foreground_predictions: Annotated[
        str, typer.Option(help="The same for predictions, where they are drawn otherwise.")
    ] = "",
    labels: Annotated[
        str,
        typer.Option(help="Classes: organ=1-3/tumour=4, or a JSON or CSV file of them."),
    ] = "",
    labels_predictions: Annotated[
        str, typer.Option(help="The same for predictions, where they are numbered otherwise.")
    ] = "",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability from which on a pixel is foreground."),
    ] = None,
    missing: Annotated[
        Literal["refuse", "zero"], typer.Option(help="What a case without a prediction becomes.")
    ] = "refuse",
    instances: Annotated[
        bool,
        typer.Option("--instances", help="Score what each label of a reference names on its own."),
    ] = False,
    ending: Annotated[
        str, typer.Option(help="Ending of the predictions' names that the references' lack: _pred.")
    ] = "",
    score: options.Score = "slice",
    baseline: options.Baseline = None,
    out: options.Out = Path("results"),
) -> None:
    """Score predictions from outside, and keep them as cells beside those that were trained here.

    Volumes are scored in 3D, with their spacing; slices of a prepared volume too with --score
    volume. Files are paired by name. Each missing prediction is named. The tables, figures and
    statistics: bench report.

    Examples:

        bench score --reference labels --predictions "Ours=preds/ours" --patients patients.csv

        bench score --reference labelsTs --predictions "nnU-Net=preds" --pattern '{patient}_*'

        bench score --dataset mr --data ~/spine --predictions "Ours=preds/ours"

        bench score --reference labels --predictions "Ours=preds" --pattern '{patient}_*' \
            --labels 'vertebra=1-7+9/disc=10-16/background=8'
    """
    from bench.data.readers import masks
    from bench.data.splits import Splitting
    from bench.engine.outside.references import Rules
    from bench.engine.outside.scoring import score_folder
    from bench.store.outside import is_kept, keep

    named = parse_named(predictions, "--predictions")
    rules = Rules(
        foreground,
        foreground_predictions,
        *_classes(labels, labels_predictions, foreground or foreground_predictions, threshold),
        threshold,
        missing,
        ending,
        instances,
    )
    sides = [(name, masks.side(Path(path), f"{name}:")) for name, path in named]
    store = Store(out)
    if (reference is None) == (dataset is None):
        raise UsageError(
            "expected either --reference FOLDER, or --dataset NAME of one that is prepared here"
        )
    if reference is not None:
        _refuse_of_dataset(data, folds, split, profile)
        if labels_predictions and not labels:
            raise UsageError(
                "--labels-predictions says what the classes of --labels are in predictions; give "
                "--labels too"
            )
        place = _beside(reference, patients, pattern, images, rules)
    else:
        assert dataset is not None
        if patients or pattern or images or foreground or labels:
            raise UsageError(
                "--dataset has its own patients, images, foreground and classes; leave out "
                "--patients, --pattern, --images, --foreground and --labels"
            )
        if instances:
            raise UsageError(
                f"--instances is of --reference; of a dataset: --dataset {dataset}:instances=on"
            )
        place = _on_dataset(dataset, data, Splitting(folds, split), profile, store)
        rules = replace(rules, classes=_numbered(place.references.classes))
    whole = _stacks(place) if score == "volume" else []
    scored: list[tuple[str, Side, Scored]] = []
    wrong = []
    for name, side in sides:
        try:
            result = score_folder(name, side, place.references, rules, place.others)
            scored.append((name, side, result))
        except UsageError as error:
            wrong.append(str(error))
    if wrong:
        raise SeveralError(wrong)
    if place.profile == OUTSIDE:
        store.open_outside()
    cells = _cells(place, scored, whole)
    for cell, _ in cells:
        is_kept(store, cell)  # refuses another one
    # Before any score is kept or shown, so that the declaration counts what was known before.
    options.declare_outside(store, place.profile, baseline, [name for name, _, _ in scored])
    _keep_references(store, place)
    for cell, write_masks in cells:
        keep(store, cell, write_masks)
    _tell(store, place, scored)


def _classes(
    labels: str, of_predictions: str, foreground: str, threshold: float | None
) -> tuple[Classes | None, Classes | None]:
    """Return the classes of references and of predictions.

    Raises:
        UsageError: They do not go with other options, or name other classes.
    """
    from bench.data.readers.classes import Classes

    if (labels or of_predictions) and (foreground or threshold is not None):
        raise UsageError(
            "--labels says what all labels are; leave out --foreground, --foreground-predictions "
            "and --threshold"
        )
    known = Classes.parse(labels) if labels else None
    own = Classes.parse(of_predictions) if of_predictions else None
    if known and own and set(known.names) != set(own.names):
        raise UsageError(
            f"--labels-predictions names {', '.join(own.names)}, expected the classes of --labels: "
            f"{', '.join(known.names)}"
        )
    return known, own


def _numbered(classes: Sequence[str], void: int | None = None) -> Classes | None:
    """Return the classes of a dataset as its label maps number them; None of one foreground."""
    from bench.data.readers.classes import Classes

    return Classes.numbered(classes, void) if classes else None


def parse_named(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    """Return the names and paths of `NAME=PATH`, with names whose keys are all different.

    Raises:
        UsageError: One is no such text, or two names would have one key.
    """
    from bench.store.outside import method_key

    named = []
    keys: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name.strip() and equals and path.strip()):
            raise UsageError(f'{option} {text}: expected NAME=PATH, such as "Ours=preds/ours"')
        name = name.strip()
        other = keys.setdefault(method_key(name).lower(), name)
        if other != name:
            raise UsageError(f"{option}: {other} and {name} have one name in files; rename one")
        named.append((name, path.strip()))
    return named


def _refuse_of_dataset(
    data: Path | None, folds: int, split: Path | None, profile: str | None
) -> None:
    """Refuse options that need --dataset; BENCH_DATA may be set."""
    if folds > 1 or split or profile:
        raise UsageError(
            "--folds, --split and --profile are of --dataset; with --reference all cases are "
            "scored: leave them out"
        )


def _beside(
    folder: Path, patients: str | None, pattern: str | None, images: Path | None, rules: Rules
) -> Place:
    """Return the place of a folder of references."""
    from bench.data.readers import masks
    from bench.engine.outside.references import of_folder, read_references
    from bench.spec.names import Column, DatasetId

    side = masks.side(folder, "--reference")
    targets = of_folder(side, _patient_of(side, patients, pattern))
    references = read_references(targets, rules, f"--reference {folder}")
    identity = DatasetId(_title(folder), "external", references.digest)
    show = _images(images, side) if images else None
    part = Part(tuple(targets))
    if show is None:
        return Place(OUTSIDE, Column(identity), references, (part,))
    return Place(OUTSIDE, Column(identity), references, (part,), images=show)


def _title(folder: Path) -> str:
    """Return the dataset's name: the folder's, or that of the one around a folder of USUAL."""
    from bench.data.readers.folder import safe_title

    own = folder.resolve()
    return safe_title(own.parent if own.name.lower() in USUAL and own.parent.name else own)


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
    given = dict(option.partition("=")[::2] for option in spec.options)
    if given.keys() - {"file", "patient"}:
        raise UsageError(f"--patients {table}: expected FILE[:file=COLUMN][:patient=COLUMN]")
    choice = patients.Choice("", given.get("file", ""), given.get("patient", ""))
    entries = patients.read(Path(spec.name), choice, f"--patients {spec.name}")
    paths = {path: path.relative_to(side.folder) for path in side.by_key.values()}
    stems = {}
    for path in paths.values():
        stems[path.as_posix()] = path.with_name(stem(path)).as_posix()
    matched = patients.match(entries, stems)
    return lambda path: matched.patients.get(paths[path].as_posix(), "")


def _images(folder: Path, references: Side) -> Callable[[str], NDArray[np.uint8] | None]:
    """Return a function that reads a case's image in 8 bit; None where it has none, or a volume."""
    from bench.data.readers import masks, pairing
    from bench.data.readers.folder import picture
    from bench.data.readers.picture import luminance
    from bench.spec.dataset import unit_image

    paired, _, _ = pairing.pairs(references, masks.side(folder, "--images"))
    files = {pair.key: pair.mask for pair in paired}
    if not files:
        raise UsageError(f"--images {folder}: no image has the name of a reference; rename them")

    def read(key: str) -> NDArray[np.uint8] | None:
        if key not in files:
            return None
        drawn = picture(files[key], masks.LARGEST)
        unit = unit_image(luminance(drawn), files[key], padding=drawn.padding)
        return (unit >> 8).astype("uint8")

    return read


def _on_dataset(
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
    known = [name for name in finished_profiles(store) if name != OUTSIDE]
    settings = load_profile(profile or next(iter(known), "cpu"))
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
    tested = [one.indexes(prepared, "test") for one in splits]
    every: dict[int, None] = {}
    for indexes in tested:
        every.update(dict.fromkeys(indexes))
    targets = of_dataset(prepared, list(every))
    rules = Rules(classes=_numbered(prepared.classes, VOID))
    references = read_references(targets, rules, text, partial=True)
    if prepared.levels:
        references = replace(references, class_levels=prepared.class_levels)
    parts = []
    for one, indexes in zip(splits, tested, strict=True):
        keys = tuple(prepared.cases[index].id.lower() for index in indexes)
        parts.append(Part(keys, content_hash(one.sides)))
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


def _stacks(place: Place) -> list[list[Stack]]:
    """Return the volumes of each fold.

    Raises:
        UsageError: The references are of no prepared dataset, or no slices of volumes.
    """
    from bench.engine.volumes import stacks

    if not place.cases:
        raise UsageError(
            "--score volume stacks slices of a prepared dataset (--dataset); volumes in files are "
            "scored in 3D as they are: leave --score out"
        )
    return [stacks(place.cases[key] for key in part.keys) for part in place.parts]


def _keep_references(store: Store, place: Place) -> None:
    """Keep references and images for the report, once a dataset."""
    from bench.engine.outside.references import shown, together
    from bench.store.cells import keep_labels, keep_pictures
    from bench.store.layout import instances as labels_of
    from bench.store.layout import references as files_of
    from bench.store.outside import pack

    folder = store.layout.profile(place.profile).path / place.column.dataset.folder

    def one(key: str) -> None:
        target = place.references.targets[key]
        mask = place.references.mask(key)
        image = None
        if mask.ndim == 3:
            volume = files_of(folder, target.case)[1].with_suffix(".npz")
            if not volume.is_file():
                pack(volume, mask)
            mask = mask[shown(mask)]
        else:
            image = place.images(key)
        pixels = mask.astype("uint8")
        keep_pictures(
            folder, target.case, image, pixels if place.references.classes else pixels * 255
        )
        labels = place.references.instances(key)
        if labels is not None:
            keep_labels(labels_of(folder, target.case), labels)

    together(one, list(place.references.targets))


def _cells(
    place: Place,
    scored: Sequence[tuple[str, Side, Scored]],
    whole: Sequence[Sequence[Stack]],
) -> list[tuple[OutsideCell, Callable[[CellFolder], None]]]:
    """Return a cell for each run and fold, with what writes its masks.

    `whole` has the volumes of each fold, if they count.
    """
    from bench.engine import volumes
    from bench.spec.config import SEED
    from bench.spec.metrics import TOLERANCE
    from bench.store.outside import OutsideCell
    from bench.store.record import External

    cells: list[tuple[OutsideCell, Callable[[CellFolder], None]]] = []
    runs: dict[str, int] = {}
    for name, side, result in scored:
        run = runs[name] = runs.get(name, -1) + 1
        for fold, part in enumerate(place.parts):
            cases = {place.references.targets[key].case for key in part.keys}
            remarks = dict.fromkeys((*place.references.remarks, *result.remarks))
            cell = OutsideCell(
                profile=place.profile,
                title=name,
                column=place.column,
                fold=fold,
                seed=SEED + run,
                split=part.split,
                external=External(
                    kind="masks",
                    origin=options.shown_path(side.folder),
                    digest=result.digest(part.keys),
                    missing=tuple(case for case in result.missing if case in cases),
                    remarks=tuple(remarks),
                ),
                rows=result.lines(part.keys),
                classes=result.classes,
                volumes=bool(whole),
            )

            def masks(
                work: CellFolder, result: Scored = result, part: Part = part, fold: int = fold
            ) -> None:
                result.write(part.keys, place.references, work)
                if whole:
                    volumes.write(work, "", whole[fold], TOLERANCE, result.classes, result.named)

            cells.append((cell, masks))
    return cells


def _dice(result: Scored) -> dict[str, list[float]]:
    """Return the Dice of the cases, of each class where there are several."""
    values: dict[str, list[float]] = {f", {name}": [] for name in result.classes} or {"": []}
    for rows in result.rows.values():
        for row in rows:
            title = f", {row[CLASS]}" if CLASS in row else ""
            if title in values and not math.isnan(float(row["dice"])):
                values[title].append(float(row["dice"]))
    return values


def _tell(store: Store, place: Place, scored: Sequence[tuple[str, Side, Scored]]) -> None:
    """Print the mean Dice of each folder, what was assumed and what is missing."""
    import statistics

    remarks = dict.fromkeys(place.references.remarks)
    for name, _, result in scored:
        whole = count(len(result.rows), "case")
        for title, values in _dice(result).items():
            cases = whole
            if len(values) < len(result.rows):  # a class that neither mask has is undefined
                cases = f"{len(values)} of {whole}"
            mean = f"{100 * statistics.fmean(values):.2f} %" if values else "undefined"
            options.say(f"{name}{title}: mean Dice {mean} over {cases}")
        if result.missing:
            options.say(f"{name}: {short_list(result.missing)} have no prediction and score zero")
        remarks.update(dict.fromkeys(result.remarks))
    for line in remarks:
        options.say(f"assumed: {line}")
    if not place.cases:
        options.say(
            f"Dataset: {place.column.dataset.name}, after the folder of the references; "
            "[names] in a layout (bench report --layout-template) prints another name"
        )
    options.say(
        f"Results: {store.layout.profile(place.profile).path.resolve()}; "
        f"tables and figures: bench report --out {store.root} --profile {place.profile}"
    )
