"""What a profile's sizes mean for its numbers: those of a small one say little."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.spec.profile import load_profile, profiles
from bench.spec.words import count

PAPER_STEPS = 9000
"""Steps at most of the paper's protocol."""
NETWORKS = {
    "half": "networks of half the width",
    "small": "small networks",
    "tiny": "tiny networks",
}
"""By the scale of a profile; the full one is not told."""
WORTH = {
    "full": f"the paper has native sizes and at most {PAPER_STEPS} steps",
    "half": "between trying things and a paper",
    "small": "good for trying things, not for a paper",
    "tiny": "these numbers mean nothing",
}
"""What results of a scale are good for, or what the full scale is compared with."""


def caveat(protocol: Mapping[str, Any]) -> str:
    """Return in what a protocol is smaller than the paper's, and what its numbers are worth.

    It is empty where nothing is smaller, and of scores from outside, whose protocol says no scale.
    """
    scale, steps = protocol.get("scale"), protocol.get("steps", PAPER_STEPS)
    if scale not in WORTH:
        return ""
    parts = []
    side = round(math.sqrt(protocol.get("pixels", 0)))
    if side:
        parts.append(f"images of about {side} x {side} pixels")
    if scale in NETWORKS:
        parts.append(NETWORKS[scale])
    if scale in NETWORKS or steps < PAPER_STEPS:
        parts.append(f"at most {count(steps, 'step')} of training")
    return f"{', '.join(parts)}: {WORTH[scale]}" if parts else ""


def described(name: str, summary: str, protocol: Mapping[str, Any]) -> str:
    """Return a profile's summary; of one that does not ship with the package, its caveat too.

    The summary of a copied file is that of the shipped one, whose steps may be others: then its
    name stands for it.

    Args:
        name: The profile's name.
        summary: Its summary.
        protocol: What `Profile.protocol` returns, or a record has of it.
    """
    words = caveat(protocol)
    if name in profiles() or not words:
        return summary
    for shipped in profiles():
        if load_profile(shipped).summary == summary:
            return f"made from {shipped}; {words}"
    return f"{summary}; {words}"
