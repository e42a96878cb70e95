"""The contract that every registered method and dataset keeps; another package's are found too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.readers.simulated import Simulated
from bench.spec import registry
from bench.spec.case import Sample
from bench.spec.dataset import Adapter, Item
from bench.spec.method import Method, Task
from bench.spec.names import Spec
from bench.testing import METHOD_CHECKS, check_dataset, check_method, tiny
from tests.data import test_folder, test_volumes, test_xray

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", registry.names(registry.METHODS))
def test_a_registered_method(name: str, check: Callable[[Method], None]) -> None:
    check(tiny(name))


@dataclasses.dataclass(frozen=True)
class Line(Method):
    """A method that each test below breaks in one place."""

    title = "Line"
    source = "tests"

    def build(self, task: Task) -> nn.Module:
        return nn.Conv2d(1, 1, 3, padding="same")


class Seeded(Line):
    """Its weights do not follow the seed."""

    def build(self, task: Task) -> nn.Module:
        torch.manual_seed(1)
        return super().build(task)


class Noisy(Line):
    """Its noise comes from the global generator."""

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        return torch.rand_like(image)


class Cropped(Line):
    """Its answer has another shape."""

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        return super().predict(net, image, rng)[..., :5]


class Mixed(Line):
    """It shifts an image by what the whole batch has."""

    def logits(self, net: nn.Module, image: Tensor) -> Tensor:
        return super().logits(net, image) + image.mean()


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        (Seeded, "networks of two seeds are equal"),
        (Noisy, "noise must come from `rng` alone"),
        (Cropped, "the answer has shape"),
        (Mixed, "depend on the others of its batch"),
    ],
)
def test_a_method_that_breaks_a_rule_is_told_which(method: type[Method], rule: str) -> None:
    check_method(Line)
    with pytest.raises(AssertionError, match=rule) as caught:
        check_method(method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ct-verse", "ct-pri", "mr", "xray"])
def test_a_phantom(name: str, tmp_path: Path) -> None:
    title = registry.dataset(Spec.parse(name)).title
    check_dataset(Simulated(name=name, title=title, patients=2, slices=2), tmp_path)


def own_folder(root: Path) -> Adapter:
    return registry.dataset(Spec.parse(f"{test_folder.folder(root, 2)}:pattern={{patient}}_*"))


def small_folder(root: Path) -> None:
    test_folder.folder(root, 2)


def made(name: str, make: Callable[[Path], None]) -> Callable[[Path], Adapter]:
    def adapter(root: Path) -> Adapter:
        make(root)
        return registry.dataset(Spec.parse(name))

    return adapter


FOLDERS = {
    "folder": own_folder,
    "ct-verse": made("ct-verse", test_volumes.verse),
    "ct-pri": made("ct-pri:pattern={patient}_*", small_folder),
    "mr": made("mr", test_volumes.spider),
    "xray": made("xray", test_xray.aasce),
}


@pytest.mark.parametrize("name", registry.names(registry.DATASETS))
def test_a_registered_dataset(name: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    check_dataset(FOLDERS[name](root), root)


@dataclasses.dataclass(frozen=True)
class Scans(Adapter):
    """A dataset that each test below breaks in one place."""

    change: tuple[str, object] = ("id", "a")

    name = "scans"
    title = "Scans"

    def rules(self) -> dict[str, object]:
        return {}

    def items(self, root: Path) -> list[Item]:
        return [Item("p", (root / "file",))]

    def read(self, item: Item) -> list[Sample]:
        pixels = np.ones((4, 5), np.uint16)
        sample = Sample("a", "p", pixels, pixels.astype(np.uint8), None)
        return [dataclasses.replace(sample, **dict([self.change]))]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("id", "../a"), "cannot be used"),
        (("patient", ""), "has no patient"),
        (("image", np.ones((4, 5), np.uint8)), "expected uint16"),
        (("mask", np.ones((5, 4), np.uint8)), "expected uint8 of the image's"),
        (("mask", np.full((4, 5), 2, np.uint8)), "the mask holds 2"),
        (("spacing", (1.0,)), "expected two positive numbers"),
        (("id", "a"), "file is damaged, but read raised no UsageError"),
    ],
)
def test_a_dataset_that_breaks_a_rule_is_told_which(
    change: tuple[str, object], rule: str, tmp_path: Path
) -> None:
    root = tmp_path / "scans"
    root.mkdir()
    (root / "file").write_text("pixels")
    with pytest.raises(AssertionError, match=rule) as caught:
        check_dataset(Scans(change), root)
    assert "\n" not in str(caught.value)
