"""The whole model: what runs how often, what trains what, and what an ablation's arms share."""

from __future__ import annotations

import ast
import math
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import verdiff.model
from verdiff.blocks import ZeroConv2d
from verdiff.diffusion import Diffusion
from verdiff.model import PREDICTS, Condition, VerdiffNet, prior_loss

ROOT = Path(__file__).parents[2]
READINGS = [
    (msfm, *nsa, predicts, patch)
    for msfm in (True, False)
    for nsa in ((True, "soft"), (True, "hard"), (True, "5x5"), (False, "soft"))
    for predicts, patch in (("velocity", 1), ("velocity", 2), ("noise", 2))
]


def model(seed: int = 0, awake: bool = False, **options: Any) -> VerdiffNet:
    """Return a tiny model; `awake` gives what starts at zero some weights, as training does."""
    torch.manual_seed(seed)
    net = VerdiffNet(
        **{"width": 8, "prior_width": 4, "levels": 3, "blocks": 1, "patch": 2, **options}
    )
    for module in net.modules() if awake else ():
        if isinstance(module, ZeroConv2d):
            nn.init.normal_(module.weight, std=0.1)
    return net


def pair(items: int = 1, height: int = 36, width: int = 26) -> tuple[Tensor, Tensor]:
    image = torch.rand(items, 1, height, width, generator=torch.Generator().manual_seed(1))
    return image, (image + torch.linspace(-0.4, 0.4, width) > 0.5).float()


def rngs(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = (verdiff.model.__doc__ or "").splitlines()
    code = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line))
    assert "range(100)" in code
    short = code.replace("range(100)", "range(2)").replace("steps=20", "steps=2")
    exec(short.replace("net(image)", "net(image, steps=2)"), {})
    assert capsys.readouterr().out.startswith("torch.Size([2, 1, 96, 64]) tensor(")


def test_it_needs_torch_and_diffusers_alone() -> None:
    files = list((ROOT / "verdiff").rglob("*.py"))
    found = set()
    for node in (
        node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module if node.module and not node.level else "verdiff")
    assert {name.split(".")[0] for name in found} - sys.stdlib_module_names == {
        "torch",
        "diffusers",
        "verdiff",
    }


@pytest.mark.parametrize(("msfm", "nsa", "nsa_gate", "predicts", "patch"), READINGS)
def test_every_reading_trains_on_one_of_the_papers_smallest_images(
    msfm: bool, nsa: bool, nsa_gate: str, predicts: str, patch: int
) -> None:
    net = model(
        width=4, levels=4, patch=patch, msfm=msfm, nsa=nsa, nsa_gate=nsa_gate, predicts=predicts
    ).train()
    image, mask = pair(1, 369, 166)
    loss = net.loss(image, mask, *rngs(1))
    assert loss.shape == ()
    loss.backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert [name for name, g in gradients.items() if g is None or not torch.isfinite(g).all()] == []
    assert any(g.any() for name, g in gradients.items() if name.startswith("denoiser"))
    assert any(g.any() for name, g in gradients.items() if name.startswith("conditional"))


