"""Routes of watching: typed sets, a monitor's samples, alerts that are acknowledged and resolved."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Code, Id, Instant, Quantity, Request, Response, field_error
from services.runtime.edge.policy import Bearer, role_is_enough
from services.runtime.edge.principal import Principal, Role
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, NaturalKey, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected, Reply
from services.runtime.messaging.unit_of_work import Decide
from services.session_logging.commands.watch import NotBound, Watch
from services.session_logging.domain.alarms import Raised, Sample
from services.session_logging.http.sessions import READERS, AlertShown, show_alert
from services.session_logging.http.shared import (
    AFTER_SESSION,
    DEVICE_BOUND,
    LATER,
    LOCKED,
    NURSES,
    OUTSIDE,
    SessionPath,
    act_route,
    in_unit,
    of,
    person,
    refused,
)
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms
from services.therapies import evidence

__all__ = ["VitalsValues", "routes", "typed"]

_BOUND = ProblemType("not-bound", 409, "This monitor is not bound to this session")
_PAPER = ProblemType("no-paper", 409, "Nothing was typed from paper")
_NOBODY = ProblemType("nobody-responsible", 409, "No nurse is responsible for this session")
_SELF_CHECKED = ProblemType("self-checked", 403, "Who typed from paper does not check it")
_CLOSED = ProblemType("alert-closed", 409, "The alert was resolved already")
_YOURS = ProblemType("not-of-your-role", 403, "RED and STOP are resolved by a prescriber")

Pressure = Annotated[Quantity, in_unit("mm[Hg]")]
PerMinute = Annotated[Quantity, in_unit("/min")]
Percent = Annotated[Quantity, in_unit("%")]
Measured = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Scale = Annotated[int, Field(ge=0, le=4)]


class VitalsValues(Request):
    """What was measured and seen; what was not is left out. ``cadss6`` are the six answers."""

    sbp: Pressure | None = None
    dbp: Pressure | None = None
    heart_rate: PerMinute | None = None
    resp_rate: PerMinute | None = None
    spo2: Percent | None = None
    on_oxygen: bool | None = None
    moaa_s: Annotated[int, Field(ge=0, le=5)] | None = None
    cadss6: Annotated[tuple[Scale | None, ...], Field(min_length=6, max_length=6, strict=False)] | None = None
    symptoms: Annotated[tuple[Code, ...], Field(max_length=20, strict=False)] = ()

    @model_validator(mode="after")
    def _something(self) -> "VitalsValues":
        if not any(value not in (None, ()) for name, value in self if name not in ("at", "source", "kind")):
            raise field_error("nothing-measured")
        return self


class VitalsBody(VitalsValues):
    """A set of vitals. ``at`` is when it was true; one that is typed from a sheet of paper says so."""

    at: Instant | None = None
    source: Literal["typed", "paper"] = "typed"


class SampleBody(Request):
    """One second of a monitor, by its number there. ``origin`` names the recording that it comes from, if it does. A value that
    no body can have refuses its own row only.
    """

    seq: Annotated[int, Field(ge=0, le=2**53)]
    at: Instant
    heart_rate: Measured | None = None
    resp_rate: Measured | None = None
    spo2: Measured | None = None
    origin: Code | None = None


class BatchBody(Request):
    """Samples of the monitor that is bound to the session; ``sent_at`` is what its clock shows as it sends them."""

    device: Code
    sent_at: Instant | None = None
    samples: Annotated[tuple[SampleBody, ...], Field(min_length=1, max_length=600, strict=False)]


class RowRefused(Response):
    """A row that was not taken, with why: ``impossible``, ``conflicting``, or a time that is not of the session."""

    seq: int
    code: str


class BatchShown(Response):
    """Numbers that were taken, that had come before, and that were refused; and how far the monitor's clock is ahead."""

    accepted: list[int]
    duplicates: list[int]
    refused: list[RowRefused]
    offset_s: float | None


class DueShown(Response):
    """When the next set of vitals is due, with a pressure in it, by the cadence of the phase; null when none is.

    Attributes:
        due: it is due now.
        noticed_at: when the room noticed that it had not come.
    """

    due_at: Instant | None
    due: bool
    noticed_at: Instant | None


