"""What was asked for under a profile: splits, cells and comparisons, written down once."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench.data.splits import Splitting, read_splits, write_splits
from bench.spec import files, plain
from bench.spec.case import Split
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.spec.names import Column, DatasetId, Row, Spec
from bench.spec.note import Note
from bench.store import check
from bench.store.cells import Settings, Store, read_note
from bench.store.damage import Damage
from bench.store.layout import CellFolder, ProfileFolder, last_line, read_or_empty, write
from bench.store.lease import looks_held

Correction = Literal["holm", "max-t"]
State = Literal["done", "running", "failed", "stopped", "waiting", "damaged"]
STATES: tuple[State, ...] = ("done", "running", "failed", "stopped", "waiting", "damaged")
"""In the order in which they are counted and shown."""


@dataclass(frozen=True)
class Place:
    """A cell's place in the matrix and what its files say of it."""

    dataset: str
    """The dataset's key."""
    method: str
    """The method's key."""
    label: str
    """Fold and seed: `f0-s35`."""
    state: State
    progress: Note | None
    """The last note of a cell that is at work or was stopped; None before the first."""
    why: str
    """The last line of a failed cell's error, or what is wrong with a damaged cell."""

    @property
    def name(self) -> str:
        """The place as it is printed."""
        return f"{self.dataset}/{self.method}/{self.label}"

    @property
    def dataset_name(self) -> str:
        """The dataset's name without its version."""
        return DatasetId.name_in(self.dataset)


OLD_NAME = "reference"
"""The key of the baseline in older declarations, and in what the hash is made of."""


class Family(msgspec.Struct, frozen=True):
    """The comparisons that a run declared: one baseline against each other method, per dataset."""

    baseline: str
    """The baseline's key; older files call it `reference`."""
    correction: Correction
    finished: int
    """Cells that were finished when it was declared; 0 means that no result was known."""
    methods: tuple[str, ...] = ()
    """The methods' keys, the baseline's too; empty in older files, which meant every method."""
    date: str = ""
    """When it was declared (UTC); empty in older files."""
    metric: str = "dice"
    """The endpoint. IoU is a function of an image's Dice, so it is no second one."""
    margin: float = 0.005
    """Methods whose endpoint differs by less, as a fraction, are practically equivalent."""
    looks: int = 1
    """How many times results of several seeds are looked at, each time after more seeds."""

    def compares(self, row: Row) -> bool:
        """Return whether a row's method is one of those that were declared."""
        return not self.methods or row.spec.key in self.methods

    @property
    def hash(self) -> str:
        """Twelve hex digits by which a paper can name the declaration."""
        values = plain.builtins(self)
        values[OLD_NAME] = values.pop("baseline")  # so a declaration has one hash for ever
        if self.looks == 1:  # as in declarations that are older than looks
            del values["looks"]
        return plain.content_hash(values)[:12]

    def missing(self, tested: Collection[str]) -> tuple[str, ...]:
        """Return the declared methods that are not among the tested ones."""
        return tuple(key for key in self.methods if key not in tested)


