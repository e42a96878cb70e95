"""nnU-Net is nnunetv2's: plans, networks, loss, optimiser and prediction are compared."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch.utils.flop_counter import FlopCounterMode

from bench.engine.train import Training
from bench.engine.trainee import Trainee, count_idle_parameters
from bench.spec import registry
from bench.spec.capabilities import OwnOptimiser, TrainsItself
from bench.spec.errors import UsageError
from bench.spec.method import Cases, Example, Inputs, Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from bench.store.layout import CellFolder
from verdiff_bench_methods import nnunet
from verdiff_bench_methods.nnunet_native import fingerprint
from verdiff_bench_methods.nnunet_plan import LABELS, Planned, patches

pytestmark = pytest.mark.usefixtures("no_network")
CPU = torch.device("cpu")


def task(size: tuple[int, int] = (48, 64), cases: int = 6, steps: int = 10) -> Task:
    return Task("mr", (size,) * cases, 2, steps)


def planned(spec: str = "nnunet", scale: str = "tiny", **how: Any) -> Planned:
    torch.manual_seed(0)
    net = registry.method(Spec.parse(spec), scale).build(task(**how))
    assert isinstance(net, Planned)
    return net


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def examples(size: tuple[int, int] = (48, 64), count: int = 6, border: int = 0) -> list[Example]:
    draw = np.random.default_rng(3)
    found = []
    for number in range(count):
        image = draw.integers(1, 60000, size).astype(np.uint16)
        mask = np.zeros(size, np.uint8)
        mask[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
        image[mask > 0] += 5000
        if border:
            image[:border] = image[-border:] = 0
            image[:, :border] = image[:, -border:] = 0
        found.append(Example(f"case{number}", image, mask))
    return found


@pytest.mark.parametrize(
    ("size", "cases", "patch", "stages", "batch", "parameters"),
    [
        ((369, 166), 1756, [384, 192], 7, 44, 32_947_532),
        ((768, 534), 441, [768, 640], 8, 7, 46_324_558),
        ((750, 250), 426, [768, 256], 8, 16, 45_800_270),
        ((880, 880), 1500, [896, 896], 8, 4, 46_324_558),
    ],
)
def test_full_sizes(
    size: tuple[int, int], cases: int, patch: list[int], stages: int, batch: int, parameters: int
) -> None:
    net = planned(scale="full", size=size, cases=cases)
    plan = net.plans["configurations"]["2d"]
    assert plan["patch_size"] == patch
    assert plan["architecture"]["arch_kwargs"]["n_stages"] == stages
    assert plan["batch_size"] == batch
    assert sum(p.numel() for p in net.parameters()) == parameters


COMMAND = """
import multiprocessing
import sys

multiprocessing.get_context = lambda method: multiprocessing.context.ForkContext()
from nnunetv2.experiment_planning import plan_and_preprocess_entrypoints
from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor

extractor = fingerprint_extractor.DatasetFingerprintExtractor
extractor.num_foreground_voxels_for_intensitystats = property(lambda _: 1000, lambda *_: None)
for planner in ("ExperimentPlanner", "nnUNetPlannerResEncM", "nnUNetPlannerResEncL"):
    sys.argv[1:] = ["-d", "1", "2", "-npfp", "1", "--no_pp", "-pl", planner]
    plan_and_preprocess_entrypoints.plan_and_preprocess_entry()
"""
"""nnU-Net's own planning, in forked processes, which need not import it again.

