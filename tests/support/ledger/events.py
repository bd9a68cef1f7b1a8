"""What the ledger says in public: the only place that decides what leaves."""

from typing import Annotated

from pydantic import Field

from schemas.envelope import EventData
from schemas.events import EVENTS
from schemas.events.shared import audit_sealed
from schemas.fields import Code
from schemas.registry import Registry, event_type
from services.runtime.messaging.changes import NewEvent
from tests.support.ledger import domain

__all__ = ["ENTRY_FLAGGED", "ENTRY_POSTED", "REGISTRY", "EntryFlagged", "EntryPosted", "public", "source_of"]


class EntryPosted(EventData):
    """An amount was posted.

    Attributes:
        account: to which it was posted.
        entry: id of the entry.
        amount: in cents; negative takes away.
        balance: of the account afterwards.
        padding: makes an event large. It is free text, which a product's event may not have.
    """

    account: Annotated[Code, Field(max_length=40)]
    entry: Annotated[Code, Field(max_length=40)]
    amount: int
    balance: int
    padding: Annotated[str, Field(max_length=100_000)] = ""


class EntryFlagged(EventData):
    """An entry that a human must look at now.

    Attributes:
        account: to which it was posted.
        entry: id of the entry.
    """

    account: Annotated[Code, Field(max_length=40)]
    entry: Annotated[Code, Field(max_length=40)]


ENTRY_POSTED = event_type(
    "ledger",
    "entry-posted",
    EntryPosted,
    since="2026-11-23",
    sample=EntryPosted(account="a1", entry="e7", amount=-250, balance=1750, padding="x"),
)
ENTRY_FLAGGED = event_type(
    "ledger", "entry-flagged", EntryFlagged, since="2026-11-23", urgent=True, sample=EntryFlagged(account="a1", entry="e7")
)
REGISTRY = Registry((*EVENTS, ENTRY_POSTED, ENTRY_FLAGGED, audit_sealed("ledger")))


def source_of(account: str) -> str:
    """Source of an account's events."""
    return f"/ledger/accounts/{account}"


def public(event: domain.EntryPosted, *, flagged: bool = False, padding: str = "") -> list[NewEvent]:
    """The public events of a decision."""
    posted = EntryPosted(account=event.account, entry=event.entry, amount=event.amount, balance=event.balance, padding=padding)
    events = [NewEvent(source_of(event.account), ENTRY_POSTED.name, event.account, posted)]
    if flagged:
        data = EntryFlagged(account=event.account, entry=event.entry)
        events.append(NewEvent(source_of(event.account), ENTRY_FLAGGED.name, event.account, data))
    return events
