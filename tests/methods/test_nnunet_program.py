"""The example of a method that its own program trains: which commands nnU-Net is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.program import Program
from tests.user import ROOT


def test_nnunets_own_commands_are_run_on_the_exported_split(tmp_path: Path) -> None:
    file = ROOT / "examples" / "nnunet_program.py"
    (spec,) = registry.expand(registry.METHODS, f"{file}:NNUNetProgram:epochs=3")
    method = registry.method(spec, "tiny")
    assert isinstance(method, Program)
    ran: list[tuple[Sequence[str], Mapping[str, str]]] = []
    data = tmp_path / "Dataset901_mr"
    data.mkdir()
    method.train(
        data, tmp_path / "answers", 7, "cuda:1", lambda words, env: ran.append((words, env))
    )
    names = [Path(words[0]).name for words, _ in ran]
    assert names == ["nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict"]
    assert "901" in ran[1][0]
    assert ran[1][0][-1] == "cuda"
    assert ran[2][0][ran[2][0].index("-i") + 1] == str(data / "imagesTs")
    assert ran[1][1]["NNUNET_PROGRAM"] == "3,2,1,7"
    assert (Path(ran[1][1]["nnUNet_extTrainer"]) / "scheduled_trainer.py").is_file()
    with pytest.raises(UsageError, match="trained by its own program"):
        method.build(None)  # type: ignore[arg-type]