It looks at 1000 intensities instead of 10e7, which plans leave out.
"""


def test_plans_are_those_of_nnunets_command_line(tmp_path: Path) -> None:
    given = {1: examples((96, 64)), 2: examples((96, 64), border=9)}
    for number, cases in given.items():
        folder = tmp_path / "raw" / f"Dataset00{number}_cases"
        for case in cases:
            for sub, name, pixels in (
                ("imagesTr", f"{case.id}_0000", case.image),
                ("labelsTr", case.id, case.mask),
            ):
                (folder / sub).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / sub / f"{name}.png"), pixels)
        (folder / "dataset.json").write_text(json.dumps({**LABELS, "numTraining": len(cases)}))
    names = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    subprocess.run(
        [sys.executable, "-c", COMMAND],
        env={**os.environ, **names, "nnUNet_def_n_proc": "1"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    other = {
        "foreground_intensity_properties_per_channel": 0,
        "dataset_name": 0,
    }  # no z-score reads intensities
    files = {"default": "nnUNet", "resenc-m": "nnUNetResEncUNetM", "resenc-l": "nnUNetResEncUNetL"}
    for preset, name in files.items():
        spec = f"nnunet:plans={preset}"
        # nnU-Net crops what is zero around a case: its own recipe does, the shared stream does not
        with nnunet.folders(tmp_path / preset):
            method: Any = registry.method(Spec.parse(spec))
            cropped = method.planned(tmp_path / preset, fingerprint(iter(given[2])))
        uncropped = planned(spec, scale="full", size=(96, 64), cases=len(given[1])).plans
        for number, ours in ((1, uncropped), (2, cropped)):
            folder = tmp_path / "preprocessed" / f"Dataset00{number}_cases"
            theirs = json.loads((folder / f"{name}Plans.json").read_text())
            assert {**ours, **other} == {**theirs, **other}


def test_planning_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", "somewhere")
    monkeypatch.delenv("nnUNet_results", raising=False)
    before = dict(os.environ)
    planned()
    assert dict(os.environ) == before


def theirs(net: Planned, steps: int = 10) -> Any:
    """What nnUNetTrainer's methods need of a trainer, without its folders and logs."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Trainer(nnUNetTrainer):  # type: ignore[misc]
        def __init__(self) -> None:
            self.configuration_manager, self.plans_manager, self.network = (
                net.configuration,
                net.manager,
                net.net,
            )
            self.label_manager = net.manager.get_label_manager(LABELS)
            self.is_ddp, self.enable_deep_supervision, self.device = False, True, CPU
            self.initial_lr, self.weight_decay, self.num_epochs = 1e-2, 3e-5, steps

    return Trainer()


def test_the_loss_over_all_outputs_is_that_of_the_trainer() -> None:
    from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import (
        DownsampleSegForDSTransform,
    )

    net = planned(size=(64, 96))
    trainer = theirs(net)
    mask = (torch.rand(2, 1, *net.patch, generator=rng()) > 0.6).float()
    image = torch.rand(2, 1, *net.patch, generator=rng(2))
    outputs = net(Inputs().enter(image))
    down = DownsampleSegForDSTransform(trainer._get_deep_supervision_scales())
    masks = [
        torch.stack(each)
        for each in zip(*(down._apply_to_segmentation(one) for one in mask), strict=True)
    ]
    assert len(outputs) == len(masks) > 1
    expected = trainer._build_loss()(outputs, masks)
    torch.testing.assert_close(
        registry.method(Spec("nnunet"), "tiny").loss(net, image, mask, rng()), expected
    )


def test_three_classes_have_nnunets_own_loss_and_prediction() -> None:
    """With void pixels: nnU-Net's `ignore` label, of which the loss and the heads know nothing."""
    from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import (
        DownsampleSegForDSTransform,
    )
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    method = registry.method(Spec("nnunet"), "tiny")
    wanted = Task("mr", ((64, 96),) * 5, 2, 10, ("a", "b", "c"), void=True)
    torch.manual_seed(1)
    net: Any = method.build(wanted)
    about = {"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4}
    labels = {**LABELS, "labels": about}
    assert net.labels == labels
    trainer = theirs(net)
    trainer.label_manager = net.manager.get_label_manager(labels)
    assert net.heads == trainer.label_manager.num_segmentation_heads == 4
    target = torch.randint(0, 5, (2, 1, *net.patch), generator=rng()).float()
    image = torch.rand(2, 1, *net.patch, generator=rng(2))
    down = DownsampleSegForDSTransform(trainer._get_deep_supervision_scales())
    parts = [down._apply_to_segmentation(one) for one in target]
    masks = [torch.stack(level) for level in zip(*parts, strict=True)]
    expected = trainer._build_loss()(net(Inputs().enter(image)), masks)
    ours = torch.where(target == 4, torch.tensor(255.0), target)
    torch.testing.assert_close(method.loss(net, image, ours, rng()), expected)
    answer = method.predict(net.eval(), image[:1], rng())
    theirs_too = nnUNetPredictor(device=CPU, allow_tqdm=False)
    theirs_too.manual_initialization(
        net.net, net.manager, net.configuration, None, labels, "nnUNetTrainer", None
    )
    logits = theirs_too.predict_sliding_window_return_logits(Inputs().enter(image[:1])[0][:, None])
    torch.testing.assert_close(answer[0], logits[:, 0].float().softmax(0), atol=2e-3, rtol=0)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("size", [(369, 166), (750, 250), (768, 534)])
def test_every_weight_but_the_coarsest_outputs_gets_a_gradient(
    size: tuple[int, int], batch: int
) -> None:
    method = registry.method(Spec.parse("nnunet:features=2:max_features=4"), "tiny")
    net: Any = method.build(Task("mr", (size,) * 5, batch, 10))
    image = torch.rand(batch, 1, *size, generator=rng())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=batch == 1):
        method.loss(net, image, (image > 0.5).float(), rng()).backward()
    without = {name for name, weight in net.named_parameters() if weight.grad is None}
    assert without == {"net.decoder.seg_layers.0.weight", "net.decoder.seg_layers.0.bias"}


