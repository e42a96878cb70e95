"""What a launcher is: where cells run, never what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from bench.spec import registry
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.store.cells import Store

POLL_SECONDS = 0.5
"""Between two looks at processes on this machine."""
LEAVE_SECONDS = 8.0
"""How long cells that are told to stop may take to write their checkpoints."""

Watch = Callable[[Sequence[Cell], int], None]
"""Called a few times a second with the cells at work, and how many others another run works on."""
Ended = Callable[[Cell, str], None]
"""Called with a cell and why it failed, empty if it did not."""


@dataclass(frozen=True)
class Request:
    """What a run asks of a launcher."""

    store: Store
    threads: int
    """Threads of each cell."""
    device: str
    """A PyTorch device."""
    jobs: int | None = None
    """Cells at once; None leaves it to the launcher."""
    timeout: float | None = None
    """Seconds without a sign of progress after which a cell is killed."""
    modules: tuple[str, ...] = ()
    """Modules that are slow to import and that cells need."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """The launcher's own options, by their names on the command line."""


@dataclass(frozen=True)
class Gone:
    """Why a launcher no longer has a cell that it was given."""

    why: str
    busy: bool = False
    """Whether another run works on the cell, or it was told to stop: this is no failure."""


class Launcher(Protocol):
    """Runs cells somewhere; `follow` reads from the results folder what became of them.

    A new launcher is one class, named by an entry point in the group `verdiff_bench.launchers`.
    """

    flags: ClassVar[tuple[str, ...]]
    """The options of the command line that it uses: `--slurm` is named `slurm`."""
    here: ClassVar[bool]
    """Whether cells run on this machine, so that a device that it lacks can be refused at once."""
    attempts: ClassVar[int]
    """How often a cell is started whose process vanishes without a word."""
    grace_seconds: ClassVar[float]
    """How long the disk may take to show what an ended attempt has written."""

    def __init__(self, request: Request) -> None: ...

    @property
    def elsewhere(self) -> int:
        """How many of the cells another run works on, as far as was seen."""

    def check(self) -> str:
        """Refuse what cannot run, before any data are prepared; return how cells run, in words.

        To know it, a launcher may have to join a cluster or start one.

        Raises:
            UsageError: Something is not installed, does not answer, or does not fit.
        """

    def submit(self, cells: Sequence[Cell]) -> list[Cell]:
        """Start as many of the cells as there is room for, and return those that were started.

        Raises:
            UsageError: The scheduler refuses them.
        """

    def wait(self) -> Mapping[str, Gone]:
        """Wait a moment, then return the cells (by hash) that have left the launcher."""

    def cancel(self) -> None:
        """Have the cells write checkpoints and leave; leave what `check` joined or started.

        It is called at the end in any case, and may be called again.
        """


def launcher(name: str, request: Request) -> Launcher:
    """Return the launcher of a name.

    Raises:
        UsageError: The name is unknown, or an option was given that this launcher does not use.
    """
    cls: type[Launcher] = registry.load(registry.LAUNCHERS, name)
    for flag in request.flags:
        if flag not in cls.flags:
            users = [
                other
                for other in registry.names(registry.LAUNCHERS)
                if flag in registry.load(registry.LAUNCHERS, other).flags
            ]
            raise UsageError(
                f"--{flag} has no effect under --launcher {name}; leave it out, "
                f"or use --launcher {' or '.join(users)}"
            )
    return cls(request)
