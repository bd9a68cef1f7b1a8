"""Routes that sum a session up: the one-page handover for an emergency, its curves, and its record on paper."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from services.runtime.database import Reader
from services.runtime.edge.fields import Id, Instant, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.printed import Printed
from services.runtime.edge.route import Asked, Find, Found, Route
from services.runtime.messaging.changes import Context, Rejected
from services.session_logging.commands.record import Record
from services.session_logging.commands.room import Log, Room
from services.session_logging.domain.alarms import watch
from services.session_logging.domain.drug import Drawn
from services.session_logging.domain.sessions import Kind, facts_of
from services.session_logging.domain.totals import thinned, totals
from services.session_logging.http.monitoring import TotalsShown, monitoring_record, show_totals
from services.session_logging.http.record_page import record_page
from services.session_logging.http.sessions import READERS, AlertShown, show_alert
from services.session_logging.http.shared import SessionPath, of
from services.session_logging.store import aftercare
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms
from services.therapies import evidence

__all__ = ["routes"]

_MEASURED = ("sbp", "dbp", "heart_rate", "resp_rate", "spo2", "on_oxygen", "moaa_s", "cadss6")


class LastShown(Response):
    """The newest value of a signal, typed or of the monitor."""

    signal: str
    value: str
    at: Instant


class RescueShown(Response):
    """Another drug than the infusion that the patient was given."""

    group: str
    drug: str
    dose: str
    route: str
    at: Instant


class HandoverShown(Response):
    """All that who takes a patient over has to know, on one page. Where pump and rate x time differ, the patient is to be
    trusted, not one of them.
    """

    session: Id
    patient: Id
    state: str
    nurse: Id | None
    prescriber: Id | None
    started_at: Instant | None
    ended_at: Instant | None
    dose: str | None
    totals: TotalsShown | None
    last: list[LastShown]
    symptoms: list[str]
    rescue_drugs: list[RescueShown]
    open_alerts: list[AlertShown]
    pressure_due: Instant | None
    escort_name: str | None
    escort_phone: str | None


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
            query=_handover(room),
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


def _handover(room: Room) -> Callable[[Asked[Any, SessionPath]], Find]:
    def query(asked: Asked[Any, SessionPath]) -> Find:
        async def find(read: Reader, context: Context) -> Found | Rejected:
            session = await store.session(read, asked.path.session)
            if session is None:
                return Rejected("not-found", status=404)
            log = await Log.load(read, session)
            drawn = await aftercare.drawn(read, session.id)
            return Found(_page(room, log, drawn, context), patient=str(session.patient))

        return find

    return query


def _page(room: Room, log: Log, drawn: Drawn | None, context: Context) -> HandoverShown:
    session, facts = log.session, facts_of(log.entries)
    rules = room.pinned(session, context)
    watched = watch(session, log.entries, log.samples, (), context.now, rules)
    sets = [entry for entry in log.entries if entry.kind == Kind.VITALS]
    values = [(one.at, name, str(one.data[name])) for one in sets for name in _MEASURED if one.data.get(name) is not None]
    values += [(one.at, "spo2", f"{one.spo2} %") for one in log.samples if one.spo2 is not None]
    values += [(one.at, "heart_rate", f"{one.heart_rate} /min") for one in log.samples if one.heart_rate is not None]
    last = {name: LastShown(signal=name, value=value, at=at) for at, name, value in sorted(values)}
    over = max((one.at for one in log.entries if one.kind == Kind.SYMPTOMS_OVER), default=None)
    symptoms = {code for one in sets if over is None or one.at > over for code in one.data.get("symptoms", ())}

    def said(name: str) -> Any:
        return facts[name][0] if name in facts else None

    return HandoverShown(
        session=session.id,
        patient=session.patient,
        state=session.state.value,
        nurse=session.nurse,
        prescriber=said("prescriber_on_site"),
        started_at=session.started_at,
        ended_at=session.ended_at,
        dose=(session.dose or {}).get("mass"),
        totals=show_totals(totals(session, log.entries, drawn, context.now, rules)),
        last=list(last.values()),
        symptoms=sorted(symptoms),
        rescue_drugs=[
            RescueShown(**{name: one.data[name] for name in ("group", "drug", "dose", "route")}, at=one.at)
            for one in sorted(log.entries, key=lambda one: one.at)
            if one.kind == Kind.RESCUE
        ],
        open_alerts=[show_alert(one) for one in log.alerts if one.status == "open"],
        pressure_due=None if isinstance(watched, evidence.Rejected) else watched.pressure_due,
        escort_name=said("escort_name"),
        escort_phone=said("escort_phone"),
    )


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
