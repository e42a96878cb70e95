"""Weights follow a seed and a module's name; any size folds and unfolds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from verdiff.blocks import BatchNorm, ZeroConv2d, fold, groups_of, initialise, unfold


def network(middle: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "first": nn.Conv2d(1, 4, 3),
            "middle": middle,
            "last": nn.Conv2d(4, 4, 3),
            "twin": nn.Conv2d(4, 4, 3),
            "zero": ZeroConv2d(4, 2, 1),
        }
    )


def weights(net: nn.Module, seed: int) -> dict[str, Tensor]:
    initialise(net, seed)
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_networks_that_differ_in_one_module_share_the_weights_of_the_others() -> None:
    torch.manual_seed(1)
    one = weights(network(nn.Conv2d(4, 4, 1)), 5)
    torch.manual_seed(2)
    other = weights(
        network(nn.Sequential(nn.Conv2d(4, 8, 5), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))), 5
    )
    shared = one.keys() & other.keys()
    assert {name.split(".")[0] for name in shared} == {"first", "last", "twin", "zero"}
    assert all(torch.equal(one[name], other[name]) for name in shared)


def test_another_seed_or_another_name_gives_other_weights() -> None:
    one, other = weights(network(nn.Identity()), 5), weights(network(nn.Identity()), 6)
    for name in ("first.weight", "first.bias", "last.weight"):
        assert not torch.equal(one[name], other[name])
    assert not torch.equal(one["last.weight"], one["twin.weight"])


def test_drawing_weights_again_gives_the_same_ones() -> None:
    net = network(nn.Identity())
    first = weights(net, 2**62 - 1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    again = weights(net, 2**62 - 1)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_zero_convolution_stays_zero() -> None:
    drawn = weights(network(nn.Identity()), 5)
    assert not drawn["zero.weight"].any()
    assert not drawn["zero.bias"].any()
    assert drawn["last.weight"].std() > 0.05


def test_the_global_generator_is_left_alone() -> None:
    net = network(nn.Identity())
    torch.manual_seed(7)
    before = torch.get_rng_state()
    initialise(net, 5)
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 33), st.integers(1, 33)),
    patch=st.integers(1, 8),
)
def test_any_size_folds_into_channels_and_back(size: tuple[int, int, int, int], patch: int) -> None:
    items, channels, height, width = size
    x = torch.rand(size, generator=torch.Generator().manual_seed(height))
    folded = fold(x, patch)
    high, wide = -(-height // patch), -(-width // patch)
    assert folded.shape == (items, channels * patch**2, high, wide)
    assert torch.equal(unfold(folded, patch, x.shape[-2:]), x)
    rows, columns = (
        np.minimum(np.arange(patch * n), end - 1) for n, end in ((high, height), (wide, width))
    )
    repeated = x.numpy()[..., rows[:, None], columns]  # the edge, up to a multiple of the patch
    channel = 0
    for c in range(channels):
        for i in range(patch):
            for j in range(patch):
                assert np.array_equal(
                    folded[:, channel].numpy(), repeated[:, c, i::patch, j::patch]
                )
                channel += 1


def test_group_norm_divides_multiples_of_4_up_to_128_and_of_32_above() -> None:
    allowed = [*range(4, 129, 4), *range(160, 600, 32)]
    for width in range(-4, 600):
        if width in allowed:
            groups = groups_of(width)
            nn.GroupNorm(groups, width)
            assert groups == (width // 4 if width <= 128 else 32)
        else:
            with pytest.raises(
                ValueError, match=rf"width of {width} .*multiple of 4 up to 128, of 32 above"
            ):
                groups_of(width)


def test_batch_norm_trains_where_a_channel_has_one_value() -> None:
    norm, plain = BatchNorm(3), nn.BatchNorm2d(3)
    one, many = torch.randn(1, 3, 1, 1, requires_grad=True), torch.randn(2, 3, 4, 5)
    norm(one).sum().backward()
    assert torch.isfinite(one.grad).all()
    torch.testing.assert_close(norm(many), plain(many))
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
