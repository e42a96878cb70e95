"""Energy by the counters of the devices themselves; where there is none, nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """Counters as they stood when it was started.

    They count all that a device does: other cells on it are included.
    """

    gpu: float | None
    """Joules of the GPU."""
    packages: dict[Path, int]
    """Microjoules of each processor package, by its folder."""
    device: str

    @classmethod
    def start(cls, device: str, powercap: Path = POWERCAP) -> Meter:
        """Read the counters of a PyTorch device and of the processors."""
        counters = {folder: _read(folder / "energy_uj") for folder in _packages(powercap)}
        return cls(_gpu(device), {folder: value for folder, value in counters.items() if value is not None}, device)

    def joules(self) -> dict[str, float | None]:
        """Return the joules since the start of the `gpu` and of the `processor`; None where there is no counter."""
        now = _gpu(self.device)
        gpu = None if now is None or self.gpu is None else now - self.gpu
        spent = [self._package(folder, before) for folder, before in self.packages.items()]
        known = [each for each in spent if each is not None]
        return {"gpu": gpu, "processor": sum(known) / 1e6 if known and len(known) == len(spent) else None}

    def _package(self, folder: Path, before: int) -> int | None:
        now, most = _read(folder / "energy_uj"), _read(folder / "max_energy_range_uj")
        if now is None or (now < before and most is None):
            return None
        return now - before if now >= before else now - before + (most or 0)  # it begins anew when it is full


def _packages(powercap: Path) -> list[Path]:
    """Return the processor packages' folders; what counts the whole machine as well is none."""
    return [folder for folder in sorted(powercap.glob("intel-rapl:[0-9]")) if _named(folder).startswith("package")]


def _named(folder: Path) -> str:
    try:
        return (folder / "name").read_text()
    except OSError:
        return ""


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _gpu(device: str) -> float | None:
    """Return the joules that a CUDA device has used since its driver was loaded; None where it does not count."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"  # whatever CUDA_VISIBLE_DEVICES calls it
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(name))) / 1e3
    except Exception:  # the extra is not installed, or the device or its driver has no counter
        return None
