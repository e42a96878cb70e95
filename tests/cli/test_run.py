"""`bench run` and its companions, as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bench.data import cache
from bench.data.geometry import Geometry
from bench.spec import registry
from bench.spec.method import Task
from bench.spec.names import Spec
from tests.engine.test_program import PROGRAM
from tests.spec.test_own_files import METHOD
from tests.user import RESULTS, SMOKE, Bench, digests

Make = Callable[..., Path]


def test_a_run_leaves_what_the_design_promises_and_is_not_repeated(
    bench: Bench, slices: Make
) -> None:
    data = slices()
    out = bench.run(data, "unet,fcn")
    assert "| U-Net |" in out
    assert "Certificates: all agree" in out
    assert "report.html: bench report --profile smoke\n" in out
    folder = bench.cell()
    assert {p.name for p in folder.iterdir()} == {
        "cell.json",
        "initial.json",
        "train.csv",
        "cases.csv",
        "predictions",
        "probabilities",
        "model.safetensors",
        "log.txt",
    }
    record = json.loads((folder / "cell.json").read_text())
    assert record["source"] == "real"
    assert record["spec"]["dataset"]["name"] == "mr"
    assert record["certificate"]["seed"] == 35
    assert record["versions"]["torch"]
    assert record["device"]
    assert record["timings"]["train_seconds"] > 0
    cases = pd.read_csv(folder / "cases.csv")
    assert np.allclose(cases.iou, cases.dice / (2 - cases.dice))
    assert (cases[["tp", "fp", "fn", "tn"]].sum(axis=1) == 60 * 44).all()
    assert {p.stem for p in (folder / "predictions").iterdir()} == set(cases["case"])
    lying = digests(folder, "*")
    assert record["digests"] == {
        name: value for name, value in lying.items() if name not in ("cell.json", "log.txt")
    }
    shared = digests(folder.parents[1] / "references", "*")
    assert record["references"] == shared
    assert len(shared) == 2 * len(cases)
    before = digests(bench.home / "results", "*")
    assert "All 2 cells are finished already" in bench.run(data, "unet,fcn")
    assert digests(bench.home / "results", "*") == before
    out = bench.run(data, "unet,fcn,unet:width=5")
    assert "3 cells, 1 to run" in out
    assert "U-Net (width=5)" in out


@pytest.mark.usefixtures("pictures")
def test_jobs_do_not_change_a_result(bench: Bench, slices: Make) -> None:
    data = slices()
    bench.run(data, "unet,deeplabv3", "--jobs", "1", "--out", "one", "--report", "report-one")
    bench.run(data, "unet,deeplabv3", "--jobs", "2", "--out", "two", "--report", "report-two")
    assert digests(bench.home / "one", *RESULTS) == digests(bench.home / "two", *RESULTS)
    reports = ("table1-*", "figure8-*")  # the ledger holds times
    assert digests(bench.home / "report-one", *reports) == digests(
        bench.home / "report-two", *reports
    )


def test_folds_and_seeds_are_axes(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(patients=6), "unet", "--folds", "3", "--seeds", "2")
    assert "6 cells, 6 to run" in out
    assert "6 patients, 12 cases tested" in out
    labels = sorted(p.name for p in bench.cell(label="f0of3-s35").parent.iterdir())
    assert labels == [f"f{fold}of3-s{seed}" for fold in range(3) for seed in (35, 36)]


def test_a_further_look_is_told_before_anything_runs(bench: Bench, slices: Make) -> None:
    data = slices(patients=6)
    assert "further look" not in bench.run(data, "unet", "--seeds", "2")
    assert "further look" not in bench.run(data, "unet", "--seeds", "2")
    out = bench.run(data, "unet", "--seeds", "3")
    said = "results of 2 seeds were reported already, so a report with more is a further look"
    assert f"{said}: p x 4, now x 1." in out
    assert out.index(said) < out.index("to run")


def table_of(bench: Bench) -> str:
    """Return table 1 with all its notes, of which the terminal shows five."""
    path = bench.home / "reports" / "smoke" / "table1-real.md"
    return path.read_text(encoding="utf-8")


def test_ones_own_split_and_a_share_of_patients_stand_apart(
    bench: Bench, slices: Make, tmp_path: Path
) -> None:
    data = slices(patients=8)
    bench.run(data)
    written = next(bench.home.rglob("split.csv")).read_text()
    mine = tmp_path / "mine.csv"
    mine.write_text(written.replace("validation", "test", 1).replace("train", "validation", 1))
    out = bench.run(data, "unet", "--split", str(mine))
    assert "a split of the user's own" in out
    bench.run(data, "unet", "--fraction", "0.5")
    assert "50 % of the training patients used" in table_of(bench)
    assert "3 MR" not in out
    records = {
        path.parent.name: json.loads(path.read_text()) for path in bench.home.rglob("cell.json")
    }
    own = next(name for name in records if "own" in name)
    assert sorted(records) == sorted(["f0-s35", "f0-s35-fraction0.5", own])
    whole, half = records["f0-s35"], records["f0-s35-fraction0.5"]
    assert half["patients"]["train"] == round(whole["patients"]["train"] / 2)
    assert half["patients"]["test"] == whole["patients"]["test"]
    table = pd.read_csv(next(bench.home.rglob("table1-real.csv")))
    assert len(table.dataset.unique()) == 3
    assert "The cell is finished already" in bench.run(data, "unet", "--fraction", "0.5")


def test_a_split_of_other_patients_is_refused(bench: Bench, slices: Make, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    text = "fold,patient,side\n0,M\u00fcller,train\n0,b,validation\n0,c,test\n"
    mine.write_bytes(text.encode("cp1252"))
    words = ("run", "--methods", "unet", "--profile", "smoke", "--split", str(mine))
    said = bench(*words, "--datasets", "mr", "--data", str(slices(patients=6)), code=2)
    assert "mr: " in said
    assert "bench: assumed: mine.csv is read as cp1252 (Windows), because it is no UTF-8" in said
    assert "is of one dataset's patients" in bench(*words, "--datasets", "mr,xray", code=2)


def test_dry_run_prints_the_plan_and_writes_nothing(
    bench: Bench, slices: Make, own_cache: Path
) -> None:
    out = bench.run(slices(), "unet,fcn", "--dry-run")
    assert "to be prepared" in out
    assert "2 cells to run" in out
    assert list(bench.home.iterdir()) == []


def test_a_dry_run_cuts_no_name_and_tells_of_a_grid_that_is_larger_than_the_images(
    bench: Bench, slices: Make
) -> None:
    data, method = slices(), "verdiff:scheduler=ddim:steps=3:samples=2"
    bench("data", "prepare", "mr", "--from", str(data / "mr"))
    bench.patch.setenv("COLUMNS", "80")
    said = "mr: images are enlarged to 1168 x 864"
    out = bench.run(data, method, "--pixels", "1000000", "--dry-run")
    names = [line.split("│")[3].strip() for line in out.splitlines() if line.count("│") == 8]
    assert "".join(names) == method
    assert f"{said}, which costs time and memory and adds nothing that they do not show; " in out
    assert out.count("--pixels 2640 has about their size") == 1
    assert "images are enlarged" not in bench.run(data, "unet", "--dry-run")


def test_a_run_tells_of_a_grid_that_is_larger_than_the_images(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet", "--pixels", "16384", "--launcher", "debug")
    assert "mr: images are enlarged to " in out


def test_fewer_pixels_than_the_smallest_grid_has_are_refused(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet", "--pixels", "1", "--dry-run", code=2)
    assert "smoke-pixels1': 1 pixel of the network grid; the smallest grid is 16 x 16" in out


def test_phantoms_are_named_as_such_and_can_be_refused(bench: Bench) -> None:
    out = bench("run", "--methods", "unet", "--datasets", "xray", "--profile", "smoke")
    assert "PHANTOM data (simulated)" in out
    record = json.loads(next(bench.home.rglob("cell.json")).read_text())
    assert record["source"] == "phantom"
    assert "--real-only" in bench(
        "run", "--datasets", "xray", "--profile", "smoke", "--real-only", code=2
    )


def test_a_dataset_named_twice_is_run_once(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet", "--datasets", "mr,mr:labels=spider-t2")
    assert "1 cell, 1 to run" in out


def test_a_damaged_cache_is_found_before_anything_trains(
    bench: Bench, slices: Make, own_cache: Path
) -> None:
    data = slices()
    bench("data", "list", "--datasets", "mr", "--data", str(data))
    folder = cache.find(registry.dataset(Spec("mr")), data / "mr")
    assert folder
    (folder.parent / "images.u8").write_bytes(b"")
    assert "remove the folder and run again" in bench.run(data, code=2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_is_used(bench: Bench, slices: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    bench.run(slices(), "unet", "--device", "cuda")
    record = json.loads((bench.cell() / "cell.json").read_text())
    assert record["spec"]["precision"] == "bfloat16"
    assert record["peak_device_memory_bytes"] > 0


def test_an_edited_protocol_never_overwrites(bench: Bench, slices: Make, tmp_path: Path) -> None:
    data = slices()
    profile = tmp_path / "mine.toml"
    words = (
        "run",
        "--methods",
        "unet",
        "--datasets",
        "mr",
        "--data",
        str(data),
        "--profile",
        str(profile),
    )
    profile.write_text(SMOKE)
    bench(*words)
    profile.write_text(SMOKE.replace("steps = 4", "steps = 5"))
    assert "was made under another profile of the same name (its steps differ)" in bench(
        *words, code=2
    )


def _one_value(data: Path) -> None:
    Image.fromarray(np.full((60, 44), 9, np.uint8)).save(data / "mr" / "images" / "1_0.png")


BAD = {
    "unknown method": (["--methods", "unett"], "did you mean 'unet'"),
    "unknown dataset": (["--datasets", "mri"], "did you mean 'mr'"),
    "unknown option": (["--methods", "unet:wide=3"], "unet has no option 'wide'"),
    "bad option value": (["--methods", "unet:width=-3"], "-3 is out of range; expected at least 1"),
    "unknown profile": (["--profile", "smok"], "did you mean 'smoke'"),
    "no data there": (["--data", "/nowhere/at/all"], "--data /nowhere/at/all is not there"),
    "no device": (["--device", "cuda:77"], "device 'cuda:77' cannot be used"),
    "data without it": (["--data", "."], "has none of mr/ in it; leave --data out"),
    "report in a file": (
        ["--report", "/dev/null/report"],
        "cannot be written (Not a directory); choose another with --report",
    ),
    "results in a file": (
        ["--out", "/dev/null/results"],
        "results folder /dev/null/results cannot be written",
    ),
    "options for a phantom": (
        ["--datasets", "mr,xray:good_central=on"],
        "is not there; give --data DIR",
    ),
    "no share": (["--fraction", "0"], "--fraction 0 is no share of patients"),
    "no split file": (
        ["--split", "/nowhere.csv"],
        "/nowhere.csv cannot be read (No such file",
    ),
    "too many folds": (["--folds", "50"], "6 patients cannot be split: expected at least 50"),
}


@pytest.mark.parametrize("what", BAD)
def test_wrong_use_is_one_line_and_code_2(bench: Bench, slices: Make, what: str) -> None:
    words, message = BAD[what]
    base = {"--methods": "unet", "--datasets": "mr", "--data": str(slices()), "--profile": "smoke"}
    merged = base | dict([words])
    out = bench("run", *(word for pair in merged.items() for word in pair), code=2)
    assert message in out
    assert "Traceback" not in out
    assert not list(bench.home.rglob("cell.json"))


def test_bad_files_are_left_out_and_the_table_says_so(bench: Bench, slices: Make) -> None:
    data = slices(patients=8)
    _one_value(data)
    out = bench.run(data)
    assert "mr: 1 left out:" in out
    assert "1_0.png: every pixel is 9, expected an image; repair or remove the case" in out
    assert "; 1 file of the dataset left out as unusable" in table_of(bench)


def test_an_empty_mask_is_data(bench: Bench, slices: Make) -> None:
    data = slices()
    for path in (data / "mr" / "labels").iterdir():
        if not path.name.startswith("2_"):
            Image.fromarray(np.zeros((60, 44), np.uint8)).save(path)
    bench.run(data)
    cases = pd.read_csv(bench.cell() / "cases.csv", keep_default_na=False)
    assert set(cases["empty"]) <= {"truth", "both", "none"}
    assert {"truth", "both"} & set(cases["empty"])


def test_a_diffusion_leaves_its_prior_its_spread_and_its_stages(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "verdiff,verdiff:prior")
    assert "1 cell" in out or "1/1" in out
    assert "| Verdiff-Net |" in out
    assert "| Verdiff-Net, prior alone |" in out
    cell = bench.cell("verdiff")
    answers, priors = pd.read_csv(cell / "cases.csv"), pd.read_csv(cell / "cases-prior.csv")
    assert list(answers.case) == list(priors.case)
    assert "spread" not in priors
    for row in answers.itertuples():
        spread, probability, prior = (
            cv2.imread(str(cell / folder / f"{row.case}.png"), cv2.IMREAD_UNCHANGED)
            for folder in ("spread", "probabilities", "probabilities-prior")
        )
        assert spread.dtype == probability.dtype == np.uint8
        mask = cv2.imread(str(cell / "predictions-prior" / f"{row.case}.png"), 0)
        back = Geometry(mask.shape, prior.shape).back
        assert back(spread / np.float32(255)).mean() == pytest.approx(row.spread, abs=1 / 510)
        assert 0 < spread.max() <= 128
        sure = np.abs(back(prior / np.float32(255)) - 0.5) > 1 / 255
        assert np.array_equal((back(prior / np.float32(255)) > 0.5)[sure], mask[sure] > 0)
    names = list(np.load(cell / "stages.npz"))
    assert names == [
        "image",
        "prior",
        "x at t = 1000",
        "x at t = 500",
        "mean",
        "spread",
        "reference",
    ]
    with Image.open(next(bench.home.rglob("stages-mr@real-*-verdiff.png"))) as picture:
        assert min(picture.size) > 300
    numbers = pd.read_csv(bench.home / "reports" / "smoke" / "table1-real.csv").set_index("method")
    assert numbers.dice_mean["verdiff:prior"] == pytest.approx(priors.dice.mean())


def test_rows_that_compare_with_no_other_are_marked_and_the_ledger_is_measured(
    bench: Bench, slices: Make
) -> None:
    data = slices()
    out = bench.run(data, "unet,nnunet:recipe=native,sam:prompt=box")
    assert "| nnU-Net (recipe=native) [trained on data of its own making] |" in out
    assert "| SAM (prompt=box) [oracle: told the reference's box] |" in out
    assert "every method but nnunet:recipe=native was given the same augmented data" in out
    own = bench.cell("nnunet,recipe=native")
    record = json.loads((own / "cell.json").read_text())
    assert (
        record["own_training"],
        record["certificate"]["heads"],
        record["training"]["steps"],
    ) == (True, [], 4)
    assert record["without_effect"] == ["optimiser"]
    assert "optimiser=adam" not in table_of(bench)
    assert record["network"]["configurations"]["2d"]["patch_size"]  # nnU-Net's plans are kept
    assert not (own / "own").exists()  # what its trainer wrote is gone
    cells = {
        name: json.loads((bench.cell(name) / "cell.json").read_text())
        for name in ("unet", "sam,prompt=box")
    }
    assert cells["sam,prompt=box"]["oracle"]
    assert (cells["unet"]["idle_parameters"], record["idle_parameters"] > 0) == (0, True)
    assert (
        cells["sam,prompt=box"]["idle_parameters"] > 100
    )  # the embeddings of points and masks, and the IoU head
    grid = cells["unet"]["grid"]
    unet = registry.method(Spec("unet"), "tiny").build(Task("mr", (tuple(grid),), 2, 4))
    counted: list[int] = []
    for layer in unet.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.register_forward_hook(lambda m, i, o: counted.append(_multiply_adds(m, i[0], o)))
    unet(torch.zeros(1, 1, *grid))
    assert cells["unet"]["multiply_adds"] == sum(counted)
    rows = {row["method"]: row for row in json.loads(bench("methods", "--table", "--json"))}
    assert rows["unet"]["parameters"] == sum(p.numel() for p in unet.parameters()) / 1e6
    assert rows["sam:prompt=box"]["prompt"] != "none"
    shown = bench("methods", "--table")
    assert "U-Net differs from its source: 4 channels at the first level (2015: 64)" in shown
    assert (
        "nnunet:recipe=native had ensembling: 4 mirrored views; augmentation: nnU-Net's own"
        in shown
    )


def _multiply_adds(layer: torch.nn.Module, into: torch.Tensor, out: torch.Tensor) -> int:
    """Multiply-adds of a convolution: each weight meets each pixel of the smaller grid."""
    pixels = (into if isinstance(layer, torch.nn.ConvTranspose2d) else out)[0, 0].numel()
    weights: torch.Tensor = layer.weight  # type: ignore[assignment]
    return pixels * weights.numel()


@pytest.mark.parametrize("methods", ["unet,verdiff", pytest.param("all", marks=pytest.mark.long)])
def test_the_real_slices_run(bench: Bench, spider: Path, methods: str) -> None:
    out = bench.run(spider, methods)
    assert "8 patients, 11 cases tested" in out
    assert "Real data, profile 'smoke'" in table_of(bench)


def test_masks_without_foreground_are_not_trained_on(bench: Bench, slices: Make) -> None:
    data = slices()
    for path in (data / "mr" / "labels").iterdir():
        cv2.imwrite(str(path), np.zeros((60, 44), np.uint8))
    bench("data", "check", "--datasets", "mr", "--data", str(data), code=1)
    said = bench.run(data, "unet", code=2)
    assert "mr: no mask has foreground, expected it in one at least" in said
    assert not list(bench.home.rglob("cell.json"))


def test_a_further_row_is_no_baseline(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "verdiff,unet", "--baseline", "verdiff:prior", code=2)
    assert "--baseline verdiff:prior" in out
    assert out.rstrip().endswith("--baseline verdiff")
    assert len(out.strip().splitlines()) == 1
    assert not list(bench.home.rglob("family.json"))


@pytest.mark.parametrize(
    ("methods", "baseline", "line"),
    [
        ("nnunet:recipe=native,unet,fcn", "nnunet:recipe=native", "one that competes: unet, fcn"),
        ("unet,sam:prompt=box,fcn", "sam:prompt=box", "one that competes: unet, fcn"),
        ("./threshold.py:Threshold,fcn", "./threshold.py:Threshold", "one that competes: fcn"),
        ("unet,nnunet:recipe=native", "unet", "--baseline unet has no other method to be compared"),
        ("unet", "unet", "--baseline unet has no other method to be compared with"),
    ],
)
def test_a_baseline_that_could_be_compared_with_none_is_refused(
    bench: Bench, slices: Make, methods: str, baseline: str, line: str
) -> None:
    (bench.home / "threshold.py").write_text(PROGRAM % "work", encoding="utf-8")
    out = bench.run(slices(), methods, "--baseline", baseline, code=2)
    assert line in out
    assert len(out.strip().splitlines()) == 1
    assert not list(bench.home.rglob("family.json"))
    assert not list(bench.home.rglob("cell.json"))


def test_a_method_with_a_further_row_may_be_the_baseline_alone(bench: Bench, slices: Make) -> None:
    assert "to run" in bench.run(slices(), "verdiff", "--baseline", "verdiff", "--dry-run")


def test_a_method_in_a_file_can_be_the_baseline(bench: Bench, slices: Make) -> None:
    (bench.home / "mine.py").write_text(METHOD, encoding="utf-8")
    words = ("--baseline", "./mine.py:Mine")
    assert "2 cells to run" in bench.run(slices(), "unet,./mine.py:Mine", *words, "--dry-run")
    assert "is not one of the methods" in bench.run(slices(), "unet", *words, "--dry-run", code=2)


def test_the_old_name_of_the_baseline_is_understood(bench: Bench, slices: Make) -> None:
    for option in ("--baseline", "--reference"):
        out = bench.run(slices(), "unet", option, "fcn", "--dry-run", code=2)
        assert "--baseline fcn is not one of the methods of this run (unet)" in out


def test_a_dry_run_refuses_what_the_run_would(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet", "--baseline", "fcn", "--dry-run", code=2)
    assert "--baseline fcn is not one of the methods of this run (unet)" in out
    bench.patch.setattr("shutil.which", lambda _: None)
    out = bench.run(slices(), "unet", "--launcher", "slurm", "--dry-run", code=2)
    assert "--launcher slurm" in out
    assert "sbatch" in out or "pip install" in out
    assert not (bench.home / "results").exists()


def test_a_dry_run_refuses_the_sizes_that_the_run_would(
    bench: Bench, slices: Make, tmp_path: Path
) -> None:
    bench.patch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    data, method = slices(), "nnunet:min_edge=1000"
    assert "mr: not prepared yet" in bench.run(data, method, "--dry-run")
    refused = [
        bench.run(data, method, *words, code=2).splitlines()[-1] for words in ((), ("--dry-run",))
    ]
    assert refused[0] == refused[1]
    assert "nnunet:min_edge=1000 on mr: nnU-Net's plan for cases of 80x48 pixels" in refused[0]
    assert not list(bench.home.glob("results/*/mr*/*/f0*"))


def test_native_sizes_that_a_batch_cannot_hold_are_told_with_what_keeps_them(
    bench: Bench, slices: Make
) -> None:
    data = slices()
    for path in data.glob("mr/*/*_0.png"):
        pixels = np.asarray(Image.open(path))
        Image.fromarray(pixels[:-8]).save(path)
    bench.run(data, "unet", "--pixels", "0", "--launcher", "debug")
    why = (
        "and not native sizes{}, for the 2 images of a batch must have one size, and these have "
        "several; batch = 1 in a profile of your own keeps them"
    )
    assert why.format("") in bench.run(data, "unet", "--pixels", "0", "--dry-run")
    table = (bench.home / "reports" / "smoke-pixels0" / "table1-real.md").read_text("utf-8")
    assert why.format(" (pixels = 0)") in table
    assert "native sizes" not in bench.run(data, "unet", "--dry-run")


def test_a_dry_run_says_how_cells_would_run(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet", "--jobs", "2", "--seeds", "36,40", "--dry-run")
    assert "2 cells to run, 2 at a time on cpu, at most 4 steps each" in out


def test_a_profile_of_ones_own_says_what_its_numbers_are_worth_before_and_after(
    bench: Bench, slices: Make
) -> None:
    (bench.home / "mine.toml").write_text('extends = "smoke"\nsteps = 3\n', encoding="utf-8")
    words = ("--datasets", "mr", "--data", str(slices()), "--profile", "mine.toml")
    said = "at most 3 steps of training: these numbers mean nothing."
    assert said in bench("run", "--methods", "unet", *words, "--dry-run")
    out = bench("run", "--methods", "unet", *words, "--launcher", "debug")
    assert out.count(said) == 2  # as it begins, and as the answer
    for command in (("status",), ("methods", "--table")):  # the file names its results too
        bench(*command, "--profile", "mine.toml")
    table = bench.home / "reports" / "mine" / "table1-real.md"
    assert said in table.read_text(encoding="utf-8")


def test_seeds_may_be_named(bench: Bench, slices: Make) -> None:
    bench.run(slices(), "unet", "--seeds", "36,40", "--launcher", "debug")
    cells = sorted((bench.home / "results" / "smoke").glob("mr@real-*/unet/*"))
    assert [cell.name for cell in cells] == ["f0-s36", "f0-s40"]


def test_a_dry_run_describes_prepared_images_and_estimates_by_finished_cells(
    bench: Bench, slices: Make
) -> None:
    data = slices()
    bench.run(data, "unet")
    out = bench.run(data, "unet,fcn", "--seeds", "2", "--dry-run")
    assert "mr: 12 cases of 60 x 44 pixels; networks see 80 x 48; train 8 cases of 4" in out
    assert "3 cells to run" in out
    assert "of one cell at a time, as finished cells took, and 2 cells of which none is" in out
