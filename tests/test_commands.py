"""Every command of README and documentation is run on tiny data, as it stands there.

Of what trains only the plan is made (`--dry-run`): the tests of `bench run` train. What takes other
seconds is under `long`; a sample of all is in the suite.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.core import TyperGroup

from bench.cli import app as cli
from tests.conftest import make_slices
from tests.data.test_volumes import spider
from tests.test_readme import PAGES, commands
from tests.user import ROOT, leave_undrawn
from tests.written import DICE, finished

TRAINS = {"run": ("--profile", "smoke", "--dry-run"), "ablate": ("--profile", "smoke", "--dry-run")}
"""What trains, and what makes it only say so."""
QUICK = {
    "report": ("--no-pictures",),
    "data list": ("--profile", "smoke"),
    "data export mr:labels": ("--profile", "smoke"),
    "data check": ("--profile", "smoke"),
    "plan": ("--profile", "smoke"),
    "score --dataset": ("--out", "beside", "--profile", "smoke"),
}
"""What is added so that a command draws nothing, or simulates the smallest phantoms."""
ELSEWHERE = {
    "bench data fetch": "downloads; tests/data/test_fetch.py answers for the servers",
    "bench tune": "trains; tests/cli/test_tune.py",
    "bench calibrate": "simulates for minutes; tests/cli/test_calibrate.py",
    "bench track": "sends to another program; tests/store/test_track.py",
    "bench plan --profile paper": "needs cells that a GPU trained; tests/cli/test_plan.py",
    "bench plan --folds 5 --seeds 5 --simulate": "needs cells of all; tests/cli/test_plan.py",
    "bench run --tuned": "needs studies; tests/cli/test_tune.py",
    "bench new method NAME": "a name in capitals stands for yours; tests/cli/test_new.py",
    "bench predict CELL": "needs a trained cell; tests/cli/test_predict.py",
    "bench merge": "needs results of two machines; tests/store/test_archive.py",
}
"""Commands that other tests run, by how they begin."""
METHOD = """
from dataclasses import dataclass
from torch import nn
from bench.spec.method import Method
from bench.spec.options import option

@dataclass(frozen=True)
class AttentionUNet(Method):
    width: int = option(8, "channels", low=1)
    title = "Mine"
    source = "tests"

    def build(self, task):
        return nn.Conv2d(1, 1, 3, padding="same")

class MyNet(AttentionUNet):
    pass
"""
THE_COMMAND = typer.main.get_command(cli.app)
PATIENTS = [f"p{number:02d}" for number in range(1, 6)]


def everything() -> list[str]:
    """Return all commands: the lines of code, and those in sentences with their arguments."""
    lines: dict[str, None] = {}
    for page in PAGES:
        lines.update(dict.fromkeys(commands(page)))
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for line in re.findall(r"`(bench [^`]+)`", text):
            if "..." not in line and (line in ALONE or arguments(line)):
                lines[line] = None
    return [line for line in lines if not any(line.startswith(begin) for begin in ELSEWHERE)]


def arguments(line: str) -> list[str]:
    """Return what follows the names of a command and its group."""
    words = shlex.split(line)[1:]
    command = THE_COMMAND
    while isinstance(command, TyperGroup) and words:
        command = command.commands[words.pop(0)]
    return words


ALONE = ("bench doctor", "bench status", "bench methods", "bench report")
"""Commands that need no further word."""
SLOW = ("bench methods", "bench data preview", "resnet34.pt")
"""What commands hold that take seconds."""
SAMPLE = 6
"""One command of so many is in the suite."""


def pictures(folder: Path, names: list[str], masks: bool, shift: int = 0) -> None:
    """Write pictures, or masks of a square that some pixels are missing from."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(names))
    for number, name in enumerate(names):
        pixels = generator.integers(0, 200, (40, 40), dtype=np.uint8)
        if masks:
            pixels = np.zeros((40, 40), np.uint8)
            pixels[10 : 30 - shift * (number % 3), 10:30] = 255
        Image.fromarray(pixels).save(folder / name)


