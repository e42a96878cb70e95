"""Workers that share studies: each takes the next trial of a study that has not all of its own."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bench.launch.base import LEAVE_SECONDS, POLL_SECONDS
from bench.launch.follow import asked_to_stop
from bench.launch.local import stop
from bench.spec.case import Split
from bench.spec.config import Cell
from bench.store.layout import last_line
from bench.tuning.study import FailedError, StoppedError, Study, bury, counts

WAIT_SECONDS = 2.0
"""How often a worker looks at the trials that others are at work on."""
DEATHS = 5
"""How many workers may die before all is given up."""


@dataclass(frozen=True)
class TrialEnded:
    """A trial that ended."""

    study: str
    number: int
    state: str
    value: float | None
    values: Mapping[str, object]
    why: str
    finished: int


def work(
    cells: Sequence[str],
    splits: Sequence[Split],
    storage: str,
    trials: int,
    device: str,
    say: Connection,
) -> None:
    """Work on studies in this process, in this order, until each has its trials.

    Args:
        cells: The studies' cells.
        splits: Their splits.
        storage: Where the studies are.
        trials: Of each study.
        device: A PyTorch device.
        say: Is sent a `TrialEnded` for each trial.
    """
    asked: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    for cell, split in zip(map(Cell.from_json, cells), splits, strict=True):
        _study(Study(cell, storage), split, trials, device, say, lambda: bool(asked))
        if asked:
            return


def _study(
    study: Study,
    split: Split,
    trials: int,
    device: str,
    say: Connection,
    stopped: Callable[[], bool],
) -> None:
    """Take trials of one study until it has all, also those that a dead worker left unfinished."""
    import optuna
    from optuna.trial import TrialState

    from bench.tuning import trial as one

    opened = study.open()

    def objective(trial: optuna.Trial) -> float:
        study.claim(opened, trial, trials)
        opened.sampler = study.sampler(trial.number)
        try:
            return one.run(study, trial, split, device, stopped)
        except (StoppedError, optuna.TrialPruned):
            raise
        except (OSError, MemoryError):  # the machine's fault, not the options': it does not count
            raise
        except (FloatingPointError, RuntimeError, ValueError) as error:
            trial.set_user_attr("why", last_line(f"{type(error).__name__}: {error}"))
            raise FailedError from error

    def told(opened: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
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

    silent: dict[int, float] = {}
    while not stopped() and study.finished(opened) < trials:
        bury(opened, silent)
        at_work = len(opened.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        if study.finished(opened) + at_work >= trials:
            time.sleep(WAIT_SECONDS)
            continue
        study.begin(opened)
        opened.optimize(
            objective,
            n_trials=1,
            callbacks=[told],
            gc_after_trial=True,
            catch=(FailedError, StoppedError),
        )


def run(
    cells: Sequence[Cell],
    splits: Sequence[Split],
    storage: str,
    trials: int,
    jobs: int,
    device: str,
    told: Callable[[TrialEnded], None],
    died: Callable[[int], None],
) -> None:
    """Run workers on this machine until every study has its trials.

    Args:
        cells: The studies' cells.
        splits: Their splits.
        storage: Where the studies are.
        trials: Of each study.
        jobs: Workers.
        device: A PyTorch device.
        told: Is told of each trial that counts.
        died: Is told of a worker's exit code that ended otherwise than well; another takes its
            place.

    Raises:
        RuntimeError: Workers die again and again.
        KeyboardInterrupt: Ctrl-C or SIGTERM; trials that count are kept.
    """
    context = multiprocessing.get_context("forkserver")
    running: dict[Connection, BaseProcess] = {}
    deaths = 0

    def start(number: int) -> None:
        hear, say = context.Pipe(duplex=False)
        turned = [
            *range(number % len(cells), len(cells)),
            *range(number % len(cells)),
        ]  # each begins elsewhere
        words = (
            [cells[i].to_json() for i in turned],
            [splits[i] for i in turned],
            storage,
            trials,
            device,
            say,
        )
        process: BaseProcess = context.Process(target=work, args=words)
        process.start()
        say.close()
        running[hear] = process

    with asked_to_stop() as asked:
        try:
            for number in range(min(jobs, len(cells) * trials)):
                start(number)
            while running:
                if asked:
                    raise KeyboardInterrupt
                for hear in wait(list(running), timeout=POLL_SECONDS):
                    assert isinstance(hear, Connection)
                    try:
                        told(hear.recv())
                    except EOFError:
                        process = running.pop(hear)
                        process.join(LEAVE_SECONDS)
                        if process.exitcode:
                            deaths += 1
                            died(process.exitcode)
                            if deaths > DEATHS:
                                raise RuntimeError(
                                    f"{deaths} workers died, the last with {process.exitcode}"
                                ) from None
                            start(deaths)
        finally:
            stop(list(running.values()))
