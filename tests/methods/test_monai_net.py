"""Networks of MONAI are MONAI's own, and take images of any size."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from bench.engine import trainee as trainees
from bench.engine.smallest import trains
from bench.spec import installing, registry
from bench.spec.errors import UsageError
from bench.spec.method import Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from tests.user import Bench
from verdiff_bench_methods.monai_net import NETS

pytestmark = pytest.mark.usefixtures("no_network")

nets = pytest.importorskip("monai.networks.nets", reason="the extra monai is not installed")
CPU = torch.device("cpu")
IDS = list(NETS)


def task(size: tuple[int, int]) -> Task:
    return Task("mr", (size,) * 3, 1, 10)


def build(spec: str, scale: str = "tiny", size: tuple[int, int] = (64, 48)) -> nn.Module:
    torch.manual_seed(0)
    return registry.method(Spec.parse(spec), scale).build(task(size))


def shapes(net: nn.Module) -> list[torch.Size]:
    return [value.shape for value in net.state_dict().values()]


UNUSED = r"final_conv_0_[123]|cross_attn"
"""Weights that MONAI's networks have and do not use: heads of U-Net++, a part of UNETR's blocks."""
GREY = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("AttentionUnet", {"channels": (64, 128, 256, 512, 1024), "strides": (2, 2, 2, 2)}),
        ("BasicUNet", {}),
        ("BasicUNetPlusPlus", {}),
        ("SegResNet", {}),
        ("SwinUNETR", {}),
        ("UNETR", {"img_size": (64, 48)}),
    ],
)
def test_the_full_size_is_the_default_of_monai(name: str, arguments: dict[str, object]) -> None:
    device = "cpu" if name == "SwinUNETR" else "meta"  # it reads values while it is built
    with torch.device(device):
        ours = build(f"monai:net={name}", "full")
        theirs = getattr(nets, name)(**GREY, **arguments)
    assert shapes(ours) == shapes(theirs)


def test_mednext_is_the_smallest_network_of_its_paper() -> None:
    with torch.device("meta"):
        ours, theirs = build("monai:net=MedNeXt", "full"), nets.MedNeXtS(**GREY)
    assert shapes(ours) == shapes(theirs)
    assert [m.kernel_size for m in ours.modules() if isinstance(m, nn.Conv2d)] == [
        m.kernel_size for m in theirs.modules() if isinstance(m, nn.Conv2d)
    ]
    blocks = [m.do_res for m in ours.modules() if hasattr(m, "do_res")]
    assert True in blocks
    assert blocks == [m.do_res for m in theirs.modules() if hasattr(m, "do_res")]


@pytest.mark.parametrize("name", IDS)
def test_every_network_trains_all_its_weights_and_answers_at_another_size(name: str) -> None:
    method = registry.method(Spec.parse(f"monai:net={name}"), "tiny")
    net = build(f"monai:net={name}", size=(50, 37)).train()
    image = torch.rand(1, 1, 50, 37)
    loss = method.loss(net, image, (image > 0.5).float(), torch.Generator())
    loss.backward()
    assert torch.isfinite(loss)
    without = [key for key, p in net.named_parameters() if p.grad is None]
    assert [key for key in without if not re.search(UNUSED, key)] == []
    other = torch.rand(1, 1, 41, 90)
    with torch.no_grad():
        assert method.predict(net.eval(), other, torch.Generator()).shape == other.shape


def answers(net: nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = net.eval()(image)
    return logits


def test_unetr_answers_as_that_of_monai_at_its_own_size() -> None:
    ours = build("monai:net=UNETR")
    image = torch.rand(2, 1, 64, 48)
    expected = answers(ours.net, image)
    torch.testing.assert_close(answers(ours, image), expected)
    answers(ours, torch.rand(1, 1, 32, 80))
    torch.testing.assert_close(answers(ours, image), expected)  # another size leaves no trace


def test_unetrs_positions_keep_their_order_at_another_size() -> None:
    ours = build("monai:net=UNETR")
    positions = ours.net.vit.patch_embedding.position_embeddings
    ramp = torch.arange(4.0)[:, None].expand(4, 3).reshape(1, 12, 1)  # 4 x 3 tokens
    with torch.no_grad():
        positions.copy_(ramp.expand_as(positions))
    resized = ours._embeddings((8, 5))[0, :, 0].reshape(8, 5)
    torch.testing.assert_close(resized, resized[:, :1].expand(8, 5), atol=1e-5, rtol=1e-5)
    assert bool((resized[:, 0].diff() > 0).all())


def test_a_size_that_is_too_small_is_told_before_training() -> None:
    method = registry.method(Spec("monai"), "tiny")
    plan = task((12, 12))
    subject = trainees.build(method, plan, load_profile("smoke"), 35, CPU, "float32")
    assert not trains(subject, (16, 12))
    assert trains(subject, (17, 12))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("monai:net=SwinUNTR", "monai:net: 'SwinUNTR' is not allowed; did you mean 'SwinUNETR'?"),
        ("monai:net=SwinUNETR:width=20", "width=20 is no multiple of 12, as SwinUNETR needs it;"),
        (
            "monai:net=SegResNet:width=20",
            "no multiple of 8, as SegResNet needs it; such as width=24",
        ),
        ("monai:width=-1", "-1 is out of range; expected at least 0"),
        ("monai:size=large", "Valid: full, small, tiny"),
    ],
)
def test_wrong_options_are_refused(spec: str, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        registry.method(Spec.parse(spec))
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_width_takes_the_place_of_the_size_and_is_told() -> None:
    full, wide = (
        registry.method(Spec.parse(spec)).deviations(1)
        for spec in ("monai:net=SwinUNETR", "monai:net=SwinUNETR:width=48")
    )
    assert any("24, MONAI's default (2022: 48)" in line for line in full)
    assert any("48 channels at the first level (MONAI: 24)" in line for line in wide)
    wider = build("monai:net=BasicUNet:width=6", "tiny")
    assert shapes(wider) == shapes(nets.BasicUNet(**GREY, features=(6, 6, 12, 24, 48, 6)))


def test_without_monai_it_is_listed_and_refused_with_what_installs_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    assert "monai" in bench("methods")
    out = bench("run", "--methods", "monai", "--datasets", "mr", code=2)
    assert f"monai needs monai, which is not installed: {installing.command('monai')}" in out
    assert not (bench.home / "results").exists()


def test_a_norm_that_has_one_value_of_a_single_image_is_found() -> None:
    """A batch of two has two values; validation takes one image."""
    method = registry.method(Spec.parse("monai:net=MedNeXt"), "tiny")
    plan = Task("mr", ((16, 16),), 2, 4)
    subject = trainees.build(method, plan, load_profile("smoke"), 35, CPU, "float32")
    assert not trains(subject, (16, 16))
    assert trains(subject, (32, 32))


@pytest.mark.parametrize("name", IDS)
def test_the_least_width_trains_and_none_below_is_taken(name: str) -> None:
    least = max(NETS[name].least, NETS[name].step)
    assert build(f"monai:net={name}:width={least}")(torch.rand(2, 1, 64, 64)).shape[1] == 1
    for width in range(1, least):
        with pytest.raises(UsageError, match=rf"monai: width={width} .* width={least}$"):
            registry.method(Spec.parse(f"monai:net={name}:width={width}"))
