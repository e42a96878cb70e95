"""Workers that share studies: each runs the next trial of a study that still needs trials."""

from __future__ import annotations

import errno
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from bench.launch.base import LEAVE_SECONDS, POLL_SECONDS
from bench.launch.follow import asked_to_stop
from bench.launch.local import stop
from bench.spec import devices
from bench.spec.case import Split
from bench.spec.config import Cell
from bench.spec.processes import end_with_launcher
from bench.store.layout import last_line
from bench.tuning.study import (
    Study,
    TrialFailedError,
    TrialStoppedError,
    counts,
    fail_dead_trials,
    os_errors_of,
)

NEEDS = (
    "bench.tuning.trial",
    "optuna.storages",
    "alembic.command",
    "sqlalchemy.orm",
    "sqlalchemy.dialects.sqlite",
)
"""Modules that multiprocessing's server loads once, so that no worker loads them again.

Optuna imports those of the database only when a storage is opened.
"""
WAIT_SECONDS = 0.5
"""Seconds between two looks of a worker at the trials that other workers are running."""
DEATHS = 5
"""Number of workers that may die before the whole command is given up."""


@dataclass(frozen=True)
class TrialEnded:
    """A trial that ended and counts."""

    study: str
    """Name of the study."""
    number: int
    """Number of the trial in its study, from 0."""
    state: str
    """Name of Optuna's `TrialState`."""
    value: float | None
    """Mean Dice over the validation patients; None if the trial failed."""
    values: Mapping[str, object]
    """The options that the trial tried."""
    why: str
    """Why the trial failed; empty if it did not."""
    finished: int
    """Number of trials of the study that count, this one included."""


class Worker(NamedTuple):
    """A process that works on studies, and its device."""

    process: BaseProcess
    place: str


@dataclass(frozen=True)
class MachineFailed:
    """The machine has failed, such as its disk: no worker can go on."""

    why: str


def work(
    cells: Sequence[str],
    splits: Sequence[Split],
    storage: str,
    trials: int,
    device: str,
    say: Connection,
) -> None:
    """Work on studies in this process, in the given order, until each has its trials.

    Args:
        cells: The cells of the studies, as JSON.
        splits: The split of each cell.
        storage: Address of the database that holds the studies.
        trials: Number of trials of each study.
        device: A PyTorch device.
        say: Is sent a `TrialEnded` for each trial that counts, and `MachineFailed` if no
            worker can go on.
    """
    asked: list[int] = []  # not empty once this process was asked to stop
    end_with_launcher()  # which is `bench tune`
    # Ctrl-C and a closed terminal reach all processes at once; the parent then asks each worker to
    # stop by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    try:
        with os_errors_of(storage):
            for cell, split in zip(map(Cell.from_json, cells), splits, strict=True):
                _study(Study(cell, storage), split, trials, device, say, lambda: bool(asked))
                if asked:
                    return
    except OSError as error:  # the machine has failed, and would fail again
        with suppress(OSError):  # the parent may be gone
            say.send(MachineFailed(str(error.strerror or error)))


def _study(
    study: Study,
    split: Split,
    trials: int,
    device: str,
    say: Connection,
    stopped: Callable[[], bool],
) -> None:
    """Run trials of one study until it has all; replace those that dead workers left unfinished."""
    import optuna
    from optuna.trial import TrialState

    from bench.tuning import trial as trial_module

    opened = study.open()

    def objective(trial: optuna.Trial) -> float:
        """Run a trial for Optuna; an error of its options makes it a failed trial, with a why."""
        study.claim_place(opened, trial, trials)
        opened.sampler = study.sampler(trial.number)  # its seed depends on the trial's number
        try:
            return trial_module.run(study, trial, split, device, stopped)
        except (OSError, MemoryError):
            # The machine has failed, not the options: the trial does not count.
            raise
        except (FloatingPointError, RuntimeError, ValueError) as error:
            trial.set_user_attr("why", last_line(f"{type(error).__name__}: {error}"))
            raise TrialFailedError from error

    def tell_ended(opened: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if counts(trial):
            say.send(
                TrialEnded(
                    study.name,
                    trial.number,
                    trial.state.name,
                    trial.value,
                    trial.params,
                    trial.user_attrs.get("why", ""),
                    study.finished(opened),
                )
            )

    first_seen: dict[int, float] = {}
    while not stopped() and study.finished(opened) < trials:
        fail_dead_trials(opened, first_seen)
        running = len(opened.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        if study.finished(opened) + running >= trials:
            # The running trials are enough, unless their workers die.
            time.sleep(WAIT_SECONDS)
            continue
        study.enqueue_defaults(opened)
        opened.optimize(
            objective,
            n_trials=1,
            callbacks=[tell_ended],
            gc_after_trial=True,  # the trial's network is freed before the next one is built
            catch=(TrialFailedError, TrialStoppedError),
        )


def run(
    cells: Sequence[Cell],
    splits: Sequence[Split],
    storage: str,
    trials: int,
    jobs: int,
    device: str,
    on_trial: Callable[[TrialEnded], None],
    on_death: Callable[[int], None],
) -> None:
    """Run workers on this machine until every study has its trials.

    Args:
        cells: The cells of the studies.
        splits: The split of each cell.
        storage: Address of the database that holds the studies.
        trials: Number of trials of each study.
        jobs: Number of workers.
        device: A PyTorch device; with `cuda`, the workers are spread over all GPUs.
        on_trial: Is called with each trial that counts.
        on_death: Is called with the exit code of each worker that died; another replaces it on the
            same device.

    Raises:
        OSError: The machine has failed, or more than `DEATHS` workers have died.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP arrived; trials that count are kept.
    """
    context = multiprocessing.get_context("forkserver")
    running: dict[Connection, Worker] = {}
    places = devices.all_of(device)
    deaths = 0

    def start(place: str, number: int) -> None:
        """Start a worker on a device; `number` decides with which study it begins."""
        hear, say = context.Pipe(duplex=False)
        # Each worker begins with another study, so that they do not all compete for one. This also
        # holds for the worker that replaces a dead one: the study may be what it died of.
        first = number % len(cells)
        order = [*range(first, len(cells)), *range(first)]
        arguments = (
            [cells[i].to_json() for i in order],
            [splits[i] for i in order],
            storage,
            trials,
            place,
            say,
        )
        process = context.Process(target=work, args=arguments)
        process.start()
        say.close()  # the worker has the other copy; when it ends, `hear` raises EOFError
        running[hear] = Worker(process, place)

    with asked_to_stop() as asked:
        try:
            for number in range(min(jobs, len(cells) * trials)):
                start(places[number % len(places)], number)
            while running:
                if asked:
                    raise KeyboardInterrupt
                for hear in wait(list(running), timeout=POLL_SECONDS):
                    assert isinstance(hear, Connection)  # `wait` may also return sockets
                    try:
                        heard = hear.recv()
                        if isinstance(heard, MachineFailed):
                            raise OSError(errno.EIO, f"tuning has stopped: {heard.why}")
                        on_trial(heard)
                    except EOFError:  # the worker has ended
                        process, place = running.pop(hear)
                        process.join(LEAVE_SECONDS)  # it has an exit code only after it was joined
                        if process.exitcode:
                            deaths += 1
                            on_death(process.exitcode)
                            if deaths > DEATHS:
                                raise OSError(
                                    errno.EIO,
                                    f"tuning has stopped: {deaths} workers died, the last with "
                                    f"exit code {process.exitcode}",
                                ) from None
                            start(place, deaths)
        finally:
            stop([worker.process for worker in running.values()])
