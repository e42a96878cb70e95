"""Whether a device can be used, and why not, before anything runs on it."""

from __future__ import annotations

import os
import subprocess
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.spec import machine
from bench.spec.errors import UsageError

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda")
"""Kinds of devices that a cell runs on."""
NEEDED_BYTES = 2**30
"""Free memory under which a GPU counts as full: PyTorch alone takes half of it."""


@dataclass(frozen=True)
class NoGPU:
    """Why PyTorch can use no GPU."""

    why: str
    present: bool
    """Whether there seems to be one all the same."""


def why_no_gpu() -> NoGPU | None:
    """Return why PyTorch can use no GPU, None if it can."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return NoGPU(f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU; unset it", present=False)
    if caught:  # a driver that is too old, or that does not answer
        reason = str(caught[-1].message).removeprefix("CUDA initialization: ")
        return NoGPU(reason.splitlines()[0].split(". ")[0].rstrip("."), present=True)
    if torch.version.cuda is None:
        return NoGPU("this PyTorch was built for the CPU alone", present=False)
    return NoGPU("PyTorch finds none", present=False)


def all_of(device: str) -> tuple[str, ...]:
    """Return the devices that a name stands for: `cuda` is every GPU here that is not full."""
    if device != "cuda":
        return (device,)
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    with_room = [gpu for gpu in gpus if (free_bytes(gpu) or 0) >= NEEDED_BYTES]
    return tuple(with_room) or (device,)


def free_bytes(device: str) -> int | None:
    """Return the free memory of a GPU; None of the processor, whose memory nobody divides."""
    if not device.startswith("cuda"):
        return None
    import torch

    free, _total = torch.cuda.mem_get_info(torch.device(device))
    return int(free)


def bytes_of(device: str) -> int | None:
    """Return the whole memory of a GPU; None of the processor."""
    if not device.startswith("cuda"):
        return None
    import torch

    _free, total = torch.cuda.mem_get_info(torch.device(device))
    return int(total)


def name_of(device: str) -> str:
    """Return the name of a GPU, or of the processor."""
    if not device.startswith("cuda"):
        return machine.processor()
    import torch

    name: str = torch.cuda.get_device_name(device)
    return name


def describe(device: str) -> str:
    """Return a GPU's name, its memory, its driver, and whether it computes in bfloat16."""
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(device))
    has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
    parts = [
        torch.cuda.get_device_name(device),
        f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
        f"driver {_driver()}",
        f"PyTorch {torch.__version__} for CUDA {torch.version.cuda}",
        "bfloat16" if has_bfloat16 else "bfloat16 by emulation, which is slow",
    ]
    return ", ".join(parts)


def _driver() -> str:
    """Return the version of NVIDIA's driver; `unknown` where its program does not say."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.strip().splitlines()[0] if said.strip() else "unknown"


def check(device: str) -> None:
    """Refuse a device that cannot be used; `cuda` can be where one GPU has room.

    Raises:
        UsageError: It is no PyTorch device, is not there, is full, or does not work.
    """
    import torch

    try:
        wanted = torch.device(device)
        if wanted.type not in KINDS:
            raise RuntimeError(f"expected {', '.join(KINDS)} or cuda:N")
        if wanted.type == "cuda":
            _check_gpu(wanted)
        torch.zeros(1, device=all_of(device)[0])  # raises where the device does not work
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        if "out of memory" in reason:
            raise UsageError(_full(device)) from error
        raise UsageError(
            f"device '{device}' cannot be used ({reason}); try --device cpu"
        ) from error


def _check_gpu(wanted: torch.device) -> None:
    """Refuse a GPU that cannot be used, is not there, or has too little free memory.

    Raises:
        UsageError: It is so.
    """
    import torch

    missing = why_no_gpu()
    if missing:
        raise UsageError(f"device '{wanted}' cannot be used: {missing.why}; or try --device cpu")
    count = torch.cuda.device_count()
    if wanted.index is not None and wanted.index >= count:
        shown = ", ".join(f"cuda:{index}" for index in range(count))
        raise UsageError(f"device '{wanted}' is not there; this machine shows {shown}")
    gpus = [wanted] if wanted.index is not None else [torch.device(i) for i in range(count)]
    free, total = max(torch.cuda.mem_get_info(gpu) for gpu in gpus)
    if free < NEEDED_BYTES:
        left = f"{free / 2**30:.1f} of {total / 2**30:.0f} GiB are free"
        raise UsageError(_full(str(wanted), left))


def _full(device: str, left: str = "no memory is free") -> str:
    """Return what is said of a device whose memory is taken."""
    return f"device '{device}' is full: {left}; nvidia-smi lists the programs that use it"
