"""The command line: each command is a file of this folder, with its options and its action."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from bench.cli import (
    ablate,
    archive,
    audit,
    calibrate,
    check,
    clean,
    datasets,
    doctor,
    export,
    fetch,
    imports,
    init,
    methods,
    new,
    plan,
    predict,
    prepare,
    preview,
    report,
    run,
    score,
    status,
    track,
    tune,
    verify,
)
from bench.cli.encoding import open_streams, use_utf8
from bench.spec import installing
from bench.spec.errors import UsageError, printable
from bench.spec.machine import lend_home

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Compare segmentation methods, and defend the table.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at the datasets.")

app.command("run")(run.run)
app.command("tune")(tune.tune)
app.command("ablate")(ablate.ablate)
app.command("report")(report.report)
app.command("score")(score.score)
app.command("import")(imports.import_scores)
app.command("compare")(imports.compare)
app.command("predict")(predict.predict)
app.command("verify")(verify.verify)
app.command("merge")(archive.merge)
app.command("pack")(archive.pack)
app.command("status")(status.status)
app.command("calibrate")(calibrate.calibrate)
app.command("plan")(plan.plan)
app.command("audit")(audit.audit)
app.command("methods")(methods.methods)
app.command("doctor")(doctor.doctor)
app.command("clean")(clean.clean)
app.command("track")(track.track)
app.add_typer(new.app, name="new")
app.add_typer(data_app, name="data")
data_app.command("init")(init.init)
data_app.command("list")(datasets.datasets)
data_app.command("prepare")(prepare.prepare)
data_app.command("check")(check.check)
data_app.command("preview")(preview.preview)
data_app.command("export")(export.export)
data_app.command("fetch")(fetch.fetch)


def _print_version(wanted: bool) -> None:
    """Print the version and leave, if it is wanted."""
    from importlib.metadata import version

    if wanted:
        print(f"verdiff-bench {version('verdiff-bench')}")
        raise typer.Exit


@app.callback()
def bench(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Compare segmentation methods, and defend the table."""


def main() -> None:
    """Run the command line; wrong use and bad input end with one line and exit code 2.

    What the system refuses (a full disk, a file of somebody else) is one line and exit code 1.
    """
    open_streams()
    use_utf8()
    lend_home()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries say nothing to users; python -W asks
    try:
        app()
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if not installing.of_train(error.name):
            raise
        print(f"bench: {installing.missing_for_training(error.name or '')}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"bench: {_said(error)}", file=sys.stderr)
        sys.exit(1)


def _said(error: OSError) -> str:
    """Return the line that says what the system refused, and of which file."""
    why = error.strerror or str(error) or type(error).__name__
    name = f"{error.filename} cannot be used: " if error.filename else ""
    return printable(f"{name}{why}; see its path, who may use it, and the room on its disk")
