from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.options import console
from bench.cli.selection import prepare
from bench.launch import matrix
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from tests.data.test_folder import folder


def test_two_folders_with_the_same_cases_are_refused(tmp_path: Path) -> None:
    places = [folder(tmp_path / parent / "own", patients=2) for parent in ("a", "b")]
    specs = [Spec(str(place), ("pattern={patient}_*",)) for place in places]
    with pytest.raises(UsageError, match=r"hold the same cases \(own@real-\w{8}\); name one"):
        prepare(matrix.find(specs, None, load_profile("smoke")), console())
