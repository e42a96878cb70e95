"""SAM is the library's, sees images as it shows them, and is told nothing but as an oracle."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.spec import registry
from bench.spec.capabilities import ToldBox
from bench.spec.errors import UsageError
from bench.spec.method import Task, bce_dice
from bench.spec.names import Spec
from verdiff_bench_methods import sam
from verdiff_bench_methods.sam import (
    FULL_IMAGE,
    OFFICIAL,
    SAM,
    SIZES,
    Checkpoint,
    Network,
    Size,
    ToldSAM,
    box_of,
    jittered,
)

pytestmark = pytest.mark.usefixtures("no_network")

RNG = torch.Generator()
SHAPES = [(369, 166), (250, 750), (534, 768)]


def task(batch: int = 2, steps: int = 10) -> Task:
    return Task("mr", ((64, 64),) * 3, batch, steps)


def build(spec: str = "sam", scale: str = "tiny") -> nn.Module:
    torch.manual_seed(0)
    return registry.method(Spec.parse(spec), scale).build(task())


def disc(height: int = 60, width: int = 40, left: int = 6) -> tuple[Tensor, Tensor]:
    """Return an image of two like squares (1, 1, H, W), and a mask of the one at `left`."""
    image, mask = torch.full((1, 1, height, width), 0.2), torch.zeros(1, 1, height, width)
    for start in (6, 24):
        image[..., 20:36, start : start + 10] = 0.8
    mask[..., 20:36, left : left + 10] = 1
    return image, mask


@pytest.mark.parametrize(
    ("spec", "expected"), [("sam", 90_737_200), ("sam:image=1024", 93_735_472)]
)
def test_full_sizes(spec: str, expected: int) -> None:
    method = registry.method(Spec.parse(spec))
    with torch.device("meta"):
        net = method.build(task())
    assert sum(p.numel() for p in net.parameters()) == expected


@pytest.mark.parametrize("size", OFFICIAL)
def test_at_1024_a_checkpoint_of_the_library_fits(size: str) -> None:
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        theirs, ours = sam_model_registry[f"vit_{size}"](), Network(SIZES[size], FULL_IMAGE)
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (theirs, ours.sam)]
    assert shapes[0] == shapes[1]
    for one, other in zip(theirs.image_encoder.blocks, ours.sam.image_encoder.blocks, strict=True):
        assert (one.window_size, one.attn.num_heads) == (other.window_size, other.attn.num_heads)
    one, other = theirs.mask_decoder.transformer, ours.sam.mask_decoder.transformer
    assert [
        a.num_heads for a in (one.final_attn_token_to_image, other.final_attn_token_to_image)
    ] == [8, 8]
    assert one.layers[0].mlp.lin1.weight.shape == other.layers[0].mlp.lin1.weight.shape


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("size", SHAPES)
def test_the_papers_sizes_train(size: tuple[int, int], batch: int) -> None:
    method, net = registry.method(Spec("sam"), "tiny"), build()
    image, mask = torch.rand(batch, 1, *size), torch.zeros(batch, 1, *size)
    assert method.logits(net, image).shape == mask.shape
    loss = method.loss(net, image, mask, RNG)
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("size", [*SHAPES, (1, 500)])
def test_images_are_shown_as_the_library_shows_them(size: tuple[int, int]) -> None:
    from segment_anything.utils.transforms import ResizeLongestSide

    net, seen = Network(SIZES["t"], 128).eval(), []
    net.sam.image_encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    with torch.no_grad():
        net(torch.from_numpy(pixels / np.float32(255))[None, None])
    if min(size) == 1:
        assert net.shown(size) == (1, 128)  # the library would leave nothing
        return
    resized = ResizeLongestSide(128).apply_image(np.repeat(pixels[..., None], 3, axis=2))
    assert resized.shape[:2] == net.shown(size)
    expected = net.sam.preprocess(torch.from_numpy(resized).permute(2, 0, 1).float())
    assert abs(seen[0][0] - expected).max() < 1.5 / 57  # they round to 8 bits
    assert seen[0].shape == (1, 3, 128, 128)
    assert not seen[0][0, :, net.shown(size)[0] :].any()  # padded after normalisation
    assert not seen[0][0, :, :, net.shown(size)[1] :].any()


@pytest.mark.parametrize("size", SHAPES)
def test_the_answer_lies_where_the_image_lies(size: tuple[int, int]) -> None:
    net = build()
    side = 16  # of the decoder's masks
    height, width = (round(side * length / max(size)) for length in size)
    low = torch.full((1, 1, side, side), -100.0)
    low[..., :height, :width] = torch.linspace(0, 1, width)
    net.sam.mask_decoder.forward = lambda **_: (low, None)  # type: ignore[method-assign]
    logits = net(torch.rand(1, 1, *size))[0, 0]
    assert logits.shape == size
    inner = logits[: size[0] * 3 // 4, : size[1] * 3 // 4]
    expected = torch.linspace(0, 1, size[1])[: size[1] * 3 // 4].expand_as(inner)
    assert abs(inner - expected).max() < 0.1


def test_the_answer_without_a_prompt_is_that_of_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, images = build().eval(), torch.rand(3, 1, 48, 64)
    library = net.sam
    with torch.no_grad():
        together = net(images)
        for image, answer in zip(images, together, strict=True):
            record = {"image": 255 * image.expand(3, -1, -1), "original_size": (48, 64)}
            expected = library([record], multimask_output=False)[0]["low_res_logits"]
            expected = library.postprocess_masks(expected, (48, 64), (48, 64))
            torch.testing.assert_close(answer[None], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net(images[:1], [None]), together[:1], atol=1e-5, rtol=1e-4)


def idle(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters() if p.grad is None)


def test_what_never_learns_without_a_prompt() -> None:
    method, net = (
        registry.method(Spec("sam")),
        Network(Size(32, 1, 1), 64),
    )  # the parts that idle are of full size
    image, mask = torch.rand(2, 1, 64, 64), torch.ones(2, 1, 64, 64)
    method.loss(net, image, mask, RNG).backward()
    assert idle(net) == 138_576
    heads = net.sam.mask_decoder.output_hypernetworks_mlps
    assert [any(bool(p.grad.any()) for p in head.parameters()) for head in heads] == [
        True,
        False,
        False,
        False,
    ]
    lines = [line for line in method.deviations(1) if "never learn" in line]
    assert len(lines) == 1
    net.zero_grad()
    registry.method(Spec.parse("sam:prompt=box")).loss(net, image, mask, RNG).backward()
    assert idle(net) == 138_576 - 2 * 256  # the corners' embeddings


def train(net: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> list[float]:
    image = torch.cat([disc()[0], disc(50, 70)[0].mT[..., :60, :40]])
    losses = []
    for _ in range(steps):
        loss = registry.method(Spec("sam"), "tiny").loss(net, image, (image > 0.5).float(), RNG)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_it_overfits_two_cases_in_ten_steps() -> None:
    net = build()
    losses = train(net, torch.optim.Adam(net.parameters(), 1e-2), 10)
    assert losses[-1] < 0.85 * losses[0]


def test_the_rate_warms_up_and_falls_and_is_taken_up_to_the_bit() -> None:
    method, plan, net = registry.method(Spec("sam"), "tiny"), task(steps=20), build()
    optimiser, rates = method.make_optimiser(net, plan), []
    optimiser.register_step_post_hook(
        lambda own, *_: rates.append([group["lr"] for group in own.param_groups])
    )
    train(net, optimiser, 9)
    half = copy.deepcopy((net.state_dict(), optimiser.state_dict()))
    train(net, optimiser, 11)
    assert all(one == other for one, other in rates)
    highest = max(range(20), key=lambda step: rates[step][0])
    assert 1 <= highest <= 3
    assert 0 < rates[-1][0] < 0.1 * method.usual_lr
    assert rates[highest][0] == pytest.approx(method.usual_lr, rel=0.15)
    resumed = build()
    resumed.load_state_dict(half[0])
    again = method.make_optimiser(resumed, plan)
    again.load_state_dict(half[1])
    train(resumed, again, 11)
    for name, value in net.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_narrow_networks_learn_faster() -> None:
    rates = {size: registry.method(Spec.parse(f"sam:size={size}")).usual_lr for size in SIZES}
    assert rates["b"] == 1e-4
    assert rates["t"] > rates["s"] > rates["b"] > rates["l"] > rates["h"]


def test_it_runs_under_bfloat16() -> None:
    net, (image, mask) = build(), disc()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for spec in ("sam", "sam:prompt=box"):
            loss = registry.method(Spec.parse(spec), "tiny").loss(net, image, mask, RNG)
            assert loss.dtype == torch.float32
            loss.backward()
            assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sam:image=250", r"^sam: image=250 is no multiple of 16, .*such as image=256$"),
        ("sam:size=s:image=100", "no multiple of 8"),
        ("sam:image=8", "8 is out of range; expected at least 32"),
        ("sam:size=x", "'x' is not allowed; .*Valid: b, h, l, s, t"),
        ("sam:prompt=points", "'points' is not allowed; .*Valid: box, none"),
        (
            "sam:weights=nowhere.pth",
            "sam:weights: 'nowhere.pth' is no file; expected the path of one",
        ),
    ],
)
def test_wrong_options_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        registry.method(Spec.parse(spec))


def test_it_says_what_it_is_not() -> None:
    full, small = registry.method(Spec("sam")), registry.method(Spec("sam"), "small")
    assert not any("size=" in line for line in full.deviations(1))
    assert any("size=s" in line for line in small.deviations(1))
    for words in ("from scratch", "no prompt", "256 x 256", "focal", "IoU"):
        assert any(words in line for line in full.deviations(1)), words
    assert not any(
        "pixels (1024" in line
        for line in registry.method(Spec.parse("sam:image=1024")).deviations(1)
    )
    assert full.advantages().pretraining == full.advantages().prompt == "none"


# --- the oracle ---


def test_the_box_of_a_mask() -> None:
    mask = torch.zeros(1, 6, 8)
    assert box_of(mask) is None
    mask[0, 2, 3] = 1
    assert box_of(mask).tolist() == [3, 2, 4, 3]
    mask[0, 4, 7] = 1
    assert box_of(mask).tolist() == [3, 2, 8, 5]


def test_noise_is_a_tenth_of_the_side_and_bounded() -> None:
    box, rng = torch.tensor([10.0, 20.0, 110.0, 40.0]), torch.Generator().manual_seed(0)
    noise = torch.stack([jittered(box, 1e9, rng) for _ in range(2000)]) - box
    assert noise.std(dim=0).tolist() == pytest.approx([10, 2, 10, 2], rel=0.1)
    assert abs(jittered(box, 1.5, rng) - box).max() <= 1.5


def test_the_loss_of_the_oracle_uses_the_masks_own_box(monkeypatch: pytest.MonkeyPatch) -> None:
    method, net = registry.method(Spec.parse("sam:prompt=box"), "tiny"), build()
    image = torch.rand(3, 1, 60, 40)
    mask = torch.cat([disc()[1], disc(left=24)[1], torch.zeros(1, 1, 60, 40)])
    seen: list[Any] = []
    monkeypatch.setattr(
        net.sam.prompt_encoder, "forward", recorded(net.sam.prompt_encoder.forward, seen)
    )
    scale = 64 / 60
    exact = torch.tensor([[6, 20, 16, 36], [24, 20, 34, 36]]) * scale
    net.eval()
    with torch.no_grad():
        expected = bce_dice(net(image, [box_of(each) for each in mask]), mask)
        seen.clear()
        assert torch.equal(method.loss(net, image, mask, RNG), expected)
    assert seen[2] is None  # an empty mask has the null prompt
    torch.testing.assert_close(torch.cat(seen[:2]), exact, atol=0.5, rtol=0)  # of whole pixels
    seen.clear()
    net.train()
    losses = [
        method.loss(net, image, mask, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]
    noise = torch.cat(seen[:2]) - exact
    assert 0 < abs(noise).max() <= 20 / 1024 * 64 + 0.5


def recorded(forward: Any, seen: list[Any]) -> Any:
    def wrapped(points: Any, boxes: Tensor | None, masks: Any) -> Any:
        assert points is None
        assert masks is None
        seen.append(boxes)
        return forward(points=points, boxes=boxes, masks=masks)

    return wrapped


def test_the_box_decides_between_two_like_squares() -> None:
    method, net = registry.method(Spec.parse("sam:prompt=box"), "tiny"), build("sam:prompt=box")
    assert isinstance(method, ToldBox)
    assert method.advantages().prompt == "box of the reference (oracle)"
    image, mask = (torch.cat(each) for each in zip(disc(), disc(left=24), strict=True))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(45):
        loss = method.loss(net, image, mask, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    with torch.inference_mode():
        left, right = (method.told(net, image[:1], rng, box_of(each)).probability for each in mask)
        empty = method.told(net, image[:1], rng, None).probability
    assert left.shape == right.shape == empty.shape == (1, 1, 60, 40)
    assert left[mask[:1] > 0].mean() > 0.2 + right[mask[:1] > 0].mean()
    assert right[mask[1:] > 0].mean() > 0.2 + left[mask[1:] > 0].mean()


def test_an_oracle_without_its_box_and_a_box_without_an_oracle_are_refused() -> None:
    net, (image, _) = build(), disc()
    oracle, plain = (
        registry.method(Spec.parse("sam:prompt=box"), "tiny"),
        registry.method(Spec("sam"), "tiny"),
    )
    with pytest.raises(ValueError, match=r"answers by told\(\), with the reference's box"):
        oracle.predict(net, image, RNG)
    assert not isinstance(plain, ToldBox)
    for method in (oracle, replace(oracle, image=32), SAM(prompt="box")):
        assert isinstance(method, ToldBox)


# --- official weights ---


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Write checkpoints of small networks, and make them the official ones of b and l."""
    paths = {}
    for size, small in {"b": Size(32, 4, 1), "l": Size(64, 8, 2)}.items():
        torch.manual_seed(7)
        theirs = Network(small, 512).sam  # 512: as 1024, but for the time it takes
        for name, value in theirs.named_parameters():
            if "pos" in name and "point" not in name:
                nn.init.normal_(value)
        paths[size] = tmp_path / f"official_{size}.pth"
        torch.save(theirs.state_dict(), paths[size])
        monkeypatch.setitem(SIZES, size, small)
        digest = sam.sha256(sam_digest(paths[size]))
        monkeypatch.setitem(
            OFFICIAL, size, Checkpoint(paths[size].name, paths[size].stat().st_size, digest)
        )
    return paths


