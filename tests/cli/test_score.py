"""`bench score`: predictions from outside become cells, or are refused by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.engine.metrics import score
from bench.report.page import html
from bench.report.paper.macros import values
from bench.report.sections import comparisons, ledger, table1
from bench.report.sections.table import Table, collect
from bench.store.cells import Store
from bench.store.results import Results
from tests.user import Bench

NAMES = ("a_1", "a_2", "b_1", "c_1")


def disc(x: int, radius: int = 8) -> NDArray[np.uint8]:
    mask = np.zeros((40, 48), np.uint8)
    cv2.circle(mask, (x, 20), radius, 1, -1)
    return mask


def write(folder: Path, shift: int = 0, value: int = 255, ending: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        mask = disc(15 + 4 * number + shift)
        cv2.imwrite(str(folder / f"{name}{ending}.png"), mask * value)


@pytest.fixture
def home(bench: Bench) -> Path:
    write(bench.home / "labels")
    write(bench.home / "unet", 2, value=1)
    write(bench.home / "ours", 1, ending="_pred")
    return bench.home


def scored(bench: Bench, *words: str, code: int = 0) -> str:
    usual = ("--reference", "labels", "--pattern", "{patient}_*")
    return bench("score", *usual, *words, code=code)


def table(home: Path) -> Table:
    (only,) = collect(Results.load(Store(home / "results")))
    return only


def test_folders_of_masks_become_a_table_with_what_is_known(bench: Bench, home: Path) -> None:
    said = scored(
        bench,
        *("--predictions", "U-Net=unet", "--predictions", "Ours=ours"),
        *("--ending", "_pred", "--baseline", "Ours"),
    )
    assert "Ours: mean Dice" in said
    whole = table(home)
    assert list(whole.methods.values()) == ["Ours", "U-Net"]
    (column,) = whole.columns
    mean = whole.scores["dice_mean"][column, "U-Net"]
    each_case = [score(disc(17 + 4 * n), disc(15 + 4 * n), None).dice for n in range(4)]
    assert mean == pytest.approx(np.mean(each_case), abs=1e-8)
    notes = " ".join(note.text for note in table1.document(whole).notes)
    assert "From outside, not trained here: Ours: masks from ours; U-Net: masks from unet" in notes
    assert "Certificates" not in notes
    frame = ledger.collect(whole)
    assert set(np.ravel([row[2:] for row in ledger.cells(frame)])) == {"unknown"}
    assert "Dataset: home, after the folder of the references" in said
    assert list(whole.columns.values()) == ["home"]  # labels says nothing of a dataset
    assert ("ExternalDice", "home", "U-Net") in values([whole])
    assert whole.family is not None
    assert whole.family.finished == 0  # declared by the command that scores them
    compared = comparisons.document(whole)
    assert compared
    assert "before any of these predictions was scored here; whether they" in compared.notes[0].text
    page = html.page([whole], {whole.source: [compared]})
    assert "How each method differs" not in page  # nothing is known of it
    assert "Each method has one set of predictions" in page
    assert "| Ours |" in bench("report", "--no-pictures")
    assert (home / "reports" / "external" / "table1-external.tex").is_file()
    paper = home / "paper.tex"
    paper.write_text(r"\input{reports/external/numbers}\benchExternalDice{home}{Ours}")
    assert "holds" in bench("report", "--check", str(paper))


def test_empty_and_inverted_predictions_are_told(bench: Bench, home: Path) -> None:
    write(home / "none", value=0)
    for name in NAMES:
        mask = cv2.imread(str(home / "labels" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        (home / "dark").mkdir(exist_ok=True)
        cv2.imwrite(str(home / "dark" / f"{name}.png"), 255 - mask)
    said = scored(bench, "--predictions", "None=none", "--predictions", "Dark=dark")
    assert "assumed: no mask of None has foreground" in said
    assert "255 of Dark is foreground, though it covers 90 % of all pixels; where" in said
    inverted = ("--predictions", "Dark=dark", "--foreground-predictions", "0", "--out", "other")
    assert "Dark: mean Dice 100.00 %" in scored(bench, *inverted)


def test_a_prediction_that_does_not_say_how_it_lies_is_laid_as_stored_and_told(
    bench: Bench, home: Path
) -> None:
    """Its rows may be the columns of its reference, which a square picture does not show."""
    (home / "flat").mkdir()
    (home / "arrays").mkdir()
    for number, name in enumerate(NAMES):
        mask = disc(15 + 4 * number)
        image = nibabel.Nifti1Image(mask.T[..., None], np.diag([-1.0, -1.0, 1.0, 1.0]))
        nibabel.save(image, home / "flat" / f"{name}.nii.gz")
        np.save(home / "arrays" / f"{name}.npy", mask)
    usual = ("--reference", "flat", "--pattern", "{patient}_*", "--predictions", "Ours=arrays")
    said = bench("score", *usual)
    assert "Ours: mean Dice 100.00 %" in said
    assert "assumed: predictions lie on their references as the pixels are stored" in said


def test_a_prediction_that_exif_alone_turns_within_its_size_is_refused(
    bench: Bench, home: Path
) -> None:
    turned = Image.Exif()
    turned[274] = 6
    for folder, exif in (("square", Image.Exif()), ("turned", turned)):
        (home / folder).mkdir()
        for number, name in enumerate(NAMES):
            mask = disc(15 + 4 * number)[:, :40] * 255
            Image.fromarray(mask).save(home / folder / f"{name}.png", exif=exif)
    usual = ("--reference", "square", "--pattern", "{patient}_*", "--predictions", "Ours=turned")
    assert "they have one size either way" in bench("score", *usual, code=2)


def test_masks_that_are_the_references_themselves_are_said_to_be(bench: Bench, home: Path) -> None:
    said = scored(bench, "--predictions", "U-Net=unet", "--predictions", "Twin=labels")
    assert "all masks of Twin equal their references, which may be given twice" in said
    assert "all masks of U-Net" not in said


def test_a_declaration_after_the_scores_says_so(bench: Bench, home: Path) -> None:
    words = ("--predictions", "U-Net=unet", "--predictions", "Ours=ours", "--ending", "_pred")
    scored(bench, *words)
    scored(bench, *words, "--baseline", "Ours")
    compared = comparisons.document(table(home))
    assert compared
    assert "when 2 cells of the profile were FINISHED" in compared.notes[0].text
    said = scored(bench, *words, "--baseline", "U-Net", code=2)
    assert "declares another family already" in said


def test_what_is_refused_declares_nothing(bench: Bench, home: Path) -> None:
    words = ("--predictions", "Ours=ours", "--ending", "_pred")
    scored(bench, "--predictions", "U-Net=unet", *words, "--baseline", "Neither", code=2)
    assert "has no other method to be" in scored(bench, *words, "--baseline", "Ours", code=2)
    assert not list((home / "results").rglob("cell.json"))
    scored(bench, "--predictions", "U-Net=unet")
    both = ("--predictions", "U-Net=labels", "--predictions", "Ours=ours", "--ending", "_pred")
    scored(bench, *both, "--baseline", "Ours", code=2)
    assert not list((home / "results").rglob("family.json"))


def test_a_name_twice_is_a_second_run_and_the_same_again_is_nothing(
    bench: Bench, home: Path
) -> None:
    words = ("--predictions", "U-Net=unet", "--predictions", "U-Net=labels")
    scored(bench, *words)
    scored(bench, *words)
    assert sorted(Results.load(Store(home / "results")).cases.seed.unique()) == [35, 36]
    said = scored(bench, "--predictions", "U-Net=labels", code=2)
    assert "other results of U-Net" in said


def test_every_missing_prediction_is_named_and_counts_as_the_policy_says(
    bench: Bench, home: Path
) -> None:
    for name in NAMES[:2]:
        (home / "unet" / f"{name}.png").unlink()
    said = scored(bench, "--predictions", "U-Net=unet", code=2)
    assert "U-Net: 2 cases (a_1, a_2) of 4 have no prediction" in said
    assert not list((home / "results").rglob("cell.json"))
    scored(bench, "--predictions", "U-Net=unet", "--missing", "zero")
    cases = Results.load(Store(home / "results")).cases.set_index("case")
    assert cases.dice["a_1"] == cases.iou["a_2"] == 0
    assert cases.hd95["a_1"] == pytest.approx(np.hypot(40, 48))
    notes = " ".join(note.text for note in table1.document(table(home)).notes)
    assert "U-Net: 2 cases (a_1, a_2) have no prediction and score zero" in notes


def test_a_missing_prediction_of_an_empty_reference_scores_zero_too(
    bench: Bench, home: Path
) -> None:
    cv2.imwrite(str(home / "labels" / "a_1.png"), np.zeros((40, 48), np.uint8))
    (home / "unet" / "a_1.png").unlink()
    scored(bench, "--predictions", "U-Net=unet", "--missing", "zero")
    assert Results.load(Store(home / "results")).cases.set_index("case").dice["a_1"] == 0


def spoil(kind: str, home: Path) -> None:
    folder = home / "unet"
    if kind == "size":
        for name in NAMES[1:3]:
            cv2.imwrite(str(folder / f"{name}.png"), np.ones((40, 47), np.uint8))
    if kind == "greys":
        ramp = np.tile(np.arange(48, dtype=np.uint8) * 5, (40, 1))
        cv2.imwrite(str(folder / "a_1.png"), ramp)
    if kind == "fractions":
        (folder / "a_1.png").unlink()
        np.save(folder / "a_1.npy", disc(17) * 0.75)
    if kind == "no reference":
        cv2.imwrite(str(folder / "d_1.png"), disc(9))
    if kind == "other folders":
        (folder / "run").mkdir()
        (folder / "a_1.png").rename(folder / "run" / "a_1.png")
    if kind == "twice":
        cv2.imwrite(str(folder / "a_1.bmp"), disc(9) * 255)
    if kind == "twice by an ending":
        cv2.imwrite(str(folder / "a_1_seg.png"), disc(9) * 255)
    if kind == "damaged":
        (folder / "c_1.png").write_bytes(b"no picture")
    if kind == "labels":
        cv2.imwrite(str(folder / "a_1.png"), disc(17) * 3)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("size", "U-Net: 2 predictions (a_2.png, b_1.png) have another size, spacing or place"),
        ("greys", "U-Net: 1 prediction (a_1.png) hold 48 grey values"),
        ("fractions", "U-Net: 1 prediction (a_1.npy) hold probabilities, expected masks"),
        ("no reference", "U-Net: 1 prediction (d_1.png) of a case that has no reference"),
        (
            "other folders",
            "1 prediction (run/a_1.png) of a case that has no reference; the folders differ: lay",
        ),
        ("twice", "U-Net: unet: 1 case (a_1) have two files each"),
        ("twice by an ending", "1 prediction (a_1_seg.png) are second ones of a case"),
        ("damaged", "U-Net: 1 prediction (c_1.png) cannot be read as masks"),
        ("labels", "foreground="),
    ],
)
def test_bad_predictions_are_refused_with_their_number_and_names(
    bench: Bench, home: Path, kind: str, line: str
) -> None:
    spoil(kind, home)
    said = scored(bench, "--predictions", "U-Net=unet", code=2)
    assert line in said
    assert not list((home / "results").rglob("cell.json"))


def test_several_faults_are_told_at_once(bench: Bench, home: Path) -> None:
    spoil("size", home)
    spoil("no reference", home)
    said = scored(bench, "--predictions", "U-Net=unet", "--predictions", "Ours=ours", code=2)
    assert "another size" in said
    assert "no reference" in said
    assert "Ours: 4 predictions" in said
    assert "have the names of references without _pred: --ending=_pred" in said
    assert "Ours: 4 cases" not in said  # they are there under other names


def test_probabilities_are_cut_where_the_user_says(bench: Bench, home: Path) -> None:
    spoil("fractions", home)
    scored(bench, "--predictions", "U-Net=unet", "--threshold", "0.5")
    spoil("greys", home)
    (home / "unet" / "a_1.npy").unlink()
    said = scored(
        bench,
        *("--predictions", "Grey=unet", "--foreground-predictions", ">127"),
        code=2,
    )
    assert "write all masks on one scale of grey" in said  # the others hold 0 and 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--predictions", "unet"), "expected NAME=PATH"),
        (("--predictions", "A=nowhere"), "nowhere is not there"),
        (("--predictions", "A b=unet", "--predictions", "A-b=ours"), "have one name in files"),
        (("--predictions", "A=unet", "--folds", "5"), "are of --dataset"),
        (("--predictions", "A=unet", "--baseline", "B"), "--baseline B is no method"),
        (("--predictions", "A=unet", "--patients", "p.csv"), "give one of --patients FILE"),
    ],
)
def test_wrong_use_is_one_line(bench: Bench, home: Path, words: tuple[str, ...], line: str) -> None:
    assert line in scored(bench, *words, code=2)


def test_patients_come_from_a_table(bench: Bench, home: Path) -> None:
    lines = [f"{name}.png,P{name[0]}" for name in NAMES[:-1]]
    (home / "list.csv").write_text("\n".join(["image;who", *lines]).replace(",", ";"))
    words = ("--reference", "labels", "--predictions", "U-Net=unet", "--patients")
    said = bench("score", *words, "list.csv:file=image:patient=who", code=2)
    assert "no patient is known for 1 reference (c_1.png)" in said
    with (home / "list.csv").open("a") as file:
        file.write("\nc_1;Pc")
    bench("score", *words, "list.csv:file=image:patient=who")
    cases = Results.load(Store(home / "results")).cases
    assert sorted(cases.patient.unique()) == ["Pa", "Pb", "Pc"]
    lines = ["image,who", *(f"{name}.png,M\u00fcller {name[0]}" for name in NAMES)]
    (home / "list.csv").write_bytes("\n".join(lines).encode("cp1252"))
    said = bench("score", *words, "list.csv:file=image:patient=who", "--out", "other")
    assert "assumed: list.csv is read as cp1252 (Windows), because it is no UTF-8" in said


def volume(path: Path, mask: NDArray[np.uint8], spacing: float, turned: bool = False) -> None:
    affine = np.diag([spacing, 1.0, 1.0, 1.0])
    if turned:  # stored the other way round, with a header that says so
        mask = mask[::-1]
        affine[0] = [-spacing, 0, 0, spacing * (len(mask) - 1)]
    image = nibabel.Nifti1Image(mask, affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(exist_ok=True)
    nibabel.save(image, path)


def test_volumes_are_scored_in_3d_with_their_spacing(bench: Bench) -> None:
    truth, answer = np.zeros((2, 12, 14, 16), np.uint8)
    truth[3:8, 4:9, 4:9] = 1
    answer[5:10, 4:9, 4:9] = 1
    volume(bench.home / "labels" / "p1.nii.gz", truth, 2.5)
    volume(bench.home / "preds" / "p1.nii.gz", answer, 2.5, turned=True)
    words = ("--pattern", "{patient}", "--predictions", "nnU-Net=preds")
    bench("score", "--reference", "labels", *words)
    cases = Results.load(Store(bench.home / "results")).cases
    expected = score(answer, truth, (2.5, 1.0, 1.0))
    assert cases.unit.tolist() == ["mm"]
    assert cases.hd95[0] == pytest.approx(expected.hd95, rel=1e-6)
    assert cases.dice[0] == pytest.approx(expected.dice)
    (cell,) = Results.load(Store(bench.home / "results")).cells
    kept = cell.case("p1")
    assert kept is not None
    assert kept[1].shape == cell.prediction("p1").shape
    volume(bench.home / "preds" / "p1.nii.gz", answer, 2.0)
    said = bench("score", "--reference", "labels", *words, "--out", "other", code=2)
    assert "have another size, spacing or place" in said
    assert "expected the same place: export it again in the space of its reference" in said


def test_predictions_on_a_prepared_dataset_stand_beside_trained_cells(
    bench: Bench, home: Path
) -> None:
    for part in ("images", "masks"):
        (home / "own" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(6):
        name = f"p{number}_0.png"
        mask = disc(12 + 2 * number)
        grey = (mask * 90 + rng.integers(0, 60, mask.shape)).astype(np.uint8)
        cv2.imwrite(str(home / "own" / "images" / name), grey)
        cv2.imwrite(str(home / "own" / "masks" / name), mask * 255)
        (home / "preds").mkdir(exist_ok=True)
        cv2.imwrite(str(home / "preds" / name), disc(13 + 2 * number) * 255)
    words = ("score", "--dataset", "own:pattern={patient}_*", "--profile", "smoke")
    bench(*words, "--folds", "3", "--predictions", "unet=preds")
    results = Results.load(Store(home / "results"))
    assert len(results.cells) == 3
    assert results.cases.case.nunique() == 6
    (only,) = collect(results)
    assert only.source == "real"
    assert list(only.methods.values()) == ["unet [from outside]"]
    assert list(only.methods) == ["unet-outside"]  # no trained U-Net is overwritten
    image, reference = results.cells[0].case(results.cases.case[0]) or (None, None)
    assert image is not None
    assert reference is not None
    assert image.max() > 0
    frame = pd.read_csv(results.cells[0].folder.cases())
    assert len(frame) == 2


def spine(shift: int = 0) -> NDArray[np.uint8]:
    """Return four vertebrae, named from 20 on, or some levels too high."""
    labels = np.zeros((60, 20), np.uint8)
    for level in range(4):
        labels[3 + 14 * level : 13 + 14 * level, 5:15] = 20 + level + shift
    return labels


@pytest.mark.parametrize("volume", [False, True])
def test_a_spine_one_level_too_high_is_identified_nowhere(bench: Bench, volume: bool) -> None:
    for name, shift in (("labels", 0), ("shifted", 1), ("binary", 0)):
        (bench.home / name).mkdir()
        labels = spine(shift)
        if name == "binary":
            labels = (labels > 0).astype(np.uint8)
        for case in NAMES:
            if volume:
                whole = np.stack([labels] * 3, axis=2)
                image = nibabel.Nifti1Image(whole, np.diag([1.5, 1.5, 3, 1]))
                nibabel.save(image, bench.home / name / f"{case}.nii.gz")
            else:
                cv2.imwrite(str(bench.home / name / f"{case}.png"), labels)
    scored(
        bench,
        *("--foreground", ">0", "--instances"),
        *("--predictions", "Shifted=shifted", "--predictions", "Binary=binary"),
    )
    whole_table = table(bench.home)
    assert (whole_table.scores["dice_mean"] == 1).all()
    bench("report", "--no-pictures")
    rows = pd.read_csv(bench.home / "reports" / "external" / "instances-external.csv")
    rows = rows.set_index("title")
    assert rows.loc["Shifted", ["pq", "identified", "shifted"]].tolist() == [1, 0, 16]
    assert rows.loc["Binary", ["pq", "missed"]].tolist() == [1, 0]
    assert np.isnan(rows.loc["Binary", "identified"])
    assert "does not hold: 0" in bench("verify", "results")
    path = next((bench.home / "results").rglob("cases.csv"))
    path.write_text(path.read_text().replace(",4,4,4,", ",4,4,5,", 1))
    assert "its digest" in bench("verify", "results", code=1)


def test_masks_of_one_label_each_are_said_to_be_cut_into_components(bench: Bench) -> None:
    for name, label in (("labels", 0), ("one", 20), ("binary", 255)):
        (bench.home / name).mkdir()
        labels = np.where(spine(), label, 0).astype(np.uint8) if label else spine()
        for case in NAMES:
            cv2.imwrite(str(bench.home / name / f"{case}.png"), labels)
    words = ("--foreground", ">0", "--foreground-predictions", ">0", "--instances")
    said = scored(bench, *words, "--predictions", "One=one", "--predictions", "Binary=binary")
    assert "assumed: the instances of One are components, for no mask holds two labels" in said
    assert "instances of Binary" not in said


def test_instances_are_scored_in_each_class_and_in_all(bench: Bench) -> None:
    names = ("labels", "swapped")
    for name in names:
        (bench.home / name).mkdir()
        labels = spine()
        if name == "swapped":
            labels[labels > 0] ^= 2  # 20 and 21 for 22 and 23
        for case in NAMES:
            cv2.imwrite(str(bench.home / name / f"{case}.png"), labels)
    scored(
        bench,
        *("--labels", "upper=20+21/lower=22+23", "--instances"),
        *("--predictions", "Same=labels", "--predictions", "Swapped=swapped"),
    )
    assert "does not hold: 0" in bench("verify", "results")
    bench("report", "--no-pictures")
    rows = pd.read_csv(bench.home / "reports" / "external" / "instances-external.csv")
    expected = ["mean of 2 classes", "upper", "lower", "union"]
    assert list(rows["label"]) == expected * 2
    rows = rows.set_index(["title", "label"])
    assert (rows.loc["Same", ["pq", "pq_of_reference"]] == 1).all(axis=None)
    assert (rows.loc["Swapped", "pq"] == 0).all()
    assert rows.loc["Swapped", "missed"].tolist() == [16, 8, 8, 16]
    bench.home.joinpath("paper.toml").write_text('metrics = ["pq", "pq:upper"]\n', "utf-8")
    bench("report", "--layout", "paper.toml")
    paper = pd.read_csv(bench.home / "reports" / "external" / "paper.csv")
    assert paper.groupby("method")["mean"].agg(list).to_dict() == {
        "Same": [100, 100],
        "Swapped": [0, 0],
    }


def test_label_maps_that_are_nearly_whole_are_rounded(bench: Bench) -> None:
    rng = np.random.default_rng(0)
    for name in ("labels", "ours"):
        (bench.home / name).mkdir()
        for case in NAMES:
            noisy = spine().astype(np.float32) + rng.normal(0, 1e-6, (60, 20)).astype(np.float32)
            image = nibabel.Nifti1Image(noisy[:, :, None], np.eye(4))
            nibabel.save(image, bench.home / name / f"{case}.nii.gz")
    said = scored(bench, "--predictions", "Ours=ours", "--labels", "a=20+21/b=22+23")
    assert "Ours, b: mean Dice 100.00 % over 4 cases" in said
    assert "assumed: mask values within 0.001 of a whole number are that number" in said


def test_predictions_of_nothing_score_zero_whatever_their_foreground_is_called(
    bench: Bench, home: Path
) -> None:
    write(home / "nothing", value=0)
    words = ("--predictions", "Nothing=nothing", "--foreground-predictions", ">0")
    assert "Nothing: mean Dice 0.00 % over 4 cases" in scored(bench, *words)


@pytest.mark.parametrize("void", [False, True])
def test_a_mask_of_0_and_255_is_no_prediction_of_classes(bench: Bench, void: bool) -> None:
    for name in ("labels", "binary"):
        (bench.home / name).mkdir()
        labels = spine()
        labels[0] = 255 * void
        if name == "binary":
            labels = np.where(labels, 255, 0).astype(np.uint8)
        for case in NAMES:
            cv2.imwrite(str(bench.home / name / f"{case}.png"), labels)
    classes = "a=20+21/b=22+23" + "/void=255" * void
    said = scored(bench, "--predictions", "Binary=binary", "--labels", classes, code=2)
    wanted = ("label 255 is in no class of labels", "predictions hold 255 alone, which is void")
    assert wanted[void] in said


def test_a_class_counts_the_cases_that_have_it(bench: Bench) -> None:
    (bench.home / "labels").mkdir()
    for place, case in enumerate(NAMES):
        labels = spine() if place else np.where(spine() < 22, spine(), 0).astype(np.uint8)
        cv2.imwrite(str(bench.home / "labels" / f"{case}.png"), labels)
    said = scored(bench, "--predictions", "Same=labels", "--labels", "a=20+21/b=22+23")
    assert "Same, a: mean Dice 100.00 % over 4 cases" in said
    assert "Same, b: mean Dice 100.00 % over 3 of 4 cases" in said
    (bench.home / "some").mkdir()
    for case in NAMES[2:]:  # the first has no prediction, and no reference of class b
        (bench.home / "some" / f"{case}.png").write_bytes(
            (bench.home / "labels" / f"{case}.png").read_bytes()
        )
    words = ("--labels", "a=20+21/b=22+23", "--instances", "--missing", "zero")
    said = scored(bench, "--predictions", "Some=some", *words)
    assert "Some, b: mean Dice 66.67 % over 3 of 4 cases" in said
    assert "does not hold: 0" in bench("verify", "results")


def test_classes_of_predictions_need_those_of_references(bench: Bench, home: Path) -> None:
    words = ("--predictions", "U-Net=unet", "--labels-predictions", "a=1/b=2")
    assert "give --labels too" in scored(bench, *words, code=2)
    (home / "phantom").mkdir()
    cv2.imwrite(str(home / "phantom" / "p000_00.png"), np.ones((880, 880), np.uint8))
    words = ("--predictions", "Ours=phantom", "--labels-predictions", "a=1/b=2")
    said = bench("score", "--dataset", "mr", *words, "--profile", "smoke", code=2)
    assert "names a, b; expected the references' classes: one foreground" in said


def test_one_name_in_two_folders_is_told_as_one_patient(bench: Bench) -> None:
    for site in ("north", "south"):
        write(bench.home / "labels" / site)
        write(bench.home / "unet" / site, 2)
    said = scored(bench, "--predictions", "U-Net=unet")
    assert "assumed: a (and 2 more) in north/ and south/ is one patient" in said