class DeviceBody(Request):
    """The monitor that was scanned for this session; null if none is bound any more."""

    device: Code | None


class AlertPath(Request):
    """Path of an alert."""

    alert: Id


class ResolveBody(Request):
    """What was done about it."""

    action: Literal["rechecked", "paused", "stopped", "drug-given", "equipment-fixed", "prescriber-informed", "other"]


def routes(watch: Watch) -> tuple[Route, ...]:
    """The routes, in the room."""
    at_chair = Bearer(NURSES, of("alert"))
    set_of_vitals = {
        "sbp": {"value": "128", "unit": "mm[Hg]"},
        "dbp": {"value": "78", "unit": "mm[Hg]"},
        "heart_rate": {"value": "76", "unit": "/min"},
        "resp_rate": {"value": "14", "unit": "/min"},
        "spo2": {"value": "98", "unit": "%"},
        "on_oxygen": False,
        "moaa_s": 5,
    }
    sample = {"seq": 0, "at": "2026-01-25T15:30:00Z", "heart_rate": 77, "spo2": 98}
    return (
        act_route(
            "record_vitals",
            "vitals",
            "Record a set of vitals; alerts that follow are raised at once",
            NURSES,
            lambda asked, *more: watch.record(asked.path.session, typed(asked.body), asked.body.at, person(asked), *more),
            body=VitalsBody,
            errors=(*LATER, OUTSIDE, LOCKED, AFTER_SESSION),
            example=set_of_vitals,
        ),
        act_route(
            "check_paper",
            "paper-checks",
            "Say that the sets typed from paper are what the sheet says",
            NURSES,
            lambda asked, *more: watch.check_paper(asked.path.session, person(asked), *more),
            errors=(LOCKED, _PAPER, _SELF_CHECKED),
        ),
        act_route(
            "symptoms_over",
            "symptoms-over",
            "Say that the symptoms that were entered are over",
            NURSES,
            lambda asked, *more: watch.symptoms_over(asked.path.session, person(asked), *more),
            errors=(OUTSIDE,),
        ),
        act_route(
            "device_lost",
            "device-lost",
            "Say that the monitor no longer measures",
            NURSES,
            lambda asked, *more: watch.device_lost(asked.path.session, person(asked), *more),
            errors=(OUTSIDE,),
        ),
        act_route(
            "nurse_left",
            "nurse-left",
            "Say that the responsible nurse leaves and nobody has taken the patient over",
            NURSES,
            lambda asked, *more: watch.nurse_left(asked.path.session, person(asked), *more),
            errors=(OUTSIDE, _NOBODY),
        ),
        Route(
            name="show_vitals_due",
            method="GET",
            path_template="/sessions/{session}/vitals-due",
            summary="When the next set of vitals is due",
            policy=Bearer(READERS, of("session")),
            audit="session.vitals-due",
            path=SessionPath,
            response=DueShown,
            query=_due(watch),
        ),
        act_route(
            "bind_device",
            "device",
            "Bind the monitor that was scanned to the session, or none",
            NURSES,
            lambda asked, *more: watch.bind(asked.path.session, asked.body.device, person(asked), *more),
            body=DeviceBody,
            errors=(DEVICE_BOUND,),
            example={"device": "monitor-2"},
        ),
        Route(
            name="ingest_samples",
            method="POST",
            path_template="/sessions/{session}/samples",
            summary="Samples of the monitor that is bound to the session",
            policy=Bearer(frozenset({Role.INTEGRATION}), role_is_enough),
            audit="samples.ingest",
            request=BatchBody,
            path=SessionPath,
            response=BatchShown,
            command=_ingest(watch),
            idempotency=NaturalKey(of="session, device and number of the sample"),
            errors=(_BOUND, LOCKED, OUTSIDE),
            max_body=256 * 1024,
            examples=(Example({"device": "monitor-1", "samples": [sample]}),),
        ),
        Route(
            name="acknowledge_alert",
            method="POST",
            path_template="/alerts/{alert}/acknowledgement",
            summary="Take an alert over: the pages of your ladder stop, the alert stays open",
            policy=at_chair,
            audit="alert.acknowledge",
            path=AlertPath,
            response=AlertShown,
            command=_acknowledge(watch),
            idempotency=KEY_REQUIRED,
            errors=(_CLOSED,),
        ),
        Route(
            name="resolve_alert",
            method="POST",
            path_template="/alerts/{alert}/resolution",
            summary="Close an alert and say what was done",
            policy=at_chair,
            audit="alert.resolve",
            request=ResolveBody,
            path=AlertPath,
            response=AlertShown,
            command=_resolve(watch),
            idempotency=KEY_REQUIRED,
            errors=(_CLOSED, _YOURS),
            examples=(Example({"action": "rechecked"}),),
        ),
    )


