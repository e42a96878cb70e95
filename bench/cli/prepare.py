"""`bench data prepare`: reads a dataset into the cache, and says what was read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.datasets import shorten
from bench.spec import plain, registry
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.words import count

if TYPE_CHECKING:
    from bench.data.manifest import Manifest


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
    from bench.data import manifest

    folder = prepare_folder(dataset, source)
    prepared = manifest.read(folder)
    if as_json:
        options.print_json({**plain.builtins(prepared), "prepared": str(folder)})
    else:
        _show(prepared, folder / manifest.FILE)


def prepare_folder(text: str, source: Path) -> Path:
    """Prepare the dataset of a folder, and return where it lies.

    Raises:
        UsageError: There is no such dataset or folder, or it cannot be prepared.
    """
    from bench.launch.matrix import FoundDataset

    if not source.is_dir():
        raise UsageError(
            f"--from {source} is not there; expected the folder that the dataset lies in"
        )
    reader = FoundDataset(registry.dataset(Spec.parse(text)), source)
    with options.preparing_quietly() as told:
        return Path(reader.prepare(told).cache)


def _show(prepared: Manifest, file: Path) -> None:
    """Print what was read, and what was left out."""
    sizes = shorten([f"{width}x{height}" for width, height in prepared.sizes], 3)
    options.say(
        f"{prepared.name}: {count(prepared.patients, 'patient')}, {count(prepared.cases, 'case')} "
        f"of {sizes} pixels, "
        f"{100 * prepared.foreground_share:.1f} % foreground, digest {prepared.digest[:8]}"
    )
    for line in prepared.lines:
        options.say(f"  {line}")
    options.print_left_out(prepared.name, prepared.left_out)
    options.say(f"Manifest: {file}")
