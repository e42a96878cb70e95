"""Cells on a Slurm cluster, through submitit: one array, a task a cell, each run as the local launcher would."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.launch import remote
from bench.launch.base import Ended, Watch
from bench.launch.remote import stoppable
from bench.spec import registry
from bench.spec.capabilities import TrainsItself
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.store.store import Store, last_line

if TYPE_CHECKING:
    import submitit

ARRAY = 1000
"""Tasks of an array at most; Slurm's own limit is 1,001 where nobody changed it."""
MINUTES = 240
"""Time of a task where nothing is said; one that needs longer is queued again, and goes on.

Not so a method that trains itself: it has no checkpoints, and would begin anew for ever.
"""


@dataclass(frozen=True)
class Task:
    """What an array's task does."""

    cell_json: str
    root: str
    device: str
    timeout: float | None

    def __call__(self) -> None:
        """Run the cell."""
        remote.attempt(self.cell_json, self.root, self.device, self.timeout)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Have the cell write its checkpoint, before Slurm takes the node away; what is queued again goes on."""
        import submitit

        from bench.launch import local

        local.stop(multiprocessing.active_children())
        return submitit.helpers.DelayedSubmission(self)


def run(
    cells: Sequence[Cell],
    store: Store,
    jobs: int | None,
    device: str,
    watch: Watch,
    ended: Ended,
    timeout: float | None,
    options: Mapping[str, str],
) -> None:
    """Run cells as tasks of an array; siblings of a failed one go on, pre-empted ones are queued again.

    Args:
        cells: What is still to do; they start in this order.
        store: Where results go, on a disk that all nodes share.
        jobs: Tasks at once; None leaves it to Slurm.
        device: A PyTorch device; with cuda, a task asks for one GPU.
        watch: Shows the state.
        ended: Is told of each cell.
        timeout: Seconds without a sign of progress after which a cell is killed.
        options: Of sbatch, by their long names: `partition`, `account`, `time` (minutes).

    Raises:
        UsageError: submitit or Slurm is not there, or Slurm refuses the array.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the tasks were cancelled, and left checkpoints.
    """
    folder = store.root / "slurm"
    executors = {
        own: _executor(
            folder, cells[0].profile.threads, jobs, device, options, timeouts=0 if own else 10**6
        )
        for own in (False, True)
    }
    names: dict[str, str] = {}  # a cell's hash -> its task, as squeue calls it

    def submit(some: Sequence[Cell]) -> None:
        groups = {
            own: [cell for cell in some if isinstance(registry.of_cell(cell), TrainsItself) is own]
            for own in executors
        }
        arrays = [
            (own, group[i : i + ARRAY])
            for own, group in groups.items()
            for i in range(0, len(group), ARRAY)
        ]
        for own, part in arrays:
            executor = executors[own]
            try:
                with executor.batch():
                    tasks = [
                        executor.submit(
                            Task(cell.to_json(), str(store.root.resolve()), device, timeout)
                        )
                        for cell in part
                    ]
            except Exception as error:  # submitit hands on sbatch's words in several classes
                _cancel(names)
                raise UsageError(
                    f"Slurm refused the cells: {_last(error)}; see sinfo, and --slurm"
                ) from error
            names.update({cell.hash: task.job_id for cell, task in zip(part, tasks, strict=True)})

    def gone() -> dict[str, str]:
        queued = _queued(names)
        return {
            name: f"see {folder}"
            for name, task in names.items()
            if queued is not None and task not in queued
        }

    try:
        with stoppable():
            submit(cells)
            remote.follow(cells, store, gone, submit, watch, ended)
    except BaseException:
        _cancel(names)  # their cells write checkpoints
        raise


def _executor(
    folder: Path,
    threads: int,
    jobs: int | None,
    device: str,
    options: Mapping[str, str],
    timeouts: int,
) -> submitit.SlurmExecutor:
    """Return submitit's executor for tasks that each ask for a cell's threads, and for one GPU with cuda.

    One that has used up its time is queued again so many times; one that Slurm takes back, always.
    """
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "--launcher slurm needs submitit: pip install 'verdiff-bench[slurm]'"
        ) from None
    if not shutil.which("sbatch"):
        raise UsageError(
            "--launcher slurm: there is no sbatch here; run it on a login node of the cluster"
        )
    asked = {key.replace("_", "-"): value for key, value in options.items()}
    minutes = asked.pop("time", str(MINUTES))
    if not minutes.isdecimal() or int(minutes) < 1:
        raise UsageError(
            f"--slurm time={minutes}: expected whole minutes, for example time={MINUTES}"
        )
    executor = submitit.SlurmExecutor(folder=folder / "%j", max_num_timeout=timeouts)
    executor.update_parameters(
        job_name="bench",
        time=int(minutes),
        cpus_per_task=threads,
        array_parallelism=jobs or ARRAY,
        stderr_to_stdout=True,
        additional_parameters={
            "requeue": True,
            **({"gpus-per-task": 1} if device.startswith("cuda") else {}),
            **asked,
        },
    )
    return executor


def _queued(names: Mapping[str, str]) -> set[str] | None:
    """Return the tasks that Slurm still has, waiting or running; None where it does not answer."""
    arrays = ",".join(sorted({task.split("_")[0] for task in names.values()}))
    done = subprocess.run(
        ["squeue", "-h", "-r", "-o", "%i", "-j", arrays],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return set(done.stdout.split())


def _cancel(names: Mapping[str, str]) -> None:
    if left := _queued(names) if names else None:
        subprocess.run(
            ["scancel", *sorted({task.split("_")[0] for task in left})],
            capture_output=True,
            check=False,
        )


def _last(error: Exception) -> str:
    """Return the last line that says something of what sbatch printed."""
    said = getattr(error, "stderr", None) or getattr(error, "output", None) or str(error)
    return last_line(said.decode() if isinstance(said, bytes) else str(said))
