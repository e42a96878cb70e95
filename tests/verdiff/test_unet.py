"""Both U-Nets take any size; the one that denoises knows its timestep."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from verdiff.blocks import Attention, ZeroConv2d
from verdiff.unet import ConditionalUNet, DiffusionUNet

SIZES = [(37, 23), (166, 369), (1, 50), (3, 2), (1, 1)]


def awake(net: nn.Module) -> nn.Module:
    """Give what starts at zero some weights, as training does."""
    torch.manual_seed(2)
    for module in net.modules():
        if isinstance(module, ZeroConv2d):
            nn.init.normal_(module.weight, std=0.2)
    return net.eval()


def denoiser(levels: int = 3, inputs: int = 2, outputs: int = 1) -> nn.Module:
    torch.manual_seed(1)
    return awake(DiffusionUNet(inputs, outputs, 4, levels, 1))


def images(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [3, 6])
def test_the_diffusion_unet_keeps_any_size(levels: int, size: tuple[int, int]) -> None:
    out = denoiser(levels)(images(2, 2, *size), torch.tensor([0, 999]))
    assert out.shape == (2, 1, *size)
    assert torch.isfinite(out).all()


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [3, 6])
def test_the_conditional_unet_keeps_any_size(levels: int, size: tuple[int, int]) -> None:
    net = ConditionalUNet(3, 2, 2, levels).eval()
    logits, encoded, decoded = net(images(2, 3, *size))
    assert logits.shape == (2, 2, *size)
    assert [features.shape[1] for features in encoded] == net.channels
    assert [features.shape[1] for features in decoded] == net.channels[:-1]
    assert encoded[0].shape[-2:] == decoded[0].shape[-2:] == size
    for above, below in pairwise(encoded):
        assert below.shape[-2:] == tuple(-(-side // 2) for side in above.shape[-2:])


def test_the_conditional_unet_doubles_its_channels_up_to_15_times_as_many() -> None:
    assert ConditionalUNet(1, 1, 4, 6).channels == [4, 8, 16, 32, 60, 60]


@torch.no_grad()
def test_dropout_drops_channels_of_the_encoder_in_training_alone() -> None:
    torch.manual_seed(1)
    net = ConditionalUNet(1, 1, 2, 3, dropout=0.5)
    assert sum(isinstance(m, nn.Dropout2d) for m in net.down.modules()) == 6
    assert not any(isinstance(m, nn.Dropout2d) for m in net.up.modules())
    image = images(2, 1, 16, 16)
    assert not torch.equal(net(image)[0], net(image)[0])
    assert torch.equal(net.eval()(image)[0], net(image)[0])


@torch.no_grad()
def test_each_item_is_denoised_at_its_own_timestep() -> None:
    net, x = denoiser(), images(1, 2, 20, 14)
    times = torch.tensor([0, 1, 500, 998, 999])
    together = net(x.expand(5, -1, -1, -1), times)
    for out, t in zip(together, times, strict=True):
        torch.testing.assert_close(out, net(x, t[None])[0], atol=1e-5, rtol=1e-4)
    assert all((a - b).abs().max() > 1e-4 for a, b in pairwise(together))


@torch.no_grad()
def test_all_timesteps_have_embeddings_of_their_own() -> None:
    distances = torch.pdist(denoiser().embed(torch.arange(1000)))
    assert distances.min() > 0


@torch.no_grad()
def test_a_fresh_diffusion_unet_answers_nothing() -> None:
    assert not DiffusionUNet(2, 1, 4, 3, 1)(images(1, 2, 9, 9), torch.tensor([3])).any()


@torch.no_grad()
def test_what_is_added_joins_the_stem() -> None:
    net, x, t, added = denoiser(), images(1, 2, 9, 9), torch.tensor([3]), images(1, 4, 9, 9)
    plain = net(x, t)
    assert torch.equal(net(x, t, torch.zeros_like(added)), plain)
    joined = net(x, t, added)
    assert (joined - plain).abs().max() > 1e-3
    net.stem.register_forward_hook(lambda module, args, out: out + added)
    assert torch.equal(net(x, t), joined)


@torch.no_grad()
def test_gates_reach_the_adapters_of_their_level() -> None:
    class Second(nn.Conv2d):
        def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
            seen.append((x.shape[-2:], None if gate is None else gate.shape[-2:]))
            return super().forward(x)

    seen: list[tuple[torch.Size, torch.Size | None]] = []
    net = DiffusionUNet(1, 1, 4, 3, 2, lambda channels: Second(channels, channels, 1))
    sizes = [(21, 10), (11, 5), (6, 3)]
    gates = [torch.zeros(1, 1, *size) for size in sizes]
    net(images(1, 1, 21, 10), torch.tensor([3]), None, gates)
    assert seen == [(size, size) for size in sizes for _ in range(2)]


@pytest.mark.parametrize(("levels", "expected"), [(2, 1), (4, 1), (5, 1 + 2 + 3), (6, 1 + 2 + 3)])
def test_attention_is_at_downsampling_16_and_in_the_middle(levels: int, expected: int) -> None:
    net = DiffusionUNet(1, 1, 4, levels, 2).eval()
    seen: list[torch.Size] = []
    for module in net.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda module, args, out: seen.append(out.shape[-2:]))
    with torch.no_grad():
        net(images(1, 1, 64, 32), torch.tensor([3]))
    middle = (64 // 2 ** (levels - 1), 32 // 2 ** (levels - 1))
    assert len(seen) == expected
    assert sorted(seen) == sorted([middle] + [(4, 2)] * (expected - 1))


@torch.no_grad()
def test_attention_reaches_every_position() -> None:
    torch.manual_seed(1)
    net, x = awake(Attention(8, 2)), images(1, 8, 12, 11)
    torch.testing.assert_close(Attention(8, 2)(x), x)  # fresh, it is the identity
    moved = x.clone()
    moved[0, :, 0, 0] += 5
    assert ((net(moved) - net(x)).abs().amax(1) > 0).all()
    order = torch.randperm(132, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[..., order].view(x.shape)
    torch.testing.assert_close(
        net(shuffled), net(x).flatten(2)[..., order].view(x.shape), atol=1e-5, rtol=1e-4
    )
