"""`bench plan --simulate gpus=64`: what a matrix would take on many machines, from the times of finished cells."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from bench.cli.power import Wish
from bench.launch.board import clock
from bench.launch.schedule import Schedule, longest_first, schedule
from bench.launch.worker import NOTE_SECONDS
from bench.spec import registry
from bench.spec.config import load_profile
from bench.spec.errors import UsageError
from bench.store.lease import BEAT_SECONDS
from bench.store.store import Store

Pair = tuple[str, str]
"""The names of a dataset and a method."""
Finished = tuple[dict[str, Any], Path]
"""The record and the folder of a finished cell."""


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


def simulate(wish: Wish, text: str) -> dict[str, Any]:
    """Return what the matrix of a wish would take on the machines that a text such as `gpus=64:jobs=2` names.

    Raises:
        UsageError: Something is wrong with the wish, or a method was never measured on a dataset.
    """
    gpus, jobs = _machines(text)
    profile, store = load_profile(wish.profile), Store(wish.out)
    methods = registry.expand(registry.METHODS, wish.methods)
    specs = {
        registry.dataset(spec).name: spec
        for spec in registry.expand(registry.DATASETS, wish.datasets)
    }
    found = _finished(store, profile.name, [(name, method) for name in specs for method in methods])
    if missing := [pair for pair, cells in found.items() if not cells]:
        raise UsageError(_unmeasured(missing, specs, wish))
    costs = {
        pair: _mean([_cost(record, store.files(folder)) for record, folder in cells])
        for pair, cells in found.items()
    }
    each = wish.scheme.count * wish.seeds
    planned = [costs[name, method] for name in specs for _ in range(each) for method in methods]
    ordered = [cost.seconds for cost in longest_first(planned, lambda cost: cost.seconds)]
    chosen = schedule(ordered, gpus * jobs)
    others = sorted({2**power for power in range(gpus.bit_length())} | {gpus, 2 * gpus})
    return {
        "profile": profile.name,
        "cells": len(planned),
        "methods": len(methods),
        "datasets": len(specs),
        "folds": wish.scheme.count,
        "seeds": wish.seeds,
        "gpus": gpus,
        "jobs": jobs,
        "work_seconds": chosen.work,
        "longest_seconds": ordered[0],
        "bound_seconds": chosen.bound,
        "longest_first": _row(chosen),
        "plan_order": _row(schedule([cost.seconds for cost in planned], gpus * jobs)),
        "other_gpus": {str(other): _row(schedule(ordered, other * jobs)) for other in others},
        "disk": _disk(planned, gpus * jobs, chosen.wall),
        "devices": sorted({record["device"] for cells in found.values() for record, _ in cells}),
        "measured": [
            {
                "dataset": name,
                "method": method,
                "source": record["source"],
                "cells": 1 + len(more),
                "seconds": costs[name, method].seconds,
            }
            for (name, method), ((record, _), *more) in found.items()
        ],
    }


def _machines(text: str) -> tuple[int, int]:
    """Return how many GPUs a text such as `gpus=64:jobs=2` names, and how many cells at once on each."""
    found = re.fullmatch(r"gpus=([1-9]\d{0,4})(?::jobs=([1-9]\d?))?", text)
    if not found:
        raise UsageError(
            f"--simulate {text}: expected gpus=N (1 to 99999), or gpus=N:jobs=M (1 to 99) for M"
            " cells at once on each; for example --simulate gpus=64"
        )
    return int(found[1]), int(found[2] or 1)


def _finished(store: Store, profile: str, pairs: Sequence[Pair]) -> dict[Pair, list[Finished]]:
    """Return each pair's finished cells: those of real data where there are any, else those of phantoms."""
    found: dict[Pair, list[Finished]] = {pair: [] for pair in pairs}
    for record, folder in store.records(profile):
        pair = record["spec"]["dataset"]["name"], record["spec"]["method"]
        if pair in found:
            found[pair].append((record, folder))
    return {
        pair: [cell for cell in cells if cell[0]["source"] == "real"] or cells
        for pair, cells in found.items()
    }


