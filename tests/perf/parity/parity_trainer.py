"""nnU-Net's trainer with fewer steps, a seed and one thread, for `bench_parity.py`.

nnU-Net finds it because its documented variable `nnUNet_extTrainer` names this folder.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

CUDA = torch.device("cuda")


class ParityTrainer(nnUNetTrainer):  # type: ignore[misc]
    """nnU-Net's trainer; `PARITY_SCHEDULE` and `PARITY_SEED` say how long and under which seed."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = CUDA,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        epochs, iterations, validations = map(int, os.environ["PARITY_SCHEDULE"].split(","))
        self.num_epochs, self.num_iterations_per_epoch = epochs, iterations
        self.num_val_iterations_per_epoch = validations

    @staticmethod
    def build_network_architecture(
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Return nnU-Net's network; training and prediction call this after setting threads."""
        torch.set_num_threads(1)
        net: nn.Module = nnUNetTrainer.build_network_architecture(
            plans_manager,
            configuration_manager,
            num_input_channels,
            num_output_channels,
            enable_deep_supervision,
        )
        return net

    def run_training(self) -> None:
        """Seed what nnU-Net leaves unseeded, and train."""
        seed = int(os.environ["PARITY_SEED"])
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        super().run_training()
