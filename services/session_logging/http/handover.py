"""The handover for an emergency: all that who takes a patient over has to know, as data."""

from typing import Any

from services.runtime.edge.fields import Id, Instant, Response
from services.runtime.messaging.changes import Context
from services.session_logging.commands.room import Log, Room
from services.session_logging.domain.alarms import watch
from services.session_logging.domain.drug import Drawn
from services.session_logging.domain.sessions import Kind, facts_of
from services.session_logging.domain.totals import totals
from services.session_logging.http.monitoring import TotalsShown, show_totals
from services.session_logging.http.sessions import AlertShown, show_alert
from services.therapies import evidence

__all__ = ["HandoverShown", "LastShown", "handover"]

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


def handover(room: Room, log: Log, drawn: Drawn | None, context: Context) -> HandoverShown:
    """The handover of a session, as it stands."""
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
