"""Results on disk: the only module that knows paths. A cell's folder appears whole, by one rename, or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.data.splits import Scheme, key, read_splits, write_splits
from bench.spec.config import Cell, DatasetRef, Profile, content_hash
from bench.spec.errors import UsageError
from bench.spec.metrics import METRICS
from bench.store.lease import BusyError, Watch, hold, looks_held

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from bench.spec.case import Split


Status = Literal["done", "failed", "waiting"]
RESERVE = 16384
"""Bytes that a cell at work keeps on the disk, so that a full one has room for its error."""
_REMOVED = ".removed-"
"""Begins the names of what is being removed: beside the profiles, where no reader looks for
cells."""
FORMAT = 2
"""Of a results folder; raise it whenever an older one cannot be gone on with."""
State = Literal["done", "running", "failed", "stopped", "waiting"]


@dataclass(frozen=True)
class Place:
    """A cell's place in the matrix and what is known of it, by its files alone."""

    dataset: str
    """The dataset's slug."""
    method: str
    label: str
    state: State
    progress: dict[str, Any]
    """The last note of a cell that is at work or was stopped; empty before the first."""
    why: str
    """The last line of a failed cell's error."""


@dataclass(frozen=True)
class Log:
    """What a cell that began has left so far."""

    name: str
    """Its place: dataset, method and label, with slashes between."""
    hash: str
    losses: list[dict[str, float]]
    """Rows of train.csv: step, training_loss, validation_loss, seconds."""
    done: bool
    folder: Path

    @property
    def steps(self) -> int:
        """The last validated step."""
        return int(self.losses[-1]["step"]) if self.losses else 0

    def scores(self) -> dict[str, float]:
        """Return the means over patients of a finished cell's Dice and IoU."""
        frame = _scores(self.folder / "cases.csv", ("patient", "dice", "iou"))
        means = frame.groupby("patient")[["dice", "iou"]].mean().mean()
        return {"dice": float(means["dice"]), "iou": float(means["iou"])}


@dataclass(frozen=True)
class Declared:
    """A family of comparisons that was declared in a run: one reference against each other method, per dataset."""

    reference: str
    correction: Literal["holm", "max-t"]
    finished: int
    """Cells of the profile that were finished when it was declared; 0 is before any result."""
    methods: tuple[str, ...] = ()
    """Whom the reference is compared with, and itself; none in declarations that held for every
    method."""


