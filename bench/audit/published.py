"""The printed numbers of Verdiff-Net's tables 1 and 2, and their source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SOURCE = (
    "Zhang et al., Verdiff-Net: A Conditional Diffusion Framework for Spinal Medical Image "
    "Segmentation, Bioengineering 2024, 11(10), 1031, doi:10.3390/bioengineering11101031 (CC BY)"
)
METHODS = {
    "U-Net": "unet",
    "FCN": "fcn",
    "DeepLabv3": "deeplabv3",
    "nnU-Net": "nnunet",
    "Swin-U-Net": "swin_unet",
    "SAM": "sam",
    "MedSegDiff": "medsegdiff",
    "Verdiff-Net": "verdiff",
}
"""For each method's name in the paper its name here."""


@dataclass(frozen=True)
class Dataset:
    """What the paper says about a dataset (section 3.1).

    The paper does not describe the split, so the sizes of the test sets are unknown.
    """

    title: str
    images: int | None
    subjects: int | None
    width: int
    height: int
    private: bool


DATASETS = {
    "ct-verse": Dataset("CT-Verse", images=2508, subjects=42, width=166, height=369, private=False),
    "ct-pri": Dataset("CT-Pri", images=None, subjects=630, width=534, height=768, private=True),
    "mr": Dataset("MR", images=None, subjects=215, width=880, height=880, private=True),
    "xray": Dataset("X-ray", images=609, subjects=None, width=250, height=750, private=False),
}
"""The datasets of the paper by their names here."""
FOLDER = Path(__file__).parent
FILES = {"table1": FOLDER / "verdiff2024-table1.csv", "table2": FOLDER / "verdiff2024-table2.csv"}
"""The tables as they are printed: percent in table 1, fractions in table 2."""
SCORES = ["dice_mean", "dice_std", "iou_mean", "iou_std"]


def table1() -> pd.DataFrame:
    """Return table 1, one row for each method and dataset.

    Columns are method, dataset (both by their names here), title (the method as printed), and
    dice_mean, dice_std, iou_mean, iou_std as fractions. The numbers are shown beside the user's
    own; they are no target: `bench audit --paper` names those that are impossible.
    """
    import pandas as pd

    frame = pd.read_csv(FILES["table1"])
    frame[SCORES] = (frame[SCORES] / 100).round(6)
    titles = frame.method
    return frame.assign(method=titles.map(METHODS), dataset=_names(frame), title=titles)


def table2() -> pd.DataFrame:
    """Return table 2, the ablation on MR, one row for each arm.

    Columns are method (a spec such as `verdiff:msfm=off:nsa=on`), dataset, title (the arm in
    words), msfm, nsa (bool), and dice_mean, iou_mean as fractions; the paper prints no std.
    """
    import pandas as pd

    frame = pd.read_csv(FILES["table2"])
    switched = zip(frame.msfm, frame.nsa, strict=True)
    specs = [f"verdiff:msfm={msfm}:nsa={nsa}" for msfm, nsa in switched]
    return frame.assign(
        method=specs,
        dataset=_names(frame),
        title=frame.method,
        msfm=frame.msfm == "on",
        nsa=frame.nsa == "on",
    )


def _names(frame: pd.DataFrame) -> list[str]:
    """Return the dataset's name here for each row, whose dataset is named as in the paper."""
    names = {dataset.title: name for name, dataset in DATASETS.items()}
    return [names[title] for title in frame.dataset]
