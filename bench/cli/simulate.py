"""`bench plan --simulate gpus=64`: what a matrix would take on many machines."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.cli import options
from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.profile import Profile, load_profile
from bench.spec.words import count
from bench.store import check
from bench.store.cells import Store
from bench.store.clean import sizes
from bench.store.layout import CellFolder
from bench.store.record import Record

if TYPE_CHECKING:
    from rich.console import Console

    from bench.launch.schedule import Schedule

Pair = tuple[str, Spec]
"""The name of a dataset, and a method."""
Timing = Callable[[str, str, Profile], dict[Pair, float]]
"""Times methods on a dataset under a profile; returns the seconds of a cell of each."""


@dataclass(frozen=True)
class Measured:
    """A finished cell of a pair."""

    record: Record
    folder: CellFolder


@dataclass(frozen=True)
class Cost:
    """What a finished cell took and left, or the mean of several."""

    seconds: float
    files: float
    bytes: float
    checkpoint_bytes: float
    """Of one checkpoint."""
    checkpoints: float
    """How many were written."""


def simulate(
    methods: str,
    datasets: str,
    profile: str,
    out: Path,
    machines: str,
    folds: int,
    seeds: int,
    cells_of_a_pair: int,
    timed: Timing | None = None,
) -> dict[str, Any]:
    """Return what a matrix would take on the machines that a text such as `gpus=64:jobs=2` names.

    Raises:
        UsageError: A name is wrong, or a method was never measured on a dataset.
    """
    from bench.launch.schedule import longest_first, schedule

    gpus, jobs = _machines(machines)
    chosen, store = load_profile(profile), Store(out)
    specs = registry.expand(registry.METHODS, methods)
    by_name: dict[str, Spec] = {}
    for spec in registry.expand(registry.DATASETS, datasets):
        name = registry.dataset(spec).name
        if by_name.setdefault(name, spec) != spec:
            raise UsageError(
                f"{by_name[name]} and {spec} have the same name '{name}', by which their results "
                "are found; plan them one at a time"
            )
    pairs = list(product(by_name, specs))
    measured = _measured(store, chosen.name, pairs)
    missing = [pair for pair, cells in measured.items() if not cells]
    if missing and timed is None:
        raise UsageError(_unmeasured(missing, by_name, profile, out))
    costs = {pair: _mean(list(map(_cost, cells))) for pair, cells in measured.items() if cells}
    if timed is not None:
        costs |= _timed(missing, by_name, chosen, timed)
    planned = []
    for name in by_name:
        for _ in range(cells_of_a_pair):
            planned += [costs[name, spec] for spec in specs]
    ordered = [cost.seconds for cost in longest_first(planned, lambda cost: cost.seconds)]
    slots = gpus * jobs
    best = schedule(ordered, slots)
    powers_of_two = {2**power for power in range(gpus.bit_length())}
    others = {
        str(other): _row(schedule(ordered, other * jobs))
        for other in sorted(powers_of_two | {gpus, 2 * gpus})
    }
    return {
        "profile": chosen.name,
        "cells": len(planned),
        "methods": len(specs),
        "datasets": len(by_name),
        "folds": folds,
        "seeds": seeds,
        "gpus": gpus,
        "jobs": jobs,
        "work_seconds": best.work,
        "longest_seconds": ordered[0],
        "bound_seconds": best.bound,
        "longest_first": _row(best),
        "plan_order": _row(schedule([cost.seconds for cost in planned], slots)),
        "other_gpus": others,
        "disk": _disk(planned, slots, best.wall),
        "devices": sorted(_devices(measured)),
        "measured": [_source(pair, cells, costs[pair]) for pair, cells in measured.items()],
        "timed": len(missing),
    }


def _machines(text: str) -> tuple[int, int]:
    """Return how many GPUs a text such as `gpus=64:jobs=2` names, and the cells at once on each."""
    match = re.fullmatch(r"gpus=([1-9]\d{0,4})(?::jobs=([1-9]\d?))?", text)
    if not match:
        raise UsageError(
            f"--simulate {text}: expected gpus=N (1 to 99999), or gpus=N:jobs=M (1 to 99) for M "
            "cells at once on each; for example --simulate gpus=64"
        )
    return int(match[1]), int(match[2] or 1)


def _measured(store: Store, profile: str, pairs: Sequence[Pair]) -> dict[Pair, list[Measured]]:
    """Return each pair's finished cells: of real data where there are any, else of phantoms."""
    measured: dict[Pair, list[Measured]] = {pair: [] for pair in pairs}
    believed = check.records(store.layout.profile(profile))
    options.tell_damaged(believed.damaged)
    for folder, record in believed.cells.items():
        pair = (record.spec.dataset.name, record.method)
        if pair in measured and not record.outside:
            measured[pair].append(Measured(record, folder))
    for pair, cells in measured.items():
        real = [cell for cell in cells if cell.record.source == "real"]
        measured[pair] = real or cells
    return measured


