"""The convolutional baselines are true to their sources: sizes, structure, declarations."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet50, fcn_resnet50

from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.method import Task
from bench.spec.names import Spec
from verdiff_bench_methods.pooled_norm import SMALL, mend_pooled_norms

pytestmark = pytest.mark.usefixtures("no_network")


def build(spec: str, batch: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return registry.method(Spec.parse(spec)).build(Task("mr", ((64, 64),) * 3, batch, 10))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("unet", 31_036_481),
        ("unet:width=32", 7_762_465),
        ("fcn", 32_940_481),
        ("deeplabv3", 39_627_457),
        ("smp:arch=Unet:encoder=resnet34", 24_430_097),
    ],
)
def test_full_sizes(spec: str, expected: int) -> None:
    assert parameters(build(spec)) == expected


def test_unet_has_the_topology_of_2015() -> None:
    net = build("unet")
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [
        64,
        64,
        128,
        128,
        256,
        256,
        512,
        512,
        1024,
        1024,  # contracting
        512,
        512,
        256,
        256,
        128,
        128,
        64,
        64,
        1,  # expanding, and the head
    ]
    assert [c.in_channels for c in convolutions][10:18:2] == [
        1024,
        512,
        256,
        128,
    ]  # skips are concatenated
    assert {c.kernel_size for c in convolutions[:-1]} == {(3, 3)}
    up = [m for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(u.in_channels, u.out_channels, u.stride) for u in up] == [
        (1024, 512, (2, 2)),
        (512, 256, (2, 2)),
        (256, 128, (2, 2)),
        (128, 64, (2, 2)),
    ]


@pytest.mark.parametrize(
    ("name", "original"), [("fcn", fcn_resnet50), ("deeplabv3:rate=12", deeplabv3_resnet50)]
)
def test_the_answer_is_that_of_torchvision_with_its_weights(name: str, original: type) -> None:
    theirs = original(weights=None, weights_backbone=None, num_classes=1)
    ours = build(name)
    state = theirs.state_dict()
    state["backbone.conv1.weight"] = state["backbone.conv1.weight"].sum(dim=1, keepdim=True)
    ours.net.load_state_dict(state)
    image = torch.rand(2, 1, 72, 56)
    with torch.no_grad():
        expected = theirs.eval()(image.repeat(1, 3, 1, 1))["out"]
        torch.testing.assert_close(ours.eval()(image), expected, atol=1e-4, rtol=1e-4)


def rates(spec: str, size: tuple[int, int]) -> list[int]:
    """Return the atrous rates of DeepLabv3's head for images of a size."""
    net = registry.method(Spec.parse(spec)).build(Task("mr", (size,), 8, 10))
    spread = [m for m in net.net.classifier.modules() if isinstance(m, nn.Conv2d)]
    return [m.dilation[0] for m in spread if m.dilation != (1, 1)]


@pytest.mark.parametrize(
    ("spec", "size", "expected"),
    [
        ("deeplabv3", (513, 513), [12, 24, 36]),
        ("deeplabv3", (900, 900), [12, 24, 36]),
        ("deeplabv3", (256, 256), [6, 12, 18]),
        ("deeplabv3:stride=4", (112, 112), [5, 10, 15]),
        ("deeplabv3:stride=4", (176, 72), [5, 10, 15]),
        ("deeplabv3", (16, 16), [2, 3]),
        ("deeplabv3:rate=4", (513, 513), [4, 8, 12]),
    ],
)
def test_deeplabs_rates_follow_the_map(
    spec: str, size: tuple[int, int], expected: list[int]
) -> None:
    assert rates(spec, size) == expected


@pytest.mark.parametrize("name", ["fcn", "deeplabv3"])
def test_two_blocks_a_stage_make_a_resnet_26_and_are_declared(name: str) -> None:
    resnet26 = timm.create_model("resnet26", num_classes=0, in_chans=1)
    assert parameters(build(f"{name}:blocks=2").net.backbone) == parameters(resnet26)
    assert any(
        "2 blocks a stage" in note
        for note in registry.method(Spec.parse(f"{name}:blocks=2")).deviations(8)
    )
    assert not any("blocks" in note for note in registry.method(Spec.parse(name)).deviations(8))


