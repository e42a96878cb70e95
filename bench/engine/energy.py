"""The energy of a cell, by the counters of the devices; None where a device has no counter."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the processors' counters."""
LOOK_SECONDS = 60.0
"""Seconds between two readings of the counters. A processor's counter returns to 0 after 262 kJ,
which the most powerful processors use in a quarter of an hour; it must be read more often."""
DEVICES = ("gpu", "processor")
"""What is counted, by the names in a record."""


class Meter:
    """The joules of a cell, including those of its earlier attempts, which are kept in a file.

    The counters count everything that a device does, so the energy of other cells that use the
    device at the same time is included.
    """

    def __init__(self, device: str, file: Path, powercap: Path = POWERCAP) -> None:
        """Continue with the joules in the file, or begin at zero.

        Args:
            device: A PyTorch device.
            file: The file that keeps the joules between attempts. A value is null for ever once
                its counter was missing.
            powercap: The folder in which Linux shows the processors' counters.
        """
        self.device, self.file, self.packages = device, file, _packages(powercap)
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            self.spent: dict[str, float | None] = {name: kept[name] for name in DEVICES}
        except FileNotFoundError:
            self.spent = dict.fromkeys(DEVICES, 0.0)
        except (ValueError, KeyError):  # the process was killed while it wrote the file
            self.spent = dict.fromkeys(DEVICES)
        self._before = self._counters()
        self._looked = time.monotonic()
        self._add({})

    def look(self) -> None:
        """Read the counters if the last reading is more than `LOOK_SECONDS` ago."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self.joules()

    def joules(self) -> dict[str, float | None]:
        """Read the counters; return the joules so far of the `gpu` and of the `processor`.

        A value is None if its counter is missing or ever was.
        """
        self._looked = time.monotonic()
        before, self._before = self._before, self._counters()
        added: dict[str, float | None] = dict.fromkeys(DEVICES)
        same_counters = before.keys() == self._before.keys()
        if same_counters:
            since = {
                name: _since(before[name], now, self._range(name))
                for name, now in self._before.items()
            }
            for device in DEVICES:
                # All counters but the one called `gpu` are those of the processor.
                mine = [since[name] for name in since if (name == "gpu") == (device == "gpu")]
                measured = [joules for joules in mine if joules is not None]
                if measured and len(measured) == len(mine):
                    added[device] = sum(measured)
        self._add(added)
        return self.spent

    def _add(self, joules: Mapping[str, float | None]) -> None:
        """Add joules by device to those that were spent, and write the file.

        A device that is not in `joules` gets 0. One without a counter is None from now on.
        """
        counted = {"gpu": "gpu" in self._before, "processor": bool(self._before.keys() - {"gpu"})}
        for device, before in self.spent.items():
            more = joules.get(device, 0.0)
            if counted[device] and before is not None and more is not None:
                self.spent[device] = before + more
            else:
                self.spent[device] = None
        self.file.write_text(json.dumps(self.spent), encoding="utf-8")

    def _counters(self) -> dict[str, float]:
        """Return the joules that each counter shows, by the package's folder or `gpu`."""
        shown = {str(folder): _read(folder / "energy_uj") for folder in self.packages}
        shown["gpu"] = _gpu(self.device)
        return {name: value for name, value in shown.items() if value is not None}

    def _range(self, name: str) -> float | None:
        """Return the joules after which a counter returns to 0; None if it never does."""
        return None if name == "gpu" else _read(Path(name) / "max_energy_range_uj")


def _since(before: float, now: float, most: float | None) -> float | None:
    """Return the joules between two readings of a counter, which returns to 0 after `most`."""
    if now >= before:
        return now - before
    return None if most is None else now - before + most


def _packages(powercap: Path) -> list[Path]:
    """Return the folders of the processor packages.

    A counter of the whole machine (`psys`) is left out: it would count the packages again.
    """
    return [
        folder
        for folder in sorted(powercap.glob("intel-rapl:[0-9]"))
        if _named(folder).startswith("package")
    ]


def _named(folder: Path) -> str:
    try:
        return (folder / "name").read_text(encoding="utf-8")
    except OSError:
        return ""


def _read(path: Path) -> float | None:
    """Return the joules of a file with microjoules; None if it cannot be read."""
    try:
        return int(path.read_text(encoding="utf-8")) / 1e6
    except (OSError, ValueError):
        return None


def _gpu(device: str) -> float | None:
    """Return the joules that a CUDA device has used since its driver was loaded.

    Return None for another device, or if the device has no counter.
    """
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        # NVML does not know the numbers that CUDA_VISIBLE_DEVICES gives, only the identifier.
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except Exception:  # the extra is not installed, or the device or its driver has no counter
        return None
