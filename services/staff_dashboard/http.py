"""Routes of the board: what stands on it, what changes, and what its page has to know before anybody has signed in."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from services.directory.policy import checked_patient_by_patient
from services.runtime.database import Database, Reader
from services.runtime.edge.fields import Code, Id, Instant, Number, Request, Response
from services.runtime.edge.policy import Bearer, Public
from services.runtime.edge.principal import Role
from services.runtime.edge.route import Asked, Find, Found, Route
from services.runtime.edge.stream import Follow, Outlet
from services.runtime.messaging.changes import Context
from services.runtime.settings import OidcSettings, load
from services.staff_dashboard.commands import Board
from services.staff_dashboard.domain import Kind
from services.staff_dashboard.settings import BoardSettings

__all__ = ["routes"]

_READERS = Bearer(frozenset({Role.PRESCRIBER, Role.NURSE, Role.THERAPIST, Role.FRONT_DESK}), checked_patient_by_patient)


class Starts(Response):
    """When something is planned to begin."""

    at: Instant
    zone: str


class Amount(Response):
    """A number with its UCUM unit."""

    value: Number
    unit: str


class InfusionShown(Response):
    """What the pump does. ``planned_end_at``: when the bag is empty if nothing changes; null while it stands."""

    started_at: Instant
    dose: Amount
    rate: Amount
    paused_at: Instant | None
    planned_end_at: Instant | None
    ended_at: Instant | None
    given: Amount | None
    reason: str | None


class VitalsShown(Response):
    """A summary of vitals; ``at`` is the last instant that it covers. What was not measured is null, and not normal."""

    at: Instant
    origin: str
    sbp: int | None
    dbp: int | None
    heart_rate: int | None
    resp_rate: int | None
    spo2: Number | None
    spo2_low: Number | None
    moaa_s: int | None


class Overridden(Response):
    """A rule of the start gate that somebody has overridden, and who."""

    rule: str
    by: Id


class SessionShown(Response):
    """A session. For the front desk ``infusion`` is null, ``vitals`` and ``overrides`` are empty, whatever happens."""

    session: Id
    patient: Id
    plan: Id
    case: Id
    therapy: str
    ordinal: int
    phase: str
    starts: Starts
    state: str
    nurse: Id | None
    overrides: list[Overridden]
    infusion: InfusionShown | None
    vitals: list[VitalsShown]
    discharged_at: Instant | None
    ending: str | None


class Acknowledged(Response):
    """Somebody has taken an alert over, on one ladder."""

    role: str
    by: Id
    at: Instant


class AlertShown(Response):
    """An alert that nobody has resolved."""

    alert: Id
    session: Id
    patient: Id
    tier: str
    signal: str
    rule: str
    at: Instant
    raised_at: Instant
    late: bool
    answer_due_at: Instant | None
    acknowledgements: list[Acknowledged]
    resolved_at: Instant | None
    action: str | None


class TaskShown(Response):
    """An open task, and which service it is closed at."""

    task: Id
    service: str
    patient: Id
    session: Id | None
    kind: str
    role: str
    due_at: Instant
    assignee: Id | None
    state: str


class SourceShown(Response):
    """How far a service is read. ``behind_s`` is null where that is not known; ``parked`` events wait, and are not shown."""

    service: str
    as_of: Instant | None
    behind_s: float | None
    parked: int


class LagShown(Response):
    """How far behind the board is: as far as the slowest of its sources, or unknown."""

    behind_s: float | None
    sources: list[SourceShown]


class BoardShown(Response):
    """What stands on the board. ``position`` is where the stream goes on; take it as it is.

    Whoever is on duty, and the front desk, sees everybody (``clinic``); others their own patients (``own-patients``).
    """

    position: Annotated[int, Field(ge=0, lt=2**53)]
    clinic_now: Instant
    clock_offset_s: int
    zone: str | None
    scope: Literal["clinic", "own-patients"]
    lag: LagShown
    sessions: list[SessionShown]
    alerts: list[AlertShown]
    tasks: list[TaskShown]


class After(Request):
    """The place to go on from: ``position`` of a snapshot, or the id of an event; ``Last-Event-ID`` says the same.

    Without one there is nothing to go on from: the answer is a ``reset``.
    """

    after: Annotated[int, Field(ge=0, lt=2**53)] = 0


class Told(Response):
    """The stream's events.

    ``session``, ``alert``, ``task``: a whole row as in the snapshot, with ``"gone": true`` when it has left the board; their
    ``id`` is where to go on. ``lag``: every five seconds. ``reset``: take a new snapshot. ``close``: come again.
    """

    gone: bool = False


class Configuration(Response):
    """What the page has to know: where people sign in, as which client, and where the services are."""

    issuer: str
    client_id: Code
    services: dict[str, str]


def routes(board: Board) -> tuple[Route, ...]:
    """The routes."""
    return (
        Route(
            name="show_board",
            method="GET",
            path_template="/snapshot",
            summary="Today's sessions and every running one, open alerts and open tasks",
            policy=_READERS,
            audit="board.read",
            response=BoardShown,
            query=_snapshot(board),
        ),
        Route(
            name="follow_board",
            method="GET",
            path_template="/stream",
            summary="Every change of the board behind a position, as Server-Sent Events",
            policy=_READERS,
            audit="board.follow",
            query_model=After,
            response=Told,
            stream=_stream(board),
        ),
        Route(
            name="show_configuration",
            method="GET",
            path_template="/config.json",
            summary="What the board's page has to know before anybody has signed in",
            policy=Public(count=60, per_s=60),
            audit=None,
            response=Configuration,
            query=_configuration,
        ),
    )


def _snapshot(board: Board) -> Callable[[Asked[Any]], Find]:
    def query(asked: Asked[Any]) -> Find:
        async def find(read: Reader, context: Context) -> Found:
            found = await board.snapshot(asked.principal, read, context)
            sessions = sorted(found.rows[Kind.SESSION], key=lambda row: (row["starts"]["at"], row["session"]))
            alerts = sorted(found.rows[Kind.ALERT], key=lambda row: (row["raised_at"], row["alert"]))
            tasks = sorted(found.rows[Kind.TASK], key=lambda row: (row["due_at"], row["task"]))
            shown = BoardShown.model_validate(
                {
                    "position": int(found.cursor),
                    "zone": found.zone,
                    "scope": "clinic" if found.view.patients is None else "own-patients",
                    **found.lag,
                    "sessions": sessions,
                    "alerts": alerts,
                    "tasks": tasks,
                }
            )
            ids = [f"{kind}/{row[kind]}" for kind, rows in found.rows.items() for row in rows]
            return Found(shown, ids)

        return find

    return query


def _stream(board: Board) -> Callable[[Asked[Any, Any, After]], Follow]:
    def stream(asked: Asked[Any, Any, After]) -> Follow:
        after = asked.query.after
        # A client that sends both goes on from what it has read last.
        last = asked.headers.get("last-event-id", "")
        if last.isascii() and last.isdigit() and len(last) <= 16:
            after = int(last)

        async def follow(outlet: Outlet, database: Database) -> None:
            await board.follow(asked.principal, after, outlet, database)

        return follow

    return stream


def _configuration(_: Asked[Any]) -> Find:
    async def find(_: Reader, __: Context) -> Found:
        settings = load(BoardSettings).model_dump()
        client = settings.pop("client_id")
        return Found(Configuration(issuer=load(OidcSettings).issuer, client_id=client, services=settings))

    return find
