from __future__ import annotations

import math

import pytest
import torch

from bench.data.grid import OnGrid
from bench.engine import size, trainee
from bench.spec import registry
from bench.spec.method import Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from tests.data.test_stream import dataset
from tests.test_train import DATA

CPU = torch.device("cpu")


def relative(spec: str, scale: str) -> float:
    profile = load_profile({"tiny": "smoke", "small": "cpu", "half": "lunch"}[scale])
    task = Task("mr", (DATA.size(0),), 2, 4)
    method = registry.method(Spec.parse(spec), profile.scale)
    return size.relative(trainee.build(method, task, profile, 35, CPU, "float32"), DATA, 0)


def test_unet_is_the_unit() -> None:
    assert isinstance(DATA, OnGrid)
    assert relative("unet", "tiny") == relative("unet", "small") == 1


def test_the_size_follows_the_width() -> None:
    assert 3 < relative("unet:width=24", "small") < 4.1


@pytest.mark.parametrize("spec", ["sam", "sam:prompt=box", "verdiff", "nnunet"])
def test_every_loss_can_be_counted_and_leaves_the_network_as_it_was(spec: str) -> None:
    profile = load_profile("smoke")
    method = registry.method(Spec.parse(spec), profile.scale)
    student = trainee.build(method, Task("mr", (DATA.size(0),), 2, 4), profile, 35, CPU, "float32")
    before = {key: value.clone() for key, value in student.net.state_dict().items()}
    assert 0 < size.relative(student, DATA, 0) < math.inf
    assert all(torch.equal(before[key], value) for key, value in student.net.state_dict().items())
    assert any(weight.requires_grad for weight in student.net.parameters())


def test_a_network_is_measured_where_unet_has_a_single_value_in_a_channel() -> None:
    tiny = OnGrid(dataset(), (16, 16))
    profile = load_profile("smoke")
    sam = registry.method(Spec("sam"), profile.scale)
    student = trainee.build(sam, Task("mr", ((16, 16),), 2, 4), profile, 35, CPU, "float32")
    assert 0 < size.relative(student, tiny, 0) < math.inf
