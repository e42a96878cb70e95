"""Leases: one process works on a folder, among hosts that share a disk.

No lock manager is needed, and the clocks of two hosts need not agree.

The holder is who wrote the file `lease-<n>` of the highest n. A lease is taken by creating the next
one, which a file system grants once (O_EXCL). The holder changes its file every few seconds. On its
own machine it is dead when its process is; elsewhere, when its file has not changed for
`STALE_SECONDS` of the observer's own monotonic clock.
"""

from __future__ import annotations

import json
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.spec import files

BEAT_SECONDS = 10.0
"""Between two changes that a holder makes to its lease."""
STALE_SECONDS = 90.0
"""After so long without a change the holder counts as dead: nine beats, for slow shared disks."""
_BEAT = 12
"""Digits of the count of beats, the first line of a lease."""
_NAME = re.compile("lease-([0-9]{6,9})")
"""The name of a lease."""


class BusyError(Exception):
    """Somebody else holds the lease."""


@dataclass
class Leases:
    """What an observer has seen of leases, and since when they have not changed."""

    seen: dict[Path, tuple[str | None, float]] = field(default_factory=dict)

    def free(self, folder: Path) -> int | None:
        """Return the number of the folder's last lease, 0 if it has none; None while held."""
        path = _last(folder)
        if path is None:
            return 0
        text = _read(path)
        dead = _dead(text)
        if dead is None:
            now = time.monotonic()
            text_before, since = self.seen.get(path, (None, now))
            if text != text_before:
                since = now
            self.seen[path] = text, since
            dead = now - since > STALE_SECONDS
        return _number(path) if dead else None


@contextmanager
def hold(folder: Path, after: int, lost: Callable[[], None]) -> Iterator[None]:
    """Hold a folder's lease.

    Args:
        folder: A folder that exists.
        after: The lease that was found free (`Leases.free`); the next one is taken.
        lost: Called from another thread where the lease was taken over: this process was taken for
            dead. A folder that was renamed, its work being finished, is not lost.

    Raises:
        BusyError: Somebody else was quicker, or the folder is gone.
    """
    path = folder / f"lease-{after + 1:06}"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except (FileExistsError, FileNotFoundError):
        raise BusyError(str(path)) from None
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT_SECONDS):
            try:
                last = _last(folder)
                if last and _number(last) > after + 1:
                    lost()
                    return
                count += 1
                os.pwrite(handle, f"{count:0{_BEAT}}".encode(), 0)
            except OSError:
                continue  # the next beat may reach the disk

    try:
        os.write(handle, f"{0:0{_BEAT}}\n{json.dumps(_this_process())}\n".encode())
        for old in folder.glob("lease-*"):
            if _number(old) <= after:
                with suppress(OSError):  # a folder of this name is no lease
                    old.unlink(missing_ok=True)
        threading.Thread(target=beat, daemon=True).start()
        yield
    finally:
        ended.set()
        os.close(handle)
        path.unlink(missing_ok=True)


def looks_held(folder: Path) -> bool:
    """Return whether a folder's lease looks held: by a process that lives, or wrote just now."""
    try:
        path = _last(folder)
        if path is None:
            return False
        dead = _dead(_read(path))
        if dead is not None:
            return not dead
        # Of another machine: the file's own time, though clocks may differ. A glance need not be
        # sure; `Leases.free` is.
        return abs(time.time() - path.stat().st_mtime) < STALE_SECONDS
    except OSError:  # its holder has just let it go
        return False


def _last(folder: Path) -> Path | None:
    """Return the lease of the highest number; None where there is none, or no folder."""
    try:
        entries = os.listdir(folder)  # noqa: PTH208 - one call a cell
        names = [name for name in entries if _NAME.fullmatch(name)]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return folder / max(names) if names else None


def _number(path: Path) -> int:
    """Return the number of a lease, 0 of what is none."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _read(path: Path) -> str:
    """Return the text of a lease, empty where nothing can be read."""
    try:
        return files.read_text(path)
    except OSError:
        return ""


def _dead(text: str) -> bool | None:
    """Return whether a lease's holder is dead; None where this machine cannot know."""
    try:
        holder = json.loads(text[_BEAT:])
        machine, pid, started = holder["machine"], holder["pid"], holder["started"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if machine != _machine():
        return None
    try:
        os.kill(int(pid), 0)  # signal 0 does nothing but tell whether there is such a process
    except (ProcessLookupError, OverflowError):
        return True
    except (ValueError, TypeError):
        return None
    except PermissionError:
        return False  # it lives, and is somebody else's
    return bool(started != _started(pid))


def _this_process() -> dict[str, object]:
    """Return what a lease says of its holder."""
    return {"machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}


def _machine() -> str:
    """Return a name within which process numbers are unique: host, its start, and container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path
        return f"{platform.node()}/{boot}/{space}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str:
    """Return when a process was started, so that a reused number is noticed; empty if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    # After the name in brackets, which may hold blanks: the state, and as 20th the start time.
    words = stat.rpartition(")")[2].split()
    state, start_time = words[0], words[19]
    return "zombie" if state == "Z" else start_time
