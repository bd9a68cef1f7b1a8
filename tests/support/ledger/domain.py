"""Decisions of the ledger: pure."""

from dataclasses import dataclass, replace

__all__ = ["LIMIT", "Account", "EntryPosted", "Mirror", "Overdrawn", "decide_post", "evolve", "mirror_entry"]

LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Account:
    """State of one account; ``version`` is 0 while it has no row."""

    id: str
    balance: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class EntryPosted:
    """An amount was posted to an account."""

    account: str
    entry: str
    amount: int
    balance: int


@dataclass(frozen=True, slots=True)
class Overdrawn:
    """The balance would fall below zero."""

    code: str = "overdrawn"


def decide_post(account: Account, entry: str, amount: int) -> EntryPosted | Overdrawn:
    """Post an amount, unless the balance would leave 0..LIMIT."""
    balance = account.balance + amount
    if not 0 <= balance <= LIMIT:
        return Overdrawn()
    return EntryPosted(account.id, entry, amount, balance)


def evolve(account: Account, event: EntryPosted) -> Account:
    """The account after an event."""
    return replace(account, balance=event.balance, version=account.version + 1)


@dataclass(frozen=True, slots=True)
class Mirror:
    """What a consumer makes of an account's events."""

    total: int = 0
    count: int = 0
    version: int = 0
    poisoned: bool = False


class Poisoned(Exception):
    """The handler cannot deal with this account, until an operator mends it."""


def mirror_entry(mirror: Mirror, amount: int) -> Mirror:
    """Add an entry to the mirror."""
    if mirror.poisoned:
        raise Poisoned
    return replace(mirror, total=mirror.total + amount, count=mirror.count + 1, version=mirror.version + 1)
