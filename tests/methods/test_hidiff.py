"""HiDiff as a method: its options, rows and answers."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.method import Method, Task
from bench.spec.names import Spec
from verdiff.blocks import ZeroConv2d
from verdiff_bench_methods.averaged import Averaged
from verdiff_bench_methods.hidiff_network import Network

pytestmark = pytest.mark.usefixtures("no_network")

SIZE = (40, 28)


def build(spec: str = "hidiff") -> tuple[Method, Averaged]:
    """Return a tiny method and its network; no weight is zero, and the average is the network."""
    method = registry.method(Spec.parse(spec), "tiny")
    torch.manual_seed(0)
    net = cast(Averaged, method.build(Task("mr", (SIZE,) * 3, 1, 10)))
    for module in net.live.modules():
        if isinstance(module, ZeroConv2d):
            nn.init.normal_(module.weight, std=0.1)
    net.average.module.load_state_dict(net.live.state_dict())
    return method, cast(Averaged, net.eval())


def image(items: int = 1) -> Tensor:
    return torch.rand(items, 1, *SIZE, generator=torch.Generator().manual_seed(1))


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_answer_has_the_prior_as_a_row_and_a_spread() -> None:
    method, net = build("hidiff:samples=3")
    answer = method.answer(net, image(), rng())
    assert method.extras == tuple(answer.extras) == ("prior",)
    spread = cast(Tensor, answer.spread)
    assert 0 <= spread.min() <= spread.max() <= 0.5
    assert spread.max() > 1e-3
    assert torch.equal(answer.probability, method.predict(net, image(), rng()))
    assert not torch.equal(answer.probability, method.predict(net, image(), rng(2)))
    assert method.advantages().ensembling == "mean of 3 samples (not its prior)"


def test_the_stages_begin_with_a_draw_from_the_prior() -> None:
    method, net = build("hidiff:samples=2:steps=20")
    stages = method.stages(net, image(), rng())
    assert list(stages) == [
        "prior",
        *(f"x at t = {t}" for t in (1000, 700, 350, 50)),
        "mean",
        "spread",
    ]
    drawn = stages["x at t = 1000"]
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(stages["prior"].mean().item(), abs=0.05)


def test_the_refiner_sees_the_prior_the_image_and_the_segmentors_features() -> None:
    _, net = build()
    network = cast(Network, net.live)
    condition = network.condition(image())
    y, t = (image() > 0.5).float(), torch.tensor([400])
    answer = network.denoise(y, t, condition)
    for part in ("f", "image", "coarse"):
        other = replace(condition, **{part: getattr(condition, part) * 0.5})
        assert not torch.allclose(network.denoise(y, t, other), answer), part


def test_all_weights_learn_and_the_refiners_loss_reaches_the_segmentor() -> None:
    method, net = build()
    network = cast(Network, net.live)
    method.loss(net.train(), image(2), (image(2) > 0.5).float(), rng()).backward()
    assert [key for key, p in network.named_parameters() if p.grad is None] == []
    network.zero_grad()
    condition = network.condition(image())
    assert not condition.f.requires_grad
    network.denoise(image().round(), torch.tensor([400]), condition).sum().backward()
    assert any(bool(p.grad.any()) for p in network.segmentor.down.parameters())
    assert all(p.grad is None for p in network.segmentor.up.parameters())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hidiff:scheduler=dpm", "'dpm' is not allowed; did you mean 'ddpm'? Valid: ddim, ddpm"),
        ("hidiff:steps=0", "0 is out of range; expected 1 to 1000"),
        ("hidiff:width=30", "expected a multiple of 4 up to 128, of 32 above, such as width=28"),
        ("hidiff:levels=7", "7 is out of range; expected 2 to 6"),
    ],
)
def test_wrong_options_are_refused(spec: str, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        registry.method(Spec.parse(spec), "tiny")
    assert expected in str(refused.value)


@pytest.mark.parametrize("options", ["width=4:levels=2", "scheduler=ddpm", "patch=8", "samples=1"])
def test_options_build_and_answer(options: str) -> None:
    method, net = build(f"hidiff:{options}")
    answer = method.predict(net, image(), rng())
    assert answer.shape == (1, 1, *SIZE)
    assert 0 <= answer.min() <= answer.max() <= 1


def test_it_says_what_is_not_known_of_the_paper() -> None:
    lines = registry.method(Spec("hidiff")).deviations(1)
    for words in ("from the paper's abstract", "as remembered", "full precision", "in turn"):
        assert any(words in line for line in lines), words


def test_an_untrained_refiner_samples_the_prior() -> None:
    method, net = build("hidiff:samples=100:steps=3")
    for module in net.average.module.modules():
        if isinstance(module, ZeroConv2d):
            nn.init.zeros_(module.weight)
    answer = method.answer(net, image(), rng())
    difference = answer.probability - answer.extras["prior"]
    assert difference.abs().max() < 0.22  # of 100 samples
    assert difference.mean().abs() < 0.01