@pytest.mark.parametrize("name", ["fcn", "deeplabv3"])
def test_width_and_stride_scale_the_network(name: str) -> None:
    assert parameters(build(f"{name}:width=32")) < parameters(build(name)) / 3.5
    assert parameters(build(f"{name}:width=16:stride=4")) == parameters(build(f"{name}:width=16"))
    for stride, size in ((8, 8), (4, 16)):
        net = build(f"{name}:width=8:stride={stride}").eval()
        assert net.net.backbone(torch.rand(1, 1, 64, 64))["out"].shape[-2:] == (size, size)


@pytest.mark.parametrize("name", ["deeplabv3", "smp:arch=DeepLabV3Plus:encoder=resnet18"])
def test_small_batches_get_group_norm_after_pooling_and_say_so(name: str) -> None:
    pooled = [build(name, batch) for batch in (1, SMALL)]
    counts = [sum(isinstance(m, nn.GroupNorm) for m in net.modules()) for net in pooled]
    assert counts == [1, 0]
    method = registry.method(Spec.parse(name))
    assert any("group norm" in line for line in method.deviations(1))
    assert not any("group norm" in line for line in method.deviations(SMALL))


@pytest.mark.parametrize(
    ("arch", "told"),
    [("Unet", False), ("FPN", False), ("PAN", True), ("DeepLabV3Plus", True)],
)
def test_smp_tells_of_group_norm_where_it_takes_the_place_of_batch_norm(
    arch: str, told: bool
) -> None:
    method = registry.method(Spec.parse(f"smp:arch={arch}:encoder=resnet18"))
    state = torch.get_rng_state()
    assert any("group norm" in line for line in method.deviations(1)) == told
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "name", ["deeplabv3", "deeplabv3:width=8", "smp:arch=PAN:encoder=resnet18"]
)
def test_a_group_has_enough_channels_to_keep_what_they_say(name: str) -> None:
    norms = [m for m in build(name, 1).modules() if isinstance(m, nn.GroupNorm)]
    assert {norm.num_channels // norm.num_groups for norm in norms} == {16}


def test_only_norms_after_global_pooling_are_mended() -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4)),
        nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        ),
        nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.BatchNorm2d(4)),
    )
    assert mend_pooled_norms(net, SMALL) == 0
    assert mend_pooled_norms(net, 1) == 1
    assert isinstance(net[1][1][1], nn.GroupNorm)


ARCHITECTURES = [
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "PAN",
    "DeepLabV3",
    "DeepLabV3Plus",
    "UPerNet",
    "Segformer",
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_of_smp_trains_at_batch_1_on_the_papers_smallest_images(
    architecture: str,
) -> None:
    method = registry.method(Spec.parse(f"smp:arch={architecture}:encoder=resnet18"))
    net = method.build(Task("ct-verse", ((369, 166),) * 3, 1, 10)).train()
    loss = method.loss(
        net, torch.rand(1, 1, 369, 166), torch.zeros(1, 1, 369, 166), torch.Generator()
    )
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("smp:arch=UnetPlusPlus:encoder=mit_b0", ["encoder=resnet34", "arch=Unet"]),
        ("smp:arch=DeepLabV3:encoder=vgg11", ["encoder=resnet34", "arch=Unet"]),
        ("smp:arch=DPT:encoder=resnet18", ["encoder=tu-resnet18", "arch=Unet"]),
        ("smp:encoder=tu-vit_tiny_patch16_224", ["encoder=resnet34"]),
    ],
)
def test_smp_refuses_an_encoder_that_an_architecture_cannot_have(
    spec: str, options: list[str]
) -> None:
    given = Spec.parse(spec)
    with pytest.raises(UsageError, match="cannot be built with the encoder") as refused:
        registry.method(given)
    line = str(refused.value)
    assert "\n" not in line
    assert line.endswith(f"; such as {' or '.join(options)}")
    for option in options:
        key, _, _ = option.partition("=")
        others = [pair for pair in given.options if not pair.startswith(key)]
        registry.method(Spec("smp", (*others, option)))


def test_smp_takes_encoders_of_timm() -> None:
    net = build("smp:arch=Unet:encoder=tu-resnet18")
    assert net(torch.rand(1, 1, 64, 64)).shape == (1, 1, 64, 64)