def test_it_overfits_two_cases_in_ten_steps() -> None:
    method, net = (
        registry.method(Spec.parse("nnunet:optimiser=sgd:features=8:max_features=32"), "tiny"),
        planned("nnunet:features=8:max_features=32"),
    )
    mask = torch.zeros(2, 1, 48, 64)
    mask[0, :, 10:30, 12:40] = mask[1, :, 20:44, 30:60] = 1
    image = 0.6 * mask + 0.3 * torch.rand(mask.shape, generator=rng())
    sgd, losses = method.make_optimiser(net, task()), []
    assert sgd is not None
    for _ in range(10):
        loss = method.loss(net, image, mask, rng())
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.3


def test_optimiser_and_schedule_are_the_trainers_and_survive_a_checkpoint() -> None:
    net, method = planned(), registry.method(Spec.parse("nnunet:optimiser=sgd"), "tiny")
    sgd, schedule = theirs(net).configure_optimizers()
    ours = method.make_optimiser(net, task())
    assert ours is not None
    same = ("momentum", "weight_decay", "nesterov", "dampening")
    assert all(ours.param_groups[0][key] == sgd.param_groups[0][key] for key in same)
    rates = []
    for step in range(10):
        if step == 5:
            state = ours.state_dict()
            ours = method.make_optimiser(net, task())
            assert ours is not None
            ours.load_state_dict(state)
        for weight in net.parameters():
            weight.grad = torch.full_like(weight, 100.0)
        schedule.step(step)
        ours.step()
        rates.append(ours.param_groups[0]["lr"])
        assert rates[-1] == pytest.approx(sgd.param_groups[0]["lr"])
        norm = torch.stack([w.grad.norm() for w in net.parameters() if w.grad is not None]).norm()
        assert norm == pytest.approx(12.0, rel=1e-3)  # clipped as in the trainer
    assert rates[0] == 1e-2
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("size", [(48, 64), (100, 140)])
def test_prediction_is_nnunets_sliding_window(size: tuple[int, int]) -> None:
    net, method = planned(), registry.method(Spec("nnunet"), "tiny")
    image = torch.rand(1, 1, *size, generator=rng())
    answer = method.predict(net, image, rng())
    assert answer.shape == image.shape
    if size == (48, 64):  # one tile: the network's own answer
        net.net.decoder.deep_supervision = False
        direct = net.net(method.inputs.enter(image)).softmax(1)[:, 1:]
        torch.testing.assert_close(
            answer, direct, atol=2e-3, rtol=1e-2
        )  # nnU-Net keeps logits in half precision
    brighter = image.clone()
    brighter[..., -1, -1] += 0.2
    assert not torch.equal(method.predict(net, brighter, rng()), answer)


def test_normalisation_is_the_planned_scheme() -> None:
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import (
        ZScoreNormalization,
    )

    net = planned()
    assert net.configuration.normalization_schemes == ["ZScoreNormalization"]
    image = torch.rand(1, 1, 48, 64, generator=rng())
    theirs = ZScoreNormalization(use_mask_for_norm=False, intensityproperties={}).run(
        image[0, 0].numpy().copy(), None
    )
    np.testing.assert_allclose(Inputs().enter(image)[0, 0].numpy(), theirs, atol=1e-3)


