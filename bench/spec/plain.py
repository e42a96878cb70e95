"""Plain data (JSON, TOML) to types and back by msgspec, and the one JSON text of a value."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class PlainError(Exception):
    """Data that does not fit its type: says which field, and what was expected."""


def convert(data: object, kind: type[T]) -> T:
    """Return plain data as a type: unknown fields are ignored, missing ones take their defaults.

    Raises:
        PlainError: A field is missing, has another type, or is out of bounds.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise PlainError(_said(error)) from error


def decode(text: bytes | str, kind: type[T]) -> T:
    """Return JSON text as a type, like `convert`.

    Raises:
        PlainError: The text is no JSON, or does not fit the type.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise PlainError(_said(error)) from error
    except UnicodeDecodeError as error:
        raise PlainError("no UTF-8 text") from error


def builtins(value: object) -> Any:
    """Return a typed value as dictionaries, lists and scalars, in the order of its fields."""
    return msgspec.to_builtins(value)


def canonical(value: Any) -> str:
    """Return the one JSON text of plain data: sorted keys, no blanks, shortest floats, no NaN."""
    separators = (",", ":")
    return json.dumps(
        value, sort_keys=True, separators=separators, ensure_ascii=False, allow_nan=False
    )


def content_hash(value: Any) -> str:
    """Return the SHA-256 of plain data's one JSON text, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def _said(error: Exception) -> str:
    """Return msgspec's message with the field first: `lr: expected float > 0.0`."""
    reason, _, where = str(error).replace("`", "").partition(" - at $")
    reason = reason[:1].lower() + reason[1:]
    field = where.removeprefix(".")
    return f"{field}: {reason}" if field else reason
