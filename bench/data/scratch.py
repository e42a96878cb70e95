"""Folders in which something is written before it is renamed; what a kill left of one goes."""

from __future__ import annotations

import glob
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside a target, which is removed at the end.

    Those of processes of this machine that were killed are removed too.

    Raises:
        OSError: It cannot be made.
    """
    begin = f".{target.name}-{platform.node()}."
    for path in target.parent.glob(f"{glob.escape(begin)}*"):
        number = path.name[len(begin) :].partition("-")[0]
        if number.isdigit() and not _runs(int(number)):
            shutil.rmtree(path, ignore_errors=True)
    mine = f"{begin}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=mine, dir=target.parent) as folder:
        yield Path(folder)


def _runs(process: int) -> bool:
    """Return whether a process is there, whoever's it is."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