def test_views_are_mirrored_where_training_mirrored_and_nowhere_else() -> None:
    image = torch.rand(1, 1, 48, 64, generator=rng())
    counted: list[int] = []
    for spec, expected in (("nnunet", 1), ("nnunet:recipe=native", 4)):
        net, method = planned(spec), registry.method(Spec.parse(spec), "tiny")
        calls: list[None] = []
        net.net.register_forward_hook(lambda *_, calls=calls: calls.append(None))
        method.predict(net, image, rng())
        assert len(calls) == expected
        with FlopCounterMode(display=False) as counter:
            method.predict(net, image, rng())
        counted.append(counter.get_total_flops())
        assert ("mirror" in method.advantages().ensembling) == (expected > 1)
    assert counted[1] == 4 * counted[0]  # and that is seen by the counter of multiply-adds


def test_what_is_said_of_mirrored_views_holds_whatever_the_profile_flips() -> None:
    said = " ".join(registry.method(Spec("nnunet")).deviations(1))
    assert "no mirrored views at test time" in said
    assert "here none" not in said


def test_the_users_environment_does_not_change_a_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """nnU-Net's predictor compiles the network where `nnUNet_compile` says so."""
    image, net = torch.rand(1, 1, 48, 64, generator=rng()), planned()
    method = registry.method(Spec("nnunet"), "tiny")
    expected = method.predict(net, image, rng())
    compiled: list[None] = []
    monkeypatch.setenv("nnUNet_compile", "t")
    monkeypatch.setattr(torch, "compile", lambda _: lambda *_: compiled.append(None))
    assert torch.equal(method.predict(net, image, rng()), expected)
    assert not compiled


def test_patches_pad_small_images_and_cut_large_ones() -> None:
    mask = torch.zeros(3, 1, 20, 40)
    mask[..., 15:, 35:] = 1
    image = 1 + torch.rand(3, 1, 20, 40, generator=rng())
    padded, at = patches(image, mask, (24, 40), rng())
    assert torch.equal(padded[..., 2:22, :], image)
    assert (
        padded[..., :2, :].abs().sum()
        == padded[..., 22:, :].abs().sum()
        == at[..., :2, :].sum()
        == 0
    )
    found = []
    for seed in range(60):
        cut, at = patches(image, mask, (16, 16), rng(seed))
        assert cut.shape == at.shape == (3, 1, 16, 16)
        for one, piece, spot in zip(image, cut, at, strict=True):
            windows = one[0].unfold(0, 16, 1).unfold(1, 16, 1)
            assert (windows == piece[0]).all(-1).all(-1).any()
            found.append(bool(spot.any()))
    assert 0.33 < np.mean(found) < 0.75  # a third by rule, some of the others by chance
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            patches(image, mask, (16, 16), rng(9)),
            patches(image, mask, (16, 16), rng(9)),
            strict=True,
        )
    )


@pytest.mark.parametrize("preset", ["default", "resenc-m", "resenc-l"])
def test_a_size_that_no_plan_serves_says_which_are_served(preset: str) -> None:
    with pytest.raises(
        UsageError, match=r"10x7 pixels .* the nearest size with two is 16x16 for min_edge=8"
    ):
        planned(f"nnunet:plans={preset}", size=(10, 7))


@pytest.mark.parametrize("size", [(64, 64), (64, 30), (200, 33)])
def test_an_edge_that_is_too_long_is_refused_with_one_that_works(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"give min_edge=\d+, or larger cases") as refused:
        planned("nnunet:min_edge=1000", size=size)
    (edge,) = re.findall(r"give (min_edge=\d+)", str(refused.value))
    planned(f"nnunet:{edge}", size=size)


@pytest.mark.parametrize("bias", [1e20, float("nan")])
def test_logits_that_are_not_finite_are_told_as_a_training_that_diverged(bias: float) -> None:
    net = planned()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "seg_layers" in name:
                weight.fill_(bias)
    image = torch.rand(1, 1, 48, 64, generator=rng())
    with pytest.raises(FloatingPointError, match=r"training diverged; give a lower .* lr=$"):
        registry.method(Spec("nnunet"), "tiny").predict(net, image, rng())


def test_what_the_planner_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner

    def refuse(*_: Any) -> None:
        raise AssertionError("Spacing must be > 0!")

    planner = default_experiment_planner.ExperimentPlanner
    monkeypatch.setattr(planner, "determine_transpose", refuse)
    with pytest.raises(UsageError, match=r"\(resenc-l\) cannot plan for cases of 48x64 .* Spacing"):
        planned("nnunet:plans=resenc-l")


