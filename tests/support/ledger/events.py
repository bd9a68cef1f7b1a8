"""What the ledger says in public: the only place that decides what leaves."""

from typing import Annotated

from pydantic import Field

from schemas.envelope import EventData
from schemas.registry import EVENTS, Registry, event_type
from services.runtime.messaging.changes import NewEvent
from tests.support.ledger import domain

__all__ = ["ENTRY_FLAGGED", "ENTRY_POSTED", "REGISTRY", "EntryFlagged", "EntryPosted", "public", "source_of"]


class EntryPosted(EventData):
    """An amount was posted."""

    account: Annotated[str, Field(max_length=40)]
    entry: Annotated[str, Field(max_length=40)]
    amount: int
    balance: int
    padding: Annotated[str, Field(max_length=100_000)] = ""


class EntryFlagged(EventData):
    """An entry that a human must look at now."""

    account: str
    entry: str


ENTRY_POSTED = event_type("ledger", "entry-posted", EntryPosted, since="2026-11-23")
ENTRY_FLAGGED = event_type("ledger", "entry-flagged", EntryFlagged, since="2026-11-23", urgent=True)
REGISTRY = Registry((*EVENTS, ENTRY_POSTED, ENTRY_FLAGGED))


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
