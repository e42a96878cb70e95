"""The contract tests of methods and datasets, for any package that adds one; they need no pytest.

    from bench.testing import check_dataset, check_method
    check_method(Line)
    check_dataset(Scans(), Path("a small folder"))

A broken rule raises an AssertionError that says which one, in a sentence.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_model
from torch import Tensor

from bench.engine import together
from bench.engine import trainee as trainees
from bench.engine.predict import ask
from bench.engine.trainee import Trainee, generator, save_weights
from bench.spec import registry
from bench.spec.capabilities import AnswersWithMore, Switchable, TrainsItself, further_rows
from bench.spec.case import VOID, Sample
from bench.spec.dataset import Adapter, Item
from bench.spec.errors import UsageError
from bench.spec.method import Answer, Method, Task
from bench.spec.names import Spec, safe_name
from bench.spec.profile import Scale, load_profile

CPU = torch.device("cpu")
SCALES = tuple(scale for scale in get_args(Scale) if scale != "full")
"""The sizes that a method may have beside its full one."""
SIZES = ((369, 166), (64, 96))
"""(height, width) of images that any method takes."""
SMALL = (64, 48)
STEPS = 12
"""Steps in which the loss of one pair must fall."""


def check_method(method: type[Method] | Method | str) -> None:
    """Check that a method keeps the contract: a class, an instance, or a name such as `unet`.

    A class and a name are tested at the scale `tiny`. Takes some seconds.

    Raises:
        AssertionError: It breaks a rule.
    """
    chosen = tiny(method)
    with offline():
        for check in METHOD_CHECKS:
            check(chosen)


def tiny(method: type[Method] | Method | str) -> Method:
    """Return a method at the smallest scale that it has."""
    if isinstance(method, str):
        return registry.method(Spec.parse(method), "tiny")
    if isinstance(method, Method):
        return method
    return method(**method.scales.get("tiny", {}))


@contextmanager
def offline() -> Iterator[None]:
    """Make every attempt to open a connection fail."""

    def refuse(*words: Any, **_: Any) -> None:
        raise AssertionError(f"a connection was attempted: {words}")

    with (
        mock.patch.object(socket.socket, "connect", refuse),
        mock.patch.object(socket, "create_connection", refuse),
        mock.patch.object(socket, "getaddrinfo", refuse),
    ):
        yield


def _ensure(kept: bool, rule: str) -> None:
    """Raise an AssertionError that says the rule, also under `python -O`, unless it is kept."""
    if not kept:
        raise AssertionError(rule)


def _trainee(
    method: Method, size: tuple[int, int] = SMALL, batch: int = 2, seed: int = 35
) -> Trainee:
    task = Task("mr", (size,) * 5, batch, STEPS)
    return trainees.build(method, task, load_profile("smoke"), seed, CPU, "float32")


def _pair(size: tuple[int, int], batch: int) -> tuple[Tensor, Tensor]:
    """Return noisy images (B, 1, H, W) of a bright rectangle, and its mask."""
    rng = torch.Generator().manual_seed(1)
    mask = torch.zeros(batch, 1, *size)
    mask[..., size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    return (0.6 * mask + 0.3 * torch.rand(mask.shape, generator=rng)).clamp(0, 1), mask


def _answer(subject: Trainee, image: Tensor, mask: Tensor) -> Answer:
    """Return a method's answer for one image, as a cell asks for it."""
    subject.net.eval()
    rng = generator(subject.device, 35, "predict", "case")
    reference = mask[0, 0].cpu().numpy().astype(np.uint8)
    with torch.inference_mode(), subject.autocast():
        return ask(subject, image, rng, reference)


def _check_map(name: str, values: Tensor, image: Tensor) -> None:
    _ensure(
        values.shape == image.shape,
        f"{name} has shape {tuple(values.shape)}; expected the image's, {tuple(image.shape)}",
    )
    _ensure(bool(((values >= 0) & (values <= 1)).all()), f"{name} is not in [0, 1] everywhere")


def says_what_it_is(method: Method) -> None:
    """Title, source and deviations are text; the scales are options."""
    _ensure(isinstance(method, Method), "a method derives from bench.spec.method.Method")
    for name in ("title", "source"):
        text = getattr(method, name, None)
        _ensure(isinstance(text, str) and bool(text), f"{name} is {text!r}; expected some text")
    for batch in (1, 8):
        lines = method.deviations(batch)
        fits = isinstance(lines, tuple) and all(isinstance(x, str) and x for x in lines)
        _ensure(fits, f"deviations gave {lines!r}; expected a tuple of texts, none empty")
    for scale, sizes in type(method).scales.items():
        _ensure(scale in SCALES, f"scale '{scale}'; there are {', '.join(SCALES)}")
        type(method)(**sizes)


