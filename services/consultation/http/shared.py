"""What the routes of people and of cases have in common."""

from typing import Literal

from services.directory import policy
from services.runtime.edge.policy import Bearer
from services.runtime.edge.principal import Role

__all__ = ["STAFF", "TREATS", "Therapy"]

STAFF = frozenset({Role.FRONT_DESK, Role.NURSE, Role.PRESCRIBER, Role.THERAPIST})
TREATS = Bearer(STAFF, policy.treats)

Therapy = Literal["ketamine", "semaglutide", "testosterone"]
