"""Cells on a Ray cluster, or on one that starts here: a task for each cell."""

from __future__ import annotations

import importlib
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bench.launch.base import LEAVE_SECONDS, Gone, Request
from bench.launch.remote import FOLLOW_SECONDS, attempt
from bench.spec import installing
from bench.spec.config import Cell
from bench.spec.errors import UsageError

ANSWER_SECONDS = 5.0
"""How long an address may take to answer."""


class Ray:
    """Runs cells as tasks of Ray, on a disk that all its nodes share."""

    flags: ClassVar[tuple[str, ...]] = ("address", "gpus")
    here: ClassVar[bool] = False
    attempts: ClassVar[int] = 3
    grace_seconds: ClassVar[float] = 10.0

    def __init__(self, request: Request) -> None:
        self.request = request
        self.elsewhere: int = 0
        self._ray: Any = None
        self._task: Any = None
        self._tasks: dict[str, Any] = {}
        """Ray's reference of each cell's task, by the cell's hash."""

    def check(self) -> str:
        """Join the cluster, or start one here.

        Raises:
            UsageError: Ray is not installed, does not answer, or has no node that a cell fits.
        """
        request = self.request
        address = request.flags.get("address")
        try:
            self._ray = importlib.import_module("ray")
        except ImportError:
            raise UsageError(f"--launcher ray needs Ray: {installing.command('ray')}") from None
        if address and request.jobs:
            raise UsageError(
                "--jobs is for a Ray that starts here: a cluster takes as many cells as fit; "
                "leave it out"
            )
        processors = request.jobs * request.threads if request.jobs else None
        _connect(self._ray, address, processors)
        gpus = self._gpus()
        try:
            _check_fit(self._ray, {"CPU": request.threads, "GPU": gpus})
        except UsageError:
            self._ray.shutdown()
            raise
        remote = self._ray.remote(num_cpus=request.threads, num_gpus=gpus, max_retries=0)
        self._task = remote(attempt)
        return f"by Ray at {address or 'a cluster that starts here'} on {request.device}"

    def _gpus(self) -> float:
        """Return the GPUs of a cell; a fraction lets several cells share one."""
        if not self.request.device.startswith("cuda"):
            return 0.0
        text = self.request.flags.get("gpus", "1")
        try:
            gpus = float(text)
        except ValueError:
            gpus = -1.0
        if not 0 <= gpus < float("inf"):
            raise UsageError(f"--gpus {text}: expected a number of GPUs, such as 1 or 0.5")
        return gpus

    def submit(self, cells: Sequence[Cell]) -> list[Cell]:
        """Hand all cells to Ray, which starts them in this order."""
        root = str(self.request.store.root.resolve())
        for cell in cells:
            arguments = (cell.to_json(), root, self.request.device, self.request.timeout)
            self._tasks[cell.hash] = self._task.remote(*arguments)
        return list(cells)

    def wait(self) -> Mapping[str, Gone]:
        """Return the cells whose tasks have ended, for whatever reason."""
        time.sleep(FOLLOW_SECONDS)
        references = list(self._tasks.values())
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        ended = set(ready)
        return {
            name: Gone(_why(self._ray, reference))
            for name, reference in self._tasks.items()
            if reference in ended
        }

    def cancel(self) -> None:
        """Cancel the tasks: their cells write checkpoints. Then leave the cluster."""
        references = list(self._tasks.values())
        pending: list[Any] = []
        if references:  # Ray refuses to wait for nothing
            _ready, pending = self._ray.wait(references, timeout=0)
        for reference in pending:
            self._ray.cancel(reference)  # raises KeyboardInterrupt in its worker
        if pending:
            self._ray.wait(pending, num_returns=len(pending), timeout=LEAVE_SECONDS)
        self._tasks.clear()
        if self._ray is not None:  # None where `check` was not reached
            self._ray.shutdown()


def _connect(ray: Any, address: str | None, processors: int | None) -> None:
    """Join a cluster, or start one here."""
    if address and address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no Ray answers at --address {address} ({error}); expected HOST:PORT of ray start"
            ) from error
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address:
        settings["address"] = address
    else:
        settings |= {"address": "local", "num_cpus": processors, "include_dashboard": False}
    try:
        ray.init(**settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"Ray does not answer ({error}); see ray status") from error


def _check_fit(ray: Any, asked: Mapping[str, float]) -> None:
    """Refuse what no node has now, because Ray would wait for it without a word."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for node in nodes:
        if all(node.get(name, 0) >= count for name, count in asked.items()):
            return
    wants = ", ".join(f"{count:g} {name}" for name, count in asked.items())
    has = "; ".join(_listed(node, asked) for node in nodes)
    raise UsageError(
        f"no node of this Ray has what a cell asks for ({wants}); its nodes have: {has}; "
        "see --device, --gpus and the profile's threads"
    )


def _listed(node: Mapping[str, float], asked: Mapping[str, float]) -> str:
    """Return what a node has of what is asked for, in words."""
    return ", ".join(f"{node.get(name, 0):g} {name}" for name in asked)


def _why(ray: Any, reference: Any) -> str:
    """Return how an ended task ended."""
    try:
        ray.get(reference)
    except Exception as error:  # whatever class Ray gives it
        return str(error).strip().splitlines()[-1]
    return "it ended without a result"
