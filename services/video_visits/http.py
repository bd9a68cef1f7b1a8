"""Routes of visits: schedule, move, cancel; today's address, a token to join; who is there; what the platform says."""

import datetime as dt
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID

import uuid_utils.compat
from pydantic import Field

from schemas.values import zone_of
from services.directory import policy
from services.directory import store as directory
from services.directory.policy import PatientPath
from services.runtime.database import Reader
from services.runtime.edge.fields import Date, Id, Instant, Line, Region, Request, Response
from services.runtime.edge.pages import Page
from services.runtime.edge.policy import Bearer, WebhookSignature, role_is_enough
from services.runtime.edge.principal import Role as Who
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, NaturalKey, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.video_visits import livekit, store
from services.video_visits.commands import Visits
from services.video_visits.domain import Role, Visit

__all__ = ["routes"]

_STAFF = frozenset({Who.FRONT_DESK, Who.NURSE, Who.PRESCRIBER, Who.THERAPIST})
_TEAM = _STAFF - {Who.FRONT_DESK}
_READERS = _STAFF | {Who.PATIENT, Who.AUDITOR}

_CALENDAR = ProblemType("calendar-unknown", 409, "The clinic has not said in which zone and when it is open")
_PATIENT = ProblemType("patient-not-active", 409, "This patient is not treated here now")
_CLINICIAN = ProblemType("staff-unknown", 409, "There is no such member of staff")
_PAST = ProblemType("in-the-past", 422, "A visit begins later than now")
_FUTURE = ProblemType("in-the-future", 422, "This has not happened yet")
_OVER = ProblemType("visit-over", 409, "This visit is over, cancelled, or has begun")
_IN_PERSON = ProblemType("not-by-video", 409, "This visit is held in person: video is not configured, or not wanted")
_BY_VIDEO = ProblemType("by-video", 409, "Who is there is what the video platform says")
_NOT_NOW = ProblemType("not-now", 409, "A visit is joined shortly before its start until shortly after its end")
_ADDRESS = ProblemType("address-missing", 409, "Say first where you are today: help is sent there if it is needed")
_LICENCE = ProblemType("no-licence-there", 403, "The clinician holds no licence of the state where the patient is today")
_MALFORMED = ProblemType("call-malformed", 422, "This call says nothing that we know")


class VisitPath(Request):
    """Path of a visit."""

    visit: Id


class VisitBody(Request):
    """When, with whom, for how long; by video where a platform is configured and wanted."""

    case: Id | None = None
    clinician: Id
    starts: Instant
    minutes: Annotated[int, Field(ge=5, le=480)] = 45
    by_video: bool = True


class MoveBody(Request):
    """The new time."""

    starts: Instant


class CancelBody(Request):
    """Why it does not take place."""

    reason: Literal["patient-asked", "clinic-asked", "entered-in-error"]


class LocateBody(Request):
    """Where the patient is today. The address stays in this service; others learn the state only."""

    region: Region
    address: Line


class PresenceBody(Request):
    """Who came into the room or left it, in person; ``at`` is now unless it is given."""

    role: Literal["patient", "clinician"]
    there: bool
    at: Instant | None = None


class Day(Page):
    """A local day of the clinic; today if none is given."""

    day: Date | None = None


class VisitShown(Response):
    """A visit, as it stands. Where video is not configured every visit is held in person, also one that was to be by video."""

    visit: Id
    patient: Id
    case: Id | None
    clinician: Id
    starts_at: Instant
    zone: str
    minutes: int
    by_video: bool
    video_configured: bool
    state: str
    region: str | None
    located_at: Instant | None
    started_at: Instant | None
    ended_at: Instant | None
    reason: str | None
    version: int


class VisitList(Response):
    """Visits in the order in which they are planned."""

    visits: list[VisitShown]


class JoinShown(Response):
    """Where to connect and with what; the token is for one room, one role, and ten minutes."""

    url: str
    room: str
    token: str
    expires_in_s: int


class Taken(Response):
    """The call was taken."""

    taken: bool


