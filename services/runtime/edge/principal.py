"""Who is asking. The one thing that authentication hands to everything behind it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["Authenticate", "Principal", "Role", "Unauthenticated"]


class Role(StrEnum):
    """What kind of user somebody is. A route's policy names the roles that may use it."""

    PATIENT = "patient"
    PRESCRIBER = "prescriber"
    NURSE = "nurse"
    THERAPIST = "therapist"
    FRONT_DESK = "front_desk"
    INTEGRATION = "integration"
    AUDITOR = "auditor"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated user or program.

    Attributes:
        issuer: who vouches for it (JWT ``iss``).
        subject: its id there (``sub``); with the issuer it names one person or program for ever.
        client: the program it acts through (``azp`` or ``client_id``).
        roles: what it may be; empty is possible and may do nothing.
        person: opaque id of the staff member or patient in our records; the subject where the token names none.
        authenticated_at: when the person last proved who they are (``auth_time``), for signatures; None if unknown.
        expires_at: when the token ends; an answer that goes on ends with it.
    """

    issuer: str
    subject: str
    client: str
    roles: frozenset[Role]
    person: str
    authenticated_at: datetime | None = None
    expires_at: datetime | None = None


class Unauthenticated(Exception):
    """The token is missing, malformed, expired, for somebody else, or not verifiable now. ``code`` is stable."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


Authenticate = Callable[[str], Awaitable[Principal]]
"""From a bearer token to its principal; raises ``Unauthenticated``."""
