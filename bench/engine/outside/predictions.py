"""Predictions of a folder: how they are read, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.data.levels import levels_of
from bench.data.readers import labels, masks, pairing
from bench.data.readers.masks import Kind, Labels, UnfitError
from bench.data.readers.pairing import USUAL, Side
from bench.data.readers.walk import same, stem
from bench.engine.outside.references import References, Rules, together
from bench.spec.case import BACKGROUND, Decision
from bench.spec.errors import UsageError, short_list

WRONG: Mapping[Kind, str] = {
    "grid": "have another size, spacing or place than their reference",
    "probabilities": "hold probabilities, expected masks: --threshold 0.5 cuts them there",
    "unreadable": "cannot be read as masks",
}
"""What is wrong with predictions, by kind."""
GREYS = (
    "hold {count} grey values, as probabilities in 8 bits do, expected masks: "
    "--foreground-predictions '>127' cuts them there"
)
"""What is wrong with masks of more than `labels.MANY` values."""


def wrong_names(
    name: str,
    side: Side,
    lacking: Sequence[str],
    spare: Sequence[Path],
    references: References,
    rules: Rules,
) -> list[str]:
    """Return a line for each thing that is wrong with the names of predictions."""
    lines = []
    # Names without usual endings such as `_pred`.
    bare_references = {USUAL.sub("", key) for key in references.targets}
    twice: list[str] = []
    alone: list[str] = []
    for path in spare:
        bare_name = USUAL.sub("", pairing.key_of(path, side.folder))
        shown = path.relative_to(side.folder).as_posix()
        (twice if bare_name in bare_references else alone).append(shown)
    if twice:
        lines.append(
            f"{name}: {short_list(twice, what='prediction')} are second ones of a case; "
            "expected one a case: remove the others"
        )
    ending, paired = _ending([] if rules.ending else alone, lacking)
    if ending:
        way = f"they have the names of references without {ending}: --ending={ending}"
        lines.append(f"{name}: {short_list(alone, what='prediction')} of no case by name; {way}")
        lacking = [key for key in lacking if key not in paired]
    elif alone:
        way = "remove them, add the references, or name an ending of their names: --ending _pred"
        if {pairing.bare(path) for path in alone} & {pairing.bare(key) for key in lacking}:
            way = "the folders differ: lay predictions in folders as the references lie"
        lines.append(
            f"{name}: {short_list(alone, what='prediction')} of a case that has no reference; {way}"
        )
    if lacking and rules.missing == "refuse":
        cases = [references.targets[key].case for key in lacking]
        lines.append(
            f"{name}: {short_list(cases)} of {len(references.targets)} have no prediction; "
            "add them, or --missing zero scores them as failures"
        )
    return lines


def _ending(alone: Sequence[str], lacking: Sequence[str]) -> tuple[str, set[str]]:
    """Return an ending without which all names are of cases that lack a prediction, and these.

    The ending is empty where there is none.

    Args:
        alone: The paths of predictions that belong to no case.
        lacking: The names that predictions of cases would be paired by.
    """
    cases = {USUAL.sub("", key): key for key in lacking}
    names = [f"{path[: -len(Path(path).name)]}{stem(Path(path))}" for path in alone]
    first = names[0] if names else ""
    for length in range(1, len(first)):
        ending = first[len(first) - length :]
        bare = [same(name.removesuffix(ending)) for name in names if name.endswith(ending)]
        if len(set(bare)) == len(names) and cases.keys() >= set(bare):
            return ending, {cases[name] for name in bare}
    return "", set()


def read_all(
    files: Mapping[str, Path], references: References, rules: Rules
) -> tuple[dict[str, Labels], dict[Kind, list[tuple[str, str]]]]:
    """Return the predictions on their references' grids, and what is wrong by kind."""

    def one(key: str) -> Labels | UnfitError:
        target = references.targets[key]
        try:
            drawn = masks.fitted(
                references.grids[key], masks.read(files[key]), target.file, files[key]
            )
            return masks.decoded(drawn, files[key], rules.threshold)
        except UnfitError as error:
            return error
        except UsageError as error:
            return UnfitError("unreadable", str(error))

    read: dict[str, Labels] = {}
    unfit: dict[Kind, list[tuple[str, str]]] = {}
    for key, result in zip(files, together(one, list(files)), strict=True):
        if isinstance(result, UnfitError):
            unfit.setdefault(result.kind, []).append((files[key].name, str(result)))
        else:
            read[key] = result
    return read, unfit


