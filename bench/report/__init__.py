"""Tables and figures from the store alone: no torch, and never a change to a result."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UsageError
from bench.report import figures, tables
from bench.store import Store


def write(store: Store, folder: Path, profile: str | None = None, redraw: bool = True) -> list[Path]:
    """Write table 1 (Markdown, LaTeX, CSV) and figure 8 (PNG, PDF) of each source; return the files.

    Args:
        store: The results.
        folder: Where reports go; a folder named after the profile is made in it.
        profile: Which results; the latest where not given.
        redraw: Draw the figures also where the table's numbers are as they were.

    Raises:
        UsageError: No cell is finished, or the folder cannot be written.
    """
    names = store.profiles()
    if profile is None and names:
        profile = names[0]
    if profile not in names:
        have = f"finished cells are under: {', '.join(names)}" if names else "run: bench run"
        raise UsageError(f"{store.root} has no finished cell under the profile '{profile or 'any'}'; {have}")
    target = folder / profile
    written: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for table in tables.collect(store, profile):
            numbers = target / f"table1-{table.source}.csv"
            drawn = numbers.is_file() and numbers.read_text(encoding="utf-8") == tables.csv(table)
            for suffix, render in (("md", tables.markdown), ("tex", tables.latex), ("csv", tables.csv)):
                written.append(target / f"table1-{table.source}.{suffix}")
                written[-1].write_text(render(table), encoding="utf-8")
            paths = [target / f"figure8-{table.source}.{suffix}" for suffix in ("png", "pdf")]
            if redraw or not drawn or not all(path.is_file() for path in paths):
                figures.dice_against_iou(table, paths)
            written += paths
    except OSError as error:
        raise UsageError(
            f"report folder {target} cannot be written ({error.strerror}); choose another with --to"
        ) from error
    return written
