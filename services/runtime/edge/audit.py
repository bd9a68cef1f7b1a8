"""Audit rows of requests. A write's row goes into the write's transaction; a read's is committed before the answer leaves."""

import asyncio
from collections.abc import Mapping
from typing import Any

from services.runtime.database import Budget, Database, OutcomeUnknown, Unavailable
from services.runtime.edge.policy import Bearer
from services.runtime.edge.route import Asked, Route
from services.runtime.messaging.changes import AuditEntry, Changes
from services.runtime.messaging.unit_of_work import UnitOfWork, read_context

__all__ = ["ReadAudit", "audit_entry", "target_of"]

_BATCH = 500


def audit_entry(
    route: Route, asked: Asked[Any, Any, Any], target: str, *, related: str = "", reason: str = "", patient: str = ""
) -> AuditEntry:
    """Who did what to which record, from where, under which policy, and why.

    Args:
        related: what they have to do with it, by the policy's relationship; empty for those who were refused.
        patient: whose record it turned out to be, where the request does not say so.
    """
    who = asked.principal
    kind = type(route.policy).__name__
    roles = ", ".join(sorted(who.roles & route.policy.roles)) if isinstance(route.policy, Bearer) else ""
    return AuditEntry(
        who.person,
        route.audit or route.name,
        target,
        reason,
        patient=patient,
        client=f"{who.issuer} {who.client}",
        origin=asked.origin,
        policy=f"{kind}: {roles}; {related}" if roles and related else f"{kind}: {roles}" if roles else kind,
        request=asked.request_id,
    )


def target_of(record: Mapping[str, str]) -> str:
    """``account/a1``, or several in the order in which the route names them."""
    return "/".join(f"{name}/{value}" for name, value in record.items()) or "-"


class ReadAudit:
    """Commits the rows of many reads together: each waits for its own row, one commit serves all that wait."""

    def __init__(self, database: Database, unit_of_work: UnitOfWork) -> None:
        self._database = database
        self._unit_of_work = unit_of_work
        self._waiting: list[tuple[AuditEntry, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def record(self, entry: AuditEntry) -> None:
        """Returns once the row is committed.

        Raises:
            Unavailable: it is not; then the answer must not leave.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        await written

    async def _write(self) -> None:
        try:
            # What comes while a batch is being committed makes up the next batch.
            while self._waiting:
                await self._write_batch()
        finally:
            # In the same breath as nobody was found waiting: who comes next starts another writer, and never waits for none.
            self._writer = None

    async def _write_batch(self) -> None:
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        problem: Exception | None = None
        try:
            async with self._database.acquire(Budget.HTTP) as connection, connection.transaction():
                context = await read_context(connection)
                await self._unit_of_work.write(connection, [Changes(audit=[entry for entry, _ in batch])], context)
        except Exception as error:  # noqa: BLE001 - each reader is told that its row is not there
            problem = error if isinstance(error, Unavailable | OutcomeUnknown) else Unavailable(type(error).__name__)
        for _, written in batch:
            if written.done():
                continue
            if problem is None:
                written.set_result(None)
            else:
                written.set_exception(Unavailable(str(problem)))
