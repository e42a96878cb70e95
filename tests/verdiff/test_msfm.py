"""The MSFM is a selective-kernel unit with branches of 3, 5 and 7."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from verdiff.msfm import MSFM


def module(channels: int = 6, inputs: int = 1) -> MSFM:
    torch.manual_seed(3)
    made = MSFM(inputs, channels)
    for branch in made.branches:  # as after some training: the norms of the branches differ
        torch.nn.init.uniform_(branch[1].weight, 0.5, 1.5)
        torch.nn.init.normal_(branch[1].bias)
        branch[1].running_mean.normal_(std=0.1)
        branch[1].running_var.uniform_(0.1, 2)
    return made.eval()


def images(*size: int) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(8))


def branches(net: MSFM, image: Tensor) -> list[Tensor]:
    return [branch(F.relu(net.stem(image))) for branch in net.branches]


@torch.no_grad()
def test_the_shares_of_the_branches_sum_to_1_in_every_channel() -> None:
    net = module()
    shares = net.weights(torch.stack(branches(net, images(4, 1, 17, 12)), dim=1))
    assert shares.shape == (4, 3, 6)
    assert (shares > 0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(4, 6))


@torch.no_grad()
def test_the_image_decides_the_shares_channel_by_channel() -> None:
    net = module()
    flat, busy = torch.full((1, 1, 16, 16), 0.2), images(1, 1, 16, 16)
    first, second = (
        net.weights(torch.stack(branches(net, image), dim=1))[0] for image in (flat, busy)
    )
    assert (first - second).abs().max() > 1e-3
    assert (first - 1 / 3).abs().max() > 1e-2
    assert first.std(dim=1).min() > 1e-3  # no branch has one share for all channels


@torch.no_grad()
def test_the_output_is_the_branches_sum_by_their_shares() -> None:
    net, image = module(inputs=4), images(3, 4, 13, 18)
    three = branches(net, image)
    pooled = (three[0] + three[1] + three[2]).mean(dim=(-2, -1))
    z = F.elu(net.squeeze[1](net.squeeze[0](pooled)))
    scores = [net.attend[i](z).exp() for i in range(3)]
    expected = sum(
        score[:, :, None, None] * branch for score, branch in zip(scores, three, strict=True)
    )
    torch.testing.assert_close(net(image), expected / sum(scores)[:, :, None, None])


def test_the_branches_see_3_5_and_7_pixels() -> None:
    net = module()
    for branch, size in zip(net.branches, (3, 5, 7), strict=True):
        lifted = torch.zeros(1, 6, 15, 15, requires_grad=True)
        branch[1](branch[0](lifted))[0, 0, 7, 7].backward()
        seen = (lifted.grad[0] != 0).any(dim=0)
        expected = torch.zeros(15, 15, dtype=torch.bool)
        expected[7 - size // 2 : 8 + size // 2, 7 - size // 2 : 8 + size // 2] = True
        assert torch.equal(seen, expected)


@pytest.mark.parametrize("channels", [4, 64, 640])
def test_the_compressed_feature_is_as_long_as_in_sknet(channels: int) -> None:
    assert MSFM(1, channels).squeeze[0].out_features == max(channels // 16, 32)
    assert MSFM(1, channels, squeezed=5).squeeze[0].out_features == 5


def test_it_trains_on_a_single_image() -> None:
    net, image = module().train(), images(1, 1, 19, 14)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    target = images(1, 6, 19, 14)
    losses = []
    for _ in range(15):
        loss = F.mse_loss(net(image), target)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(not torch.equal(before[name], p) for name, p in net.named_parameters())