@dataclass(frozen=True)
class Store:
    """A results folder: `<profile>/<dataset>@<source>-<digest>/<method>/f<fold>-s<seed>/`."""

    root: Path

    def open(self, profile: Profile) -> None:
        """Make the folder, and the profile's in it, of this format and this protocol or not at all.

        Raises:
            UsageError: It cannot be written, or holds results of another format, or of another
                profile of that name.
        """
        make_folder(self.root, "results", "--out")
        path, here = self.root / profile.name / "profile.json", profile.protocol()
        remedy = "choose another --out, or remove it (bench report still reads it)"
        if not path.is_file():
            if self.has_finished(profile.name):
                raise UsageError(
                    f"{path.parent} was written by an older verdiff-bench, before format {FORMAT};"
                    f" {remedy}"
                )
            _replace(path, json.dumps({"format": FORMAT, "profile": here}, indent=1) + "\n")
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            made, protocol = int(found["format"]), dict(found["profile"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged ({error}); {remedy}") from error
        if made != FORMAT:
            age = "a newer" if made > FORMAT else "an older"
            raise UsageError(
                f"{path.parent} was written by {age} verdiff-bench: format {made}, here {FORMAT};"
                f" {remedy}"
            )
        differs = sorted(k for k in {*protocol, *here} if protocol.get(k) != here.get(k))
        if differs:
            raise UsageError(
                f"{path.parent} was made under another profile of the same name (its"
                f" {', '.join(differs)} differ); give the profile another name, or choose another"
                " --out"
            )

    # Splits: written once for each dataset, reused ever after.

    def splits(
        self,
        profile: Profile,
        dataset: DatasetRef,
        patients: Sequence[str],
        scheme: Scheme,
        official: Collection[str] = (),
    ) -> list[Split]:
        """Return the dataset's splits; the first call writes them down, later calls read them back."""
        path = self._split(profile, dataset, scheme.count, scheme.name)
        if not path.is_file():
            try:
                made = scheme.split(patients, official)
            except UsageError as error:
                raise UsageError(f"{dataset.name}: {error}") from error
            _replace(path, write_splits(made))
        return read_splits(path, patients)

    def has_split(self, profile: Profile, dataset: DatasetRef, scheme: Scheme) -> bool:
        """Return whether the dataset was split already, which every run does first."""
        return self._split(profile, dataset, scheme.count, scheme.name).is_file()

    def _split(self, profile: Profile, dataset: DatasetRef, folds: int, scheme: str) -> Path:
        return self._dataset(profile, dataset) / (
            "-".join(filter(None, ("split", key(folds, scheme)))) + ".csv"
        )

    def split_of(self, cell: Cell, patients: Sequence[str]) -> Split:
        """Return the split of a cell.

        Raises:
            UsageError: It is no longer the split that the cell was planned with.
        """
        path = self._split(cell.profile, cell.dataset, cell.folds, cell.scheme)
        split = read_splits(path, patients)[cell.fold]
        if content_hash(split.sides) != cell.split:
            raise UsageError(f"the split of {cell.title} changed since it was planned; run again")
        return split

    # The plan: which cells were ever asked for, a line each; so what is waiting is known without
    # the one who asked.

    def remember(self, profile: Profile, cells: Sequence[Cell]) -> None:
        """Add cells to the plan on disk; two runs may do so at once."""
        path = self.root / profile.name / "plan.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        known = set(_lines(path))
        wanted = (str(self.folder(cell).relative_to(self.root / profile.name)) for cell in cells)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{name}\n" for name in wanted if name not in known))
        path.touch()  # the latest that was asked for, though nothing in it may be new

    def planned(self) -> list[str]:
        """Return the profiles that have a plan, the latest first."""
        plans = sorted(self.root.glob("*/plan.txt"), key=lambda path: (-path.stat().st_mtime, path))
        return [path.parent.name for path in plans]

    def places(self, profile: str) -> list[Place]:
        """Return the state of every cell that was planned or has left anything, in the order of the plan."""
        root = self.root / profile
        planned = _lines(root / "plan.txt")
        folders = (
            path for path in root.glob("*/*/f*-s*") if path.is_dir()
        )  # a reference may be called like a cell
        found = sorted(str(each.relative_to(root)).removesuffix(".part") for each in folders)
        return [
            self._place(root / name, *name.split("/")) for name in dict.fromkeys([*planned, *found])
        ]

    def _place(
        self, folder: Path, dataset: str, method: str, label: str, *, mine: bool = False
    ) -> Place:
        work, place = folder.with_name(f"{label}.part"), (dataset, method.replace(",", ":"), label)
        if (folder / "cell.json").is_file():
            return Place(*place, "done", {}, "")
        if not work.is_dir():
            return Place(*place, "waiting", {}, "")
        progress = _progress(work)
        if not mine and looks_held(work):
            return Place(*place, "running", progress, "")
        if error := _error(work):
            return Place(*place, "failed", progress, last_line(error))
        return Place(*place, "stopped", progress, "")

    # Removing: what a cell left, and nothing else

    def remains(self, profile: str, place: Place) -> list[Path]:
        """Return the folders that a cell left, finished or not.

        Raises:
            UsageError: One of them is reached through a link, so that something else would be
                removed.
        """
        parts = (profile, place.dataset, place.method.replace(":", ","))
        found = []
        for name in (place.label, f"{place.label}.part"):
            path, real = (
                self.root.joinpath(*parts, name),
                self.root.resolve().joinpath(*parts, name),
            )
            if path.is_symlink() or path.exists():
                if path.resolve() != real:
                    raise UsageError(
                        f"{path} leads to {path.resolve()}, and links are not followed; remove it"
                        " by hand"
                    )
                found.append(path)
        return found

    def remove(self, profile: str, place: Place, watch: Watch) -> bool:
        """Remove what a cell left: by a rename out of every reader's sight, then for good. False if its state changed.

        What an earlier removal was killed over goes too.

        Raises:
            BusyError: Another process is at work on the cell, as far as the watch has seen.
            UsageError: It is reached through a link, or cannot be deleted.
        """
        folder = self.root / profile / place.dataset / place.method.replace(":", ",") / place.label
        work = folder.with_name(f"{place.label}.part")
        if not self.remains(profile, place):
            return False
        if (free := watch.free(work)) is None:
            raise BusyError(f"another run is at work on {folder}")
        try:
            work.mkdir(exist_ok=True)  # a finished cell has none, and is held by it all the same
            with hold(work, free, lambda: None):
                if (
                    self._place(folder, place.dataset, place.method, place.label, mine=True).state
                    != place.state
                ):
                    return False
                for path in self.remains(profile, place):  # the finished one first
                    path.rename(self.root / f"{_REMOVED}{uuid.uuid4().hex}")
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be removed ({error.strerror}); see who may write there"
            ) from error
        for path in self.root.glob(f"{_REMOVED}*"):
            shutil.rmtree(path, ignore_errors=True)  # somebody else may be removing it as well
            if path.exists():
                raise UsageError(f"{path} cannot be deleted; remove it by hand")
        return True

    # The family of comparisons: declared once, before the results at best; when, is kept.

    def declare(
        self,
        profile: Profile,
        reference: str,
        correction: Literal["holm", "max-t"],
        methods: Sequence[str],
    ) -> None:
        """Declare what is compared with what under a profile; while no cell is finished, it may be declared anew.

        Raises:
            UsageError: Another family was declared before.
        """
        path, found = self._family(profile.name), self.declared(profile.name)
        finished = sum(1 for _ in self.records(profile.name))
        made = Declared(reference, correction, finished, tuple(sorted(methods)))
        if found is None or finished == 0:
            _replace(path, json.dumps(asdict(made), indent=1) + "\n")
        elif replace(found, finished=finished, methods=found.methods or made.methods) != made:
            raise UsageError(
                f"{path} declares another family already: {found.reference} against"
                f" {', '.join(found.methods) or 'each other method'}, corrected by"
                f" {found.correction}; leave out --reference to keep it, or choose another --out. A"
                " family that changes after results were seen is none"
            )

    def declared(self, profile: str) -> Declared | None:
        """Return the family that was declared, if any was.

        Raises:
            UsageError: Its file is damaged.
        """
        path = self._family(profile)
        if not path.is_file():
            return None
        try:
            found = Declared(**json.loads(path.read_text(encoding="utf-8")))
            return replace(found, methods=tuple(found.methods))
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{path} is damaged ({error}); remove it and declare the family again"
            ) from error

    def _family(self, profile: str) -> Path:
        return self.root / profile / "family.json"

    # Cells

    def _dataset(self, profile: Profile, dataset: DatasetRef) -> Path:
        return self.root / profile.name / dataset.slug

    def folder(self, cell: Cell) -> Path:
        """Return where a finished cell lies."""
        return (
            self._dataset(cell.profile, cell.dataset) / cell.method.replace(":", ",") / cell.label
        )

    def work(self, cell: Cell) -> Path:
        """Return where a cell is at work, or was when it stopped."""
        return self.folder(cell).with_name(f"{cell.label}.part")

    def status(self, cell: Cell) -> Status:
        """Return what is known of a cell.

        Raises:
            UsageError: The place is taken by a cell of another spec.
        """
        path = self.folder(cell) / "cell.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["hash"]
        except FileNotFoundError:
            return "failed" if self.error(cell) else "waiting"
        except (ValueError, KeyError, OSError) as error:
            raise UsageError(
                f"{path} is damaged ({error}); remove its folder and run again"
            ) from error
        if found != cell.hash:
            raise UsageError(
                f"{path.parent} was made under another protocol, split, tuning or default option of"
                " the same name; choose another --out, or remove the folder"
            )
        return "done"

    def free(self, cell: Cell, watch: Watch) -> int | None:
        """Return the number of the last lease of a cell's working folder; None while somebody holds it."""
        return watch.free(self.work(cell))

    @contextmanager
    def at_work(
        self, cell: Cell, after: int | None = None, lost: Callable[[], None] = lambda: None
    ) -> Iterator[Path]:
        """Hold a cell's working folder: new, or as an interrupted attempt left it; an earlier error is forgotten.

        What an attempt under another spec left is removed.

        Args:
            cell: The cell.
            after: The number of the lease that was found free; looked up where not given.
            lost: Called from another thread where another process took the folder over.

        Raises:
            BusyError: Another process holds it, or has finished the cell.
        """
        work = self.work(cell)
        free = self.free(cell, Watch()) if after is None else after
        if free is None:
            raise BusyError(f"another run is at work on {cell.title}")
        work.mkdir(parents=True, exist_ok=True)
        with hold(work, free, lost):
            if (self.folder(cell) / "cell.json").is_file():
                shutil.rmtree(work)
                raise BusyError(f"another run has just finished {cell.title}")
            spec = work / "spec.hash"
            if not spec.is_file() or spec.read_text() != cell.hash:
                for path in work.iterdir():
                    if not path.name.startswith("lease-"):
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            _replace(spec, cell.hash)
            (work / "error.txt").unlink(missing_ok=True)
            (work / "reserve").write_bytes(os.urandom(RESERVE))
            yield work

    def finish(self, cell: Cell, record: dict[str, Any]) -> None:
        """Write cell.json and turn the working folder into the cell's folder, by one rename."""
        work, folder = self.work(cell), self.folder(cell)
        (work / "reserve").unlink(missing_ok=True)
        _replace(
            work / "cell.json",
            json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        )
        work.rename(folder)
        names = ("spec.hash", "status.json", "energy.json")
        passing = (folder / name for name in names)  # not before: a kill would cost the training
        for path in (*passing, *folder.glob("checkpoint-*.pt"), *folder.glob("lease-*")):
            path.unlink(missing_ok=True)

    def fail(self, cell: Cell, reason: str) -> None:
        """Keep why a cell failed; on a full disk, in the place that was kept free for it."""
        (self.work(cell) / "reserve").unlink(missing_ok=True)
        _replace(self.work(cell) / "error.txt", reason)

    def forgive(self, cell: Cell) -> None:
        """Forget that a cell failed, so that it is run again."""
        (self.work(cell) / "error.txt").unlink(missing_ok=True)

    def looks_held(self, cell: Cell) -> bool:
        """Return whether somebody looks to be at work on a cell, at a glance."""
        return looks_held(self.work(cell))

    def error(self, cell: Cell) -> str:
        """Return why a cell failed, empty if it did not."""
        return _error(self.work(cell))

    def keep_case(
        self, cell: Cell, case: str, image: NDArray[np.uint16], mask: NDArray[np.uint8]
    ) -> None:
        """Keep a test case's image (8 bit) and reference, once a dataset: reports show them from the store alone."""
        import cv2

        for name, pixels in (("image", (image >> 8).astype("uint8")), ("reference", mask * 255)):
            path = self._dataset(cell.profile, cell.dataset) / "references" / f"{case}-{name}.png"
            if not path.is_file():
                _replace(path, cv2.imencode(".png", pixels)[1].tobytes())

    def note(self, cell: Cell, status: dict[str, Any]) -> None:
        """Leave a running cell's progress where the launcher looks."""
        _replace(self.work(cell) / "status.json", json.dumps(status))

    def progress(self, cell: Cell) -> dict[str, Any]:
        """Return a running cell's progress, empty before the first note."""
        return _progress(self.work(cell))

    # Reading, for reports

    def profiles(self) -> list[str]:
        """Return the profiles that have a finished cell, the latest first."""
        newest: dict[str, float] = {}
        for path in self.root.glob("*/*/*/*/cell.json"):
            profile = path.parents[3].name
            newest[profile] = max(newest.get(profile, 0), path.stat().st_mtime)
        return sorted(newest, key=lambda name: (-newest[name], name))

    def finished_profile(self, wanted: str | None = None) -> str:
        """Return a profile that has a finished cell: the wanted one, or the latest.

        Raises:
            UsageError: There is none.
        """
        names = self.profiles()
        if names and wanted in (None, *names):
            return wanted or names[0]
        have = f"finished cells are under: {', '.join(names)}" if names else "run: bench run"
        raise UsageError(
            f"{self.root} has no finished cell under the profile '{wanted or 'any'}'; {have}"
        )

    def has_finished(self, profile: str) -> bool:
        """Return whether any cell of a profile is finished."""
        return any(True for _ in self.records(profile))

    def records(self, profile: str) -> Iterator[tuple[dict[str, Any], Path]]:
        """Yield each finished cell's record and folder, in a fixed order."""
        for path in sorted((self.root / profile).glob("*/*/*/cell.json")):
            if not path.parent.name.endswith(".part"):
                record = {**_ADDED, **json.loads(path.read_text(encoding="utf-8"))}
                record["spec"].setdefault("scheme", "")
                yield record, path.parent

    def files(self, folder: Path) -> dict[str, int]:
        """Return the bytes of each file of a cell's folder, by its path in it; links count as themselves."""
        found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
        return {str(path.relative_to(folder)): path.lstat().st_size for path in found}

    def logs(self, profile: str) -> Iterator[Log]:
        """Yield what each cell has left that began, finished or not; a cell that ends meanwhile comes the next time."""
        root = self.root / profile
        for folder in sorted(root.glob("*/*/f*-s*")):
            done = not folder.name.endswith(".part")
            try:
                if done:
                    made = json.loads((folder / "cell.json").read_text(encoding="utf-8"))["hash"]
                else:
                    made = (folder / "spec.hash").read_text()
                log = folder / "train.csv"
                with log.open(newline="") if log.is_file() else io.StringIO() as file:
                    losses = [
                        {name: float(value) for name, value in row.items()}
                        for row in csv.DictReader(file)
                    ]
            except (OSError, ValueError, KeyError):
                continue
            yield Log(
                str(folder.relative_to(root)).removesuffix(".part"), made, losses, done, folder
            )

    def initial(self, folder: Path) -> dict[str, str]:
        """Return shape and digest of each of a finished cell's tensors before training, by name."""
        digests: dict[str, str] = json.loads((folder / "initial.json").read_text(encoding="utf-8"))
        return digests

    def stages(self, folder: Path) -> dict[str, NDArray[np.float16]]:
        """Return the maps that show how a finished cell came to its first test case's answer, if it has any."""
        import numpy as np

        path = folder / "stages.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as maps:
            return dict(maps)

    def case(self, folder: Path, case: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
        """Return the image (H, W) in 8 bit and the reference of a finished cell's test case; None of older results."""
        import cv2

        paths = [
            folder.parents[1] / "references" / f"{case}-{name}.png"
            for name in ("image", "reference")
        ]
        if not all(path.is_file() for path in paths):
            return None
        image, mask = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths)
        return None if image is None or mask is None else (image.astype("uint8"), mask > 0)

    def answer(self, folder: Path, case: str, row: str = "") -> NDArray[np.bool_]:
        """Return a finished cell's mask (H, W) of a test case; `row` names a further row, such as `prior`.

        Raises:
            OSError: The file is missing or damaged.
        """
        import cv2

        path = folder / (f"predictions-{row}" if row else "predictions") / f"{case}.png"
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if mask is None:
            raise OSError(f"{path} cannot be read")
        answer: NDArray[np.bool_] = mask > 0
        return answer

    def failures(self, profile: str) -> dict[tuple[str, str], str]:
        """Return the last line of each failed cell's error, by (dataset slug, method)."""
        found = {}
        for path in sorted((self.root / profile).glob("*/*/*.part/error.txt")):
            if not path.parent.with_suffix("").is_dir() and (error := _error(path.parent)):
                found[path.parents[2].name, path.parents[1].name.replace(",", ":")] = last_line(
                    error
                )
        return found

    def cases(self, profile: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the cases of every finished cell's rows, with where they are from.

        That is dataset, source, digest, method, scheme, folds, fold, seed, and `column`: the
        dataset and how it was split, as table 1's columns are called.

        Args:
            profile: Which results.
            columns: Which of a case's columns; all where not given.

        Raises:
            UsageError: A file of scores is damaged.
        """
        import pandas as pd

        frames, heads = [], []
        for record, folder in self.records(profile):
            spec, data = record["spec"], record["spec"]["dataset"]
            way, column = key(spec["folds"], spec["scheme"]), column_of(record)
            for row in ("", *record["extras"]):
                frames.append(
                    _scores(folder / (f"cases-{row}.csv" if row else "cases.csv"), columns)
                )
                method = f"{spec['method']}:{row}" if row else spec["method"]
                heads.append(
                    (
                        data["name"],
                        data["source"],
                        data["digest"],
                        method,
                        way,
                        spec["folds"],
                        spec["fold"],
                        spec["seed"],
                        column,
                    )
                )
        if not frames:
            return pd.DataFrame()
        names = (
            "dataset",
            "source",
            "digest",
            "method",
            "scheme",
            "folds",
            "fold",
            "seed",
            "column",
        )
        head = pd.DataFrame(heads, columns=list(names))
        for name in head.select_dtypes(exclude="number"):
            head[name] = head[name].astype("category")  # a million rows share a handful of words
        rows = head.loc[head.index.repeat([len(frame) for frame in frames])].reset_index(drop=True)
        return pd.concat([rows, pd.concat(frames, ignore_index=True)], axis=1)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _error(work: Path) -> str:
    try:
        return (work / "error.txt").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _progress(work: Path) -> dict[str, Any]:
    try:
        status: dict[str, Any] = json.loads((work / "status.json").read_text())
    except (OSError, ValueError):
        return {}
    return status


def _scores(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    import pandas as pd

    measured = [metric.name for metric in METRICS]
    try:
        frame = pd.read_csv(
            path,
            usecols=None if columns is None else lambda name: name in columns,
            dtype={"case": str, "patient": str},
            keep_default_na=False,
            na_values={name: [""] for name in (*measured, "spread")},
        )
        for name in measured if columns is None else columns:
            if name in frame:
                continue
            if name not in measured:
                raise ValueError(f"it has no column '{name}'")
            frame[name] = float("nan")  # the metric is newer than the result
        return frame
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({error}); remove its folder and run again") from error


def column_of(record: dict[str, Any]) -> str:
    """Return the key of the column that a cell belongs to: its dataset's slug, and how it was split if not 70/10/20."""
    data, way = record["spec"]["dataset"], key(record["spec"]["folds"], record["spec"]["scheme"])
    return f"{data['name']}@{data['source']}-{data['digest'][:8]}" + (f"/{way}" if way else "")


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next(
        (line for line in reversed(text.splitlines()) if line.strip()), "no reason is known"
    )


_ADDED: dict[str, Any] = {
    "extras": [],
    "own_training": False,
    "oracle": False,
    "left_out": 0,
    "official_test": False,
    "trials": 0,
    "idle_parameters": float("nan"),
    "multiply_adds": float("nan"),
    "energy_joules": {"gpu": None, "processor": None},
    "advantages": dict.fromkeys(("pretraining", "prompt", "ensembling", "augmentation"), "unknown"),
}
"""What records did not have from the beginning."""


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
            f"{what} folder {folder} cannot be written ({error.strerror}); choose another with"
            f" {option}"
        ) from error


def _replace(path: Path, content: str | bytes) -> None:
    """Write a file so that readers see the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
