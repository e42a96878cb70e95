"""The names of all files and folders in `results/<profile>/<dataset>/<method>/<label>/`."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.spec import files
from bench.spec.config import Cell
from bench.spec.errors import UsageError, printable
from bench.spec.names import Column, Label, Spec, safe_name
from bench.spec.profile import Profile

PART = ".part"
"""Ends the name of a cell's folder while the cell is not finished."""
CHECKPOINTS = "checkpoint-*.pt"
"""Checkpoints of a training."""
REFERENCES = "references"
"""The folder of the images and references that the cells of a dataset share."""
CRATE, MANIFEST = "ro-crate-metadata.json", "manifest.csv"
"""What stands beside the profiles of an archive: what it is, and the digest of every file."""
USAGE_ERROR = f"{UsageError.__module__}.{UsageError.__qualname__}: "
"""What a traceback writes before the line of this error."""
LEASES = "lease-*"
"""Leases of a folder."""


@dataclass(frozen=True)
class CellFolder:
    """The files of one cell, finished or not."""

    path: Path

    @property
    def finished(self) -> bool:
        """Whether the cell is finished, damaged or not: its record is written last."""
        return self.record.exists() or self.record.is_symlink()

    @property
    def at_work(self) -> bool:
        """Whether this is a folder of an unfinished cell."""
        return self.path.name.endswith(PART)

    @property
    def working(self) -> CellFolder:
        """The folder in which the cell is computed."""
        return CellFolder(self.path.with_name(f"{self.path.name.removesuffix(PART)}{PART}"))

    @cached_property
    def place(self) -> tuple[str, str, str]:
        """The dataset's key, the method's key and the label."""
        dataset, method, label = self.path.parts[-3:]
        return dataset, Spec.of_folder(method).key, label.removesuffix(PART)

    @property
    def profile(self) -> str:
        """The name of the profile."""
        return self.path.parents[2].name

    @cached_property
    def name(self) -> str:
        """The place as progress and trackers print it, with slashes between."""
        return "/".join(self.path.parts[-3:]).removesuffix(PART)

    # What a finished cell holds

    @property
    def record(self) -> Path:
        """What was computed, how, with what, and how long it took."""
        return self.path / "cell.json"

    @property
    def weights(self) -> Path:
        """The trained weights."""
        return self.path / "model.safetensors"

    @property
    def initial(self) -> Path:
        """Shape and digest of each tensor before training."""
        return self.path / "initial.json"

    @property
    def losses(self) -> Path:
        """Training and validation losses."""
        return self.path / "train.csv"

    @property
    def stages(self) -> Path:
        """Maps that show how a method comes to its prediction."""
        return self.path / "stages.npz"

    @property
    def spread(self) -> Path:
        """The folder of the uncertainty maps, each on the network's grid in 255 steps.

        Results before it was so have maps of native pixels in 65535 steps.
        """
        return self.path / "spread"

    @property
    def method(self) -> Path:
        """The file of a method that is in no package."""
        return self.path / "method.py"

    @property
    def log(self) -> Path:
        """What the cell's process printed."""
        return self.path / "log.txt"

    def cases(self, extra: str = "") -> Path:
        """Return the scores of each test case; `extra` names a further row."""
        return self.path / f"{_with('cases', extra)}.csv"

    def volumes(self, extra: str = "") -> Path:
        """Return the scores in 3D of each volume that the test cases were cut from."""
        return self.path / f"{_with('volumes', extra)}.csv"

    def predictions(self, extra: str = "") -> Path:
        """Return the folder of the predicted masks."""
        return self.path / _with("predictions", extra)

    def probabilities(self, extra: str = "") -> Path:
        """Return the folder of the probabilities, on the network's grid in 255 steps."""
        return self.path / _with("probabilities", extra)

    def reference(self, case: str) -> Path:
        """Return the reference of a test case, which the cells of a dataset share."""
        _, reference = image_and_reference(self.path.parents[1], case)
        return reference

    def reference_volume(self, case: str) -> Path:
        """Return the whole reference of a volume, of which `reference` shows a slice."""
        return self.reference(case).with_suffix(".npz")

    def volume(self, case: str) -> Path:
        """Return the whole prediction of a volume, of which a slice is shown beside it."""
        return self.predictions() / f"{case}.npz"

    def reference_instances(self, case: str) -> Path:
        """Return the instances of a test case's reference, which the cells of a dataset share."""
        return instances(self.path.parents[1], case)

    def instances(self, extra: str = "") -> Path:
        """Return the folder of predicted instances; it exists only where their numbers are names.

        Other instances are the components of a predicted mask, and are found in it again.
        """
        return self.path / _with("instances", extra)

    def image(self, case: str) -> Path:
        """Return the image of a test case, which the cells of a dataset share."""
        image, _ = image_and_reference(self.path.parents[1], case)
        return image

    def shared(self, name: str) -> Path:
        """Return a file among the images and references that the cells of a dataset share."""
        return self.path.parents[1] / REFERENCES / name

    # What an unfinished cell holds beside

    @property
    def spec_hash(self) -> Path:
        """The hash of the cell that the folder belongs to."""
        return self.path / "spec.hash"

    @property
    def status(self) -> Path:
        """How far the cell is."""
        return self.path / "status.json"

    @property
    def energy(self) -> Path:
        """The joules of all attempts so far."""
        return self.path / "energy.json"

    @property
    def error(self) -> Path:
        """The traceback of a failed cell."""
        return self.path / "error.txt"

    @property
    def reserve(self) -> Path:
        """Bytes that are given up when a full disk has no room for the error."""
        return self.path / "reserve"

    def checkpoint(self, step: int, digest: str) -> Path:
        """Return the checkpoint after so many steps; its name holds the digest of its bytes."""
        return self.path / f"checkpoint-{step:08}-{digest}.pt"

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, the latest first."""
        return sorted(self.path.glob(CHECKPOINTS), reverse=True)

    @property
    def own(self) -> Path:
        """The folder of a method that trains itself."""
        return self.path / "own"

    def kept(self) -> list[Path]:
        """Return the files of a finished cell whose digests its record has, in a fixed order.

        The record itself is not among them, nor the log, which grows until the process ends. Names
        that begin with a dot are of files that a kill left half written.
        """
        left_out = {self.record, self.log, self.error, self.reserve, *self.temporary()}
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path for path in files if path not in left_out and path.name[0] != ".")

    def temporary(self) -> Iterator[Path]:
        """Yield the files that a finished cell does not keep."""
        yield from (self.spec_hash, self.status, self.energy)
        yield from self.path.glob(CHECKPOINTS)
        yield from self.path.glob(LEASES)


def _with(name: str, extra: str) -> str:
    """Return the name of a row's file: that of a further row ends with the row's name."""
    return f"{name}-{extra}" if extra else name


def image_and_reference(dataset: Path, case: str) -> tuple[Path, Path]:
    """Return the files of a test case's image and reference in a dataset's folder."""
    folder = dataset / REFERENCES
    return folder / f"{case}-image.png", folder / f"{case}-reference.png"


def instances(dataset: Path, case: str) -> Path:
    """Return the file of a case's reference instances in a dataset's folder; of a volume, .npz."""
    return dataset / REFERENCES / f"{case}-instances.png"


@dataclass(frozen=True)
class ProfileFolder:
    """The files of one profile's results."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The digests of an archive that this was unpacked from; not there in other results."""
        return self.path.parent / MANIFEST

    @property
    def settings(self) -> Path:
        """The format of the results and the profile that they were made under."""
        return self.path / "profile.json"

    @property
    def plan(self) -> Path:
        """The cells that were ever asked for, a line each."""
        return self.path / "plan.txt"

    @property
    def family(self) -> Path:
        """The comparisons that were declared."""
        return self.path / "family.json"

    @property
    def looks(self) -> Path:
        """The seeds under which each column's results were reported, a line a look."""
        return self.path / "looks.csv"

    @property
    def studies(self) -> Path:
        """The database of `bench tune`."""
        return self.path / "tuning.db"

    @property
    def track_log(self) -> Path:
        """What the process that feeds a tracker printed."""
        return self.path / "track.log"

    def split(self, column: Column) -> Path:
        """Return the split of a column."""
        name = "-".join(filter(None, ("split", column.scheme.key)))
        return self.path / column.dataset.folder / f"{name}.csv"

    def cell(self, dataset: str, method: str, label: str) -> CellFolder:
        """Return the folder of a cell by the dataset's key, the method's key and the label."""
        return CellFolder(self.path / dataset / Spec.parse(method).folder / label)

    def finished(self) -> list[CellFolder]:
        """Return the folders of all finished cells, in a fixed order."""
        records = sorted(self.path.glob("*/*/*/cell.json"))
        folders = (CellFolder(record.parent) for record in records)
        return [folder for folder in folders if not folder.at_work]

    def begun(self) -> list[CellFolder]:
        """Return the folders of all cells that have left anything, in a fixed order."""
        paths = sorted(self.path.glob("*/*/f*-s*"))
        return [CellFolder(path) for path in paths if path.parent.name != REFERENCES]

    def ended(self) -> list[CellFolder]:
        """Return the folders of all finished cells, those too that lost their record."""
        return [folder for folder in self.begun() if not folder.at_work]

    def planned(self) -> list[CellFolder]:
        """Return the folders of the cells in the plan, in its order."""
        return [CellFolder(self.path / line) for line in self._plan() if _is_place(line)]

    def foreign(self) -> list[str]:
        """Return the lines of the plan that name no cell."""
        return [line for line in self._plan() if not _is_place(line)]

    def _plan(self) -> list[str]:
        return read_or_empty(self.plan).splitlines()

    def failed(self) -> list[CellFolder]:
        """Return the folders of all cells that left an error, in a fixed order."""
        errors = sorted(self.path.glob(f"*/*/*{PART}/error.txt"))
        folders = (CellFolder(error.parent) for error in errors)
        return [folder for folder in folders if _is_label(folder.place[-1])]


