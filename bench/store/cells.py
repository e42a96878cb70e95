"""Cells on disk: a cell's folder appears whole, by one rename, or not at all."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bench.spec import files, plain
from bench.spec.config import Cell
from bench.spec.errors import UsageError, visible
from bench.spec.note import Note
from bench.spec.profile import Profile
from bench.store.layout import (
    LEASES,
    CellFolder,
    Layout,
    ProfileFolder,
    image_and_reference,
    last_line,
    make_folder,
    read_or_empty,
    write,
)
from bench.store.lease import BusyError, Leases, hold
from bench.store.record import Record, differences, read, read_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 2
"""The version of results folders; it grows when older folders can no longer be continued."""
OUTSIDE = "external"
"""The profile of what is known by masks or scores from outside alone."""
RESERVE = 16384
"""Bytes that a cell at work keeps on the disk, so that a full disk has room for its error."""

Status = Literal["done", "failed", "waiting"]
"""What a cell's files say; a cell at work counts as `waiting` (`store.plan.State` has more)."""


class Settings(msgspec.Struct, frozen=True):
    """What `profile.json` says: the format of the results, and the profile behind them."""

    format: int
    profile: dict[str, Any]
    family: str = ""
    """The hash of the comparisons that were declared; empty without any, and in older files.

    `store.plan` adds it when a run declares them.
    """


