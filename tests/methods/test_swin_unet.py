"""Swin-Unet is the published network, for rectangles and any size in turn."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.method import VOID, Task
from bench.spec.names import Spec
from verdiff_bench_methods.swin_unet import Network, SwinUNet, published_loss

pytestmark = pytest.mark.usefixtures("no_network")

NATIVE = [(369, 166), (250, 750), (534, 768)]


def build(spec: str = "swin_unet", scale: str = "tiny") -> tuple[SwinUNet, nn.Module]:
    method = cast(SwinUNet, registry.method(Spec.parse(spec), scale))
    torch.manual_seed(0)
    return method, method.build(Task("mr", ((64, 64),) * 3, 2, 10))


def fill(net: nn.Module) -> None:
    """Set the k-th value of the i-th parameter in proportion to a number made of i and k.

    Norms' weights are 1 more.
    """
    norms = {id(layer.weight) for layer in net.modules() if isinstance(layer, nn.LayerNorm)}
    with torch.no_grad():
        for i, weight in enumerate(net.parameters()):
            k = torch.arange(1013)  # the values repeat from there
            inputs = weight[0].numel() if weight.ndim > 1 else weight.numel()
            values = ((7 * k * k + 3 * i * k + i) % 1013 / 1013 - 0.5) * 4 / inputs**0.5
            values = values.repeat(weight.numel() // 1013 + 1)[: weight.numel()]
            weight.copy_(values.view_as(weight) + (id(weight) in norms))


def picture(height: int, width: int) -> Tensor:
    """Return an image (1, 1, H, W) in [0, 1] made of its coordinates."""
    row, column = torch.arange(height)[:, None], torch.arange(width)
    return ((3 * row * row + 5 * row * column + 7 * column) % 101 / 100)[None, None]


def two_cases(height: int = 64, width: int = 48) -> tuple[Tensor, Tensor]:
    """Return noisy images (2, 1, H, W) of bright boxes, and the boxes."""
    mask = torch.zeros(2, 1, height, width)
    mask[0, :, 10:30, 8:24] = 1
    mask[1, :, 30:60, 20:40] = 1
    return (
        0.6 * mask + 0.3 * torch.rand(mask.shape, generator=torch.Generator().manual_seed(1))
    ), mask


# Computed with the published code at its commit f48f623e226e: weights by `fill`, the image repeated
# to three channels. The rectangle's network has 1, 2, 4 and 8 heads, and its last expansion was
# told both sides, as it knows only squares.
GOLDEN = [
    (
        (96, 7, 4),
        (224, 224),
        27_168_132,
        0.373073,
        1.140562,
        {
            (0, 0): 1.57301,
            (112, 74): -0.6295,
            (223, 223): 1.46792,
            (3, 219): 1.17633,
            (204, 17): 1.98422,
        },
    ),
    (
        (12, 4, 4),
        (128, 256),
        433_880,
        1.739695,
        1.175130,
        {
            (0, 0): 2.13003,
            (64, 85): 3.47145,
            (127, 255): 2.82113,
            (3, 251): 3.15192,
            (108, 17): 2.98995,
        },
    ),
]


@pytest.mark.parametrize(("sizes", "shape", "count", "mean", "deviation", "pixels"), GOLDEN)
def test_with_the_published_weights_the_output_is_the_published_one(
    sizes: tuple[int, int, int],
    shape: tuple[int, int],
    count: int,
    mean: float,
    deviation: float,
    pixels: dict[tuple[int, int], float],
) -> None:
    net = Network(*sizes).eval()
    fill(net)
    assert sum(p.numel() for p in net.parameters()) == count
    with torch.no_grad():
        output = net(picture(*shape))
    assert output.shape == (1, 1, *shape)
    assert output.mean().item() == pytest.approx(mean, abs=1e-4)
    assert output.std().item() == pytest.approx(deviation, abs=1e-4)
    for (row, column), value in pixels.items():
        assert output[0, 0, row, column].item() == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(
    ("spec", "size", "expected"),
    [
        ("swin_unet", (369, 166), (448, 224)),
        ("swin_unet", (250, 750), (448, 896)),
        ("swin_unet", (534, 768), (672, 896)),
        ("swin_unet:window=8", (256, 256), (256, 256)),
        ("swin_unet:window=12", (384, 385), (384, 768)),
        ("swin_unet:patch=2", (113, 112), (224, 112)),
        ("swin_unet:window=4:patch=2", (192, 65), (192, 128)),
    ],
)
def test_images_are_padded_to_whole_windows_at_every_level(
    spec: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    method = registry.method(Spec.parse(spec))
    image = picture(*size)
    output = method.logits(Spy(), image)
    assert seen[0].shape[-2:] == expected
    torch.testing.assert_close(
        output, (image - image.mean()) / image.std()
    )  # padding does not change the z-scores
    assert torch.equal(
        seen[0][0, 0, size[0] - 1 :, 0],
        seen[0][0, 0, size[0] - 1 :, 0][:1].expand(expected[0] - size[0] + 1),
    )


def test_one_network_takes_any_size_and_its_answers_do_not_depend_on_the_sizes_before() -> None:
    method, net = build()
    net.eval()
    with torch.no_grad():
        first = {size: method.logits(net, picture(*size)) for size in [(64, 64), *NATIVE, (1, 3)]}
        assert all(output.shape[-2:] == size for size, output in first.items())
        for size in reversed(first):
            fresh = build()[1].eval()
            assert torch.equal(method.logits(net, picture(*size)), first[size])
            assert torch.equal(method.logits(fresh, picture(*size)), first[size])


def test_an_image_has_the_same_answer_in_a_batch_of_four_as_alone() -> None:
    method, net = build()
    images = torch.rand(4, 1, 50, 70, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = method.logits(net.eval(), images)
        alone = torch.cat([method.logits(net, image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_windows_are_shifted_in_every_second_block_but_where_one_spans_a_side() -> None:
    _, net = build("swin_unet:window=4")
    shifts: list[tuple[int, int]] = []
    for level in net.down:
        for block in level.blocks:
            block.register_forward_pre_hook(lambda block, _: shifts.append(block.shift_size))
    with torch.no_grad():
        net.eval()(torch.rand(1, 1, 64, 128))
        assert shifts == [(0, 0), (2, 2)] * 3 + [(0, 0), (0, 0)]
        net(torch.rand(1, 1, 128, 128))
    assert shifts[8:] == [(0, 0), (2, 2)] * 4


def test_gradients_reach_every_parameter() -> None:
    method, net = build()
    method.loss(
        net.eval(), *two_cases(), torch.Generator()
    ).backward()  # eval: no branch is skipped by chance
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_the_probability_of_skipping_grows_along_the_encoder_and_is_mirrored() -> None:
    net = registry.method(Spec("swin_unet")).build(Task("mr", ((224, 224),), 1, 1))
    rates = [
        [
            getattr(block.drop_path2, "drop_prob", 0.0)
            for level in path
            for block in getattr(level, "blocks", ())
        ]
        for path in (net.down, net.up)
    ]
    steps = [0.2 * i / 7 for i in range(8)]
    assert rates[0] == pytest.approx(steps)
    assert rates[1] == pytest.approx([*steps[4:6], *steps[2:4], *steps[:2]])


def test_the_loss_is_the_published_one() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([0.0, 2.0]).repeat(len(x), 1, 64, 32)

    method, _ = build()
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 1::2] = 1
    p, pixels = 1 / (1 + torch.tensor(-2.0).exp().item()), mask.numel() / 2  # pixels of each class
    entropy = -(torch.tensor(0.5).log() + torch.tensor(p).log()).item() / 2
    foreground = 1 - (2 * p * pixels + 1e-5) / ((0.25 + p**2 + 1) * pixels + 1e-5)
    background = 1 - (2 * 0.5 * pixels + 1e-5) / ((0.25 + (1 - p) ** 2 + 1) * pixels + 1e-5)
    loss = method.loss(Fixed(), torch.rand(2, 1, 64, 64), mask, torch.Generator())
    assert loss.item() == pytest.approx(
        0.4 * entropy + 0.6 * (foreground + background) / 2, abs=1e-5
    )


def test_ten_steps_learn_two_cases() -> None:
    method, net = build()
    task = Task("mr", ((64, 48),) * 2, 2, 30)
    optimiser = method.make_optimiser(net, task) or torch.optim.Adam(net.parameters(), 1e-2)
    images, masks = two_cases()
    losses = []
    for _ in range(10):
        loss = method.loss(net.train(), images, masks, torch.Generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("spec", ["width=0", "width=100", "window=1", "patch=3"])
def test_sizes_that_cannot_be_built_are_refused(spec: str) -> None:
    with pytest.raises(UsageError, match=spec.split("=")[0]) as error:
        registry.method(Spec.parse(f"swin_unet:{spec}"))
    assert "\n" not in str(error.value)


def test_a_width_that_cannot_be_built_is_refused_with_the_nearest_that_can() -> None:
    for width, heads, near in ((65, 2, 64), (100, 3, 99), (143, 4, 140)):
        with pytest.raises(UsageError, match=f"multiple of {heads}, such as width={near}$"):
            registry.method(Spec.parse(f"swin_unet:width={width}"))
        registry.method(Spec.parse(f"swin_unet:width={near}"))


def test_the_rate_falls_as_published_and_goes_on_after_a_restart() -> None:
    method, net = build()
    task = Task("mr", ((64, 64),), 2, 4)

    def steps(optimiser: torch.optim.Optimizer, count: int) -> list[float]:
        rates = []
        for _ in range(count):
            optimiser.step()
            rates.append(optimiser.param_groups[0]["lr"])
        return rates

    whole = steps(method.make_optimiser(net, task), 5)
    assert whole == pytest.approx([0.05 * (1 - n / 4) ** 0.9 for n in range(5)])
    before, after = method.make_optimiser(net, task), method.make_optimiser(net, task)
    first = steps(before, 2)
    after.load_state_dict(before.state_dict())
    assert first + steps(after, 3) == whole


def test_says_what_differs_at_other_sizes_than_the_published_ones() -> None:
    assert not any("width" in line for line in registry.method(Spec("swin_unet")).deviations(24))
    assert any(
        "width=48" in line
        for line in registry.method(Spec.parse("swin_unet:width=48")).deviations(24)
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("swin_unet", "the source's SGD at its learning rate,"),
        ("swin_unet:lr=0.01", "the source's SGD at a learning rate of 0.01 (source: 0.05),"),
    ],
)
def test_another_rate_than_the_published_one_is_told(spec: str, told: str) -> None:
    lines = registry.method(Spec.parse(spec)).deviations(24)
    assert any(line.startswith(told) for line in lines)


def test_one_class_with_softmax_has_the_loss_of_one_foreground() -> None:
    rng = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 1, 16, 24, generator=rng)
    mask = torch.randint(0, 2, (2, 1, 16, 24), generator=rng).float()

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.pad(logits, (0, x.shape[-1] - 24, 0, x.shape[-2] - 16))

    method = registry.method(Spec("swin_unet"), "tiny")
    alone = method.loss(Fixed(), torch.rand(2, 1, 16, 24, generator=rng), mask, rng)
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(published_loss(two, mask.long()), alone)
    void = mask.clone()
    void[..., :5, :] = VOID
    other = two.clone()
    other[..., :5, :] = 9
    torch.testing.assert_close(published_loss(two, void.long()), published_loss(other, void.long()))