@dataclass(frozen=True)
class Plan:
    """The plan of one profile in a results folder."""

    store: Store
    profile: str

    @property
    def _folder(self) -> ProfileFolder:
        return self.store.layout.profile(self.profile)

    # Splits: written once for each column, reused ever after.

    def splits(
        self,
        dataset: DatasetId,
        patients: Sequence[str],
        splitting: Splitting,
        official: Collection[str] = (),
    ) -> list[Split]:
        """Return a column's splits; the first call writes them, later calls read them back.

        Raises:
            UsageError: There are too few patients, or the split on disk does not fit them.
        """
        path = self._folder.split(Column(dataset, splitting.scheme))
        if not _is_there(path):
            try:
                splits = splitting.split(patients, official)
            except UsageError as error:
                raise UsageError(f"{dataset.name}: {error}") from error
            write(path, write_splits(splits))
        return read_splits(path, patients)

    def has_split(self, dataset: DatasetId, splitting: Splitting) -> bool:
        """Return whether a column was split already, which every run does first."""
        return _is_there(self._folder.split(Column(dataset, splitting.scheme)))

    # Cells: so that waiting cells are known without the run that asked for them.

    def remember(self, cells: Sequence[Cell]) -> None:
        """Add cells to the plan on disk; two runs may do so at once.

        Raises:
            UsageError: Something else has the name of the plan.
        """
        path = self._folder.plan
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_there(path) and not path.is_file():
            raise UsageError(f"{path} is no regular file; bench clean damaged removes it")
        listed = set(read_or_empty(path).splitlines())
        with path.open("a", encoding="utf-8") as file:
            for cell in cells:
                folder = self.store.folder(cell).path
                name = str(folder.relative_to(self._folder.path))
                if name not in listed:
                    file.write(f"{name}\n")
        path.touch()  # without a new cell too, this profile is now the latest that was asked for

    def places(self) -> list[Place]:
        """Return the state of each cell that was planned, in that order; then of others begun."""
        places, _damaged = self.look()
        return places

    def look(self, whole: bool = False) -> tuple[list[Place], list[Damage]]:
        """Return the places, and all that is damaged, also files that belong to no cell.

        Args:
            whole: Whether scores and pictures are checked too, or records alone.
        """
        folder = self._folder
        if whole:
            believed, _scores = check.cases(folder, pictures=True)
        else:
            believed = check.records(folder)
        damaged = list(believed.damaged)
        try:
            self.family()
        except UsageError as error:
            damaged.append(Damage(folder.family, str(error)))
        line_of_damaged = {damage.path: damage.line for damage in damaged}
        believed_cells = {cell.name: cell for cell in believed.cells}
        planned = [cell.name for cell in folder.planned()]
        begun = [cell.name for cell in folder.begun()]
        places = []
        for name in dict.fromkeys([*planned, *begun]):  # each once, in this order
            if name in believed_cells:
                places.append(Place(*believed_cells[name].place, "done", None, ""))
                continue
            cell = CellFolder(folder.path / name)
            place = place_of(cell)
            if cell.path in line_of_damaged:
                place = replace(place, state="damaged", why=line_of_damaged[cell.path])
            places.append(place)
        return places, damaged

    # Comparisons: declared once, best before there are results. The file says how many there were.

    def declare(
        self, baseline: Spec, correction: Correction, methods: Sequence[Spec], looks: int = 1
    ) -> None:
        """Declare what is compared; while no cell is finished, it may be declared anew.

        Raises:
            UsageError: Another family was declared before.
        """
        finished = len(self._folder.finished())
        keys = tuple(sorted(method.key for method in methods))
        today = datetime.now(timezone.utc).date().isoformat()
        family = Family(baseline.key, correction, finished, keys, today, looks=looks)
        before = self.family() if _is_there(self._folder.family) else None
        if before is None or finished == 0:
            said = plain.builtins(family)
            # By the seal, `family` sees that the file was changed afterwards.
            text = json.dumps({**said, "seal": plain.content_hash(said)}, indent=1)
            write(self._folder.family, f"{text}\n")
            self._note_family(family.hash)
            return
        same_tests = before.correction == correction and before.looks == looks
        same_methods = not before.methods or before.methods == keys  # older files name none
        if before.baseline != family.baseline or not same_tests or not same_methods:
            others = ", ".join(before.methods) or "each other method"
            raise UsageError(
                f"{self._folder.family} declares another family already: {before.baseline} against "
                f"{others}, corrected by {before.correction}, looks: {before.looks}; leave out "
                "--baseline to keep it, or choose another --out. A family that changes after "
                "results were seen is none"
            )

    def family(self) -> Family | None:
        """Return the family that was declared, if any was.

        Raises:
            UsageError: Its file is damaged.
        """
        path = self._folder.family
        remedy = "declare the comparisons again with --baseline"
        try:
            text = files.read_bytes(path)
            said = plain.decode(text, dict[str, Any])
            seal = said.pop("seal", None)
            # Older files have no seal, and `profile.json` no hash of them.
            sealed = seal is not None or self._noted_family()
            if sealed and seal != plain.content_hash(said):
                raise plain.PlainError("its seal is not that of its text: it was changed")
            if OLD_NAME in said:
                said["baseline"] = said.pop(OLD_NAME)
            return plain.convert(said, Family)
        except FileNotFoundError:
            if self._noted_family():
                raise UsageError(
                    f"{path} is missing, but comparisons were declared; {remedy}"
                ) from None
            return None
        except (OSError, plain.PlainError) as error:
            why = files.reason(error) if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"{path} is damaged ({why}); bench clean damaged removes it: then {remedy}"
            ) from error

    def _noted_family(self) -> str:
        """Return the hash of the declared comparisons that `profile.json` has, empty if none."""
        try:
            return plain.decode(files.read_bytes(self._folder.settings), Settings).family
        except (OSError, plain.PlainError):
            return ""

    def _note_family(self, family: str) -> None:
        """Note the hash of the declared comparisons, so that a loss of their file is noticed."""
        path = self._folder.settings
        if path.is_file():
            said = plain.decode(files.read_bytes(path), dict[str, Any])
            write(path, json.dumps({**said, "family": family}, indent=1) + "\n")


def _is_there(path: Path) -> bool:
    """Return whether there is anything of this name, also a link that leads nowhere."""
    return path.exists() or path.is_symlink()


def split_of(store: Store, cell: Cell, patients: Sequence[str]) -> Split:
    """Return the split of a cell.

    Raises:
        UsageError: It is no longer the split that the cell was planned with.
    """
    path = store.layout.profile(cell.profile).split(cell.column)
    split = read_splits(path, patients)[cell.fold]
    if plain.content_hash(split.sides) != cell.split:
        raise UsageError(f"the split of {cell.title} changed since it was planned; run again")
    return split


def planned(store: Store) -> list[str]:
    """Return the profiles, those too whose plan was lost; the one asked for last comes first."""
    newest: dict[str, float] = {}
    for path in store.layout.plans():
        profile = store.layout.profile_of_plan(path)
        newest[profile] = max(newest.get(profile, 0), path.lstat().st_mtime)
    return sorted(newest, key=lambda name: (-newest[name], name))


def place_of(folder: CellFolder, *, held_by_me: bool = False) -> Place:
    """Return what a cell's files say of it; a lease of the caller's own does not count."""
    work = folder.working
    place = folder.place
    if folder.finished or folder.path.exists():  # `Plan.look` says what is damaged
        return Place(*place, "done", None, "")
    if not work.path.is_dir():
        return Place(*place, "waiting", None, "")
    note = read_note(work)
    if not held_by_me and looks_held(work.path):
        return Place(*place, "running", note, "")
    error = read_or_empty(work.error)
    if error:
        return Place(*place, "failed", note, last_line(error))
    return Place(*place, "stopped", note, "")
