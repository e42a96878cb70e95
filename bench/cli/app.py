"""The command line: one function a command; what is heavy is imported inside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench.spec.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Compare segmentation methods, and defend the table.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at the datasets.")
app.add_typer(data_app, name="data")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="BENCH_DATA", help="Folder with ct-verse/, ct-pri/, mr/ or xray/ in it."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Results folder.")]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile", help="smoke, cpu, paper or a .toml file; paper with a GPU, else cpu."
    ),
]
PhantomsOf = Annotated[
    str, typer.Option("--profile", help="Whose phantoms stand in for what is not given.")
]
Json = Annotated[bool, typer.Option("--json", help="Print data instead of a table.")]
Datasets = Annotated[
    str, typer.Option("--datasets", help="Names with options, separated by commas, or all.")
]
Folds = Annotated[
    int, typer.Option(min=1, help="1: one 70/10/20 split; K: K-fold cross-validation.")
]
SplitFile = Annotated[
    Path | None,
    typer.Option("--split", help="Your own split of one dataset: lines of fold,patient,side."),
]
Fraction = Annotated[float, typer.Option(help="Share of the training patients to train on.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Cells at once; default: as many as the cores hold.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
RealOnly = Annotated[bool, typer.Option("--real-only", help="Refuse phantoms.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help=(
            "Where studies are, as Optuna takes it: postgresql://...; default: SQLite beside the"
            " results."
        )
    ),
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Send losses and scores to OUT/tensorboard.")
]
Mlflow = Annotated[
    str | None, typer.Option("--mlflow", help="Send them to this MLflow: http://HOST:PORT, ...")
]
ReportTo = Annotated[Path, typer.Option(help="Where the report goes.")]


def main() -> None:
    """Run the command line; wrong use and bad input end with one line and exit code 2."""
    try:
        app()
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def _device(wanted: str, here: bool = True) -> str:
    """Return the PyTorch device that a name stands for; one of other machines is not tried."""
    import torch

    if wanted == "auto":
        if here or torch.cuda.is_available():
            return "cuda" if torch.cuda.is_available() else "cpu"
        print(
            "bench: this machine has no GPU, so cells ask for none; --device cuda asks for them",
            file=sys.stderr,
        )
        return "cpu"
    if not here and wanted in ("cpu", "cuda"):
        return wanted
    try:
        torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device '{wanted}' cannot be used ({str(error).splitlines()[0]}); try --device cpu"
        ) from error
    return wanted


def _pairs(option: str, text: str) -> dict[str, str]:
    """Return key=value pairs that are separated by commas."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise UsageError(
                f"{option} {text}: expected KEY=VALUE,KEY=VALUE, for example {option}"
                " partition=gpu,time=240"
            )
    return {key: value for key, _, value in pairs}


