from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.options import console, datasets_of
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


def test_data_beside_paths_is_refused_unless_the_environment_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"{folder(tmp_path / 'own')}:pattern={{patient}}_*"
    smoke = load_profile("smoke")
    with pytest.raises(UsageError, match="--datasets gives paths; leave --data out"):
        datasets_of(own, tmp_path, smoke)
    assert len(datasets_of(f"{own},mr", tmp_path, smoke)) == 2
    monkeypatch.setenv("BENCH_DATA", f"{tmp_path}/")  # as shells complete it
    assert len(datasets_of(own, tmp_path, smoke)) == 1
