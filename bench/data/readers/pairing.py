"""Which mask belongs to which image, by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.data.readers import content
from bench.data.readers.walk import Walk, same, stem
from bench.spec.errors import UsageError

USUAL = re.compile(
    r"([_\-. ](segmentation|masks?|labels?|seg|gt|ground[_ ]?truth|image|img|0000))$",
    re.IGNORECASE,
)
"""Endings by which a mask's name usually differs from its image's."""


FURTHER = re.compile(r"[_\-. ]?\(?[0-9]{1,2}\)?$")
"""What follows the usual ending of an image's second mask: `_mask_1`, `_mask2`, `_mask (2)`."""
SEPARATORS = "_-. "
CHANNEL = re.compile(r"(_[0-9]{4})((?:\.[A-Za-z]+)+)$")
"""How nnU-Net ends the names of an image's channels, with the suffix behind it."""


@dataclass(frozen=True)
class Side:
    """The images of a folder, or its masks."""

    folder: Path
    by_key: dict[str, Path]
    """Each file by its path in the folder, without suffix, as names are compared."""
    unusable: tuple[tuple[Path, str], ...] = ()
    """Files that cannot be used, each with the reason."""
    twice: frozenset[str] = frozenset()
    """Names that several files have: none of them is used."""


@dataclass(frozen=True)
class Pair:
    """An image with its mask."""

    key: str
    image: Path
    mask: Path
    how: str = ""
    """The rule, empty where both have one name."""


def side(folder: Path, below: Walk, suffixes: tuple[str, ...], beside: Iterable[Path] = ()) -> Side:
    """List the files of `images/` or `masks/` by their names.

    Args:
        folder: Where they lie.
        below: The walk through the folder.
        suffixes: What can be read, in lower case.
        beside: Files that belong to a header.
    """
    by_key: dict[str, Path] = {}
    unusable = list(below.broken)
    twins: dict[str, list[Path]] = {}
    belongs = set(beside)
    for path in below.files:
        key = key_of(path, folder)
        if path in belongs:
            continue
        if not path.name.lower().endswith(suffixes):
            what = content.under_no_suffix(path) or f"; expected {', '.join(suffixes)}"
            unusable.append((path, f"no reader is known for it{what}"))
        elif key in by_key:
            twins[key] = [*twins.get(key, [by_key[key]]), path]
        else:
            by_key[key] = path
    for key, paths in twins.items():
        del by_key[key]
        for path in paths:
            other = next(one for one in paths if one != path)
            unusable.append((path, f"{other.name} has this name too; rename or remove one"))
    return Side(folder, by_key, tuple(unusable), frozenset(twins))


def key_of(path: Path, folder: Path) -> str:
    """Return a file's path in a folder, without suffix, as names are compared."""
    within = "" if path.parent == folder else f"{path.relative_to(folder).parent.as_posix()}/"
    return same(within + stem(path))


def pairs(images: Side, masks: Side) -> tuple[list[Pair], list[Path], list[Path]]:
    """Return the pairs, and the images and masks that belong to no pair, in the images' order.

    Equal names come first, then names that differ by usual endings; a name that fits several
    files makes no pair.
    """
    known = {
        key: Pair(key, path, masks.by_key[key])
        for key, path in images.by_key.items()
        if key in masks.by_key
    }
    left = {key: path for key, path in images.by_key.items() if key not in known}
    others = {key: path for key, path in masks.by_key.items() if key not in known}
    bare_images, bare_masks = _by_bare_name(left), _by_bare_name(others)
    for name, keys in bare_images.items():
        fitting = bare_masks.get(name, [])
        if len(keys) == len(fitting) == 1 and name not in known:
            image, mask = keys[0], fitting[0]
            known[image] = Pair(image, left[image], others[mask], _rule(image, mask))
    used = {pair.mask for pair in known.values()}
    paired = [known[key] for key in images.by_key if key in known]
    alone = [
        path for key, path in images.by_key.items() if key not in known and key not in masks.twice
    ]
    spare = [
        path for key, path in masks.by_key.items() if path not in used and key not in images.twice
    ]
    return paired, alone, spare


