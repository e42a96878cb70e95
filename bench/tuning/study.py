"""Studies: what options suit a method on a dataset, by its validation patients alone.

A study belongs to one cell: profile, dataset, method, fold and the fold's split. So in
cross-validation each fold is tuned on its own: only the validation patients of a fold choose the
options that are used in this fold, and they are never its test patients.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.spec import plain, registry
from bench.spec.capabilities import highest_lr
from bench.spec.config import SEED, Cell
from bench.spec.errors import UsageError
from bench.spec.secrets import hidden, redacted
from bench.spec.space import Between
from bench.store.cells import Store

if TYPE_CHECKING:
    import optuna

BEAT_SECONDS = 20
"""Seconds between two heartbeats of a trial, by which its worker shows that it is alive."""
STALE_SECONDS = 60
"""Seconds without a heartbeat after which a trial's worker is considered dead: three beats."""
FULL = re.compile("disk is full|disk I/O error|No space left", re.IGNORECASE)
"""What the message of a database holds where its disk has no room."""
BEGUN = "begun"
"""Name of the attribute that a trial gets at its first heartbeat."""
CONNECT_TRIES = 4
"""How often to try to open a storage, a second apart, while another process creates its tables."""
STARTUP = 5
"""Number of trials that must have finished before Optuna uses what they show.

Until then the pruner stops no trial early, and the sampler chooses options at random.
"""
TUNED = "tuned=on"
"""The option that asks for tuned options in the name of a method."""


class TrialStoppedError(Exception):
    """A trial ended without a result and does not count.

    Its worker was told to stop, or other workers have taken all trials of the study.
    """


class TrialFailedError(Exception):
    """A trial failed because of its own options; it counts, and its attribute `why` says why."""


