"""Routes that show sessions: those of a day, and one as it stands."""

import datetime as dt
from typing import Any
from uuid import UUID

from schemas.values import zone_of
from services.directory import store as directory
from services.runtime.database import Reader
from services.runtime.edge.fields import Date, Id, Instant, Response
from services.runtime.edge.pages import Page
from services.runtime.edge.policy import Bearer, role_is_enough
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import Asked, Find, Found, Route
from services.runtime.messaging.changes import Context, Rejected
from services.session_logging.http.shared import TEAM, SessionPath, SessionShown, of, shown
from services.session_logging.store import sessions as store

__all__ = ["READERS", "ROUTES", "AdverseEventShown", "AlertShown", "show_adverse_event", "show_alert"]

_CALENDAR = ProblemType("calendar-unknown", 409, "The clinic has not said in which zone it reads the clock")


class Day(Page):
    """A local day of the clinic; today if none is given."""

    day: Date | None = None


class SessionList(Response):
    """Sessions in the order in which they are planned."""

    sessions: list[SessionShown]


class AlertShown(Response):
    """An alert, and who has done what about it."""

    alert: Id
    session: Id
    tier: str
    family: str
    rule: str
    value: str
    at: Instant
    raised_at: Instant
    late: bool
    verify: bool
    nurse: str | None
    nurse_at: Instant | None
    prescriber: str | None
    prescriber_at: Instant | None
    status: str
    action: str | None
    resolved_by: str | None
    resolved_at: Instant | None


class AdverseEventShown(Response):
    """An adverse event; one that was entered after the record was signed is an addendum to it."""

    adverse_event: Id
    session: Id
    term: str
    grade: int
    proposed_grade: int | None
    relatedness: str
    action: str
    serious: list[str]
    note: str
    onset_at: Instant
    entered_by: str
    entered_at: Instant
    resolved_at: Instant | None
    intervention: str | None
    oral_intake: str | None
    outcome: str | None


def show_alert(alert: Any) -> AlertShown:
    """An alert as it is answered."""
    return AlertShown(
        alert=alert.id,
        session=alert.session,
        tier=alert.tier,
        family=alert.family,
        rule=alert.rule,
        value=alert.value,
        at=alert.at,
        raised_at=alert.raised_at,
        late=alert.late,
        verify=alert.verify,
        nurse=alert.nurse_by,
        nurse_at=alert.nurse_at,
        prescriber=alert.prescriber_by,
        prescriber_at=alert.prescriber_at,
        status=alert.status,
        action=alert.action,
        resolved_by=alert.resolved_by,
        resolved_at=alert.resolved_at,
    )


def show_adverse_event(event: Any) -> AdverseEventShown:
    """An adverse event as it is answered."""
    return AdverseEventShown(
        adverse_event=event.id,
        session=event.session,
        term=event.term,
        grade=event.grade,
        proposed_grade=event.proposed_grade,
        relatedness=event.relatedness,
        action=event.action,
        serious=list(event.serious),
        note=event.note,
        onset_at=event.onset_at,
        entered_by=event.entered_by,
        entered_at=event.entered_at,
        resolved_at=event.resolved_at,
        intervention=event.intervention,
        oral_intake=event.oral_intake,
        outcome=event.outcome,
    )


def _list(asked: Asked[Any, Any, Day]) -> Find:
    async def find(read: Reader, context: Context) -> Found | Rejected:
        hours = await directory.opening_hours(read)
        if hours is None:
            return Rejected("calendar-unknown")
        zone = zone_of(hours.zone)
        day = asked.query.day or context.now.astimezone(zone).date()
        starts, ends = (
            dt.datetime.combine(one, dt.time(), zone).astimezone(dt.UTC) for one in (day, day + dt.timedelta(days=1))
        )
        after = UUID(asked.query.after[0]) if asked.query.after else None
        found = await store.on_day(read, starts, ends, after, asked.query.limit + 1)
        page = found[: asked.query.limit]
        more = (str(page[-1].id),) if len(found) > len(page) else ()
        return Found(SessionList(sessions=[shown(one) for one in page]), [str(one.id) for one in page], more)

    return find


def _show(asked: Asked[Any, SessionPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        session = await store.session(read, asked.path.session)
        return Found(shown(session), patient=str(session.patient)) if session else Rejected("not-found", status=404)

    return find


READERS = TEAM | {Role.AUDITOR}
"""Who may read a session."""
ROUTES = (
    Route(
        name="list_sessions",
        method="GET",
        path_template="/sessions",
        summary="The sessions of a day of the clinic",
        policy=Bearer(TEAM | {Role.FRONT_DESK, Role.AUDITOR}, role_is_enough),
        audit="sessions.list",
        query_model=Day,
        response=SessionList,
        query=_list,
        errors=(_CALENDAR,),
    ),
    Route(
        name="show_session",
        method="GET",
        path_template="/sessions/{session}",
        summary="A session, as it stands",
        policy=Bearer(READERS, of("session")),
        audit="session.read",
        path=SessionPath,
        response=SessionShown,
        query=_show,
    ),
)
