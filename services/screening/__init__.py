"""Questionnaires, suicide screens and what they open: the level that holds, the task, its clock and the page.

A library, not a service: each service that takes answers adds the tables and routes to its own, so that whoever records a HIGH
writes the task, the timer and the page in the same commit and pages by itself (decision A5: it does not wait for the bus).
"""

from pathlib import Path
from types import MappingProxyType

__all__ = ["APPEND_ONLY", "LIBRARY"]

LIBRARY = MappingProxyType({"screening": Path(__file__).parent / "migrations"})
"""Its tables, for ``Service.libraries``."""
APPEND_ONLY = ("assessment",)
"""Those that are never changed, for ``Service.append_only``."""