def test_weights_of_several_names_are_kept_once(tmp_path: Path) -> None:
    net, method = planned(), registry.method(Spec("nnunet"), "tiny")
    trainee = Trainee(method, net, task(), load_profile("smoke"), 35, CPU)
    best = Training(trainee, CellFolder(tmp_path)).best
    assert best.keys() == net.state_dict().keys()
    assert all(torch.equal(best[key], value) for key, value in net.state_dict().items())
    kept = {value.data_ptr(): value.numel() for value in best.values()}
    assert sum(kept.values()) == sum(
        p.numel() for p in net.parameters()
    )  # nnU-Net names its layers several times


def test_its_own_recipe_gives_the_weights_of_the_trainer_of_nnunet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From files, as the command line reads them; `tests/perf/bench_parity.py` runs that itself."""
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    given, seed = examples((48, 70), border=5), 5
    (tmp_path / "ours").mkdir()
    cases = Cases(lambda: iter(given[:4]), lambda: iter(given[4:]))
    method = registry.method(Spec.parse("nnunet:recipe=native"), "tiny")
    assert isinstance(method, TrainsItself)
    ours = method.fit(
        cases, task(cases=4, steps=3), tmp_path / "ours", CPU, seed, lambda note: None
    )

    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    raw, ready = (tmp_path / name / "Dataset007_cases" for name in ("raw", "preprocessed"))
    for folder in (raw / "imagesTr", raw / "labelsTr", ready / "nnUNetPlans_2d"):
        folder.mkdir(parents=True)
    for case in given:
        cv2.imwrite(str(raw / "imagesTr" / f"{case.id}_0000.png"), case.image)
        cv2.imwrite(str(raw / "labelsTr" / f"{case.id}.png"), case.mask)
    about = {**LABELS, "numTraining": len(given)}
    (raw / "dataset.json").write_text(json.dumps(about))
    (ready / "dataset_fingerprint.json").write_text(json.dumps(fingerprint(iter(given))))
    splits = [{"train": [c.id for c in given[:4]], "val": [c.id for c in given[4:]]}]
    (ready / "splits_final.json").write_text(json.dumps(splits))
    planner = default_experiment_planner.ExperimentPlanner(7)
    planner.UNet_base_num_features, planner.UNet_max_features_2d = 4, 8
    planner.UNet_featuremap_min_edge_length = 8
    planner.plan_experiment()
    plans = json.loads((ready / "nnUNetPlans.json").read_text())
    manager = PlansManager(plans)
    for case in given:
        image, mask = raw / "imagesTr" / f"{case.id}_0000.png", raw / "labelsTr" / f"{case.id}.png"
        to = str(ready / "nnUNetPlans_2d" / case.id)
        DefaultPreprocessor(verbose=False).run_case_save(
            to, [str(image)], str(mask), manager, manager.get_configuration("2d"), about
        )
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    theirs = nnUNetTrainer({**plans, "continue_training": False}, "2d", 0, about, CPU)
    theirs.num_epochs, theirs.num_iterations_per_epoch = 1, 3
    theirs.num_val_iterations_per_epoch, theirs.disable_checkpointing = 1, True
    theirs.run_training()
    expected = theirs.network.state_dict()
    weights = ours.net.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


@pytest.mark.parametrize("recipe", ["shared", "native"])
def test_residual_encoders_train_and_answer(tmp_path: Path, recipe: str) -> None:
    spec = f"nnunet:plans=resenc-m:recipe={recipe}"
    method, net = registry.method(Spec.parse(spec), "tiny"), planned(spec)
    given = examples()
    if isinstance(method, TrainsItself):
        cases = Cases(lambda: iter(given[:4]), lambda: iter(given[4:]))
        net = method.fit(cases, task(cases=4, steps=1), tmp_path, CPU, 5, lambda note: None)
        assert net.configuration.batch_size == 6  # not 5 % of the cases, as nnU-Net's default
    architecture = net.plans["configurations"]["2d"]["architecture"]
    assert architecture["network_class_name"].endswith(".ResidualEncoderUNet")
    assert architecture["arch_kwargs"]["features_per_stage"] == [4, 8, 8]
    assert architecture["arch_kwargs"]["n_blocks_per_stage"] == [1, 3, 4]
    image = torch.rand(2, 1, 48, 64, generator=rng())
    method.loss(net, image, (image > 0.5).float(), rng()).backward()
    without = {name for name, weight in net.named_parameters() if weight.grad is None}
    assert without == {"net.decoder.seg_layers.0.weight", "net.decoder.seg_layers.0.bias"}
    with torch.inference_mode():
        answer = method.predict(net.eval(), image[:1], rng())
    assert answer.shape == (1, 1, 48, 64)
    assert 0 <= answer.min() < answer.max() <= 1


def test_its_own_recipe_trains_alike_each_time_and_reports_itself(tmp_path: Path) -> None:
    method = registry.method(Spec.parse("nnunet:recipe=native"), "tiny")
    assert isinstance(method, TrainsItself)
    assert not isinstance(registry.method(Spec("nnunet"), "tiny"), TrainsItself)
    assert method.advantages().augmentation != "none"
    given = examples(border=5)
    cases = Cases(lambda: iter(given[:4]), lambda: iter(given[4:]))
    nets, told = [], []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        nets.append(method.fit(cases, task(cases=4, steps=3), tmp_path / run, CPU, 5, told.append))
    assert [note.step for note in told] == [1, 2, 3] * 2
    first, second = (net.state_dict() for net in nets)
    assert all(torch.equal(first[key], second[key]) for key in first)
    image = torch.from_numpy(given[5].image.astype(np.float32) / 65535)[None, None]
    with torch.inference_mode():
        answer = method.predict(nets[0].eval(), image, rng())
    assert answer.shape == image.shape
    assert answer[..., :5, :].max() == 0  # cropped, as its preprocessing does
    theirs = nnUNetPredictor(device=CPU, allow_tqdm=False)
    net = nets[0]
    weights = [net.net.state_dict()]
    theirs.manual_initialization(
        net.net, net.manager, net.configuration, weights, LABELS, "nnUNetTrainer", (0, 1)
    )
    pixels = given[5].image[None, None].astype(np.float32)
    expected = theirs.predict_single_npy_array(pixels, {"spacing": [999, 1, 1]}, None, None, True)[
        1
    ][1, 0]
    np.testing.assert_allclose(answer[0, 0].numpy(), expected, atol=2e-3)
    assert method.about(nets[0])["configurations"]["2d"]["patch_size"]
    assert (
        nets[0].net.decoder.seg_layers[0].weight.grad is None
    )  # the coarsest output has no share in the loss
    assert count_idle_parameters(nets[0]) == nets[0].net.decoder.seg_layers[0].weight.numel() + 2


def test_the_profiles_adam_trains_it_unless_another_is_asked_for() -> None:
    def own(spec: str) -> bool:
        return isinstance(registry.method(Spec.parse(spec), "tiny"), OwnOptimiser)

    assert (own("nnunet"), own("nnunet:optimiser=sgd")) == (False, True)
    with pytest.raises(UsageError, match="optimiser=sgd has no effect with recipe=native"):
        own("nnunet:recipe=native:optimiser=sgd")
    with pytest.raises(UsageError, match="optimiser=adam has no effect with recipe=native"):
        own("nnunet:optimiser=adam:recipe=native")
    with pytest.raises(UsageError, match="recipe=native begins at nnU-Net's own rate"):
        own("nnunet:recipe=native:lr=0.1")
    with pytest.raises(UsageError, match="features=100000 is more than max_features=8, which"):
        own("nnunet:features=100000")
    with pytest.raises(ValueError, match="create it anew"):
        dataclasses.replace(
            registry.method(Spec.parse("nnunet:optimiser=sgd"), "tiny"), optimiser="adam"
        )


def test_small_is_as_large_as_the_small_unet() -> None:
    """In multiply-adds, at the size of the `cpu` profile."""
    counted = []
    for name in ("unet", "nnunet"):
        method = registry.method(Spec(name), "small")
        net = method.build(task((112, 112))).eval()
        with FlopCounterMode(display=False) as counter:
            method.predict(net, torch.rand(1, 1, 112, 112, generator=rng()), rng())
        counted.append(counter.get_total_flops())
    assert counted[1] / counted[0] == pytest.approx(1, abs=0.2)
