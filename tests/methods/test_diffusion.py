"""Verdiff-Net and MedSegDiff as methods: their options and answers, and MedSegDiff's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.spec import registry
from bench.spec.capabilities import further_rows
from bench.spec.errors import UsageError
from bench.spec.method import Method, Task
from bench.spec.names import Spec
from verdiff.blocks import ZeroConv2d
from verdiff.diffusion import Diffusion
from verdiff.model import prior_loss
from verdiff_bench_methods.averaged import Averaged
from verdiff_bench_methods.medsegdiff_network import FFParser, joined

pytestmark = pytest.mark.usefixtures("no_network")

BOTH = ["verdiff", "medsegdiff"]
SIZE = (40, 28)


def build(spec: str, size: tuple[int, int] = SIZE, awake: bool = True) -> tuple[Method, nn.Module]:
    """Return a tiny method and its network.

    `awake` gives weights to what starts at zero, as training does.
    """
    method = registry.method(Spec.parse(spec), "tiny")
    torch.manual_seed(0)
    net = method.build(Task("mr", (size,) * 3, 1, 10))
    for module in net.modules() if awake else ():
        if isinstance(module, ZeroConv2d):
            nn.init.normal_(module.weight, std=0.1)
    return method, net.eval()


def medsegdiff(spec: str = "medsegdiff", size: tuple[int, int] = SIZE) -> tuple[Method, Averaged]:
    """Return a diffusion whose average is the same as the network that is trained."""
    method, net = build(spec, size)
    averaged = cast(Averaged, net)
    averaged.average.module.load_state_dict(averaged.live.state_dict())
    return method, averaged


def pair(items: int = 1, size: tuple[int, int] = SIZE) -> tuple[Tensor, Tensor]:
    image = torch.rand(items, 1, *size, generator=torch.Generator().manual_seed(1))
    return image, (image > 0.5).float()


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_sample_of_one_step_is_said_in_the_singular() -> None:
    for name in ("verdiff", "medsegdiff", "hidiff"):
        said = " ".join(registry.method(Spec.parse(f"{name}:steps=1:samples=1")).deviations(1))
        assert "mean of 1 sample of 1 step, " in said


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("verdiff:steps=0", "0 is out of range; expected 1 to 1000"),
        ("verdiff:steps=1001", "1001 is out of range; expected 1 to 1000"),
        ("verdiff:samples=0", "0 is out of range; expected at least 1"),
        ("verdiff:start=0", "0 is out of range; expected 1 to 1000"),
        ("verdiff:start=1001", "1001 is out of range; expected 1 to 1000"),
        ("verdiff:steps=20:start=10", "steps=20 is more than start=10; add steps=10 or fewer"),
        (
            "verdiff:sampler=paper_eq6:scheduler=ddim",
            "scheduler=ddim has no effect with sampler=paper_eq6; leave one of them out",
        ),
        (
            "verdiff:sampler=paper_eq6:scheduler=dpm",
            "scheduler=dpm has no effect with sampler=paper_eq6; leave one of them out",
        ),
        (
            "verdiff:sampler=paper_alg2:start=1000",
            "start=1000 has no effect with sampler=paper_alg2; leave one of them out",
        ),
        ("verdiff:scheduler=euler", "ddim, ddpm, dpm"),
        ("verdiff:sampler=eq6", "exact, paper_alg2, paper_eq6"),
        ("verdiff:nsa_gate=3x3", "5x5, hard, soft"),
        ("verdiff:nsa_gate=hard:nsa=off", "nsa_gate=hard has no effect with nsa=off; leave one of"),
        ("verdiff:predicts=logit", "mask, noise, velocity"),
        ("verdiff:detach=on:predicts=noise", "detach=on has no effect with predicts=noise; leave"),
        ("verdiff:scale=0", "0 is out of range; expected 0.001 to 10"),
        ("verdiff:levels=7", "7 is out of range; expected 2 to 6"),
        ("verdiff:levels=1", "1 is out of range; expected 2 to 6"),
        ("verdiff:patch=9", "9 is out of range; expected 1 to 8"),
        ("verdiff:width=30", "expected a multiple of 4 up to 128, of 32 above, such as width=28"),
        ("verdiff:width=144", "expected a multiple of 4 up to 128, of 32 above, such as width=128"),
        ("verdiff:prior_width=0", "0 is out of range; expected at least 1"),
        ("medsegdiff:steps=0", "0 is out of range; expected 1 to 1000"),
        ("medsegdiff:steps=1001", "1001 is out of range; expected 1 to 1000"),
        ("medsegdiff:samples=0", "0 is out of range; expected at least 1"),
        ("medsegdiff:scheduler=euler", "ddim, ddpm, dpm"),
        (
            "medsegdiff:width=30",
            "expected a multiple of 4 up to 128, of 32 above, such as width=28",
        ),
        ("medsegdiff:dropout=0.95", "0.95 is out of range; expected 0 to 0.9"),
        ("medsegdiff:ema=1.5", "1.5 is out of range; expected 0 to 0.99999"),
    ],
)
def test_an_option_out_of_range_is_refused_with_what_is_allowed(spec: str, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        registry.method(Spec.parse(spec), "tiny")
    message = str(refused.value)
    assert "\n" not in message
    assert expected in message
    assert spec.split(":")[1].partition("=")[0] in message


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "options", ["width=4", "width=160", "prior_width=1", "prior_width=6", "levels=2", "patch=8"]
)
def test_an_option_at_its_bound_builds_and_answers(name: str, options: str) -> None:
    method, net = build(f"{name}:samples=1:steps=1:{options}")
    assert method.predict(net, pair()[0], rng()).shape == (1, 1, *SIZE)


@pytest.mark.parametrize(("count", "times"), [(10, [10, 7, 4, 1]), (1, [1])])
def test_as_many_steps_as_there_are_timesteps_are_taken(count: int, times: list[int]) -> None:
    method, net = build(f"verdiff:steps={count}:start={count}:samples=1")
    stages = method.stages(net, pair()[0], rng())
    assert [name for name in stages if name.startswith("x")] == [f"x at t = {t}" for t in times]


def test_bare_samples_are_no_second_row_where_they_are_the_answer() -> None:
    method, net = build("medsegdiff:rule=samples")
    assert further_rows(method) == tuple(method.answer(net, pair()[0], rng()).extras) == ("prior",)
    assert further_rows(registry.method(Spec("medsegdiff"), "tiny")) == ("prior", "samples")


@pytest.mark.parametrize("name", BOTH)
def test_the_answer_has_the_prior_as_a_row_and_a_spread(name: str) -> None:
    method, net = build(f"{name}:samples=3")
    image, _ = pair()
    answer = method.answer(net, image, rng())
    rows = {"verdiff": ("prior",), "medsegdiff": ("prior", "samples")}
    assert method.extras == tuple(answer.extras) == rows[name]
    prior, spread = answer.extras["prior"], answer.spread
    assert spread is not None
    assert answer.probability.shape == spread.shape == prior.shape == image.shape
    assert 0 <= spread.min() <= spread.max() <= 0.5
    assert spread.max() > 1e-3
    assert 0 < prior.min() <= prior.max() < 1
    assert not torch.allclose(prior, answer.probability, atol=1e-2)
    assert torch.equal(answer.probability, method.predict(net, image, rng()))


@pytest.mark.parametrize("name", BOTH)
def test_samples_are_an_advantage_that_is_told_and_counted(name: str) -> None:
    counted = []
    for samples, told in ((1, "none"), (3, "mean of 3 samples (not its prior)")):
        method, net = build(f"{name}:samples={samples}")
        assert method.advantages().ensembling == told
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            method.predict(net, pair()[0], rng())
        counted.append(counter.get_total_flops())
    assert (
        1.5 * counted[0] < counted[1] < 3 * counted[0]
    )  # what depends on the image alone runs once


@pytest.mark.parametrize("name", BOTH)
def test_the_answer_follows_its_generator_alone(name: str) -> None:
    method, net = build(name)
    image, _ = pair()
    answers = []
    for seed, global_seed in ((1, 1), (1, 2), (2, 2)):
        torch.manual_seed(global_seed)
        answers.append(method.answer(net, image, rng(seed)))
    assert torch.equal(answers[0].probability, answers[1].probability)
    assert torch.equal(answers[0].extras["prior"], answers[2].extras["prior"])
    assert not torch.equal(answers[0].probability, answers[2].probability)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("options", "times"),
    [("steps=20", [1000, 700, 350, 50]), ("steps=2", [1000, 500]), ("steps=1", [1000])],
)
def test_the_stages_lead_from_the_prior_through_the_noise_to_the_mean(
    name: str, options: str, times: list[int]
) -> None:
    method, net = build(f"{name}:samples=2:{options}")
    image, _ = pair()
    stages, answer = method.stages(net, image, rng()), method.answer(net, image, rng())
    assert list(stages) == ["prior", *(f"x at t = {t}" for t in times), "mean", "spread"]
    assert all(stage.shape == image.shape for stage in stages.values())
    assert torch.equal(stages["mean"], answer.probability)
    assert torch.equal(stages["prior"], answer.extras["prior"])
    assert torch.equal(stages["spread"], cast(Tensor, answer.spread))
    f = 2 * stages["prior"] - 1 if name == "verdiff" else 0
    assert (stages["x at t = 1000"] - f).std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("scale", [0.1, 2.0])
@torch.no_grad()
def test_how_little_equation_8_counts_is_told(scale: float) -> None:
    method, net = build(f"verdiff:scale={scale}", awake=False)
    (line,) = [line for line in method.deviations(1) if line.startswith("eq 8")]
    told = float(line.partition("at most ")[2].split()[0])
    image, mask = pair()
    live = cast(Any, net).live
    logits = live.condition(image).logits  # a fresh network leaves the prior as it is
    error = (torch.sigmoid(logits) - mask).square().mean()
    shares = []
    for seed in range(30):  # each has another timestep
        loss = live.loss(image, mask, rng(seed), bce=False, dice=False)
        shares.append(float((loss - prior_loss(logits, mask)) / error))
    assert max(shares) == pytest.approx(told, rel=1e-3)


def test_verdiffs_options_reach_its_sampling() -> None:
    method, net = build("verdiff:steps=3:start=300:samples=1")
    assert [name for name in method.stages(net, pair()[0], rng()) if name.startswith("x")] == [
        "x at t = 300",
        "x at t = 200",
        "x at t = 100",
    ]
    given = {
        "exact": "verdiff",
        "paper_alg2": "verdiff:sampler=paper_alg2",
        "ddpm": "verdiff:scheduler=ddpm",
    }
    answers = [
        method.predict(net, pair()[0], rng())
        for method in (registry.method(Spec.parse(s), "tiny") for s in given.values())
    ]
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


@pytest.mark.parametrize(
    ("name", "to_mask"),
    [("verdiff", lambda mask: 0.2 * mask - 0.1), ("medsegdiff:rule=samples", lambda mask: mask)],
)
def test_the_answer_is_the_mean_of_the_samples_and_not_its_square(
    name: str, to_mask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sample(
        self: Diffusion, denoise: Any, f: Tensor, rngs: Sequence[torch.Generator], **how: Any
    ) -> Tensor:
        assert len(f) == len(rngs) == 2
        return to_mask(torch.tensor([0.2, 0.6])).view(2, 1, 1, 1).expand(f.shape)

    monkeypatch.setattr(Diffusion, "sample", sample)
    method, net = build(f"{name}:samples=2")
    answer = method.answer(net, pair()[0], rng())
    torch.testing.assert_close(answer.probability, torch.full((1, 1, *SIZE), 0.4))
    torch.testing.assert_close(answer.spread, torch.full((1, 1, *SIZE), 0.2))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("size", [(369, 166), (37, 53)])
def test_it_trains_on_one_rectangle(name: str, size: tuple[int, int]) -> None:
    method, net = build(name, (369, 166), awake=False)
    image, mask = pair(1, size)
    loss = method.loss(net.train(), image, mask, rng())
    loss.backward()
    gradients = {key: p.grad for key, p in net.named_parameters() if p.requires_grad}
    assert torch.isfinite(loss)
    assert [key for key, g in gradients.items() if g is None or not torch.isfinite(g).all()] == []


# What is MedSegDiff's own


SIZES = [(8, 6), (9, 7), (5, 12), (7, 3), (1, 6), (6, 1), (1, 1), (33, 20)]


def parser(size: tuple[int, int], weight: Tensor, channels: int = 2) -> FFParser:
    """Return a parser whose channels all have the complex weight (H, W // 2 + 1)."""
    made = FFParser(channels, size)
    with torch.no_grad():
        made.weight.copy_(torch.view_as_real(weight.to(torch.complex64)).expand_as(made.weight))
    return made


def frequencies(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None, :]


def smooth(size: tuple[int, int]) -> Tensor:
    """Return features (1, 2, H, W) without the highest frequencies.

    An even size has half a wave at them.
    """
    noise = torch.randn(1, 2, *size, generator=rng(3))
    down, across = frequencies(size)
    return torch.fft.irfft2(torch.fft.rfft2(noise) * (down**2 + across**2 < 0.35**2), s=size)


@torch.no_grad()
@pytest.mark.parametrize("own", [(8, 6), (9, 7), (1, 1), (16, 3)])
@pytest.mark.parametrize("size", SIZES)
def test_a_parser_with_weights_of_one_is_the_identity_at_any_size(
    own: tuple[int, int], size: tuple[int, int]
) -> None:
    x = torch.randn(2, 2, *size, generator=rng())
    made = parser(own, torch.ones(own[0], own[1] // 2 + 1))
    torch.testing.assert_close(made(x), x, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_parser_has_a_weight_for_each_channel_and_frequency() -> None:
    made, x = FFParser(2, (8, 6)), torch.randn(1, 2, 8, 6, generator=rng())
    assert made.weight.shape == (2, 8, 4, 2)
    made.weight.zero_()
    made.weight[1, 3, 2, 0] = 1  # one frequency of the second channel
    parsed = torch.fft.rfft2(made(x))
    expected = torch.zeros_like(parsed)
    expected[0, 1, 3, 2] = torch.fft.rfft2(x)[0, 1, 3, 2]
    torch.testing.assert_close(parsed, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("own", [(32, 24), (33, 25)])
@pytest.mark.parametrize("size", [(48, 40), (47, 39), (32, 40), (23, 60)])
def test_a_parser_is_the_same_filter_at_another_size(
    own: tuple[int, int], size: tuple[int, int]
) -> None:
    x = smooth(size)

    def low_pass(of: tuple[int, int]) -> Tensor:
        down, across = frequencies(of)
        return torch.exp(-(down**2 + 3 * across**2) / 0.1)

    expected = torch.fft.irfft2(torch.fft.rfft2(x) * low_pass(size), s=size)
    found = parser(own, low_pass(own))(x)
    assert (found - expected).std() < 0.02 * expected.std()
    assert (found - x).std() > 0.2 * x.std()


@torch.no_grad()
@pytest.mark.parametrize("own", [(64, 48), (65, 49)])
@pytest.mark.parametrize("size", [(96, 80), (95, 79), (50, 70)])
def test_a_parser_that_moves_by_a_pixel_does_so_at_another_size(
    own: tuple[int, int], size: tuple[int, int]
) -> None:
    for wave, rolled in (((1, 0), (1, 0)), ((0, 1), (0, 1)), ((-1, 0), (-1, 0))):
        down, across = frequencies(own)
        made = parser(own, torch.exp(-2j * torch.pi * (wave[0] * down + wave[1] * across)))
        x = smooth(size)
        expected = x.roll(rolled, dims=(-2, -1))
        assert (made(x) - expected).std() < 0.03 * x.std()


@torch.no_grad()
def test_a_parser_runs_in_full_precision_under_autocast() -> None:
    made, x = FFParser(2, (9, 7)), torch.randn(1, 2, 9, 7, generator=rng())
    expected = made(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(x)
        half = made(x.bfloat16())
    assert torch.equal(found, expected)
    assert half.dtype == torch.float32


def reached(net: nn.Module) -> set[str]:
    return {
        name.split(".")[0]
        for name, p in net.named_parameters()
        if p.grad is not None and p.grad.any()
    }


def test_the_diffusion_trains_the_conditioner_unless_it_is_detached() -> None:
    own = {"denoiser", "finest", "enter", "parsers", "descend"}
    for spec, trained in (("medsegdiff:detach=on", own), ("medsegdiff", {*own, "conditional"})):
        live, (image, mask) = build(spec)[1].live.train(), pair()
        condition = live.condition(image)
        noise = live.denoise(torch.randn_like(mask), torch.tensor([400]), condition)
        noise.square().mean().backward()
        assert reached(live) == trained
    live.zero_grad()
    live.condition(image).logits.square().mean().backward()
    assert reached(live) == {"conditional"}


@torch.no_grad()
def test_the_image_steers_the_noise_through_the_encoding_and_the_parser() -> None:
    live, (image, _) = medsegdiff()[1].live, pair()
    x_t, t = torch.randn(image.shape, generator=rng()), torch.tensor([400])
    before = live.denoise(x_t, t, live.condition(image))
    assert not torch.allclose(live.denoise(x_t, t, live.condition(1 - image)), before, atol=1e-3)
    for made in live.parsers:
        made.weight.add_(torch.randn(made.weight.shape, generator=rng()))
    assert not torch.allclose(live.denoise(x_t, t, live.condition(image)), before, atol=1e-3)


def test_the_loss_is_that_of_the_noise_and_ten_times_that_of_the_conditioner() -> None:
    method, net = build("medsegdiff:dropout=0", awake=False)  # as it starts, its noise is nothing
    image, mask = pair(2)
    with torch.no_grad():
        of_prior = (torch.sigmoid(net.live.condition(image).logits) - mask).square().mean()
        noises = [
            float(method.loss(net, image, mask, rng(seed)) - 10 * of_prior) for seed in range(5)
        ]
    assert noises == pytest.approx([1] * 5, abs=0.15)  # the mean square of noise
    assert len(set(noises)) == 5


def moved(net: Averaged, by: float) -> None:
    with torch.no_grad():
        for parameter in net.live.parameters():
            parameter.add_(by)


def weights(net: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


@pytest.mark.parametrize("name", BOTH)
def test_the_average_follows_the_weights_that_are_trained(name: str) -> None:
    method, net = medsegdiff(name)
    method.stepped(net)
    assert torch.equal(weights(net.average.module), weights(net.live))
    before = weights(net.live)
    moved(net, 1)
    assert torch.equal(weights(net.average.module), before)
    left = 1.0
    for count in range(1, 6):  # warmed up: a new average forgets faster
        method.stepped(net)
        left *= (1 + count) / (10 + count)
        torch.testing.assert_close(
            weights(net.average.module), before + 1 - left, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(("rate", "left"), [(0, 0.0), (0.1, 0.1), (0.9999, 2 / 11)])
def test_the_average_keeps_no_more_than_its_rate(rate: float, left: float) -> None:
    method, net = medsegdiff(f"medsegdiff:ema={rate}")
    method.stepped(net)
    before = weights(net.live)
    moved(net, 1)
    method.stepped(net)
    torch.testing.assert_close(weights(net.average.module), before + 1 - left, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BOTH)
def test_outside_training_the_average_answers(name: str) -> None:
    method, net = medsegdiff(name)
    image, mask = pair()

    def outcome() -> tuple[float, Tensor]:
        with torch.no_grad():
            return float(method.loss(net, image, mask, rng())), method.predict(net, image, rng())

    method.stepped(net)
    loss, answer = outcome()
    in_training = float(method.loss(net.train(), image, mask, rng()).detach())
    moved(net, 0.05)
    torch.manual_seed(0)
    assert float(method.loss(net, image, mask, rng()).detach()) != in_training
    net.eval()
    assert outcome()[0] == loss
    assert torch.equal(outcome()[1], answer)
    method.stepped(net)
    assert outcome()[0] != loss
    assert not torch.equal(outcome()[1], answer)


@pytest.mark.parametrize("name", BOTH)
def test_only_the_live_weights_train(name: str) -> None:
    method, net = medsegdiff(name)
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {f"live.{name}" for name, _ in net.live.named_parameters()}
    image, mask = pair()
    method.loss(net.train(), image, mask, rng()).backward()
    assert all(p.grad is None for p in net.average.parameters())


@pytest.mark.parametrize("name", BOTH)
def test_the_average_is_part_of_what_is_saved(name: str) -> None:
    method, net = medsegdiff(name)
    for _ in range(3):
        moved(net, 0.01)
        method.stepped(net)
    _, other = medsegdiff(name)
    other.load_state_dict(net.state_dict())
    image, _ = pair()
    assert torch.equal(method.predict(net, image, rng()), method.predict(other, image, rng()))
    for each in (net, other):  # and so is how far it is warmed up
        moved(each, 0.01)
        method.stepped(each)
    assert torch.equal(weights(net.average.module), weights(other.average.module))


def test_a_sample_is_joined_with_the_mask_of_the_conditioner_as_in_the_first_version() -> None:
    mask = torch.tensor([1.0, 1, 0, 0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    samples = torch.stack([torch.tensor([0.8, 0.4, 0, 0]), torch.tensor([0, 0, 0.4, 0.8])])
    answers = joined(samples.view(2, 1, 2, 2), mask)
    assert answers[0].flatten().tolist() == pytest.approx([0.9, 0.7, 0, 0])  # alike: the mean
    assert answers[1].flatten().tolist() == pytest.approx([1, 1, 0.1, 0.2])  # a quarter is added


def test_a_velocity_is_turned_into_the_noise_that_it_implies() -> None:
    live, (image, mask) = build("medsegdiff:predicts=velocity")[1].live.eval(), pair()
    t, x_t, condition = torch.tensor([400]), torch.randn_like(mask), live.condition(image)
    noise = live.denoise(x_t, t, condition)
    live.predicts = "noise"
    velocity = live.denoise(x_t, t, condition)
    expected = live.diffusion.noise_of_velocity(velocity, x_t, torch.zeros_like(x_t), t)
    torch.testing.assert_close(noise, expected)
