"""Pictures of the studies of `bench tune`, by Optuna's own functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.spec import registry
from bench.tuning.study import Study

SCORE = "Dice of the validation patients"
"""The title of an axis."""


def draw(study: Study, folder: Path) -> None:
    """Draw the pictures of a study; the style that Optuna sets for all figures is set back."""
    import matplotlib as mpl

    mpl.use("Agg")
    with mpl.rc_context({"text.parse_math": False}):  # a $ in a name is no formula
        _draw(study, folder)


def _draw(study: Study, folder: Path) -> None:
    """Draw pictures of a study into `<dataset>/<method>/<fold>/` below a folder.

    The pictures show the best Dice so far, the validation losses of each trial, the Dice over each
    option, and, if there are several options, how important each was. Draw nothing if no trial is
    complete.
    """
    import matplotlib.pyplot as plt
    from optuna.trial import TrialState
    from optuna.visualization import matplotlib as plots

    opened, cell = study.open(), study.cell
    complete = opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return
    # By the name of the picture: Optuna's function, and the words on its axes.
    kinds: dict[str, tuple[Callable[[Any], Any], dict[str, str]]] = {
        "history": (plots.plot_optimization_history, {"title": "Trials in order", "ylabel": SCORE}),
        "curves": (
            plots.plot_intermediate_values,
            {
                "title": "Trials as they trained",
                "xlabel": "Validation",
                "ylabel": "-validation loss",
            },
        ),
    }
    if len(complete) > 1:
        kinds["slice"] = plots.plot_slice, {"ylabel": SCORE}
    method = registry.of_cell(cell)
    several_options, enough_trials = len(method.space) > 1, len(complete) > 3
    if several_options and enough_trials:
        kinds["importances"] = (
            plots.plot_param_importances,
            {"title": "How much each option mattered"},
        )
    fold = cell.label.of_any_seed
    place = folder / cell.dataset.id.folder / cell.method.folder / fold
    place.mkdir(parents=True, exist_ok=True)
    for name, (plot, words) in kinds.items():
        axes = plot(opened)
        first = axes.flat[0] if hasattr(axes, "flat") else axes
        first.set(**words)
        if name == "curves":
            first.xaxis.get_major_locator().set_params(integer=True)
        if name == "curves" and first.get_legend():
            first.get_legend().remove()  # it would have an entry for each trial
        figure = first.figure
        figure.set_size_inches(7, 4.2)
        what = (
            f"{method.title} on {cell.dataset.id.name} ({cell.dataset.id.source}), fold {cell.fold}"
        )
        figure.suptitle(f"{what}, profile '{cell.profile.name}'", fontsize=10)
        figure.tight_layout()
        figure.savefig(place / f"{name}.png", dpi=150)
        plt.close(figure)
