"""The prior-shifted diffusion of Verdiff-Net (Zhang et al. 2024, section 2.2) as ordinary DDPM.

x0 is a mask, f the prior mask of the first network, x_t the mask with noise after timestep t, and
eps normal noise. With a_t = 1 - beta_t and A_t the product of a_1 to a_t, the paper's process is

    q(x_t | x0, f) = N(sqrt(A_t) x0 + (1 - sqrt(A_t)) f, 1 - A_t)    (eq 3 and 5).

Let y = x - f. Then y_t = sqrt(A_t) (x0 - f) + sqrt(1 - A_t) eps, which is the ordinary process of
y0 = x0 - f. So every published scheduler works unchanged on y, and x = y + f. With f = 0 the
process is not shifted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

TIMESTEPS = 1000
"""Steps of noise between a clean mask and pure noise, in training."""
SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
    "ddim": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 1}),
    "dpm": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
}
"""For each scheduler the class of diffusers and its settings.

`ddpm` is ancestral sampling, `ddim` is DDIM, and `dpm` is DPM-Solver++ of second order. DDIM is
computed as DPM-Solver++ of first order, which is the same (Lu et al. 2022) and accepts any list of
timesteps. `DDIMScheduler` always steps to t - T // steps, which is not the next timestep if the
number of steps does not divide T.
"""
SAMPLERS = ("exact", "paper_eq6", "paper_alg2")
"""How a step is computed.

- `exact`: by a scheduler, on the exact process.
- `paper_eq6`: by the paper's equation 6 as printed.
- `paper_alg2`: by the paper's algorithm 2, with equation 7 as printed.
"""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Predicts the noise (B, 1, H, W) in x_t (B, 1, H, W) at timesteps (B,)."""
OnStep = Callable[[int, Tensor], None]
"""Receives each visited timestep t, the highest first, and the state x_t (B, 1, H, W) before it is
denoised. The lowest timestep is 0."""


