"""X-ray, read from slice folders with binary masks."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.slices import Slices


@dataclass(frozen=True)
class XRay(Slices):
    """The `xray/` folder of the data directory."""

    name = "xray"
    title = "X-ray"
