"""Text is UTF-8 whatever the locale: the command starts again in Python's UTF-8 mode."""

from __future__ import annotations

import io
import os
import sys


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