def _cost(record: Mapping[str, Any], files: Mapping[str, int]) -> Cost:
    """Return what a finished cell took and left.

    The last attempt of a cell that was interrupted is but a part of it: its training, whose seconds
    are counted over all attempts, and its predictions are taken where they are more.
    """
    from bench.engine.train import CHECKPOINT_SECONDS  # loads PyTorch

    times, validations = record["timings"], len(record["certificate"]["heads"])
    predicted = times["predict_seconds_per_case"] * record["cases"]["test"]
    between = times["train_seconds"] / max(1, validations)
    return Cost(
        seconds=max(times["total_seconds_of_last_attempt"], times["train_seconds"] + predicted),
        files=len(files),
        bytes=sum(files.values()),
        # the weights, the best ones, and two moments of each trained one by Adam, in float32
        checkpoint_bytes=2 * files.get("model.safetensors", 0) + 8 * record["parameters"],
        checkpoints=validations * (1 + between // CHECKPOINT_SECONDS),
    )


def _mean(costs: Sequence[Cost]) -> Cost:
    names = ("seconds", "files", "bytes", "checkpoint_bytes", "checkpoints")
    return Cost(**{name: fmean(getattr(cost, name) for cost in costs) for name in names})


def _unmeasured(missing: Sequence[Pair], specs: Mapping[str, str], wish: Wish) -> str:
    """Return the line that names what was never measured, and the commands that measure one cell of each."""
    lacks: dict[str, list[str]] = {}
    for name, method in missing:
        lacks.setdefault(name, []).append(method)
    groups: dict[str, list[str]] = {}
    for name, methods in lacks.items():
        groups.setdefault(",".join(methods), []).append(name)
    told = "; ".join(f"{methods} on {','.join(names)}" for methods, names in groups.items())
    where = f"--profile {shlex.quote(wish.profile)} --out {shlex.quote(str(wish.out))}"
    commands = [
        f"bench run --methods {methods} --datasets"
        f" {shlex.quote(','.join(specs[name] for name in names))} {where}"
        for methods, names in groups.items()
    ]
    return (
        f"no finished cell says how long these take: {told}; measure one of each:"
        f" {'; '.join(commands)}"
    )


def _row(made: Schedule) -> dict[str, float]:
    return {"wall_seconds": made.wall, "idle_share": made.idle, "tail_seconds": made.tail}


def _disk(costs: Sequence[Cost], slots: int, wall: float) -> dict[str, float]:
    """Return what the shared disk sees of all cells: bytes and files that stay, and what passes."""
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


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print wall time, idle share and tail, of other numbers of GPUs too, and what the disk sees."""
    each = (
        "one cell at a time on each"
        if found["jobs"] == 1
        else f"{found['jobs']} cells at once on each"
    )
    title = (
        f"{found['cells']} cells ({found['methods']} methods x {found['datasets']} datasets x"
        f" {found['folds']} folds x {found['seeds']} seeds), {clock(found['work_seconds'])} of"
        f" cells, {each}"
    )
    console.print(title, style="bold", highlight=False, soft_wrap=True)
    table = Table("GPUs", "order", "wall time", "idle", "tail", "faster than one")
    one = found["other_gpus"]["1"]["wall_seconds"]
    rows = [(gpus, "longest first", row) for gpus, row in found["other_gpus"].items()]
    place = [gpus for gpus, _, _ in rows].index(str(found["gpus"]))
    rows.insert(place + 1, (str(found["gpus"]), "as planned", found["plan_order"]))
    for number, (gpus, order, row) in enumerate(rows):
        table.add_row(
            gpus,
            order,
            clock(row["wall_seconds"]),
            f"{100 * row['idle_share']:.1f} %",
            clock(row["tail_seconds"]),
            f"{one / row['wall_seconds']:.1f}x",
            style="bold" if number == place else "",
        )
    console.print(table)
    for line in _remarks(found):
        console.print(line, highlight=False, soft_wrap=True)


def _remarks(found: Mapping[str, Any]) -> list[str]:
    disk, slots = found["disk"], found["gpus"] * found["jobs"]
    sources: dict[str, set[str]] = {}
    for row in found["measured"]:
        sources.setdefault(row["dataset"], set()).add(row["source"])
    told = ", ".join(f"{name} {' and '.join(sorted(kinds))}" for name, kinds in sources.items())
    cells = sum(row["cells"] for row in found["measured"])
    return [
        (
            f"No order on {found['gpus']} GPUs ends before {clock(found['bound_seconds'])}: the"
            f" longest cell takes {clock(found['longest_seconds'])}, an even share of all"
            f" {clock(found['work_seconds'] / slots)}. Tail: from the first that has nothing more"
            " to do to the end."
        ),
        (
            f"Times: means of {cells} finished cells ({told}) under the profile"
            f" '{found['profile']}' on {'; '.join(found['devices'])}, beside what ran there at the"
            " same time. On another device or under another profile they say nothing; waiting for"
            " machines is not counted."
        ),
        (
            f"Shared disk, what stays: {decimal(disk['bytes'])} in {disk['files']:,} files."
            f" Checkpoints: {disk['checkpoints']:,},"
            f" {decimal(round(disk['checkpoint_bytes_per_second']))} a second on average, the"
            f" largest {decimal(disk['largest_checkpoint_bytes'])};"
            f" {decimal(disk['checkpoint_bytes_at_once'])} if all at work wrote such a one at once."
        ),
        (
            f"Shared disk, what passes: up to {disk['notes_per_second']:g} notes of progress and "
            f"{disk['beats_per_second']:g} beats of leases a second, each under a kilobyte."
        ),
    ]
