"""Export a prepared dataset with its split for other tools: nnU-Net's raw folder, MedSegBench."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.grid import OnGrid
from bench.data.scratch import scratch
from bench.spec import formulas, machine
from bench.spec.case import SIDES, VOID, Dataset, Side, Split
from bench.spec.errors import UsageError
from bench.spec.plain import content_hash
from bench.spec.words import count

FIRST = 901
"""The number of the first dataset that is exported to a folder; nnU-Net allows numbers to 999."""
THICKNESS = 999.0
"""The spacing across the slice that nnU-Net gives a 2D image: its plans are then made for the plane
of the image."""
LABELS = {"background": 0, "foreground": 1}
SUFFIX = ".nii.gz"
SQUARES = (128, 256, 512)
"""The image sizes of MedSegBench."""
PREFIXES: dict[Side, str] = {"train": "train", "validation": "val", "test": "test"}
"""MedSegBench's names of the sides."""

NNUNET = """# {folder}

{summary}

A slice a file: grey values of 16 bit, {labels}; {spacing}. Grey values are those of `bench run`,
not those of the files: the 0.5 and 99.5 percentiles of each image (or of its volume, or the ends of
CT's window) are 0 and 65535. The test side is `imagesTs` and
`labelsTs`; `splits_final.json` holds training and validation as fold 0, and nnU-Net 2.8 takes it
over when it plans (an older one: copy it to `nnUNet_preprocessed/{folder}/`). There is no other
fold: asked for one, nnU-Net splits by case, and a patient may be on both sides. `cases.csv` says
whose case is which.

    export nnUNet_raw=THE_FOLDER_THAT_THIS_ONE_LIES_IN
    nnUNetv2_plan_and_preprocess -d {number} -c 2d --verify_dataset_integrity
    nnUNetv2_train {number} 2d 0
    nnUNetv2_predict -d {number} -c 2d -f 0 -i imagesTs -o PREDICTIONS
"""
MEDSEGBENCH = """# {folder}

{summary}

`{folder}.npz` has MedSegBench's keys: `train_images` and `train_label`, `val_`, `test_`, each
(N, {size}, {size}) of 8 bit, {labels}. The format loses: grey values had 16 bit, and cases
their own sizes. Each was scaled to fit with its aspect ratio kept, centred, and padded with zeros.
`{folder}.csv` says which case of which patient an index is.
"""


