"""The services that make up the product, in the order in which they are started and shown."""

import importlib
import os

from services.runtime.service import Service

__all__ = ["SERVICES", "load_services"]

SERVICES: tuple[str, ...] = (
    "services.clinic",
    "services.consultation",
    "services.treatment_planning",
    "services.session_logging",
    "services.follow_up",
    "services.video_visits",
    "services.staff_dashboard",
)
"""Packages, each with an ``app`` module that holds ``SERVICE``."""


def load_services() -> tuple[Service, ...]:
    """Import every service of the deployment: the product's, or those that ``TELEMED_SERVICES`` names instead (packages,
    separated by commas)."""
    named = tuple(name for name in os.environ.get("TELEMED_SERVICES", "").split(",") if name)
    return tuple(importlib.import_module(f"{name}.app").SERVICE for name in named or SERVICES)
