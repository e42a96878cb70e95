"""The arms of an ablation: a method's on/off options in all combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench.spec import options, registry
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.names import Spec

MOST = 5
"""Factors at most: 32 arms."""


@dataclass(frozen=True)
class Arm:
    """One combination of the factors."""

    spec: Spec
    switches: tuple[bool, ...]
    """Whether each factor is on."""


def arms(text: str, factors: str, scale: str) -> tuple[tuple[str, ...], list[Arm]]:
    """Return the factors and their arms: all off first and all on last, as in the paper's table 2.

    Args:
        text: A method with options; those that are switched may not be among them.
        factors: The options to switch, separated by commas; empty for the method's own choice.
        scale: The profile's scale, which decides the options' defaults.

    Raises:
        UsageError: A factor is no on/off option, is named twice or given as well, or there is none.
    """
    specs = registry.expand(registry.METHODS, text)
    if len(specs) > 1:
        raise UsageError(
            f"--method '{text}' names {len(specs)} methods; "
            f"an ablation switches one, such as {specs[0]}"
        )
    spec = specs[0]
    cls = registry.load(registry.METHODS, spec.name)
    given = options.parse(spec, cls)
    wanted = [part.strip() for part in factors.split(",") if part.strip()]
    chosen = tuple(wanted) or tuple(getattr(cls, "factors", ()))
    _check(chosen, given, spec, _switches(cls))
    defaults = {key: field.default for key, field in options.options(cls).items()}
    defaults.update(cls.scales.get(scale, {}))
    combinations = []
    for slowest_first in product((False, True), repeat=len(chosen)):
        switches = slowest_first[::-1]  # the first factor changes fastest
        values = dict(given)
        for factor, on in zip(chosen, switches, strict=True):
            if on != defaults[factor]:
                values[factor] = on
        for key in options.idle(values, cls):  # an arm lacks the options of what it lacks
            del values[key]
        combinations.append(Arm(options.canonical(spec, values, cls), switches))
    return chosen, combinations


def _switches(cls: type[Any]) -> list[str]:
    """Return the on/off options of a method's own."""
    fields = options.options(cls)
    return [
        key for key, field in fields.items() if isinstance(field.default, bool) and key != "tuned"
    ]


def _check(
    factors: Sequence[str], given: dict[str, Any], spec: Spec, switches: Sequence[str]
) -> None:
    """Refuse factors that cannot be switched."""
    if not factors:
        switch_names = ", ".join(switches) or "none"
        raise UsageError(
            f"{spec.name} has no modules to switch; its on/off options: {switch_names}"
        )
    for factor in factors:
        if factor not in switches:
            hint = did_you_mean(factor, switches)
            raise UsageError(f"{spec.name} has no on/off option '{factor}'; {hint}")
        if factor in given or factors.count(factor) > 1:
            raise UsageError(
                f"--factors switches '{factor}', so it cannot be given in '{spec}' or twice; "
                "leave it out"
            )
    if len(factors) > MOST:
        raise UsageError(
            f"{len(factors)} factors make {2 ** len(factors)} arms; expected {MOST} factors at most"
        )
