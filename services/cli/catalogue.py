"""The services that make up the product, in the order in which they are started and shown."""

import importlib
import os

from services.runtime.service import Service

__all__ = ["SERVICES", "load_services"]

SERVICES: tuple[str, ...] = ("services.clinic",)
"""Packages, each with an ``app`` module that holds ``SERVICE``."""


def load_services() -> tuple[Service, ...]:
    """Import every service of the product, and those named in ``TELEMED_EXTRA_SERVICES`` (comma-separated packages)."""
    extra = tuple(name for name in os.environ.get("TELEMED_EXTRA_SERVICES", "").split(",") if name)
    return tuple(importlib.import_module(f"{name}.app").SERVICE for name in SERVICES + extra)
