"""Studies: what options suit a method on a dataset, by its validation patients alone. No torch here.

A study belongs to a cell: profile, dataset, method, fold and its split. So cross-validation tunes within each fold, and
no test patient of one fold is a validation patient who chose the options of another.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from bench import registry
from bench.config import SEED, Cell, canonical, content_hash
from bench.errors import UsageError
from bench.method import Between, Method
from bench.store import Store

if TYPE_CHECKING:
    import optuna

BEAT_SECONDS, STALE_SECONDS = 20, 60
"""How often a trial shows that it lives, and after how long one that does not is taken for dead."""
STARTUP = 5
"""Finished trials before the median stops one early; and random ones before the sampler models."""


class StoppedError(Exception):
    """A trial that does not count: its worker was told to stop, or all trials were taken already."""


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
        begun = len(self._trials(storage))
        seed = int(content_hash([SEED, self.name, begun])[:8], 16)
        study = optuna.create_study(
            storage=storage, study_name=self.name, load_if_exists=True, direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
        )  # fmt: skip
        here = self._identity()
        found = study.user_attrs.get("identity")
        if found is None:
            study.set_user_attr("identity", here)
            study.enqueue_trial(_defaults(self.cell), skip_if_exists=True)  # so tuning never does worse by chance
        elif differs := [key for key in here if found.get(key) != here[key]]:
            raise UsageError(f"the study {self.name} in {self.storage} was made with another {' and '.join(differs)}; "
                             "choose another --storage, or another --out")  # fmt: skip
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
            "search space": json.loads(canonical(plain(registry.of_cell(self.cell)))),
            "profile": spec["profile"],
            "split": spec["split"],
            "default options": spec["options"],
            "protocol": spec["protocol"],
        }

    def finished(self, study: optuna.Study) -> int:
        """Return how many trials count: complete, stopped early, or failed for a reason of their own."""
        return sum(counts(trial) for trial in study.get_trials(deepcopy=False))

    def best(self) -> Cell:
        """Return the tuned cell: the options of the best trial, and how they were found.

        Raises:
            UsageError: There is no such study, or it is not finished.
        """
        from optuna.trial import TrialState

        base = replace(self.cell, method=untuned(self.cell.method), options={**self.cell.options, "tuned": False})
        mine = Study(base, self.storage)
        command = f"bench tune --methods {base.method} --datasets {base.dataset.name} (with the data, profile, folds " \
                  "and --out of this run)"  # fmt: skip
        if not mine._trials(connect(self.storage)):
            raise UsageError(f"{base.method} was not tuned on {base.dataset.name} ({mine.name}); {command}")
        study = mine.open()
        done, wanted = mine.finished(study), study.user_attrs.get("trials", 0)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if done < wanted or not complete:
            raise UsageError(
                f"the study {mine.name} has {done} of {wanted} trials, {len(complete)} complete; {command}"
            )
        values = study.best_trial.params
        found = {"trials": done, "steps": base.profile.steps, "values": values, "dice": study.best_value}
        return replace(self.cell, options={**self.cell.options, **values}, tuning=found)


def connect(storage: str) -> optuna.storages.BaseStorage:
    """Return a storage by its address.

    Raises:
        UsageError: Its driver is not installed, or it does not answer.
    """
    import optuna

    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats
    arguments = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return optuna.storages.RDBStorage(
            storage, engine_kwargs=arguments, heartbeat_interval=BEAT_SECONDS, grace_period=STALE_SECONDS
        )
    except ImportError as error:
        raise UsageError(f"--storage {storage}: {error}; install the driver, for PostgreSQL: pip install "
                         "psycopg2-binary") from error  # fmt: skip
    except Exception as error:  # SQLAlchemy's classes, of which each driver has its own
        said = str(error).strip().splitlines()[0]
        raise UsageError(f"--storage {storage} does not answer ({said}); expected an address such as "
                         "sqlite:///tuning.db or postgresql://user@host/name") from error  # fmt: skip


def default_storage(store: Store, profile: str) -> str:
    """Return the address of the SQLite file beside a profile's results."""
    return f"sqlite:///{(store.root / profile / 'tuning.db').resolve()}"


def counts(trial: Any) -> bool:
    """Return whether a trial counts: a worker that was killed, or stopped, leaves none that does."""
    return trial.state.name in ("COMPLETE", "PRUNED") or (trial.state.name == "FAIL" and "why" in trial.user_attrs)


def suggest(trial: optuna.Trial, method: Method) -> dict[str, Any]:
    """Return the options that a trial is to try."""
    return {name: trial.suggest_float(name, values.low, values.high, log=values.log) if isinstance(values, Between)
            else trial.suggest_categorical(name, values) for name, values in method.space.items()}  # fmt: skip


def plain(method: Method) -> dict[str, Any]:
    """Return a method's search space as plain data."""
    return {name: asdict(values) if isinstance(values, Between) else list(values)
            for name, values in method.space.items()}  # fmt: skip


def untuned(spec: str) -> str:
    """Return a method's spec without `tuned=on`."""
    return ":".join(part for part in spec.split(":") if part != "tuned=on")


def _defaults(cell: Cell) -> dict[str, Any]:
    """Return the options that the method has without tuning, as far as the space holds them."""
    method = registry.of_cell(cell)
    values: dict[str, Any] = {}
    for name, space in method.space.items():
        value = getattr(method, name)
        if name == "lr":
            value = value or method.usual_lr or cell.profile.lr
        if value in space if isinstance(space, tuple) else space.low <= value <= space.high:
            values[name] = value
    return values