def weights_follow_the_seed_alone(method: Method) -> None:
    """The same seed gives the same weights, and another seed others."""
    one, same, other = (_trainee(method, seed=seed).net.state_dict() for seed in (35, 35, 36))
    _ensure(
        one.keys() == same.keys() and all(torch.equal(one[key], same[key]) for key in one),
        "two networks of one seed differ: build must draw from PyTorch's global generator alone",
    )
    _ensure(
        any(not torch.equal(one[key], other[key]) for key in one),
        "networks of two seeds are equal: build must not seed a generator itself",
    )


def saved_weights_give_the_same_answer(method: Method) -> None:
    """A network of another seed with the saved weights answers alike."""
    first, second = _trainee(method), _trainee(method, seed=36)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_weights(first.net, path)
        # safetensors requires contiguous memory of tensors with two names
        load_model(second.net.to(memory_format=torch.contiguous_format), str(path))
    pair = _pair(SMALL, 1)
    one, other = (_answer(subject, *pair).probability for subject in (first, second))
    _ensure(
        torch.allclose(one, other, rtol=1.3e-6, atol=1e-5),
        "the saved weights answer otherwise: what decides an answer belongs into the state_dict",
    )


def trains_at_any_size_and_batch(method: Method) -> None:
    """The loss is a finite scalar with finite gradients."""
    for size, batch in itertools.product(SIZES, (1, 4)):
        where = f"at size {size} and batch {batch}"
        subject = _trainee(method, size, batch)
        subject.net.train()
        loss = subject.loss(*_pair(size, batch), "step", 0)
        _ensure(loss.shape == (), f"the loss has shape {tuple(loss.shape)} {where}, not ()")
        _ensure(bool(torch.isfinite(loss)), f"the loss is {loss.item()} {where}")
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in subject.net.parameters() if p.grad is not None]
        _ensure(any(bool(g.abs().sum() > 0) for g in gradients), f"no weight learns {where}")
        finite = all(bool(torch.isfinite(g).all()) for g in gradients)
        _ensure(finite, f"a gradient is not finite {where}")


def answers_by_its_generator_alone(method: Method) -> None:
    """The answer is a probability of the image's shape; the global generator does not change it."""
    for size in SIZES:
        subject = _trainee(method, size)
        image, mask = _pair(size, 1)
        answers = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            answers.append(_answer(subject, image, mask).probability)
        _check_map("the answer", answers[0], image)
        _ensure(torch.equal(*answers), "two answers differ: noise must come from `rng` alone")


def images_at_once_answer_as_alone(method: Method) -> None:
    """Where a profile may ask for several cases at once, an image's logits depend on no other."""
    subject = _trainee(method)
    asked = replace(subject, profile=replace(subject.profile, cases_at_once=2))
    if together.at_once_in_prediction(asked) == 1:
        return
    subject.net.eval()
    dark, _ = _pair(SMALL, 1)
    images = torch.cat([dark, 1 - dark])
    with torch.inference_mode():
        at_once = torch.split(method.logits(subject.net, images), 1)
        alone = [method.logits(subject.net, image) for image in torch.split(images, 1)]
    for one, other in zip(at_once, alone, strict=True):
        _ensure(
            torch.allclose(one, other, rtol=1e-4, atol=1e-4),
            "an image's logits depend on the others of its batch: give the method a `predict`",
        )


def further_rows_and_spread_are_maps(method: Method) -> None:
    """Further rows are those declared, and maps like the answer, as is a spread."""
    if not isinstance(method, AnswersWithMore):
        return
    subject = _trainee(method)
    image, mask = _pair(SMALL, 1)
    answer = _answer(subject, image, mask)
    rng = generator(CPU, 35, "predict", "case")
    with torch.inference_mode():
        alone = method.predict(subject.net, image, rng)
    _ensure(torch.equal(answer.probability, alone), "answer gave another map than predict")
    _ensure(
        tuple(answer.extras) == further_rows(method),
        f"answer gave the rows {list(answer.extras)}, declared are {list(method.extras)}",
    )
    maps = dict(answer.extras)
    if answer.spread is not None:
        maps["spread"] = answer.spread
    for name, values in maps.items():
        _check_map(name, values, image)


