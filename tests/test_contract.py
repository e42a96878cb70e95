"""The contract that every registered method keeps; a method of another package is picked up by its entry point."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model

from bench.engine.trainee import Trainee, derive, generator
from bench.spec import registry
from bench.spec.config import load_profile
from bench.spec.method import Method, Task
from bench.spec.names import Spec
from bench.stats import ablation as ablate

METHODS = registry.names(registry.METHODS)
SIZES = [(369, 166), (64, 96)]
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("no_network")


def task(size: tuple[int, int] = (64, 48), batch: int = 2) -> Task:
    return Task("mr", (size,) * 5, batch, 4)


def trainee(name: str, size: tuple[int, int] = (64, 48), batch: int = 2, seed: int = 35) -> Trainee:
    method = registry.method(Spec.parse(name), "tiny")
    torch.manual_seed(derive(seed, "weights"))
    return Trainee(
        method, method.build(task(size, batch)), task(size, batch), load_profile("smoke"), 35, CPU
    )


def pair(size: tuple[int, int], batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    mask = torch.zeros(batch, 1, *size)
    mask[..., size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    return (0.6 * mask + 0.3 * torch.rand(mask.shape, generator=rng)).clamp(0, 1), mask


@pytest.mark.parametrize("name", METHODS)
def test_says_what_it_is(name: str) -> None:
    method = registry.method(Spec.parse(name))
    assert isinstance(method, Method)
    assert method.title
    assert method.source
    for batch in (1, 8):
        assert all(isinstance(line, str) and line for line in method.deviations(batch))
    for scale, sizes in type(method).scales.items():
        assert scale in ("small", "tiny")
        assert registry.method(Spec.parse(name), scale) == type(method)(**sizes)


@pytest.mark.parametrize("name", METHODS)
def test_weights_follow_the_seed_alone(name: str) -> None:
    one, other, third = (trainee(name, seed=seed).net.state_dict() for seed in (35, 35, 36))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert any(not torch.equal(one[key], third[key]) for key in one)


@pytest.mark.parametrize("name", METHODS)
def test_saved_weights_give_the_same_answer(name: str, tmp_path: Path) -> None:
    first, second = trainee(name), trainee(name, seed=36)
    first.net.to(memory_format=torch.channels_last)
    save_model(
        first.net.to(memory_format=torch.contiguous_format), str(tmp_path / "model.safetensors")
    )
    load_model(second.net, str(tmp_path / "model.safetensors"))
    image, _ = pair((64, 48), 1)
    answers = []
    for subject in (first, second):
        subject.net.eval()
        with torch.inference_mode():
            answers.append(
                subject.method.predict(subject.net, image, generator(CPU, 35, "predict", "c"))
            )
    torch.testing.assert_close(*answers)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", METHODS)
def test_trains_at_any_size_and_batch(name: str, batch: int, size: tuple[int, int]) -> None:
    subject = trainee(name, size, batch)
    image, mask = pair(size, batch)
    subject.net.train()
    loss = subject.loss(image, mask, "step", 0)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    gradients = [p.grad for p in subject.net.parameters() if p.requires_grad]
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)
    assert all(g is None or torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", METHODS)
def test_answers_with_probabilities_and_by_its_generator_alone(
    name: str, size: tuple[int, int]
) -> None:
    subject = trainee(name, size)
    image, _ = pair(size, 1)
    subject.net.eval()
    answers = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        with torch.inference_mode():
            answers.append(
                subject.method.predict(subject.net, image, generator(CPU, 35, "predict", "c"))
            )
    assert answers[0].shape == image.shape
    assert 0 <= answers[0].min() <= answers[0].max() <= 1
    assert torch.equal(*answers)


@pytest.mark.parametrize("name", METHODS)
def test_further_rows_and_a_spread_are_maps_like_the_answer(name: str) -> None:
    subject = trainee(name)
    image, _ = pair((64, 48), 1)
    subject.net.eval()
    with torch.inference_mode():
        answer = subject.method.answer(subject.net, image, generator(CPU, 35, "predict", "c"))
        alone = subject.method.predict(subject.net, image, generator(CPU, 35, "predict", "c"))
    assert torch.equal(answer.probability, alone)
    assert tuple(answer.extras) == subject.method.extras
    for values in (
        *answer.extras.values(),
        *([answer.spread] if answer.spread is not None else []),
    ):
        assert values.shape == image.shape
        assert 0 <= values.min() <= values.max() <= 1


@pytest.mark.parametrize("name", METHODS)
def test_what_two_arms_of_an_ablation_share_starts_the_same(name: str) -> None:
    factors = registry.method(Spec.parse(name)).factors
    if not factors:
        pytest.skip(f"{name} has no modules to switch")
    _, arms = ablate.arms(name, "", "tiny")
    weights = [trainee(arm.spec).net.state_dict() for arm in arms]
    for first, second in itertools.combinations(weights, 2):
        shared = [k for k in first.keys() & second.keys() if first[k].shape == second[k].shape]
        assert len(shared) > len(first) / 2
        assert all(torch.equal(first[k], second[k]) for k in shared)
    assert len({tuple(each) for each in weights}) == len(arms)


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_falls_when_it_overfits_one_pair(name: str) -> None:
    subject = trainee(name)
    image, mask = pair((64, 48), 2)
    steps = 12
    own = subject.method.optimiser(subject.net, replace(subject.task, steps=steps))
    optimiser = own or torch.optim.Adam(subject.net.parameters(), 1e-2)
    losses = []
    for step in range(steps):
        loss = subject.loss(image, mask, "step", step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < losses[0] - 0.02


@pytest.mark.parametrize("name", METHODS)
def test_weights_that_are_no_numbers_give_a_loss_that_is_none(name: str) -> None:
    subject = trainee(name)
    with torch.no_grad():
        for weight in subject.net.parameters():
            weight.fill_(float("nan"))
    assert torch.isnan(
        subject.loss(*pair((64, 48), 2), "step", 0)
    )  # the training loop then says where it stopped


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", METHODS)
def test_trains_and_answers_in_half_precision(name: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    plain = trainee(name)
    if not plain.method.bf16:
        pytest.skip(f"{name} is never run in half precision")
    where = torch.device(device)
    net = plain.net.to(where).to(memory_format=torch.channels_last)
    subject = replace(plain, net=net, device=where, precision="bfloat16")
    image, mask = (values.to(where) for values in pair((64, 48), 2))
    subject.net.train()
    loss = subject.loss(image, mask, "step", 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in subject.net.parameters() if p.grad is not None)
    subject.net.eval()
    with torch.inference_mode(), subject.autocast():
        answer = subject.method.predict(
            subject.net, image[:1], generator(where, 35, "predict", "c")
        )
    assert answer.shape == image[:1].shape
    assert 0 <= answer.min() <= answer.max() <= 1
