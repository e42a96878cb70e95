"""`bench plan`: what the planned patients and seeds can find, or how long it would take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.spec import registry
from bench.spec.capabilities import compares, further_rows
from bench.spec.errors import UsageError
from bench.spec.names import Column, Row, Spec
from bench.spec.profile import Profile, load_profile
from bench.spec.words import count

if TYPE_CHECKING:
    from rich.console import Console

    from bench.cli.simulate import Timing
    from bench.data.splits import Splitting
    from bench.stats.power import Known
    from bench.stats.scores import PatientScores

METRIC = "dice"
"""What a plan is about: the endpoint of all tests."""


def plan(
    methods: options.Methods = "all",
    datasets: options.Datasets = "all",
    data: options.Data = None,
    profile: Annotated[
        str,
        typer.Option(
            help="Whose phantoms stand in, and whose results tell the spread; those of --steps 60 "
            "are cpu-steps60."
        ),
    ] = "cpu",
    out: options.Out = Path("results"),
    seeds: options.Seeds = "1",
    folds: options.Folds = 1,
    split: options.SplitFile = None,
    looks: options.Looks = 1,
    simulate: Annotated[
        str | None,
        typer.Option(help="gpus=64, or gpus=64:jobs=2 for two cells at once on each: the time."),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(help="60s, 5min: time some steps of each method here, so long in all."),
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Print the smallest difference that the planned patients and seeds can find.

    With --simulate: the wall time on many GPUs, their idle share, and what the shared disk sees,
    from the times of the finished cells under --out. With --measure: how long a cell of each method
    and all cells would take here, from some steps and predictions that are timed first; where both
    are given, methods without a finished cell are timed.

    Examples:

        bench plan --datasets mr --data ~/spine

        bench plan --methods unet,verdiff --datasets mr --folds 5 --seeds 3 --json

        bench plan --datasets mr --data ~/spine --seeds 5 --looks 2

        bench plan --folds 5 --seeds 5 --simulate gpus=64

        bench plan --methods unet,verdiff --datasets mr --measure 60s
    """
    splitting = options.splitting(folds, split)
    runs = len(options.seeds_of(seeds))
    timing = options.seconds_of(measure, "--measure") if measure else 0.0
    if timing and simulate is None:
        from bench.cli import measured

        chosen = load_profile(profile)
        place = measured.Place(data, chosen, splitting, options.choose_device(device))
        lines = measured.measure(methods, datasets, place, timing)
        if as_json:
            options.print_json(lines)
        else:
            measured.show(lines, splitting.count * runs, options.console())
        return
    if simulate is not None:
        from bench.cli import simulate as simulation

        cells = splitting.count * runs
        estimate = simulation.simulate(
            methods=methods,
            datasets=datasets,
            profile=profile,
            out=out,
            machines=simulate,
            folds=splitting.count,
            seeds=runs,
            cells_of_a_pair=cells,
            timed=_timed(data, splitting, timing, device),
        )
        if as_json:
            options.print_json(estimate)
        else:
            simulation.show(estimate, options.console())
        return
    rows = detectable(methods, datasets, data, profile, out, runs, splitting, looks)
    if as_json:
        options.print_json(rows)
    else:
        _show(rows, options.console())


def _timed(data: Path | None, splitting: Splitting, seconds: float, device: str) -> Timing | None:
    """Return what times the methods that have no finished cell, if that is wished."""
    if not seconds:
        return None
    from bench.cli import measured

    place = options.choose_device(device)

    def timing(methods: str, datasets: str, profile: Profile) -> dict[tuple[str, Spec], float]:
        """Return the seconds of a cell, by the dataset's name and the method."""
        where = measured.Place(data, profile, splitting, place)
        lines = measured.measure(methods, datasets, where, seconds)
        return {(line["dataset"], Spec.parse(line["method"])): line["seconds"] for line in lines}

    return timing


