"""`bench data export`: a dataset and the split of a run, for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.spec import registry
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.profile import load_profile
from bench.store.layout import make_folder

LAYOUTS = ("nnunet", "medsegbench")
"""What `--as` may be."""


def export(
    dataset: options.DatasetName,
    to: Annotated[
        Path, typer.Option("--to", help="Where it goes; for nnU-Net, what nnUNet_raw points to.")
    ],
    layout: Annotated[str, typer.Option("--as", help="nnunet or medsegbench.")] = "nnunet",
    size: Annotated[
        int | None, typer.Option(help="MedSegBench's 128, 256 (the default) or 512.")
    ] = None,
    data: options.Data = None,
    folds: options.Folds = 1,
    split: options.SplitFile = None,
    fraction: options.Fraction = 1.0,
    profile: options.ProfileOfPhantoms = "cpu",
) -> None:
    """Write a dataset for other tools, on exactly the cases and the split of `bench run`.

    nnU-Net's raw layout keeps sizes, spacing and masks; MedSegBench's npz is of 8 bit and one size.
    Grey values are those of `bench run`: 0 to 1 in each image, or in CT's window. These layouts
    have one test side, so with --folds each fold is an export of its own.

    Examples:

        bench data export mr --data ~/spine --to ~/nnUNet_raw

        bench data export mr --data ~/spine --to ~/nnUNet_raw --folds 5

        bench data export mr --data ~/spine --to exports --as medsegbench --size 512
    """
    from bench.data import cache
    from bench.data.export import Export
    from bench.launch import matrix

    splitting = options.splitting(folds, split, fraction)
    _check(layout, size)
    specs = registry.expand(registry.DATASETS, dataset)
    if len(specs) > 1:
        raise UsageError(
            f"'{dataset}' names {len(specs)} datasets; expected one: "
            f"bench data export {specs[0]} --to {to}"
        )
    (reader,) = matrix.find(specs, data, load_profile(profile))
    if reader.adapter.instances:
        raise UsageError(
            f"{reader.adapter.name}: instances=on, but these layouts have classes and no "
            "instances: leave it out, or name the levels as classes (labels=L1=20/L2=21/...)"
        )
    make_folder(to, "export", "--to")
    with options.preparing_quietly() as told:
        prepared = cache.load(Path(reader.prepare(told).cache))
    options.print_left_out(prepared.name, prepared.left_out)
    try:
        splits = splitting.split(prepared.patients, prepared.official)
    except UsageError as error:
        raise UsageError(f"{prepared.name}: {error}") from error
    for number, sides in enumerate(splits):
        fold = f"f{number}" if len(splits) > 1 else ""
        scheme = "-".join(filter(None, (splitting.scheme.key, fold)))
        writer = Export(prepared, sides, scheme)
        if layout == "nnunet":
            folder = writer.nnunet(to)
        else:
            folder = writer.medsegbench(to, 256 if size is None else size)
        options.say(writer.summary)
        print(folder)


def _check(layout: str, size: int | None) -> None:
    """Refuse options that do not go together."""
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout '{layout}'; {did_you_mean(layout, LAYOUTS)}")
    if size is not None and layout == "nnunet":
        raise UsageError(
            f"--size {size}: nnU-Net's layout keeps native sizes; leave it out, or --as medsegbench"
        )
