"""All SQL of the ledger."""

from collections.abc import Collection, Mapping

from services.runtime.database import Reader
from services.runtime.messaging.changes import Append, Put, Row
from tests.support.ledger.domain import Account, EntryPosted, Mirror

__all__ = [
    "account",
    "account_rows",
    "accounts_after",
    "effect_row",
    "entry_exists",
    "mirror_row",
    "mirrors",
    "total_row",
    "totals",
]  # fmt: skip


async def account(read: Reader, account_id: str) -> Account:
    """An account; one without a row is empty."""
    row = await read.fetchrow("select balance, version from account where id = $1", account_id)
    return Account(account_id) if row is None else Account(account_id, row["balance"], row["version"])


def account_rows(before: Account, event: EntryPosted) -> list[Row | Append]:
    """What a posted entry changes."""
    return [
        Row("account", {"id": before.id}, {"balance": event.balance}, before.version),
        Append("entry", {"id": event.entry, "account": before.id, "amount": event.amount}),
    ]


async def accounts_after(read: Reader, account_id: str, limit: int) -> list[Account]:
    """Accounts behind an id, in order."""
    rows = await read.fetch("select id, balance, version from account where id > $1 order by id limit $2", account_id, limit)
    return [Account(row["id"], row["balance"], row["version"]) for row in rows]


async def entry_exists(read: Reader, entry_id: str) -> bool:
    """Whether an entry has this id, in whatever account."""
    return bool(await read.fetchval("select exists (select 1 from entry where id = $1)", entry_id))


async def mirrors(read: Reader, accounts: Collection[str]) -> Mapping[str, Mirror]:
    """Mirrors of many accounts, poisoned ones too."""
    rows = await read.fetch(
        """select a.id, m.total, m.count, m.version, p.account is not null as poisoned
           from unnest($1::text[]) a (id) left join mirror m on m.account = a.id left join poison p on p.account = a.id""",
        list(accounts),
    )
    return {row["id"]: Mirror(row["total"] or 0, row["count"] or 0, row["version"] or 0, row["poisoned"]) for row in rows}


def mirror_row(account_id: str, before: Mirror, after: Mirror) -> Row:
    """The mirror after an entry."""
    return Row("mirror", {"account": account_id}, {"total": after.total, "count": after.count}, before.version)


def effect_row(consumer: str, event_id: object, source: str, sequence: int, amount: int) -> Append:
    """One row per effect, without any uniqueness: a double effect must show, not fail."""
    values = {"consumer": consumer, "event_id": event_id, "source": source, "sequence": sequence, "amount": amount}
    return Append("effect", values)


async def totals(read: Reader, accounts: Collection[str]) -> Mapping[str, int]:
    """Totals of the projection."""
    rows = await read.fetch("select account, total from total where account = any($1)", list(accounts))
    return {row["account"]: row["total"] for row in rows}


def total_row(account_id: str, total: int) -> Put:
    """The projection's row of an account."""
    return Put("total", {"account": account_id}, {"total": total})