def arms_of_an_ablation_start_the_same(method: Method) -> None:
    """What two arms of an ablation share has the same weights at the start."""
    if not isinstance(method, Switchable):
        return
    weights = []
    for switches in itertools.product((False, True), repeat=len(method.factors)):
        arm = replace(method, **dict(zip(method.factors, switches, strict=True)))
        weights.append(_trainee(arm).net.state_dict())
    for first, second in itertools.combinations(weights, 2):
        shared = [key for key in first.keys() & second.keys()]
        shared = [key for key in shared if first[key].shape == second[key].shape]
        _ensure(len(shared) > len(first) / 2, "two arms share less than half of their weights")
        equal = all(torch.equal(first[key], second[key]) for key in shared)
        _ensure(equal, "two arms start with other weights: draw each module's by its name")
    different = len({tuple(names) for names in weights})
    _ensure(different == len(weights), "two arms have the same modules: a switch has no effect")


def the_loss_falls(method: Method) -> None:
    """The loss of one pair falls when the method is trained on it."""
    subject = _trainee(method)
    image, mask = _pair(SMALL, 2)
    fast = replace(subject, profile=replace(subject.profile, lr=1e-2))
    optimiser = fast.optimiser()
    losses = []
    for step in range(STEPS):
        loss = subject.loss(image, mask, "step", step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    _ensure(
        min(losses[-3:]) < losses[0] - 0.02,
        f"the loss of one pair fell from {losses[0]:.3f} to {min(losses[-3:]):.3f} in {STEPS} steps"
        "; expected 0.02 at least",
    )


def broken_weights_give_a_broken_loss(method: Method) -> None:
    """Weights that are NaN give a loss that is, so that the training loop stops and says where."""
    subject = _trainee(method)
    with torch.no_grad():
        for weight in subject.net.parameters():
            weight.fill_(math.nan)
    loss = subject.loss(*_pair(SMALL, 2), "step", 0)
    _ensure(bool(torch.isnan(loss)), f"the loss of NaN weights is {loss.item()}, not NaN")


def works_in_half_precision(method: Method) -> None:
    """Under bfloat16 autocast, on the CPU and on CUDA where there is one, nothing overflows."""
    if not method.bf16:
        return
    devices = [CPU]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
    for device in devices:
        plain = _trainee(method)
        net = plain.net.to(device)
        subject = replace(plain, net=net, device=device, precision="bfloat16")
        image, mask = (values.to(device) for values in _pair(SMALL, 2))
        net.train()
        loss = subject.loss(image, mask, "step", 0)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        finite = all(bool(torch.isfinite(g).all()) for g in (loss, *gradients))
        _ensure(finite, f"not finite in bfloat16 on {device}")
        _check_map("the answer", _answer(subject, image[:1], mask[:1]).probability, image[:1])


def tells_classes_apart(method: Method) -> None:
    """Of two classes and void pixels, the loss is finite and falls, and the answer sums to 1."""
    if not method.multiclass or isinstance(method, TrainsItself):
        return
    task = Task("mr", (SMALL,) * 5, 2, STEPS, ("one", "two"), void=True)
    subject = trainees.build(method, task, load_profile("smoke"), 35, CPU, "float32")
    image, mask = _pair(SMALL, 2)
    mask[..., SMALL[0] // 2 + 2 :, : SMALL[1] // 2] = 2
    mask[..., :2, :] = VOID
    optimiser = replace(subject, profile=replace(subject.profile, lr=1e-2)).optimiser()
    losses = []
    for step in range(STEPS):
        loss = subject.loss(image, mask, "step", step)
        _ensure(bool(torch.isfinite(loss)), f"the loss of two classes is {loss.item()}")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    _ensure(min(losses[-3:]) < losses[0], "the loss of two classes does not fall")
    answer = _answer(subject, image[:1], mask[:1]).probability
    _ensure(
        answer.shape == (1, task.channels, *SMALL),
        f"the answer has shape {tuple(answer.shape)}; expected {task.channels} maps: the "
        "background's and each class's",
    )
    total = answer.float().sum(1)
    _ensure(torch.allclose(total, torch.ones_like(total), atol=1e-4), "the maps do not sum to 1")


METHOD_CHECKS: tuple[Callable[[Method], None], ...] = (
    says_what_it_is,
    weights_follow_the_seed_alone,
    trains_at_any_size_and_batch,
    answers_by_its_generator_alone,
    images_at_once_answer_as_alone,
    saved_weights_give_the_same_answer,
    further_rows_and_spread_are_maps,
    arms_of_an_ablation_start_the_same,
    the_loss_falls,
    broken_weights_give_a_broken_loss,
    works_in_half_precision,
    tells_classes_apart,
)


def check_dataset(adapter: Adapter, root: Path) -> None:
    """Check that a dataset's adapter keeps the contract on a small folder, which is copied.

    Raises:
        AssertionError: It breaks a rule.
    """
    _check_words(adapter)
    first, again = adapter.items(root), adapter.items(root)
    _ensure(bool(first), f"items found nothing in {root}")
    _ensure(first == again, "items gave another list the second time")
    names: set[str] = set()
    for item in first:
        _ensure(isinstance(item.patient, str) and bool(item.patient), f"{item} has no patient")
        if item.left_out:
            continue
        samples = list(adapter.read(item))
        for sample in samples:
            _check_sample(sample)
            _ensure(sample.id.lower() not in names, f"two cases are named {sample.id}")
            names.add(sample.id.lower())
        _check_again(samples, list(adapter.read(item)))
    _ensure(bool(names), f"no case of {root} was read")
    _check_damaged(adapter, root, first)


def _check_words(adapter: Adapter) -> None:
    _ensure(isinstance(adapter, Adapter), "a dataset derives from bench.spec.dataset.Adapter")
    _ensure(bool(adapter.title), "the title is empty")
    safe_name(adapter.name, "dataset")
    rules = adapter.rules()
    try:
        plain = json.loads(json.dumps(rules)) == rules
    except TypeError:
        plain = False
    _ensure(plain, f"rules gave {rules!r}; expected plain JSON: texts, numbers, lists, text keys")


def _check_sample(sample: Sample) -> None:
    try:
        safe_name(sample.id, "case")
    except UsageError as error:
        raise AssertionError(str(error)) from error
    _ensure(bool(sample.patient), f"{sample.id} has no patient")
    image, mask = sample.image, sample.mask
    _ensure(
        image.dtype == np.uint16 and image.ndim == 2 and image.size > 0,
        f"{sample.id}: the image is {image.dtype} of shape {image.shape}; expected uint16 (H, W)",
    )
    _ensure(
        mask.dtype == np.uint8 and mask.shape == image.shape,
        f"{sample.id}: the mask is {mask.dtype} of shape {mask.shape}; expected uint8 of the"
        f" image's, {image.shape}",
    )
    most, known = int(mask.max()), len(sample.labels) - 1
    _ensure(most <= known, f"{sample.id}: the mask holds {most}; expected 0 to {known}")
    if sample.spacing is not None:
        positive = all(math.isfinite(side) and side > 0 for side in sample.spacing)
        _ensure(
            len(sample.spacing) == 2 and positive,
            f"{sample.id}: spacing {sample.spacing}; expected two positive numbers, or None",
        )


def _check_again(first: Sequence[Sample], again: Sequence[Sample]) -> None:
    _ensure(len(first) == len(again), "an item gave another number of cases the second time")
    for one, other in zip(first, again, strict=True):
        _ensure(
            (one.id, one.patient, one.spacing) == (other.id, other.patient, other.spacing)
            and np.array_equal(one.image, other.image)
            and np.array_equal(one.mask, other.mask),
            f"{one.id} was read otherwise the second time",
        )


def _check_damaged(adapter: Adapter, root: Path, items: Sequence[Item]) -> None:
    """Damage each file of the first item in turn: it must be refused by a UsageError."""
    number, item = next((n, item) for n, item in enumerate(items) if not item.left_out)
    for path in item.files:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / root.name
            shutil.copytree(root, copy)
            (copy / path.relative_to(root)).write_bytes(b"damaged")
            _ensure(
                _refuses(_moved(adapter, root, copy), copy, number),
                f"{path.name} is damaged, but read raised no UsageError",
            )


def _moved(adapter: Adapter, root: Path, copy: Path) -> Adapter:
    """Return the adapter for a copy of its folder, where the folder is one of its fields."""
    if getattr(adapter, "place", None) != root:
        return adapter
    changed: dict[str, Any] = {"place": copy}
    return replace(adapter, **changed)


def _refuses(adapter: Adapter, root: Path, number: int) -> bool:
    """Return whether an item is refused, by `items`, by its `left_out` or by `read`."""
    try:
        item = adapter.items(root)[number]
        if item.left_out:
            return True
        list(adapter.read(item))
    except UsageError:
        return True
    return False
