"""The Hugging Face hub: thousands of files with their SHA-256, fetched by its own library."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from bench.data.fetch.sources import BLOCK, TIMEOUT, File, Offer, Progress, Source
from bench.spec.errors import UsageError

Tell = Callable[[int], None]
READ = ("*.nii", "*.nii.gz", "metadata/*", "README*", "LICEN*")
"""Of a repository: what the reader reads, and the terms. Exports of the same in other formats stay
there."""


def offer(source: Source) -> Offer:
    """Ask the hub what a repository holds.

    Raises:
        UsageError: It does not answer, or not as expected.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(source.repository, files_metadata=True, timeout=TIMEOUT)
    except Exception as error:  # the hub raises what its HTTP library of the day raises
        raise _of_hub(error, source) from error
    files = tuple(
        File(each.rfilename, each.size or 0, f"sha256:{each.lfs.sha256}" if each.lfs else "")
        for each in info.siblings or []
        if any(fnmatch(each.rfilename, pattern) for pattern in READ)
    )
    if not info.sha or not any(file.name.endswith((".nii", ".nii.gz")) for file in files):
        raise UsageError(
            f"{source.home} offers no volumes any more; expected .nii.gz: look there what became"
            " of it"
        )
    return Offer(info.sha, files)


def fetch(source: Source, found: Offer, work: Path, progress: Progress) -> None:
    """Fetch a repository's files.

    Raises:
        UsageError: The transfer stopped, or the content is not what the hub says.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    # Of its versions no two have the same bars; the bytes on the disk are shown
    disable_progress_bars()
    ready = work / "ready"

    def tell(done: int) -> None:
        progress(source.name, min(done, found.size), found.size)

    try:
        with _watched(ready, tell):
            snapshot_download(
                source.repository,
                repo_type="dataset",
                revision=found.revision,
                local_dir=ready,
                allow_patterns=list(READ),
            )
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EDQUOT):
            raise
        raise _of_hub(error, source, _bytes(ready), found.size) from error
    if not all(
        (ready / file.name).is_file() for file in found.files
    ):  # it takes what there is for all, if cut off
        raise _of_hub(ConnectionError(), source, _bytes(ready), found.size)
    _verify(source, found, ready, progress)
    shutil.rmtree(ready / ".cache", ignore_errors=True)


def _verify(source: Source, found: Offer, ready: Path, progress: Progress) -> None:
    """Compare each file with what the hub says of it; the hub's library itself compares sizes alone."""
    done, wrong = 0, []
    progress(f"checking {source.name}", 0, found.size)
    for file in found.files:
        kind, _, expected = file.digest.partition(":")
        path = ready / file.name
        digest = hashlib.new(kind or "sha256")
        with path.open("rb") as content:
            while block := content.read(BLOCK):
                digest.update(block)
        if expected and digest.hexdigest() != expected:
            path.unlink()
            wrong.append(file.name)
        done += file.size
        progress(f"checking {source.name}", done, found.size)
    if wrong:
        raise UsageError(
            f"{wrong[0]} ({len(wrong)} in all) is not what {source.home} says it is (other sha256),"
            " and was removed; run the same command again"
        )


@contextmanager
def _watched(folder: Path, tell: Tell) -> Iterator[None]:
    """Tell every half second how many bytes a folder holds."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            tell(_bytes(folder))

    tell(_bytes(folder))
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # it was renamed since
            continue
    return total


def _of_hub(error: Exception, source: Source, done: int = 0, total: int = 0) -> UsageError:
    """Return the line for an error of the hub's library."""
    from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return UsageError(
            f"{source.home} asks for an agreement now; accept it there, put your token into"
            " HF_TOKEN, and run the same command again"
        )
    if isinstance(error, RepositoryNotFoundError):
        return UsageError(
            f"{source.home} is not there any more, or not for everyone; look there what became"
            " of it"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    why = f"the server answered {status}" if status else _first_line(error)
    if total:
        return UsageError(
            f"{source.name} stopped at {min(done, total)} of {total} bytes ({why}); run the same"
            " command again, it goes on"
        )
    return UsageError(
        f"{source.home} does not list its files ({why}); expected sizes and SHA-256 of each: look "
        "whether this machine reaches it, and run again"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:120]}" if text else type(error).__name__
