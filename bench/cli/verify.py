"""`bench verify`: whether results are as their cells left them, and scores are those of masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.spec.errors import UsageError
from bench.spec.words import count

if TYPE_CHECKING:
    from bench.store.cells import Store


def verify(
    results: Annotated[Path, typer.Argument(help="A results folder, or a packed one.")] = Path(
        "results"
    ),
    profile: options.ProfileOfResults = None,
    reports: Annotated[
        Path | None,
        typer.Option("--reports", help="Compare the tables of this report folder too."),
    ] = None,
    predict: Annotated[
        int, typer.Option(min=0, help="Cases of each cell that its weights predict again.")
    ] = 0,
    data: options.Data = None,
) -> None:
    """Compute every score again from the kept masks, and compare all digests, splits and records.

    With --predict the weights of each cell predict some cases again, for which its dataset must be
    here. With --reports every table and the paper's numbers are made again from the scores. Exit
    code 1 where anything does not hold; each line names the cell or the file.

    Examples:

        bench verify results

        bench verify results --reports reports

        bench verify results --predict 2 --data ~/spine
    """
    from bench.engine.verify import verify as check
    from bench.store.cells import Store
    from bench.store.pack import unlike_manifest
    from bench.store.results import finished_profiles

    store = Store(results)
    profiles = finished_profiles(store)
    if not profiles:
        raise UsageError(f"{results} has no finished cell; expected a results folder")
    if profile and profile not in profiles:
        raise UsageError(f"{results} has no finished cell under '{profile}'; it has {profiles}")
    unlike = unlike_manifest(results)
    for line in unlike:
        options.say(line)
    wrong = len(unlike)
    for name in [profile] if profile else profiles:
        findings = check(store.layout.profile(name))
        lines = list(findings.wrong)
        if predict and not lines:
            lines += _other_predictions(store, name, predict, data)
        if reports and not findings.wrong:
            lines += _other_tables(store, name, reports / name)
        holding = sum(not line.startswith("not checked") for line in lines)
        for line in (*lines, *(f"not checked: {remark}" for remark in findings.remarks)):
            options.say(line)
        cells, cases = count(findings.cells, "cell"), count(findings.scores, "case")
        options.say(
            f"{name}: {cells}, {count(findings.digests, 'digest')} and the scores of "
            f"{cases} were compared; "
            f"what does not hold: {holding}"
        )
        wrong += holding
    raise typer.Exit(1 if wrong else 0)


def _other_predictions(store: Store, profile: str, count: int, data: Path | None) -> list[str]:
    """Return a line for each prediction that the weights do not give again."""
    from bench.data import cache
    from bench.engine.again import repeat
    from bench.launch import matrix
    from bench.spec.config import DatasetRef
    from bench.spec.names import DatasetId, Spec
    from bench.spec.profile import load_profile
    from bench.store import check

    def find(dataset: DatasetId, name: str) -> DatasetRef:
        """Return a dataset as it was prepared for cells of a profile, by the profile's name."""
        (reader,) = matrix.find([Spec(dataset.name)], data, load_profile(name))
        with options.preparing_quietly() as told:
            ref = reader.prepare(told)
        if ref.id == dataset:
            return ref
        # A dataset that was prepared by other options, such as labels=, is in the cache.
        folder = cache.find_by_digest(dataset.name, dataset.digest)
        return matrix.dataset_ref(folder) if folder else ref

    believed = check.records(store.layout.profile(profile))
    return list(repeat(store, believed.cells, count, find))


def _other_tables(store: Store, profile: str, folder: Path) -> list[str]:
    """Return a line for each file of a report that the scores do not give."""
    from bench.report import texts
    from bench.store.results import Results

    lines = []
    for name, text in texts(Results.load(store, profile)).items():
        path = folder / name
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            lines.append(f"{path} is not what the scores give; bench report writes it anew")
    return lines
