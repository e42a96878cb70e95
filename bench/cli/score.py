"""`bench score`: predictions from outside, scored beside references or on a prepared dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import options
from bench.cli.places import Part, Place, beside, numbered, on_dataset
from bench.spec.errors import SeveralError, UsageError, short_list
from bench.spec.words import count
from bench.store.cells import OUTSIDE, Store
from bench.store.scores import CLASS

if TYPE_CHECKING:
    from bench.data.readers.classes import Classes
    from bench.data.readers.pairing import Side
    from bench.engine.outside.references import Rules
    from bench.engine.outside.scoring import Scored
    from bench.engine.volumes import Stack
    from bench.store.layout import CellFolder
    from bench.store.outside import OutsideCell


def score(
    predictions: Annotated[
        list[str],
        typer.Option(help="NAME=FOLDER of a method; a name twice is a second seed of it."),
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
    from bench.engine.outside.references import Rules
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
        _refuse_of_dataset(folds, split, profile)
        if labels_predictions and not labels:
            raise UsageError(
                "--labels-predictions says what the classes of --labels are in predictions; give "
                "--labels too"
            )
        place = beside(reference, patients, pattern, images, rules)
    else:
        assert dataset is not None
        _refuse_of_reference(dataset, patients, pattern, images, rules)
        place = on_dataset(dataset, data, options.splitting(folds, split), profile, store)
        rules = replace(rules, classes=numbered(place.references.classes))
    volumes_of_folds = _stacks(place) if score == "volume" else []
    scored = _scored(sides, place, rules)
    if place.profile == OUTSIDE:
        store.open_outside()
    cells = _cells(place, scored, volumes_of_folds)
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
    of_references = Classes.parse(labels) if labels else None
    of_predicted = Classes.parse(of_predictions) if of_predictions else None
    if of_references and of_predicted and set(of_references.names) != set(of_predicted.names):
        raise UsageError(
            f"--labels-predictions names {', '.join(of_predicted.names)}, expected the classes of "
            f"--labels: {', '.join(of_references.names)}"
        )
    return of_references, of_predicted


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


def _refuse_of_dataset(folds: int, split: Path | None, profile: str | None) -> None:
    """Refuse options that need --dataset; BENCH_DATA may be set."""
    if folds > 1 or split or profile:
        raise UsageError(
            "--folds, --split and --profile are of --dataset; with --reference all cases are "
            "scored: leave them out"
        )


def _refuse_of_reference(
    dataset: str, patients: str | None, pattern: str | None, images: Path | None, rules: Rules
) -> None:
    """Refuse options that need --reference."""
    if patients or pattern or images or rules.foreground or rules.classes:
        raise UsageError(
            "--dataset has its own patients, images, foreground and classes; leave out "
            "--patients, --pattern, --images, --foreground and --labels"
        )
    if rules.instances:
        raise UsageError(
            f"--instances is of --reference; of a dataset: --dataset {dataset}:instances=on"
        )


def _scored(
    sides: Sequence[tuple[str, Side]], place: Place, rules: Rules
) -> list[tuple[str, Side, Scored]]:
    """Return all folders of predictions with their scores.

    Raises:
        SeveralError: Something is wrong with some of them.
    """
    from bench.engine.outside.scoring import score_folder

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
    return scored


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
    from bench.store.layout import image_and_reference
    from bench.store.layout import instances as labels_of
    from bench.store.outside import pack

    folder = store.layout.profile(place.profile).path / place.column.dataset.folder

    def keep(key: str) -> None:
        """Write what the report shows of one case."""
        target = place.references.targets[key]
        mask = place.references.mask(key)
        image = None
        if mask.ndim == 3:
            _, reference = image_and_reference(folder, target.case)
            volume = reference.with_suffix(".npz")
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

    together(keep, list(place.references.targets))


def _cells(
    place: Place,
    scored: Sequence[tuple[str, Side, Scored]],
    volumes_of_folds: Sequence[Sequence[Stack]],
) -> list[tuple[OutsideCell, Callable[[CellFolder], None]]]:
    """Return a cell for each run and fold, with what writes its masks.

    `volumes_of_folds` is empty where volumes are not scored.
    """
    from bench.engine import volumes
    from bench.spec.config import SEED
    from bench.spec.metrics import TOLERANCE
    from bench.store.outside import OutsideCell
    from bench.store.record import External

    cells: list[tuple[OutsideCell, Callable[[CellFolder], None]]] = []
    runs: dict[str, int] = {}
    for name, side, result in scored:
        run = runs[name] = runs.get(name, -1) + 1  # 0 for the first folder of a name
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
                volumes=bool(volumes_of_folds),
            )

            # Default values, so that the function keeps those of this turn of the loops.
            def masks(
                work: CellFolder, result: Scored = result, part: Part = part, fold: int = fold
            ) -> None:
                result.write(part.keys, place.references, work)
                if volumes_of_folds:
                    stacks = volumes_of_folds[fold]
                    volumes.write(work, "", stacks, TOLERANCE, result.classes, result.named)

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
        all_cases = count(len(result.rows), "case")
        for title, values in _dice(result).items():
            cases = all_cases
            if len(values) < len(result.rows):  # a class that neither mask has is undefined
                cases = f"{len(values)} of {all_cases}"
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
