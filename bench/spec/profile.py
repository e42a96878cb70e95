"""Profiles: protocols that all methods of a run share, shipped or a user's own."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from bench.spec import plain
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.metrics import TOLERANCE
from bench.spec.names import safe_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Degrees = Annotated[float, msgspec.Meta(ge=0, le=180)]
Share = Annotated[float, msgspec.Meta(ge=0, le=0.5)]
Elastic = Annotated[float, msgspec.Meta(ge=0, le=0.1)]
"""Above 0.12 of the shorter side, the deformation can fold."""
Scale = Literal["full", "half", "small", "tiny"]
Flips = Literal["none", "horizontal", "vertical", "both"]

_EXAMPLE = "bench/spec/profiles/cpu.toml"
"""A profile that errors name as an example."""
_BASE = "extends"
"""Key of a file that names the profile whose values it does not give itself."""
DEEPEST = 20
"""Profiles that may extend one another."""
OFF = (
    "a line [augmentation], and below it rotation = 0, shift = [0, 0], elastic = 0, contrast = 0, "
    'flips = "none"'
)
"""How a file switches the augmentation off."""
LATER = {
    "nsd_tolerance",
    "tf32",
    "cases_at_once",
    "channels_last",
    "fused_adam",
    "pinned_memory",
}
"""Keys that profiles need not have."""
_CHANGED = re.compile(r"(?P<name>.+?)(-steps(?P<steps>\d+))?(-pixels(?P<pixels>\d+))?")
"""A profile with other steps or pixels: `cpu-steps100-pixels4096`."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far the shared stream changes images and masks; the defaults are the paper's."""

    rotation: Degrees = 30.0
    """Largest rotation in degrees, in both directions (paper, section 3)."""
    shift: tuple[Share, Share] = (0.01, 0.05)
    """Smallest and largest shift as a share of height and width, in both directions (paper)."""
    elastic: Elastic = 0.03
    """Largest displacement of a control point, as a share of the shorter side (the paper gives
    none)."""
    contrast: Share = 0.25
    """Largest change of the distance from the image's mean, as a share (the paper gives none)."""
    flips: Flips = "none"
    """Along which axes half of the images are mirrored (paper: none)."""

    @property
    def words(self) -> str:
        """What is done, in words."""
        low, high = self.shift
        parts = [
            (self.rotation, f"rotation up to {self.rotation:g} degrees"),
            (high, f"shift of {100 * low:g} to {100 * high:g} %"),
            (self.elastic, f"elastic up to {100 * self.elastic:g} %"),
            (self.contrast, f"contrast up to {100 * self.contrast:g} %"),
            (self.flips != "none", f"flips: {self.flips}"),
        ]
        return ", ".join(words for used, words in parts if used) or "off"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A protocol that all methods share: sizes of images and networks, and length of training."""

    name: str
    summary: str
    scale: Scale
    """Which of a method's sizes is built."""
    pixels: Natural
    """Pixels of the network grid that every case is mapped to; 0 keeps each case's native size."""
    steps: Count
    """Optimiser steps at most."""
    batch: Count
    lr: Rate
    """Adam's learning rate, for methods that bring no optimiser of their own."""
    validate_every: Count
    patience: Count
    """Validations without a lower validation loss before training stops."""
    validation_cases: Natural
    """Validation cases at most, spread over the validation patients; 0 takes all."""
    threads: Count
    """Threads of one cell on the CPU. Their number may change the last bits of a result."""
    augmentation: Augmentation
    phantom_patients: dict[str, Count]
    """Simulated patients of each phantom."""
    phantom_slices: dict[str, Count]
    """Cases of each simulated patient."""
    nsd_tolerance: Rate = TOLERANCE
    """Largest distance that NSD accepts, in mm where the spacing is known, else in pixels."""
    tf32: bool = False
    """Whether a GPU may round the factors of products of float32 to 10 bits (TF32), which is fast;
    PyTorch alone would round those of convolutions and not those of matrices."""
    cases_at_once: Count = 1
    """Cases of equal size that are validated and predicted at once, where a method allows it."""
    channels_last: bool = True
    """Whether channels are the last axis in memory, which is faster for convolutions. The sums are
    taken in another order, which changes the last bits of a step; dropout drops other pixels."""
    fused_adam: bool = True
    """Whether Adam and AdamW update all weights in few kernels; last bits of a result differ."""
    pinned_memory: bool = True
    """Whether a GPU fetches batches while it computes, from memory that is never moved. The values
    are the same either way."""

    def protocol(self) -> dict[str, Any]:
        """Return what may change a result, as plain data that JSON gives back as it is.

        Sizes of phantoms are left out, because the digest of a dataset covers them; so is pinned
        memory, which changes no value. The paper's
        augmentation, the usual tolerance, exact products, cases one by one, channels last and the
        fused Adam too, which older results do not name.
        """
        values = plain.decode(plain.canonical(asdict(self)), dict)
        if self.augmentation == Augmentation():
            del values["augmentation"]
        if self.nsd_tolerance == TOLERANCE:
            del values["nsd_tolerance"]
        if not self.tf32:
            del values["tf32"]
        if self.cases_at_once == 1:
            del values["cases_at_once"]
        for switch in ("channels_last", "fused_adam"):
            if values[switch]:
                del values[switch]
        for name in ("summary", "phantom_patients", "phantom_slices", "pinned_memory"):
            del values[name]
        return values


