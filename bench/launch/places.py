"""Which device of this machine a cell runs on. A result does not depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.spec import devices
from bench.spec.config import Cell

SPARE_BYTES = 2**30
"""Of a GPU's memory that each process takes beside its tensors: PyTorch's own code and state."""
SPARE_SHARE = 1.2
"""How much more than its tensors a cell may reserve, since blocks of memory do not fit exactly."""

Kind = tuple[str, str]
"""A dataset and a method, whose cells need equally much memory."""


def kind_of(cell: Cell) -> Kind:
    """Return what decides how much memory a cell needs."""
    return cell.dataset.id.key, cell.method.key


@dataclass
class Places:
    """The devices of this machine, and the cells on them.

    A cell goes to the device with the fewest cells, and among those to the one with the most free
    memory. It joins others on a GPU only where the peaks of all of them were measured and fit.
    """

    devices: Sequence[str]
    _on: dict[str, list[Cell]] = field(default_factory=dict)
    _free: dict[str, int | None] = field(default_factory=dict)
    """Bytes that were free on a device before this run's cells came; None where nothing limits."""
    _peaks: dict[Kind, int] = field(default_factory=dict)
    """Bytes that ended cells have needed."""

    def __post_init__(self) -> None:
        """Begin with empty devices."""
        self._on = {device: [] for device in self.devices}

    def choose(self, cell: Cell) -> str | None:
        """Return the device for a cell; None where it must wait for another one to end."""
        for device, cells in self._on.items():
            if not cells:
                self._free[device] = devices.free_bytes(device)
        fits = [device for device in self.devices if self._has_room(device, cell)]
        if not fits:
            return None
        return min(fits, key=lambda device: (len(self._on[device]), -(self._left(device) or 0)))

    def take(self, device: str, cell: Cell) -> None:
        """Put a cell on a device."""
        self._on[device].append(cell)

    def leave(self, device: str, cell: Cell, peak: int | None) -> None:
        """Take a cell from its device, and note the bytes that it needed, where they are known."""
        self._on[device].remove(cell)
        if peak is not None:
            known = self._peaks.get(kind_of(cell), 0)
            self._peaks[kind_of(cell)] = max(known, peak)

    def _has_room(self, device: str, cell: Cell) -> bool:
        """Return whether a cell may begin on a device; on an empty one it always may."""
        is_empty, nothing_limits = not self._on[device], self._free[device] is None
        if is_empty or nothing_limits:
            return True
        left, need = self._left(device), self._need(cell)
        return left is not None and need is not None and need <= left

    def _left(self, device: str) -> int | None:
        """Return the bytes that a device's cells leave; None where one of them is not known."""
        left = self._free[device]
        for cell in self._on[device]:
            need = self._need(cell)
            if left is None or need is None:
                return None
            left -= need
        return left

    def _need(self, cell: Cell) -> int | None:
        """Return the bytes that a cell takes on a GPU; None before one of its kind has ended."""
        peak = self._peaks.get(kind_of(cell))
        return None if peak is None else round(SPARE_SHARE * peak) + SPARE_BYTES
