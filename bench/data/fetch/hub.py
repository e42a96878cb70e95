"""Fetch from the Hugging Face hub with its own library: thousands of files with their SHA-256."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from bench.data.fetch.collections import BLOCK, TIMEOUT, Collection, File, Offer
from bench.spec.errors import UsageError
from bench.spec.note import Progress

Tell = Callable[[int], None]
READ = ("*.nii", "*.nii.gz", "metadata/*", "README*", "LICEN*")
"""The files of a repository that are fetched: volumes and licence, no copies in other formats."""


def offer(collection: Collection) -> Offer:
    """Return the list of files that a repository of the hub has.

    Raises:
        UsageError: The hub does not answer, or not as expected.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(collection.repository, files_metadata=True, timeout=TIMEOUT)
    except Exception as error:  # the hub's library passes on the errors of its HTTP library
        raise _of_hub(error, collection) from error
    files = []
    for entry in info.siblings or []:
        if any(fnmatch(entry.rfilename, pattern) for pattern in READ):
            digest = f"sha256:{entry.lfs.sha256}" if entry.lfs else ""
            files.append(File(entry.rfilename, entry.size or 0, digest))
    if not info.sha or not any(file.name.endswith((".nii", ".nii.gz")) for file in files):
        raise UsageError(
            f"{collection.home} offers no volumes any more; expected .nii.gz: "
            "look there what became of it"
        )
    return Offer(info.sha, tuple(files))


def fetch(collection: Collection, offered: Offer, work: Path, progress: Progress) -> None:
    """Fetch a repository's files.

    Raises:
        UsageError: The transfer stopped, or the content is not what the hub says.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    # The library's bars differ between its versions; progress shows the bytes on the disk instead.
    disable_progress_bars()
    ready = work / "ready"

    def tell(done: int) -> None:
        progress(collection.name, min(done, offered.size), offered.size)

    try:
        with _watched(ready, tell):
            snapshot_download(
                collection.repository,
                repo_type="dataset",
                revision=offered.revision,
                local_dir=ready,
                allow_patterns=list(READ),
            )
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EDQUOT):
            raise
        raise _of_hub(error, collection, _bytes(ready), offered.size) from error
    # When the connection is cut off, the library may return without all files and without an error.
    if not all((ready / file.name).is_file() for file in offered.files):
        raise _of_hub(ConnectionError(), collection, _bytes(ready), offered.size)
    _verify(collection, offered, ready, progress)
    shutil.rmtree(ready / ".cache", ignore_errors=True)


def _verify(collection: Collection, offered: Offer, ready: Path, progress: Progress) -> None:
    """Compare each file with its digest on the hub; the hub's library only compares sizes."""
    done, wrong = 0, []
    progress(f"checking {collection.name}", 0, offered.size)
    for file in offered.files:
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
        progress(f"checking {collection.name}", done, offered.size)
    if wrong:
        raise UsageError(
            f"{wrong[0]} ({len(wrong)} in all) is not what {collection.home} says it is "
            "(other sha256), and was removed; run the same command again"
        )


@contextmanager
def _watched(folder: Path, tell: Tell) -> Iterator[None]:
    """Report every half second how many bytes a folder holds."""
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
        except OSError:  # it was renamed in the meantime
            continue
    return total


def _of_hub(error: Exception, collection: Collection, done: int = 0, total: int = 0) -> UsageError:
    """Return the error to show to the user for an error of the hub's library."""
    from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return UsageError(
            f"{collection.home} asks for an agreement now; accept it there, "
            "put your token into HF_TOKEN, and run the same command again"
        )
    if isinstance(error, RepositoryNotFoundError):
        return UsageError(
            f"{collection.home} is not there any more, or not for everyone; "
            "look there what became of it"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    why = f"the server answered {status}" if status else _first_line(error)
    if total:
        return UsageError(
            f"{collection.name} stopped at {min(done, total)} of {total} bytes ({why}); "
            "run the same command again, it goes on"
        )
    return UsageError(
        f"{collection.home} does not list its files ({why}); expected sizes and SHA-256 of each: "
        "look whether this machine reaches it, and run again"
    )


def _first_line(error: Exception) -> str:
    name, text = type(error).__name__, str(error).strip()
    return f"{name}: {text.splitlines()[0][:120]}" if text else name