class Diffusion:
    """The process from a mask x0 to noise around a prior f.

    It has T = 1000 timesteps, and beta rises linearly from 1e-4 to 0.02. In the code, timesteps
    count from 0: the paper's x_1 is t = 0, and its x_T is t = 999.

    Args:
        low, high: Values of background and foreground in x0. Sampling clips the mask that each
            predicted noise implies to this range.
    """

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        self.low, self.high = low, high
        self.betas = torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float64)
        self.cumulative = (1 - self.betas).cumprod(0)
        self._tables: dict[torch.device, Tensor] = {}
        self._forward = self.scheduler("ddpm", TIMESTEPS)  # only its `add_noise` is used

    def add_noise(self, x0: Tensor, f: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t (eq 3) of masks x0, priors f and noise, all (B, 1, H, W), at times t (B,)."""
        noised: Tensor = self._forward.add_noise(x0 - f, noise, t)
        return noised + f

    def implied_mask(self, x_t: Tensor, f: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the mask (B, 1, H, W) that a predicted noise implies: eq 3 solved for x0.

        The mask is not clipped to [low, high].
        """
        A = self.cumulative_at(t, x_t)
        return (x_t - f - (1 - A).sqrt() * noise) / A.sqrt() + f

    def noise_of_mask(self, x0: Tensor, x_t: Tensor, f: Tensor, t: Tensor) -> Tensor:
        """Return the noise (B, 1, H, W) that implies a mask (B, 1, H, W): eq 3 solved for eps."""
        A = self.cumulative_at(t, x_t)
        return (x_t - f - A.sqrt() * (x0 - f)) / (1 - A).sqrt()

    def noise_of_velocity(self, velocity: Tensor, x_t: Tensor, f: Tensor, t: Tensor) -> Tensor:
        """Return the noise eps (B, 1, H, W) that follows from a velocity of y (B, 1, H, W).

        The velocity is sqrt(A_t) eps - sqrt(1 - A_t) y0 (Salimans and Ho 2022).
        """
        A = self.cumulative_at(t, x_t)
        return (1 - A).sqrt() * (x_t - f) + A.sqrt() * velocity

    def scheduler(self, name: str, steps: int, start: int = TIMESTEPS) -> Any:
        """Return a scheduler of diffusers with `steps` timesteps from `start` - 1 down.

        Raises:
            ValueError: The name is unknown, or the numbers are not 1 <= steps <= start <= T.
        """
        if name not in SCHEDULERS:
            raise ValueError(
                f"there is no scheduler '{name}'; expected one of {', '.join(SCHEDULERS)}"
            )
        if not 1 <= steps <= start <= TIMESTEPS:
            raise ValueError(
                f"{steps} steps from {start} cannot be taken; "
                f"expected 1 <= steps <= start <= {TIMESTEPS}"
            )
        cls, settings = SCHEDULERS[name]
        scheduler = cls(TIMESTEPS, trained_betas=self.betas.numpy(), **settings)
        # The timesteps are given explicitly, because the rounding in diffusers' spacing `trailing`
        # may add one more timestep, -1.
        timesteps = [round(start * left / steps) - 1 for left in range(steps, 0, -1)]
        scheduler.set_timesteps(timesteps=timesteps)
        return scheduler

    def sample(
        self,
        denoise: Denoise,
        f: Tensor,
        rngs: Sequence[torch.Generator],
        *,
        scheduler: str = "dpm",
        steps: int = 20,
        start: int = TIMESTEPS,
        sampler: str = "exact",
        on_step: OnStep = lambda t, x_t: None,
    ) -> Tensor:
        """Return sampled masks (B, 1, H, W) in [low, high].

        Args:
            denoise: Predicts the noise in x_t.
            f: Prior masks (B, 1, H, W) in [low, high]; zeros for the unshifted process.
            rngs: For each item of the batch the generator of its noise, so that no item depends on
                another.
            scheduler: One of `SCHEDULERS`; the printed samplers do not use it.
            steps: Number of timesteps that are visited.
            start: Number of timesteps that are left when sampling begins. It begins with the prior
                and the noise of timestep `start` - 1; for T this is nearly N(f, I). A lower number
                is pre-segmentation diffusion (Guo et al. 2023).
            sampler: One of `SAMPLERS`; `paper_eq6` and `paper_alg2` can only begin at T.
            on_step: Receives every timestep and state before the state is denoised.

        Raises:
            ValueError: A name is unknown (of a scheduler only where it is used), a printed sampler
                does not begin at T, or the numbers of steps and timesteps are not
                1 <= steps <= start <= T.
        """
        if sampler not in SAMPLERS:
            raise ValueError(f"there is no sampler '{sampler}'; expected {', '.join(SAMPLERS)}")
        if sampler != "exact" and start != TIMESTEPS:
            raise ValueError(
                f"sampler '{sampler}' cannot begin at {start}; expected start = {TIMESTEPS}"
            )
        if sampler != "exact":
            return self._as_printed(denoise, f, rngs, steps, sampler, on_step)
        schedule = self.scheduler(scheduler, steps, start)
        # y = x - f, see the top of this file. x begins at the prior f, so y is noise alone.
        y = float(1 - self.cumulative[start - 1]) ** 0.5 * self._noise(f, rngs)
        for t in schedule.timesteps.tolist():
            on_step(t, y + f)
            times = torch.full((len(f),), t, device=f.device)
            noise = self._noise_of_clipped_mask(y, f, denoise(y + f, times).float(), times)
            y = schedule.step(noise, t, y, generator=list(rngs)).prev_sample
        masks: Tensor = (y + f).clamp(self.low, self.high)
        return masks

    def _noise_of_clipped_mask(self, y: Tensor, f: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Clip the mask that a noise implies; return the noise that implies the clipped mask.

        A scheduler's own clipping cannot be used: it clips y0 to [-1, 1], but y0 = x0 - f may
        reach 2.
        """
        x0 = self.implied_mask(y + f, f, noise, t).clamp(self.low, self.high)
        return self.noise_of_mask(x0, y + f, f, t)

    def _as_printed(
        self,
        denoise: Denoise,
        f: Tensor,
        rngs: Sequence[torch.Generator],
        steps: int,
        sampler: str,
        on_step: OnStep,
    ) -> Tensor:
        """Sample by the equations as the paper prints them, to show that they do not work.

        Equation 6 adds (1 - sqrt(A_t)) f in each step, which the exact posterior of the process at
        the top of this file does not: with x0 = 1, f = 0.6 and a perfect network, the mean of x_t
        at t = 500 is about 75 where the exact one is 0.7. Algorithm 2 with equation 7 is ordinary
        DDPM sampling, which is right for y but not for x: f is not in it.

            eq 6: (sqrt(B) (1 - a) x0 + sqrt(a) (1 - B) x_t) / (1 - A) + (1 - sqrt(A)) f
            eq 7: (x_t - (1 - a) / sqrt(1 - A) eps) / sqrt(a)

        The paper visits every timestep: A is A_t, B is A_(t-1) and a is a_t. Here some are left
        out: B is A of the timestep that is visited next, and a = A / B. The noise that each step
        adds has the variance of DDPM's posterior, (1 - B) (1 - a) / (1 - A).
        """
        times = self.scheduler("ddpm", steps).timesteps.tolist()
        x = self._noise(f, rngs)
        if sampler == "paper_eq6":
            x = x + f  # N(f, I); algorithm 2 starts at N(0, I)
        for t, next_t in zip(times, [*times[1:], None], strict=True):
            on_step(t, x)
            batch_t = torch.full((len(f),), t, device=f.device)
            noise = denoise(x, batch_t).float()
            A = float(self.cumulative[t])
            B = 1.0 if next_t is None else float(self.cumulative[next_t])
            a = A / B
            if sampler == "paper_eq6":
                x0 = self.implied_mask(x, f, noise, batch_t).clamp(self.low, self.high)
                x = (B**0.5 * (1 - a) * x0 + a**0.5 * (1 - B) * x) / (1 - A) + (1 - A**0.5) * f
            else:
                x = (x - (1 - a) / (1 - A) ** 0.5 * noise) / a**0.5
            if next_t is not None:
                x = x + ((1 - B) * (1 - a) / (1 - A)) ** 0.5 * self._noise(f, rngs)
        return x.clamp(self.low, self.high)

    def cumulative_at(self, t: Tensor, like: Tensor) -> Tensor:
        """Return A_t (B, 1, 1, 1) at timesteps (B,), in float32 on the device of `like`."""
        if like.device not in self._tables:
            self._tables[like.device] = self.cumulative.to(like.device, torch.float32)
        return self._tables[like.device][t].view(-1, 1, 1, 1)

    @staticmethod
    def _noise(like: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
        """Return normal noise of the shape of `like`, each item from its own generator."""
        noise: Tensor = randn_tensor(
            tuple(like.shape), generator=list(rngs), device=like.device, dtype=torch.float32
        )
        return noise