def sam_digest(path: Path) -> str:
    from bench.spec import weights

    return weights.enter(str(path))


def test_official_weights_arrive(official: dict[str, Path]) -> None:
    method = registry.method(Spec.parse(f"sam:image=512:weights={official['b']}"))
    state, net = (
        torch.load(official["b"], weights_only=True),
        build(f"sam:size=b:image=512:weights={official['b']}"),
    )
    assert all(torch.equal(state[name], value) for name, value in net.sam.state_dict().items())
    assert method.advantages().pretraining == "MAE and SA-1B (official checkpoint official_b.pth)"
    assert not any(
        "from scratch" in line or "interpolated" in line
        for line in method.deviations(1)
        if "MAE" in line
    )


def test_at_another_image_size_positions_are_interpolated(official: dict[str, Path]) -> None:
    spec = f"sam:size=b:image=256:weights={official['b']}"
    state, net = torch.load(official["b"], weights_only=True), build(spec)
    own = net.sam.state_dict()
    other = {name for name in own if own[name].shape != state[name].shape}
    assert own["image_encoder.pos_embed"].shape == (1, 16, 16, 32)
    assert {name.split(".")[-1] for name in other} == {"pos_embed", "rel_pos_h", "rel_pos_w"}
    assert all(torch.equal(own[name], state[name]) for name in own.keys() - other)
    ramp = dict(state)
    ramp["image_encoder.pos_embed"] = (
        torch.linspace(0, 1, 32)[None, :, None, None].expand(1, 32, 32, 32).clone()
    )
    net.load(ramp)
    rows = net.sam.image_encoder.pos_embed[0, :, 0, 0]
    assert rows[0] < 0.05
    assert rows[-1] > 0.95
    assert bool((rows.diff() > 0).all())
    assert any("interpolated" in line for line in registry.method(Spec.parse(spec)).deviations(1))