@dataclass(frozen=True)
class Layout:
    """A results folder."""

    root: Path

    def profile(self, profile: Profile | str) -> ProfileFolder:
        """Return the folder of a profile."""
        name = profile if isinstance(profile, str) else profile.name
        return ProfileFolder(self.root / name)

    def cell(self, cell: Cell) -> CellFolder:
        """Return where a finished cell lies."""
        dataset = cell.dataset.id.folder
        return self.profile(cell.profile).cell(dataset, cell.method.key, cell.label.key)

    def dataset(self, cell: Cell) -> Path:
        """Return the folder of a cell's dataset."""
        return self.profile(cell.profile).path / cell.dataset.id.folder

    def records(self) -> list[Path]:
        """Return the records of all finished cells of all profiles.

        A record whose cell was killed before its folder was renamed is not among them.
        """
        paths = self.root.glob("*/*/*/*/cell.json")
        return [path for path in paths if not CellFolder(path.parent).at_work]

    def profile_of(self, record: Path) -> str:
        """Return the name of the profile that a record belongs to."""
        return record.parents[3].name

    def plans(self) -> list[Path]:
        """Return the plans of all profiles; `profile.json` of those that lost theirs."""
        plans = list(self.root.glob("*/plan.txt"))
        folders = {plan.parent for plan in plans}
        settings = self.root.glob("*/profile.json")
        return plans + [path for path in settings if path.parent not in folders]

    def profile_of_plan(self, plan: Path) -> str:
        """Return the name of the profile that a plan belongs to."""
        return plan.parent.name

    @property
    def slurm(self) -> Path:
        """The folder of Slurm's own files."""
        return self.root / "slurm"

    def tensorboard(self, profile: str) -> Path:
        """Return the folder of TensorBoard's event files."""
        return self.root / "tensorboard" / profile


