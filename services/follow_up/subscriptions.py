"""What follow-up listens to: what a patient is owed something for between visits, and everything for their journey."""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from schemas.envelope import Envelope
from schemas.events import REGISTRY, consultation, follow_up, session_logging, treatment_planning, video_visits
from schemas.events.session_logging import SessionEnding, SessionState
from schemas.events.shared import InstrumentScored, RiskFlagged
from schemas.registry import DataClass
from services.directory.subscriptions import directory
from services.follow_up import events
from services.follow_up.commands import tasks
from services.follow_up.commands.messages import WEEKLY, Messages
from services.follow_up.commands.outcomes import Outcomes
from services.follow_up.domain.links import Contact, Link
from services.follow_up.domain.outcomes import Score, State
from services.follow_up.domain.reminders import Appointment, Rung, SessionFact, VisitFact
from services.follow_up.domain.tasks import CareTask
from services.follow_up.store import messages as store
from services.follow_up.store import outcomes as scores
from services.follow_up.store import tasks as work
from services.runtime.database import Reader
from services.runtime.messaging.changes import CancelTimers, Changes, Context, NewEvent, Put, RowChanges, SetTimer
from services.runtime.messaging.inbox import Projection, Subscription
from services.therapies.cadence import education
from services.therapies.evidence import Thresholds

__all__ = ["CARE", "JOURNEY", "Care", "subscriptions"]

