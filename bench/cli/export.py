"""`bench data export`: a dataset and the split of a run, for other tools."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench.cli.show import preparing, print_left_out
from bench.data import cache
from bench.data.export import Export
from bench.data.splits import Scheme
from bench.launch import matrix as plan
from bench.spec import machine, registry
from bench.spec.config import load_profile
from bench.spec.errors import UsageError, did_you_mean
from bench.store.store import make_folder

LAYOUTS = ("nnunet", "medsegbench")


def write(
    spec: str,
    data: Path | None,
    profile: str,
    to: Path,
    layout: str,
    size: int | None,
    scheme: Scheme,
    console: Console,
) -> Path:
    """Write one dataset with its split in another tool's layout; return the folder.

    Raises:
        UsageError: There is no such dataset or layout, several are named, or it cannot be split or
            written.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout '{layout}'; {did_you_mean(layout, LAYOUTS)}")
    if size is not None and layout == "nnunet":
        raise UsageError(
            f"--size {size}: nnU-Net's layout keeps native sizes; leave it out, or --as medsegbench"
        )
    if scheme.count > 1:
        raise UsageError(
            f"--split {scheme.file} has {scheme.count} folds, these layouts one test side; give one"
        )
    specs = registry.expand(registry.DATASETS, spec)
    if len(specs) > 1:
        raise UsageError(
            f"'{spec}' names {len(specs)} datasets; expected one: bench data export {specs[0]} --to"
            f" {to}"
        )
    found = plan.find(specs, data, load_profile(profile))[0]
    make_folder(to, "export", "--to")
    with preparing(Console(stderr=True)) as progress:
        dataset = cache.load(Path(plan.prepare(found, machine.cores(), progress).cache))
    print_left_out(dataset.name, dataset.left_out, console)
    try:
        split = scheme.split(dataset.patients, dataset.official)[0]
    except UsageError as error:
        raise UsageError(f"{dataset.name}: {error}") from error
    export = Export(dataset, split, scheme.name)
    folder = (
        export.nnunet(to)
        if layout == "nnunet"
        else export.medsegbench(to, 256 if size is None else size)
    )
    console.print(export.summary, highlight=False, soft_wrap=True)
    return folder