@pytest.mark.parametrize(
    ("msfm", "nsa"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_the_loss_falls_on_one_pair(msfm: bool, nsa: bool) -> None:
    net, (image, mask) = model(msfm=msfm, nsa=nsa), pair()
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = net.loss(image, mask, *rngs(1))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(("samples", "steps"), [(1, 3), (3, 2), (4, 5)])
def test_what_depends_on_the_image_alone_runs_once(
    samples: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, calls, batches = model().eval(), Counter[str](), []
    for name in ("msfm", "conditional", "fuse"):
        getattr(net, name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    net.denoiser.head.register_forward_hook(lambda module, args, out: batches.append(len(out)))
    real = verdiff.model.gate_of
    monkeypatch.setattr(
        verdiff.model, "gate_of", lambda *args: (calls.update(["gate"]), real(*args))[1]
    )
    net.sample(pair(2)[0], rngs(1, 2), samples=samples, steps=steps)
    assert calls == {"msfm": 1, "conditional": 1, "fuse": 1, "gate": 3}
    assert batches == [2 * samples] * steps


ARMS = [{"msfm": msfm, "nsa": nsa} for msfm in (True, False) for nsa in (True, False)]


def modules(net: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return the weights of each module that has any of its own, by its name."""
    found = {
        name: dict(module.named_parameters(recurse=False)) for name, module in net.named_modules()
    }
    return {name: parameters for name, parameters in found.items() if parameters}


@pytest.mark.parametrize("arm", ARMS[1:])
def test_arms_of_an_ablation_start_from_the_same_weights(arm: dict[str, bool]) -> None:
    both, other = (modules(model(5, prior_width=8, **options)) for options in ({}, arm))
    # without the MSFM other channels enter; without the NSA other convolutions close the encoder's
    # blocks
    switched = {
        name
        for name in both.keys() | other.keys()
        if "denoiser.encoder" in name and ".second" in name
    }
    entered = {name for name in both if name.startswith("msfm.")} | {"conditional.down.0.0", "fuse"}
    changed = (set() if arm["nsa"] else switched) | (set() if arm["msfm"] else entered)
    shared = (both.keys() | other.keys()) - changed
    assert len(shared) > 40
    for name in shared:
        assert both[name].keys() == other[name].keys()
        assert all(torch.equal(both[name][key], other[name][key]) for key in both[name]), name
    assert any(both[name]["weight"].std() > 0.01 for name in shared)


def test_gates_of_the_adapter_start_from_the_same_weights() -> None:
    soft, hard, large = (model(5, nsa_gate=gate).state_dict() for gate in ("soft", "hard", "5x5"))
    assert soft.keys() == hard.keys()
    assert {name for name in soft.keys() - large.keys()} == {
        name for name in soft if ".small." in name
    }
    assert all(torch.equal(soft[name], hard[name]) for name in soft)
    assert all(torch.equal(soft[name], large[name]) for name in large)


def test_the_global_seed_decides_the_weights() -> None:
    one, again, other = (model(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    for name in (
        "conditional.down.0.0.weight",
        "msfm.stem.weight",
        "denoiser.stem.weight",
        "fuse.weight",
    ):
        assert not torch.equal(one[name], other[name])


@pytest.mark.parametrize("msfm", [True, False])
@pytest.mark.parametrize(
    ("reading", "trains_prior"),
    [
        ({}, True),
        ({"detach": True}, False),
        ({"predicts": "noise"}, False),
        ({"predicts": "velocity"}, False),
    ],
)
def test_the_diffusion_trains_the_prior_where_it_corrects_its_mask(
    reading: dict[str, Any], trains_prior: bool, msfm: bool
) -> None:
    net, (image, mask) = model(awake=True, msfm=msfm, **reading).train(), pair()
    condition = net.condition(image)
    assert not condition.f.requires_grad
    assert not any(gate.requires_grad for gate in condition.gates)
    predicted = net.denoise(torch.randn_like(mask), torch.tensor([400]), condition)
    (predicted - mask).square().mean().backward()
    expected = {"fuse", "denoiser"}
    if msfm:
        expected.add("msfm")
    if trains_prior:
        expected.add("conditional")
    assert reached(net) == expected


def reached(net: nn.Module) -> set[str]:
    """Return the names of the parts that have a gradient."""
    return {
        name.split(".")[0]
        for name, p in net.named_parameters()
        if p.grad is not None and p.grad.any()
    }


def test_the_prior_trains_by_its_own_loss() -> None:
    net, (image, mask) = model().train(), pair()
    prior_loss(net.condition(image).logits, mask).backward()
    assert reached(net) == {"msfm", "conditional"}


@torch.no_grad()
def test_the_condition_is_of_the_right_sizes_and_ranges() -> None:
    net, (image, _) = model().eval(), pair(2, 37, 23)
    condition = net.condition(image)
    assert condition.logits.shape == condition.f.shape == image.shape
    torch.testing.assert_close(condition.f, 0.2 * torch.sigmoid(condition.logits) - 0.1)
    assert [gate.shape[-2:] for gate in condition.gates] == [(19, 12), (10, 6), (5, 3)]
    assert condition.added.shape == (2, 8, 19, 12)
    assert model(nsa=False).eval().condition(image).gates == (None, None, None)
    three = condition.repeat(3)
    for one, many in zip((condition.f, *condition.gates), (three.f, *three.gates), strict=True):
        assert torch.equal(many, torch.stack([one[0]] * 3 + [one[1]] * 3))


@torch.no_grad()
def test_the_gates_follow_the_prior() -> None:
    net, (image, _) = model(awake=True).eval(), pair()
    condition = net.condition(image)
    turned = Condition(
        condition.logits, condition.f, condition.added, tuple(1 - gate for gate in condition.gates)
    )
    x_t, t = torch.randn_like(image), torch.tensor([400])
    assert not torch.allclose(
        net.denoise(x_t, t, condition), net.denoise(x_t, t, turned), atol=1e-4
    )
    large = model(awake=True, nsa_gate="5x5").eval()
    large.load_state_dict(
        {name: v for name, v in net.state_dict().items() if ".small." not in name}
    )
    closed = Condition(
        condition.logits, condition.f, condition.added, tuple(0 * gate for gate in condition.gates)
    )
    without = Condition(condition.logits, condition.f, condition.added, (None, None, None))
    torch.testing.assert_close(net.denoise(x_t, t, closed), large.denoise(x_t, t, without))


class Answering(VerdiffNet):
    """A model whose diffusion U-Net is right, or off by a number."""

    off = 0.0

    def _noise(self, output: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        A = self.diffusion.cumulative[t].float().view(-1, 1, 1, 1)
        x0 = self.scale * (2 * self.mask - 1)
        noise = (x_t - condition.f - A.sqrt() * (x0 - condition.f)) / (1 - A).sqrt()
        self.seen = (x_t, t, condition)
        return noise + self.off


@pytest.mark.parametrize("predicts", ["noise", "velocity"])
@torch.no_grad()
def test_the_loss_is_the_noises_the_priors_and_the_implied_masks(predicts: str) -> None:
    torch.manual_seed(0)
    net, (image, mask) = Answering(8, 4, 3, 1, 2, predicts=predicts, scale=1.0).eval(), pair(3)
    net.mask = mask
    alone = {"bce": False, "dice": False}
    right = net.loss(image, mask, *rngs(1), **alone)
    _, t, condition = net.seen
    p = torch.sigmoid(condition.logits)
    of_prior = -(mask * p.log() + (1 - mask) * (1 - p).log()).mean()
    of_prior += 1 - (2 * (p * mask).sum() + 1) / (p.sum() + mask.sum() + 1)
    torch.testing.assert_close(right, of_prior, atol=1e-5, rtol=1e-5)
    net.off = 2.0
    torch.testing.assert_close(
        net.loss(image, mask, *rngs(1), **alone), of_prior + 4, atol=1e-4, rtol=1e-5
    )
    A = net.diffusion.cumulative[t].float().view(-1, 1, 1, 1)
    implied = (
        2 * mask - 1 - net.off * (1 - A).sqrt() / A.sqrt() + 1
    ) / 2  # too much noise, too low a mask
    inside = implied.clamp(0.01, 0.99)
    logits = inside.logit() + (implied - inside) / 0.0099  # a line beyond, so a gradient everywhere
    weight = A if predicts == "noise" else torch.ones_like(A)
    cross = (weight * F.binary_cross_entropy_with_logits(logits, mask, reduction="none")).mean()
    torch.testing.assert_close(
        net.loss(image, mask, *rngs(1), dice=False), of_prior + 4 + cross, atol=1e-4, rtol=1e-4
    )
    q = logits.sigmoid()
    overlap = 1 - (2 * (q * mask).sum() + 1) / (q.sum() + mask.sum() + 1)
    torch.testing.assert_close(
        net.loss(image, mask, *rngs(1)), of_prior + 4 + cross + overlap, atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
def test_a_fresh_network_that_corrects_the_prior_answers_with_it() -> None:
    """Its loss is the prior's twice, and that of the noise, which weighs less for a large A_t."""
    net, (image, mask) = model().eval(), pair(2)
    seen = net.sample(image, rngs(1, 2), samples=2, steps=3)
    torch.testing.assert_close(seen.probability, seen.prior, atol=1e-4, rtol=1e-4)
    rng = torch.Generator().manual_seed(7)
    t = torch.randint(1000, (2,), generator=rng)
    A = net.diffusion.cumulative[t].float().view(-1, 1, 1, 1)
    off = 0.2 * (mask - torch.sigmoid(net.condition(image).logits))
    of_noise = (off**2 * (A / (1 - A)).clamp(max=1)).mean()
    expected = of_noise + 2 * prior_loss(net.condition(image).logits, mask)
    torch.testing.assert_close(net.loss(image, mask, *rngs(7)), expected, atol=1e-4, rtol=1e-4)


def test_every_pixel_has_a_gradient_though_the_mask_is_out_of_range() -> None:
    for predicts in PREDICTS:
        net, (image, _) = model(awake=True, predicts=predicts).eval(), pair()
        x_t, t, condition = 5 * torch.ones_like(image), torch.tensor([200]), net.condition(image)
        output = net._output(x_t, t, condition).detach().requires_grad_()
        logits = net._logits(output, x_t, t, condition)
        F.binary_cross_entropy_with_logits(logits, 1 - (logits > 0).float()).backward()
        assert output.grad is not None
        assert (output.grad != 0).all()


@torch.no_grad()
def test_timesteps_and_noise_of_the_loss_come_from_its_generator_over_the_whole_range() -> None:
    torch.manual_seed(0)
    net, (image, mask) = Answering(8, 4, 3, 1, 2).eval(), pair(300, 8, 8)
    net.mask = mask
    seen = []
    for global_seed, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(global_seed)
        net.loss(image, mask, *rngs(seed))
        seen.append(net.seen[:2])
    (x_t, t), again, (_, others) = seen
    assert torch.equal(t, again[1])
    assert torch.equal(x_t, again[0])
    assert not torch.equal(t, others)
    assert t.min() < 30
    assert t.max() > 970
    assert 430 < t.float().mean() < 570
    A, f = net.diffusion.cumulative[t].float().view(-1, 1, 1, 1), net.seen[2].f
    x0 = 0.1 * (2 * mask - 1)
    noise = (x_t - A.sqrt() * x0 - (1 - A.sqrt()) * f) / (1 - A).sqrt()
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert abs(noise.mean()) < 0.03


@torch.no_grad()
def test_samples_of_an_image_depend_on_no_other_image() -> None:
    net, (image, _) = model(awake=True).eval(), pair(2)
    how = {"samples": 3, "steps": 4}
    both = net.sample(image, rngs(1, 2), **how)
    alone = [net.sample(image[i : i + 1], rngs(i + 1), **how) for i in range(2)]
    for name in ("probability", "spread", "prior"):
        separate = torch.cat([getattr(each, name) for each in alone])
        torch.testing.assert_close(getattr(both, name), separate, atol=1e-4, rtol=1e-4)
    swapped = net.sample(image, rngs(2, 1), **how)
    assert not torch.allclose(swapped.probability, both.probability, atol=1e-3)


@torch.no_grad()
def test_the_spread_is_that_of_the_samples() -> None:
    net, (image, _) = model(awake=True).eval(), pair(2)
    one, five = (net.sample(image, rngs(1, 2), samples=samples, steps=4) for samples in (1, 5))
    assert not one.spread.any()
    assert 0.01 < five.spread.max() <= 0.5
    assert five.spread.min() >= 0
    assert 0 <= five.probability.min() <= five.probability.max() <= 1
    torch.testing.assert_close(five.prior, torch.sigmoid(net.condition(image).logits))


def test_the_answer_is_the_mean_of_each_images_own_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    # masks in [-0.1, 0.1], three of each image
    drawn = 0.1 * torch.tensor([-1.0, -1, 1, 0.2, 0.6, 1])

    def sample(
        self: Diffusion, denoise: Any, f: Tensor, rngs: list[torch.Generator], **how: Any
    ) -> Tensor:
        assert how == {"steps": 7, "start": 9}
        assert [rng.initial_seed() for rng in rngs] == [1, 1, 1, 2, 2, 2]
        assert torch.equal(f[0], f[2])
        assert not torch.equal(f[0], f[3])
        return drawn.view(6, 1, 1, 1).expand(f.shape)

    monkeypatch.setattr(Diffusion, "sample", sample)
    answer = model().eval().sample(pair(2)[0], rngs(1, 2), samples=3, steps=7, start=9)
    assert answer.probability[:, 0, 0, 0].tolist() == pytest.approx([1 / 3, 0.8])
    assert answer.spread[:, 0, 0, 0].tolist() == pytest.approx([2**0.5 / 3, (0.08 / 3) ** 0.5])


def test_the_loss_of_the_prior_is_cross_entropy_and_dice() -> None:
    _, mask = pair(2)
    assert prior_loss(40 * mask - 20, mask).item() == pytest.approx(0, abs=1e-5)
    nothing = torch.zeros_like(mask)
    expected = math.log(2) + 1 - 1 / (mask.numel() / 2 + 1)
    assert prior_loss(nothing, nothing).item() == pytest.approx(expected, abs=1e-5)


def test_a_call_gives_the_answer_and_the_seed_decides_it() -> None:
    net, (image, _) = model(awake=True).eval(), pair(items=2)
    answer = net(image, steps=2, samples=2)
    assert answer.shape == image.shape
    assert torch.equal(answer, net.sample(image, seed=0, steps=2, samples=2).probability)
    assert torch.equal(answer, net.sample(image, rngs(0, 0), steps=2, samples=2).probability)
    assert not torch.equal(answer, net(image, seed=1, steps=2, samples=2))
    alone = net(image[1:], steps=2, samples=2)
    assert torch.allclose(alone, answer[1:], atol=1e-5)  # whatever else is in the batch


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (32, 32), (1, 32, 32)])
def test_colours_and_other_shapes_are_refused_with_what_helps(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected grey ones \(B, 1, H, W\); image.mean"):
        model().eval()(torch.zeros(shape))


def test_noise_is_from_one_place() -> None:
    net, (image, _) = model().eval(), pair()
    with pytest.raises(ValueError, match="give one of them"):
        net.sample(image, rngs(0), seed=0)
    with pytest.raises(ValueError, match="2 generators for 1 images"):
        net.sample(image, rngs(0, 1))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"levels": 7}, "levels=7 cannot be built; expected 1 to 6"),
        ({"nsa": False, "nsa_gate": "none"}, "there is no gate 'none'"),
        ({"predicts": "x"}, "there is nothing like 'x' to predict"),
        ({"patch": 0}, "blocks=2, patch=0: expected 1 or more of each"),
    ],
)
def test_what_cannot_be_built_is_refused_at_once(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        VerdiffNet(width=8, prior_width=4, **options)


def test_no_sample_is_no_answer() -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        model().eval().sample(pair()[0], samples=0)
