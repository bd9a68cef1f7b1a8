"""Routes that sum a session up: the one-page handover for an emergency, its curves, and its record on paper."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from schemas.values import zone_of
from services.runtime.database import Reader
from services.runtime.edge.fields import Instant, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.printed import Printed
from services.runtime.edge.route import Asked, Find, Found, Route
from services.runtime.messaging.changes import Context, Rejected
from services.session_logging.commands.record import Record
from services.session_logging.commands.room import Log, Room
from services.session_logging.domain.sessions import Kind, Session
from services.session_logging.domain.totals import thinned
from services.session_logging.http.handover import HandoverShown, LastShown, handover
from services.session_logging.http.handover_page import handover_page
from services.session_logging.http.monitoring import monitoring_record
from services.session_logging.http.record_page import record_page
from services.session_logging.http.sessions import READERS
from services.session_logging.http.shared import SessionPath, of
from services.session_logging.store import aftercare
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms

__all__ = ["routes"]


class TrendQuery(Request):
    """How many spans a curve is drawn with, at most."""

    spans: Annotated[int, Field(ge=1, le=2000, strict=False)] = 300


class SpanShown(Response):
    """A stretch of a curve; nothing between its lowest and its highest value is lost."""

    from_at: Instant
    to_at: Instant
    low: int
    high: int
    samples: int


class TrendShown(Response):
    """The curves of a monitor, and every typed pressure."""

    heart_rate: list[SpanShown]
    resp_rate: list[SpanShown]
    spo2: list[SpanShown]
    pressures: list[LastShown]


def routes(record: Record) -> tuple[Route, ...]:
    """The routes, in the room."""
    room = record.aftercare.arrival.room
    return (
        Route(
            name="show_handover",
            method="GET",
            path_template="/sessions/{session}/handover",
            summary="One page for who takes the patient over: state, drug given, last values, open alerts, what is due next",
            policy=Bearer(READERS, of("session")),
            audit="session.handover",
            path=SessionPath,
            response=HandoverShown,
            query=_handover(room, _as_data),
        ),
        Route(
            name="print_handover",
            method="GET",
            path_template="/sessions/{session}/handover/page",
            summary="The same as a page to be printed, and given to the ambulance",
            policy=Bearer(READERS, of("session")),
            audit="session.handover-page",
            path=SessionPath,
            response=Printed,
            query=_handover(room, _on_paper),
        ),
        Route(
            name="show_trend",
            method="GET",
            path_template="/sessions/{session}/trend",
            summary="The curves of a session, thinned for drawing without hiding an extreme",
            policy=Bearer(READERS, of("session")),
            audit="session.trend",
            path=SessionPath,
            query_model=TrendQuery,
            response=TrendShown,
            query=_trend,
        ),
        Route(
            name="print_monitoring_record",
            method="GET",
            path_template="/sessions/{session}/monitoring-record/page",
            summary="The record of a session as a page to be printed, with its vitals drawn",
            policy=Bearer(READERS, of("session")),
            audit="session.record-page",
            path=SessionPath,
            response=Printed,
            query=_printed(record),
        ),
    )


def _handover(
    room: Room, show: Callable[[HandoverShown, Session, Context], HandoverShown | Printed]
) -> Callable[[Asked[Any, SessionPath]], Find]:
    def query(asked: Asked[Any, SessionPath]) -> Find:
        async def find(read: Reader, context: Context) -> Found | Rejected:
            session = await store.session(read, asked.path.session)
            if session is None:
                return Rejected("not-found", status=404)
            log = await Log.load(read, session)
            drawn = await aftercare.drawn(read, session.id)
            return Found(show(handover(room, log, drawn, context), session, context), patient=str(session.patient))

        return find

    return query


def _as_data(shown: HandoverShown, session: Session, context: Context) -> HandoverShown:
    return shown


def _on_paper(shown: HandoverShown, session: Session, context: Context) -> Printed:
    return handover_page(shown, zone_of(session.zone), context.now)


def _trend(asked: Asked[Any, SessionPath, TrendQuery]) -> Find:
    async def find(read: Reader, context: Context) -> Found | Rejected:
        session = await store.session(read, asked.path.session)
        if session is None:
            return Rejected("not-found", status=404)
        curves = thinned(await alarms.samples(read, session.id), asked.query.spans)
        shown = {
            name: [
                SpanShown(from_at=one.from_at, to_at=one.to_at, low=one.low, high=one.high, samples=one.samples)
                for one in spans
            ]
            for name, spans in curves.items()
        }
        typed = [
            LastShown(signal=name, value=one.data[name], at=one.at)
            for one in await store.entries(read, session.id)
            if one.kind == Kind.VITALS
            for name in ("sbp", "dbp")
            if one.data.get(name)
        ]
        return Found(TrendShown(**shown, pressures=typed), patient=str(session.patient))

    return find


_SPANS = 400
"""Of a curve on paper: half a millimetre each."""


def _printed(record: Record) -> Callable[[Asked[Any, SessionPath]], Find]:
    def query(asked: Asked[Any, SessionPath]) -> Find:
        async def find(read: Reader, context: Context) -> Found | Rejected:
            session = await store.session(read, asked.path.session)
            if session is None:
                return Rejected("not-found", status=404)
            shown = await monitoring_record(record, session, read, context)
            curves = thinned(await alarms.samples(read, session.id), _SPANS)
            signed = record.aftercare.arrival.room.pinned(session, context).under("alert.spo2_low")
            limits = {"spo2": [float(one.value) for one in signed.values()]}
            return Found(record_page(shown, curves, limits, context.now), patient=str(session.patient))

        return find

    return query
