"""`bench data init`: the command that it prints is one that works."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cli import init
from tests.data.test_volumes import spider
from tests.user import Bench

Make = Callable[..., Path]


def pictures(folder: Path, *names: str) -> None:
    for part, inside in (("images", 200), ("masks", 255)):
        for name in names:
            path = folder / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((24, 24), np.uint8)
            pixels[6:18, 6:18] = inside
            Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("names", "pattern", "words"),
    [
        (
            ("p1_a.png", "p1_b.png", "p2_a.png", "p3_a.png"),
            "{patient}_*",
            "3 patients (p1, p2, p3)",
        ),
        (("a-1.png", "a-2.png", "b-1.png", "c-1.png"), "{patient}-*", "3 patients (a, b, c)"),
        (("x/1.png", "x/2.png", "y/1.png", "z/1.png"), "{patient}/*", "3 patients (x, y, z)"),
        (("one.png", "two.png", "three.png"), "{patient}", "a patient of its own"),
    ],
)
def test_a_folder_of_pictures_gets_a_command_that_works(
    bench: Bench, names: tuple[str, ...], pattern: str, words: str
) -> None:
    pictures(bench.home / "my scans", *names)
    out = bench("data", "init", "my scans")
    assert words in out
    [run] = [line for line in out.splitlines() if line.startswith("bench run")]
    assert f":pattern={pattern}" in run
    assert run.endswith("--folds 3 --seeds 3 --baseline unet")
    said = bench(*shlex.split(run)[1:], "--profile", "smoke", "--dry-run")
    assert "18 cells to run" in said
    [plan] = [line for line in out.splitlines() if line.startswith("bench plan")]
    assert plan.endswith("--folds 3 --seeds 3")
    assert out.splitlines()[-1].startswith("Why: each of the 3 patients is tested, not a few")


def test_a_folder_of_volumes_gets_no_command_that_fails(bench: Bench) -> None:
    pictures(bench.home / "scans", "one.png", "two.png")
    for name in ("one", "two"):
        for kind in ("images", "masks"):
            (bench.home / "scans" / kind / f"{name}.png").unlink()
            volume = np.ones((4, 5, 6), np.uint8)
            np.save(bench.home / "scans" / kind / f"{name}.npy", volume)
    out = bench("data", "init", "scans", code=2)
    assert "one.npy: shape (4, 5, 6), expected one 2D image" in out
    assert "bench run" not in out


def test_one_damaged_image_hides_no_command(bench: Bench) -> None:
    pictures(bench.home / "scans", "one.png", "two.png", "three.png")
    (bench.home / "scans" / "images" / "one.png").write_bytes(b"no picture")
    assert "bench run" in bench("data", "init", "scans")


@pytest.mark.parametrize(
    ("patients", "folds"), [(2, ""), (4, "--folds 4 "), (25, "--folds 5 "), (400, "")]
)
def test_few_patients_are_tested_in_folds(patients: int, folds: str) -> None:
    run, _, why = init._commands("--datasets x", patients)
    assert run == f"bench run --methods unet,fcn --datasets x {folds}--seeds 3 --baseline unet"
    assert ("--folds" in why) == bool(folds)


def test_a_table_of_patients_is_seen(bench: Bench) -> None:
    pictures(bench.home / "scans", "a.png", "b.png", "c.png")
    (bench.home / "scans" / "patients.csv").write_text("file,patient\na,1\nb,2\nc,3\n")
    out = bench("data", "init", "scans")
    assert "those of patients.csv" in out
    assert "bench run --methods unet,fcn --datasets ./scans" in out


def test_a_data_folder_and_a_layout_are_known(bench: Bench, slices: Make) -> None:
    assert "bench run --methods unet,fcn --datasets mr --data" in bench(
        "data", "init", str(slices())
    )
    spider(bench.home / "spider")
    out = bench("data", "init", "spider")
    assert "spider has a layout of mr: 3 images or volumes with a mask of 3 patients" in out
    assert "bench data prepare mr --from spider" in out


def test_what_is_nothing_is_said(bench: Bench) -> None:
    (bench.home / "empty").mkdir()
    assert "is nothing that is known here" in bench("data", "init", "empty", code=2)
    assert "is no folder" in bench("data", "init", "nowhere", code=2)
    pictures(bench.home / "torn", "a_1.png")
    (bench.home / "torn" / "masks" / "a_1.png").rename(bench.home / "torn" / "masks" / "z_9.png")
    out = bench("data", "init", "torn", code=2)
    assert out.count("\n") <= 2
