"""The trainee: a method's network on a device, with the seeds of its random numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_model
from torch import Tensor, nn

from bench.spec.capabilities import OwnOptimiser
from bench.spec.method import Method, Task
from bench.spec.profile import Profile

CHANNELS_OF_A_BLOCK = 16
"""How many channels oneDNN treats together on processors with AVX-512, its widest."""


def derive(*parts: object) -> int:
    """Return the 63-bit seed of an address such as (35, "step", 12).

    An address names one use of random numbers. Even similar addresses have unrelated seeds, because
    the seed is part of a SHA-256 digest.
    """
    address = "/".join(map(str, parts))
    digest = hashlib.sha256(address.encode()).digest()
    # Eight bytes without their last bit: a number that fits a signed integer of 64 bits.
    return int.from_bytes(digest[:8], "big") >> 1


def generator(device: torch.device, *parts: object) -> torch.Generator:
    """Return the random generator of an address."""
    return torch.Generator(device).manual_seed(derive(*parts))


@dataclass(frozen=True)
class Trainee:
    """A method and its network on a device, to be trained under a profile and a seed."""

    method: Method
    net: nn.Module
    task: Task
    profile: Profile
    seed: int
    device: torch.device
    precision: str = "float32"
    """Or `bfloat16`: in autocast, which leaves the weights in float32."""
    batch_parts: int = 1
    """Number of parts in which a batch is computed; their gradients are added up. More than 1 if a
    whole batch does not fit into the device's memory."""

    def autocast(self) -> torch.autocast:
        """Return the autocast of the trainee's precision."""
        wanted = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=wanted)

    def optimiser(self) -> torch.optim.Optimizer:
        """Return the method's own optimiser, or the profile's Adam; fused if the profile allows it.

        The rate of Adam is the option `lr` if the user gave it (0: not given).
        """
        if isinstance(self.method, OwnOptimiser):
            optimiser = self.method.make_optimiser(self.net, self.task)
        else:
            rate = self.method.lr or self.profile.lr
            optimiser = torch.optim.Adam(self.net.parameters(), lr=rate, fused=True)
        if not self.profile.fused_adam:
            for group in optimiser.param_groups:
                group["fused"] = False
        return optimiser

    def loss(self, image: Tensor, mask: Tensor, *address: object) -> Tensor:
        """Return the loss of a batch; its random numbers follow from the seed and an address."""
        # For layers that draw from the global generator, such as dropout.
        torch.manual_seed(derive(self.seed, "global", *address))
        rng = generator(self.device, self.seed, *address)
        with self.autocast():
            return self.method.loss(self.net, image, mask, rng)


def build(
    method: Method, task: Task, profile: Profile, seed: int, device: torch.device, precision: str
) -> Trainee:
    """Build a method's network; its weights depend on the seed alone.

    Whether a GPU may use TF32 is a switch of the whole process. A process runs a single cell, so
    the profile decides.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = profile.tf32
    torch.manual_seed(derive(seed, "weights"))
    net = method.build(task).to(device)
    if profile.channels_last and not (device.type == "cpu" and _is_unsafe(net)):
        net = net.to(memory_format=torch.channels_last)
    return Trainee(method, net, task, profile, seed, device, precision)


def _is_unsafe(net: nn.Module) -> bool:
    """Return whether a network has convolutions for which oneDNN writes past its memory.

    They are those of one pixel with a stride and few channels, if the channels are the last axis
    (oneDNN's issue 6035). The cell crashes, or its gradients are wrong.
    """
    return any(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.in_channels // layer.groups < CHANNELS_OF_A_BLOCK
        for layer in net.modules()
    )


def to_device(values: NDArray[np.float32], device: torch.device, pin: bool = True) -> Tensor:
    """Return an array as a tensor on a device.

    With `pin` the caller does not wait for a GPU: it reads pinned memory by itself, and later. From
    other memory it copies only after its earlier work, and the caller waits.
    """
    tensor = torch.from_numpy(values)
    if pin and device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_tensor(image: NDArray[np.uint16], device: torch.device) -> Tensor:
    """Return an image (H, W) in 65535 steps as a tensor (1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(image.astype(np.float32) / 65535)[None, None].to(device)


def count_idle_parameters(net: nn.Module) -> int | None:
    """Return how many parameters the last gradient did not reach; None if there was no gradient."""
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    without_gradient = sum(weight.numel() for weight in trained if weight.grad is None)
    if without_gradient == sum(weight.numel() for weight in trained):
        return None
    return without_gradient


def save_weights(net: nn.Module, path: Path) -> None:
    """Write the weights of a network; the same weights always give the same bytes.

    A tensor with several names is written under one of them, and the file's metadata list the
    others. safetensors writes this list in a random order, so this function sorts it.

    Raises:
        ValueError: The sorted header is longer than the one that safetensors wrote.
    """
    # A file of one's own has the rights of the umask; the library's file is its owner's alone.
    path.touch()
    mode = path.stat().st_mode
    # safetensors requires tensors with several names to be contiguous in memory.
    save_model(net.to(memory_format=torch.contiguous_format), str(path))
    path.chmod(mode)
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")  # the file begins with its header's length
        header = json.loads(file.read(length))
        if "__metadata__" not in header:  # no tensor has several names
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise ValueError(f"{path}: the sorted header has {len(text)} bytes, not {length}")
        file.seek(8)  # after the header's length
        file.write(text.ljust(length))  # JSON may end with spaces