@dataclass(frozen=True)
class Store:
    """A results folder, and what happens to the cells in it."""

    root: Path

    @property
    def layout(self) -> Layout:
        """The names of its files."""
        return Layout(self.root)

    def open(self, profile: Profile) -> None:
        """Make the profile's folder, or check that it is of this format and this protocol.

        Raises:
            UsageError: It cannot be written, or holds results of another format or profile.
        """
        self._open(profile.name, profile.protocol())

    def open_outside(self) -> None:
        """Make the folder of what is known by masks or scores from outside alone, or check it.

        Raises:
            UsageError: As `open`.
        """
        self._open(OUTSIDE, {"name": OUTSIDE})

    def _open(self, name: str, protocol: dict[str, Any]) -> None:
        """Make the folder of a profile, or check that it is of the same protocol."""
        make_folder(self.root, "results", "--out")
        folder = self.layout.profile(name)
        remedy = "choose another --out, or remove it (bench report still reads it)"
        try:
            kept_settings = plain.decode(files.read_bytes(folder.settings), Settings)
        except FileNotFoundError:
            if _is_old(folder):
                raise UsageError(
                    f"{folder.path} was written by an older verdiff-bench, before format {FORMAT}; "
                    f"{remedy}"
                ) from None
            settings = {"format": FORMAT, "profile": protocol}
            write(folder.settings, json.dumps(settings, indent=1) + "\n")
            return
        except (OSError, plain.PlainError) as error:
            why = files.reason(error) if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"{folder.settings} is damaged ({why}); bench clean damaged removes it, "
                "and bench run makes it anew"
            ) from error
        if kept_settings.format != FORMAT:
            age = "a newer" if kept_settings.format > FORMAT else "an older"
            raise UsageError(
                f"{folder.path} was written by {age} verdiff-bench: format {kept_settings.format}, "
                f"here {FORMAT}; {remedy}"
            )
        self._check_protocol(kept_settings.profile, protocol, folder.path)

    def _check_protocol(
        self, kept_profile: dict[str, Any], here: dict[str, Any], folder: Path
    ) -> None:
        """Refuse a profile of the same name with other values."""
        keys = sorted({*kept_profile, *here})
        differs = [key for key in keys if kept_profile.get(key) != here.get(key)]
        if differs:
            raise UsageError(
                f"{folder} was made under another profile of the same name "
                f"(its {', '.join(differs)} differ); give the profile another name, "
                "or choose another --out"
            )

    # What is known of a cell

    def folder(self, cell: Cell) -> CellFolder:
        """Return where a finished cell lies."""
        return self.layout.cell(cell)

    def working(self, cell: Cell) -> CellFolder:
        """Return where an unfinished cell lies."""
        return self.layout.cell(cell).working

    def status(self, cell: Cell) -> Status:
        """Return what is known of a cell.

        Raises:
            UsageError: The place is taken by a cell of another spec, or its record is damaged.
        """
        folder = self.folder(cell)
        try:
            kept_hash = read_hash(folder)
        except FileNotFoundError:
            return "failed" if self.error(cell) else "waiting"
        if kept_hash != cell.hash:
            differ = ", ".join(differences(folder, cell.spec())) or "spec"
            remedy = ["bench", "clean", "done", "--methods", cell.method.key]
            remedy += ["--datasets", cell.dataset.id.key, "--profile", cell.profile.name]
            if self.root != Path("results"):
                remedy += ["--out", str(self.root)]
            raise UsageError(
                f"{folder.path} was made under another {differ}; choose another --out, or remove "
                f"the method's cells on this dataset: {shlex.join(remedy)}"
            )
        return "done"

    def error(self, cell: Cell) -> str:
        """Return the whole text of a cell's error, empty if it did not fail."""
        return read_or_empty(self.working(cell).error)

    def reason(self, cell: Cell) -> str:
        """Return the last line of a cell's error, empty if it did not fail."""
        error = self.error(cell)
        return last_line(error) if error else ""

    def progress(self, cell: Cell) -> Note | None:
        """Return a running cell's progress, None before its first note."""
        return read_note(self.working(cell))

    def peak_device_memory(self, cell: Cell) -> int | None:
        """Return the bytes of a GPU that a finished cell needed; None where nobody knows."""
        try:
            return read(self.folder(cell)).peak_device_memory_bytes
        except (OSError, UsageError):
            return None

    def free(self, cell: Cell, leases: Leases) -> int | None:
        """Return the number of a cell's last lease if nobody holds it any more, else None.

        `at_work` takes the lease after this number; 0 means that there was none.
        """
        return leases.free(self.working(cell).path)

    # What a cell at work does

    @contextmanager
    def at_work(
        self, cell: Cell, after: int | None = None, lost: Callable[[], None] = lambda: None
    ) -> Iterator[CellFolder]:
        """Hold a cell's working folder, so that no other process works on the cell.

        The folder is new, or as an interrupted attempt left it. An earlier error is forgotten. What
        an attempt under another spec left is removed.

        Args:
            cell: The cell.
            after: What `free` returned; if it is not given, `free` is called here.
            lost: Called from another thread if another process has taken the folder over.

        Raises:
            BusyError: Another process holds it, or has finished the cell.
        """
        work = self.working(cell)
        free_lease = self.free(cell, Leases()) if after is None else after
        if free_lease is None:
            raise BusyError(f"another run is at work on {cell.title}")
        work.path.mkdir(parents=True, exist_ok=True)
        with hold(work.path, free_lease, lost):
            # Another process may have finished it since `free` looked; `mkdir` above then made an
            # empty working folder.
            if self.folder(cell).finished:
                shutil.rmtree(work.path)
                raise BusyError(f"another run has just finished {cell.title}")
            if read_or_empty(work.spec_hash) != cell.hash:
                _empty(work)
            write(work.spec_hash, cell.hash)
            work.error.unlink(missing_ok=True)
            # Random bytes: a disk that compresses would keep little room for zeros.
            work.reserve.write_bytes(os.urandom(RESERVE))
            yield work

    def note(self, cell: Cell, note: Note) -> None:
        """Leave a running cell's progress where the launcher looks."""
        write(self.working(cell).status, json.dumps(plain.builtins(note)))

    def keep_case(
        self,
        cell: Cell,
        case: str,
        image: NDArray[np.uint16],
        reference: NDArray[np.uint8],
        *,
        has_classes: bool = False,
    ) -> None:
        """Keep a test case's image (8 bit) and reference for reports, unless another cell did.

        The cells of a dataset share these files. A mask of 0 and 1 is kept as 0 and 255; numbers of
        classes are kept as they are.
        """
        eight_bits = (image >> 8).astype("uint8")
        pixels = reference if has_classes else reference * 255
        keep_pictures(self.layout.dataset(cell), case, eight_bits, pixels)

    def finish(self, cell: Cell, record: Record) -> None:
        """Write the record and turn the working folder into the cell's folder, by one rename.

        The record gets the digest of each file that the cell leaves.
        """
        work, folder = self.working(cell), self.folder(cell)
        work.reserve.unlink(missing_ok=True)
        tested = [path.stem for path in sorted(work.predictions().glob("*.png"))]
        write(work.record, with_digests(record, work, tested).to_json())
        work.path.rename(folder.path)
        # Checkpoints are removed after the rename. If they went before it, a kill between the two
        # would lose the training.
        for path in folder.temporary():
            with suppress(OSError):  # somebody may have made a folder that is called like one
                path.unlink(missing_ok=True)

    def fail(self, cell: Cell, error: str) -> None:
        """Keep the text of a cell's error; the reserve goes first, so that a full disk has room."""
        work = self.working(cell)
        work.reserve.unlink(missing_ok=True)
        write(work.error, "\n".join(map(visible, error.split("\n"))))

    def forgive(self, cell: Cell) -> None:
        """Forget that a cell failed, so that it is run again."""
        self.working(cell).error.unlink(missing_ok=True)


