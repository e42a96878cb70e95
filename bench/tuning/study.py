"""Studies: what options suit a method on a dataset, by its validation patients alone.

A study belongs to a cell: profile, dataset, method, fold and its split. So cross-validation tunes
within each fold, and no test patient of one fold is a validation patient who chose the options of
another.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.spec import plain, registry
from bench.spec.capabilities import highest_lr
from bench.spec.config import SEED, Cell
from bench.spec.errors import UsageError
from bench.spec.space import Between
from bench.store.cells import Store

if TYPE_CHECKING:
    import optuna

BEAT_SECONDS, STALE_SECONDS = 20, 60
"""How often a trial shows that it lives, and when one that does not is considered dead."""
BEGUN = "begun"
"""A trial's attribute once it has shown that it lives."""
STARTUP = 5
"""Finished trials before the median stops one early; and random ones before the sampler models."""
TUNED = "tuned=on"


class StoppedError(Exception):
    """A trial that does not count: its worker was told to stop, or all trials were taken."""


class FailedError(Exception):
    """A trial whose options do not train: it counts, and says why."""


@dataclass(frozen=True)
class Study:
    """The trials of one cell's method."""

    cell: Cell
    """The cell untuned."""
    storage: str
    """An address of a database, as Optuna takes it."""

    @property
    def name(self) -> str:
        """The study's name in the storage; its last part is where its plots lie."""
        cell = self.cell
        place = (cell.dataset.id.folder, cell.method.folder, cell.label.of_any_seed)
        return "/".join([cell.profile.name, *place])

    def open(self) -> optuna.Study:
        """Return Optuna's study, new or as it stands.

        Raises:
            UsageError: It is of another search space or protocol; or the storage does not answer.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("optuna").setLevel(logging.ERROR)
        study = optuna.create_study(
            storage=connect(self.storage),
            study_name=self.name,
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
        )
        here = self._identity()
        known = study.user_attrs.get("identity")
        if known is None:
            study.set_user_attr("identity", here)
            return study
        differs = [key for key in here if known.get(key) != here[key]]
        if differs:
            raise UsageError(
                f"the study {self.name} in {hidden(self.storage)} was made with another "
                f"{' and '.join(differs)}; choose another --storage or another --out"
            )
        return study

    def _exists(self) -> bool:
        """Return whether the storage has any trial of the study."""
        storage = connect(self.storage)
        try:
            number = storage.get_study_id_from_name(self.name)
        except KeyError:
            return False
        return bool(storage.get_all_trials(number, deepcopy=False))

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for trials to be of one study."""
        spec = self.cell.spec()
        ranges = {}
        for name, values in space(self.cell).items():
            ranges[name] = asdict(values) if isinstance(values, Between) else list(values)
        return {
            "search space": json.loads(plain.canonical(ranges)),
            "profile": spec["profile"],
            "split": spec["split"],
            "default options": spec["options"],
            "protocol": spec["protocol"],
        }

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return what chooses a trial's options: by its number, so that no two draw the same."""
        import optuna

        seed = int(plain.content_hash([SEED, self.name, number])[:8], 16)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True)

    def begin(self, study: optuna.Study) -> None:
        """Have the next trial be the method's defaults, unless one was or is.

        So tuning never does worse than the defaults by chance.
        """
        for trial in study.get_trials(deepcopy=False):
            if is_default(trial) and (counts(trial) or trial.state.name in ("RUNNING", "WAITING")):
                return
        study.enqueue_trial(defaults(self.cell))

    def claim(self, study: optuna.Study, trial: optuna.Trial, trials: int) -> None:
        """Take a place among a study's trials by the trial's number, which the database gives.

        Optuna's `MaxTrialsCallback` counts trials that have ended, so several workers together
        would run too many.

        Raises:
            StoppedError: Those before it have taken all, or it has the method's defaults, and so
                has one before it.
        """
        storage = connect(self.storage)
        number = storage.get_study_id_from_name(self.name)
        # Optuna's own heartbeat comes a moment later, when this worker could be dead already.
        storage.record_heartbeat(
            storage.get_trial_id_from_study_id_trial_number(number, trial.number)
        )
        trial.set_user_attr(BEGUN, True)
        known = study.get_trials(deepcopy=False)
        mine = next(other for other in known if other.number == trial.number)
        before = []
        for other in known:
            if other.number < trial.number and (counts(other) or other.state.name == "RUNNING"):
                before.append(other)
        if len(before) >= trials or (is_default(mine) and any(map(is_default, before))):
            raise StoppedError("others have taken all trials, or the defaults")

    def finished(self, study: optuna.Study) -> int:
        """Return how many trials count."""
        return sum(counts(trial) for trial in study.get_trials(deepcopy=False))

    def best(self) -> Cell:
        """Return the tuned cell: the options of the best trial, and how they were found.

        Raises:
            UsageError: There is no such study, or it is not finished.
        """
        from optuna.trial import TrialState

        untuned = replace(
            self.cell,
            method=self.cell.method.without(TUNED),
            options={**self.cell.options, "tuned": False},
        )
        study = Study(untuned, self.storage)
        method, dataset = untuned.method, untuned.dataset.id.name
        command = (
            f"bench tune --methods {method} --datasets {dataset} "
            "(with the data, profile, folds and --out of this run)"
        )
        if not study._exists():
            raise UsageError(f"{method} was not tuned on {dataset} ({study.name}); {command}")
        opened = study.open()
        done, wanted = study.finished(opened), opened.user_attrs.get("trials", 0)
        complete = opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if done < wanted or not complete:
            raise UsageError(
                f"the study {study.name} has {done} of {wanted} trials, "
                f"{len(complete)} complete; {command}"
            )
        values = opened.best_trial.params
        tuning = {
            "trials": done,
            "steps": untuned.profile.steps,
            "values": values,
            "dice": opened.best_value,
        }
        return replace(self.cell, options={**self.cell.options, **values}, tuning=tuning)


