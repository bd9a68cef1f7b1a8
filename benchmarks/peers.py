"""What we compare with; installed by ``make bench`` only, so neither imported nor type-checked before it is used."""

import importlib
from typing import Any

__all__ = ["peer"]


def peer(module: str) -> Any:
    """A module of a peer."""
    return importlib.import_module(module)
