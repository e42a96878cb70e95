"""What `run`, `ablate` and `tune` share: which cells they are about, and the data behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import options
from bench.cli.options import preparing, print_left_out
from bench.spec.config import SEED, Cell, DatasetRef
from bench.spec.errors import UsageError
from bench.spec.profile import Profile, load_profile
from bench.spec.words import count
from bench.store.cells import Store
from bench.store.layout import make_folder

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.splits import Splitting
    from bench.launch.matrix import FoundDataset
    from bench.spec.case import Dataset, Split


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The cells that a command is about, as the user named them."""

    methods: str
    datasets: str
    data: Path | None
    profile: str
    out: Path
    report: Path
    splitting: Splitting
    device: str
    deterministic: bool = False
    """Whether a GPU is held to the same bytes each time."""
    volumes: bool = False
    """Whether the slices of a volume are stacked and scored in 3D too."""
    seeds: Sequence[int] = (SEED,)
    real_only: bool = False

    @property
    def store(self) -> Store:
        """The results folder."""
        return Store(self.out)

    def planned_split(self, cell: Cell, dataset: Dataset) -> Split:
        """Return the split of a cell's dataset, as it was planned.

        Raises:
            UsageError: It is no longer the split that the cell was planned with.
        """
        from bench.store.plan import split_of

        return split_of(self.store, cell, dataset.patients)

    def load_profile(self) -> Profile:
        """Read the profile.

        Raises:
            UsageError: It is unknown or wrong, or asks for a grid that is smaller than there is.
        """
        from bench.data.geometry import MULTIPLE

        profile = load_profile(self.profile)
        if 0 < profile.pixels < MULTIPLE**2:
            raise UsageError(
                f"profile '{profile.name}': {count(profile.pixels, 'pixel')} of the network grid; "
                f"the smallest grid is {MULTIPLE} x {MULTIPLE}: expected {MULTIPLE**2} or more, or "
                "0 for native sizes"
            )
        return profile

    def find(self, profile: Profile) -> list[FoundDataset]:
        """Find the datasets.

        Raises:
            UsageError: One is unknown or not there, or a split of one dataset is given for several.
        """
        from bench.launch import matrix

        specs = options.datasets_of(self.datasets, self.data, profile)
        if self.splitting.file and len(specs) > 1:
            raise UsageError(
                f"--split {self.splitting.file} is of one dataset's patients, "
                f"but --datasets names {len(specs)}; name one"
            )
        return matrix.find(specs, self.data, profile, self.real_only)

    def open(self, profile: Profile) -> None:
        """Make the folders of results and report.

        Raises:
            UsageError: One cannot be written, or holds results of another format or profile.
        """
        self.store.open(profile)
        make_folder(self.report / profile.name, "report", "--report")


def _refuse_twins(readers: Sequence[FoundDataset], datasets: Sequence[DatasetRef]) -> None:
    """Refuse two folders that hold the same cases: they would be one column.

    Raises:
        UsageError: Two do.
    """
    roots: dict[DatasetRef, Path | None] = {}
    for reader, dataset in zip(readers, datasets, strict=True):
        other = roots.setdefault(dataset, reader.root)
        if other != reader.root:
            raise UsageError(
                f"{other} and {reader.root} hold the same cases ({dataset.id.key}); name one"
            )


def prepare(readers: Sequence[FoundDataset], console: Console) -> list[DatasetRef]:
    """Prepare datasets; say which are simulated, what was assumed, and what was left out.

    Raises:
        UsageError: A dataset cannot be used.
    """
    from bench.data import cache
    from bench.data.twins import described

    with preparing(console) as told:
        datasets = [reader.prepare(told) for reader in readers]
    _refuse_twins(readers, datasets)
    for dataset in datasets:
        name = dataset.id.name
        if dataset.id.source == "phantom":
            console.print(
                f"{name}: PHANTOM data (simulated); give real files with --data.", highlight=False
            )
        prepared = cache.load(Path(dataset.cache))
        if not prepared.has_foreground:
            raise UsageError(
                f"{name}: no mask has foreground, expected it in one at least; export the masks "
                "again (bench data check says how they were read)"
            )
        for line in prepared.how:
            console.print(f"{name}: assumed: {line}", highlight=False, soft_wrap=True, markup=False)
        for line in described(prepared, sides={}):
            console.print(
                f"{name}: {line} are identical images: is it one patient? one may train and the "
                "other be tested; give both one name, or remove one",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
        print_left_out(name, prepared.left_out)
    return datasets