def profiles() -> list[str]:
    """Return the names of the profiles that ship with the package."""
    files = resources.files("bench.spec.profiles").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def changed(name: str, steps: int | None, pixels: int | None) -> str:
    """Return the name of a profile with other steps or pixels, which `load_profile` reads."""
    for key, value in (("steps", steps), ("pixels", pixels)):
        name += "" if value is None else f"-{key}{value}"
    return name


def name_of(text: str) -> str:
    """Return the name that results of a profile lie under: that of a user's file without `.toml`.

    The file need not be there.

    Raises:
        UsageError: The file's name cannot be part of a path.
    """
    match = _CHANGED.fullmatch(text)
    base = match["name"] if match else text
    if not base.endswith(".toml"):
        return text
    other_steps_or_pixels = text[len(base) :]
    return safe_name(Path(base).stem, "profile") + other_steps_or_pixels


def load_profile(name: str) -> Profile:
    """Read a profile by its name, or from a `.toml` file of the user's own.

    The name may end with other steps or pixels, see `changed`.

    Raises:
        UsageError: The profile is unknown, is no TOML, lacks or adds a key, or a value is wrong.
    """
    match = _CHANGED.fullmatch(name)
    base, changes = name, {}
    if match and name not in profiles():
        base = match["name"]
        changes = {key: int(match[key]) for key in ("steps", "pixels") if match[key]}
    values = _read(base) | changes
    if changes:  # the summary may say how many steps there are
        values["summary"] = f"{Path(base).stem} with its own {', '.join(sorted(changes))}"
    return _checked(values, name_of(name), base)


