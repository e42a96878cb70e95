"""`bench ablate`: the arms of a method as cells like any others, then table 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from bench.cli.run import Done, Wish, execute
from bench.data import cache
from bench.spec.config import SEED, load_profile
from bench.spec.errors import UsageError
from bench.stats import ablation as ablate


def run(wish: Wish, names: str, console: Console) -> bool:
    """Run the arms of a method; return whether every cell is finished.

    Args:
        wish: As for `bench run`; its methods are the one method whose options are switched.
        names: The options, separated by commas; empty for the method's own choice.
        console: Where to print.

    Raises:
        UsageError: Something is wrong with the wish or the data; nothing was trained.
    """
    factors, arms = ablate.arms(wish.methods, names, load_profile(wish.profile).scale)
    done = execute(replace(wish, methods=",".join(arm.spec for arm in arms)), console)
    if done is None:
        return True
    for path in _report(done, wish, arms, factors, console):
        console.print(str(path), soft_wrap=True, highlight=False)
    return not done.failed


def _report(
    done: Done, wish: Wish, arms: list[ablate.Arm], factors: tuple[str, ...], console: Console
) -> list[Path]:
    """Write table 2 and the picture of each dataset; return the files."""
    from bench.report.figures import arms as pictures
    from bench.report.sections import ablation

    folder, written = wish.report / done.profile.name, []
    seeds = range(SEED, SEED + wish.seeds)
    for dataset in done.datasets:
        try:
            table = ablation.collect(
                done.store, done.profile.name, dataset, arms, factors, seeds, wish.scheme
            )
        except UsageError as error:
            if not done.failed:
                raise
            console.print(
                f"No table 2 for {dataset.name}: {error}", soft_wrap=True, highlight=False
            )
            continue
        written += ablation.write(table, folder)
        written.append(folder / f"ablation-{table.slug}.png")
        cases = done.store.cases(done.profile.name)
        here = cases[
            (cases.digest == dataset.digest) & (cases.scheme == table.way) & (cases.seed == SEED)
        ]
        pictures.draw(table, done.store, cache.load(Path(dataset.cache)), here, written[-1])
        text = ablation.markdown(table)
        console.print(Markdown(text)) if console.is_terminal else print(text)
    return written
