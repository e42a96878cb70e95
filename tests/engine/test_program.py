"""A method that its own program trains: a folder in, masks out, scored beside the others."""

from __future__ import annotations

import json
from pathlib import Path

from bench.report.sections import table1
from bench.report.sections.table import collect
from bench.spec.machine import processor
from bench.store.cells import Store
from bench.store.results import Results
from tests.user import Bench

PROGRAM = '''
import sys
from dataclasses import dataclass
from bench.spec.program import Program

SCRIPT = """
import nibabel, numpy, os, pathlib, sys
data, answers = map(pathlib.Path, sys.argv[1:])
assert not (data / "labelsTs").exists()
assert (data / "splits_final.json").is_file()
if os.environ["HOW"] == "fail":
    sys.exit(3)
for path in (data / "imagesTs").iterdir():
    image = nibabel.load(path)
    mask = (numpy.asarray(image.dataobj) > 30000).astype("uint8")
    name = path.name.replace("_0000", "")
    nibabel.save(nibabel.Nifti1Image(mask, image.affine), answers / name)
"""

@dataclass(frozen=True)
class Threshold(Program):
    """Cuts the image."""
    title = "Threshold"
    source = "tests"

    def train(self, data, answers, seed, device, run):
        run([sys.executable, "-c", SCRIPT, str(data), str(answers)], {"HOW": "%s"})
'''


def ran(bench: Bench, how: str, code: int = 0, profile: str = "smoke") -> str:
    (bench.home / "threshold.py").write_text(PROGRAM % how, encoding="utf-8")
    words = ("--datasets", "mr", "--profile", profile, "--launcher", "debug")
    return bench("run", "--methods", "./threshold.py:Threshold", *words, code=code)


def test_a_program_reads_a_folder_and_its_masks_are_scored(bench: Bench) -> None:
    out = ran(bench, "work")
    assert "Threshold [trained by its own program]" in out
    results = Results.load(Store(bench.home / "results"))
    (cell,) = results.cells
    assert results.cases.dice.between(0, 1).all()
    assert cell.record.external is not None
    assert cell.record.external.kind == "program"
    assert "method.py" in cell.record.digests
    assert cell.prediction(results.cases.case[0]).any()
    assert not cell.folder.own.exists()
    (table,) = collect(results)
    notes = " ".join(note.text for note in table1.document(table).notes)
    assert "Trained by their own programs on the training side of the same split" in notes
    written = json.loads(cell.folder.record.read_text(encoding="utf-8"))
    assert written["timings"] is None
    assert written["device"] == processor()
    assert set(written["energy_joules"]) == {"gpu", "processor"}
    assert "The cell is finished already" in ran(bench, "work")


def test_the_tolerance_of_a_profile_is_that_of_every_score(bench: Bench) -> None:
    own = bench.home / "own.toml"
    own.write_text('extends = "smoke"\nnsd_tolerance = 30\n', encoding="utf-8")
    ran(bench, "work")
    ran(bench, "work", profile="own.toml")
    usual, wide = (Results.load(Store(bench.home / "results"), name) for name in ("smoke", "own"))
    assert (wide.cases.nsd > usual.cases.nsd).all()
    words = ("--datasets", "mr:labels=vertebra=1-25/disc=201-225", "--profile", "own.toml")
    bench("run", "--methods", "unet", *words, "--launcher", "debug")
    assert "does not hold: 0" in bench("verify", "results")
    masks = next(path.parent for path in Path("results/own").rglob("predictions/*.png"))
    words = ("--dataset", "mr", "--predictions", f"Ours={masks}", "--profile", "own.toml")
    assert "--profile own: its NSD accepts 30" in bench("score", *words, code=2)


def test_a_program_that_fails_is_a_failed_cell(bench: Bench) -> None:
    out = ran(bench, "fail", code=1)
    assert "ended with 3" in out
    assert not list(Path(bench.home / "results").rglob("cell.json"))
