"""Verdiff-Net: a conditional U-Net predicts a prior mask, and a diffusion refines it.

Source: Zhang et al., Bioengineering 2024, 11(10):1031. The image passes through the
multi-scale fusion module (MSFM, `verdiff.msfm`). From the result, the conditional U-Net predicts
the prior f. The diffusion U-Net, with the noise semantic adapter (NSA, `verdiff.nsa`) in its
encoder, predicts the noise in x_t from x_t, f and the MSFM's output. Train and sample:

    import torch
    from verdiff import VerdiffNet

    net = VerdiffNet(width=16, prior_width=8, levels=4, blocks=1)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    image = torch.rand(2, 1, 96, 64)
    mask = (torch.rand(2, 1, 96, 64) > 0.5).float()
    for step in range(100):
        loss = net.loss(image, mask, torch.Generator().manual_seed(step))
        adam.zero_grad()
        loss.backward()
        adam.step()
    net.eval()
    probability = net(image)  # the same each time; net(image, seed=1) draws other noise
    sampled = net.sample(image, seed=0, samples=5, steps=20)
    print(sampled.probability.shape, sampled.spread.mean(), (sampled.prior > 0.5).sum())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import Plain, fold, initialise, unfold
from verdiff.diffusion import Diffusion
from verdiff.msfm import MSFM
from verdiff.nsa import NSA, check_gate, gate_of
from verdiff.unet import MULTIPLIERS, ConditionalUNet, DiffusionUNet

PREDICTS = ("mask", "velocity", "noise")
"""What the diffusion U-Net may put out."""
LEVELS = len(MULTIPLIERS)
"""The largest depth: the diffusion U-Net has widths for so many levels."""
EDGE = 0.01
"""Where a probability is nearer than this to 0 or 1, `VerdiffNet._logits` replaces the logit, which
is infinite at 0 and 1, by a straight line."""


@dataclass(frozen=True)
class Condition:
    """Everything that depends only on the image; it is computed once for all steps and samples."""

    logits: Tensor
    """The conditional U-Net's output (B, 1, H, W)."""
    f: Tensor
    """The prior mask (2 sigmoid(logits) - 1) scale (B, 1, H, W), in [-scale, scale] like x0.

    No gradient passes through f. Both losses train the MSFM, whose output both networks receive.
    """
    added: Tensor
    """Image features (B, width, H / patch, W / patch), with both sides rounded up.

    The diffusion U-Net adds them to the output of its first convolution.
    """
    gates: tuple[Tensor | None, ...]
    """The NSA's gate (B, 1, h, w) of each level, the finest first; None where there is no gate."""

    def repeat(self, samples: int) -> Condition:
        """Return the condition of B * samples items: first all samples of the first image."""
        if samples == 1:
            return self

        def again(value: Tensor) -> Tensor:
            return value.repeat_interleave(samples, 0)

        gates = tuple(None if gate is None else again(gate) for gate in self.gates)
        return Condition(again(self.logits), again(self.f), again(self.added), gates)


@dataclass(frozen=True)
class Sampled:
    """The prediction for a batch of images; each map is (B, 1, H, W)."""

    probability: Tensor
    """Mean of the samples, in [0, 1]."""
    spread: Tensor
    """Standard deviation over the samples, in [0, 0.5]: the uncertainty map."""
    prior: Tensor
    """The conditional U-Net's probability sigmoid(logits), in [0, 1]; unlike f, not rescaled."""


