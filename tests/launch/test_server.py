"""The server that cells are forked from."""

from __future__ import annotations

import subprocess
import sys

WARN = "import warnings, bench.launch.server; warnings.warn('old', FutureWarning)"


def test_what_libraries_will_change_is_said_on_request_alone() -> None:
    told = [
        subprocess.run([sys.executable, *words, "-c", WARN], capture_output=True, text=True)
        for words in ([], ["-W", "default"])
    ]
    assert told[0].stderr == ""
    assert "FutureWarning: old" in told[1].stderr