def whys(
    images: Iterable[Path],
    masks: Iterable[Path],
    paired: Iterable[Pair],
    of_images: Path,
    of_masks: Path,
) -> dict[Path, str]:
    """Return for each image and mask without a pair why it has none.

    Args:
        images: The images without a mask.
        masks: The masks without an image.
        paired: The images that have a mask.
        of_images: The folder of the images.
        of_masks: The folder of the masks.
    """
    reasons = dict.fromkeys(images, "there is no mask of this name in masks/; add it")
    reasons |= dict.fromkeys(masks, "there is no image of this name in images/; add it")
    by_image = {pair.image: pair for pair in paired}
    for path in images:
        first = path.with_name(CHANNEL.sub(r"_0000\2", path.name))
        if first != path and first in by_image:
            reasons[path] = (
                f"is a further channel beside {first.name}, by nnU-Net's names; one alone is read"
            )
    taken = {USUAL.sub("", key_of(path, of_images)): pair for path, pair in by_image.items()}
    for path in masks:
        pair = taken.get(USUAL.sub("", key_of(path, of_masks)))
        if pair:
            reasons[path] = (
                f"{pair.mask.name} is the mask of {pair.image.name} by its name; "
                "leave each image one mask"
            )
        first_name = FURTHER.sub("", key_of(path, of_masks))
        pair = taken.get(USUAL.sub("", first_name))
        if pair and USUAL.search(first_name) and first_name != key_of(path, of_masks):
            reasons[path] = (
                f"may be a further mask of {pair.image.name} beside {pair.mask.name}, by its name; "
                "it is not read: join the two in one file"
            )
    own, others = _by_name(images, of_images), _by_name(masks, of_masks)
    for name in own.keys() & others.keys():
        why = f"{_names(others[name])} may be of {_names(own[name])}; leave each image one mask"
        reasons |= dict.fromkeys((*own[name], *others[name]), f"{why} of its name")
    return reasons


def bare(path: str) -> str:
    """Return the name of a file as it is compared, without folders, suffix and usual endings."""
    return USUAL.sub("", same(stem(Path(path))))


def _by_name(paths: Iterable[Path], folder: Path) -> dict[str, list[Path]]:
    """Return files by their names without usual endings."""
    named: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        named[USUAL.sub("", key_of(path, folder))].append(path)
    return named


def _names(paths: Iterable[Path]) -> str:
    return " and ".join(path.name for path in paths)


def _by_bare_name(keys: Iterable[str]) -> dict[str, list[str]]:
    """Return keys by their name without usual endings."""
    bare: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        bare[USUAL.sub("", key)].append(key)
    return bare


def _rule(image: str, mask: str) -> str:
    """Return in words by which endings two keys differ."""
    endings = [USUAL.search(key) for key in (image, mask)]
    words = [
        f"{kind} end in {match[0]}"
        for kind, match in zip(("images", "masks"), endings, strict=True)
        if match
    ]
    return f"assumed: paired by name, though {' and '.join(words)}"


def endings(images: Side, masks: Side) -> tuple[str, str] | None:
    """Return the endings of all images and all masks without which their names are equal.

    None if there are none, or several masks would fit an image.
    """
    ways = list(product(_tails(_ending(images.by_key)), _tails(_ending(masks.by_key))))
    # Where several fit, one that begins with a separator reads best: _mri, not ri.
    ways.sort(key=lambda way: sum(bool(end) and end[0] not in SEPARATORS for end in way))
    return next((way for way in ways if _fit(images, masks, *way)), None)


def _tails(ending: str) -> list[str]:
    """Return the ends of an ending, the shortest first."""
    return [ending[len(ending) - length :] for length in range(len(ending) + 1)]


def _fit(images: Side, masks: Side, image_end: str, mask_end: str) -> bool:
    names = {key.removesuffix(image_end) for key in images.by_key}
    others = {key.removesuffix(mask_end) for key in masks.by_key}
    return names == others and len(names) == len(images.by_key) == len(masks.by_key)


def _ending(keys: Iterable[str]) -> str:
    """Return the longest ending that all names share; it holds no folder."""
    names = [key.rpartition("/")[2] for key in keys]
    shortest = min(names, key=len)
    if len(names) < 2:
        return ""
    length = next(
        (at for at in range(len(shortest)) if len({name[-1 - at] for name in names}) > 1),
        len(shortest),
    )
    return shortest[len(shortest) - length :]


def without(given: Side, ending: str) -> Side:
    """Return a side whose names lost an ending that the user named; names without it stay.

    Raises:
        UsageError: Two names become the same.
    """
    cut = same(ending)
    by_key: dict[str, Path] = {}
    for key, path in given.by_key.items():
        name = key.removesuffix(cut)
        if name in by_key:
            raise UsageError(
                f"{path} and {by_key[name].name} have one name without {ending}; rename one"
            )
        by_key[name] = path
    return Side(given.folder, by_key, given.unusable, given.twice)
