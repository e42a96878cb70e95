"""`make same-bytes REV=<commit>`: compare what this checkout and another revision compute.

Both revisions run every method and an ablation on two phantoms under the profile `smoke`. The
results are compared byte for byte. Then both revisions write a report of the other revision's
results, and the reports are compared as well. So nothing has to be masked: a report of the same
results holds the same times, dates and revisions.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parents[1]
KEPT = HERE / "build" / "same-bytes"
"""What another revision computed is kept, because a commit does not change."""
DATASETS = "mr,xray"
METHODS = "all,smp,sam:prompt=box,nnunet:recipe=native,verdiff:predicts=noise:sampler=paper_eq6"
RUN = (
    "run",
    "--methods",
    METHODS,
    "--datasets",
    DATASETS,
    "--profile",
    "smoke",
    "--reference",
    "verdiff",
)
ABLATE = ("ablate", "--dataset", DATASETS, "--profile", "smoke")
REPORT = ("report", "--profile", "smoke")
RESULTS = (
    "**/cases*.csv",
    "**/split*.csv",
    "**/initial.json",
    "**/model.safetensors",
    "**/predictions*/*.png",
    "**/probabilities*/*.png",
    "**/references/*.png",
    "**/spread/*.png",
    "**/stages.npz",
)
"""The files of the results folder that hold no time and no date."""


class Tree:
    """A checkout of one revision, and how to call its `bench`."""

    def __init__(self, code: Path, scratch: Path) -> None:
        self.code = code
        self.scratch = scratch
        self._write_entry_points()

    def _write_entry_points(self) -> None:
        """Write package metadata, so that names of methods lead to this revision's classes."""
        project = tomllib.loads((self.code / "pyproject.toml").read_text(encoding="utf-8"))[
            "project"
        ]
        info = self.scratch / "site" / f"verdiff_bench-{project['version']}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {project['name']}",
            f"Version: {project['version']}",
            "",
        ]
        (info / "METADATA").write_text("\n".join(lines), encoding="utf-8")
        text = ""
        for group, entries in project["entry-points"].items():
            text += f"[{group}]\n"
            for name, target in entries.items():
                text += f"{name} = {target}\n"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")

    def bench(self, words: Sequence[str], home: Path) -> None:
        """Call `bench` in a folder, on the CPU."""
        path = os.pathsep.join([str(self.scratch / "site"), str(self.code)])
        own = {
            "PYTHONPATH": path,
            "BENCH_CACHE": str(self.scratch / "cache"),
            "CUDA_VISIBLE_DEVICES": "",
            "SOURCE_DATE_EPOCH": "0",
        }
        print(f"{self.code.name}: bench {' '.join(words)}", flush=True)
        command = [sys.executable, "-m", "bench.cli", *words]
        subprocess.run(
            command, cwd=home, env=os.environ | own, check=True, stdout=subprocess.DEVNULL
        )

    def run(self, home: Path) -> None:
        """Compute all results in a folder."""
        home.mkdir(parents=True, exist_ok=True)
        self.bench(RUN, home)
        self.bench(ABLATE, home)
        shutil.rmtree(home / "reports")

    def report(self, results: Path, home: Path) -> None:
        """Write a report of finished results into a folder."""
        shutil.copytree(results, home / "results", symlinks=True)
        self.bench(ABLATE, home)
        self.bench(REPORT, home)


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Yield a folder with the files of a commit."""
    with tempfile.TemporaryDirectory(prefix="same-bytes-") as folder:
        code = Path(folder) / revision[:10]
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", code, revision], cwd=HERE, check=True
        )
        try:
            yield code
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", code], cwd=HERE, check=True)


def commit(revision: str) -> str:
    """Return the full name of a commit."""
    command = ["git", "rev-parse", "--verify", f"{revision}^{{commit}}"]
    return subprocess.run(
        command, cwd=HERE, check=True, capture_output=True, text=True
    ).stdout.strip()


def compute_other(revision: str) -> Path:
    """Return the folder of the other revision's results and report, computed once and kept."""
    kept = KEPT / revision
    if kept.is_dir():
        return kept
    work = KEPT / f".{revision}"
    shutil.rmtree(work, ignore_errors=True)
    with checkout(revision) as code:
        tree = Tree(code, work / "scratch")
        tree.run(work / "run")
        tree.report(work / "run" / "results", work / "report")
    shutil.rmtree(work / "scratch")
    work.rename(kept)
    return kept


def same(ours: Path, theirs: Path) -> bool:
    """Return whether two files are equal; the order of metadata in a file of weights is no matter.

    Until revision 2617ac7, safetensors wrote the names of one tensor in a random order.
    """
    if filecmp.cmp(ours, theirs, shallow=False):
        return True
    if ours.suffix != ".safetensors":
        return False
    return weights(ours) == weights(theirs)


def weights(path: Path) -> tuple[Any, bytes]:
    """Return the header and the tensors of a file of weights."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def differences(ours: Path, theirs: Path, patterns: Sequence[str]) -> tuple[int, list[str]]:
    """Compare the files of two folders; return how many, and a line for each that differs."""
    names = set()
    for folder in (ours, theirs):
        for pattern in patterns:
            names |= {path.relative_to(folder) for path in folder.glob(pattern) if path.is_file()}
    lines = []
    for name in sorted(names):
        if not (ours / name).is_file():
            lines.append(f"missing here: {name}")
        elif not (theirs / name).is_file():
            lines.append(f"new here: {name}")
        elif not same(ours / name, theirs / name):
            lines.append(f"differs: {name}")
    return len(names), lines


def main() -> None:
    """Compare this checkout with another revision; leave with 1 where a byte differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="a commit, for example HEAD~1")
    parser.add_argument(
        "--report-only", action="store_true", help="compare the reports alone: half a minute"
    )
    chosen = parser.parse_args()
    theirs = compute_other(commit(chosen.revision))
    ours = KEPT / "here"
    shutil.rmtree(ours, ignore_errors=True)
    tree = Tree(HERE, ours / "scratch")
    tree.report(theirs / "run" / "results", ours / "report")
    count, lines = differences(ours / "report" / "reports", theirs / "report" / "reports", ["**/*"])
    if not chosen.report_only:
        tree.run(ours / "run")
        more, found = differences(ours / "run" / "results", theirs / "run" / "results", RESULTS)
        count += more
        lines += found
    print(*lines, sep="\n")
    print(f"{count} files compared, {len(lines)} differ; both are kept in {KEPT}")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
