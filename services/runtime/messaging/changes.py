"""``Changes``: everything a decision wants written, as one value. Commands and handlers return it; only the runtime writes it.

Row names and columns come from our own code, never from a request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from schemas.envelope import EventData
from services.runtime.messaging.schedule import LocalRule

__all__ = [
    "AcknowledgePage",
    "Append",
    "AuditEntry",
    "CancelTimers",
    "Changes",
    "Context",
    "NewEvent",
    "Put",
    "RaisePage",
    "Rejected",
    "Remove",
    "Reply",
    "RezoneTimers",
    "Row",
    "RowChange",
    "RowChanges",
    "SetTimer",
    "merge_rows",
]

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row with a ``version`` column: written only if it still has the version that the decision has read.

    Attributes:
        expected: version read; 0 means that the row must not exist yet.
        version: version after the write; one more than ``expected`` unless several decisions were folded into one write.
    """

    table: str
    key: Values
    values: Values
    expected: int
    version: int = 0

    def __post_init__(self) -> None:
        if not self.version:
            object.__setattr__(self, "version", self.expected + 1)


@dataclass(frozen=True, slots=True)
class Append:
    """A row of an append-only table; a key that exists already is an error."""

    table: str
    values: Values


@dataclass(frozen=True, slots=True)
class Put:
    """An unversioned row: inserted, or its values replaced. For facts and projections, where the event order decides."""

    table: str
    key: Values
    values: Values


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete an unversioned row; one that is not there is fine."""

    table: str
    key: Values


RowChange = Row | Append | Put | Remove


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A public event to be written to the outbox. The runtime gives it its id, sequence, epoch and recorded time.

    Attributes:
        source: aggregate instance as a path, e.g. ``/ledger/accounts/<uuid>``.
        type: a type of the registry that this service owns.
        partitionkey: the patient's opaque id; the aggregate's where there is no patient.
        data: must be of the type's model.
        time: when it happened; the clinic clock's now when left out.
        traceparent: of the command behind it; what runs at the time of writing when left out.
    """

    source: str
    type: str
    partitionkey: str
    data: EventData
    time: datetime | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Ask to be called at a time. A timer whose ``dedupe_key`` exists already is left as it is.

    Attributes:
        kind: names the handler.
        dedupe_key: includes the version of the fact it follows from, so that a change makes another timer.
        subject: what it is about (an opaque id), for cancelling and re-zoning.
        due: an aware instant, or a wall-clock rule in a zone.
        payload: small JSON object for the handler; no direct identifier.
        expires_at: when it is no longer of use; a later claim marks it missed and tells the handler.
    """

    kind: str
    dedupe_key: str
    subject: str
    due: datetime | LocalRule
    payload: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CancelTimers:
    """Cancel the waiting timers of a subject: all of them, or those of some kinds."""

    subject: str
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RezoneTimers:
    """A subject moved to another IANA zone: its waiting wall-clock timers are derived anew."""

    subject: str
    zone: str


@dataclass(frozen=True, slots=True)
class RaisePage:
    """Call a human. The ladder of ``code`` says who, how and when the next one is called.

    Attributes:
        code: stable code, shown to the person called; never free text.
        dedupe_key: a page with the same key is raised once, for ever.
        subject: opaque id of what it is about.
    """

    code: str
    dedupe_key: str
    subject: str


@dataclass(frozen=True, slots=True)
class AcknowledgePage:
    """A named person took the page over; its ladder stops. A page that is not open is left as it is."""

    page_id: UUID
    by: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which record, and why.

    Attributes:
        actor: id of the person or program.
        action: what was done, as the route or act names it.
        target: which record.
        reason: why, where one is given; for a list, the query and the ids shown.
        patient: whose record it was; empty where it was nobody's.
        client: the program that the actor used.
        origin: address the request came from.
        policy: by what right: kind of policy, and the roles that counted.
        request: id of the request.
    """

    actor: str
    action: str
    target: str
    reason: str = ""
    patient: str = ""
    client: str = ""
    origin: str = ""
    policy: str = ""
    request: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the caller is told: an HTTP status and a JSON body, kept under the idempotency key."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal: a value, never an exception used as flow. Nothing is written but the reply kept for a retry.

    Attributes:
        code: stable, for machines.
        status: HTTP status.
        body: problem document.
        final: whether the same key gets the same answer for ever; False for one that a fresh read may change.
    """

    code: str
    status: int = 409
    body: bytes = b""
    final: bool = True


@dataclass(frozen=True, slots=True)
class RowChanges:
    """Rows only: all that a projection may write. It can send nothing to anybody, so a rebuild cannot either."""

    rows: Sequence[RowChange] = ()


@dataclass(frozen=True, slots=True)
class Changes(RowChanges):
    """Everything that one decision wants written, in one transaction.

    For the audit row: ``patient`` is whose record it was, where the request itself does not say so; ``shown`` are the ids of
    what the reply shows.
    """

    events: Sequence[NewEvent] = ()
    timers: Sequence[SetTimer | CancelTimers | RezoneTimers] = ()
    pages: Sequence[RaisePage | AcknowledgePage] = ()
    audit: Sequence[AuditEntry] = ()
    reply: Reply | None = None
    patient: str = ""
    shown: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What is impure, as values.

    Attributes:
        now: the clinic clock at the start of the transaction (aware UTC); every decision about time uses it.
        recorded: real time at the database, for ``recordedtime`` and latencies.
        epoch: of this service's history; raised after a restore.
    """

    now: datetime
    recorded: datetime
    epoch: int = 1


def merge_rows(rows: Sequence[RowChange]) -> list[RowChange]:
    """Fold the writes of many decisions into one write per row, keeping the order of first appearance.

    A chain of versions (1 -> 2, 2 -> 3) becomes one step (1 -> 3); a chain that does not fit is left apart, and the
    database refuses it.
    """
    merged: list[RowChange] = []
    place: dict[tuple[str, tuple[tuple[str, Any], ...]], int] = {}
    for row in rows:
        if isinstance(row, Append):
            merged.append(row)
            continue
        identity = (row.table, tuple(sorted(row.key.items())))
        at = place.get(identity)
        earlier = merged[at] if at is not None else None
        if isinstance(row, Row) and isinstance(earlier, Row) and row.expected == earlier.version and at is not None:
            merged[at] = replace(earlier, values={**earlier.values, **row.values}, version=row.version)
        elif isinstance(row, Put) and isinstance(earlier, Put) and at is not None:
            merged[at] = replace(earlier, values={**earlier.values, **row.values})
        else:
            place[identity] = len(merged)
            merged.append(row)
    return merged
