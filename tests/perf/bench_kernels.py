"""Where a training step of the `cpu` profile spends its time, and what other ways would cost.

Other ways are another memory layout, bfloat16 (fast where the processor multiplies it, as by AMX,
and slow elsewhere), and the prediction of several images at once.

Run from the repository's root: ``python tests/perf/bench_kernels.py``. One thread, batches of two
images of 112 x 112 pixels. Shares are of the processor time of PyTorch's kernels.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from timing import Row, one_thread, table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bench.engine.trainee import Trainee, build
from bench.spec import registry
from bench.spec.method import Method, Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile

SIZE, BATCH = (112, 112), 2
WARM, PROFILED, TURNS = 3, 5, 9
AT_ONCE = 8
"""Images that are predicted at once, where it is compared with one by one."""
KINDS = {
    "convolutions": ("conv",),
    "products of matrices": ("aten::mm", "aten::addmm", "aten::bmm", "attention"),
    "normalisation": ("norm",),
    "copies": ("aten::copy_", "aten::cat"),
    "optimiser": ("adam", "Optimizer", "sgd"),
}
"""What names of kernels hold."""


def built(name: str) -> Trainee:
    """Return a method's network with fresh weights."""
    protocol = load_profile("cpu")
    method = registry.method(Spec(name), protocol.scale)
    task = Task("mr", (SIZE,) * 20, BATCH, protocol.steps)
    return build(method, task, protocol, 35, torch.device("cpu"), "float32")


def stepper(
    name: str, layout: torch.memory_format = torch.channels_last, precision: str = "float32"
) -> Callable[[], None]:
    """Return what trains a method one step on made-up images."""
    subject = replace(built(name), precision=precision)
    subject.net.to(memory_format=layout)
    optimiser = subject.optimiser()
    image = torch.rand(BATCH, 1, *SIZE)
    mask = (torch.rand(BATCH, 1, *SIZE) > 0.7).float()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss: Tensor = subject.loss(image, mask, "step", 0)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    for _ in range(WARM):
        step()
    return step


def shares(step: Callable[[], None]) -> str:
    """Return what share of a step each kind of kernel has, in words."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(PROFILED):
            step()
    spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    parts, total = [], sum(spent.values())
    for kind, words in KINDS.items():
        own = [key for key in spent if any(word in key for word in words)]
        parts.append(f"{kind} {sum(map(spent.pop, own)) / total:.0%}")
    return ", ".join([*parts, f"others {sum(spent.values()) / total:.0%}"])


def compared(name: str) -> Row:
    """Return a method's row: a step as it is against one with the channels first in memory."""
    ours = stepper(name)
    peer = stepper(name, torch.contiguous_format)
    mine, other, ratio = in_turns(ours, peer)
    return Row(
        f"{name}: {shares(ours)}",
        f"{mine:.0f} ms",
        "channels first in memory",
        f"{other:.0f} ms",
        f"{ratio:.2f}",
    )


def halved(name: str) -> Row:
    """Return a method's row: a step as it is against one under bfloat16 autocast."""
    mine, other, ratio = in_turns(stepper(name), stepper(name, precision="bfloat16"))
    return Row(f"{name}: a step", f"{mine:.0f} ms", "bfloat16", f"{other:.0f} ms", f"{ratio:.2f}")


def in_turns(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float, float]:
    """Return the median milliseconds of two, of processor time, and the median of peer by ours."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for act, spent in zip((ours, peer), times, strict=True):
            before = time.process_time()
            act()
            spent.append(1e3 * (time.process_time() - before))
    mine, other = map(statistics.median, times)
    return mine, other, statistics.median(b / a for a, b in zip(*times, strict=True))


def at_once(name: str) -> Row:
    """Return a method's row: predictions one by one, as they are, against several at once."""
    subject, rng = built(name), torch.Generator()
    subject.net.eval()
    images = torch.rand(AT_ONCE, 1, *SIZE)

    def predict(batches: Sequence[Tensor]) -> None:
        with torch.inference_mode():
            for batch in batches:
                subject.method.predict(subject.net, batch, rng)

    mine, other, ratio = in_turns(lambda: predict(images.split(1)), lambda: predict((images,)))
    return Row(
        f"{name}: {AT_ONCE} predictions one by one",
        f"{mine:.0f} ms",
        "at once",
        f"{other:.0f} ms",
        f"{ratio:.2f}",
    )


def measure() -> list[Row]:
    """Return the rows; predictions are those of methods that draw no samples."""
    one_thread()
    names = [name for name in registry.names(registry.METHODS) if _in_all(name)]
    whole = [name for name in names if type(registry.method(Spec(name))).predict is Method.predict]
    return [*map(compared, names), *map(halved, names), *map(at_once, whole)]


def _in_all(name: str) -> bool:
    return bool(registry.load(registry.METHODS, name).in_all)


if __name__ == "__main__":
    print(table(measure()))
