"""Use cases of the ledger, one function each."""

import json
from dataclasses import dataclass

from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, RaisePage, Rejected, Reply
from tests.support.ledger import domain, events, store

__all__ = ["PostEntry", "post_entry"]


@dataclass(frozen=True, slots=True)
class PostEntry:
    """Post an amount to an account."""

    account: str
    entry: str
    amount: int
    flagged: bool = False
    padding: str = ""
    page: bool = False


async def post_entry(command: PostEntry, read: Reader, context: Context) -> Changes | Rejected:
    """Load, decide, answer with what to write."""
    account = await store.account(read, command.account)
    decided = domain.decide_post(account, command.entry, command.amount)
    if isinstance(decided, domain.Overdrawn):
        return Rejected(decided.code)
    if await store.entry_exists(read, command.entry):
        return Rejected("entry-exists")
    return Changes(
        rows=store.account_rows(account, decided),
        events=events.public(decided, flagged=command.flagged, padding=command.padding),
        pages=[RaisePage("ledger.flagged", f"flagged:{command.entry}", command.account)] if command.page else [],
        reply=Reply(201, json.dumps({"entry": decided.entry, "balance": decided.balance}).encode()),
    )
