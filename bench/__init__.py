"""verdiff-bench: compare methods of 2D medical image segmentation, and defend every number."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Return `__version__`, that of the installed package; asked for only where it is needed."""
    if name != "__version__":
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    from importlib.metadata import version

    return version("verdiff-bench")