def detectable(
    methods: str,
    datasets: str,
    data: Path | None,
    profile: str,
    out: Path,
    seeds: int,
    splitting: Splitting,
    looks: int = 1,
) -> list[dict[str, Any]]:
    """Return, for each dataset, what its tested patients can find.

    Differences are fractions, None where none can be found. Datasets that are not prepared yet are.

    Raises:
        UsageError: Something is wrong with the names or the data, or fewer than two methods would
            be compared.
    """
    from bench.data import cache
    from bench.launch import matrix
    from bench.stats import power

    chosen = load_profile(profile)
    rows = _rivals(methods, chosen)
    tests = len(rows) - 1
    if not tests:
        raise UsageError(
            f"--methods '{methods}' is one row that compares, so there is no difference to plan "
            "for; name two, such as --methods unet,verdiff"
        )
    readers = matrix.find(options.datasets_of(datasets, data, chosen), data, chosen)
    results = _results(out, chosen)
    answers = []
    with options.preparing_quietly() as told:
        for reader in readers:
            prepared = reader.prepare(told)
            patients = _tested(cache.load(Path(prepared.cache)), splitting)
            earlier = None
            for scores in results:
                dataset_key, _, _scheme = scores.column.partition("/")
                if earlier is None and dataset_key == prepared.id.key:
                    earlier = power.known(scores, rows)
            column = Column(prepared.id, splitting.scheme)
            factor = max(looks, _factor(out, chosen, column, seeds))
            answers.append(
                {
                    "folds": splitting.count,
                    "looks": looks,
                    "factor": factor,
                    **_answer(
                        prepared.id.name,
                        prepared.id.source,
                        patients,
                        seeds,
                        tests,
                        factor,
                        earlier,
                    ),
                }
            )
    return answers


def _rivals(methods: str, profile: Profile) -> list[str]:
    """Return the keys of the rows that compare: methods and their further rows."""
    keys = []
    for spec in registry.expand(registry.METHODS, methods):
        method = registry.method(spec, profile.scale)
        if compares(method):
            keys += [Row(spec, extra).key for extra in ("", *further_rows(method))]
    return keys


def _results(out: Path, profile: Profile) -> list[PatientScores]:
    """Return the finished results of each column, those of most patients and seeds first."""
    from bench.stats.scores import arrange
    from bench.store.cells import Store
    from bench.store.results import Results

    store = Store(out)
    if not store.layout.profile(profile).finished():
        return []
    results = Results.load(store, profile.name)
    options.tell_damaged(results.damaged)
    scores = [by_metric[METRIC] for by_metric in arrange(results.cases, [METRIC]).values()]
    return sorted(scores, key=lambda one: (len(one.patients), len(one.seeds)), reverse=True)


def _factor(out: Path, profile: Profile, column: Column, seeds: int) -> int:
    """Return what p will be multiplied by for the reports that there were; 1 where none was."""
    from bench.report.sections.table import factor_of
    from bench.store import looks
    from bench.store.cells import Store
    from bench.store.plan import Plan

    store = Store(out)
    reported = looks.read(store.layout.profile(profile).looks)
    of_column = [look for look in reported if look.column == column.key]
    if not of_column:
        return 1
    new = seeds > max(len(look.seeds) for look in of_column)
    return factor_of(of_column, Plan(store, profile.name).family(), column.key, further=int(new))


def _tested(dataset: Any, splitting: Splitting) -> int:
    """Return how many patients are tested in any fold."""
    try:
        splits = splitting.split(dataset.patients, dataset.official)
    except UsageError as error:
        raise UsageError(f"{dataset.name}: {error}") from error
    tested = set()
    for split in splits:
        tested |= {patient for patient, side in split.sides.items() if side == "test"}
    return len(tested)


def _answer(
    name: str,
    source: str,
    patients: int,
    seeds: int,
    tests: int,
    factor: int,
    known: Known | None,
) -> dict[str, Any]:
    """Return what so many patients and seeds can find, where p is multiplied for the looks."""
    from bench.stats import power
    from bench.stats.flips import ALPHA, smallest_p
    from bench.stats.outliers import unseen

    spread = known.spread if known else power.Spread(power.ASSUMED)
    by_one_test = power.detectable(patients, seeds, factor, spread)
    by_family = power.detectable(patients, seeds, tests * factor, spread)
    measured = None
    if known:
        measured = {
            "pairs": known.pairs,
            "patients": known.patients,
            "seeds": known.seeds,
            "lowest_sd": known.lowest,
            "highest_sd": known.highest,
        }
    return {
        "dataset": name,
        "source": source,
        "patients": patients,
        "seeds": seeds,
        "tests": tests,
        "power": power.POWER,
        "alpha": ALPHA,
        "sd": math.hypot(spread.patients, spread.rest / seeds**0.5),
        "sd_seeds": spread.seeds if known and known.seeds > 1 else None,
        "measured": measured,
        "one": _finite(by_one_test),
        "family": _finite(by_family),
        "smallest_p": smallest_p(patients),
        "unseen": unseen(patients),
    }


