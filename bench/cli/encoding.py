"""Standard streams: UTF-8 whatever the locale, and there even where they were closed."""

from __future__ import annotations

import io
import os
import sys


def open_streams() -> None:
    """Open standard input, output and error on nothing where they are closed.

    Else the first files that are opened take their numbers, and what is printed lands in them.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the one that is closed.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def use_utf8() -> None:
    """Start this command again in UTF-8 mode where the locale has another encoding.

    Python decodes names of files and the words of a command by the locale before any code runs.
    A name in a UTF-8 table would not match its file then.
    """
    if not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # cells and helpers inherit it
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # PYTHONIOENCODING, or a name of bytes
