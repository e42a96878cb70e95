from __future__ import annotations

import subprocess
import sys


def test_a_study_loads_no_torch() -> None:
    code = (
        "import sys, bench.tuning.study; print(*sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
