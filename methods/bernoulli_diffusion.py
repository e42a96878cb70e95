"""A diffusion of binary masks: the noise flips pixels, until each is a draw from the prior.

y_0 is a mask in {0, 1}, f the prior's probability of foreground, and y_t the mask after timestep t.
With a_t = 1 - beta_t and A_t the product of a_1 to a_t, the process is

    q(y_t | y_(t-1), f) = Bernoulli(a_t y_(t-1) + (1 - a_t) f)
    q(y_t | y_0, f)     = Bernoulli(A_t y_0 + (1 - A_t) f).

The second line follows from the first. It also reads y_t = y_0 XOR eps, where eps is 1 with
probability (1 - A_t) |f - y_0|. With f = 1/2 it is the process of BerDiff (Chen et al. 2023, arXiv
2304.04429); HiDiff (Chen et al. 2024, arXiv 2407.03548) starts from the prior instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

TIMESTEPS = 1000
"""Steps of noise between a mask and pure chance."""
LARGEST_BETA = 0.999
"""Of the cosine schedule, whose last beta would be 1."""
SCHEDULERS = ("ddim", "ddpm")
"""How a step is drawn: `ddim` keeps a pixel or takes the predicted mask's, `ddpm` draws from the
posterior."""
SMALLEST = 1e-6
"""A probability of a loss is at least this far from 0 and 1."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Predicts the probability (B, 1, H, W) that pixels of y_t (B, 1, H, W) are flipped, at timesteps
(B,)."""
OnStep = Callable[[int, Tensor], None]
"""Receives each visited timestep, the highest first, and the state before it is denoised."""


def cosine_betas() -> Tensor:
    """Return the beta of each timestep (T,), Nichol and Dhariwal's cosine schedule (2021)."""

    def remaining(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = []
    for t in range(TIMESTEPS):
        ratio = remaining((t + 1) / TIMESTEPS) / remaining(t / TIMESTEPS)
        betas.append(min(1 - ratio, LARGEST_BETA))
    return torch.tensor(betas, dtype=torch.float64)


class BernoulliDiffusion:
    """The process with T = 1000 timesteps, counted from 0: y_1 of the equations is t = 0."""

    def __init__(self) -> None:
        self.cumulative = (1 - cosine_betas()).cumprod(0)
        self._kept = torch.cat([torch.ones(1), self.cumulative.float()])  # from t = -1 on

    def kept(self, t: Tensor) -> Tensor:
        """Return A_t (B, 1, 1, 1) at timesteps (B,) in float32; for t = -1 it is 1."""
        return self._kept.to(t.device)[t + 1].view(-1, 1, 1, 1)

    def marginal(self, y0: Tensor, f: Tensor, t: Tensor) -> Tensor:
        """Return the probability (B, 1, H, W) that y_t is 1, of masks y0 and priors f."""
        A = self.kept(t)
        return A * y0 + (1 - A) * f

    def flip_probability(self, y0: Tensor, f: Tensor, t: Tensor) -> Tensor:
        """Return the probability (B, 1, H, W) that y_t is not y0."""
        return (1 - self.kept(t)) * (f - y0).abs()

    def flip_logits_by_prior(self, y_t: Tensor, f: Tensor, t: Tensor) -> Tensor:
        """Return the logits (B, 1, H, W) that pixels of y_t are flipped, by the prior alone.

        By Bayes' rule, for a mask that is a draw from the prior. A denoiser that returns these
        logits for each state samples the prior itself.

        Args:
            y_t: The state in {0, 1}, (B, 1, H, W).
            f: The prior (B, 1, H, W), neither 0 nor 1.
            t: Timesteps (B,).
        """
        A = self.kept(t)
        same = _agreement(y_t, f)
        flipped = (1 - A) * (1 - same)
        not_flipped = A + (1 - A) * same
        return flipped.log() - not_flipped.log()

    def posterior(self, y_t: Tensor, y0: Tensor, f: Tensor, t: Tensor, before: Tensor) -> Tensor:
        """Return the probability (B, 1, H, W) that y at an earlier timestep is 1.

        Args:
            y_t: The state in {0, 1}, (B, 1, H, W).
            y0: The mask (B, 1, H, W). In place of a mask, the probability of one may be given, as
                BerDiff does for its predicted mask.
            f: The prior (B, 1, H, W), neither 0 nor 1.
            t: The state's timesteps (B,).
            before: Earlier timesteps (B,), not only the one before; -1 is that of y0.
        """
        A = self.kept(before)
        a = self.kept(t) / A
        drawn_y_t = _agreement(y_t, f)
        # Probability of y_t, if y at the earlier timestep was 1 and if it was 0.
        if_one = a * y_t + (1 - a) * drawn_y_t
        if_zero = a * (1 - y_t) + (1 - a) * drawn_y_t
        one = A * y0 + (1 - A) * f  # probability that y at the earlier timestep was 1
        weight_one, weight_zero = if_one * one, if_zero * (1 - one)  # Bayes' rule
        return weight_one / (weight_one + weight_zero).clamp_min(torch.finfo(one.dtype).tiny)

    def sample(
        self,
        denoise: Denoise,
        f: Tensor,
        rngs: Sequence[torch.Generator],
        *,
        scheduler: str = "ddim",
        steps: int = 10,
        on_step: OnStep = lambda t, y_t: None,
    ) -> Tensor:
        """Return the probability (B, 1, H, W) of a mask's pixels after the last step.

        The last step's draw is left out: its mean is the probability that is returned.

        Args:
            denoise: Predicts which pixels of y_t are flipped.
            f: Priors (B, 1, H, W); sampling begins with a draw from them.
            rngs: For each item of the batch the generator of its noise.
            scheduler: One of `SCHEDULERS`.
            steps: Number of timesteps that are visited.
            on_step: Receives every timestep and state before the state is denoised.

        Raises:
            ValueError: The scheduler is unknown, or the steps are not 1 to T.
        """
        if scheduler not in SCHEDULERS:
            raise ValueError(
                f"there is no scheduler '{scheduler}'; expected one of {', '.join(SCHEDULERS)}"
            )
        if not 1 <= steps <= TIMESTEPS:
            raise ValueError(f"{steps} steps cannot be taken; expected 1 to {TIMESTEPS}")
        times = [round(TIMESTEPS * left / steps) - 1 for left in range(steps, 0, -1)]
        y = _drawn(f, rngs)
        for t, before in zip(times, [*times[1:], -1], strict=True):
            on_step(t, y)
            batch_t = torch.full((len(f),), t, device=f.device)
            batch_before = torch.full_like(batch_t, before)
            p_flipped = denoise(y, batch_t).float()
            p_mask = (y - p_flipped).abs()  # 1 - p_flipped where y is 1, p_flipped where it is 0
            if before < 0:
                return p_mask
            if scheduler == "ddpm":
                probability = self.posterior(y, p_mask, f, batch_t, batch_before)
            else:
                probability = self.stepped(y, p_mask, batch_t, batch_before)
            y = _drawn(probability, rngs)
        return y

    def stepped(self, y_t: Tensor, y0: Tensor, t: Tensor, before: Tensor) -> Tensor:
        """Return the probability (B, 1, H, W) that y at an earlier timestep is 1, by DDIM.

        A pixel keeps y_t with probability s = (1 - A_before) / (1 - A_t), and otherwise takes y0.
        This is DDIM's process for discrete states (Song et al. 2021, appendix A): at each timestep
        it has the same marginals as the process of this class.
        """
        s = (1 - self.kept(before)) / (1 - self.kept(t))
        return s * y_t + (1 - s) * y0


def _agreement(y: Tensor, f: Tensor) -> Tensor:
    """Return the probability (B, 1, H, W) that a draw from the prior is the state y."""
    return y * f + (1 - y) * (1 - f)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of Bernoulli(q) from Bernoulli(p).

    p and q are probabilities (B, 1, H, W); the mean is over all pixels of the batch.
    """
    q = q.clamp(SMALLEST, 1 - SMALLEST)
    minus_entropy = torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)  # xlogy(0, 0) is 0, not NaN
    return (minus_entropy - p * q.log() - (1 - p) * (-q).log1p()).mean()


def _drawn(probability: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    """Draw a state in {0, 1} (B, 1, H, W), each item of the batch from its own generator."""
    chances = [
        torch.rand(item.shape, generator=rng, device=item.device)
        for item, rng in zip(probability, rngs, strict=True)
    ]
    return (torch.stack(chances) < probability).float()
