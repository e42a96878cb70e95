"""A pretrained encoder from a file: checked before it is used, known by its content, and told."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.method import Task
from bench.spec.names import Spec
from verdiff_bench_methods.smp import SMP, PretrainedSMP

pytestmark = pytest.mark.usefixtures("no_network")

ENCODER = "smp:encoder=mobilenet_v2:weights="


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def state_of(encoder: str) -> dict[str, Tensor]:
    """Return the weights of an encoder for images of three colours."""
    torch.manual_seed(7)
    state: dict[str, Tensor] = smp.Unet(encoder, encoder_weights=None).encoder.state_dict()
    return state


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "mobilenet_v2.pt"
    torch.save(state_of("mobilenet_v2"), path)
    return path


def build(spec: str) -> nn.Module:
    torch.manual_seed(0)
    return registry.method(Spec.parse(spec)).build(Task("mr", ((64, 64),) * 3, 8, 10))


def test_the_encoder_is_adapted_as_the_library_does(saved: Path) -> None:
    theirs = smp.Unet("mobilenet_v2", encoder_weights=None).encoder
    theirs.load_state_dict(state_of("mobilenet_v2"))
    theirs.set_in_channels(1, pretrained=True)
    ours = build(f"{ENCODER}{saved}").encoder.state_dict()
    expected = theirs.state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_a_grey_image_has_the_features_of_its_three_equal_colours(saved: Path) -> None:
    theirs = smp.Unet("mobilenet_v2", encoder_weights=None).encoder.eval()
    theirs.load_state_dict(state_of("mobilenet_v2"))
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = theirs(image.expand(-1, 3, -1, -1))[-1]
        ours = build(f"{ENCODER}{saved}").eval().encoder(image)[-1]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_an_encoder_of_timm_is_adapted_too(tmp_path: Path) -> None:
    encoder, path = "tu-resnet10t", tmp_path / "encoder.safetensors"
    save_file(state_of(encoder), path)
    net = build(f"smp:arch=FPN:encoder={encoder}:weights={path}")
    own, given = net.encoder.state_dict(), state_of(encoder)
    changed = [name for name in given if not torch.equal(own[name], given[name])]
    assert len(changed) == 1
    assert torch.equal(own[changed[0]], given[changed[0]].sum(1, keepdim=True))


def test_the_name_holds_the_content_and_not_the_path(saved: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy.pth"
    copied.write_bytes(saved.read_bytes())
    keys = [
        registry.expand(registry.METHODS, f"{ENCODER}{path}")[0].key for path in (saved, copied)
    ]
    assert keys[0] == keys[1]
    assert "copy" not in keys[0]
    other = tmp_path / "other.pt"
    torch.save({name: value + 1 for name, value in state_of("mobilenet_v2").items()}, other)
    assert registry.expand(registry.METHODS, f"{ENCODER}{other}")[0].key != keys[0]
    assert registry.method(Spec.parse(keys[0])).title == "SMP, pretrained encoder"


def test_the_pretraining_is_told(saved: Path) -> None:
    method = registry.method(Spec.parse(f"{ENCODER}{saved}"))
    assert method.advantages().pretraining.startswith("encoder from a file (SHA-256 ")
    lines = method.deviations(8)
    assert not any("from scratch" in line for line in lines)
    assert any("summed over the three colours" in line for line in lines)
    assert registry.method(Spec("smp")).advantages().pretraining == "none"
    assert registry.method(Spec("smp")).title == "SMP"


def refused(spec: str) -> str:
    with pytest.raises(UsageError) as caught:
        registry.method(Spec.parse(spec))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_weights_of_another_encoder_are_refused_with_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pt"
    torch.save(state_of("resnet18"), path)
    message = refused(f"smp:encoder=resnet34:weights={path}")
    assert "resnet18.pt has not the weights of the encoder resnet34 in Unet: it lacks" in message
    assert "layer1.2.conv1.weight" in message
    assert "more" in message
    assert "it lacks" in refused(f"{ENCODER}{path}")


def test_a_tensor_of_another_shape_and_one_too_many_are_named(tmp_path: Path) -> None:
    state, path = state_of("mobilenet_v2"), tmp_path / "state.pt"
    torch.save({**state, "fc.weight": torch.zeros(2)}, path)
    assert "it has fc.weight, which the encoder has not" in refused(f"{ENCODER}{path}")
    torch.save({**state, "features.0.0.weight": torch.zeros(32, 1, 3, 3)}, path)
    assert "features.0.0.weight is 32 x 1 x 3 x 3, not 32 x 3 x 3 x 3" in refused(
        f"{ENCODER}{path}"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"state_dict": {"conv1.weight": torch.zeros(1)}}, "keys such as 'state_dict'"),
        ([torch.zeros(1)], "no state dict of tensors but list"),
        ({}, "no state dict of tensors but dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(content: Any, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save(content, path)
    assert expected in refused(f"{ENCODER}{path}")


@pytest.mark.parametrize("name", ["cut.pt", "cut.safetensors"])
def test_a_file_that_was_cut_off_is_refused(name: str, saved: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(saved.read_bytes()[:-1000])
    assert "cannot be read as safetensors or as tensors" in refused(f"{ENCODER}{path}")


def damaged(intact: bytes, random: Random) -> bytes:
    """Return bytes that are no file of weights, or hardly one."""
    altered = bytearray(intact)
    for _ in range(3):
        altered[random.randrange(len(altered))] = random.randrange(256)
    kinds = (
        b"",
        b"hello",
        b"version https://git-lfs.github.com/spec/v1\nsize 12",
        b"\x80\x02}q",
        random.randbytes(random.randrange(60)),
        b"\x80\x02" + bytes(random.choices(b"}]()qacKXGt.RNIjhubse\x85", k=20)),
        intact[: random.randrange(len(intact))],
        bytes(altered),
        pickle.dumps({"conv1.weight": [1.0, 2.0]}, protocol=2),
        pickle.dumps(Path("conv1.weight")),
    )
    return random.choice(kinds)


@pytest.mark.parametrize("method", [ENCODER, "sam:weights="])
def test_no_damaged_file_ends_in_anything_but_one_line(method: str, tmp_path: Path) -> None:
    random, path = Random(0), tmp_path / "state.pt"
    intact = []
    for zipped in (True, False):
        torch.save({"conv1.weight": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
        intact.append(path.read_bytes())
    save_file({"conv1.weight": torch.ones(3)}, path)
    intact.append(path.read_bytes())
    for number in range(120):
        suffix = "safetensors" if number % 3 == 2 else "pt"
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(damaged(intact[number % 3], random))
        message = refused(f"{method}{path}")
        assert str(path) in message
        assert "expected" in message or "save the encoder's state_dict()" in message


def changed(state: dict[str, Tensor], name: str, value: float) -> dict[str, Tensor]:
    """Return a state dict with one number of one tensor changed."""
    tensor = state[name].clone()
    tensor.view(-1)[0] = value
    return {**state, name: tensor}


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused_by_the_name_of_its_tensor(
    value: float, tmp_path: Path
) -> None:
    name, path = "features.3.conv.0.1.weight", tmp_path / "state.pt"
    torch.save(changed(state_of("mobilenet_v2"), name, value), path)
    message = refused(f"{ENCODER}{path}")
    assert f"{name} has numbers that are not finite (1 of 144)" in message
    assert "state.pt cannot be trained from" in message


def test_a_number_that_float32_cannot_hold_is_not_finite(tmp_path: Path) -> None:
    state, path = state_of("mobilenet_v2"), tmp_path / "state.pt"
    name = "features.0.0.weight"
    torch.save(changed({**state, name: state[name].double()}, name, 1e300), path)
    assert f"{name} has numbers that are not finite (1 of 864)" in refused(f"{ENCODER}{path}")


def test_weights_that_are_all_0_are_refused(tmp_path: Path) -> None:
    state, path = state_of("mobilenet_v2"), tmp_path / "state.pt"
    torch.save({name: torch.zeros_like(value) for name, value in state.items()}, path)
    assert "all weights are 0, which no training leaves" in refused(f"{ENCODER}{path}")


def test_tensors_without_plain_floats_are_refused_by_name(tmp_path: Path) -> None:
    state, path = state_of("mobilenet_v2"), tmp_path / "state.pt"
    name = "features.0.0.weight"
    own = state[name]
    torch.save({**state, name: own.to("meta")}, path)
    assert f"{name} has no plain numbers" in refused(f"{ENCODER}{path}")
    torch.save({**state, name: own.to_sparse()}, path)
    assert f"{name} has no plain numbers" in refused(f"{ENCODER}{path}")
    torch.save({**state, name: own.to(torch.int8)}, path)
    assert f"{name} has numbers of the type torch.int8" in refused(f"{ENCODER}{path}")
    torch.save({0: own}, path)
    assert "keys such as '0'" in refused(f"{ENCODER}{path}")


def test_a_conversion_of_numbers_is_told(saved: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.pt"
    state = state_of("mobilenet_v2")
    for name, value in state.items():
        state[name] = value.half() if value.is_floating_point() else value
    torch.save(state, half)
    told = "the file's float16 converted to float32"
    assert told in registry.method(Spec.parse(f"{ENCODER}{half}")).deviations(8)
    lines = registry.method(Spec.parse(f"{ENCODER}{saved}")).deviations(8)
    assert not any("converted" in line for line in lines)


def test_a_file_that_is_not_there_is_refused() -> None:
    message = refused("smp:weights=nowhere.pt")
    assert "smp:weights: 'nowhere.pt' is no file; expected the path of one" in message


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    target, path = tmp_path / "created", tmp_path / "state.pt"

    class Malicious:
        def __reduce__(self) -> Any:
            return Path.touch, (target,)

    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    assert "cannot be read: it holds more than tensors" in refused(f"{ENCODER}{path}")
    torch.save({"conv1.weight": Malicious()}, path)
    message = refused(f"{ENCODER}{path}")
    assert "cannot be read: it holds more than tensors" in message
    assert "weights_only" not in message  # PyTorch advises to switch the check off
    assert not target.exists()


def test_a_file_that_changes_after_planning_is_refused(saved: Path) -> None:
    method = registry.method(Spec.parse(f"{ENCODER}{saved}"))
    saved.write_bytes(b"something else")
    with pytest.raises(UsageError, match="has changed since"):
        method.build(Task("mr", ((64, 64),) * 3, 8, 10))


def test_a_class_refuses_the_weights_of_the_other(saved: Path) -> None:
    (spec,) = registry.expand(registry.METHODS, f"{ENCODER}{saved}")
    method = registry.method(spec)
    assert type(method) is PretrainedSMP
    assert type(replace(method, lr=0.1)) is PretrainedSMP
    with pytest.raises(ValueError, match="PretrainedSMP cannot have weights=''"):
        replace(method, weights="")
    with pytest.raises(ValueError, match="SMP cannot have weights="):
        SMP("Unet", "mobilenet_v2", "0" * 16)  # `__new__` does not see an option given by position