def _devices(measured: Mapping[Pair, Sequence[Measured]]) -> set[str]:
    """Return the devices on which finished cells ran."""
    devices = set()
    for cells in measured.values():
        devices |= {cell.record.device for cell in cells}
    return devices


def _source(pair: Pair, cells: Sequence[Measured], cost: Cost) -> dict[str, Any]:
    """Return from which cells the cost of a pair was measured."""
    name, spec = pair
    return {
        "dataset": name,
        "method": spec.key,
        "source": cells[0].record.source if cells else "timed",
        "cells": len(cells),
        "seconds": cost.seconds,
    }


def _cost(cell: Measured) -> Cost:
    """Return what a finished cell took and left.

    The last attempt of a cell that was interrupted is but a part of it: its training, whose seconds
    are counted over all attempts, and its predictions are taken where they are more.
    """
    from bench.engine.train import CHECKPOINT_SECONDS  # loads PyTorch

    done, files = cell.record, sizes(cell.folder.path)
    times, certificate, parameters = done.timings, done.certificate, done.parameters
    assert times, "what is from outside is not measured"
    assert certificate
    assert parameters
    validations = len(certificate.heads)
    seconds_of_predictions = times.predict_seconds_per_case * done.cases["test"]
    seconds_at_least = times.train_seconds + seconds_of_predictions
    seconds_between_validations = times.train_seconds / max(1, validations)
    weights = files.get(cell.folder.weights.name, 0)
    return Cost(
        seconds=max(times.total_seconds_of_last_attempt, seconds_at_least),
        files=len(files),
        bytes=sum(files.values()),
        # The weights, the best ones, and two moments of each trained one by Adam, in float32.
        checkpoint_bytes=2 * weights + 8 * parameters,
        # One at each validation, and one whenever CHECKPOINT_SECONDS have passed.
        checkpoints=validations * (1 + seconds_between_validations // CHECKPOINT_SECONDS),
    )


def _timed(
    missing: Sequence[Pair], specs: Mapping[str, Spec], profile: Profile, timed: Timing
) -> dict[Pair, Cost]:
    """Return the seconds of pairs without a finished cell; of their files nothing is known."""
    costs: dict[Pair, Cost] = {}
    for name in dict.fromkeys(name for name, _ in missing):
        methods = ",".join(spec.key for dataset, spec in missing if dataset == name)
        for pair, seconds in timed(methods, specs[name].key, profile).items():
            costs[pair] = Cost(seconds, files=0, bytes=0, checkpoint_bytes=0, checkpoints=0)
    return costs


def _mean(costs: Sequence[Cost]) -> Cost:
    """Return the mean of costs, field by field."""
    means = {
        field.name: fmean(getattr(cost, field.name) for cost in costs) for field in fields(Cost)
    }
    return Cost(**means)


def _unmeasured(missing: Sequence[Pair], specs: Mapping[str, Spec], profile: str, out: Path) -> str:
    """Return the line that names what was never measured, and the commands that measure it."""
    lacks: dict[str, list[str]] = {}
    for name, spec in missing:
        lacks.setdefault(name, []).append(spec.key)
    groups: dict[str, list[str]] = {}
    for name, methods in lacks.items():
        groups.setdefault(",".join(methods), []).append(name)
    parts = "; ".join(f"{methods} on {','.join(names)}" for methods, names in groups.items())
    where = f"--profile {shlex.quote(profile)} --out {shlex.quote(str(out))}"
    commands = []
    for together, names in groups.items():
        datasets = shlex.quote(",".join(specs[name].key for name in names))
        commands.append(f"bench run --methods {together} --datasets {datasets} {where}")
    return (
        f"no finished cell says how long these take: {parts}; measure one of each: "
        f"{'; '.join(commands)}"
    )


def _row(done: Schedule) -> dict[str, float]:
    """Return what `--json` prints of a schedule."""
    return {"wall_seconds": done.wall, "idle_share": done.idle, "tail_seconds": done.tail}


def _disk(costs: Sequence[Cost], slots: int, wall: float) -> dict[str, float]:
    """Return what the shared disk sees of all cells: bytes and files that stay, and what passes."""
    from bench.launch.worker import NOTE_SECONDS
    from bench.store.lease import BEAT_SECONDS

    at_once, largest = min(slots, len(costs)), max(cost.checkpoint_bytes for cost in costs)
    written = math.fsum(cost.checkpoint_bytes * cost.checkpoints for cost in costs)
    return {
        "files": round(math.fsum(cost.files for cost in costs)),
        "bytes": round(math.fsum(cost.bytes for cost in costs)),
        "checkpoints": round(math.fsum(cost.checkpoints for cost in costs)),
        "largest_checkpoint_bytes": round(largest),
        "checkpoint_bytes_per_second": written / wall,
        "checkpoint_bytes_at_once": round(at_once * largest),
        "notes_per_second": at_once / NOTE_SECONDS,
        "beats_per_second": at_once / BEAT_SECONDS,
    }


def show(estimate: Mapping[str, Any], console: Console) -> None:
    """Print wall time, idle share and tail, for other numbers of GPUs too, and the disk's load."""
    from rich.table import Table

    from bench.launch.board import clock

    jobs = estimate["jobs"]
    at_once = "one cell at a time on each" if jobs == 1 else f"{jobs} cells at once on each"
    counts = (
        f"{count(estimate['methods'], 'method')} x {count(estimate['datasets'], 'dataset')} x "
        f"{count(estimate['folds'], 'fold')} x {count(estimate['seeds'], 'seed')}"
    )
    work = clock(estimate["work_seconds"])
    title = f"{count(estimate['cells'], 'cell')} ({counts}), {work} of cells, {at_once}"
    console.print(title, style="bold", highlight=False, soft_wrap=True)
    table = Table("GPUs", "order", "wall time", "idle", "tail", "faster than one")
    seconds_of_one = estimate["other_gpus"]["1"]["wall_seconds"]
    for gpus, order, row in _table_rows(estimate):
        chosen = gpus == str(estimate["gpus"]) and order == LONGEST
        table.add_row(
            gpus,
            order,
            clock(row["wall_seconds"]),
            f"{100 * row['idle_share']:.1f} %",
            clock(row["tail_seconds"]),
            f"{seconds_of_one / row['wall_seconds']:.1f}x",
            style="bold" if chosen else "",
        )
    console.print(table)
    for line in _remarks(estimate):
        options.say(line, to=console)


LONGEST = "longest first"
"""The order that is used on a cluster, as the table names it."""


def _table_rows(estimate: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Yield GPUs, order and times; the planned number of GPUs has both orders."""
    for gpus, row in estimate["other_gpus"].items():
        yield gpus, LONGEST, row
        if gpus == str(estimate["gpus"]):
            yield gpus, "as planned", estimate["plan_order"]


def _remarks(estimate: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know of the numbers."""
    from rich.filesize import decimal

    from bench.launch.board import clock

    disk, slots = estimate["disk"], estimate["gpus"] * estimate["jobs"]
    sources: dict[str, set[str]] = {}
    for row in estimate["measured"]:
        sources.setdefault(row["dataset"], set()).add(row["source"])
    kinds = ", ".join(f"{name} {' and '.join(sorted(kind))}" for name, kind in sources.items())
    cells = sum(row["cells"] for row in estimate["measured"])
    where = "; ".join(estimate["devices"]) or "this machine"
    a_second = decimal(round(disk["checkpoint_bytes_per_second"]))
    lines = []
    if estimate["timed"]:
        lines.append(
            f"Timed by some steps, not by finished cells: {count(estimate['timed'], 'pair')} of "
            "dataset and method; what is said of the shared disk leaves them out."
        )
    return [
        *lines,
        f"No order on {estimate['gpus']} GPUs ends before {clock(estimate['bound_seconds'])}: "
        f"the longest cell takes {clock(estimate['longest_seconds'])}, an even share of all "
        f"{clock(estimate['work_seconds'] / slots)}. Tail: from the first that has nothing more "
        "to do to the end.",
        f"Times: means of {count(cells, 'finished cell')} ({kinds}) under the profile "
        f"'{estimate['profile']}' on {where}, beside what ran there at "
        "the same time. On another device or under another profile they say nothing; waiting for "
        "machines is not counted.",
        f"Shared disk, what stays: {decimal(disk['bytes'])} in {disk['files']:,} files. "
        f"Checkpoints: {disk['checkpoints']:,}, {a_second} a second on average, the largest "
        f"{decimal(disk['largest_checkpoint_bytes'])}; "
        f"{decimal(disk['checkpoint_bytes_at_once'])} if all at work wrote such a one at once.",
        f"Shared disk, what passes: up to {disk['notes_per_second']:g} notes of progress and "
        f"{disk['beats_per_second']:g} beats of leases a second, each under a kilobyte.",
    ]
