"""The NSA is a large-selective-kernel block whose first kernel follows the prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from verdiff.blocks import ResBlock
from verdiff.nsa import GATES, NSA, gate_of


class LSKBlock(nn.Module):
    """The block of Li et al. 2023, as its public code has it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.conv_spatial = nn.Conv2d(dim, dim, 7, stride=1, padding=9, groups=dim, dilation=3)
        self.conv1 = nn.Conv2d(dim, dim // 2, 1)
        self.conv2 = nn.Conv2d(dim, dim // 2, 1)
        self.conv_squeeze = nn.Conv2d(2, 2, 7, padding=3)
        self.conv = nn.Conv2d(dim // 2, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.conv0(x)
        far = self.conv_spatial(near)
        near, far = self.conv1(near), self.conv2(far)
        attention = torch.cat([near, far], dim=1)
        average, most = (
            torch.mean(attention, dim=1, keepdim=True),
            torch.max(attention, dim=1, keepdim=True).values,
        )
        shares = self.conv_squeeze(torch.cat([average, most], dim=1)).sigmoid()
        mixed = near * shares[:, 0].unsqueeze(1) + far * shares[:, 1].unsqueeze(1)
        return x * self.conv(mixed)


NAMES = {
    "large": "conv0",
    "spatial": "conv_spatial",
    "halve_fine": "conv1",
    "halve_spatial": "conv2",
    "select": "conv_squeeze",
    "expand": "conv",
}


def adapter(gate: str, channels: int = 8, seed: int = 0) -> NSA:
    torch.manual_seed(seed)
    made = NSA(channels, gate)
    for parameter in made.parameters():  # all of them, for the last convolution starts at zero
        nn.init.normal_(parameter, std=0.3)
    return made.eval()


def features(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (21, 34), (3, 2)])
def test_with_the_5x5_kernel_it_is_the_large_selective_kernel_block(size: tuple[int, int]) -> None:
    ours, theirs = adapter("5x5"), LSKBlock(8).eval()
    theirs.load_state_dict(
        {
            f"{NAMES[name.split('.')[0]]}.{name.split('.')[1]}": value
            for name, value in ours.state_dict().items()
        }
    )
    x = features(2, 8, *size)
    assert torch.equal(ours(x), theirs(x))
    assert ours(x).std() > 0.1


@torch.no_grad()
def test_a_gate_of_1_everywhere_makes_the_first_kernel_3x3() -> None:
    soft, narrow, x = adapter("soft"), adapter("5x5"), features(2, 8, 20, 15)
    state = {
        name: value for name, value in soft.state_dict().items() if not name.startswith("small")
    }
    state["large.weight"], state["large.bias"] = (
        F.pad(soft.small.weight, (1, 1, 1, 1)),
        soft.small.bias,
    )
    narrow.load_state_dict(state)
    torch.testing.assert_close(soft(x, torch.ones(2, 1, 20, 15)), narrow(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_gate_of_0_everywhere_makes_the_first_kernel_5x5() -> None:
    soft, large, x = adapter("soft"), adapter("5x5"), features(2, 8, 20, 15)
    large.load_state_dict(
        {name: v for name, v in soft.state_dict().items() if not name.startswith("small")}
    )
    assert torch.equal(soft(x, torch.zeros(2, 1, 20, 15)), large(x))
    assert not torch.allclose(soft(x, torch.ones(2, 1, 20, 15)), large(x), atol=1e-2)


@torch.no_grad()
def test_the_gate_chooses_the_first_kernel_pixel_by_pixel() -> None:
    net, x = adapter("soft"), features(1, 8, 60, 10)
    gate = torch.zeros(1, 1, 60, 10)
    gate[..., 30:, :] = 1
    mixed, ones, zeros = (net(x, g) for g in (gate, torch.ones_like(gate), torch.zeros_like(gate)))
    # beyond the reach of the dilated kernel, 9, and of the selection's, 3
    torch.testing.assert_close(mixed[..., 43:, :], ones[..., 43:, :])
    torch.testing.assert_close(mixed[..., :17, :], zeros[..., :17, :])
    assert not torch.allclose(mixed[..., 30:, :], zeros[..., 30:, :], atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("gate", GATES)
def test_a_residual_block_with_a_fresh_adapter_is_the_identity(gate: str) -> None:
    block, x = ResBlock(8, 8, 16, 2, NSA(8, gate)), features(2, 8, 11, 12)
    assert torch.equal(
        block(x, torch.ones(2, 16), None if gate == "5x5" else torch.ones(2, 1, 11, 12)), x
    )


def square(height: int = 48, width: int = 40) -> Tensor:
    prior = torch.zeros(1, 1, height, width)
    prior[..., height // 4 : -height // 4, width // 4 : -width // 4] = 1
    return prior


def counted(prior: Tensor) -> Tensor:
    """Return the mean over each pixel's 5x5 window inside the image, one by one."""
    maps = prior.numpy()
    found = np.empty_like(maps)
    for i, j in np.ndindex(maps.shape[2:]):
        found[..., i, j] = maps[..., max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3].mean((-2, -1))
    return torch.from_numpy(found)


def test_the_soft_gate_is_1_inside_the_foreground_and_0_far_from_it() -> None:
    prior = square()
    gate = gate_of(prior, (48, 40), "soft")
    assert torch.equal(gate[0, 0, 14:34, 12:28], torch.ones(20, 16))
    assert gate[0, 0, :10].max() == gate[0, 0, -10:].max() == 0
    assert 0 < gate[0, 0, 12, 20] < 1  # on the boundary


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), height=st.integers(1, 12), width=st.integers(1, 12))
def test_gates_are_the_share_of_foreground_in_each_window(
    seed: int, height: int, width: int
) -> None:
    prior = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(seed)) ** 3
    soft, hard = (gate_of(prior, (height, width), kind) for kind in ("soft", "hard"))
    share = counted(prior)
    torch.testing.assert_close(soft, share)
    assert 0 <= soft.min() <= soft.max() <= 1
    assert set(hard.unique().tolist()) <= {0, 1}
    clear = (share - 0.25).abs() > 1e-5
    assert torch.equal(hard[clear], (share >= 0.25).float()[clear])


def test_without_a_choice_there_is_no_gate() -> None:
    assert gate_of(square(), (12, 10), "5x5") is None


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_a_gate_has_the_size_of_the_features_and_the_place_of_the_prior(
    height: int, width: int
) -> None:
    even = torch.full((1, 1, 47, 39), 0.3)
    torch.testing.assert_close(
        gate_of(even, (height, width), "soft"), torch.full((1, 1, height, width), 0.3)
    )
    lower = torch.zeros(1, 1, 47, 39)
    lower[..., 24:, :] = 1
    gate = gate_of(lower, (height, width), "soft")
    assert gate.shape == (1, 1, height, width)
    assert 0 <= gate.min() <= gate.max() <= 1 + 1e-6
    if height >= 12:
        assert gate[..., : height // 2 - 3, :].max() < 1e-6
        assert gate[..., -(height // 2 - 3) :, :].min() > 1 - 1e-6