def _finite(value: float) -> float | None:
    """Return a number, None where it is infinite: JSON has no infinity."""
    return value if math.isfinite(value) else None


def _show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print what can be found, in points of Dice."""
    from rich.table import Table

    tests = rows[0]["tests"]
    heads = ["dataset", "source", "patients", "seeds", "sd", "one test"]
    if tests > 1:
        heads.append(f"each of {tests} (Holm)")
    title = "Smallest difference found, in points of Dice"
    table = Table(*heads, title=title, title_justify="left")
    for row in rows:
        sd = _points(row["sd"])
        if not row["measured"]:
            sd += " assumed"
        values = [_points(row["one"])]
        if tests > 1:
            values.append(_points(row["family"]))
        counts = (str(row["patients"]), str(row["seeds"]))
        table.add_row(row["dataset"], row["source"], *counts, sd, *values)
    console.print(table)
    for line in _remarks(rows):
        options.say(line, to=console)


def _points(value: float | None) -> str:
    """Return a difference in points of Dice, as the terminal prints it."""
    return "none" if value is None else f"{100 * value:.2f}"


def _remarks(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a reader must know of the numbers."""
    from bench.stats import power
    from bench.stats.flips import ALPHA

    lines = [
        f"Found with {100 * power.POWER:.0f} % chance at {100 * ALPHA:.0f} %, two-sided, paired by "
        "patient; Holm counted as its first and strictest step; sd: of paired differences."
    ]
    looks = rows[0]["looks"]
    if looks > 1:
        lines.append(
            f"{looks} looks, each after more seeds: each has {100 * ALPHA / looks:.3g} % of the "
            f"{100 * ALPHA:g} % (Bonferroni), so you may stop at the first star. Declare them: "
            f"bench run --baseline METHOD --looks {looks}."
        )
    for row in rows:
        lines += _remarks_on(row)
        if row["factor"] > looks:
            lines.append(
                f"{row['dataset']}: results of several seeds were reported already, so a report of "
                f"{count(row['seeds'], 'seed')} has p x {row['factor']}: this plan counts it, at "
                f"{100 * ALPHA / row['factor']:.3g} % and not at {100 * ALPHA:g} %."
            )
    if any(row["measured"] is None for row in rows):
        lines.append(
            f"Assumed: differences vary by {100 * power.ASSUMED:g} points between patients, and "
            "not between seeds; finished results take the assumption's place."
        )
    measured = [row for row in rows if row["measured"]]
    if any(row["sd_seeds"] is None for row in measured):
        lines.append(
            "Results of one seed say nothing of how methods vary from seed to seed: this holds for "
            "these trained weights alone; bench run --seeds 3."
        )
    if any(row["source"] == "phantom" for row in measured):
        lines.append("Differences on phantoms say nothing of patients.")
    return lines


def _remarks_on(row: dict[str, Any]) -> list[str]:
    """Return what a reader must know of one dataset's numbers."""
    from bench.stats.outliers import SEEN_FROM

    lines = []
    name, measured = row["dataset"], row["measured"]
    patients = count(row["patients"], "patient")
    if measured:
        lines.append(
            f"{name}: sd from finished results of {count(measured['patients'], 'patient')}, "
            f"{count(measured['pairs'], 'pair')} of methods ({_points(measured['lowest_sd'])} to "
            f"{_points(measured['highest_sd'])}), seeds: {measured['seeds']}."
        )
    if row["family"] is None:
        many = "one test" if row["one"] is None else count(row["tests"], "test")
        if row["factor"] > 1:
            many += f" and p x {row['factor']} for the looks"
        remedy = "; --folds 5 tests every patient" if row["folds"] == 1 else ""
        lines.append(
            f"{name}: p is {row['smallest_p']:.3g} at best with {patients}, "
            f"too much for {many}: no star is possible{remedy}."
        )
    elif row["unseen"]:
        rate = f"{100 * row['unseen']:.0f} %"
        lines.append(
            f"{name}: {patients} may hide outliers among {rate} of all patients: a mark "
            f"stands in brackets unless the difference is above {rate} of the better mean; from "
            f"{SEEN_FROM} patients on, none does."
        )
    return lines
