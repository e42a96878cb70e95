"""`bench data prepare`: reads a dataset into the cache, and says what was read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import options
from bench.cli.datasets import shorten
from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.names import Spec


def prepare(
    dataset: Annotated[str, typer.Argument(help="A name with options.")],
    source: Annotated[Path, typer.Option("--from", help="The dataset's own folder.")],
    as_json: options.Json = False,
) -> None:
    """Read a dataset into the cache, and say what was read: the manifest, with what was left out.

    A run does this by itself; here it is done once, with progress, before the runs.

    Examples:

        bench data prepare mr --from ~/spider

        bench data prepare ct-verse:vertebrae=5 --from ~/verse --json
    """
    manifest = prepare_folder(dataset, source)
    if as_json:
        options.print_json(manifest)
    else:
        _show(manifest)


def prepare_folder(text: str, source: Path) -> dict[str, Any]:
    """Prepare the dataset of a folder, and return its manifest and where it lies.

    Raises:
        UsageError: There is no such dataset or folder, or it cannot be prepared.
    """
    from bench.launch.matrix import Found

    if not source.is_dir():
        raise UsageError(
            f"--from {source} is not there; expected the folder that the dataset lies in"
        )
    found = Found(registry.dataset(Spec.parse(text)), source)
    with options.preparing_quietly() as told:
        folder = Path(found.prepare(told).cache)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {**manifest, "prepared": str(folder)}


def _show(manifest: dict[str, Any]) -> None:
    """Print what was read, and what was left out."""
    name = manifest["name"]
    sizes = shorten([f"{width}x{height}" for width, height in manifest["sizes"]], 3)
    options.say(
        f"{name}: {manifest['patients']} patients, {manifest['cases']} cases of {sizes} pixels, "
        f"{100 * manifest['foreground_share']:.1f} % foreground, digest {manifest['digest'][:8]}"
    )
    reading = manifest["rules"].get("reading")
    if reading:
        options.say(f"{name}: {reading}")
    options.print_left_out(name, manifest["left_out"])
    options.say(f"Manifest: {Path(manifest['prepared']) / 'manifest.json'}")
