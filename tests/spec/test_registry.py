from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.registry import DATASETS, METHODS
from bench.testing import METHOD_CHECKS, tiny
from tests import test_contract
from tests.user import Bench, forget

Install = Callable[..., None]


def keys(group: str, text: str) -> list[str]:
    return [spec.key for spec in registry.expand(group, text)]


def test_all_takes_the_standard_names() -> None:
    assert keys(METHODS, "all") == [
        "deeplabv3",
        "fcn",
        "medsegdiff",
        "nnunet",
        "sam",
        "swin_unet",
        "unet",
        "verdiff",
    ]
    assert keys(DATASETS, "all") == ["ct-pri", "ct-verse", "mr", "xray"]


def test_one_choice_has_one_name() -> None:
    assert keys(METHODS, " unet:width=032 , unet:width=32,unet") == [
        "unet:width=32",
        "unet",
    ]
    one, other = "smp:arch=Unet:encoder=resnet18", "smp:encoder=resnet18:arch=Unet"
    assert keys(METHODS, f"{one},{other}") == [one]


def test_options_reach_the_method_and_scales_are_only_defaults() -> None:
    assert registry.method(Spec("unet")).width == 64  # type: ignore[attr-defined]
    assert registry.method(Spec("unet"), "small").width < 64  # type: ignore[attr-defined]
    wide = registry.method(Spec.parse("unet:width=40"), "small")
    assert wide.width == 40  # type: ignore[attr-defined]


def test_a_further_row_stands_for_its_methods_cell() -> None:
    assert keys(METHODS, "verdiff:prior,verdiff,verdiff:steps=9:prior") == [
        "verdiff",
        "verdiff:steps=9",
    ]


