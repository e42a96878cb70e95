"""`bench data init`: look at a folder, and print the command that fits it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.spec import registry
from bench.spec.errors import UsageError, short_list
from bench.spec.names import Spec
from bench.spec.words import count

if TYPE_CHECKING:
    from bench.spec.dataset import Item

PATTERNS = ("{patient}_*", "{patient}-*", "{patient}/*", "{patient}")
"""Where in a name the patient is looked for, in this order."""
READ = 3
"""Images at most that are read, to see whether they can be."""
FOLDS, SEEDS = 5, 3
"""Of the command for a comparison that can show something."""
TESTED = 0.2
"""Share of the patients that a single split tests."""
EXPECTED = (
    "expected images/ and masks/ with files of the same names, a layout of ct-verse, ct-pri, mr or "
    "xray, or a folder with one of these names in it"
)


def init(
    folder: Annotated[Path, typer.Argument(help="The folder with your images.", metavar="DIR")],
) -> None:
    """Look at the names in a folder, read an image, and print the commands that fit.

    Nothing is written.

    Examples:

        bench data init scans

        bench data init ~/spine
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the one that your images lie in")
    for line in looked_at(folder):
        options.say(line)


def looked_at(folder: Path) -> list[str]:
    """Return what a folder is, and the commands that fit it.

    Raises:
        UsageError: It is nothing that is known.
    """
    inside = [name for name in _kinds() if (folder / name).is_dir()]
    if inside:
        which = f"--datasets {','.join(inside)} --data {_quoted(str(folder))}"
        return [
            f"{folder} holds {', '.join(inside)}: it is a data folder.",
            f"bench data check {which}",
            *_commands(which, min(_patients(folder / name, name) for name in inside)),
        ]
    is_pictures = (folder / "images").is_dir() and (folder / "masks").is_dir()
    # Images and masks of ct-pri are those of any folder; a volume layout is more than that.
    lines = list(_known(folder, leave_out="ct-pri" if is_pictures else ""))
    if is_pictures and not lines:
        lines = list(_pictures(folder))
    if not lines:
        raise UsageError(f"{folder} is nothing that is known here; {EXPECTED}")
    return lines


def _kinds() -> list[str]:
    """Return the datasets with a layout of their own."""
    return [name for name in registry.names(registry.DATASETS) if name != registry.FOLDER]


def _known(folder: Path, leave_out: str) -> Iterator[str]:
    """Yield the commands of each registered layout that the folder has."""
    for name in _kinds():
        if name == leave_out:
            continue
        try:
            items = _usable(registry.dataset(Spec(name)).items(folder))
        except UsageError:
            continue
        if items:
            yield f"{folder} has a layout of {name}: {_counted(items)}."
            yield f"bench data prepare {name} --from {_quoted(str(folder))}"
            yield f"To run it: name the folder {name}, and give the one around it as FOLDER."
            patients = len({item.patient for item in items})
            yield from _commands(f"--datasets {name} --data FOLDER", patients)


@dataclass(frozen=True)
class _Choice:
    """A way to say whose the images are."""

    dataset: Spec
    items: list[Item]
    words: str

    @property
    def text(self) -> str:
        """The dataset as `--datasets` takes it."""
        return ":".join((self.dataset.name, *self.dataset.options))


def _pictures(folder: Path) -> Iterator[str]:
    """Yield the commands for `images/` with `masks/`.

    Raises:
        UsageError: They do not fit together, or are no 2D images.
    """
    choice = _choice(folder)
    _check_readable(choice)
    spec = _quoted(choice.text)
    yield f"{folder}: images/ with masks/, {_counted(choice.items)}."
    yield choice.words
    yield f"bench data check --datasets {spec}"
    patients = len({item.patient for item in _usable(choice.items)})
    yield from _commands(f"--datasets {spec}", patients)


