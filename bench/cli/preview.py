"""`bench data preview`: contact sheets of the datasets, with the masks' contours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from bench.cli.show import preparing
from bench.data import cache
from bench.launch import matrix as plan
from bench.spec import machine, registry
from bench.spec.case import Dataset
from bench.spec.config import load_profile
from bench.spec.errors import UsageError

SHOWN = 8


def write(
    wanted: str, data: Path | None, profile: str, folder: Path, console: Console
) -> list[Path]:
    """Draw a sheet of each dataset; return the files."""
    found = plan.find(registry.expand(registry.DATASETS, wanted), data, load_profile(profile))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"folder {folder} cannot be written ({error.strerror}); choose another with --to"
        ) from error
    paths = []
    with preparing(console) as progress:
        for each in found:
            dataset = cache.load(Path(plan.prepare(each, machine.cores(), progress).cache))
            paths.append(folder / f"{dataset.name}-{dataset.source}-{dataset.digest[:8]}.png")
            sheet(dataset, paths[-1])
    return paths


def sheet(dataset: Dataset, path: Path) -> None:
    """Draw up to eight cases, of eight patients where there are so many; image above, with contour below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first = {case.patient: index for index, case in reversed(list(enumerate(dataset.cases)))}
    order = sorted(first.values()) if len(first) >= SHOWN else list(range(len(dataset.cases)))
    picked = [order[i] for i in np.unique(np.linspace(0, len(order) - 1, SHOWN).astype(int))]
    aspect = np.median([dataset.cases[i].height / dataset.cases[i].width for i in picked])
    size = (1.7 * len(picked), 1.7 * 2 * aspect + 0.7)
    figure, axes = plt.subplots(2, len(picked), figsize=size, squeeze=False, layout="constrained")
    for column, index in enumerate(picked):
        case, image, mask = dataset.cases[index], dataset.image(index), dataset.mask(index)
        for row in range(2):
            axes[row, column].imshow(
                image, cmap="gray", vmin=0, vmax=65535, interpolation="antialiased"
            )
            axes[row, column].set_axis_off()
        if mask.any():
            axes[1, column].contour(mask, levels=[0.5], colors="#E69F00", linewidths=0.6)
        axes[0, column].set_title(
            f"{case.id}\npatient {case.patient}\n{case.width}x{case.height}", fontsize=6
        )
    source = "PHANTOM (simulated)" if dataset.source == "phantom" else "real"
    figure.suptitle(
        f"{dataset.name}, {source}: {len(dataset.patients)} patients, {len(dataset.cases)} cases",
        fontsize=9,
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)
