"""Studies: what options suit a method on a dataset, by its validation patients alone. No torch here.

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

from bench.spec import registry
from bench.spec.capabilities import highest_lr
from bench.spec.config import SEED, Cell, canonical, content_hash
from bench.spec.errors import UsageError
from bench.spec.method import Between
from bench.store.store import Store

if TYPE_CHECKING:
    import optuna

BEAT_SECONDS, STALE_SECONDS = 20, 60
"""How often a trial shows that it lives, and after how long one that does not is taken for dead."""
BEGUN = "begun"
"""A trial's attribute once it has shown that it lives."""
STARTUP = 5
"""Finished trials before the median stops one early; and random ones before the sampler models."""


class StoppedError(Exception):
    """A trial that does not count: its worker was told to stop, or all trials were taken already."""


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
        """What it is called in the storage, and where its plots lie."""
        fold = self.cell.label.replace(f"-s{self.cell.seed}", "", 1)  # whatever the seed
        return f"{self.cell.profile.name}/{self.cell.dataset.slug}/{self.cell.method.replace(':', ',')}/{fold}"

    def open(self) -> optuna.Study:
        """Return Optuna's study, new or as it stands.

        Raises:
            UsageError: It is of another search space or protocol; or the storage does not answer.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("optuna").setLevel(logging.ERROR)
        storage = connect(self.storage)
        study = optuna.create_study(
            storage=storage,
            study_name=self.name,
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
        )
        here = self._identity()
        found = study.user_attrs.get("identity")
        if found is None:
            study.set_user_attr("identity", here)
        elif differs := [key for key in here if found.get(key) != here[key]]:
            where, what = hidden(self.storage), " and ".join(differs)
            raise UsageError(
                f"the study {self.name} in {where} was made with another {what}; choose another"
                " --storage or another --out"
            )
        return study

    def _trials(self, storage: optuna.storages.BaseStorage) -> list[Any]:
        try:
            return storage.get_all_trials(storage.get_study_id_from_name(self.name), deepcopy=False)
        except KeyError:
            return []

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for trials to be of one study."""
        spec = self.cell.spec()
        return {
            "search space": json.loads(canonical(plain(self.cell))),
            "profile": spec["profile"],
            "split": spec["split"],
            "default options": spec["options"],
            "protocol": spec["protocol"],
        }

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return what chooses a trial's options: by its number, so that no two workers draw the same."""
        import optuna

        seed = int(content_hash([SEED, self.name, number])[:8], 16)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True)

    def begin(self, study: optuna.Study) -> None:
        """Have the next trial be the method's defaults where none was or is: so tuning never does worse by chance."""
        if not any(
            is_default(trial) and (counts(trial) or trial.state.name in ("RUNNING", "WAITING"))
            for trial in study.get_trials(deepcopy=False)
        ):
            study.enqueue_trial(defaults(self.cell))

    def finished(self, study: optuna.Study) -> int:
        """Return how many trials count: complete, stopped early, or failed for a reason of their own."""
        return sum(counts(trial) for trial in study.get_trials(deepcopy=False))

    def best(self) -> Cell:
        """Return the tuned cell: the options of the best trial, and how they were found.

        Raises:
            UsageError: There is no such study, or it is not finished.
        """
        from optuna.trial import TrialState

        base = replace(
            self.cell,
            method=untuned(self.cell.method),
            options={**self.cell.options, "tuned": False},
        )
        mine = Study(base, self.storage)
        command = (
            f"bench tune --methods {base.method} --datasets {base.dataset.name} (with the data,"
            " profile, folds and --out of this run)"
        )
        if not mine._trials(connect(self.storage)):
            raise UsageError(
                f"{base.method} was not tuned on {base.dataset.name} ({mine.name}); {command}"
            )
        study = mine.open()
        done, wanted = mine.finished(study), study.user_attrs.get("trials", 0)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if done < wanted or not complete:
            raise UsageError(
                f"the study {mine.name} has {done} of {wanted} trials, {len(complete)} complete;"
                f" {command}"
            )
        values = study.best_trial.params
        found = {
            "trials": done,
            "steps": base.profile.steps,
            "values": values,
            "dice": study.best_value,
        }
        return replace(self.cell, options={**self.cell.options, **values}, tuning=found)


