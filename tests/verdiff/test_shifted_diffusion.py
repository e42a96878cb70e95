"""The shifted process is ordinary diffusion of x0 - f.

Kernel, marginal, posterior and every sampler agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from verdiff.diffusion import SAMPLERS, SCHEDULERS, TIMESTEPS, Denoise, Diffusion

A_STEP = 1 - np.linspace(1e-4, 0.02, 1000)
"""a_t of the paper, on its own path from the code under test."""
A = torch.from_numpy(np.cumprod(A_STEP))
"""A_t."""
EVERY_T = torch.arange(1000)
EXACT_AND_PRINTED = [(name, "exact") for name in SCHEDULERS] + [
    ("ddpm", name) for name in SAMPLERS if name != "exact"
]


def posterior(t: int) -> tuple[float, float, float]:
    """Return the coefficients of x0, x_t and f in the mean of q(x_{t-1} | x_t, x0, f).

    They are the exact ones (CARD, Han et al. 2022) and sum to 1. Eq 6 as printed has 1 - sqrt(A_t)
    for f.
    """
    before = float(A[t - 1]) if t else 1.0
    of_mask = before**0.5 * (1 - A_STEP[t]) / (1 - float(A[t]))
    of_state = A_STEP[t] ** 0.5 * (1 - before) / (1 - float(A[t]))
    return of_mask, of_state, 1 - of_mask - of_state


def cuts(most: int = 1000) -> st.SearchStrategy[tuple[int, int]]:
    """Draw allowed (steps, start)."""
    return st.integers(1, 1000).flatmap(
        lambda start: st.tuples(st.integers(1, min(most, start)), st.just(start))
    )


def rngs(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def at(t: int | Tensor) -> Tensor:
    return A[t].float().view(-1, 1, 1, 1)


def marginal(x0: Tensor, f: Tensor, t: int) -> tuple[Tensor, float]:
    root = math.sqrt(A[t])
    return root * x0 + (1 - root) * f, math.sqrt(1 - A[t])


def knowing(x0: Tensor, f: Tensor) -> Denoise:
    """Return the perfect noise network: it knows the mask."""
    return lambda x_t, t: (x_t - at(t).sqrt() * x0 - (1 - at(t).sqrt()) * f) / (1 - at(t)).sqrt()


def problem(shifted: bool, *size: int) -> tuple[Diffusion, Tensor, Tensor]:
    """Return a process, masks of its two values, and priors: anywhere in [-1, 1], or none."""
    drawn = torch.rand(2, *size, generator=torch.Generator().manual_seed(4))
    ones = (drawn[0] > 0.5).float()
    if shifted:
        return Diffusion(), 2 * ones - 1, 2 * drawn[1] - 1
    return Diffusion(0, 1), ones, torch.zeros(size)


def test_steps_of_the_process_compose_to_its_marginal() -> None:
    of_x0, of_f, variance = 1.0, 0.0, 0.0
    expected = []
    for a in A_STEP:
        of_x0, of_f = math.sqrt(a) * of_x0, math.sqrt(a) * of_f + 1 - math.sqrt(a)
        variance = a * variance + 1 - a
        expected.append((of_x0, of_f, variance))
    zero, one = torch.zeros(1000, 1, 1, 1), torch.ones(1000, 1, 1, 1)
    add = Diffusion().add_noise
    shift, spread = (
        add(zero, one, zero, EVERY_T),
        add(one, one, one, EVERY_T) - add(one, one, zero, EVERY_T),
    )
    found = torch.stack([add(one, zero, zero, EVERY_T), shift, spread**2], dim=1)
    torch.testing.assert_close(
        found.view(1000, 3), torch.tensor(expected, dtype=torch.float32), atol=2e-6, rtol=0
    )


def test_the_posterior_follows_the_rule_of_bayes_on_the_shifted_steps() -> None:
    assert posterior(0) == pytest.approx((1, 0, 0), abs=1e-12)
    for t in range(1, 1000):
        a, before = A_STEP[t], float(A[t - 1])
        # Precisions of x_{t-1}: from x0 and f, and from x_t.
        prior, likelihood = 1 / (1 - before), a / (1 - a)
        seen = 1 / math.sqrt(a)  # x_{t-1} that x_t points at is (x_t - (1 - sqrt(a)) f) / sqrt(a)
        of_x0 = prior * math.sqrt(before) / (prior + likelihood)
        of_x_t = likelihood * seen / (prior + likelihood)
        of_f = (prior * (1 - math.sqrt(before)) - likelihood * seen * (1 - math.sqrt(a))) / (
            prior + likelihood
        )
        assert posterior(t) == pytest.approx((of_x0, of_x_t, of_f), abs=1e-6)


def test_the_posterior_is_that_of_the_residual_shifted_back() -> None:
    x0, x_t, f = 0.7, -1.3, 0.4
    for t in range(1, 1000):
        of_y0 = math.sqrt(A[t - 1]) * (1 - A_STEP[t]) / (1 - A[t])  # Ho et al. 2020, eq 7
        of_y_t = math.sqrt(A_STEP[t]) * (1 - A[t - 1]) / (1 - A[t])
        g0, g1, g2 = posterior(t)
        assert g0 + g1 + g2 == pytest.approx(1, abs=1e-12)
        assert g0 * x0 + g1 * x_t + g2 * f == pytest.approx(
            float(of_y0 * (x0 - f) + of_y_t * (x_t - f) + f), abs=1e-6
        )


def test_the_share_of_the_prior_in_the_posterior_is_the_gamma_of_card() -> None:
    for t in range(1, 1000):
        roots = math.sqrt(A_STEP[t]) + math.sqrt(A[t - 1])
        card = 1 + (math.sqrt(A[t]) - 1) * roots / (1 - float(A[t]))
        assert posterior(t)[2] == pytest.approx(card, abs=1e-6)


def test_ancestral_steps_are_draws_from_the_posterior() -> None:
    process, x0, f = problem(True, 1, 1, 96, 96)
    states: list[Tensor] = []
    process.sample(
        knowing(x0, f),
        f,
        rngs(1),
        scheduler="ddpm",
        steps=1000,
        on_step=lambda t, x_t: states.append(x_t.clone()),
    )
    for t in (999, 700, 300, 100, 30, 10, 1):
        g0, g1, g2 = posterior(t)
        deviation = math.sqrt((1 - A[t - 1]) * (1 - A_STEP[t]) / (1 - A[t]))
        drawn = (states[999 - t + 1] - g0 * x0 - g1 * states[999 - t] - g2 * f) / deviation
        assert abs(drawn.mean()) < 0.05, t
        assert drawn.std() == pytest.approx(1, abs=0.05), t


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize(
    ("scheduler", "steps", "start"),
    [
        ("ddpm", 1000, 1000),
        ("ddim", 50, 1000),
        ("dpm", 20, 1000),
        ("dpm", 5, 300),
        ("ddim", 5, 300),
        ("ddpm", 300, 300),
        ("dpm", 1, 1),
    ],
)
def test_a_perfect_network_recovers_the_mask(
    scheduler: str, steps: int, start: int, shifted: bool
) -> None:
    process, x0, f = problem(shifted, 2, 1, 12, 10)
    found = process.sample(
        knowing(x0, f), f, rngs(1, 2), scheduler=scheduler, steps=steps, start=start
    )
    torch.testing.assert_close(found, x0, atol=1e-3, rtol=0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@settings(max_examples=30, deadline=None)
@given(cut=cuts())
@example(cut=(61, 1000))
@example(cut=(7, 300))
@example(cut=(13, 15))
@example(cut=(1000, 1000))
def test_a_schedule_visits_as_many_timesteps_as_asked_from_its_start_down(
    scheduler: str, cut: tuple[int, int]
) -> None:
    steps, start = cut
    made = Diffusion().scheduler(scheduler, steps, start)
    times = made.timesteps.tolist()
    assert times[0] == start - 1
    assert times == sorted(set(times), reverse=True)
    assert times[-1] >= 0
    assert len(times) == steps
    torch.testing.assert_close(made.alphas_cumprod.double(), A, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@settings(max_examples=10, deadline=None)
@given(cut=cuts(60))
@example(cut=(36, 1000))
@example(cut=(7, 300))
@example(cut=(30, 1000))
def test_whatever_the_steps_the_states_of_a_perfect_network_keep_to_the_process(
    scheduler: str, cut: tuple[int, int]
) -> None:
    steps, start = cut
    process, x0, _ = problem(True, 1, 1, 16, 16)
    # where the prior is the mask itself, sampling from any start begins on the marginal
    seen: list[tuple[int, Tensor]] = []
    found = process.sample(
        knowing(x0, x0),
        x0,
        rngs(1),
        scheduler=scheduler,
        steps=steps,
        start=start,
        on_step=lambda t, x_t: seen.append((t, x_t.clone())),
    )
    torch.testing.assert_close(found, x0, atol=1e-3, rtol=0)
    noises = [(x_t - marginal(x0, x0, t)[0]) / marginal(x0, x0, t)[1] for t, x_t in seen]
    for noise in noises:
        if scheduler == "ddpm":
            assert noise.std() == pytest.approx(1, abs=0.3)
        else:  # without noise of their own, solvers keep the one they began with
            torch.testing.assert_close(noise, noises[0], atol=2e-3, rtol=0)


@pytest.mark.parametrize("start", [1000, 300])
def test_sampling_begins_at_the_prior_noised_up_to_the_start(start: int) -> None:
    process, x0, f = problem(True, 1, 1, 96, 96)
    seen: list[tuple[int, Tensor]] = []
    process.sample(
        knowing(x0, f),
        f,
        rngs(3),
        steps=2,
        start=start,
        on_step=lambda t, x_t: seen.append((t, x_t.clone())),
    )
    t, x_t = seen[0]
    assert t == start - 1
    noise = (x_t - f) / math.sqrt(1 - A[t])
    assert abs(noise.mean()) < 0.04
    assert noise.std() == pytest.approx(1, abs=0.04)
    assert abs((noise * f).mean()) < 0.04


def means(sampler: str, x0: float, f: float) -> dict[int, float]:
    """Return the mean state at each timestep, with a perfect network and all timesteps."""
    masks, priors = torch.full((1, 1, 64, 64), x0), torch.full((1, 1, 64, 64), f)
    states = {}
    Diffusion().sample(
        knowing(masks, priors),
        priors,
        rngs(5),
        scheduler="ddpm",
        steps=TIMESTEPS,
        sampler=sampler,
        on_step=lambda t, x_t: states.update({t: float(x_t.mean())}),
    )
    return states


def test_equation_6_as_printed_runs_away_from_the_process() -> None:
    exact, printed = means("exact", 1, 0.6), means("paper_eq6", 1, 0.6)
    assert exact[500] == pytest.approx(0.71, abs=0.1)
    assert 70 < printed[500] < 80
    assert printed[999] == pytest.approx(exact[999])
    assert max(means("paper_eq6", 1, 1).values()) > 100
    assert max(map(abs, means("exact", 1, 1).values())) < 2


def test_equation_6_as_printed_adds_what_its_coefficient_of_the_prior_says() -> None:
    printed, expected = means("paper_eq6", 0.3, 0.6), 0.6
    for t in range(999, 0, -1):
        assert printed[t] == pytest.approx(expected, abs=0.1), t
        g0, g1, _ = posterior(t)
        expected = g0 * 0.3 + g1 * expected + (1 - math.sqrt(A[t])) * 0.6


def test_algorithm_2_as_printed_starts_without_the_prior_and_stays_off_the_process() -> None:
    exact, printed = means("exact", 0, 1), means("paper_alg2", 0, 1)
    assert printed[999] == pytest.approx(0, abs=0.05)
    assert exact[999] == pytest.approx(1, abs=0.05)
    assert printed[999] - marginal(torch.tensor(0.0), torch.tensor(1.0), 999)[0] == pytest.approx(
        -0.994, abs=0.05
    )
    assert printed[500] - exact[500] > 0.5
    expected = 0.0
    for t in range(
        999, 0, -1
    ):  # eq 7 of the mean: a perfect noise holds the distance to the marginal
        assert printed[t] == pytest.approx(expected, abs=0.1), t
        away = (expected - (1 - math.sqrt(A[t]))) / math.sqrt(1 - A[t])
        expected = (expected - (1 - A_STEP[t]) / math.sqrt(1 - A[t]) * away) / math.sqrt(A_STEP[t])


@pytest.mark.parametrize(("scheduler", "sampler"), EXACT_AND_PRINTED)
def test_the_noise_of_an_item_comes_from_its_own_generator_alone(
    scheduler: str, sampler: str
) -> None:
    f = 2 * torch.rand(2, 1, 9, 7, generator=torch.Generator().manual_seed(0)) - 1

    def sample(f: Tensor, *seeds: int) -> Tensor:
        return Diffusion(-99, 99).sample(
            lambda x_t, t: 0.1 * x_t, f, rngs(*seeds), scheduler=scheduler, steps=7, sampler=sampler
        )

    both = sample(f, 1, 2)
    torch.testing.assert_close(
        both, torch.cat([sample(f[:1], 1), sample(f[1:], 2)]), atol=1e-5, rtol=1e-5
    )
    assert not torch.allclose(both[0], sample(f[:1], 2)[0])


def test_the_implied_mask_undoes_the_noise() -> None:
    process, x0, f = problem(True, 1000, 1, 4, 3)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    x_t = process.add_noise(x0, f, noise, EVERY_T)
    torch.testing.assert_close(process.implied_mask(x_t, f, noise, EVERY_T), x0, atol=2e-3, rtol=0)


def test_noise_and_velocity_say_the_same() -> None:
    process, x0, f = problem(True, 1000, 1, 4, 3)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    x_t = process.add_noise(x0, f, noise, EVERY_T)
    velocity = at(EVERY_T).sqrt() * noise - (1 - at(EVERY_T)).sqrt() * (x0 - f)
    torch.testing.assert_close(
        process.noise_of_velocity(velocity, x_t, f, EVERY_T), noise, atol=1e-4, rtol=0
    )


def test_at_the_start_a_velocity_of_nothing_implies_the_prior() -> None:
    process, _, f = problem(True, 1, 1, 32, 32)
    t = torch.tensor([999])
    x_t = f + torch.randn(f.shape, generator=torch.Generator().manual_seed(2))
    implied = process.implied_mask(
        x_t, f, process.noise_of_velocity(torch.zeros_like(f), x_t, f, t), t
    )
    torch.testing.assert_close(implied, f, atol=0.04, rtol=0)


NONSENSE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "noise": (
        lambda x_t, t: (
            50 * torch.randn(x_t.shape, generator=torch.Generator().manual_seed(int(t[0])))
        )
    ),
    "much": lambda x_t, t: torch.full_like(x_t, 1e3),
    "little": lambda x_t, t: torch.full_like(x_t, -1e3),
}


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize(("scheduler", "sampler"), EXACT_AND_PRINTED)
def test_nonsense_stays_in_range(
    scheduler: str, sampler: str, nonsense: str, shifted: bool
) -> None:
    process, _, f = problem(shifted, 1, 1, 16, 16)
    states: list[Tensor] = []
    found = process.sample(
        NONSENSE[nonsense],
        f,
        rngs(1),
        scheduler=scheduler,
        steps=20,
        sampler=sampler,
        on_step=lambda t, x_t: states.append(x_t.clone()),
    )
    assert process.low <= found.min() <= found.max() <= process.high
    if (
        sampler == "exact"
    ):  # each implied mask is clipped, so that no state leaves what masks and noise explain
        assert max(float(x_t.abs().max()) for x_t in states) < 8
        if nonsense != "noise":  # a noise too high everywhere implies masks too low
            expected = torch.full_like(found, process.low if nonsense == "much" else process.high)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
            last = marginal(expected, f, 49)[
                0
            ]  # the last of 20 timesteps; clipped to this process's own range
            assert states[-1].mean() == pytest.approx(float(last.mean()), abs=0.1)
