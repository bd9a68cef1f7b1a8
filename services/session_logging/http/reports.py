"""Routes that sum a session up: the one-page handover for an emergency, and its curves."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from schemas.values import Quantity
from services.runtime.database import Reader
from services.runtime.edge.fields import Id, Instant, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.route import Asked, Find, Found, Route
from services.runtime.messaging.changes import Context, Rejected
from services.session_logging.commands.room import Log, Room
from services.session_logging.domain.alarms import watch
from services.session_logging.domain.sessions import Kind, facts_of
from services.session_logging.domain.totals import by_rate, thinned
from services.session_logging.http.sessions import READERS, AlertShown, show_alert
from services.session_logging.http.shared import SessionPath, of
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


class HandoverShown(Response):
    """All that who takes a patient over has to know, on one page. ``pump_volume`` is what the pump reported, ``by_rate`` what
    rate and time come to; they may differ, and then the patient is to be trusted, not one of them.
    """

    session: Id
    patient: Id
    state: str
    nurse: Id | None
    prescriber: Id | None
    started_at: Instant | None
    ended_at: Instant | None
    dose: str | None
    given: str | None
    by_rate: str | None
    pump_volume: str | None
    last: list[LastShown]
    symptoms: list[str]
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


def routes(room: Room) -> tuple[Route, ...]:
    """The routes, in the room."""
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
    )


def _handover(room: Room) -> Callable[[Asked[Any, SessionPath]], Find]:
    def query(asked: Asked[Any, SessionPath]) -> Find:
        async def find(read: Reader, context: Context) -> Found | Rejected:
            session = await store.session(read, asked.path.session)
            if session is None:
                return Rejected("not-found", status=404)
            log = await Log.load(read, session)
            return Found(_page(room, log, context), patient=str(session.patient))

        return find

    return query


def _page(room: Room, log: Log, context: Context) -> HandoverShown:
    session, facts = log.session, facts_of(log.entries)
    rules = room.pinned(session, context)
    watched = watch(session, log.entries, log.samples, (), context.now, rules)
    dose = session.dose or {}
    ran = by_rate(log.entries, context.now) if session.started_at else None
    volume = Quantity.parse(session.pump_volume) if session.pump_volume else ran
    given = volume.value * Quantity.parse(dose["concentration"]).value if volume and dose else None
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
        dose=dose.get("mass"),
        given=f"{given:.2f} mg" if given is not None else None,
        by_rate=str(ran) if ran else None,
        pump_volume=session.pump_volume,
        last=list(last.values()),
        symptoms=sorted(symptoms),
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
