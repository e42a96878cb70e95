"""Trackers: what the results folder says, sent on to TensorBoard or MLflow by a process of its own.

It reads what cells leave (train.csv, cell.json, cases.csv) and nothing else, so it works whoever
runs them, can be done afterwards as well, and whatever becomes of it changes no result.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.spec import installing
from bench.spec.errors import UsageError
from bench.spec.secrets import hidden, redacted
from bench.store.cells import Store
from bench.store.layout import CellFolder, last_line
from bench.store.losses import read_losses
from bench.store.record import read_hash
from bench.store.scores import read_scores

if TYPE_CHECKING:
    from rich.console import Console

LOOK_SECONDS = 3.0
"""Seconds between two looks at what cells have left."""
SCHEMES = ("http", "https", "sqlite", "file", "postgresql")
"""How MLflow's addresses begin."""
END_SECONDS, STOPPED_SECONDS = 30.0, 2.0
"""Seconds that a tracker has to send the rest: after a run that ended, and after one that was
stopped."""


@dataclass(frozen=True)
class Wanted:
    """Where to send results."""

    tensorboard: bool = False
    mlflow: str | None = None
    """A tracking URI."""

    def __bool__(self) -> bool:
        return self.tensorboard or self.mlflow is not None

    def check(self) -> None:
        """Refuse a target to which nothing can be sent, before anything trains.

        Raises:
            UsageError: A package is not installed, or the URI is not one of MLflow's.
        """
        for asked_for, package, name in (
            (self.tensorboard, "tensorboard", "TensorBoard"),
            (self.mlflow is not None, "mlflow", "MLflow"),
        ):
            if asked_for and importlib.util.find_spec(package) is None:
                raise UsageError(f"{name} is not installed; {installing.command(package)}")
        if self.mlflow is not None and self.mlflow.partition(":")[0] not in SCHEMES:
            raise UsageError(
                f"--mlflow {hidden(self.mlflow)}: expected http(s)://HOST:PORT, sqlite:///FILE, "
                "postgresql://USER@HOST/NAME or file:FOLDER"
            )

    def command(self, store: Store, profile: str) -> str:
        """Return the command that sends what is not sent yet."""
        command = f"bench track --out {store.root} --profile {profile}"
        if self.tensorboard:
            command += " --tensorboard"
        if self.mlflow:
            command += f" --mlflow {hidden(self.mlflow)}"
        return command


@dataclass(frozen=True)
class Log:
    """What a cell has written so far."""

    name: str
    """Its place: dataset, method and label, with slashes between."""
    hash: str
    """The cell's hash: other options or data give another."""
    losses: list[dict[str, float]]
    """Rows of the training log: step, training_loss, validation_loss, seconds."""
    folder: CellFolder

    @property
    def done(self) -> bool:
        """Whether the cell is finished."""
        return not self.folder.at_work  # the folder of a failed cell counts as at work

    @property
    def steps(self) -> int:
        """The last validated step, 0 before the first validation."""
        return int(self.losses[-1]["step"]) if self.losses else 0

    def scores(self) -> dict[str, float]:
        """Return the means over patients of a finished cell's Dice and IoU."""
        frame = read_scores(self.folder.cases())
        means = frame.groupby("patient")[["dice", "iou"]].mean().mean()
        return {"dice": float(means["dice"]), "iou": float(means["iou"])}


def logs(store: Store, profile: str) -> Iterator[Log]:
    """Yield what each begun cell has written; one that finishes meanwhile comes the next time."""
    for folder in store.layout.profile(profile).begun():
        try:
            # An unfinished cell has no record yet.
            cell_hash = folder.spec_hash.read_text("utf-8") if folder.at_work else read_hash(folder)
            losses = read_losses(folder)
        except (OSError, ValueError, UsageError):  # it was renamed meanwhile, or is damaged
            continue
        yield Log(folder.name, cell_hash, losses, folder)


class Target(Protocol):
    """Something that results are sent to: TensorBoard or MLflow."""

    def begin(self, log: Log) -> int:
        """Make a cell's place; return the last step that was sent before, 0 if none."""

    def losses(self, log: Log, rows: Sequence[Mapping[str, float]]) -> None:
        """Take rows of train.csv."""

    def end(self, log: Log, scores: Mapping[str, float]) -> None:
        """Take a finished cell's mean scores."""


class TensorBoard:
    """Event files in `<out>/tensorboard/<profile>/<cell>/`, written anew by each process."""

    def __init__(self, store: Store, profile: str) -> None:
        self.root = store.layout.tensorboard(profile)
        self.writers: dict[str, Any] = {}

    def begin(self, log: Log) -> int:
        """Make a cell's folder; return 0.

        Events of an earlier process are removed and sent again, so that no step shows twice.
        """
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(self.root / log.name, ignore_errors=True)
        self.writers[log.name] = SummaryWriter(str(self.root / log.name))
        return 0

    def losses(self, log: Log, rows: Sequence[Mapping[str, float]]) -> None:
        """Write losses by step."""
        writer = self.writers[log.name]
        for row in rows:
            for name in ("training_loss", "validation_loss"):
                writer.add_scalar(name, row[name], int(row["step"]))
        writer.flush()

    def end(self, log: Log, scores: Mapping[str, float]) -> None:
        """Write scores at the last step."""
        writer = self.writers.pop(log.name)
        for name, value in scores.items():
            writer.add_scalar(f"test/{name}", value, log.steps)
        writer.close()


