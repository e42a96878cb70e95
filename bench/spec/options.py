"""Options in a name (`unet:width=32`): dataclass fields, checked by type, bounds and choices."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Container
from typing import Any

from bench.spec.errors import UsageError, did_you_mean
from bench.spec.names import Spec

LARGEST = 10**9
"""The largest number of an option that says no other."""
_WORD = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
"""A free text value: it becomes part of a path."""


def option(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    file: bool = False,
    free: bool = False,
    needs: str = "",
    kw_only: bool = False,
) -> Any:
    """Declare an option of a method or dataset: a dataclass field with help, bounds and choices.

    An option that names a file is given its path, and has the short digest of its content as value
    (`bench.spec.weights`). A free one may hold any character; it must never become part of a path.
    One that is free and has choices takes what is no word besides: a mapping, the name of a file.
    One that has an effect only beside a value of another option `needs` it (`nsa=on`), and is
    refused beside others.
    One of a base class is `kw_only`.
    """
    metadata = {
        "help": text,
        "low": low,
        "high": high,
        "choices": choices,
        "file": file,
        "free": free,
        "needs": needs,
    }
    return dataclasses.field(default=default, metadata=metadata, kw_only=kw_only)


def options(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the options that a class declares, by name."""
    return {f.name: f for f in dataclasses.fields(cls) if f.metadata}  # `option` gives metadata


def parse(spec: Spec, cls: type[Any]) -> dict[str, Any]:
    """Return the checked values of a spec's options.

    Raises:
        UsageError: A key is unknown or twice, a value has the wrong type or is out of bounds, or an
            option has no effect beside another.
    """
    name, known, kinds = spec.name, options(cls), typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    for pair in spec.options:
        key, equals, text = pair.partition("=")
        if key in getattr(cls, "extras", ()) and not (equals and key in known):
            raise UsageError(_misplaced(spec, key, known))
        if key not in known:
            raise UsageError(f"{name} has no option '{key}'; {_hint(key, text, cls)}")
        if not equals or key in given:
            example = f"{name}:{key}={shown(known[key].default)}"
            raise UsageError(f"{name}: expected one '{key}=VALUE', for example {example}")
        given[key] = _value(text, kinds[key], known[key], f"{name}:{key}")
    for key in idle(given, cls):
        other, _ = _needed(known[key])
        raise UsageError(
            f"{name}: {key}={shown(given[key])} has no effect with {other}={shown(given[other])}; "
            "leave one of them out"
        )
    return given


def _misplaced(spec: Spec, row: str, known: Container[str]) -> str:
    """Return what is said of a further row that is given as an option, or before one."""
    kept = [pair for pair in spec.options if pair != row]
    if row not in known:
        kept = [pair for pair in kept if not pair.startswith(f"{row}=")]
    line = (
        f"'{row}' is a further row of {spec.name}, not an option: it has no value, and stands last "
        f"({Spec(spec.name, (*kept, row))})"
    )
    if row in known:
        line += f"; the option of this name has a value: {row}=VALUE"
    return line


def _hint(key: str, text: str, cls: type[Any]) -> str:
    """Return which option was meant instead of an unknown one, by its name or by its value."""
    known = options(cls)
    takers = [name for name, one in known.items() if text in one.metadata["choices"]]
    if len(takers) == 1 and not text.isdigit():
        return f"did you mean '{takers[0]}={text}'? Valid: {', '.join(sorted(known))}."
    # A further row has no value, so it is no answer to `key=value`.
    rows = () if text else getattr(cls, "extras", ())
    return did_you_mean(key, [*known, *rows])


def idle(given: dict[str, Any], cls: type[Any]) -> list[str]:
    """Return the options that have no effect: another is given, not as they need it."""
    known = options(cls)
    without_effect = []
    for key in given:
        other, value = _needed(known[key])
        if other in given and shown(given[other]) != value:
            without_effect.append(key)
    return without_effect


def _needed(known: dataclasses.Field[Any]) -> tuple[str, str]:
    """Return the option that an option needs, and the value that it must have; else two blanks."""
    other, _, value = known.metadata.get("needs", "").partition("=")
    return other, value


def canonical(spec: Spec, given: dict[str, Any], cls: type[Any]) -> Spec:
    """Return a spec with its options in the order of their declaration."""
    pairs = [f"{key}={shown(given[key])}" for key in options(cls) if key in given]
    return Spec(spec.name, tuple(pairs))


def shown(value: Any) -> str:
    """Return a value as it is written in a name."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _value(text: str, kind: Any, spec: dataclasses.Field[Any], where: str) -> Any:
    """Return an option's value.

    Args:
        text: What was given.
        kind: Its type: bool, int, float or str.
        spec: The option.
        where: The option, for errors.

    Raises:
        UsageError: The text is no such value, or is not allowed.
    """
    if spec.metadata.get("file"):
        return _entered(text, where)
    choices = spec.metadata.get("choices", ())
    low, high = spec.metadata.get("low"), spec.metadata.get("high")
    if kind is bool:
        choices = ("on", "off")
    is_word = text.replace("-", "").isalnum()
    if spec.metadata.get("free") and not is_word:
        choices = ()
    if choices and text not in choices:
        raise UsageError(f"{where}: '{text}' is not allowed; {did_you_mean(text, choices)}")
    if kind is bool:
        return text == "on"
    try:
        value = kind(text)
    except ValueError:
        raise UsageError(
            f"{where}: '{text}' is no {kind.__name__}; the default is {shown(spec.default)}"
        ) from None
    if kind is float and not math.isfinite(value):
        raise UsageError(f"{where}: {text} is not finite; the default is {shown(spec.default)}")
    if kind is str and not choices and not spec.metadata.get("free") and not _WORD.fullmatch(text):
        raise UsageError(f"{where}: '{text}' is not allowed; expected letters, digits and . _ + -")
    if kind in (int, float) and abs(value) > LARGEST:
        raise UsageError(f"{where}: {text} is out of range; expected at most {LARGEST}")
    if (low is not None and value < low) or (high is not None and value > high):
        raise UsageError(f"{where}: {text} is out of range; expected {_bounds(low, high)}")
    return value


def _bounds(low: float | None, high: float | None) -> str:
    """Return in words which numbers are allowed."""
    if high is None:
        return f"at least {low}"
    if low is None:
        return f"at most {high}"
    return f"{low} to {high}"


def _entered(text: str, where: str) -> str:
    """Return the short digest of a file, given by its path or by that digest."""
    from bench.spec import weights

    if weights.known(text):
        return text
    try:
        return weights.enter(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