class VerdiffNet(nn.Module):
    """Verdiff-Net for grey images of any size and a binary mask.

    Args:
        width: Channels of the diffusion U-Net's first level: up to 128 a multiple of 4, above 128 a
            multiple of 32 (the groups of its group norms).
        prior_width: Channels of the conditional U-Net's first level and of the MSFM.
        levels: Depth of both U-Nets, 1 to 6.
        blocks: Residual blocks at each level of the diffusion U-Net.
        patch: Side of the blocks of pixels that both networks see as one position: a block's pixels
            become its channels. The paper has 1; 2 takes about a quarter of the time.
        msfm: Whether the image passes through the MSFM; if not, both networks receive the image.
        nsa: Whether the last layer of each residual block of the encoder is an NSA; if not, it is a
            plain convolution.
        nsa_gate: `soft`, `hard` or `5x5`, see `verdiff.nsa.gate_of`.
        predicts: What the diffusion U-Net puts out; the other two follow from it.
            `mask`: a correction, which is added to the prior's logits; 0 gives the prior.
            `noise`: the noise in x_t, as the paper has it. At high timesteps, where x_t is nearly
            pure noise, it says almost nothing of the mask.
            `velocity`: a mixture of both (Salimans and Ho 2022); at high timesteps 0 gives the
            prior.
        scale: Largest value of x0 and f. It should be small: then x_t is noise at most timesteps,
            and the network must look at the image. With 1, most x_t of training show the true mask,
            and the network learns to copy it; in sampling there is none to copy.
        detach: Whether the loss of the corrected mask leaves the conditional U-Net alone, where the
            network predicts the mask. If not, it trains both networks, and they learn to give the
            right mask together. The loss of a noise or a velocity never trains the conditional
            U-Net.

    The weights depend on one integer that is drawn from PyTorch's global generator. So two networks
    that are built after the same `torch.manual_seed` start with the same weights in all modules
    that both have.
    """

    def __init__(
        self,
        width: int = 128,
        prior_width: int = 32,
        levels: int = 6,
        blocks: int = 2,
        patch: int = 1,
        msfm: bool = True,
        nsa: bool = True,
        nsa_gate: str = "soft",
        predicts: str = "mask",
        scale: float = 0.1,
        detach: bool = False,
    ) -> None:
        super().__init__()
        if predicts not in PREDICTS:
            raise ValueError(
                f"there is nothing like '{predicts}' to predict; expected {', '.join(PREDICTS)}"
            )
        if scale <= 0:
            raise ValueError(f"scale={scale} leaves no mask; expected a number above 0")
        if not 1 <= levels <= LEVELS:
            raise ValueError(f"levels={levels} cannot be built; expected 1 to {LEVELS}")
        if min(blocks, patch) < 1:
            raise ValueError(f"blocks={blocks}, patch={patch}: expected 1 or more of each")
        check_gate(nsa_gate)
        # Drawn first, so that it does not depend on how much the constructors below draw.
        seed = int(torch.randint(2**62, ()))
        pixels = patch**2  # of a block, which become the channels of one position
        self.patch = patch
        self.msfm = MSFM(pixels, prior_width) if msfm else None
        feature_channels = prior_width if msfm else pixels
        self.conditional = ConditionalUNet(feature_channels, pixels, prior_width, levels)
        self.fuse = nn.Conv2d(feature_channels, width, 3, padding=1)

        def last_layer(channels: int) -> nn.Module:
            return NSA(channels, nsa_gate) if nsa else Plain(channels)

        self.denoiser = DiffusionUNet(
            inputs=2 * pixels,  # x_t and f
            outputs=pixels,
            width=width,
            levels=levels,
            blocks=blocks,
            last_layer=last_layer,
        )
        # Without the NSA no layer reads a gate. Of the kind "5x5" none is computed.
        self.gate = nsa_gate if nsa else "5x5"
        self.diffusion = Diffusion(-scale, scale)
        self.predicts = predicts
        self.scale = scale
        self.detach = detach
        initialise(self, seed)

    def condition(self, image: Tensor) -> Condition:
        """Return all that the diffusion needs of images (B, 1, H, W).

        Raises:
            ValueError: The images have another shape, such as three colours.
        """
        if image.ndim != 4 or image.shape[1] != 1:
            raise ValueError(
                f"images have the shape {tuple(image.shape)}, expected grey ones (B, 1, H, W); "
                "image.mean(1, keepdim=True) makes colours grey, image[None, None] makes "
                "a batch of one image (H, W)"
            )
        folded = fold(image, self.patch)
        features = folded if self.msfm is None else self.msfm(folded)
        folded_logits, _encoded, _decoded = self.conditional(features)
        # Under autocast the networks compute in half precision, the diffusion never does.
        logits = unfold(folded_logits.float(), self.patch, image.shape[-2:])
        probability = torch.sigmoid(logits).detach()
        gates = []
        height, width = folded.shape[-2:]
        for _ in range(len(self.denoiser.channels)):  # one gate for each level
            gates.append(gate_of(probability, (height, width), self.gate))
            height, width = (height + 1) // 2, (width + 1) // 2
        return Condition(logits, self.mask_of(probability), self.fuse(features), tuple(gates))

    def mask_of(self, probability: Tensor) -> Tensor:
        """Return a probability as a mask in the diffusion's range [-scale, scale]."""
        return self.scale * (2 * probability - 1)

    def probability_of(self, mask: Tensor) -> Tensor:
        """Return a mask of the diffusion's range as a probability."""
        return (mask / self.scale + 1) / 2

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the predicted noise (B, 1, H, W) in x_t (B, 1, H, W) at timesteps (B,), from 0."""
        return self._noise(self._output(x_t, t, condition), x_t, t, condition)

    def _output(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the output (B, 1, H, W) of the diffusion U-Net."""
        folded = fold(torch.cat([x_t, condition.f], dim=1), self.patch)
        folded_output = self.denoiser(folded, t, condition.added, condition.gates).float()
        return unfold(folded_output, self.patch, x_t.shape[-2:])

    def _noise(self, output: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the noise (B, 1, H, W) that follows from an output of the diffusion U-Net."""
        if self.predicts == "noise":
            return output
        if self.predicts == "velocity":
            return self.diffusion.noise_of_velocity(output, x_t, condition.f, t)
        probability = torch.sigmoid(self._corrected(output, condition))
        return self.diffusion.noise_of_mask(self.mask_of(probability), x_t, condition.f, t)

    def _corrected(self, output: Tensor, condition: Condition) -> Tensor:
        """Return the logits (B, 1, H, W) of the mask: the prior's plus the output."""
        prior = condition.logits.detach() if self.detach else condition.logits
        return prior + output

    def _logits(self, output: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return logits (B, 1, H, W) of the mask that an output implies.

        A noise or a velocity may imply a mask out of its range, where a logit has no value. So
        below 0.01 and above 0.99 of the range, the logits go on as a straight line: they have a
        value and a gradient everywhere.
        """
        if self.predicts == "mask":
            return self._corrected(output, condition)
        noise = self._noise(output, x_t, t, condition)
        implied = self.diffusion.implied_mask(x_t, condition.f, noise, t)
        probability = self.probability_of(implied)
        inside = probability.clamp(EDGE, 1 - EDGE)
        # The line has the logit's own slope at the edge.
        return torch.logit(inside) + (probability - inside) / (EDGE * (1 - EDGE))

    def loss(
        self,
        image: Tensor,
        mask: Tensor,
        rng: torch.Generator,
        bce: bool = True,
        dice: bool = True,
    ) -> Tensor:
        """Return the scalar loss (eq 8 to 10, and the loss of the prior).

        The loss is a sum of up to four parts: the mean squared error of the noise (eq 8); the cross
        entropy and Dice loss of the prior; with `bce` the cross entropy of the mask that the output
        implies (eq 9; the paper prints it with the noise, which is no probability); with `dice`
        the Dice loss of that mask: without it, only the prior would be trained for Dice.

        If the network predicts the mask, the first part is weighted by min(1, 1 / SNR) with SNR =
        A_t / (1 - A_t), after Hang et al. (2023): an error of the mask then never counts more than
        an error of the noise. So it is at most 4 scale^2 times the squared error of the mask's
        probability: 0.04 times at the default scale, where the other parts train the network almost
        alone. If it predicts the noise, the cross entropy is weighted by A_t: otherwise its
        gradient would be very large at large t. `verdiff.diffusion` defines A_t.

        Args:
            image: (B, 1, H, W).
            mask: (B, 1, H, W) in {0, 1}.
            rng: Source of timesteps and noise, on the image's device.
            bce: Whether eq 9 is included.
            dice: Whether the diffusion's Dice loss is included.
        """
        condition = self.condition(image)
        diffusion = self.diffusion
        t = torch.randint(len(diffusion.betas), (len(mask),), generator=rng, device=mask.device)
        noise = torch.randn(mask.shape, generator=rng, device=mask.device)
        x_t = diffusion.add_noise(self.mask_of(mask), condition.f, noise, t)
        output = self._output(x_t, t, condition)
        predicted = self._noise(output, x_t, t, condition)
        A = diffusion.cumulative_at(t, mask)
        squared = (predicted - noise) ** 2
        if self.predicts == "mask":
            squared = squared * ((1 - A) / A).clamp(max=1)
        loss = squared.mean() + prior_loss(condition.logits, mask)
        if not (bce or dice):
            return loss
        logits = self._logits(output, x_t, t, condition)
        if bce:
            weight = (A if self.predicts == "noise" else torch.ones_like(A)).expand_as(mask)
            # Of logits, because `binary_cross_entropy` of probabilities raises an error for a NaN,
            # before the training loop sees the NaN and reports it.
            loss = loss + F.binary_cross_entropy_with_logits(logits, mask, weight)
        if dice:
            loss = loss + dice_loss(torch.sigmoid(logits), mask)
        return loss

    def forward(self, image: Tensor, seed: int = 0, **options: Any) -> Tensor:
        """Return the probability of foreground (B, 1, H, W) of images: the mean of several samples.

        The same image and seed give the same answer, whatever else is in the batch. Call `eval()`
        first. For training, call `loss` instead.

        Args:
            image: (B, 1, H, W), with values in the range of the training images, such as [0, 1].
            seed: Seed of the noise.
            options: Of `sample`: `samples`, `steps`, `scheduler`, ...
        """
        return self.sample(image, seed=seed, **options).probability

    @torch.no_grad()
    def sample(
        self,
        image: Tensor,
        rngs: Sequence[torch.Generator] | None = None,
        samples: int = 5,
        seed: int | None = None,
        **options: Any,
    ) -> Sampled:
        """Return the mean of several sampled masks, their spread, and the prior.

        Args:
            image: (B, 1, H, W).
            rngs: One generator for each image, so that its samples depend on no other image. All
                samples of an image draw from its generator, one after the other.
            seed: Instead of `rngs`: the seed of each image's own generator. The default is 0.
            samples: Number of sampled masks of each image; all are computed as one batch.
            options: Passed on to `verdiff.diffusion.Diffusion.sample`, which has the defaults:
                `scheduler` (`dpm`, `ddim` or `ddpm`), `steps` (number of timesteps that are
                visited), `start` (1000 begins at noise, less at the noised prior), `sampler`
                (`exact`, `paper_eq6` or `paper_alg2`) and `on_step` (a function that receives every
                timestep and state).

        Raises:
            ValueError: There is no sample, generators and a seed are given, or not one generator
                for each image.
        """
        if rngs is None:
            noise_seed = 0 if seed is None else seed
            rngs = [torch.Generator(image.device).manual_seed(noise_seed) for _ in image]
        elif seed is not None:
            raise ValueError("rngs and seed both say where the noise is from; give one of them")
        if samples < 1:
            raise ValueError(f"samples={samples} give no mean; expected 1 or more")
        if len(rngs) != len(image):
            raise ValueError(f"{len(rngs)} generators for {len(image)} images; expected one each")
        condition = self.condition(image)
        repeated = condition.repeat(samples)
        repeated_rngs: list[torch.Generator] = []
        for rng in rngs:
            repeated_rngs += [rng] * samples

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.denoise(x_t, t, repeated)

        x0 = self.diffusion.sample(denoise, repeated.f, repeated_rngs, **options)
        return summary(self.probability_of(x0), condition.logits)


def summary(probabilities: Tensor, logits: Tensor) -> Sampled:
    """Summarise sampled probabilities (B * samples, 1, H, W) and the prior's logits (B, 1, H, W).

    The samples of an image follow one another. The fields of the result are (B, 1, H, W).
    """
    by_image = probabilities.reshape(len(logits), -1, *probabilities.shape[1:])
    return Sampled(
        probability=by_image.mean(1),
        spread=by_image.std(1, correction=0),
        prior=torch.sigmoid(logits),
    )


def prior_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return cross entropy plus soft Dice loss of logits and masks in {0, 1}, both (B, 1, H, W)."""
    return F.binary_cross_entropy_with_logits(logits, mask) + dice_loss(torch.sigmoid(logits), mask)


def dice_loss(probability: Tensor, mask: Tensor) -> Tensor:
    """Return the soft Dice loss over all pixels of the batch, as if it were a single image.

    Args:
        probability: (B, 1, H, W).
        mask: (B, 1, H, W) in {0, 1}.
    """
    # 1 is added above and below the line: else an empty mask gives 0 / 0.
    twice_overlap = 2 * (probability * mask).sum()
    return 1 - (twice_overlap + 1) / (probability.sum() + mask.sum() + 1)
