"""Energy by the counters of the devices themselves; where there is none, nothing is said."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
LOOK_SECONDS = 60.0
"""How often counters are read: a processor's begins anew after 262 kJ, a quarter of an hour of the
hungriest."""
DEVICES = ("gpu", "processor")


class Meter:
    """The joules of a cell, also of its earlier attempts, kept in a file.

    The counters count all that a device does: other cells on it are included.
    """

    def __init__(self, device: str, file: Path, powercap: Path = POWERCAP) -> None:
        """Go on from what the file says, or begin at zero.

        Args:
            device: A PyTorch device.
            file: Where the joules are kept between attempts; they are null once a counter was
                missing.
            powercap: Where Linux shows the processors' counters.
        """
        self.device, self.file, self.packages = device, file, _packages(powercap)
        try:
            kept = json.loads(file.read_text())
            self.spent: dict[str, float | None] = {name: kept[name] for name in DEVICES}
        except FileNotFoundError:
            self.spent = dict.fromkeys(DEVICES, 0.0)
        except (ValueError, KeyError):  # killed while it was written
            self.spent = dict.fromkeys(DEVICES)
        self._before = self._counters()
        self._looked = time.monotonic()
        self._add({})

    def look(self) -> None:
        """Read the counters, if they were not read for a while."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self.joules()

    def joules(self) -> dict[str, float | None]:
        """Return the joules so far of the `gpu` and of the `processor`.

        They are None where a counter is or was missing.
        """
        self._looked = time.monotonic()
        before, self._before = self._before, self._counters()
        added: dict[str, float | None] = dict.fromkeys(DEVICES)
        if before.keys() == self._before.keys():
            since = {
                name: _since(before[name], now, self._range(name))
                for name, now in self._before.items()
            }
            for device in DEVICES:
                mine = [since[name] for name in since if (name == "gpu") == (device == "gpu")]
                known = [joules for joules in mine if joules is not None]
                if known and len(known) == len(mine):
                    added[device] = sum(known)
        self._add(added)
        return self.spent

    def _add(self, joules: Mapping[str, float | None]) -> None:
        counted = {"gpu": "gpu" in self._before, "processor": bool(self._before.keys() - {"gpu"})}
        for device, before in self.spent.items():
            more = joules.get(device, 0.0)
            if counted[device] and before is not None and more is not None:
                self.spent[device] = before + more
            else:
                self.spent[device] = None
        self.file.write_text(json.dumps(self.spent))

    def _counters(self) -> dict[str, float]:
        """Return the joules that each counter shows, by the package's folder or `gpu`."""
        shown = {str(folder): _read(folder / "energy_uj") for folder in self.packages}
        shown["gpu"] = _gpu(self.device)
        return {name: value for name, value in shown.items() if value is not None}

    def _range(self, name: str) -> float | None:
        return None if name == "gpu" else _read(Path(name) / "max_energy_range_uj")


def _since(before: float, now: float, most: float | None) -> float | None:
    """Return how much a counter has counted; it begins anew when it is full."""
    if now >= before:
        return now - before
    return None if most is None else now - before + most


def _packages(powercap: Path) -> list[Path]:
    """Return the processor packages' folders; what counts the whole machine as well is none."""
    return [
        folder
        for folder in sorted(powercap.glob("intel-rapl:[0-9]"))
        if _named(folder).startswith("package")
    ]


def _named(folder: Path) -> str:
    try:
        return (folder / "name").read_text()
    except OSError:
        return ""


def _read(path: Path) -> float | None:
    """Return the joules of a counter in microjoules."""
    try:
        return int(path.read_text()) / 1e6
    except (OSError, ValueError):
        return None


def _gpu(device: str) -> float | None:
    """Return the joules that a CUDA device has used since its driver was loaded.

    They are None where it does not count.
    """
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        # found by its identifier, whatever CUDA_VISIBLE_DEVICES calls it
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except Exception:  # the extra is not installed, or the device or its driver has no counter
        return None