def _read(name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the values of a profile's file, with those of the profile that it extends."""
    path = Path(name)
    if name.endswith(".toml"):
        if not path.is_file():
            shipped = ", ".join(profiles())
            raise UsageError(f"profile file {name} is not there; shipped profiles: {shipped}")
        text = path.read_text(encoding="utf-8", errors="replace")
    elif name in profiles():
        file = resources.files("bench.spec.profiles") / f"{name}.toml"
        text = file.read_text(encoding="utf-8")
    else:
        raise UsageError(f"unknown profile '{name}'; {did_you_mean(name, profiles())}")
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # too many digits, too deep a list
        raise UsageError(f"profile {path} is no TOML: {error}") from error
    base = values.pop(_BASE, None)
    return values if base is None else _extended(values, base, path, (*seen, _identity(name)))


def _identity(name: str) -> str:
    """Return what tells a profile from another: of a file its path, however it is written."""
    return str(Path(name).resolve()) if name.endswith(".toml") else name


def _extended(
    values: dict[str, Any], base: object, path: Path, seen: tuple[str, ...]
) -> dict[str, Any]:
    """Return the values of a profile over those of its base; tables are joined key by key."""
    if not isinstance(base, str):
        raise UsageError(f'profile {path}: {_BASE}: expected a name or a file, as "cpu"')
    if base.endswith(".toml"):
        base = str(path.parent / base)
    if _identity(base) in seen:
        raise UsageError(f"profile {path} extends itself, over {base}; name another base")
    if len(seen) > DEEPEST:
        raise UsageError(f"profile {path} is the end of more than {DEEPEST} {_BASE}; join them")
    joined = _read(base, seen)
    name, own = Path(base).stem, []
    for key, value in sorted(values.items()):
        old = joined.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = {**old, **value}
        if value != old:
            own.append(key)
        joined[key] = value
    if "summary" not in values:
        joined["summary"] = f"{name} with its own {', '.join(own)}"
        if not own:
            joined["summary"] = f"{name}, of which nothing is changed"
    return joined


def _checked(values: dict[str, Any], name: str, path: str) -> Profile:
    """Return the values of a profile's file as a profile."""
    _check_keys(values, path)
    augmentation = values["augmentation"]
    if not isinstance(augmentation, Mapping):
        raise UsageError(
            f"profile {path}: augmentation is a section, not {augmentation!r}; to switch it off, "
            f"write {OFF}"
        )
    _check_choice("scale", values["scale"], get_args(Scale), path)
    _check_choice("augmentation.flips", augmentation["flips"], get_args(Flips), path)
    try:
        profile = plain.convert({"name": name, **values}, Profile)
    except plain.PlainError as error:
        said = str(error).replace("expected object", "expected a section such as { mr = 5 }")
        raise UsageError(f"profile {path}: {said}; see {_EXAMPLE}") from error
    if profile.phantom_patients.keys() != profile.phantom_slices.keys():
        raise UsageError(
            f"profile {path}: phantom_patients and phantom_slices must name the same datasets"
        )
    low, high = profile.augmentation.shift
    if low > high:
        raise UsageError(
            f"profile {path}: augmentation.shift: the smallest, {low:g}, is above {high:g}"
        )
    return profile


def _check_keys(values: Mapping[str, Any], path: str) -> None:
    """Refuse keys that a profile or a section has not, and missing ones.

    Raises:
        UsageError: There is one; says where it belongs, or the nearest.
    """
    of_profile = {field.name for field in fields(Profile)} - {"name"}
    of_section = {field.name for field in fields(Augmentation)}
    for section, inside in values.items():
        if not isinstance(inside, Mapping):
            continue
        for key in sorted(inside.keys() & of_profile):
            raise UsageError(
                f"profile {path}: {key} stands under [{section}] and belongs to no section; "
                f"move it above the line [{section}]"
            )
    for key in sorted(values.keys() & of_section):
        raise UsageError(
            f"profile {path}: {key} stands outside of a section; move it below a line "
            "[augmentation]"
        )
    _check_section(values, of_profile, of_profile - LATER, path, "")
    augmentation = values["augmentation"]
    if isinstance(augmentation, Mapping):
        _check_section(augmentation, of_section, of_section, path, "[augmentation] ")


def _check_section(
    values: Mapping[str, Any], known: set[str], needed: set[str], path: str, section: str
) -> None:
    """Refuse unknown and missing keys of a section; `section` is empty outside of all.

    Raises:
        UsageError: There is one.
    """
    for key in sorted(values.keys() - known):
        raise UsageError(f"profile {path}: {section}no key '{key}'; {did_you_mean(key, known)}")
    missing = sorted(needed - values.keys())
    if missing:
        raise UsageError(
            f"profile {path}: {section}missing keys: {', '.join(missing)}; "
            f'copy {_EXAMPLE}, or begin with {_BASE} = "cpu"'
        )


def _check_choice(key: str, value: object, valid: tuple[str, ...], path: str) -> None:
    """Refuse a value that is none of the valid ones.

    Raises:
        UsageError: It is none.
    """
    if value not in valid:
        raise UsageError(
            f"profile {path}: {key}: {value!r} is not allowed; {did_you_mean(str(value), valid)}"
        )
