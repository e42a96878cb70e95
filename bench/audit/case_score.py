"""The scores of one case as somebody else computed them, and what a file says of a case."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bench.audit.printed import MISSING, Printed
from bench.data.readers import patients
from bench.spec import csvs
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.metrics import METRICS

NAMES: Mapping[str, tuple[str, ...]] = {
    "method": ("model", "algorithm"),
    "dataset": (),
    "run": ("seed",),
    "patient": ("patient id", "patientid", "subject", "subject id"),
    "case": ("case id", "caseid", "filename", "file", "image", "subject name", "reference"),
    "unit": (),
    "dice": ("dsc", "dice score", "dice coefficient", "global bin dsc"),
    "iou": ("jaccard", "jaccard index", "global bin iou"),
    "precision": ("ppv",),
    "recall": ("sensitivity",),
    "hd95": ("hd 95", "hausdorff95", "hausdorff distance 95", "global bin hd95"),
    "assd": ("global bin assd",),
    "nsd": ("surface dice", "normalized surface dice", "global bin nsd"),
}
"""What a column may be, with other headings that mean it for certain."""
SUFFIX = re.compile(r"\.(nii|nii\.gz|mha|mhd|nrrd|png|jpg|jpeg|tif|tiff|bmp|npy|npz|dcm)$", re.I)
"""How the name of an image's file ends."""
BOUNDED = tuple(metric.name for metric in METRICS if metric.unit == "fraction")
"""The metrics that lie in [0, 1]."""
PERCENT = 100.0
"""What a fraction is multiplied by."""


@dataclass(frozen=True)
class CaseScore:
    """The scores of one case as somebody else computed them."""

    method: str
    dataset: str
    run: str
    patient: str
    case: str
    values: Mapping[str, Printed]
    """By metric, as fractions or in the file's unit of distances; what is missing is not there."""
    unit: str = "unknown"
    """`mm`, `px` or `unknown`."""
    empty: str = "unknown"
    """Which mask was empty: none, truth, prediction, both; missing without a prediction."""
    at: str = ""
    """File and line."""
    label: str = ""
    """The class, where several are taken."""

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """What only one score may have: method, dataset, run, case and class."""
        return self.method, self.dataset, self.run, self.case, self.label


@dataclass(frozen=True)
class Reading:
    """What a user says of a file."""

    method: str = ""
    """Whose scores they are, where the file does not say it."""
    dataset: str = "scores"
    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's heading of each column that is named otherwise."""
    metric: str = ""
    """What a wide table's numbers are."""
    label: str = ""
    """Which class or label is taken, where a file has several: `1`; or several: `bone=1,disc=2`."""
    pattern: str = ""
    """Where the patient stands in a case's name: `{patient}_*`; `{patient}` if each case is one."""
    unit: str = ""
    percent: bool = False


def exact(value: float) -> Printed:
    """Return a value that was counted, not printed: with as many decimals as a float has."""
    return Printed(value, 15)


def label_of(labels: Sequence[str], reading: Reading, path: Path) -> str:
    """Return the label that is taken.

    Raises:
        UsageError: The file lacks it, or has several and none is named.
    """
    if reading.label:
        if reading.label not in labels:
            raise UsageError(
                f"{path} has no label '{reading.label}'; {did_you_mean(reading.label, labels)}"
            )
        return reading.label
    if len(labels) != 1:
        raise UsageError(
            f"{path} has {len(labels)} labels ({', '.join(labels[:6])}); "
            f"say which one is meant: --label {labels[0] if labels else 1}"
        )
    return labels[0]


def case_of(text: str) -> str:
    """Return a case's name; of a path, that of its file without suffix."""
    is_path = "/" in text or "\\" in text or SUFFIX.search(text)
    if not is_path:
        return text
    name = PurePosixPath(text.replace("\\", "/")).name
    return SUFFIX.sub("", SUFFIX.sub("", name))  # twice, for two suffixes such as .nii.png


def method_of(reading: Reading, path: Path) -> str:
    """Return the method whose scores a file has.

    Raises:
        UsageError: Nobody says it.
    """
    if not reading.method:
        raise UsageError(f'{path} does not say whose scores it has; name the method: "NAME={path}"')
    return reading.method


def patient_of(case: str, named_patient: str, reading: Reading, at: str) -> str:
    """Return the patient of a case.

    Raises:
        UsageError: Nothing says who it is, or the pattern and the column of patients differ.
    """
    if reading.pattern:
        match = patients.expression(reading.pattern, "--pattern ").fullmatch(case)
        if match is None:
            raise UsageError(
                f"{at}: {case} does not fit --pattern {reading.pattern}; give a pattern that all "
                "names of cases fit"
            )
        if named_patient not in ("", match["patient"]):
            raise UsageError(
                f"{at}: the table says that {case} is of patient {named_patient}, and --pattern"
                f" {reading.pattern} that it is of {match['patient']}; leave --pattern out, or"
                " remove the column of patients"
            )
        return match["patient"]
    if not named_patient:
        raise UsageError(
            f"{at}: no patient is known; name their column: --columns patient=HEADING, or a "
            "pattern: --pattern '{patient}_*', or '{patient}' where each case is a patient"
        )
    return named_patient


def number_of(text: str, at: str, metric: str, percent: bool, delimiter: str) -> Printed | None:
    """Return a score; None where it is missing, or is infinite as a distance to nothing.

    Raises:
        UsageError: It is no number, or may be two.
    """
    bare = text.strip().lower().removesuffix("%").rstrip()
    if bare in MISSING or bare in ("inf", "-inf", "infinity"):
        return None
    try:
        value = csvs.number(bare, delimiter)
    except ValueError as error:
        raise UsageError(f"{at}: {error}") from None
    decimals = max(0, -int(value.as_tuple().exponent))
    if metric in BOUNDED:
        has_percent_sign = bare != text.strip().lower()
        if percent or has_percent_sign:
            return Printed(float(value) / PERCENT, decimals)
        return Printed(float(value), decimals - 2)  # `Printed` counts decimals in percent
    return Printed(float(value), decimals)