def keep_pictures(
    dataset: Path, case: str, image: NDArray[np.uint8] | None, reference: NDArray[np.uint8]
) -> None:
    """Keep a case's image, if there is one, and its reference in a dataset's folder.

    What is there already stays. The reference is written as it is given: a mask of 0 and 255, or
    numbers of classes.
    """
    import cv2

    paths = image_and_reference(dataset, case)
    for path, pixels in zip(paths, (image, reference), strict=True):
        if pixels is not None and not path.is_file():
            _, png = cv2.imencode(".png", pixels)
            write(path, png.tobytes())


def keep_labels(path: Path, labels: NDArray[np.uint16]) -> None:
    """Keep numbers of instances: (H, W) as a picture of 16 bits, (D, H, W) as `.npz`.

    What is there already stays. A volume's file has the ending `.npz` in the place of the path's.
    """
    if labels.ndim == 2:
        import cv2

        if not path.is_file():
            _, png = cv2.imencode(".png", labels)
            write(path, png.tobytes())
        return
    import io

    import numpy as np

    path = path.with_suffix(".npz")
    if not path.is_file():
        packed = io.BytesIO()
        np.savez_compressed(packed, labels=labels)
        write(path, packed.getvalue())


def read_mask(path: Path) -> NDArray[np.uint8] | None:
    """Return a mask (H, W) as it was kept as a picture; None where it is missing or damaged."""
    import cv2

    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    return None if pixels is None else pixels.astype("uint8")


def read_labels(path: Path) -> NDArray[np.uint16] | None:
    """Return numbers of instances as `keep_labels` left them; None where missing or damaged."""
    import cv2
    import numpy as np

    from bench.data.readers import limits

    packed = path.with_suffix(".npz")
    if packed.is_file():
        try:
            limits.check_archive(packed)
            with np.load(packed, allow_pickle=False) as kept:
                return np.asarray(kept["labels"], np.uint16)
        except Exception:  # of damaged bytes, zlib, zipfile and NumPy raise almost anything
            return None
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    return None if pixels is None or pixels.ndim != 2 else pixels.astype(np.uint16)


def _is_old(folder: ProfileFolder) -> bool:
    """Return whether a profile's finished cells are of a version that left no `profile.json`.

    Records of that version have no digests.
    """
    finished = folder.finished()
    return bool(finished) and not read(finished[0]).digests


def with_digests(record: Record, work: CellFolder, cases: Iterable[str]) -> Record:
    """Return a record with the digests of the cell's files, and of its cases' references."""
    digests = {path.relative_to(work.path).as_posix(): files.digest(path) for path in work.kept()}
    reference_digests = {}
    for case in cases:
        labels = work.reference_instances(case)
        paths = (
            work.image(case),
            work.reference(case),
            work.reference_volume(case),
            labels,
            labels.with_suffix(".npz"),
        )
        # Scores from outside may come without masks; then no case has files beside the cells.
        if not labels.parent.is_dir():
            break
        for path in paths:
            if path.is_file():
                reference_digests[path.name] = files.digest(path)
    return msgspec.structs.replace(record, digests=digests, references=reference_digests)


def _empty(work: CellFolder) -> None:
    """Remove what an attempt under another spec left; the lease stays."""
    leases = set(work.path.glob(LEASES))
    for path in work.path.iterdir():
        if path in leases:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def read_note(folder: CellFolder) -> Note | None:
    """Return the last note of an unfinished cell; None where there is none that can be read."""
    try:
        return plain.decode(files.read_bytes(folder.status), Note)
    except (OSError, plain.PlainError):
        return None