@app.command()
def run(
    methods: Annotated[
        str, typer.Option(help="Names with options, separated by commas, or all.")
    ] = "all",
    datasets: Datasets = "all",
    data: Data = None,
    profile: ProfileName = None,
    out: Out = Path("results"),
    report: ReportTo = Path("reports"),
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 35 upwards.")] = 1,
    folds: Folds = 1,
    split: SplitFile = None,
    fraction: Fraction = 1.0,
    jobs: Jobs = None,
    device: Device = "auto",
    real_only: RealOnly = False,
    dry_run: DryRun = False,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Declare before the results: this method is compared with each other one."
        ),
    ] = None,
    correction: Annotated[
        Literal["holm", "max-t"], typer.Option(help="How the declared comparisons are corrected.")
    ] = "holm",
    timeout: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds without progress after which a cell is killed."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells again that failed before.")
    ] = False,
    launcher: Annotated[
        Literal["local", "slurm", "ray"],
        typer.Option(help="Where cells run; the results are the same."),
    ] = "local",
    slurm: Annotated[
        str,
        typer.Option(help="Options of sbatch: partition=gpu,account=me,time=240 (minutes), ..."),
    ] = "",
    address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of a Ray cluster, or auto; without, one starts here."),
    ] = None,
    gpus: Annotated[
        float, typer.Option(min=0, help="GPUs of a cell under Ray; a fraction shares one.")
    ] = 1.0,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="Give methods the options that bench tune found best.")
    ] = False,
    storage: Storage = None,
    tensorboard: Tensorboard = False,
    mlflow: Mlflow = None,
) -> None:
    """Train and test methods on datasets, and write the tables.

    What is finished is never repeated; what was interrupted goes on.

    Examples:

        bench run --methods all --datasets all

        bench run --methods unet,smp:arch=UnetPlusPlus:encoder=resnet34 --datasets mr --data ~/spine

        bench run --methods all --datasets mr --data ~/spine --folds 5 --reference verdiff

        bench run --folds 5 --seeds 5 --launcher slurm --slurm partition=gpu,time=480
    """
    from bench.cli import run as command
    from bench.data.splits import Scheme
    from bench.store.track import Wanted

    scheme = Scheme(folds, split, fraction)
    device = _device(device, here=launcher == "local")
    chosen = profile or ("cpu" if device == "cpu" else "paper")
    wish = command.Wish(
        methods,
        datasets,
        data,
        chosen,
        out,
        report,
        seeds,
        scheme,
        jobs,
        device,
        real_only,
        dry_run,
        reference,
        correction,
        timeout,
        retry_failed,
        launcher,
        _pairs("--slurm", slurm),
        address,
        gpus,
        tuned,
        Wanted(tensorboard, mlflow),
        storage,
    )
    ok = command.run(wish, _console())
    raise typer.Exit(0 if ok else 1)


@app.command()
def tune(
    methods: Annotated[
        str, typer.Option(help="Names with options, separated by commas, or all.")
    ] = "all",
    datasets: Datasets = "all",
    trials: Annotated[
        int, typer.Option(min=1, help="Of each method on each dataset and fold.")
    ] = 20,
    data: Data = None,
    profile: ProfileName = None,
    out: Out = Path("results"),
    report: ReportTo = Path("reports"),
    folds: Folds = 1,
    split: SplitFile = None,
    fraction: Fraction = 1.0,
    jobs: Jobs = None,
    device: Device = "auto",
    real_only: RealOnly = False,
    storage: Storage = None,
) -> None:
    """Find each method's best options by its validation patients, with as many trials for every method.

    Test cases cannot be read here. What is finished is not repeated; several commands on one
    storage share the trials.

    Examples:

        bench tune --methods unet,verdiff --datasets mr --trials 20

        bench tune --methods all --datasets mr --data ~/spine --folds 5 --storage
        postgresql://me@host/tuning

        bench run --methods all --datasets mr --data ~/spine --folds 5 --tuned
    """
    from bench.cli import run, tune
    from bench.data.splits import Scheme

    device = _device(device)
    chosen = profile or ("cpu" if device == "cpu" else "paper")
    wish = run.Wish(
        methods,
        datasets,
        data,
        chosen,
        out,
        report,
        1,
        Scheme(folds, split, fraction),
        jobs,
        device,
        real_only,
        False,
        storage=storage,
    )
    tune.tune(wish, trials, _console())


@app.command()
def ablate(
    dataset: Annotated[
        str, typer.Option("--dataset", help="Names with options, separated by commas, or all.")
    ],
    method: Annotated[str, typer.Option(help="A method with options.")] = "verdiff",
    factors: Annotated[
        str, typer.Option(help="Its on/off options to switch, at most 5; default: its modules.")
    ] = "",
    data: Data = None,
    profile: ProfileName = None,
    out: Out = Path("results"),
    report: ReportTo = Path("reports"),
    seeds: Annotated[
        int, typer.Option(min=1, help="Seeds, from 35 upwards; several give intervals over them.")
    ] = 1,
    folds: Folds = 1,
    split: SplitFile = None,
    fraction: Fraction = 1.0,
    jobs: Jobs = None,
    device: Device = "auto",
    real_only: RealOnly = False,
    dry_run: DryRun = False,
) -> None:
    """Switch a method's modules on and off in all combinations, and write table 2 with the effects.

    The arms are cells like those of `bench run`, and share them: same data, same seeds, same
    weights to start from.

    Examples:

        bench ablate --dataset mr

        bench ablate --dataset mr --method verdiff:steps=10 --factors msfm,nsa,bce --seeds 3 --data
        ~/spine
    """
    from bench.cli import ablate as command
    from bench.cli.run import Wish
    from bench.data.splits import Scheme

    scheme = Scheme(folds, split, fraction)
    device = _device(device)
    chosen = profile or ("cpu" if device == "cpu" else "paper")
    wish = Wish(
        method, dataset, data, chosen, out, report, seeds, scheme, jobs, device, real_only, dry_run
    )
    raise typer.Exit(0 if command.run(wish, factors, _console()) else 1)


