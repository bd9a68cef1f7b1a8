"""What a service knows of patients, staff, sites, opening hours and duty: its own copy, kept by the events of their owners.

A library, not a service: each service that needs it adds the subscription and the tables to its own, so that no service ever
asks another. Policies and gates read these rows.
"""

from pathlib import Path
from types import MappingProxyType

__all__ = ["LIBRARY"]

LIBRARY = MappingProxyType({"directory": Path(__file__).parent / "migrations"})
"""Its tables, for ``Service.libraries``."""
