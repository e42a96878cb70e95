"""What a process must not outlive, and what memory it may take."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory a container has."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What glibc's `mallopt` calls the two limits beyond which freed memory goes back to the kernel."""
KEPT = 64 * 2**20
"""Bytes of freed memory that a process keeps, and twice the largest piece that is kept."""


def end_with_launcher() -> None:
    """Have this process end when its launcher is gone; a thread waits for that.

    The kernel closes a pipe that all processes of multiprocessing have to their launcher, even
    where it was killed. Without this, a process of a killed launcher would collide with a new one,
    or wait for ever for what nobody will send.
    """
    threading.Thread(target=_end, daemon=True).start()


def _end() -> None:
    """Wait until the process that started this one is gone, then end this one."""
    launcher = multiprocessing.parent_process()
    if launcher:
        launcher.join()
        os.kill(os.getpid(), signal.SIGKILL)


def keep_memory() -> None:
    """Have this process keep what it frees, up to `KEPT`, and use it again.

    A reader of small images would otherwise get and return the same pages for each: with images of
    512 x 512, a tenth of its time. Only glibc can do it.
    """
    with suppress(AttributeError, OSError):  # another library of C
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, KEPT // 2)


@lru_cache(maxsize=1)
def memory() -> int:
    """Return the bytes of memory that this machine has, or this container of it."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _LIMITS:
        with suppress(OSError, ValueError):  # not Linux, or `max`
            available = min(available, int(file.read_text(encoding="ascii")))
    return available


@contextmanager
def at_most(extra: int) -> Iterator[None]:
    """Have this process get a MemoryError where it takes so many bytes more than it has now.

    What is limited is its private writable memory: mapped files and reserved addresses do not
    count, as they would in a limit of the address space. Only Linux can do it.
    """
    taken = _taken()
    if taken is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [limit for limit in (taken + extra, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _taken() -> int | None:
    """Return the private writable memory of this process in bytes; None where it is unknown."""
    try:
        words = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split()
        return 1024 * int(words[words.index("VmData:") + 1])
    except (OSError, ValueError):
        return None
