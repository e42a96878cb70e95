"""nnU-Net by its own command line, as an example of a method that trains itself outside.

    bench run --methods unet,examples/nnunet_program.py:NNUNetProgram:epochs=1000 --datasets mr

The dataset is exported with the split of the run, `nnUNetv2_plan_and_preprocess`, `nnUNetv2_train`
and `nnUNetv2_predict` do the rest, and their masks are scored beside the other methods.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.spec.options import option
from bench.spec.program import Program, Run

TRAINER = '''
import os, random, numpy, torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

class ScheduledTrainer(nnUNetTrainer):
    """nnU-Net's trainer with a schedule and a seed from the environment."""

    # nnU-Net reads the names of these arguments.
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        schedule = os.environ["NNUNET_PROGRAM"].split(",")
        epochs, steps, validations, seed = map(int, schedule)
        self.num_epochs, self.num_iterations_per_epoch = epochs, steps
        self.num_val_iterations_per_epoch = validations
        for seeded in (random.seed, numpy.random.seed, torch.manual_seed):
            seeded(seed % 2**32)
'''
"""nnU-Net looks for trainers in the folder that `nnUNet_extTrainer` names."""


@dataclass(frozen=True)
class NNUNetProgram(Program):
    """nnU-Net v2, 2D, trained and asked by its own commands."""

    epochs: int = option(1000, "epochs", low=1)
    steps: int = option(250, "steps an epoch", low=1)

    title = "nnU-Net v2 (own command line)"
    source = "Isensee et al. (2021), nnunetv2"
    scales = {
        "small": {"epochs": 8, "steps": 50},
        "tiny": {"epochs": 1, "steps": 2},
    }

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return what nnU-Net does by its own rules."""
        schedule = f"{self.epochs} epochs of {self.steps} steps (nnU-Net: 1000 of 250)"
        return (f"its own planning, augmentation, batch and optimiser; {schedule}",)

    def train(self, data: Path, answers: Path, seed: int, device: str, run: Run) -> None:
        """Plan, train fold 0 on the split of the run, and predict the test images."""
        number = data.name[len("Dataset") : len("DatasetNNN")]
        kind = device.partition(":")[0]
        trainers = data.parent / "trainers"
        trainers.mkdir()
        (trainers / "scheduled_trainer.py").write_text(TRAINER, encoding="utf-8")
        environment = {
            "nnUNet_raw": str(data.parent),
            "nnUNet_preprocessed": str(data.parent / "preprocessed"),
            "nnUNet_results": str(data.parent / "trained"),
            "nnUNet_extTrainer": str(trainers),
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
            "nnUNet_compile": "false",
            "NNUNET_PROGRAM": f"{self.epochs},{self.steps},{max(1, self.steps // 5)},{seed}",
        }

        def command(name: str, *words: str) -> None:
            run([str(Path(sys.executable).with_name(name)), *words], environment)

        command(
            "nnUNetv2_plan_and_preprocess",
            *("-d", number, "-c", "2d", "-np", "1", "-npfp", "1", "--verify_dataset_integrity"),
        )
        command("nnUNetv2_train", number, "2d", "0", "-tr", "ScheduledTrainer", "-device", kind)
        command(
            "nnUNetv2_predict",
            *("-d", number, "-c", "2d", "-f", "0", "-tr", "ScheduledTrainer", "-device", kind),
            *("-i", str(data / "imagesTs"), "-o", str(answers), "-npp", "1", "-nps", "1"),
        )