@dataclass(frozen=True)
class Export:
    """A prepared dataset and its split; cases of patients who are on no side are not written."""

    dataset: Dataset
    split: Split
    scheme: str = ""
    """How the dataset was split, if not 70/10/20; this is part of the export's name."""

    @cached_property
    def sides(self) -> dict[Side, list[int]]:
        """The indexes of each side's cases, in the dataset's order."""
        return {side: self.split.indexes(self.dataset, side) for side in SIDES}

    @property
    def _ignored(self) -> int:
        """The number of void pixels, which nnU-Net expects behind those of the classes."""
        return len(self.dataset.classes) + 1

    @property
    def labels(self) -> dict[str, int]:
        """The labels by name, in the form of nnU-Net's `dataset.json`."""
        if not self.dataset.classes:
            return LABELS
        labels = {"background": 0}
        for number, name in enumerate(self.dataset.classes, 1):
            labels[name] = number
        return labels | ({"ignore": self._ignored} if self.dataset.void else {})

    @property
    def _words(self) -> str:
        """What the labels are, in a sentence."""
        if not self.dataset.classes:
            return "labels 0 and 1"
        return "labels " + ", ".join(f"{number} {name}" for name, number in self.labels.items())

    def _numbered(self, target: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a mask (H, W) with the numbers of `labels`."""
        if not self.dataset.void:
            return target
        return np.where(target == VOID, self._ignored, target).astype(np.uint8)

    @property
    def name(self) -> str:
        """The name of the export: it differs by source, version of the dataset and split."""
        parts = (self.dataset.name, self.dataset.source, self.dataset.digest[:8], self.scheme)
        return "-".join(filter(None, parts))

    @property
    def summary(self) -> str:
        """One line on what the cases are."""
        source = "PHANTOM data (simulated)" if self.dataset.source == "phantom" else "real data"
        train, validation, test = (len(self.sides[side]) for side in SIDES)
        patients = sum(len(self._patients(side)) for side in SIDES)
        counts = f"{train} train, {validation} validation and {count(test, 'test case')}"
        whose = count(patients, "patient")
        return f"{self.dataset.name}, {source}, split by patient: {counts} of {whose}"

    def _patients(self, side: Side) -> set[str]:
        return {self.dataset.cases[index].patient for index in self.sides[side]}

    def nnunet(self, folder: Path) -> Path:
        """Write `DatasetNNN_<name>` in nnU-Net v2's raw layout and return its folder.

        The pixels are not changed. Each case is a NIfTI volume of one slice, because this format
        keeps both 16 bits and the spacing; nnU-Net's reader of PNG has no spacing. If the spacing
        of any case is unknown, all cases get the spacing 1: nnU-Net resamples to a common spacing,
        so it must not get some spacings in mm and some in pixels.

        Args:
            folder: What `nnUNet_raw` names; the dataset gets the first free number there.

        Raises:
            UsageError: The dataset exists already, a case's name is reserved by nnU-Net, or nothing
                can be written.
        """
        cases = self.dataset.cases
        number = self._number(folder)
        training = sorted([*self.sides["train"], *self.sides["validation"]])
        for index in training:
            if cases[index].id.endswith("_seg"):  # nnU-Net's name of its preprocessed labels
                raise UsageError(
                    f"case {cases[index].id}: nnU-Net expects names that do not end in _seg; "
                    "rename its files"
                )
        spaced = all(case.spacing for case in cases)
        with _whole(folder / f"Dataset{number}_{self.name}") as work:
            for part, indexes in (("Tr", training), ("Ts", self.sides["test"])):
                images, labels = work / f"images{part}", work / f"labels{part}"
                images.mkdir()
                labels.mkdir()
                for index in indexes:
                    case = cases[index]
                    spacing = case.spacing if spaced and case.spacing else (1.0, 1.0)
                    _slice(images / f"{case.id}_0000{SUFFIX}", self.dataset.image(index), spacing)
                    target = self._numbered(self.dataset.target(index))
                    _slice(labels / f"{case.id}{SUFFIX}", target, spacing)
            about = {
                "name": self.name,
                "description": self.summary,
                # Grey is normalised by z-score; "CT" would need Hounsfield units.
                "channel_names": {"0": "grey"},
                "labels": self.labels,
                "numTraining": len(training),
                "file_ending": SUFFIX,
            }
            _json(work / "dataset.json", about)
            train = [cases[index].id for index in self.sides["train"]]
            validation = [cases[index].id for index in self.sides["validation"]]
            _json(work / "splits_final.json", [{"train": train, "val": validation}])
            how = "the spacing is unknown, 1 stands for it, 999 across"
            if spaced:
                how = "spacing in mm, 999 across"
            self._describe(work, "nnunet", "cases.csv", NNUNET, number=number, spacing=how)
        return folder / work.name

    def medsegbench(self, folder: Path, size: int = 256) -> Path:
        """Write `<name>_<size>.npz` in MedSegBench's format, and a table of cases.

        It returns the folder.

        The format loses information: images (N, size, size) have 8 bits, and labels are 0 or 1.
        `bench.data.geometry.Geometry` scales both with their aspect ratio kept and pads them with
        zeros.

        Raises:
            UsageError: The export exists already, MedSegBench has no such size, or nothing can be
                written.
        """
        if size not in SQUARES:
            squares = ", ".join(map(str, SQUARES))
            raise UsageError(
                f"--size {size}: MedSegBench has squares of {squares} pixels; choose one"
            )
        with _whole(folder / f"{self.name}_{size}") as work:
            arrays: dict[str, Any] = {}
            cases = OnGrid(self.dataset, (size, size))
            for side, prefix in PREFIXES.items():
                shape = (len(self.sides[side]), size, size)
                images = arrays[f"{prefix}_images"] = np.zeros(shape, np.uint8)
                labels = arrays[f"{prefix}_label"] = np.zeros(shape, np.uint8)
                for place, index in enumerate(self.sides[side]):
                    images[place] = np.rint(cases.image(index) / 257)  # 65535 is 255 * 257
                    labels[place] = self._numbered(cases.mask(index))
            np.savez_compressed(work / f"{work.name}.npz", **arrays)
            self._describe(work, "medsegbench", f"{work.name}.csv", MEDSEGBENCH, size=size)
        return folder / work.name

    def _number(self, folder: Path) -> int:
        """Return the first number that no dataset in the folder has."""
        names = [path.name for path in folder.glob("Dataset???_*")]
        for name in names:
            if name[len("DatasetNNN_") :] == self.name:
                raise _taken(folder / name)
        taken = {name[len("Dataset") : len("DatasetNNN")] for name in names}
        for number in range(FIRST, 1000):
            if str(number) not in taken:
                return number
        raise UsageError(
            f"{folder} has datasets of all numbers from {FIRST} to 999; "
            "choose another folder with --to"
        )

    def _describe(self, work: Path, layout: str, table: str, text: str, **how: str | int) -> None:
        """Write what the layouts do not include: the table of cases, a README and the origin."""
        version = machine.versions().get("verdiff-bench", "unknown")
        with (work / table).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(
                ["side", "index", "case", "patient", "height", "width", "row_mm", "column_mm"]
            )
            for side, indexes in self.sides.items():
                for place, index in enumerate(indexes):
                    case = self.dataset.cases[index]
                    spacing = case.spacing or ("", "")
                    whose = formulas.harmless(case.patient)
                    rows.writerow([side, place, case.id, whose, case.height, case.width, *spacing])
        summary = (
            f"{self.summary}. The split is that of `bench run`; "
            f"written by verdiff-bench {version}, from what: `bench-export.json`."
        )
        readme = text.format(folder=work.name, summary=summary, labels=self._words, **how)
        (work / "README.md").write_text(readme, encoding="utf-8")
        record = {
            "layout": layout,
            "dataset": self.dataset.name,
            "source": self.dataset.source,
            "digest": self.dataset.digest,
            "split": content_hash(self.split.sides),  # the same as in cell.json
            "cases": {side: len(indexes) for side, indexes in self.sides.items()},
            "patients": {side: len(self._patients(side)) for side in self.sides},
            "left_out": len(self.dataset.left_out),
            **({"classes": list(self.dataset.classes)} if self.dataset.classes else {}),
            "verdiff-bench": version,
        }
        _json(work / "bench-export.json", record)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Yield a folder to write in, and rename this folder to the target at the end.

    So the target is never an incomplete export.
    """
    if target.exists():
        raise _taken(target)
    try:
        with scratch(target) as folder:
            work = folder / target.name
            work.mkdir()
            yield work
            work.rename(target)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written ({error.strerror}); choose another folder with --to"
        ) from error


def _taken(target: Path) -> UsageError:
    return UsageError(f"{target} is there already; remove it, or choose another folder with --to")


def _slice(path: Path, pixels: NDArray[Any], spacing: tuple[float, float]) -> None:
    """Write pixels (H, W) as a NIfTI volume of one slice, in ITK's orientation of a 2D image."""
    import nibabel

    row, column = spacing
    volume = nibabel.Nifti1Image(pixels.T[:, :, None], np.diag((-column, -row, THICKNESS, 1.0)))
    nibabel.save(volume, path)


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
