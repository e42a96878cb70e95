"""`make docs`: write a page for each method, `docs/methods/NAME.md`, from the code itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.spec import capabilities, registry
from bench.spec.method import Method
from bench.spec.names import Spec
from bench.spec.options import options, shown
from bench.spec.space import Between

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "methods"
PARITY = ROOT / "tests" / "perf" / "PARITY.md"
CAPABLE = {
    "TrainsItself": "trains itself, on data of its own making; its row competes with none",
    "ToldBox": "is told the reference's bounding box; its row competes with none",
    "ShowsStages": "leaves a picture of how it comes to a prediction (`stages-*.png`)",
    "AveragesWeights": "averages its weights while it trains",
    "OwnOptimiser": "has its own optimiser",
    "Switchable": "has modules that `bench ablate` switches",
}
"""What the capabilities of `bench.spec.capabilities` mean to a reader."""
COMPARED = {
    "deeplabv3": ("test_the_answer_is_that_of_torchvision_with_its_weights",),
    "fcn": ("test_the_answer_is_that_of_torchvision_with_its_weights",),
    "hidiff": (
        "test_the_posterior_follows_the_rule_of_bayes",
        "test_the_divergence_is_that_of_pytorch",
    ),
    "medsegdiff": (
        "test_the_loss_is_that_of_the_noise_and_ten_times_that_of_the_conditioner",
        "test_a_sample_is_joined_with_the_mask_of_the_conditioner_as_in_the_first_version",
    ),
    "monai": (
        "test_the_full_size_is_the_default_of_monai",
        "test_mednext_is_the_smallest_network_of_its_paper",
        "test_unetr_answers_as_that_of_monai_at_its_own_size",
    ),
    "nnunet": (
        "test_its_own_recipe_gives_the_weights_of_the_trainer_of_nnunet",
        "test_the_loss_over_all_outputs_is_that_of_the_trainer",
        "test_normalisation_is_the_planned_scheme",
    ),
    "sam": (
        "test_the_answer_without_a_prompt_is_that_of_the_library",
        "test_images_are_shown_as_the_library_shows_them",
        "test_at_1024_a_checkpoint_of_the_library_fits",
    ),
    "smp": ("test_the_encoder_is_adapted_as_the_library_does",),
    "swin_unet": (
        "test_with_the_published_weights_the_output_is_the_published_one",
        "test_the_loss_is_the_published_one",
        "test_the_rate_falls_as_published_and_goes_on_after_a_restart",
    ),
    "unet": ("test_unet_has_the_topology_of_2015",),
    "verdiff": (
        "test_with_the_5x5_kernel_it_is_the_large_selective_kernel_block",
        "test_the_compressed_feature_is_as_long_as_in_sknet",
        "test_the_share_of_the_prior_in_the_posterior_is_the_gamma_of_card",
        "test_the_posterior_follows_the_rule_of_bayes_on_the_shifted_steps",
    ),
}
"""Tests that compare a method, or a part of it, with where it is from."""


def names() -> list[str]:
    """Return the methods of this project."""
    return [
        name
        for name in registry.names(registry.METHODS)
        if registry.load(registry.METHODS, name).__module__.startswith("verdiff_bench_methods.")
    ]


def page(name: str) -> str:
    """Return the page of a method."""
    method = registry.method(Spec(name))
    parts = [
        "<!-- Written by `make docs` from the code; change the method, not this page. -->",
        f"# {method.title} (`{name}`)",
        _said(method),
        f"Source: {method.source}.",
        "\n".join(f"- {line}." for line in _facts(name, method)),
        "## Options",
        "The default under the profile `paper`, and under the others where it is another. "
        f"Write `{name}:option=value`.",
        "\n".join(_options(method)),
        "## How it differs from its source",
        "\n".join(f"- {line}." for line in method.deviations(1)) or "It does not.",
        "## What it has that others lack",
        "\n".join(_more(method)) or "Nothing.",
        "## How near it is to its source",
        _parity(name),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _said(method: Method) -> str:
    """Return the first sentence of the method's docstring."""
    return (type(method).__doc__ or "").split("\n\n")[0].replace("\n    ", " ")