def test_a_spec_holds_the_digest_and_not_the_path(official: dict[str, Path]) -> None:
    (spec,) = registry.expand(registry.METHODS, f"sam:weights={official['b']}")
    assert spec.key == f"sam:weights={OFFICIAL['b'].sha256[:16]}"
    assert registry.expand(registry.METHODS, spec.key) == [spec]
    assert registry.method(spec).advantages().pretraining != "none"


def test_weights_of_another_model_are_named(official: dict[str, Path]) -> None:
    with pytest.raises(
        UsageError, match=r"official_l\.pth, of size=l, and size=b was asked for; give size=l$"
    ):
        registry.method(Spec.parse(f"sam:weights={official['l']}"))
    with pytest.raises(UsageError, match=r"of size=b, and size=s was asked for; give size=b$"):
        registry.method(Spec.parse(f"sam:weights={official['b']}"), "small")


def test_truncated_and_foreign_weights_are_refused(
    official: dict[str, Path], tmp_path: Path
) -> None:
    short = tmp_path / "short.pth"
    short.write_bytes(official["b"].read_bytes()[:-100])
    for scale, message in (
        (
            "full",
            (
                r"short\.pth \(\d+ bytes, SHA-256 \w{8}\.\.\.\) is no official checkpoint; expected"
                r" official_b\.pth"
            ),
        ),
        ("small", "there are no weights for size=s; give size=b"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            registry.method(Spec.parse(f"sam:weights={short}"), scale)
        assert "\n" not in str(caught.value)


def test_code_in_a_file_of_weights_is_never_run(tmp_path: Path) -> None:
    target, path = tmp_path / "created", tmp_path / "sam_vit_b_01ec64.pth"

    class Malicious:
        def __reduce__(self) -> Any:
            return Path.touch, (target,)

    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(UsageError, match="is no official checkpoint"):
        registry.method(Spec.parse(f"sam:weights={path}"))
    assert not target.exists()
    pickle.loads(path.read_bytes())
    assert target.exists()  # it would have


def test_weights_that_change_after_planning_are_refused(official: dict[str, Path]) -> None:
    method = registry.method(Spec.parse(f"sam:image=512:weights={official['b']}"))
    official["b"].write_bytes(b"something else")
    with pytest.raises(UsageError, match="has changed since"):
        method.build(task())
    official["b"].unlink()
    with pytest.raises(UsageError, match="no longer where it was"):
        copy.copy(method).build(task())


def test_a_class_refuses_the_prompt_of_the_other() -> None:
    assert type(replace(SAM(), prompt="box")) is ToldSAM
    with pytest.raises(ValueError, match="ToldSAM cannot have prompt=none"):
        replace(SAM(prompt="box"), prompt="none")
    with pytest.raises(ValueError, match="SAM cannot have prompt=box"):
        SAM("t", 64, "box")  # `__new__` does not see an option given by position