def typed(body: VitalsValues) -> dict[str, Any]:
    """A set as the log keeps it: quantities as text with units."""
    found: dict[str, Any] = {"source": getattr(body, "source", "typed")}
    for name in ("sbp", "dbp", "heart_rate", "resp_rate", "spo2"):
        value = getattr(body, name)
        if value is not None:
            found[name] = str(value)
    for name in ("on_oxygen", "moaa_s"):
        if getattr(body, name) is not None:
            found[name] = getattr(body, name)
    if body.cadss6 is not None:
        found["cadss6_answers"] = list(body.cadss6)
    if body.symptoms:
        found["symptoms"] = list(body.symptoms)
    return found


def _due(watch: Watch) -> Callable[[Asked[Any, SessionPath]], Find]:
    def query(asked: Asked[Any, SessionPath]) -> Find:
        async def find(read: Reader, context: Context) -> Found | Rejected:
            session = await store.session(read, asked.path.session)
            if session is None:
                return Rejected("not-found", status=404)
            due_at = watch.room.pressure_due(await watch.room.log(read, session), context)
            noticed = await alarms.dues(read, session.id)
            shown = DueShown(
                due_at=due_at,
                due=due_at is not None and due_at <= context.now,
                noticed_at=noticed.get(due_at) if due_at else None,
            )
            return Found(shown, patient=str(session.patient))

        return find

    return query


def _ingest(watch: Watch) -> Callable[[Asked[BatchBody, SessionPath]], Decide]:
    def command(asked: Asked[BatchBody, SessionPath]) -> Decide:
        body = asked.body
        samples = [
            Sample(body.device, one.seq, one.at, one.at, one.heart_rate, one.resp_rate, one.spo2, one.origin)
            for one in body.samples
        ]

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await watch.ingest(asked.path.session, samples, body.sent_at, read, context)
            if isinstance(made, Rejected):
                return made
            if isinstance(made, evidence.Rejected):
                return refused(made)
            changes, outcome = made
            if isinstance(outcome, NotBound):
                return replace(changes, reply=Reply(_BOUND.status, problems.document(_BOUND)))
            judged = outcome.judged
            shown = BatchShown(
                accepted=[one.seq for one in judged.accepted],
                duplicates=judged.duplicates,
                refused=[RowRefused(seq=seq, code=why.value) for seq, why in judged.refused],
                offset_s=outcome.offset.total_seconds() if outcome.offset is not None else None,
            )
            return replace(changes, reply=reply(shown))

        return decide

    return command


def _role(who: Principal) -> str:
    return "prescriber" if Role.PRESCRIBER in who.roles else "nurse"


def _answered(decided: tuple[Changes, Raised] | Rejected) -> Changes | Rejected:
    return decided if isinstance(decided, Rejected) else replace(decided[0], reply=reply(show_alert(decided[1])))


def _acknowledge(watch: Watch) -> Callable[[Asked[Any, AlertPath]], Decide]:
    def command(asked: Asked[Any, AlertPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            role = _role(asked.principal)
            return _answered(await watch.acknowledge(asked.path.alert, role, person(asked), read, context))

        return decide

    return command


def _resolve(watch: Watch) -> Callable[[Asked[ResolveBody, AlertPath]], Decide]:
    def command(asked: Asked[ResolveBody, AlertPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            role, action = _role(asked.principal), asked.body.action
            return _answered(await watch.resolve(asked.path.alert, role, action, person(asked), read, context))

        return decide

    return command