def _check_readable(choice: _Choice) -> None:
    """Refuse a folder whose first images cannot be read; one damaged file among them is no reason.

    Raises:
        UsageError: None of the first images can be read, such as volumes.
    """
    adapter = registry.dataset(choice.dataset)
    refusals = []
    for item in _usable(choice.items)[:READ]:
        try:
            next(adapter.read(item))
        except UsageError as error:
            refusals.append(error)
        else:
            return
    if refusals:
        raise refusals[0]


def _commands(which: str, patients: int) -> Iterator[str]:
    """Yield the commands of a careful comparison, and why they have their options.

    Args:
        which: The options that name the datasets.
        patients: How many the smallest of them has.
    """
    from bench.stats.outliers import SEEN_FROM

    few_tested = TESTED * patients < SEEN_FROM  # rare outliers may not show
    folds = min(FOLDS, patients) if few_tested else 1
    design = f"--folds {folds} " * (folds > 2) + f"--seeds {SEEDS}"
    yield f"bench run --methods unet,fcn {which} {design} --baseline unet"
    yield f"bench plan --methods unet,fcn {which} {design}"
    why = [
        f"only several seeds speak of the methods (--seeds {SEEDS})",
        "what is compared is declared before the results (--baseline)",
    ]
    if folds > 2:
        why.insert(0, f"each of the {patients} patients is tested, not a few (--folds {folds})")
    yield f"Why: {'; '.join(why)}. bench plan says how small a difference this finds."


def _patients(folder: Path, name: str) -> int:
    """Return the patients of a dataset's folder by its names; 0 if they do not show them."""
    try:
        return len({item.patient for item in _usable(registry.dataset(Spec(name)).items(folder))})
    except UsageError:
        return 0


def _choice(folder: Path) -> _Choice:
    """Return how the patients are known: by the table there, or by a pattern that fits all names.

    Raises:
        UsageError: Neither says it.
    """
    place = _named(folder)
    if (folder / "patients.csv").is_file():
        items = _items(Spec(place))
        return _Choice(Spec(place), items, "The patients are those of patients.csv.")
    fitting_choices = []
    for pattern in PATTERNS:
        dataset = Spec(place, (f"pattern={pattern}",))
        try:
            items = _items(dataset)
        except UsageError:
            continue
        if items and not any(item.left_out for item in items):
            fitting_choices.append((dataset, items))
    if not fitting_choices:
        _items(Spec(place, ("pattern={patient}",)))  # says what does not fit
        raise UsageError(
            f"{folder}: no pattern says whose all images are; write {folder / 'patients.csv'} "
            "with the columns file and patient"
        )
    for dataset, items in fitting_choices:
        patients = list(dict.fromkeys(item.patient for item in items))
        if 1 < len(patients) < len(items):
            words = f"From the names, please check: {short_list(patients, what='patient')}."
            return _Choice(dataset, items, words)
    dataset, items = fitting_choices[-1]
    words = "Each image is taken for a patient of its own: if that is wrong, write patients.csv."
    return _Choice(dataset, items, words)


def _named(folder: Path) -> str:
    """Return the folder as options name it: with a separator, so that it is no dataset's name."""
    text = str(folder)
    return text if "/" in text else f"./{text}"


def _items(spec: Spec) -> list[Item]:
    """Return the items of a folder of the user's own."""
    adapter = registry.dataset(spec)
    assert adapter.folder is not None
    return adapter.items(adapter.folder)


def _usable(items: list[Item]) -> list[Item]:
    """Return the items that would be read."""
    return [item for item in items if not item.left_out]


def _counted(items: list[Item]) -> str:
    """Return how many images and patients there are, in words."""
    usable = _usable(items)
    patients = len({item.patient for item in usable})
    text = f"{count(len(usable), 'image or volume', 'images or volumes')} with a mask of "
    text += count(patients, "patient")
    left_out = len(items) - len(usable)
    return f"{text}, {left_out} left out" if left_out else text


def _quoted(text: str) -> str:
    """Return a word as a shell takes it."""
    return shlex.quote(text)