@dataclass(frozen=True)
class Study:
    """The trials that look for the best options of one cell's method."""

    cell: Cell
    """The cell with the method's default options; for `best`, the cell that is to be tuned."""
    storage: str
    """Address of a database, in the form that Optuna accepts."""

    @property
    def name(self) -> str:
        """The study's name in the storage; what follows the profile is the folder of its plots."""
        cell = self.cell
        place = (cell.dataset.id.folder, cell.method.folder, cell.label.of_any_seed)
        return "/".join([cell.profile.name, *place])

    def open(self) -> optuna.Study:
        """Return Optuna's study, new or as it stands.

        Raises:
            UsageError: The study in the storage was made with another search space, profile, split,
                default options or protocol; or the storage does not answer.
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
        wanted = self._identity()
        stored = study.user_attrs.get("identity")
        if stored is None:
            study.set_user_attr("identity", wanted)
            return study
        changed_keys = [key for key in wanted if stored.get(key) != wanted[key]]
        if changed_keys:
            raise UsageError(
                f"the study {self.name} in {hidden(self.storage)} was made with another "
                f"{' and '.join(changed_keys)}; choose another --storage or another --out"
            )
        return study

    def _has_trials(self) -> bool:
        """Return whether the storage has at least one trial of this study."""
        storage = connect(self.storage)
        try:
            study_id = storage.get_study_id_from_name(self.name)
        except KeyError:
            return False
        return bool(storage.get_all_trials(study_id, deepcopy=False))

    def _identity(self) -> dict[str, Any]:
        """Return what all trials of one study must have in common."""
        spec = self.cell.spec()
        ranges = {}
        for name, values in space(self.cell).items():
            ranges[name] = asdict(values) if isinstance(values, Between) else list(values)
        identity = {
            "search space": json.loads(plain.canonical(ranges)),
            "profile": spec["profile"],
            "split": spec["split"],
            "default options": spec["options"],
            "protocol": spec["protocol"],
        }
        if "augmentation" in spec["profile"]:  # without the key it is the paper's
            identity["augmentation"] = spec["profile"]["augmentation"]
        if self.cell.source:  # older studies do not have the key
            identity["source of the method"] = self.cell.source
        return identity

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return the sampler that chooses the options of the trial with this number.

        Each trial has a sampler with its own seed. If the workers shared one seed, each worker
        would draw the same options as all others.
        """
        import optuna

        seed_digits = plain.content_hash([SEED, self.name, number])[:8]  # hexadecimal: 32 bits
        # With constant_liar the sampler counts a running trial as a bad one, so that workers which
        # run at the same time do not all try nearly the same options.
        return optuna.samplers.TPESampler(
            seed=int(seed_digits, 16), n_startup_trials=STARTUP, constant_liar=True
        )

    def enqueue_defaults(self, study: optuna.Study) -> None:
        """Enqueue a trial with the method's defaults, unless the study already has one.

        So the best trial is at least as good as the defaults on the validation patients.
        """
        for trial in study.get_trials(deepcopy=False):
            # WAITING: the trial is enqueued, and no worker has taken it yet.
            under_way = trial.state.name in ("RUNNING", "WAITING")
            if is_default(trial) and (counts(trial) or under_way):
                return
        study.enqueue_trial(defaults(self.cell))

    def claim_place(self, study: optuna.Study, trial: optuna.Trial, trials: int) -> None:
        """Give a trial one of the places of its study, or refuse it.

        The trials with the lowest numbers have the places; the database gives the numbers. Optuna's
        `MaxTrialsCallback` cannot do this: it counts only trials that have ended, so several
        workers together would run too many.

        Args:
            study: Optuna's study.
            trial: The trial that is to begin.
            trials: Number of places.

        Raises:
            TrialStoppedError: Trials with lower numbers have all places, or this trial and one with
                a lower number both have the method's defaults.
        """
        storage = connect(self.storage)
        study_id = storage.get_study_id_from_name(self.name)
        # Optuna sends its own first heartbeat a moment later. If this worker died before that,
        # Optuna would never consider the trial dead, and the trial would keep its place for ever.
        storage.record_heartbeat(
            storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        )
        trial.set_user_attr(BEGUN, True)
        all_trials = study.get_trials(deepcopy=False)
        this_trial = next(other for other in all_trials if other.number == trial.number)
        earlier = []
        for other in all_trials:
            # A WAITING trial has no place: no worker has taken it yet.
            has_place = counts(other) or other.state.name == "RUNNING"
            if other.number < trial.number and has_place:
                earlier.append(other)
        all_taken = len(earlier) >= trials
        repeats_defaults = is_default(this_trial) and any(is_default(other) for other in earlier)
        if all_taken or repeats_defaults:
            raise TrialStoppedError("others have taken all trials, or the defaults")

    def finished(self, study: optuna.Study) -> int:
        """Return how many trials count."""
        return sum(counts(trial) for trial in study.get_trials(deepcopy=False))

    def best(self) -> Cell:
        """Return the cell with the options of the best trial, and how they were found.

        Raises:
            UsageError: The storage has no trials of the study, or too few of them have finished.
        """
        from optuna.trial import TrialState

        # `self.cell` asks for tuned options. The trials were made under the name of the same cell
        # without tuning, so the study of that cell is the one to read.
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
        if not study._has_trials():
            raise UsageError(f"{method} was not tuned on {dataset} ({study.name}); {command}")
        opened = study.open()
        done, wanted = study.finished(opened), opened.user_attrs.get("trials", 0)
        complete = opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if done < wanted or not complete:
            raise UsageError(
                f"the study {study.name} has {done} of {wanted} trials, "
                f"{len(complete)} complete; {command}"
            )
        chosen = opened.best_trial.params
        tuning = {
            "trials": done,
            "steps": untuned.profile.steps,
            "values": chosen,
            "dice": opened.best_value,
        }
        return replace(self.cell, options={**self.cell.options, **chosen}, tuning=tuning)


@cache
def connect(storage: str) -> optuna.storages.RDBStorage:
    """Return the storage at an address; within a process, the same address gives the same object.

    Raises:
        UsageError: The driver of the database is not installed, or the storage does not answer.
    """
    import optuna

    # Optuna warns that heartbeats are experimental.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # A database server may close a connection while a trial trains for hours. With pool_pre_ping
    # SQLAlchemy tests a connection before each use and opens a new one if needed.
    engine_options: dict[str, Any] = {"pool_pre_ping": True}
    if storage.startswith("sqlite"):
        # Seconds to wait while another worker has the file locked; 5, the default, are too few for
        # many workers.
        engine_options = {"connect_args": {"timeout": 60}}
        _touch(storage)
    try:
        return _connect(storage, engine_options)
    except ImportError as error:
        raise UsageError(
            f"--storage {hidden(storage)}: {error}; install the driver, "
            "for PostgreSQL: pip install psycopg2-binary"
        ) from error
    except Exception as error:  # each database driver raises exception classes of its own
        why = _why(error, storage)
        if FULL.search(why):
            raise _unusable(storage, why) from error
        raise UsageError(
            f"--storage {hidden(storage)} does not answer ({why}); expected an address "
            "such as sqlite:///tuning.db or postgresql://user@host/name"
        ) from error