def line_of(name: str, kind: Kind, problems: Sequence[tuple[str, str]]) -> str:
    """Return the line on predictions that cannot be compared."""
    names = short_list([file for file, _ in problems], what="prediction")
    _, first_reason = problems[0]
    return f"{name}: {names} {WRONG[kind]}; the first: {first_reason}"


def decided(
    name: str,
    read: Mapping[str, Labels],
    files: Mapping[str, Path],
    references: References,
    rules: Rules,
) -> tuple[Decision, list[str]]:
    """Return which labels of predictions are foreground, and a line where that is not known.

    Without a choice of their own they are drawn as the references are: their labels are counted
    together.
    """
    counted = [(mask, files[key]) for key, mask in read.items()]
    classes = rules.classes_of_predictions or rules.classes
    if classes:
        several = references.classes or len(classes.names) > 1
        if several and set(classes.names) != set(references.classes):
            wanted = ", ".join(references.classes) or "one foreground"
            return Decision(frozenset()), [
                f"{name}: --labels-predictions names {', '.join(classes.names)}; expected the "
                f"references' classes: {wanted}"
            ]
        try:
            decision = classes.decide(masks.census(counted), partial=True)
        except UsageError as error:
            return Decision(frozenset()), [
                f"{name}: {error} (for predictions alone: --labels-predictions)"
            ]
        if decision.void and not decision.foreground:
            return decision, [
                f"{name}: predictions hold {', '.join(sorted(decision.void))} alone, which is void "
                "and no class; expected the labels of classes: --labels-predictions says what "
                "theirs are"
            ]
        return decision, []
    if not rules.of_predictions and not rules.foreground:
        grey = [file.name for mask, file in counted if len(mask.names) > labels.MANY]
        if grey:
            most = max(len(mask.names) for mask, _ in counted)
            names = short_list(grey, what="prediction")
            return Decision(frozenset()), [f"{name}: {names} {GREYS.format(count=most)}"]
    option = rules.of_predictions
    if all(set(mask.names) <= {BACKGROUND} for mask, _ in counted):
        return Decision(frozenset()), []  # nothing was predicted, whatever foreground would be
    if not option:
        option = rules.foreground
        counted += [(mask, references.targets[key].file) for key, mask in references.read.items()]
    try:
        return labels.choose(masks.census(counted), option), []
    except UsageError as error:
        return Decision(frozenset()), [
            f"{name}: {error} (for predictions alone: --foreground-predictions)"
        ]


def doubt(name: str, read: Mapping[str, Labels], references: References, decision: Decision) -> str:
    """Return what to tell of predictions that are all empty, or mostly foreground; or nothing."""
    if references.classes or not read:
        return ""
    ours = _share(read.values(), decision)
    theirs = _share(references.read.values(), references.decision)
    if not ours and theirs:
        return f"no mask of {name} has foreground"
    if ours > labels.MOSTLY >= theirs:
        return (
            f"{' and '.join(sorted(decision.foreground))} of {name} is foreground, though it "
            f"covers {100 * ours:.0f} % of all pixels; where its masks are inverted: "
            "--foreground-predictions 0"
        )
    return ""


def _share(masks_of: Iterable[Labels], decision: Decision) -> float:
    """Return the share of all pixels that are foreground."""
    total = foreground = 0
    for mask in masks_of:
        total += sum(mask.counts)
        for label, pixels in zip(mask.names, mask.counts, strict=True):
            foreground += pixels if label in decision.foreground else 0
    return foreground / max(1, total)


def levels(
    name: str,
    read: Mapping[str, Labels],
    files: Mapping[str, Path],
    references: References,
    decision: Decision,
) -> dict[str, int]:
    """Return the numbers of the instances that labels of predictions name.

    There are none where no prediction holds two labels, where these are numbers of classes, or
    where no instances are asked for.

    Raises:
        UsageError: Two labels of a prediction have one number.
    """
    first = next(iter(references.targets))
    labels_of_masks = (set(mask.names) & decision.foreground for mask in read.values())
    if references.classes or references.instances(first) is None:
        return {}
    if not any(len(names) > 1 for names in labels_of_masks):
        return {}
    census = masks.census((mask, files[key]) for key, mask in read.items())
    return levels_of(name, sorted(decision.foreground), census)


def are_alone(read: Mapping[str, Labels], references: References, decision: Decision) -> bool:
    """Return whether predictions that hold one label each are cut into components.

    The labels of a binary mask, such as 1 and 255, need no word.
    """
    first = next(iter(references.targets))
    if references.classes or references.instances(first) is None:
        return False
    held: set[str] = set()
    for mask in read.values():
        held |= set(mask.names) & decision.foreground
    return bool(held - set(labels.BINARY))