def _facts(name: str, method: Method) -> Iterator[str]:
    there = "part of `--methods all`" if method.in_all else "not part of `--methods all`"
    yield there
    rows = [f"`{name}:{extra}`" for extra in capabilities.further_rows(method)]
    if rows:
        yield f"its weights give further rows: {', '.join(rows)}"
    how = {"zscore": "brought to mean 0 and deviation 1", "unit": "left in [0, 1]"}
    yield f"each image is {how[method.inputs.normalise]}"
    apart = (
        "tells several classes apart (`labels=`)" if method.multiclass else "one foreground only"
    )
    yield apart
    if method.inputs.multiple > 1:
        yield f"height and width are padded to a multiple of {method.inputs.multiple}"
    for capability, words in CAPABLE.items():
        if isinstance(method, getattr(capabilities, capability)):
            yield words
    if method.install:
        yield f"needs `pip install '{method.install}'`"
    tried = ", ".join(f"`{key}` {_range(value)}" for key, value in method.space.items())
    yield f"`bench tune` may choose {tried}"


def _range(values: Between | tuple[Any, ...]) -> str:
    if isinstance(values, Between):
        scale = " (log)" if values.log else ""
        return f"from {values.low:g} to {values.high:g}{scale}"
    return "of " + ", ".join(map(str, values))


def _options(method: Method) -> Iterator[str]:
    """Yield the table of the options."""
    yield "| option | default | `lunch` | `cpu` | `smoke` | means | values |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for key, field in options(type(method)).items():
        others = []
        for scale in ("half", "small", "tiny"):
            sizes = method.scales.get(scale, {})
            others.append(_cell(shown(sizes[key])) if key in sizes else "")
        about = field.metadata
        cells = [f"`{key}`", _cell(shown(field.default)), *others, about["help"], _takes(about)]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(text: str) -> str:
    return f"`{text}`" if text else "none"


def _takes(about: Any) -> str:
    """Return what values an option may have."""
    if about["choices"]:
        return ", ".join(f"`{choice}`" for choice in about["choices"])
    bounds = []
    if about["low"] is not None:
        bounds.append(f"{about['low']:g} or more")
    if about["high"] is not None:
        bounds.append(f"{about['high']:g} or less")
    return "a file" if about["file"] else ", ".join(bounds)


def _more(method: Method) -> Iterator[str]:
    had = method.advantages()
    for key in ("pretraining", "prompt", "ensembling", "augmentation"):
        what = getattr(had, key)
        if what != "none":
            yield f"- {key}: {what}."


def _parity(name: str) -> str:
    """Return what was measured against the source, and which tests compare with it."""
    measured = []
    if name == "nnunet":
        text = PARITY.read_text(encoding="utf-8")
        measured = [line for line in text.splitlines() if re.match("- `[a-z]+@", line)]
        measured.insert(0, "`nnunet:recipe=native` against nnU-Net's own commands (Dice):\n")
    tests = [f"- {words}" for words in _compared(name)]
    if tests:
        tests.insert(0, "Tests compare these parts with the source:\n")
    if not measured:
        measured = ["No whole training was compared with its authors' own code."]
    return "\n".join(measured) + ("\n\n" + "\n".join(tests) if tests else "")


def _compared(name: str) -> Iterator[str]:
    """Yield the names of tests, in words, that compare a method with its source."""
    files: list[Path] = []
    for folder in ("methods", "verdiff"):
        files += (ROOT / "tests" / folder).glob("*.py")
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(files)}
    for test in COMPARED[name]:
        places = [path for path, text in texts.items() if f"def {test}(" in text]
        if not places:
            raise LookupError(f"{test} is no test; see COMPARED")
        path = places[0]
        words = test.removeprefix("test_").replace("_", " ")
        yield f"{words} (`{path.relative_to(ROOT)}`)"


def write() -> list[Path]:
    """Write all pages, and remove those of methods that are no more; return the files."""
    FOLDER.mkdir(exist_ok=True)
    files = []
    for name in names():
        files.append(FOLDER / f"{name}.md")
        files[-1].write_text(page(name), encoding="utf-8")
    for path in set(FOLDER.glob("*.md")) - set(files):
        path.unlink()
    return files


if __name__ == "__main__":
    print(f"{len(write())} pages: {FOLDER.relative_to(ROOT)}")