CARE = "follow_up.care"
JOURNEY = "follow_up.journey"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a patient when something happens to them.

    Attributes:
        off: plans that are held or stopped.
        rungs: messages that wait, went out or may have gone out, by what they are about.
    """

    recipient: tuple[str, str, str] | None
    contact: Contact | None
    sessions: Sequence[SessionFact]
    off: Collection[UUID]
    visits: Sequence[VisitFact]
    rungs: Mapping[UUID, Sequence[Rung]]
    state: State
    tasks: Sequence[CareTask]
    links: Sequence[Link]
    guidance: Sequence[tuple[str, str, dt.datetime]]

    @property
    def zone(self) -> str:
        """In which the patient reads the clock; until it is known, that of the next session."""
        return self.recipient[0] if self.recipient else self.sessions[0].zone if self.sessions else "UTC"

    @property
    def status(self) -> str:
        """What the patient is to the clinic; active until something else was heard."""
        return self.recipient[2] if self.recipient else "active"

    def appointment(self, session: SessionFact) -> Appointment:
        """As what the patient is reminded of a session; of one whose plan is off they are not."""
        found = session.appointment
        return replace(found, ahead=found.ahead and session.plan not in self.off)


@dataclass(frozen=True, slots=True)
class Care:
    """The use cases that events lead to."""

    messages: Messages
    outcomes: Outcomes

    def rules(self, name: str, context: Context) -> Thresholds:
        """A revision in force today."""
        return self.messages.rules(name, context)


_Decide = Callable[[Care, Known, Envelope[Any], Context], Changes]


class _About:
    """An event about a patient."""

    def __init__(self, care: Care, decide: _Decide) -> None:
        self._care, self._decide = care, decide

    def key(self, item: Envelope[Any]) -> UUID:
        patient: UUID = item.data.patient
        return patient

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Known]:
        recipients, sessions = await store.recipients(read, keys), await store.sessions_of(read, keys)
        off, rungs, visits = (
            await store.plans_off(read, keys),
            await store.rungs_of(read, keys),
            await store.visits_of(read, keys),
        )
        states, open_tasks = await scores.states(read, keys), await work.open_of_patients(read, keys)
        links, guidance = await store.links(read, keys), await work.guidance(read, keys)
        return {
            patient: Known(
                recipients.get(patient),
                await store.contact(read, patient),
                sessions.get(patient, ()),
                off,
                visits.get(patient, ()),
                {about: found for about, found in rungs.items() if found[0].patient == patient},
                states[patient],
                open_tasks[patient],
                [link for link in links if link.patient == patient],
                guidance.get(patient, ()),
            )
            for patient in keys
        }

    def decide(self, state: Known | None, item: Envelope[Any], context: Context) -> tuple[Known | None, Changes]:
        assert state is not None  # noqa: S101 - `load` answers for every patient
        return state, self._decide(self._care, state, item, context)


def _patient_changed(care: Care, known: Known, item: Envelope[consultation.PatientChanged], context: Context) -> Changes:
    data = item.data
    row = store.recipient_row(data.patient, data.zone, data.language, data.status)
    parts = [Changes(rows=[row])]
    appointments = [known.appointment(one) for one in known.sessions] + [one.appointment for one in known.visits]
    ahead = [one for one in appointments if one.ahead]
    if data.status != consultation.PatientStatus.ACTIVE:
        parts.append(care.messages.withdrawn([rung for found in known.rungs.values() for rung in found], context))
        parts.append(Changes(rows=[store.link_row(replace(link, status="withdrawn")) for link in known.links]))
    else:
        # Another zone is another local hour: what is planned is derived anew, what stays as it was is left alone.
        for one in ahead:
            parts.append(care.messages.plan(one, data.zone, data.status, known.rungs.get(one.about, ()), context))
    if data.status == consultation.PatientStatus.DECEASED and known.status != data.status:
        parts.append(tasks.voided(known.tasks, context))
        parts.append(Changes(timers=[CancelTimers(str(data.patient), (WEEKLY, tasks.DAY_7))]))
        wait = care.rules("cadence", context)["contact.ketamine.check after discharge sign-off"].elapsed
        review = tasks.opened(data.patient, None, tasks.SERIOUS, "prescriber", context.now + wait, wait * 0, context)
        parts.append(review)
    return tasks.merged(*parts)


def _birth_date_corrected(
    care: Care, known: Known, item: Envelope[consultation.BirthDateCorrected], context: Context
) -> Changes:
    """The contact book has a birth date of its own, by which links open: somebody asks the patient whether it is right."""
    data = item.data
    if known.contact is None or known.contact.entered_at > data.corrected_at:
        return Changes()
    wait = care.rules("cadence", context)["contact.ketamine.check after discharge sign-off"].elapsed
    return tasks.opened(data.patient, None, "birth-date-check", "front_desk", context.now + wait, wait * 0, context)


def _session_changed(care: Care, known: Known, item: Envelope[session_logging.SessionChanged], context: Context) -> Changes:
    data = item.data
    before = next((one for one in known.sessions if one.session == data.session), None)
    fact = SessionFact(
        data.session,
        data.patient,
        data.case,
        data.plan,
        data.ordinal,
        data.phase,
        data.starts.at,
        data.starts.zone,
        data.state,
        before.started_at if before else None,
        before.ending if before else None,
    )
    rungs = known.rungs.get(data.session, ())
    changes = care.messages.plan(known.appointment(fact), known.zone, known.status, rungs, context)
    return replace(changes, rows=[store.session_row(fact), *changes.rows])


def _visit_scheduled(care: Care, known: Known, item: Envelope[video_visits.VisitScheduled], context: Context) -> Changes:
    data = item.data
    fact = VisitFact(data.visit, data.patient, data.starts.at, data.starts.zone, "scheduled")
    rungs = known.rungs.get(data.visit, ())
    changes = care.messages.plan(fact.appointment, known.zone, known.status, rungs, context)
    return replace(changes, rows=[store.visit_row(fact), *changes.rows])


def _visit_over(care: Care, known: Known, item: Envelope[Any], context: Context) -> Changes:
    """It has begun, was missed, or is off: nobody is reminded of it any more."""
    fact = next((one for one in known.visits if one.visit == item.data.visit), None)
    if fact is None:
        raise LookupError("the visit is not known yet")
    gone = care.messages.withdrawn(known.rungs.get(fact.visit, ()), context)
    return replace(gone, rows=[store.visit_row(replace(fact, status="over")), *gone.rows])


def _infusion_started(care: Care, known: Known, item: Envelope[session_logging.InfusionStarted], context: Context) -> Changes:
    data = item.data
    fact = next((one for one in known.sessions if one.session == data.session), None)
    if fact is None:
        raise LookupError("the session is not known yet")
    first = not known.state.infusions
    started = replace(fact, started_at=data.started_at, state=SessionState.INFUSING)
    infusions = tuple(sorted((*known.state.infusions, data.started_at)))
    frozen, _ = care.outcomes.freeze(data.patient, replace(known.state, infusions=infusions), context)
    parts = [Changes(rows=[store.session_row(started)]), frozen]
    # The review a week after the last infusion is of the last one.
    timers: list[Any] = [CancelTimers(str(data.patient), (tasks.DAY_7,))]
    if first:
        week = care.rules("cadence", context)["contact.ketamine.weekly PHQ-9 and GAD-7 in induction"].elapsed
        key = f"{WEEKLY}:{data.patient}:{data.started_at.isoformat()}"
        timers.append(SetTimer(WEEKLY, key, str(data.patient), data.started_at + week, {"zone": known.zone}))
        parts.append(_guidance(care, known, data.patient, "during treatment", context))
    parts.append(Changes(timers=timers))
    return tasks.merged(*parts)


def _session_closed(care: Care, known: Known, item: Envelope[session_logging.SessionClosed], context: Context) -> Changes:
    data = item.data
    fact = next((one for one in known.sessions if one.session == data.session), None)
    if fact is None:
        raise LookupError("the session is not known yet")
    parts = [Changes(rows=[store.session_row(replace(fact, state="closed", ending=data.ending))])]
    parts.append(care.messages.withdrawn(known.rungs.get(data.session, ()), context))
    signed = care.rules("cadence", context)
    if data.ending in (SessionEnding.LEFT_AGAINST_ADVICE, SessionEnding.ELOPED):
        wait = signed["ladder.left without discharge.welfare call"].elapsed
        parts.append(tasks.opened(data.patient, data.session, "welfare", "nurse", data.closed_at + wait, wait * 0, context))
    elif data.ending == SessionEnding.TRANSFERRED:
        wait = signed["contact.ketamine.check after discharge sign-off"].elapsed
        due = data.closed_at + wait
        parts.append(tasks.opened(data.patient, data.session, "hospital-call", "nurse", due, wait * 0, context))
    if data.ended_at is not None:
        wait = signed["contact.ketamine.review on day 7 after the last infusion"].elapsed
        key = f"{tasks.DAY_7}:{data.session}"
        timer = SetTimer(tasks.DAY_7, key, str(data.patient), data.ended_at + wait, {"session": str(data.session)})
        parts.append(Changes(timers=[CancelTimers(str(data.patient), (tasks.DAY_7,)), timer]))
    return tasks.merged(*parts)


def _discharged(care: Care, known: Known, item: Envelope[session_logging.SessionDischarged], context: Context) -> Changes:
    data = item.data
    grace = care.rules("cadence", context)["ladder.no answer.emergency contact, then welfare check"].elapsed
    return tasks.opened(data.patient, data.session, "check-24h", "nurse", data.contact_due_at, grace, context)


def _plan_signed(care: Care, known: Known, item: Envelope[treatment_planning.PlanSigned], context: Context) -> Changes:
    if item.data.version != 1:
        return Changes()
    return _guidance(care, known, item.data.patient, "before the first visit", context)


def _plan_held(care: Care, known: Known, item: Envelope[treatment_planning.PlanHeld], context: Context) -> Changes:
    return _plan_goes_on(care, known, item.data, False, context)


def _plan_released(care: Care, known: Known, item: Envelope[treatment_planning.PlanReleased], context: Context) -> Changes:
    return _plan_goes_on(care, known, item.data, True, context)


def _plan_stopped(care: Care, known: Known, item: Envelope[treatment_planning.PlanStopped], context: Context) -> Changes:
    off = _plan_goes_on(care, known, item.data, False, context)
    return tasks.merged(off, _guidance(care, known, item.data.patient, "after treatment", context))


def _plan_goes_on(care: Care, known: Known, data: Any, active: bool, context: Context) -> Changes:
    """Nobody is reminded of sessions whose plan is off; when it goes on, of those that are still ahead."""
    known = replace(known, off={*known.off} - {data.plan} if active else {*known.off, data.plan})
    of_plan = [known.appointment(one) for one in known.sessions if one.plan == data.plan]
    parts = [care.messages.plan(one, known.zone, known.status, known.rungs.get(one.about, ()), context) for one in of_plan]
    return tasks.merged(Changes(rows=[store.plan_row(data.plan, data.patient, active=active)]), *parts)


def _scored(owner: str) -> _Decide:
    def decide(care: Care, known: Known, item: Envelope[InstrumentScored], context: Context) -> Changes:
        data = item.data
        score = Score(data.assessment, data.instrument, data.total if data.complete else None, data.answered_at)
        return care.outcomes.scored(data.patient, known.state, score, data.suicide_item, owner, known.zone, context)

    return decide


def _flagged(owner: str) -> _Decide:
    def decide(care: Care, known: Known, item: Envelope[RiskFlagged], context: Context) -> Changes:
        data = item.data
        values = {
            "patient": data.patient,
            "level": data.level,
            "instrument": data.instrument,
            "at": data.assessed_at,
            "owner": owner,
        }
        return Changes(rows=[scores.risk_row(data.assessment, values)])

    return decide


def _guidance(care: Care, known: Known, patient: UUID, stage: str, context: Context) -> Changes:
    """What there is to read at a stage, told once."""
    signed = care.rules("cadence", context)
    given = {(topic, at) for topic, at, _ in known.guidance}
    rows: list[Put] = []
    told: list[NewEvent] = []
    for topic in education("ketamine", stage, signed):
        if (topic, stage) not in given:
            rows.append(work.guidance_row(patient, topic, stage, context.now))
            told.append(events.guidance_given(patient, topic, stage, signed.effective.isoformat()))
    return Changes(rows=rows, events=told)


class _Journey:
    """Every event of a patient, as it was told."""

    def key(self, item: Envelope[Any]) -> str:
        return item.source

    async def load(self, read: Reader, keys: Collection[str]) -> Mapping[str, None]:
        return {}

    def decide(self, state: None, item: Envelope[Any], context: Context) -> tuple[None, RowChanges]:
        kind = item.type.removeprefix("org.telemed.")
        row = work.journey_row(
            UUID(item.partitionkey),
            item.time,
            item.id,
            kind,
            item.source,
            item.sequence,
            item.data.model_dump(mode="json", exclude_none=True),
        )
        return None, RowChanges(rows=[row])


def subscriptions(care: Care) -> tuple[Subscription, ...]:
    """The table of what follow-up listens to."""
    decisions: Mapping[str, _Decide] = {
        consultation.PATIENT_CHANGED.name: _patient_changed,
        consultation.BIRTH_DATE_CORRECTED.name: _birth_date_corrected,
        session_logging.SESSION_CHANGED.name: _session_changed,
        session_logging.INFUSION_STARTED.name: _infusion_started,
        session_logging.SESSION_CLOSED.name: _session_closed,
        session_logging.SESSION_DISCHARGED.name: _discharged,
        treatment_planning.PLAN_SIGNED.name: _plan_signed,
        treatment_planning.PLAN_HELD.name: _plan_held,
        treatment_planning.PLAN_RELEASED.name: _plan_released,
        treatment_planning.PLAN_STOPPED.name: _plan_stopped,
        video_visits.VISIT_SCHEDULED.name: _visit_scheduled,
        video_visits.VISIT_STARTED.name: _visit_over,
        video_visits.VISIT_MISSED.name: _visit_over,
        video_visits.VISIT_CANCELLED.name: _visit_over,
        consultation.INSTRUMENT_SCORED.name: _scored("consultation"),
        session_logging.INSTRUMENT_SCORED.name: _scored("session_logging"),
        follow_up.INSTRUMENT_SCORED.name: _scored("follow_up"),
        consultation.RISK_FLAGGED.name: _flagged("consultation"),
        session_logging.RISK_FLAGGED.name: _flagged("session_logging"),
        follow_up.RISK_FLAGGED.name: _flagged("follow_up"),
    }
    handlers = {name: _About(care, decide) for name, decide in decisions.items()}
    told = [kind.name for kind in REGISTRY.events if kind.data_class is not DataClass.OPERATIONAL]
    return (
        directory("follow_up"),
        # One at a time: what an event leads to depends on what the one before it has written.
        Subscription(CARE, handlers, max_events=1),
        Projection(JOURNEY, dict.fromkeys(told, _Journey()), tables=("journey",)),
    )
