"""Records made by hand: what nobody's outbox has written."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from schemas.envelope import Attributes, headers_of
from services.runtime.messaging import kafka as clients
from tests.support.ledger.events import ENTRY_POSTED, source_of
from tests.support.world import World

__all__ = ["Raw", "entry", "put"]


@dataclass(frozen=True)
class Raw:
    """One record for a topic; without one, the ledger's own."""

    value: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = ""
    id: UUID = field(default_factory=lambda: UUID(int=uuid7().int))


def entry(
    account: str,
    sequence: int,
    *,
    id: UUID | None = None,
    type: str = ENTRY_POSTED.name,
    epoch: int = 1,
    key: str = "",
    topic: str = "",
    data: Mapping[str, Any] | None = None,
) -> Raw:
    """An event as the ledger would have written it, except for what is asked for. The amount of each entry is 1."""
    event = Attributes(id or UUID(int=uuid7().int), type, source_of(account), epoch, sequence, account)
    body = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": event.source,
        "type": type,
        "time": "2026-11-23T10:00:00Z",
        "recordedtime": "2026-11-23T10:00:00Z",
        "datacontenttype": "application/json",
        "partitionkey": account,
        "sequence": f"{sequence:010d}",
        "epoch": epoch,
        "data": data or {"account": account, "entry": f"{account}-{sequence}", "amount": 1, "balance": sequence},
    }
    return Raw(json.dumps(body).encode(), (key or account).encode(), tuple(headers_of(event)), topic, event.id)


async def put(world: World, records: Iterable[Raw]) -> None:
    """Put records on their topics, in order, past everything of ours."""
    producer = clients.producer(world.kafka, "raw")
    await producer.start()
    try:
        sent = [
            await producer.send(record.topic or world.topic, value=record.value, key=record.key, headers=list(record.headers))
            for record in records
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
