"""`bench data preview`: contact sheets of the datasets, with the masks' contours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.spec.profile import load_profile
from bench.spec.words import count
from bench.store.layout import make_folder

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from bench.data.geometry import Geometry
    from bench.spec.case import Case, Dataset

SHOWN = 8
"""Cases on a sheet."""
SIDE = 600
"""Longest side in pixels of a case on the sheet; a larger one is reduced before it is drawn."""


def preview(
    datasets: options.Datasets = "all",
    data: options.Data = None,
    profile: options.ProfileOfPhantoms = "cpu",
    to: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("reports/preview"),
) -> None:
    """Draw a contact sheet of each dataset, with the masks' contours.

    Examples:

        bench data preview

        bench data preview --datasets mr --data ~/spine
    """
    from bench.data import cache
    from bench.launch import matrix

    chosen = load_profile(profile)
    readers = matrix.find(options.datasets_of(datasets, data, chosen), data, chosen)
    make_folder(to, "preview", "--to")
    with options.preparing(options.console()) as told:
        for reader in readers:
            prepared = reader.prepare(told)
            path = to / f"{prepared.id.key.replace('@', '-')}.png"
            sheet(cache.load(Path(prepared.cache)), path)
            print(path)


def sheet(dataset: Dataset, path: Path) -> None:
    """Draw up to eight cases, of eight patients where there are so many.

    The image is above, and the image with the contour of its mask below.
    """
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first = {case.patient: index for index, case in reversed(list(enumerate(dataset.cases)))}
    order = sorted(first.values()) if len(first) >= SHOWN else list(range(len(dataset.cases)))
    picked = [order[i] for i in np.unique(np.linspace(0, len(order) - 1, SHOWN).astype(int))]
    aspect = np.median([dataset.cases[i].height / dataset.cases[i].width for i in picked])
    size = (1.7 * len(picked), 1.7 * 2 * aspect + 0.7)
    with plt.rc_context({"text.parse_math": False}):  # a $ in a name is no formula
        figure = _sheet(dataset, picked, size)
        figure.savefig(path, dpi=150)
    plt.close(figure)


def _smaller(case: Case) -> Geometry:
    """Return how a case is drawn: no larger than the sheet shows it."""
    from bench.data.geometry import Geometry

    native = (case.height, case.width)
    scale = min(1.0, SIDE / max(native))
    height, width = (max(1, round(side * scale)) for side in native)
    return Geometry(native, (height, width))


def _labels(dataset: Dataset, index: int) -> NDArray[np.integer] | None:
    """Return the instances or the classes of a case; None where there is one foreground."""
    instances = dataset.instances(index)
    if instances is not None:
        return instances
    return dataset.target(index) if dataset.classes else None


def _fill(axis: Axes, image: NDArray[np.uint16], labels: NDArray[np.integer]) -> None:
    """Draw classes or instances in their colours over an image."""
    from bench.report.figures import overlay, parts

    grey = (image >> 8).astype("uint8")
    small = parts.classes(labels, max(image.shape)).pixels
    if small.shape == grey.shape:
        tinted = overlay.in_colours(grey, small, parts.COLOURS)
        axis.imshow(tinted, interpolation="antialiased")


def _names(dataset: Dataset, figure: Figure) -> None:
    """Write which colour is which class under the sheet."""
    from matplotlib.patches import Patch

    from bench.report.figures import parts

    handles = []
    for number, name in enumerate(dataset.classes, 1):
        colour = parts.COLOURS[parts.number_of(number) - 1]
        handles.append(Patch(facecolor=colour, label=name))
    if handles and not dataset.levels:
        figure.legend(handles=handles, loc="outside lower center", ncols=8, fontsize=6)


def _sheet(dataset: Dataset, picked: Sequence[int], size: tuple[float, float]) -> Figure:
    """Return the figure of a contact sheet."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(picked), figsize=size, squeeze=False, layout="constrained")
    for column, index in enumerate(picked):
        case, place = dataset.cases[index], _smaller(dataset.cases[index])
        image, mask = place.image(dataset.image(index)), place.mask(dataset.mask(index))
        for row in range(2):
            axes[row, column].imshow(
                image, cmap="gray", vmin=0, vmax=65535, interpolation="antialiased"
            )
            axes[row, column].set_axis_off()
        labels = _labels(dataset, index)
        if labels is not None:
            _fill(axes[1, column], image, labels)
        elif mask.any():
            axes[1, column].contour(mask, levels=[0.5], colors="#E69F00", linewidths=0.6)
        axes[0, column].set_title(
            f"{case.id}\npatient {case.patient}\n{case.width}x{case.height}", fontsize=6
        )
    _names(dataset, figure)
    source = "PHANTOM (simulated)" if dataset.source == "phantom" else "real"
    figure.suptitle(
        f"{dataset.name}, {source}: {count(len(dataset.patients), 'patient')}, "
        f"{count(len(dataset.cases), 'case')}",
        fontsize=9,
    )
    return figure
