"""One-time links: who may answer what, until when, how often the birth date may be wrong. Pure but for the hash it is given."""

import datetime as dt
import hashlib
import hmac
from dataclasses import dataclass, replace
from uuid import UUID

__all__ = ["TRIES", "Contact", "Link", "answered", "birth_hash", "is_birth_date", "link_hash", "refusal", "tried", "tried_anew"]

TRIES = 5
"""How often a birth date may be given wrongly before a link is dead (decision B11)."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a patient is reached, and by what they agreed to be."""

    patient: UUID
    email: str | None
    phone: str | None
    email_agreed: bool
    birth_salt: bytes
    birth_hash: bytes
    entered_by: str
    entered_at: dt.datetime
    version: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link to questionnaires; each may be answered once.

    Attributes:
        token_hash: SHA-256 of the token, which only the patient's mail holds.
        tries: birth dates that were wrong.
        status: ``open``, ``used``, ``dead`` or ``withdrawn``.
    """

    token_hash: bytes
    id: UUID
    patient: UUID
    instruments: tuple[str, ...]
    made_at: dt.datetime
    expires_at: dt.datetime
    tries: int = 0
    answered: tuple[str, ...] = ()
    status: str = "open"
    version: int = 0


def link_hash(token: str) -> bytes:
    """Under which a token is found. It is random and long, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def birth_hash(birth_date: dt.date, salt: bytes) -> bytes:
    """What is kept of a birth date. There are few of them: scrypt makes each guess dear."""
    return hashlib.scrypt(birth_date.isoformat().encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)


def is_birth_date(contact: Contact, birth_date: dt.date) -> bool:
    """Whether this is the patient's."""
    return hmac.compare_digest(birth_hash(birth_date, contact.birth_salt), contact.birth_hash)


def refusal(link: Link, at: dt.datetime, *, again: bool = False) -> str:
    """Why a link opens nothing; empty if it does. With ``again`` a used one holds too: who was not told that the last answer
    has arrived sends it again.
    """
    if link.status != "open" and not (again and link.status == "used"):
        return "link-not-valid"
    return "link-expired" if at >= link.expires_at else ""


def answered(link: Link, *instruments: str, owes_screen: bool) -> Link:
    """These questionnaires were answered. The link is used up with the last one, unless a suicide screen is still owed."""
    known = (*link.answered, *instruments)
    whole = set(known) == set(link.instruments) and not owes_screen
    return replace(link, answered=known, status="used" if whole else link.status)


def tried_anew(link: Link) -> Link:
    """The birth date that was known was wrong: the tries before count for nothing."""
    return replace(link, tries=0, status="open")


def tried(link: Link) -> Link:
    """A wrong birth date was given."""
    tries = link.tries + 1
    return replace(link, tries=tries, status="dead" if tries >= TRIES else link.status)
