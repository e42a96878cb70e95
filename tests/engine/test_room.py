"""A device that is too small in validation or prediction; a test's method says that it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.engine.room import NoRoomError, with_room
from tests.user import Bench

TIGHT = '''
import torch
from dataclasses import dataclass
from bench.spec.method import Method
from bench.spec.options import option

@dataclass(frozen=True)
class Tight(Method):
    """Finds no room for its first case in validation, or for any."""
    in_all = False
    always: bool = option(False, "never finds any")
    title = "Tight"
    source = "tests"

    def build(self, task):
        net = torch.nn.Conv2d(1, 1, 1)
        net.tries = 0
        return net

    def loss(self, net, image, mask, rng):
        if not net.training and not torch.is_grad_enabled():
            net.tries += 1
            if net.tries in (1, 3) or self.always:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().loss(net, image, mask, rng)
'''


def test_a_second_attempt_has_all_the_room() -> None:
    attempts = [torch.cuda.OutOfMemoryError("first")]

    def act() -> int:
        if attempts:
            raise attempts.pop()
        return 7

    assert with_room("in validation", act) == 7


def test_what_never_fits_says_what_helps() -> None:
    def act() -> None:
        raise torch.cuda.OutOfMemoryError("no room")

    with pytest.raises(NoRoomError, match="too small in prediction"):
        with_room("in prediction", act)


def test_validation_splits_no_training_batch(bench: Bench, slices: Callable[..., Path]) -> None:
    method = bench.home / "tight.py"
    method.write_text(TIGHT)
    data = slices()
    bench.run(data, "./tight.py:Tight")
    (record,) = (json.loads(path.read_text()) for path in bench.home.rglob("cell.json"))
    assert record["training"]["parts"] == []
    said = bench.run(data, "./tight.py:Tight:always=on", "--out", "always", code=1)
    assert "too small in measuring the network, for one case at a time" in said
