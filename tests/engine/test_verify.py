"""`bench verify`: no change of a number, a mask, a split or a record passes."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from bench.engine.metrics import score
from bench.engine.verify import verify
from bench.spec.metrics import SCORES
from bench.store import record
from bench.store.layout import CellFolder, Layout, ProfileFolder
from bench.store.scores import write_scores
from tests.store import matrix
from tests.user import Bench

SAMPLE, ALL = 80, 1000
"""Random changes in the suite, and in `make test-all`."""
KINDS = ("*.csv", "*.png", "cell.json", "*.safetensors", "initial.json", "*.npz")
"""The files that are changed: scores, losses and splits; masks; records; weights."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ProfileFolder:
    root = tmp_path_factory.mktemp("verify")
    matrix.finished(root)
    return Layout(root).profile(matrix.PROFILE)


def digits(text: str) -> list[int]:
    return [place for place, letter in enumerate(text) if letter.isdigit()]


def changed(path: Path, rng: np.random.Generator) -> bytes:
    """Return a file with one change: a number, a mask's pixel, a line, a byte, or its end."""
    content = path.read_bytes()
    if path.suffix == ".png" and rng.random() < 0.7:
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        place = tuple(rng.integers(0, side) for side in mask.shape)
        mask[place] = 255 - mask[place]
        return bytes(cv2.imencode(".png", mask)[1].tobytes())
    if path.suffix in (".csv", ".json"):
        text = content.decode()
        if rng.random() < 0.7:
            place = int(rng.choice(digits(text)))
            other = (int(text[place]) + int(rng.integers(1, 10))) % 10
            return f"{text[:place]}{other}{text[place + 1 :]}".encode()
        lines = text.splitlines(keepends=True)
        del lines[int(rng.integers(0, len(lines)))]
        return "".join(lines).encode()
    place = int(rng.integers(0, len(content)))
    if rng.random() < 0.3:
        return content[:place]
    return (
        content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1 :]
    )


def edits(whole: ProfileFolder, seeds: range) -> list[str]:
    """Return the changes that verify does not name, of as many as there are seeds."""
    files: list[Path] = []
    for kind in KINDS:
        files += sorted(whole.path.rglob(kind))
    silent = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        path = files[int(rng.integers(0, len(files)))]
        before = path.read_bytes()
        after = changed(path, rng)
        if after == before:
            continue
        path.write_bytes(after)
        wrong = verify(whole).wrong
        path.write_bytes(before)
        cell = path.parent.name if "predictions" in path.parent.name else path.name
        if not any(str(path) in line or cell in line or path.stem in line for line in wrong):
            silent.append(f"{path} by seed {seed}: {wrong}")
    return silent


def test_what_cells_left_holds(whole: ProfileFolder) -> None:
    findings = verify(whole)
    assert findings.wrong == findings.remarks == []
    assert findings.cells == 3
    assert findings.scores == 16  # of four rows
    assert findings.digests > 30


def test_no_random_change_passes(whole: ProfileFolder) -> None:
    assert not edits(whole, range(SAMPLE))
    assert verify(whole).wrong == []  # all was put back


@pytest.mark.long
def test_no_change_of_a_thousand_passes(whole: ProfileFolder) -> None:
    assert not edits(whole, range(SAMPLE, SAMPLE + ALL))


def resealed(cell: CellFolder) -> None:
    """Give a cell's record the digests of its files as they are, and its seal."""
    known = record.read(cell)
    own = {name: sha256((cell.path / name).read_bytes()).hexdigest() for name in known.digests}
    cell.record.write_text(msgspec.structs.replace(known, digests=own).to_json(), encoding="utf-8")


@pytest.mark.parametrize("metric", SCORES)
def test_a_score_that_was_forged_with_its_digest_is_computed_again(
    whole: ProfileFolder, tmp_path: Path, metric: str
) -> None:
    copy = tmp_path / whole.path.name
    shutil.copytree(whole.path, copy)
    cell = ProfileFolder(copy).finished()[0]
    lines = cell.cases().read_text(encoding="utf-8").splitlines()
    place = lines[0].split(",").index(metric)
    values = lines[1].split(",")
    values[place] = f"{float(values[place]) * 0.9999999:.9g}"  # within what its rules allow
    lines[1] = ",".join(values)
    cell.cases().write_text("\n".join(lines) + "\n", encoding="utf-8")
    resealed(cell)
    (line,) = verify(ProfileFolder(copy)).wrong
    assert cell.name in line
    assert f"{metric} of case" in line


def test_a_mask_that_was_forged_with_its_digest_gives_other_scores(
    whole: ProfileFolder, tmp_path: Path
) -> None:
    copy = tmp_path / whole.path.name
    shutil.copytree(whole.path, copy)
    cell = ProfileFolder(copy).finished()[0]
    path = next(cell.predictions().glob("*.png"))
    cv2.imwrite(str(path), np.zeros(matrix.SIZE, np.uint8))
    resealed(cell)
    (line,) = verify(ProfileFolder(copy)).wrong
    assert f"of case {path.stem}" in line


def test_a_file_that_no_cell_left_is_named(whole: ProfileFolder, tmp_path: Path) -> None:
    copy = tmp_path / whole.path.name
    shutil.copytree(whole.path, copy)
    cell = ProfileFolder(copy).finished()[0]
    (cell.path / "extra.csv").write_text("a", encoding="utf-8")
    (line,) = verify(ProfileFolder(copy)).wrong
    assert "extra.csv is no file of" in line


def test_the_command_leaves_with_1_and_compares_tables(bench: Bench) -> None:
    matrix.finished(bench.home / "results")
    bench("report", "--no-pictures")
    assert "what does not hold: 0" in bench("verify", "results", "--reports", "reports")
    table = bench.home / "reports" / "smoke" / "table1-real.md"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(".", ",", 1), encoding="utf-8")
    said = bench("verify", "--reports", "reports", code=1)
    assert "table1-real.md is not what the scores give" in said
    path = next((bench.home / "results").rglob("cell.json"))
    said = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(said | {"title": "Better"}), encoding="utf-8")
    assert "cell.json is damaged" in bench("verify", "results", code=1)
    assert "no finished cell" in bench("verify", "elsewhere", code=2)


def test_predictions_are_repeated_from_the_weights(bench: Bench) -> None:
    words = ("--datasets", "mr", "--profile", "smoke", "--launcher", "debug")
    bench("run", "--methods", "unet", *words)
    said = bench("verify", "results", "--predict", "1")
    assert "what does not hold: 0" in said
    assert "not checked" not in said
    cell = ProfileFolder(bench.home / "results" / "smoke").finished()[0]
    path = next(cell.predictions().glob("*.png"))
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    mask[0, 0] = 255 - mask[0, 0]
    cv2.imwrite(str(path), mask)
    known = pytest.importorskip("pandas").read_csv(cell.cases())
    reference = cv2.imread(str(cell.reference(path.stem)), cv2.IMREAD_GRAYSCALE)
    assert reference is not None
    spacing = tuple(map(float, str(known.spacing[0]).split()))
    row = score(mask > 0, reference > 0, spacing).row()
    write_scores(cell.cases(), [{"case": known.case[0], "patient": known.patient[0], **row}])
    resealed(cell)  # mask, scores, digests and seal agree now
    said = bench("verify", "results", "--predict", "1", code=1)
    assert "1 pixels differ" in said