def write(path: Path, content: str | bytes) -> None:
    """Write a file so that readers see the old or the new content, never a part.

    Raises:
        OSError: The disk is full, or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    data = content.encode() if isinstance(content, str) else content
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def make_folder(folder: Path, what: str, option: str) -> None:
    """Make a folder and try to write in it.

    Raises:
        UsageError: It cannot be written; names the option that chooses another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"{what} folder {folder} cannot be written ({error.strerror}); "
            f"choose another with {option}"
        ) from error


def _is_place(line: str) -> bool:
    """Return whether a line of a plan is the place of a cell in its profile's folder."""
    parts = line.split("/")
    if not _is_label(parts[-1]):
        return False
    try:
        return len(parts) == len(CellFolder(Path(line)).place) and all(map(_safe_part, parts))
    except (ValueError, UsageError):
        return False


def _is_label(name: str) -> bool:
    """Return whether a folder's name is the label of a cell, and not that of a user's copy."""
    try:
        Label.parse(name)
    except ValueError:
        return False
    return True


def _safe_part(name: str) -> str:
    return safe_name(name, "folder")


def read_or_empty(path: Path) -> str:
    """Return the text of a file, empty where there is none.

    Of a file that cannot be read it is the reason, which fits nothing that is expected there.
    """
    try:
        return files.read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{path} cannot be read: {files.reason(error)}"


def last_line(text: str) -> str:
    """Return the last line that says something, as it can be printed.

    The name of the error that users are meant to read is left out.
    """
    for line in reversed(text.splitlines()):
        if line.strip():
            return printable(line.removeprefix(USAGE_ERROR))
    return "no reason is known"