@pytest.mark.parametrize(
    ("group", "spec", "message"),
    [
        (METHODS, "unett", "unknown method 'unett'; did you mean 'unet'"),
        (DATASETS, "xry", "unknown dataset 'xry'; did you mean 'xray'"),
        (DATASETS, "mr:labels=a=1,2/b=3", "labels= has . between labels, and / between classes"),
        (DATASETS, "mr:labels=a:1-7,b:10-16", "labels= has . between labels, and / between"),
        (METHODS, "unet:widht=3", "unet has no option 'widht'; did you mean 'width'"),
        (METHODS, "unet:width", "expected one 'width=VALUE', for example unet:width=64"),
        (METHODS, "unet:width=3:width=4", "expected one 'width=VALUE'"),
        (METHODS, "unet:width=wide", "'wide' is no int; the default is 64"),
        (METHODS, "unet:width=0", "0 is out of range; expected at least 1"),
        (METHODS, "unet:lr=inf", "inf is not finite; the default is 0.0"),
        (METHODS, "unet:lr=nan", "nan is not finite; the default is 0.0"),
        (METHODS, "unet:width=inf", "'inf' is no int; the default is 64"),
        (DATASETS, "ct-verse:low=nan", "nan is not finite; the default is -250.0"),
        (METHODS, "fcn:width=17", "'17' is not allowed; .*Valid: 128, 16, 32, 64, 8"),
        (DATASETS, "mr:good_central=yes", "'yes' is not allowed; .*Valid: off, on"),
        (DATASETS, "mr:labels=spider", "'spider' is not allowed; did you mean 'spider-t2'"),
        (METHODS, "smp:arch=../../etc", "'../../etc' is not allowed; expected letters"),
        (DATASETS, "mr:good_central", "for example mr:good_central=off"),
        (METHODS, " , ", "nothing is named"),
        (METHODS, "unet:prior", "unet has no option 'prior'"),
        (METHODS, "verdiff:priorr", "did you mean 'prior'"),
        (METHODS, "verdiff:prior:prior", r"no value, and stands last \(verdiff:prior\)"),
        (METHODS, "verdiff:prior=on", r"no value, and stands last \(verdiff:prior\)"),
        (METHODS, "hidiff:prior=on:steps=3", r"stands last \(hidiff:steps=3:prior\)"),
        (METHODS, "verdiff:prior:predicts=noise", r"last \(verdiff:predicts=noise:prior\)"),
        (METHODS, "medsegdiff:samples:steps=3", r"steps=3:samples\); the option of this name has"),
        (METHODS, "verdiff:pirot=on", "has no option 'pirot'; did you mean 'prior_width'"),
        (METHODS, "medsegdiff:answer=v1", "has no option 'answer'; did you mean 'rule=v1'?"),
    ],
)
def test_wrong_names_say_what_is_right(group: str, spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        registry.expand(group, spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("smp:arch=Unett", "no architecture 'Unett'; did you mean 'Unet'"),
        ("smp:encoder=resnet35", "no encoder 'resnet35'; did you mean 'resnet"),
        ("smp:encoder=tu-nothing", "no encoder 'tu-nothing'"),
    ],
)
def test_smp_refuses_what_the_library_does_not_have(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        registry.method(Spec.parse(spec))


NEAR = "{patient},*_a"
"""A pattern with a comma."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p/x:y", [Spec("p/x:y")]),
        ("p/x:y, z", [Spec("p/x:y, z")]),
        ("p/x , plain,mr", [Spec("p/x"), Spec("plain"), Spec("mr")]),
        (f"p/x:y:pattern={NEAR},mr", [Spec("p/x:y", (f"pattern={NEAR}",)), Spec("mr")]),
        ("p/x:pattern={patient}:*", [Spec("p/x", ("pattern={patient}:*",))]),
        ("p/x:largest=9,p/x:y", [Spec("p/x", ("largest=9",)), Spec("p/x:y")]),
    ],
)
def test_a_folder_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[Spec]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("p/x", "p/x:y", "p/x:y, z", "plain"):
        Path(name).mkdir(parents=True)
    assert registry.expand(DATASETS, text) == expected
    # What a command prints may be given to the next one.
    assert registry.expand(DATASETS, ",".join(map(str, expected))) == expected
    folders = [spec for spec in expected if spec.name != "mr"]
    assert [registry.dataset(spec).folder for spec in folders] == [Path(s.name) for s in folders]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p/none:a/b:pattern=3", "dataset p/none:a/b is not there; expected a folder with images/"),
        ("p/x:patern=3", "p/x has no option 'patern'; did you mean 'pattern'"),
        ("p/x:pattern={patient}_*,xry", "unknown dataset 'xry'; did you mean 'xray'"),
        ("z" * 5000, "unknown dataset"),
    ],
)
def test_a_wrong_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p/x").mkdir(parents=True)
    with pytest.raises(UsageError, match=message):
        registry.expand(DATASETS, text)


@pytest.mark.parametrize(("own", "name"), [("xray", "folder-xray"), ("MR", "folder-MR")])
def test_a_folder_is_no_registered_dataset(own: str, name: str) -> None:
    assert registry.dataset(Spec(f"./{own}")).name == name


PLUGIN = '''
from dataclasses import dataclass
import torch
from torch import nn
from bench.spec.method import Method
from bench.spec.options import option

@dataclass(frozen=True)
class Line(Method):
    """One convolution."""
    kernel: int = option(3, "size of the kernel", low=1)
    title = "Line"
    source = "a plugin of the tests"

    def build(self, task):
        return nn.Conv2d(1, 1, self.kernel, padding="same")
'''


def plugin(folder: Path, value: str = "line_plugin:Line", name: str = "line") -> dict[str, str]:
    """Install a package beside the project, as pip would; return the environment with it."""
    (folder / "line_plugin.py").write_text(PLUGIN)
    info = folder / f"{name}_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[verdiff_bench.methods]\n{name} = {value}\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> Install:
    """Return what installs the package for this process."""

    def into(**how: str) -> None:
        plugin(tmp_path, **how)
        monkeypatch.syspath_prepend(tmp_path)
        forget()

    return into


def test_an_installed_package_adds_a_method_without_an_edit(bench: Bench, install: Install) -> None:
    install()
    line = next(row for row in json.loads(bench("methods", "--json")) if row["name"] == "line")
    assert line["options"]["kernel"]["default"] == 3


def test_the_contract_test_picks_the_added_method_up(install: Install) -> None:
    install()
    marks = test_contract.test_a_registered_method.pytestmark
    tested = next(mark.args[1] for mark in marks if mark.args[0] == "name")
    assert {*tested, "line"} <= {*registry.names(METHODS)}
    for check in METHOD_CHECKS:
        check(tiny("line"))


def test_a_package_that_cannot_be_imported_is_named(bench: Bench, install: Install) -> None:
    install(value="no_such_module:Line")
    out = bench("methods", code=2)
    assert "'line' cannot be imported from no_such_module:Line" in out


def test_two_packages_that_claim_one_name_are_refused(bench: Bench, install: Install) -> None:
    install(name="unet")
    assert "'unet' is claimed by" in bench("methods", code=2)