@app.command()
def report(
    out: Out = Path("results"),
    profile: Annotated[str | None, typer.Option(help="Which results; default: the latest.")] = None,
    to: ReportTo = Path("reports"),
    check: Annotated[
        Path | None, typer.Option(help="Say which of a paper's numbers and claims hold no more.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw figures and write report.html too.")] = True,
) -> None:
    """Write tables, figures, report.html and a paper's numbers.tex from finished cells; or check a paper.

    With --check nothing is written; exit code 1 where a number or a claim of the paper no longer
    holds.

    Examples:

        bench report

        bench report --out results --profile paper --to reports

        bench report --check paper.tex
    """
    from bench.report import write
    from bench.report.paper import check as paper
    from bench.store.store import Store

    if check:
        lines = paper.against(Store(out), check, profile)
        print(*(lines or [f"{check}: everything holds"]), sep="\n")
        raise typer.Exit(1 if lines else 0)
    for path in write(Store(out), to, profile, "whole" if pictures else "texts"):
        print(path)


@app.command()
def status(
    out: Out = Path("results"),
    profile: Annotated[
        str | None, typer.Option(help="Which results; default: the latest that was planned.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until nothing runs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what of the matrix is done, running, failed and why, stopped, and waiting.

    Examples:

        bench status

        bench status --watch
    """
    from bench.cli import status as command

    if as_json:
        _print_json(command.rows(out, profile))
    else:
        command.show(out, profile, watch, _console())


@app.command()
def calibrate(
    out: Out = Path("results"),
    profile: Annotated[str | None, typer.Option(help="Which results; default: the latest.")] = None,
    rounds: Annotated[int, typer.Option(min=100, help="Trials of each kind.")] = 2000,
    as_json: Json = False,
) -> None:
    """Show on finished results that 5 % is 5 %: how often the tests find a difference where there is none.

    Methods are swapped within patients, and the seeds of one method split into two; a test over
    cases stands beside.

    Examples:

        bench calibrate

        bench calibrate --out results --profile paper --json
    """
    from bench.cli import calibrate as command

    rows = command.run(out, profile, rounds)
    _print_json(rows) if as_json else command.show(rows, _console())


@app.command()
def plan(
    methods: Annotated[
        str, typer.Option(help="Names with options, separated by commas, or all.")
    ] = "all",
    datasets: Datasets = "all",
    data: Data = None,
    profile: Annotated[
        str, typer.Option(help="Whose phantoms stand in, and whose results tell the spread.")
    ] = "cpu",
    out: Out = Path("results"),
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 35 upwards.")] = 1,
    folds: Folds = 1,
    split: SplitFile = None,
    simulate: Annotated[
        str | None,
        typer.Option(
            help="gpus=64, or gpus=64:jobs=2 for two cells at once on each: the time there."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the smallest difference that the planned patients and seeds can find, before anything trains.

    With --simulate: the wall time on many GPUs, their idle share, and what the shared disk sees,
    from the times of the finished cells under --out.

    Examples:

        bench plan --datasets mr --data ~/spine

        bench plan --methods unet,verdiff --datasets mr --folds 5 --seeds 3 --json

        bench plan --folds 5 --seeds 5 --simulate gpus=64
    """
    from bench.cli import power
    from bench.data.splits import Scheme

    wish = power.Wish(methods, datasets, data, profile, out, seeds, Scheme(folds, split))
    if simulate is not None:
        from bench.cli import simulate as simulation

        found = simulation.simulate(wish, simulate)
        _print_json(found) if as_json else simulation.show(found, _console())
        return
    rows = power.rows(wish)
    _print_json(rows) if as_json else power.show(rows, _console())


@app.command()
def audit(
    table: Annotated[Path | None, typer.Argument(help="A csv of printed results.")] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Audit the published tables of Verdiff-Net.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say which printed means and stds of Dice and IoU cannot be of the same predictions, image by image.

    The csv has columns method, dataset, dice_mean, dice_std, iou_mean, iou_std and, if known, n
    (the number of test images) and table; stds may be missing. Percent or fractions, with all
    printed digits: rounding is allowed for. Exit code 1 where a cell cannot be.

    Examples:

        bench audit table.csv

        bench audit --paper --json
    """
    from bench.cli import audit as command

    audits = command.audits(table, paper)
    _print_json(command.rows(audits)) if as_json else command.show(audits, _console())
    raise typer.Exit(
        0 if all(found.verdict == "ok" for each in audits for found in each.findings) else 1
    )


@app.command()
def methods(
    table: Annotated[
        bool, typer.Option("--table", help="What each one had and cost in finished runs.")
    ] = False,
    out: Out = Path("results"),
    profile: Annotated[
        str | None, typer.Option("--profile", help="Of which runs; the latest if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods, their sources and options; or the fairness ledger of what ran.

    Examples:

        bench methods

        bench methods --table

        bench methods --json
    """
    from bench.cli import show

    if table:
        rows = show.ledger(out, profile)
        _print_json(rows) if as_json else show.print_ledger(rows, _console())
    else:
        rows = show.methods()
        _print_json(rows) if as_json else show.print_methods(rows, _console())


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine: versions, device, cores, memory, disk, folders.

    Examples:

        bench doctor

        bench doctor --json
    """
    from bench.cli import show

    checks = show.doctor()
    _print_json(checks) if as_json else show.print_doctor(checks, _console())
    raise typer.Exit(0 if all(check["ok"] for check in checks) else 1)


@data_app.command("list")
def data_list(
    datasets: Datasets = "all",
    data: Data = None,
    profile: PhantomsOf = "cpu",
    as_json: Json = False,
) -> None:
    """List the datasets: real or phantom, how many patients and cases.

    Examples:

        bench data list

        bench data list --data ~/spine --json
    """
    from bench.cli import show

    rows = show.datasets(datasets, data, profile)
    _print_json(rows) if as_json else show.print_datasets(rows, _console())


@data_app.command("prepare")
def data_prepare(
    dataset: Annotated[str, typer.Argument(help="A name with options.")],
    source: Annotated[Path, typer.Option("--from", help="The dataset's own folder.")],
    as_json: Json = False,
) -> None:
    """Read a dataset into the cache, and say what was read: the manifest, with what was left out.

    A run does this by itself; here it is done once, with progress, before the runs.

    Examples:

        bench data prepare mr --from ~/spider

        bench data prepare ct-verse:vertebrae=5 --from ~/verse --json
    """
    from bench.cli import show

    manifest = show.prepare(dataset, source)
    _print_json(manifest) if as_json else show.print_manifest(manifest, _console())


@data_app.command("check")
def data_check(
    datasets: Datasets = "all",
    data: Data = None,
    profile: PhantomsOf = "cpu",
    as_json: Json = False,
) -> None:
    """Look for what spoils a result: damage, twins of two patients, odd masks, flipped cases, what was left out.

    Exit code 1 where results cannot be believed before something is mended.

    Examples:

        bench data check --data ~/spine

        bench data check --datasets path/to/folder --json
    """
    from bench.cli import show

    rows = show.check(datasets, data, profile)
    _print_json(rows) if as_json else show.print_check(rows, _console())
    raise typer.Exit(1 if any(row["grave"] for row in rows) else 0)


@data_app.command("preview")
def data_preview(
    datasets: Datasets = "all",
    data: Data = None,
    profile: PhantomsOf = "cpu",
    to: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("reports/preview"),
) -> None:
    """Draw a contact sheet of each dataset, with the masks' contours.

    Examples:

        bench data preview

        bench data preview --datasets mr --data ~/spine
    """
    from bench.cli import preview

    for path in preview.write(datasets, data, profile, to, _console()):
        print(path)


@data_app.command("export")
def data_export(
    dataset: Annotated[str, typer.Argument(help="A name with options, or a folder.")],
    to: Annotated[
        Path, typer.Option("--to", help="Where it goes; for nnU-Net, what nnUNet_raw points to.")
    ],
    layout: Annotated[str, typer.Option("--as", help="nnunet or medsegbench.")] = "nnunet",
    size: Annotated[
        int | None, typer.Option(help="MedSegBench's 128, 256 (the default) or 512.")
    ] = None,
    data: Data = None,
    split: SplitFile = None,
    fraction: Fraction = 1.0,
    profile: PhantomsOf = "cpu",
) -> None:
    """Write a dataset for other tools, on exactly the cases and the split by patient of `bench run`.

    nnU-Net's raw layout keeps pixels, sizes and spacing; MedSegBench's npz is of 8 bit and one
    size.

    Examples:

        bench data export mr --data ~/spine --to ~/nnUNet_raw

        bench data export mr --data ~/spine --to exports --as medsegbench --size 512
    """
    from bench.cli import export
    from bench.data.splits import Scheme

    scheme = Scheme(file=split, fraction=fraction)
    print(export.write(dataset, data, profile, to, layout, size, scheme, _console()))


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="spider or ctspine1k.")],
    to: Annotated[
        Path, typer.Option("--to", help="The data folder, which --data takes afterwards.")
    ],
    accept: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence that is shown.")
    ] = False,
) -> None:
    """Download a dataset that anyone may have; without --accept-licence, show its licence and size alone.

    What is stopped goes on when the same command is called again.

    Examples:

        bench data fetch spider --to ~/spine

        bench data fetch spider --to ~/spine --accept-licence
    """
    from bench.cli import fetch

    raise typer.Exit(0 if fetch.run(name, to, accept, _console()) else 2)


@app.command()
def clean(
    states: Annotated[
        list[str],
        typer.Argument(help="failed, stopped, done: cells in these states.", metavar="STATES"),
    ],
    out: Out = Path("results"),
    profile: Annotated[
        str | None, typer.Option(help="Which results; default: the latest that was planned.")
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Methods as bench status names them, separated by commas.")
    ] = "all",
    datasets: Annotated[
        str, typer.Option(help="Datasets likewise: mr, or mr@phantom-56a60cd6.")
    ] = "all",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove cells, and nothing beside their folders: lists them and asks first. A running cell is never touched.

    Plans, splits, references and declared comparisons stay; a removed cell waits to be run again.
    Exit code 1 where one was left, for another run has begun with it, or nothing was confirmed.

    Examples:

        bench clean failed stopped

        bench clean done --methods unet:width=32 --datasets mr --profile cpu --yes
    """
    from bench.cli import clean as command

    raise typer.Exit(
        0 if command.run(out, profile, methods, datasets, states, yes, _console()) else 1
    )


@app.command()
def track(
    out: Out = Path("results"),
    profile: Annotated[
        str | None, typer.Option("--profile", help="Which results; default: the latest.")
    ] = None,
    tensorboard: Tensorboard = False,
    mlflow: Mlflow = None,
) -> None:
    """Send what cells have left so far to a tracker, as `bench run --tensorboard` does while it runs.

    Examples:

        bench track --tensorboard

        bench track --mlflow http://127.0.0.1:5000 --profile cpu
    """
    from bench.store.store import Store
    from bench.store.track import Wanted, send

    wanted, store = Wanted(tensorboard, mlflow), Store(out)
    if not wanted:
        raise UsageError("nothing to send to; expected --tensorboard or --mlflow URI")
    wanted.check()
    chosen = store.finished_profile(profile)
    try:
        count = send(store, chosen, wanted)
    except Exception as error:  # a tracker may fail in any way
        raise UsageError(
            f"the tracker failed ({str(error).strip().splitlines()[0]}); is it there?"
        ) from error
    print(f"{count} finished cells of the profile '{chosen}' are sent whole.")


if __name__ == "__main__":
    main()