def routes(visits: Visits) -> tuple[Route, ...]:
    """The routes, under the signed times."""
    of_visit = policy.about("visit", store.patient_of_visit)
    staff = Bearer(_STAFF, of_visit(policy.treats))
    own = Bearer(_STAFF | {Who.PATIENT}, of_visit(policy.own_or_care_team))
    starts = {"starts": "2027-01-19T15:00:00Z"}
    return (
        Route(
            name="schedule_visit",
            method="POST",
            path_template="/patients/{patient}/visits",
            summary="Schedule a visit",
            policy=Bearer(_STAFF, policy.treats),
            audit="visit.schedule",
            request=VisitBody,
            path=PatientPath,
            response=VisitShown,
            status=201,
            command=_schedule(visits),
            idempotency=KEY_REQUIRED,
            errors=(_CALENDAR, _PATIENT, _CLINICIAN, _PAST),
            location="/visits/{visit}",
            examples=(Example({**starts, "clinician": "018f0000-0000-7000-8000-0000000000a1", "minutes": 45}),),
        ),
        Route(
            name="list_visits_of_patient",
            method="GET",
            path_template="/patients/{patient}/visits",
            summary="A patient's visits, newest first",
            policy=Bearer(_READERS, policy.own_or_care_team),
            audit="visits.read",
            path=PatientPath,
            response=VisitList,
            query=_of_patient,
        ),
        Route(
            name="list_visits",
            method="GET",
            path_template="/visits",
            summary="The visits of a day of the clinic",
            policy=Bearer(_STAFF | {Who.AUDITOR}, role_is_enough),
            audit="visits.list",
            query_model=Day,
            response=VisitList,
            query=_of_day,
            errors=(_CALENDAR,),
        ),
        Route(
            name="show_visit",
            method="GET",
            path_template="/visits/{visit}",
            summary="A visit, as it stands",
            policy=Bearer(_READERS, of_visit(policy.own_or_care_team)),
            audit="visit.read",
            path=VisitPath,
            response=VisitShown,
            query=_show,
        ),
        _act(
            "move_visit",
            "move",
            "Move a visit",
            staff,
            lambda asked, *more: visits.move(asked.path.visit, asked.body.starts, *more),
            MoveBody,
            (_OVER, _PAST),
            starts,
        ),
        _act(
            "cancel_visit",
            "cancellation",
            "Cancel a visit",
            staff,
            lambda asked, *more: visits.cancel(asked.path.visit, asked.body.reason, *more),
            CancelBody,
            (_OVER,),
            {"reason": "patient-asked"},
        ),
        _act(
            "locate_patient",
            "location",
            "Say where the patient is today",
            own,
            lambda asked, *more: visits.locate(asked.path.visit, asked.body.region, asked.body.address, *more),
            LocateBody,
            (_OVER,),
            {"region": "US-NY", "address": "12 Main Street, Albany"},
        ),
        _act(
            "record_presence",
            "presence",
            "Say who came into the room or left it, in person",
            Bearer(_TEAM | {Who.FRONT_DESK}, of_visit(policy.treats)),
            lambda asked, *more: visits.attend(asked.path.visit, Role(asked.body.role), asked.body.there, asked.body.at, *more),
            PresenceBody,
            (_OVER, _BY_VIDEO, _FUTURE),
            {"role": "patient", "there": True},
        ),
        Route(
            name="join_visit",
            method="POST",
            path_template="/visits/{visit}/join-tokens",
            summary="A token to join the room of a visit, as the patient or as its clinician",
            policy=Bearer(_TEAM | {Who.PATIENT}, of_visit(policy.own_or_care_team)),
            audit="visit.join",
            path=VisitPath,
            response=JoinShown,
            status=201,
            command=_join(visits),
            idempotency=NaturalKey(of="nothing: each token is another, and none is kept"),
            errors=(_IN_PERSON, _OVER, _NOT_NOW, _ADDRESS, _LICENCE),
        ),
        Route(
            name="livekit_called",
            method="POST",
            path_template="/webhooks/livekit",
            summary="What a LiveKit server says: who came and went",
            policy=WebhookSignature("livekit", livekit.verify),
            audit="visit.called",
            response=Taken,
            command=_called(visits),
            idempotency=NaturalKey(of="id of the call"),
            errors=(_MALFORMED,),
            media_types=("application/webhook+json", "application/json"),
            max_body=64 * 1024,
        ),
    )


_Do = Callable[[Asked[Any, VisitPath], Reader, Context], Awaitable[tuple[Changes, Visit] | Rejected]]


