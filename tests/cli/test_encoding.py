"""Names outside Latin-1 under locales of other encodings."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.cli.encoding import use_utf8

PATIENTS = ("Müller", "Łukasz", "张三", "Ωmega", "plain")
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
LATIN_1 = {"LC_ALL": "en_US.ISO-8859-1"}
GBK = {"LC_ALL": "zh_CN.GBK"}


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with locales that a test's machine need not have."""
    folder = tmp_path_factory.mktemp("locales")
    for language, charmap in (("en_US", "ISO-8859-1"), ("zh_CN", "GBK")):
        words = ["localedef", "-i", language, "-f", charmap, str(folder / f"{language}.{charmap}")]
        if shutil.which("localedef"):
            subprocess.run(words, capture_output=True, check=False)
    return folder


def pictures_of(root: Path) -> Path:
    """Make a folder dataset whose own name, files and patients are outside Latin-1."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    with (root / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "patient"])
        for number, patient in enumerate(PATIENTS):
            name = f"c{number}-{patient}.png"
            mask = np.zeros((20, 24), np.uint8)
            mask[4:9, 6:12] = 1
            pixels = 100 * mask + rng.integers(0, 50, mask.shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name)
            Image.fromarray(mask).save(root / "masks" / name)
            table.writerow([name, patient])
    return root


def prepared(source: Path, cache: Path, env: dict[str, str]) -> dict[str, Any]:
    """Prepare a folder in a process of its own; return the manifest that it prints."""
    words = [sys.executable, "-m", "bench.cli", "data", "prepare", "folder", "--from", str(source)]
    others = {key: os.environ[key] for key in os.environ if not key.startswith(("LC_", "PYTHON"))}
    paths = os.pathsep.join(sys.path)
    env = {**others, "PYTHONPATH": paths, "BENCH_CACHE": str(cache), **env}
    done = subprocess.run([*words, "--json"], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    manifest: dict[str, Any] = json.loads(done.stdout.decode("utf-8"))
    return manifest


def test_a_cache_is_the_same_under_every_locale(tmp_path: Path, locales: Path) -> None:
    source = pictures_of(tmp_path / "张三 Ωmega")
    expected = prepared(source, tmp_path / "utf8", {"LC_ALL": "C.UTF-8"})
    cases = (Path(expected["prepared"]).parent / "cases.csv").read_text(encoding="utf-8")
    assert expected["patients"] == len(PATIENTS)
    assert all(patient in cases for patient in PATIENTS)
    for number, locale in enumerate((LATIN_1, GBK)):
        env = {**locale, "LOCPATH": str(locales)}
        got = prepared(source, tmp_path / str(number), env)
        assert got["digest"] == expected["digest"]
        assert got["files"] == expected["files"]
        table = Path(got["prepared"]).parent / "cases.csv"
        assert table.read_text(encoding="utf-8") == cases
        # The other locale's cache is the one that this locale looks for.
        assert Path(got["prepared"]).parts[-2:] == Path(expected["prepared"]).parts[-2:]


def test_what_an_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    use_utf8()
    stream.write("Łukasz")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\u0141ukasz"  # type: ignore[attr-defined]
