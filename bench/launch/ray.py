"""Cells on a Ray cluster, or on one that starts here: a task a cell, each run as the local launcher would."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from bench.launch import remote
from bench.launch.base import LEAVE_SECONDS, Ended, Watch
from bench.launch.remote import stoppable
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.store.store import Store

ANSWER_SECONDS = 5.0


def run(
    cells: Sequence[Cell],
    store: Store,
    jobs: int | None,
    device: str,
    watch: Watch,
    ended: Ended,
    timeout: float | None,
    address: str | None,
    gpus: float,
) -> None:
    """Run cells as tasks of Ray.

    Args:
        cells: What is still to do; they start in this order.
        store: Where results go, on a disk that all nodes share.
        jobs: Processors of a cluster that is started here, a cell's threads each; None takes all.
        device: A PyTorch device.
        watch: Shows the state.
        ended: Is told of each cell.
        timeout: Seconds without a sign of progress after which a cell is killed.
        address: Of a cluster that runs; None starts one on this machine.
        gpus: GPUs of a cell, where the device is one; a fraction lets several share one.

    Raises:
        UsageError: Ray is not installed, does not answer, or has no node that a cell fits.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the tasks were cancelled, and left checkpoints.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise UsageError("--launcher ray needs Ray: pip install 'verdiff-bench[ray]'") from None
    if address and jobs:
        raise UsageError(
            "--jobs is for a Ray that starts here: a cluster takes as many cells as fit; leave"
            " it out"
        )
    threads = cells[0].profile.threads
    _connect(ray, address, jobs * threads if jobs else None)
    share = gpus if device.startswith("cuda") else 0
    _fits(ray, {"CPU": threads, "GPU": share})
    task = ray.remote(num_cpus=threads, num_gpus=share, max_retries=0)(remote.attempt)
    tasks: dict[str, Any] = {}

    def submit(some: Sequence[Cell]) -> None:
        for cell in some:
            tasks[cell.hash] = task.remote(
                cell.to_json(), str(store.root.resolve()), device, timeout
            )

    def gone() -> dict[str, str]:
        ready, _ = ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=0)
        return {name: _why(ray, ref) for name, ref in tasks.items() if ref in set(ready)}

    try:
        with stoppable():
            submit(cells)
            remote.follow(cells, store, gone, submit, watch, ended)
    except BaseException:
        for ref in tasks.values():
            ray.cancel(ref)  # KeyboardInterrupt in its worker: the cell writes its checkpoint
        ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=LEAVE_SECONDS)
        raise
    finally:
        ray.shutdown()


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
    try:
        ray.init(
            address=address or "local",
            num_cpus=None if address else processors,
            log_to_driver=False,
            logging_level="error",
            include_dashboard=None if address else False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"Ray does not answer ({error}); see ray status") from error


def _fits(ray: Any, asked: Mapping[str, float]) -> None:
    """Refuse what no node has now, for Ray would wait for it without a word."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= count for name, count in asked.items()) for node in nodes):
        has = "; ".join(
            ", ".join(f"{node.get(name, 0):g} {name}" for name in asked) for node in nodes
        )
        wants = ", ".join(f"{count:g} {name}" for name, count in asked.items())
        ray.shutdown()
        raise UsageError(
            f"no node of this Ray has what a cell asks for ({wants}); its nodes have: {has}; "
            "see --device, --gpus and the profile's threads"
        )


def _why(ray: Any, ref: Any) -> str:
    try:
        ray.get(ref)
    except Exception as error:  # whatever class Ray gives it
        return str(error).strip().splitlines()[-1]
    return "it ended without a result"
