"""The diffusion of binary masks, against sums over all states of a pixel."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence

from verdiff_bench_methods.bernoulli_diffusion import (
    TIMESTEPS,
    BernoulliDiffusion,
    cosine_betas,
    divergence,
)

STATES = (0.0, 1.0)
PRIORS = (0.02, 0.3, 0.5, 0.9)
DIFFUSION = BernoulliDiffusion()


def pixel(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value)


def at(t: int) -> Tensor:
    return torch.tensor([t])


def chance(state: float, of_one: float) -> float:
    """Return the probability of a state of which 1 has the probability `of_one`."""
    return of_one if state else 1 - of_one


def moved(of_one: float, f: float, beta: float) -> float:
    """Return the probability of 1 after a timestep, summed over the states before it."""
    return sum(chance(state, of_one) * ((1 - beta) * state + beta * f) for state in STATES)


def by_steps(y: float, f: float, first: int, last: int) -> float:
    """Return the probability of 1 at timestep `last` of a state y before timestep `first`."""
    of_one = y
    for beta in cosine_betas()[first : last + 1].tolist():
        of_one = moved(of_one, f, beta)
    return of_one


def test_the_schedule_ends_in_the_prior() -> None:
    betas = cosine_betas()
    assert len(betas) == TIMESTEPS
    assert bool(((betas > 0) & (betas < 1)).all())
    assert bool((DIFFUSION.cumulative.diff() < 0).all())
    assert DIFFUSION.cumulative[-1] < 1e-6
    assert DIFFUSION.cumulative[0] > 0.999


@pytest.mark.parametrize("t", [0, 1, 4, 300, 999])
@pytest.mark.parametrize("f", PRIORS)
def test_the_marginal_is_that_of_single_steps(t: int, f: float) -> None:
    for y0 in STATES:
        marginal = DIFFUSION.marginal(pixel(y0), pixel(f), at(t)).item()
        assert marginal == pytest.approx(by_steps(y0, f, 0, t), abs=1e-5)
        flip = DIFFUSION.flip_probability(pixel(y0), pixel(f), at(t)).item()
        assert abs(y0 - flip) == pytest.approx(marginal, abs=1e-6)


@pytest.mark.parametrize(("t", "before"), [(0, -1), (1, 0), (500, 499), (999, 998), (700, 200)])
@pytest.mark.parametrize("f", PRIORS)
@pytest.mark.parametrize("of_mask", [0.0, 0.35, 1.0])
def test_the_posterior_follows_the_rule_of_bayes(
    t: int, before: int, f: float, of_mask: float
) -> None:
    """`of_mask` is the probability that the mask is 1, before y_t is seen."""
    for y_t in STATES:
        joint = dict.fromkeys(STATES, 0.0)
        for y0, earlier in itertools.product(STATES, STATES):
            arrives = chance(earlier, by_steps(y0, f, 0, before))
            leaves = chance(y_t, by_steps(earlier, f, before + 1, t))
            joint[earlier] += chance(y0, of_mask) * arrives * leaves
        if sum(joint.values()) == 0:
            continue
        expected = joint[1.0] / sum(joint.values())
        state = (pixel(y_t), pixel(of_mask), pixel(f))
        posterior = DIFFUSION.posterior(*state, at(t), at(before)).item()
        assert posterior == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("t", [0, 1, 300, 999])
@pytest.mark.parametrize("f", PRIORS)
def test_what_the_prior_says_of_flips_is_bayes_rule(t: int, f: float) -> None:
    for y_t in STATES:
        joint = {y0: chance(y0, f) * chance(y_t, by_steps(y0, f, 0, t)) for y0 in STATES}
        expected = joint[1 - y_t] / sum(joint.values())
        odds = DIFFUSION.flip_logits_by_prior(pixel(y_t), pixel(f), at(t))
        assert torch.sigmoid(odds).item() == pytest.approx(expected, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize(("t", "before"), [(0, -1), (1, 0), (999, 499), (700, 200)])
@pytest.mark.parametrize("f", PRIORS)
def test_a_step_of_ddim_keeps_the_marginals(t: int, before: int, f: float) -> None:
    for y0 in STATES:
        of_one = 0.0
        for y_t in STATES:
            step = DIFFUSION.stepped(pixel(y_t), pixel(y0), at(t), at(before)).item()
            of_one += chance(y_t, by_steps(y0, f, 0, t)) * step
        assert of_one == pytest.approx(by_steps(y0, f, 0, before), abs=1e-5)


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_a_denoiser_that_knows_the_mask_gives_it(scheduler: str, steps: int) -> None:
    rng = torch.Generator().manual_seed(1)
    mask = (torch.rand(2, 1, 9, 7, generator=rng) > 0.5).float()
    visited: list[int] = []
    sampled = DIFFUSION.sample(
        lambda y, t: (y - mask).abs(),
        torch.full_like(mask, 0.4),
        [rng, rng],
        scheduler=scheduler,
        steps=steps,
        on_step=lambda t, y: visited.append(t),
    )
    assert torch.equal(sampled, mask)
    assert len(visited) == steps
    assert visited[0] == TIMESTEPS - 1
    assert visited == sorted(visited, reverse=True)


def test_samples_of_the_exact_denoiser_have_the_priors_mean() -> None:
    """The mask of each pixel is a draw from the prior, and the denoiser is Bayes' rule for it."""
    f = torch.tensor(PRIORS).view(1, 1, -1, 1).expand(1, 1, -1, 20_000)

    def denoise(y: Tensor, t: Tensor) -> Tensor:
        return torch.sigmoid(DIFFUSION.flip_logits_by_prior(y, f, t))

    rng = torch.Generator().manual_seed(2)
    sampled = DIFFUSION.sample(denoise, f, [rng], steps=20)
    assert sampled.mean(3)[0, 0].tolist() == pytest.approx(PRIORS, abs=0.015)


def test_the_divergence_is_that_of_pytorch() -> None:
    p, q = torch.rand(5, 4), torch.rand(5, 4)
    expected = kl_divergence(Bernoulli(p), Bernoulli(q)).mean()
    assert divergence(p, q).item() == pytest.approx(expected.item(), rel=1e-4)
    certain = torch.tensor([0.0, 1.0])
    assert divergence(certain, certain).item() == pytest.approx(0, abs=1e-5)
    assert torch.isfinite(divergence(certain, 1 - certain))


def test_items_of_a_batch_do_not_depend_on_each_other() -> None:
    f = torch.full((2, 1, 6, 5), 0.4)

    def denoise(y: Tensor, t: Tensor) -> Tensor:
        return torch.full_like(y, 0.3)

    def rng(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    both = DIFFUSION.sample(denoise, f, [rng(1), rng(2)], steps=5)
    alone = DIFFUSION.sample(denoise, f[:1], [rng(2)], steps=5)
    assert torch.equal(both[1:], alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scheduler": "dpm"}, "expected one of ddim, ddpm"), ({"steps": 0}, "expected 1 to 1000")],
)
def test_what_cannot_be_sampled_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DIFFUSION.sample(lambda y, t: y, pixel(0.5), [torch.Generator()], **options)