def _act(
    name: str,
    path: str,
    summary: str,
    who: Bearer,
    do: _Do,
    body: type[Request],
    errors: tuple[ProblemType, ...],
    example: dict[str, Any],
) -> Route:
    def command(asked: Asked[Any, VisitPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            return _answered(await do(asked, read, context))

        return decide

    return Route(
        name=name,
        method="POST",
        path_template=f"/visits/{{visit}}/{path}",
        summary=summary,
        policy=who,
        audit=f"visit.{name.split('_')[0]}",
        request=body,
        path=VisitPath,
        response=VisitShown,
        command=command,
        idempotency=KEY_REQUIRED,
        errors=errors,
        examples=(Example(example),),
    )


def _listed(visits: Sequence[Visit]) -> VisitList:
    video = livekit.configured()  # read once: it reads the environment
    return VisitList(visits=[_shown(one, video) for one in visits])


def _shown(visit: Visit, video: bool | None = None) -> VisitShown:
    return VisitShown(
        visit=visit.id,
        patient=visit.patient,
        case=visit.case,
        clinician=visit.clinician,
        starts_at=visit.starts_at,
        zone=visit.zone,
        minutes=visit.minutes,
        by_video=visit.by_video,
        video_configured=livekit.configured() if video is None else video,
        state=visit.state.value,
        region=visit.region,
        located_at=visit.located_at,
        started_at=visit.started_at,
        ended_at=visit.ended_at,
        reason=visit.reason,
        version=visit.version,
    )


def _answered(decided: tuple[Changes, Visit] | Rejected, status: int = 200) -> Changes | Rejected:
    return decided if isinstance(decided, Rejected) else replace(decided[0], reply=reply(_shown(decided[1]), status))


def _schedule(visits: Visits) -> Callable[[Asked[VisitBody, PatientPath]], Decide]:
    def command(asked: Asked[VisitBody, PatientPath]) -> Decide:
        body = asked.body

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            wanted = Visit(
                uuid_utils.compat.uuid7(),
                asked.path.patient,
                body.case,
                body.clinician,
                body.starts,
                "",
                body.minutes,
                body.by_video and livekit.configured(),
            )
            return _answered(await visits.schedule(wanted, read, context), 201)

        return decide

    return command


def _of_patient(asked: Asked[Any, PatientPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        found = await store.visits_of_patient(read, asked.path.patient)
        return Found(_listed(found), [str(one.id) for one in found])

    return find


def _of_day(asked: Asked[Any, Any, Day]) -> Find:
    async def find(read: Reader, context: Context) -> Found | Rejected:
        hours = await directory.opening_hours(read)
        if hours is None:
            return Rejected("calendar-unknown")
        zone = zone_of(hours.zone)
        day = asked.query.day or context.now.astimezone(zone).date()
        starts, ends = (
            dt.datetime.combine(one, dt.time(), zone).astimezone(dt.UTC) for one in (day, day + dt.timedelta(days=1))
        )
        found = await store.on_day(read, starts, ends, asked.query.limit)
        return Found(_listed(found), [str(one.id) for one in found])

    return find


def _show(asked: Asked[Any, VisitPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        visit = await store.visit(read, asked.path.visit)
        return Found(_shown(visit), patient=str(visit.patient)) if visit else Rejected("not-found", status=404)

    return find


def _join(visits: Visits) -> Callable[[Asked[Any, VisitPath]], Decide]:
    def command(asked: Asked[Any, VisitPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            who = asked.principal
            visit = await store.visit(read, asked.path.visit)
            if visit is not None and Who.PATIENT not in who.roles and UUID(who.person) != visit.clinician:
                return Rejected("not-found", status=404)
            role = Role.PATIENT if Who.PATIENT in who.roles else Role.CLINICIAN
            joined = await visits.join(asked.path.visit, role, read, context)
            if isinstance(joined, Rejected):
                return joined
            url, token = livekit.join_token(joined.visit, role, time.time())
            shown = JoinShown(url=url, room=joined.visit.room, token=token, expires_in_s=livekit.TOKEN_S)
            return Changes(reply=reply(shown, 201), patient=str(joined.visit.patient))

        return decide

    return command


def _called(visits: Visits) -> Callable[[Asked[Any]], Decide]:
    def command(asked: Asked[Any]) -> Decide:
        call = livekit.read_call(asked.raw)

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            if call is None:
                return Rejected("call-malformed", final=False)
            changes = await visits.called(call, read, context)
            return replace(changes, reply=reply(Taken(taken=True)))

        return decide

    return command
