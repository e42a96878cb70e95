"""What a result was made with: versions, device, revision, memory, threads, cache."""

from __future__ import annotations

import os
import platform
import pwd
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.spec.errors import UsageError

PACKAGES = (
    "verdiff-bench",
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "diffusers",
    "nnunetv2",
    "segment-anything",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "pandas",
)


def cache_root() -> Path:
    """Return where prepared datasets live: `BENCH_CACHE`, or the user's cache folder.

    Raises:
        UsageError: `BENCH_CACHE` is not set, and the user has no home folder.
    """
    chosen = os.environ.get("BENCH_CACHE")
    if chosen:
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME")
    if caches:
        return Path(caches) / "verdiff-bench"
    try:
        home = Path.home()
    except RuntimeError as error:  # no HOME, and no entry in the list of users
        raise UsageError(
            "prepared datasets lie below the home folder, but this user has none; "
            "set BENCH_CACHE to a folder"
        ) from error
    return home / ".cache" / "verdiff-bench"


def lend_home() -> None:
    """Give libraries a home below the cache where a user has none, as in `docker run --user 12345`.

    matplotlib, the hub's library and others keep files there, or ask for the user's name.
    """
    if _listed() or not _homeless():
        return
    try:
        home = cache_root()
    except UsageError:  # what needs the cache says so
        return
    os.environ["HOME"] = str(home.absolute())
    os.environ.setdefault("USER", str(os.getuid()))


def _listed() -> bool:
    """Return whether the system knows this process's user."""
    try:
        return bool(pwd.getpwuid(os.getuid()))
    except KeyError:
        return False


def _homeless() -> bool:
    """Return whether there is no home folder that can be written."""
    try:
        return not os.access(Path.home(), os.W_OK)
    except RuntimeError:
        return True


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide results."""
    by_package = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            by_package[package] = version(package)
        except PackageNotFoundError:
            continue
    return by_package


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def revision() -> str | None:
    """Return the git revision of the source, `+dirty` if files differ; None outside a checkout.

    It is looked up once in a process, best when its code has just been loaded: files may change
    while a cell trains.
    """
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=here,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=True,
        ).stdout.strip()

    try:
        # An installed copy may lie in a checkout of something else.
        checkout = Path(git("rev-parse", "--show-toplevel"))
        if not (checkout / "bench" / "spec" / "machine.py").samefile(__file__):
            return None
        files_differ = git("status", "--porcelain", "-uno")
        return git("rev-parse", "HEAD") + ("+dirty" if files_differ else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def make_deterministic() -> None:
    """Have PyTorch use only operations that give the same bits each time on the same GPU.

    Where PyTorch has no such operation, it raises a RuntimeError.
    """
    import torch

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # is read at the first matrix product
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def limit_threads(count: int) -> None:
    """Keep PyTorch, OpenCV and BLAS of this process to `count` threads."""
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    threadpool_limits(count)
