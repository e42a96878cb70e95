"""Cells on a Slurm cluster, through submitit: an array with a task for each cell."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.launch import local, remote
from bench.launch.base import Gone, Request
from bench.spec import installing, registry
from bench.spec.capabilities import TrainsItself
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.store.layout import last_line

if TYPE_CHECKING:
    import submitit

ARRAY = 1000
"""Tasks of an array at most; Slurm's own limit is 1,001 where nobody changed it."""
MINUTES = 240
"""Time of a task where nothing is said; a longer one is queued again, and continues.

A method that trains itself has no checkpoints and would start again for ever, so it is not queued
again when its time is over.
"""
ALWAYS = 10**6
"""How often a task whose time is over is queued again."""


@dataclass(frozen=True)
class Task:
    """What a task of an array does."""

    cell_json: str
    root: str
    device: str
    timeout: float | None

    def __call__(self) -> None:
        """Run the cell."""
        remote.attempt(self.cell_json, self.root, self.device, self.timeout)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Have the cell write its checkpoint before Slurm takes the node away."""
        import submitit

        local.stop(multiprocessing.active_children())
        return submitit.helpers.DelayedSubmission(self)


class Slurm:
    """Runs cells as tasks of arrays, on a disk that all nodes share.

    If one task fails, the others continue; a pre-empted one is queued again.
    """

    flags: ClassVar[tuple[str, ...]] = ("slurm",)
    here: ClassVar[bool] = False
    attempts: ClassVar[int] = 3
    grace_seconds: ClassVar[float] = 10.0

    def __init__(self, request: Request) -> None:
        self.request = request
        self.elsewhere: int = 0
        self._executors: dict[bool, submitit.SlurmExecutor] = {}
        """One for methods that train themselves, and one for the others."""
        self._tasks: dict[str, str] = {}
        """The task of each cell's hash, as squeue calls it."""

    def check(self) -> str:
        """Prepare the arrays' options.

        Raises:
            UsageError: submitit or Slurm is not there, or an option is wrong.
        """
        self._executors = {
            False: _executor(self.request, timeouts=ALWAYS),
            True: _executor(self.request, timeouts=0),
        }
        asked = self.request.flags.get("slurm", "")
        return f"by Slurm ({asked or 'as it is set up'}) on {self.request.device}"

    def submit(self, cells: Sequence[Cell]) -> list[Cell]:
        """Hand all cells to Slurm.

        Raises:
            UsageError: Slurm refuses the array.
        """
        root = str(self.request.store.root.resolve())
        for own_training, part in _arrays(cells):
            executor = self._executors[own_training]
            try:
                with executor.batch():
                    jobs = [executor.submit(self._task(cell, root)) for cell in part]
            except Exception as error:  # submitit hands on sbatch's words in several classes
                raise UsageError(
                    f"Slurm refused the cells: {_last(error)}; see sinfo, and --slurm"
                ) from error
            for cell, job in zip(part, jobs, strict=True):
                self._tasks[cell.hash] = job.job_id
        return list(cells)

    def _task(self, cell: Cell, root: str) -> Task:
        return Task(cell.to_json(), root, self.request.device, self.request.timeout)

    def wait(self) -> Mapping[str, Gone]:
        """Return the cells whose tasks Slurm no longer has; none where it does not answer."""
        time.sleep(remote.FOLLOW_SECONDS)
        queued = _queued(self._tasks)
        if queued is None:
            return {}
        why = f"see {self.request.store.layout.slurm}"
        return {name: Gone(why) for name, task in self._tasks.items() if task not in queued}

    def cancel(self) -> None:
        """Cancel the tasks that Slurm still has; their cells write checkpoints."""
        queued = _queued(self._tasks) if self._tasks else None
        if queued:
            subprocess.run(["scancel", *_arrays_of(queued)], capture_output=True, check=False)
        self._tasks.clear()


def _arrays(cells: Sequence[Cell]) -> Iterator[tuple[bool, Sequence[Cell]]]:
    """Yield parts of the cells that fit an array, and whether their methods train themselves."""
    for own_training in (False, True):
        group = []
        for cell in cells:
            if isinstance(registry.of_cell(cell), TrainsItself) is own_training:
                group.append(cell)
        for start in range(0, len(group), ARRAY):
            yield own_training, group[start : start + ARRAY]


def _executor(request: Request, timeouts: int) -> submitit.SlurmExecutor:
    """Return submitit's executor for tasks that each ask for a cell's threads, and for one GPU.

    A task that has used up its time is queued again `timeouts` times; one that Slurm takes back,
    always.
    """
    options = _pairs(request.flags.get("slurm", ""))
    minutes = options.pop("time", str(MINUTES))
    if not minutes.isdecimal() or int(minutes) < 1:
        raise UsageError(
            f"--slurm time={minutes}: expected whole minutes, for example time={MINUTES}"
        )
    try:
        import submitit
    except ImportError:
        raise UsageError(
            f"--launcher slurm needs submitit: {installing.command('slurm')}"
        ) from None
    if not shutil.which("sbatch"):
        raise UsageError(
            "--launcher slurm: there is no sbatch here; run it on a login node of the cluster"
        )
    more: dict[str, Any] = {"requeue": True}
    if request.device.startswith("cuda"):
        more["gpus-per-task"] = 1
    executor = submitit.SlurmExecutor(
        folder=request.store.layout.slurm / "%j", max_num_timeout=timeouts
    )
    executor.update_parameters(
        job_name="bench",
        time=int(minutes),
        cpus_per_task=request.threads,
        array_parallelism=request.jobs or ARRAY,
        stderr_to_stdout=True,
        additional_parameters={**more, **options},
    )
    return executor


def _pairs(text: str) -> dict[str, str]:
    """Return sbatch's options: KEY=VALUE, separated by commas."""
    options = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if not (key and value):
            raise UsageError(
                f"--slurm {text}: expected KEY=VALUE,KEY=VALUE, "
                "for example --slurm partition=gpu,time=240"
            )
        options[key.replace("_", "-")] = value
    return options


def _queued(tasks: Mapping[str, str]) -> set[str] | None:
    """Return the tasks that Slurm still has, waiting or running; None where it does not answer."""
    arrays = ",".join(_arrays_of(tasks.values()))
    # No heading, a line for each task of an array, and nothing but its name.
    command = ["squeue", "-h", "-r", "-o", "%i", "-j", arrays]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    # Slurm has forgotten jobs that ended long ago, and then says that their number is invalid.
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return set(done.stdout.split())


def _arrays_of(tasks: Iterable[str]) -> list[str]:
    """Return the arrays that tasks belong to; a task is called `ARRAY_NUMBER`."""
    return sorted({task.split("_")[0] for task in tasks})


def _last(error: Exception) -> str:
    """Return the last line that says something of what sbatch printed."""
    said = getattr(error, "stderr", None) or getattr(error, "output", None) or str(error)
    text = said.decode() if isinstance(said, bytes) else str(said)
    return last_line(text)
