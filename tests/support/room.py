"""The infusion room alone: one process on real servers, with patients whose plans are signed.

What other services own is put there as rows, as their events would leave them; that they do is shown in ``test_chair.py``.
"""

import datetime as dt
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from uuid_utils.compat import uuid7

from schemas.envelope import Attributes, headers_of
from schemas.registry import EventType
from services.runtime.database import Connection
from services.runtime.messaging import kafka as clients
from services.session_logging.subscriptions import FACTS
from services.therapies.ketamine.gates import FACT_OWNERS
from tests.support.care import Care, care
from tests.support.chair import Chair
from tests.support.servers import Servers
from tests.support.stage import on_stage
from tests.support.world import PARTITIONS

__all__ = ["MORNING", "another", "room", "say"]

MORNING = dt.datetime(2027, 1, 25, 10, 30, tzinfo=ZoneInfo("America/New_York"))
"""When the first session of every patient is planned to begin; the next ones two days apart."""
_SINCE = {"valid_from": "2025-01-01T00:00:00+00:00"}
_LICENCE: dict[str, Any] = {"kind": "licence", "region": "US-NY", **_SINCE}
_DOCTOR: list[dict[str, Any]] = [_LICENCE, {"kind": "dea", "site": None, **_SINCE}, {"kind": "acls", **_SINCE}]
_STAFF: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "nurse.a": ("nurse", [_LICENCE]),
    "nurse.b": ("nurse", [_LICENCE]),
    "prescriber.a": ("prescriber", _DOCTOR),
    "psychiatrist.a": ("prescriber", _DOCTOR),
    "therapist.a": ("therapist", []),
}
_TEAM = ("nurse.a", "nurse.b", "prescriber.a", "psychiatrist.a")
_DUTY = {"nurse": "nurse.a", "prescriber": "prescriber.a", "clinic": "psychiatrist.a"}


@asynccontextmanager
async def room(servers: Servers, folder: Path, *, patients: int = 1, sessions: int = 2) -> AsyncIterator[list[Chair]]:
    """One chair for each patient, at 10:00 of the first morning."""
    async with care(servers, folder) as made:
        async with made.owner("session_logging") as connection:
            now = await connection.fetchval("select runtime.clinic_now()")
            await made.advance((MORNING - dt.timedelta(minutes=30) - now).total_seconds())
            await _clinic(made, connection)
            days = [MORNING + dt.timedelta(days=2 * number) for number in range(sessions)]
            plans = [await _patient(made, connection, days) for _ in range(patients)]
        await made.spawn("session_logging")
        async with on_stage(made) as stage:
            yield [Chair(made, stage, patient, planned) for patient, planned in plans]


async def another(chair: Chair, *, sessions: int) -> Chair:
    """One more patient in the same room, with that many sessions that are all planned for now."""
    now = await chair.stage.now()
    async with chair.care.owner("session_logging") as connection:
        patient, planned = await _patient(chair.care, connection, [now] * sessions)
    return Chair(chair.care, chair.stage, patient, planned)


async def say(chair: Chair, kind: EventType, source: str, sequence: int, copies: int = 1, /, **data: object) -> None:
    """What another service says of the chair's patient, on its topic: its sample with other data, as often as asked for."""
    sample = kind.sample
    assert sample is not None
    now = await chair.stage.now()
    event = kind.envelope(
        id=UUID(int=uuid7().int),
        source=source,
        type=kind.name,
        time=now,
        recordedtime=now,
        dataschema=kind.dataschema,
        partitionkey=chair.patient,
        sequence=sequence,
        epoch=1,
        data=sample.model_copy(update={"patient": UUID(chair.patient), **data}),
    )
    headers = headers_of(Attributes(event.id, event.type, source, 1, sequence, chair.patient))
    producer = clients.producer(chair.care.kafka, "others")
    await producer.start()
    try:
        for _ in range(copies):
            topic = kind.topic(chair.care.prefix)
            await producer.send_and_wait(topic, event.encode(), key=chair.patient.encode(), headers=headers)
    finally:
        await producer.stop()


async def _clinic(made: Care, connection: Connection) -> None:
    for login, (role, held) in _STAFF.items():
        await connection.execute("insert into staff_fact values ($1, $2, $3, true)", made.id(login), [role], json.dumps(held))
    for role, login in _DUTY.items():
        await connection.execute(
            "insert into shift_fact values ($1, $2, $3, $4, $5, $6, true)",
            uuid4(),
            role,
            made.id(login),
            f"pager-{role}",
            MORNING - dt.timedelta(days=30),
            MORNING + dt.timedelta(days=300),
        )
    await connection.execute("insert into calendar_fact values (true, 'America/New_York', '[]', '{}')")
    for owner in FACT_OWNERS:
        topic = f"{made.prefix}.{owner.replace('_', '-')}.events"
        await connection.executemany(
            "insert into consumer_partition (consumer, topic, partition, watermark) values ($1, $2, $3, '2100-01-01')",
            [(FACTS, topic, partition) for partition in range(PARTITIONS)],
        )


async def _patient(made: Care, connection: Connection, starts: Sequence[dt.datetime]) -> tuple[str, list[dict[str, str]]]:
    patient, case, plan = uuid7(), uuid7(), uuid7()
    team = [{"staff": made.id(login), "role": _STAFF[login][0]} for login in _TEAM]
    await connection.execute(
        "insert into patient_fact values ($1, null, 'America/New_York', 'en-US', 'US-NY', 'active', $2)",
        patient,
        json.dumps(team),
    )
    await connection.execute(
        """insert into case_fact values ($1, $2, 'approved', 'ELIGIBLE', $3, $4, '3', null, 'female', true, '82.0 kg',
                                         '168.0 cm', null)""",
        case,
        patient,
        starts[0].date() + dt.timedelta(days=25),
        starts[0] - dt.timedelta(days=5),
    )
    await connection.execute("insert into plan_fact values ($1, $2, 1)", plan, patient)
    terms = {"dose": "0.5 mg/kg", "basis": "actual", "duration": "40 min", "cap": None}
    planned = [{"session": str(uuid7()), "starts": start.isoformat()} for start in starts]
    await connection.executemany(
        """insert into session (id, plan, plan_number, terms, care_case, patient, therapy, ordinal, phase, starts_at, zone,
                                state, version)
           values ($1, $2, 1, $3, $4, $5, 'ketamine', $6, 'induction', $7, 'America/New_York', 'scheduled', 1)""",
        [
            (one["session"], plan, json.dumps(terms), case, patient, number, dt.datetime.fromisoformat(one["starts"]))
            for number, one in enumerate(planned, 1)
        ],
    )
    return str(patient), planned