@cache
def connect(storage: str) -> optuna.storages.BaseStorage:
    """Return a storage by its address, the same whenever this process asks.

    Raises:
        UsageError: Its driver is not installed, or it does not answer.
    """
    import optuna

    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats
    arguments = (
        {"connect_args": {"timeout": 60}}
        if storage.startswith("sqlite")
        else {"pool_pre_ping": True}
    )
    try:
        return _made(storage, arguments)
    except ImportError as error:
        raise UsageError(
            f"--storage {hidden(storage)}: {error}; install the driver, for PostgreSQL: pip install"
            " psycopg2-binary"
        ) from error
    except Exception as error:  # SQLAlchemy's classes, of which each driver has its own
        said = str(error).strip().splitlines()[0]
        raise UsageError(
            f"--storage {hidden(storage)} does not answer ({said}); expected an address such as "
            "sqlite:///tuning.db or postgresql://user@host/name"
        ) from error


def _made(storage: str, arguments: dict[str, Any]) -> optuna.storages.BaseStorage:
    """Return a storage; its tables are made by whoever comes first, and who comes second at that moment tries again."""
    import optuna
    from sqlalchemy.exc import IntegrityError

    for _ in range(3):
        try:
            return optuna.storages.RDBStorage(
                storage,
                engine_kwargs=arguments,
                heartbeat_interval=BEAT_SECONDS,
                grace_period=STALE_SECONDS,
            )
        except IntegrityError:
            time.sleep(1)
    return optuna.storages.RDBStorage(
        storage,
        engine_kwargs=arguments,
        heartbeat_interval=BEAT_SECONDS,
        grace_period=STALE_SECONDS,
    )


def default_storage(store: Store, profile: str) -> str:
    """Return the address of the SQLite file beside a profile's results."""
    return f"sqlite:///{(store.root / profile / 'tuning.db').resolve()}"


def counts(trial: Any) -> bool:
    """Return whether a trial counts: a worker that was killed, or stopped, leaves none that does."""
    return trial.state.name in ("COMPLETE", "PRUNED") or (
        trial.state.name == "FAIL" and "why" in trial.user_attrs
    )


def space(cell: Cell) -> dict[str, Between | tuple[Any, ...]]:
    """Return what may be chosen for a cell's method; ranges are widened to hold what it has by default."""
    usual = defaults(cell)
    return {
        name: (
            replace(values, low=min(values.low, usual[name]), high=max(values.high, usual[name]))
            if isinstance(values, Between)
            else values
        )
        for name, values in registry.of_cell(cell).space.items()
    }


def suggest(trial: optuna.Trial, cell: Cell) -> dict[str, Any]:
    """Return the options that a trial is to try."""
    return {
        name: (
            trial.suggest_float(name, values.low, values.high, log=values.log)
            if isinstance(values, Between)
            else trial.suggest_categorical(name, values)
        )
        for name, values in space(cell).items()
    }


def plain(cell: Cell) -> dict[str, Any]:
    """Return a search space as plain data."""
    return {
        name: asdict(values) if isinstance(values, Between) else list(values)
        for name, values in space(cell).items()
    }


def untuned(spec: str) -> str:
    """Return a method's spec without `tuned=on`."""
    return ":".join(part for part in spec.split(":") if part != "tuned=on")


def is_default(trial: Any) -> bool:
    """Return whether a trial was given the method's defaults."""
    return "fixed_params" in trial.system_attrs


def bury(study: optuna.Study, since: dict[int, float]) -> None:
    """Fail the trials of dead workers: those whose heartbeat stopped, and those that were taken but never begun.

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
        if (
            BEGUN not in trial.user_attrs
            and now - since.setdefault(trial.number, now) > STALE_SECONDS
        ):
            with suppress(ValueError):  # somebody else was quicker
                study.tell(trial.number, state=TrialState.FAIL)


def claim(study: optuna.Study, trial: optuna.Trial, trials: int) -> None:
    """Take a place among a study's trials by the trial's number, which the database gives.

    Raises:
        StoppedError: Those before it have taken all, or it has the method's defaults, and so has
            one before it.
    """
    number = trial.number
    study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined] # Optuna's own comes a moment later
    trial.set_user_attr(BEGUN, True)
    all_of_them = study.get_trials(deepcopy=False)
    mine = next(trial for trial in all_of_them if trial.number == number)
    before = [
        t for t in all_of_them if t.number < number and (counts(t) or t.state.name == "RUNNING")
    ]
    if len(before) >= trials or (is_default(mine) and any(map(is_default, before))):
        raise StoppedError("others have taken all trials, or the defaults")


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