@cache
def connect(storage: str) -> optuna.storages.RDBStorage:
    """Return a storage by its address, the same whenever this process asks.

    Raises:
        UsageError: Its driver is not installed, or it does not answer.
    """
    import optuna

    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if storage.startswith("sqlite"):
        engine = {"connect_args": {"timeout": 60}}
    try:
        return _connect(storage, engine)
    except ImportError as error:
        raise UsageError(
            f"--storage {hidden(storage)}: {error}; install the driver, "
            "for PostgreSQL: pip install psycopg2-binary"
        ) from error
    except Exception as error:  # SQLAlchemy's classes, of which each driver has its own
        said = str(error).strip().splitlines()[0]
        raise UsageError(
            f"--storage {hidden(storage)} does not answer ({said}); expected an address such as "
            "sqlite:///tuning.db or postgresql://user@host/name"
        ) from error


def _connect(storage: str, engine: dict[str, Any]) -> optuna.storages.RDBStorage:
    """Return a storage; try again while another process makes the same tables."""
    import optuna
    from sqlalchemy.exc import DatabaseError, IntegrityError

    tries = 4
    while True:
        tries -= 1
        try:
            return optuna.storages.RDBStorage(
                storage,
                engine_kwargs=engine,
                heartbeat_interval=BEAT_SECONDS,
                grace_period=STALE_SECONDS,
            )
        except DatabaseError as error:
            another = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not another or not tries:
                raise
            time.sleep(1)


def default_storage(store: Store, profile: str) -> str:
    """Return the address of the SQLite file beside a profile's results."""
    return f"sqlite:///{store.layout.profile(profile).studies.resolve()}"


def counts(trial: Any) -> bool:
    """Return whether a trial counts: complete, stopped early, or failed by its own options.

    A worker that was killed, or told to stop, leaves no trial that counts.
    """
    if trial.state.name == "FAIL":
        return "why" in trial.user_attrs
    return trial.state.name in ("COMPLETE", "PRUNED")


def space(cell: Cell) -> dict[str, Between | tuple[Any, ...]]:
    """Return what may be chosen for a cell's method; ranges are widened to hold its defaults."""
    usual = defaults(cell)
    widened: dict[str, Between | tuple[Any, ...]] = {}
    for name, values in registry.of_cell(cell).space.items():
        if isinstance(values, Between):
            low, high = min(values.low, usual[name]), max(values.high, usual[name])
            values = replace(values, low=low, high=high)
        widened[name] = values
    return widened


def suggest(trial: optuna.Trial, cell: Cell) -> dict[str, Any]:
    """Return the options that a trial is to try."""
    options: dict[str, Any] = {}
    for name, values in space(cell).items():
        if isinstance(values, Between):
            options[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        else:
            options[name] = trial.suggest_categorical(name, values)
    return options


def is_default(trial: Any) -> bool:
    """Return whether a trial was given the method's defaults."""
    return "fixed_params" in trial.system_attrs


def bury(study: optuna.Study, since: dict[int, float]) -> None:
    """Fail the trials of dead workers: their heartbeat stopped, or they never began.

    Args:
        study: What they belong to.
        since: When the caller first saw a trial that nobody had begun, by its number; kept between
            calls.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.storages.fail_stale_trials(study)
    now = time.monotonic()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if BEGUN in trial.user_attrs:
            continue
        if now - since.setdefault(trial.number, now) > STALE_SECONDS:
            with suppress(ValueError):  # another worker was quicker
                study.tell(trial.number, state=TrialState.FAIL)


def defaults(cell: Cell) -> dict[str, Any]:
    """Return the options that the method has without tuning, of those that may be chosen."""
    method = registry.of_cell(cell)
    usual = {name: getattr(method, name) for name in method.space}
    if "lr" in usual:
        usual["lr"] = highest_lr(method, cell.profile.lr)
    return usual


def hidden(storage: str) -> str:
    """Return a storage's address without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(storage).render_as_string(hide_password=True)
    except ArgumentError:
        return storage