class MLflow:
    """One MLflow run for each cell, in the experiment `verdiff-bench/<profile>`.

    It is found again by its tags `cell` and `hash`.
    """

    def __init__(self, uri: str, profile: str) -> None:
        # MLflow's own defaults wait for minutes where a server does not answer. What the user has
        # set stays.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        name = f"verdiff-bench/{profile}"
        before = self.client.get_experiment_by_name(name)
        self.experiment = before.experiment_id if before else self.client.create_experiment(name)
        self.runs: dict[str, str] = {}

    def begin(self, log: Log) -> int:
        """Find a cell's run, or make it; return the last step that it has, 0 of a new run."""
        tags = {"cell": log.name, "hash": log.hash}
        query = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
        for run in self.client.search_runs([self.experiment], query):
            self.runs[log.name] = run.info.run_id
            history = self.client.get_metric_history(run.info.run_id, "validation_loss")
            return max((metric.step for metric in history), default=0)
        run = self.client.create_run(self.experiment, run_name=log.name, tags=tags)
        # The parameter `cell` is the label alone (f0-s35), the tag `cell` the whole name.
        for key, value in zip(("dataset", "method", "cell"), log.name.split("/"), strict=True):
            self.client.log_param(run.info.run_id, key, value)
        self.runs[log.name] = run.info.run_id
        return 0

    def losses(self, log: Log, rows: Sequence[Mapping[str, float]]) -> None:
        """Log losses by step."""
        for row in rows:
            for name in ("training_loss", "validation_loss"):
                self.client.log_metric(self.runs[log.name], name, row[name], step=int(row["step"]))

    def end(self, log: Log, scores: Mapping[str, float]) -> None:
        """Log scores at the last step."""
        run = self.runs.pop(log.name)
        for name, value in scores.items():
            self.client.log_metric(run, f"test_{name}", value, step=log.steps)
        self.client.set_terminated(run)


def send(
    store: Store, profile: str, wanted: Wanted, ended: Callable[[], bool] = lambda: True
) -> int:
    """Send what cells have written, again and again until the run has `ended`; without it, once.

    Returns:
        How many cells were sent whole.
    """
    targets: list[Target] = []
    if wanted.tensorboard:
        targets.append(TensorBoard(store, profile))
    if wanted.mlflow is not None:
        targets.append(MLflow(wanted.mlflow, profile))
    # Both are kept for each target, by its place, and each cell, by its name.
    last_step_sent: dict[tuple[int, str], int] = {}
    sent_whole: set[tuple[int, str]] = set()
    while True:
        last_round = ended()  # asked first: what was written until then is sent once more
        for log in logs(store, profile):
            for place, target in enumerate(targets):
                key = place, log.name
                if key in sent_whole:
                    continue
                if key not in last_step_sent:
                    last_step_sent[key] = target.begin(log)
                last_step = last_step_sent[key]
                new_rows = [row for row in log.losses if row["step"] > last_step]
                if new_rows:
                    target.losses(log, new_rows)
                    last_step_sent[key] = int(new_rows[-1]["step"])
                if log.done:
                    target.end(log, log.scores())
                    sent_whole.add(key)
        if last_round:
            return len(sent_whole) // len(targets)  # every target has every cell
        time.sleep(LOOK_SECONDS)


@contextmanager
def tracked(store: Store, profile: str, wanted: Wanted, console: Console) -> Iterator[None]:
    """Have a process send what a run leaves; if it fails, one line says how to send it later."""
    if not wanted:
        yield
        return
    task = json.dumps({"root": str(store.root), "profile": profile, **asdict(wanted)})
    path = store.layout.profile(profile).track_log
    with path.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.store.track"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at the terminal does not end it
        )
        assert process.stdin
        with suppress(OSError):  # it has ended, which is told below
            # Not as an argument: others can see arguments, and the address may have a password.
            process.stdin.write(f"{task}\n".encode())
            process.stdin.flush()
    seconds_left = STOPPED_SECONDS
    try:
        yield
        seconds_left = END_SECONDS  # not reached where the run was stopped
    finally:
        try:
            # This closes its input, by which it knows that the run has ended.
            process.communicate(timeout=seconds_left)
            said = path.read_text(encoding="utf-8", errors="replace")
            why = last_line(said) if process.returncode else ""
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            why = f"it was not done {seconds_left:g} s after the run"
        if why:
            again = wanted.command(store, profile)
            console.print(
                f"Tracking failed ({why}); the results are whole. To send them: {again}",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )


def main() -> None:
    """Track until standard input closes: when the run's process ends, even if it is killed."""
    task = json.loads(sys.stdin.readline())
    run_has_ended = threading.Event()

    def watch() -> None:
        sys.stdin.read()  # returns when standard input closes
        run_has_ended.set()

    threading.Thread(target=watch, daemon=True).start()
    wanted = Wanted(task["tensorboard"], task["mlflow"])
    try:
        send(Store(Path(task["root"])), task["profile"], wanted, run_has_ended.is_set)
    except Exception:  # a library may raise anything, with the address in it
        sys.exit(redacted(traceback.format_exc(), task["mlflow"] or ""))


if __name__ == "__main__":
    main()