def rows(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that the documentation's commands name."""
    home = tmp_path_factory.mktemp("documented")
    names = [f"{patient}_{side}.png" for patient in PATIENTS for side in "ab"]
    for folder in ("scans", "path/to/folder"):
        pictures(home / folder / "images", names, masks=False)
        pictures(home / folder / "masks", names, masks=True)
    pairs = (f"{name},{name[:3]}" for name in names)
    rows(home / "path/to/folder/list.csv", "image,subject id", *pairs)
    rows(home / "patients.csv", "file,patient", *(f"{name},{name[:3]}" for name in names))
    pictures(home / "labels", names, masks=True)
    pictures(home / "labelsTs", names, masks=True)
    pictures(home / "imagesTs", names, masks=False)
    make_slices(home / "DIR")
    spider(home / "path/to/spider")
    sides = ("train", "train", "train", "validation", "test", "test")
    rows(home / "mine.csv", "fold,patient,side", *(f"0,{n},{s}" for n, s in enumerate(sides, 1)))
    scores: list[str] = []
    for number, method in enumerate(("Ours", "B")):
        scores += [f"{method},{p},{p}_a,0.{70 + 9 * number + k}" for k, p in enumerate(PATIENTS)]
    rows(home / "scores.csv", "method,patient,case,dice", *scores)
    wide = (f"{p}_a,{p},{70 + k}.5,{60 + 2 * k}" for k, p in enumerate(PATIENTS))
    rows(home / "wide.csv", "image,patient,Ours,U-Net", *wide)
    published = "U-Net,mr,80.00,5.00,70.00,6.00"
    rows(home / "table.csv", "method,dataset,dice_mean,dice_std,iou_mean,iou_std", published)
    counted = {"Dice": 0.8, "IoU": 0.8 / 1.2, "TP": 80, "FP": 20, "FN": 20, "TN": 900}
    cases = [{"metrics": {"1": counted, "2": counted}, **_paths(p)} for p in PATIENTS]
    rows(home / "validation/summary.json", json.dumps({"metric_per_case": cases}))
    monai = (f"/d/{p}.nii.gz\t0.8\t0.8" for p in PATIENTS)
    for folder in ("labels", "preds"):
        spine = home / "spine" / folder
        spine.mkdir(parents=True)
        for name in names:
            drawn = np.zeros((40, 40), np.uint8)
            drawn[4:12], drawn[14:18], drawn[20:28] = 1, 10, 2
            Image.fromarray(drawn).save(spine / name)
    rows(home / "labels.json", json.dumps({"square": 255}))
    rows(home / "mean_dice_raw.csv", "filename\tclass0\tmean", *monai)
    (home / "my_method.py").write_text(METHOD)
    shutil.copytree(ROOT / "examples", home / "examples")
    for method, dice in {**DICE, "verdiff": DICE["fcn"]}.items():
        finished(home / "results", method, dice)
    rows(
        home / "paper.tex",
        r"\documentclass{article}",
        r"\input{numbers}",
        r"\begin{document}\benchPhantomDice{mr}{unet}\end{document}",
    )
    return home


def predictions(home: Path, flat: bool) -> None:
    """Write the masks of one method into `preds/`, or those of two methods into folders of it."""
    shutil.rmtree(home / "preds", ignore_errors=True)
    names = [path.name for path in sorted((home / "labels").iterdir())]
    for number, name in enumerate(("",) if flat else ("ours", "unet"), 1):
        pictures(home / "preds" / name, names, masks=True, shift=number)


def _paths(patient: str) -> dict[str, str]:
    return {"prediction_file": f"/p/{patient}_a.png", "reference_file": f"/r/{patient}_a.png"}


def needed(line: str, home: Path) -> None:
    """Make what a command takes from the one before it on its page."""
    predictions(home, flat='=preds"' in line)
    if line.startswith(("bench clean", "bench status")):
        call("bench import scores.csv", home)
    if "--check paper.tex" in line:
        call("bench report", home)
        shutil.copy(next((home / "reports").glob("*/numbers.tex")), home / "numbers.tex")
    if "table.csv --metric" in line:
        shutil.copy(home / "wide.csv", home / "table.csv")
    if "weights=resnet34.pt" in line and not (home / "resnet34.pt").exists():
        import segmentation_models_pytorch as smp
        import torch

        encoder = smp.Unet("resnet34", encoder_weights=None).encoder
        torch.save(encoder.state_dict(), home / "resnet34.pt")
    if "--layout paper.toml" in line:
        (home / "paper.toml").write_text(call("bench report --layout-template", home))
    if "--dataset mr --data DIR --folds 5" in line:
        cases = sorted((home / "DIR/mr/labels").glob("*.png"))
        shutil.rmtree(home / "preds/ours")
        (home / "preds/ours").mkdir(parents=True)
        for case in cases:
            mask = np.asarray(Image.open(case)) > 0
            Image.fromarray(mask.astype(np.uint8) * 255).save(home / "preds/ours" / case.name)


def call(line: str, home: Path) -> str:
    """Run one command in the folder; return what it printed."""
    words = shlex.split(line.partition(" > ")[0])[1:]
    for begin, more in {**TRAINS, **QUICK}.items():
        whole = begin == "report" and {"--check", "--layout", "--layout-template"} & set(words)
        if " ".join(words).startswith(begin) and not whole:
            words += more if more[0] not in words else more[2:]
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        patch.chdir(home)
        patch.setattr(sys, "argv", ["bench", *words])
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as left:
            cli.main()
    wanted = (1,) if words[0] == "audit" else (None, 0)  # audit found what cannot be
    assert left.value.code in wanted, f"{line}\n{out.getvalue()}"
    return out.getvalue()


def parameters() -> list[object]:
    """Return all commands; most are under `long`."""
    commands = []
    for number, line in enumerate(everything()):
        slow = number % SAMPLE or any(words in line for words in SLOW)
        marks = [pytest.mark.long] if slow else []
        commands.append(pytest.param(line, marks=marks, id=line))
    assert len(commands) > 40
    return commands


@pytest.mark.parametrize("line", parameters())
def test_a_documented_command_does_what_the_page_says(
    line: str, home: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(home, own)
    needed(line, own)
    assert call(line, own).strip()
