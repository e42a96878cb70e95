"""The contract of a method that its authors' own program trains: a folder in, a folder out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from bench.spec.errors import UsageError
from bench.spec.method import Method, Task


class Run(Protocol):
    """Runs a command line; the cell's log has what it prints."""

    def __call__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run a command to its end.

        Args:
            words: The program and its arguments.
            environment: Variables beside those of this process.

        Raises:
            RuntimeError: It failed.
        """


@dataclass(frozen=True)
class Program(Method):
    """A method whose training is a command line; its row is marked, and wins no comparison.

    It gets the training and validation side of the split in nnU-Net's raw layout, and the images of
    the test side without their masks. Its answers are scored as all others are.
    """

    in_all = False
    space = {}

    def build(self, task: Task) -> nn.Module:
        """Refuse to be built: no network is trained here.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{self.title} is trained by its own program; bench run alone runs it")

    @abstractmethod
    def train(self, data: Path, answers: Path, seed: int, device: str, run: Run) -> None:
        """Train on a folder, and write a mask for each test image.

        Args:
            data: `DatasetNNN_name` as `bench data export` writes it, without `labelsTs`: images and
                masks in `imagesTr` and `labelsTr`, the sides in `splits_final.json`, and the test
                images in `imagesTs` (`CASE_0000.nii.gz`). Files beside it may be written.
            answers: An empty folder; the mask of a test image goes there as `CASE.nii.gz`, or in
                any other format that is read.
            seed: A number that decides what is random.
            device: A PyTorch device.
            run: Runs a command line.
        """
