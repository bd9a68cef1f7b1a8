"""Proof that a refusal has changed nothing, in any service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.cli.demo.stage import Stage
from tests.support.care import Answer, Care

__all__ = ["GATE", "refused", "unchanged"]

_ASIDE = {"audit", "audit_seal", "idempotency", "consumer_cursor", "consumer_partition", "kernel", "schema_migration"}
"""What tells who has asked and been refused, and how far is read: it changes by being asked, or by itself."""
GATE = {f"session_logging.{table}" for table in ("gate_evaluation", "session", "move", "stream", "outbox")}
"""Where a gate keeps its answer, whatever it was: with its event, and a session that it holds."""


async def _everything(care: Care) -> dict[str, list[str]]:
    """Every row of every service, but for what is set aside."""
    found = {}
    async with care.owner() as connection:
        for service in care.services.values():
            names = await connection.fetch("select tablename from pg_tables where schemaname = $1", service.schema)
            for name in sorted({row["tablename"] for row in names} - _ASIDE):
                table = f"{service.schema}.{name}"
                rows = await connection.fetch(f"select t::text as row from {table} t")
                found[table] = sorted(row["row"] for row in rows)
    return found


@asynccontextmanager
async def unchanged(care: Care, stage: Stage, *but: str, least: int = 30) -> AsyncIterator[None]:
    """What is done in here leaves every row as it was, but for these tables. There are more than so many to look at."""
    await stage.settle()
    before = await _everything(care)
    assert sum(map(len, before.values())) > least
    yield
    await stage.settle()
    after = await _everything(care)
    assert [table for table, rows in after.items() if rows != before[table] and table not in but] == []


def refused(answer: Answer, status: int, code: str) -> Answer:
    assert (answer.status, answer.code, answer.headers["Content-Type"]) == (status, code, "application/problem+json")
    return answer
