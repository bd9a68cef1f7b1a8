# mypy: ignore-errors
"""The peer of the command bench: FastAPI and SQLAlchemy's ORM, as somebody who knows them would write the same command.

``uvicorn benchmarks.command_peer:app``, one process with uvloop. It checks the bearer token, validates the body, claims the
idempotency key, locks and changes the account, and adds entry, event, pending event and audit row, all in one transaction.
"""

import hashlib
import json
import os
import uuid
from datetime import datetime
from typing import Annotated

import uuid_utils.compat
from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, ForeignKey, Identity, LargeBinary, SmallInteger, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.runtime.edge.principal import Unauthenticated
from services.runtime.messaging.lanes import lane_of
from tests.support.tokens import authenticate

PARTITIONS = 12
engine = create_async_engine(
    os.environ["PEER_DATABASE_URL"],
    pool_size=int(os.environ["PEER_POOL"]),
    max_overflow=0,
    connect_args={"server_settings": {"search_path": "ledger", "timezone": "UTC"}},
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "account"
    id: Mapped[str] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)


class Entry(Base):
    __tablename__ = "entry"
    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("account.id"))
    amount: Mapped[int] = mapped_column(BigInteger)


class Stream(Base):
    __tablename__ = "stream"
    source: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    sequence: Mapped[int] = mapped_column(BigInteger)
    last_event_id: Mapped[uuid.UUID]


class Outbox(Base):
    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    event_id: Mapped[uuid.UUID]
    source: Mapped[str]
    epoch: Mapped[int]
    sequence: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    topic: Mapped[str]
    key: Mapped[str]
    lane: Mapped[int] = mapped_column(SmallInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class Pending(Base):
    __tablename__ = "outbox_pending"
    lane: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    id: Mapped[int] = mapped_column(ForeignKey("outbox.id"), primary_key=True)


class Audit(Base):
    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]


class Idempotency(Base):
    __tablename__ = "idempotency"
    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    client: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    reply: Mapped[bytes | None] = mapped_column(LargeBinary)


class PostEntry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    account: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=40)]
    entry: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=40)]
    amount: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
    padding: Annotated[str, Field(max_length=100_000)] = ""


@app.get("/readyz")
async def ready() -> dict[str, str]:
    async with sessions() as session:
        await session.execute(select(1))
    return {"status": "ok"}


@app.post("/entries", status_code=201)
async def post_entry(
    body: PostEntry, authorization: Annotated[str, Header()], idempotency_key: Annotated[str, Header()]
) -> Response:
    try:
        who = await authenticate(authorization.removeprefix("Bearer "))
    except Unauthenticated as error:
        raise HTTPException(401, error.code) from None
    if not who.roles:
        raise HTTPException(403)
    digest = hashlib.sha256(body.model_dump_json().encode()).digest()
    whose = {"issuer": who.issuer, "subject": who.subject, "client": who.client, "route": "post_entry", "key": idempotency_key}
    async with sessions.begin() as session:
        claim = insert(Idempotency).values(**whose, body_hash=digest).on_conflict_do_nothing().returning(Idempotency.key)
        if (await session.execute(claim)).first() is None:
            stored = await session.get(Idempotency, tuple(whose.values()))
            if stored.body_hash != digest:
                raise HTTPException(422)
            return Response(stored.reply, stored.status, media_type="application/json")
        account = await session.get(Account, body.account, with_for_update=True)
        if account is None:
            account = Account(id=body.account, balance=0, version=0)
            session.add(account)
        balance = account.balance + body.amount
        if not 0 <= balance <= 1_000_000:
            raise HTTPException(409, "overdrawn")
        if await session.get(Entry, body.entry) is not None:
            raise HTTPException(409, "entry-exists")
        account.balance, account.version = balance, account.version + 1
        await session.flush()
        session.add(Entry(id=body.entry, account=body.account, amount=body.amount))
        source, event_id = f"/ledger/accounts/{body.account}", uuid_utils.compat.uuid7()
        moved = insert(Stream).values(source=source, epoch=1, sequence=1, last_event_id=event_id)
        moved = moved.on_conflict_do_update(
            index_elements=["source"], set_={"sequence": Stream.sequence + 1, "last_event_id": event_id}
        ).returning(Stream.sequence)
        sequence = (await session.execute(moved)).scalar_one()
        now = (await session.execute(select(func.clock_timestamp()))).scalar_one()
        event = Outbox(
            event_id=event_id,
            source=source,
            epoch=1,
            sequence=sequence,
            type="org.telemed.ledger.entry-posted.v1",
            topic="peer",
            key=body.account,
            lane=lane_of(body.account, PARTITIONS),
            body=_event(body, source, event_id, sequence, balance, now),
        )
        session.add(event)
        await session.flush()
        session.add(Pending(lane=event.lane, id=event.id))
        session.add(Audit(actor=who.person, action="entry.post", target=f"account/{body.account}"))
        reply = json.dumps({"entry": body.entry, "balance": balance}).encode()
        settled = update(Idempotency).values(status=201, reply=reply)
        await session.execute(settled.where(*(getattr(Idempotency, name) == value for name, value in whose.items())))
    return Response(reply, 201, media_type="application/json")


def _event(body: PostEntry, source: str, event_id: uuid.UUID, sequence: int, balance: int, now: datetime) -> bytes:
    document = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": source,
        "type": "org.telemed.ledger.entry-posted.v1",
        "time": now.isoformat(),
        "recordedtime": now.isoformat(),
        "datacontenttype": "application/json",
        "partitionkey": body.account,
        "sequence": f"{sequence:010d}",
        "epoch": 1,
        "data": {**body.model_dump(), "balance": balance},
    }
    return json.dumps(document).encode()