def _touch(storage: str) -> None:
    """Make the file of a new SQLite database, because SQLite gives no group the right to write."""
    path = storage.removeprefix("sqlite:///")
    if path != storage and path and path != ":memory:":
        with suppress(OSError):  # what is wrong is told when it is opened
            Path(path).touch()


@contextmanager
def os_errors_of(storage: str) -> Iterator[None]:
    """Turn what a database raises in the middle of work, such as on a full disk, into an OSError.

    Raises:
        OSError: The database cannot be used any more; one line without a password says why.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise _unusable(storage, _why(error, storage)) from error


def _unusable(storage: str, why: str) -> OSError:
    """Return the error that says that a database cannot be used any more."""
    return OSError(errno.EIO, f"the studies in {hidden(storage)} cannot be used ({why})")


def _why(error: BaseException, storage: str) -> str:
    """Return the first line of what a driver said first, without the address's password."""
    while error.__cause__:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return redacted(lines[0], storage)


def _connect(storage: str, engine_options: dict[str, Any]) -> optuna.storages.RDBStorage:
    """Return a storage; try again while another process creates the tables of the same database.

    Args:
        storage: Address of a database.
        engine_options: Keyword arguments of `sqlalchemy.create_engine`.
    """
    import optuna
    from sqlalchemy.exc import DatabaseError, IntegrityError

    for tries_left in reversed(range(CONNECT_TRIES)):
        try:
            return optuna.storages.RDBStorage(
                storage,
                engine_kwargs=engine_options,
                heartbeat_interval=BEAT_SECONDS,
                grace_period=STALE_SECONDS,
            )
        except DatabaseError as error:
            created_by_other = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not created_by_other or not tries_left:
                raise
            time.sleep(1)
    raise AssertionError("the last try returns or raises")


def default_storage(store: Store, profile: str) -> str:
    """Return the address of the SQLite file beside a profile's results."""
    return f"sqlite:///{store.layout.profile(profile).studies.resolve()}"


def counts(trial: Any) -> bool:
    """Return whether a trial counts: it is complete, was pruned, or failed by its own options.

    The trial of a worker that was killed or told to stop does not count.
    """
    if trial.state.name == "FAIL":
        return "why" in trial.user_attrs
    return trial.state.name in ("COMPLETE", "PRUNED")


def space(cell: Cell) -> dict[str, Between | tuple[Any, ...]]:
    """Return the values that the sampler may choose from for each tuned option, by its name.

    A range is widened where necessary, so that it holds the method's default.
    """
    usual = defaults(cell)
    widened: dict[str, Between | tuple[Any, ...]] = {}
    for name, allowed in registry.of_cell(cell).space.items():
        widened[name] = allowed
        if isinstance(allowed, Between):
            low, high = min(allowed.low, usual[name]), max(allowed.high, usual[name])
            widened[name] = replace(allowed, low=low, high=high)
    return widened


def suggest(trial: optuna.Trial, cell: Cell) -> dict[str, Any]:
    """Return the options that a trial is to try."""
    options: dict[str, Any] = {}
    for name, allowed in space(cell).items():
        if isinstance(allowed, Between):
            options[name] = trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)
        else:
            options[name] = trial.suggest_categorical(name, allowed)
    return options


def is_default(trial: Any) -> bool:
    """Return whether a trial was enqueued with the method's defaults.

    Optuna's `enqueue_trial`, which only `Study.enqueue_defaults` calls, keeps the given options in
    the system attribute `fixed_params`. Optuna has no public function that tells such a trial.
    """
    return "fixed_params" in trial.system_attrs


def fail_dead_trials(study: optuna.Study, since: dict[int, float]) -> None:
    """Mark the trials of dead workers as failed: their heartbeat stopped, or they never began.

    Args:
        study: The study of the trials.
        since: For the number of each running trial without a heartbeat, the time at which the
            caller first saw the trial. This function fills it; pass the same dictionary each time.
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
    """Return the value that each tuned option has without tuning, by the option's name."""
    method = registry.of_cell(cell)
    usual = {name: getattr(method, name) for name in method.space}
    if "lr" in usual:
        usual["lr"] = highest_lr(method, cell.profile.lr)
    return usual
