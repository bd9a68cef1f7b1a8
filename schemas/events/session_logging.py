"""What ``session_logging`` tells of a treatment session; its source is ``/session_logging/sessions/<id>``.

Samples of a monitor stay in the owner's database: the bus carries summaries, alerts and facts.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.envelope import EventData
from schemas.events.shared import (
    AT,
    CASE,
    PATIENT,
    SINCE,
    STAFF,
    THING,
    InstrumentScored,
    RiskFlagged,
    TaskClosed,
    TaskOpened,
    instrument_sample,
    risk_sample,
    task_closed_sample,
    task_opened_sample,
)
from schemas.fields import Code, DecimalText, Measure, OpaqueId, PatientId, Revision, ZonedInstant, in_unit, open_code
from schemas.registry import event_type

__all__ = [
    "ADVERSE_EVENT_RECORDED",
    "ADVERSE_EVENT_RESOLVED",
    "ALERT_ACKNOWLEDGED",
    "ALERT_RAISED",
    "ALERT_RESOLVED",
    "CONSENT_WITHDRAWN",
    "EVENTS",
    "GATE_EVALUATED",
    "INFUSION_ENDED",
    "INFUSION_PAUSED",
    "INFUSION_RATE_CHANGED",
    "INFUSION_RESUMED",
    "INFUSION_STARTED",
    "INSTRUMENT_SCORED",
    "RESCUE_DRUG_GIVEN",
    "RESCUE_DRUG_IN_ERROR",
    "RISK_FLAGGED",
    "SESSION_CHANGED",
    "SESSION_CLOSED",
    "SESSION_DISCHARGED",
    "TASK_CLOSED",
    "TASK_OPENED",
    "VITALS_DUE",
    "VITALS_SUMMARISED",
    "AdverseEventRecorded",
    "AdverseEventResolved",
    "AlertAcknowledged",
    "AlertRaised",
    "AlertResolved",
    "AlertTier",
    "ConsentWithdrawn",
    "GateEvaluated",
    "InfusionEnded",
    "InfusionPaused",
    "InfusionRateChanged",
    "InfusionResumed",
    "InfusionStarted",
    "Overridden",
    "RescueDrugGiven",
    "RescueDrugInError",
    "SessionChanged",
    "SessionClosed",
    "SessionDischarged",
    "SessionEnding",
    "SessionState",
    "VitalsDue",
    "VitalsSummarised",
]


class SessionState(StrEnum):
    """Where a session stands."""

    SCHEDULED = "scheduled"
    CHECKED_IN = "checked-in"
    HELD = "held"
    READY = "ready"
    INFUSING = "infusing"
    PAUSED = "paused"
    RECOVERY = "recovery"
    DISCHARGE_READY = "discharge-ready"
    CLOSED = "closed"


class SessionChanged(EventData):
    """A session exists, was moved, or is in another state; the whole of what others need, whenever a part changes.

    Attributes:
        session: id of the session.
        plan: under which it is held.
        plan_version: that holds for it.
        case: for which.
        patient: whose.
        therapy: under which programme.
        ordinal: its place in the series of the case.
        phase: ``induction`` or ``maintenance``.
        starts: when it is planned to begin.
        state: where it stands.
        nurse: who is responsible; absent before check-in.
        by: who has changed it; absent if something that was heard did.
        moved_at: since when it stands where it stands; absent while it is scheduled.
    """

    session: OpaqueId
    plan: OpaqueId
    plan_version: Annotated[int, Field(ge=1)]
    case: OpaqueId
    patient: PatientId
    therapy: Code
    ordinal: Annotated[int, Field(ge=1, le=1000)]
    phase: Code
    starts: ZonedInstant
    state: Annotated[Code, open_code(SessionState)]
    nurse: OpaqueId | None = None
    by: OpaqueId | None = None
    moved_at: AwareDatetime | None = None


class Overridden(EventData):
    """A rule that does not shut a gate because a prescriber on site has overridden it; the reason stays with the owner.

    Attributes:
        rule: its id.
        by: who has.
    """

    rule: Code
    by: OpaqueId


class GateEvaluated(EventData):
    """A gate was asked; its evidence stays with the owner.

    Attributes:
        evaluation: id of the evaluation.
        session: of which.
        patient: whose.
        gate: ``start``, ``resume`` or ``discharge``.
        outcome: ``OPEN``, ``HOLD``, ``NO_START``, ``READY`` or ``NOT_READY``.
        rules: ids of the rules that keep it shut.
        revision: the thresholds it was evaluated under.
        evaluated_at: when.
        overrides: rules that do not keep it shut only because somebody has overridden them.
    """

    evaluation: OpaqueId
    session: OpaqueId
    patient: PatientId
    gate: Code
    outcome: Code
    rules: list[Code]
    revision: Revision
    evaluated_at: AwareDatetime
    overrides: Annotated[list[Overridden], Field(default_factory=list)]


class InfusionStarted(EventData):
    """The pump runs.

    Attributes:
        session: of which.
        patient: whose.
        dose: that is to be given.
        volume: of the drug that was drawn into the bag.
        rate: of the pump.
        duration: planned.
        by: who started it.
        started_at: when.
    """

    session: OpaqueId
    patient: PatientId
    dose: Measure
    volume: Measure
    rate: Measure
    duration: Measure
    by: OpaqueId
    started_at: AwareDatetime


class InfusionRateChanged(EventData):
    """The pump runs at another rate.

    Attributes:
        session: of which.
        patient: whose.
        rate: new rate of the pump.
        by: who changed it.
        changed_at: when.
    """

    session: OpaqueId
    patient: PatientId
    rate: Measure
    by: OpaqueId
    changed_at: AwareDatetime


class InfusionPaused(EventData):
    """The pump stands.

    Attributes:
        session: of which.
        patient: whose.
        reason: why.
        by: who paused it.
        paused_at: when.
    """

    session: OpaqueId
    patient: PatientId
    reason: Code
    by: OpaqueId
    paused_at: AwareDatetime


class InfusionResumed(EventData):
    """The pump runs again.

    Attributes:
        session: of which.
        patient: whose.
        by: who resumed it.
        resumed_at: when.
    """

    session: OpaqueId
    patient: PatientId
    by: OpaqueId
    resumed_at: AwareDatetime


class RescueDrugGiven(EventData):
    """Another drug than the infusion was given to a patient in the chair.

    Attributes:
        entry: id of the entry.
        session: in which.
        patient: to whom.
        group: ``antihypertensive``, ``antiemetic``, ``benzodiazepine``, ``oxygen`` or ``other``.
        drug: which.
        dose: how much.
        route: how.
        ordered_by: which prescriber has ordered it; absent while that is not recorded.
        given_by: who has given it.
        given_at: when.
    """

    entry: OpaqueId
    session: OpaqueId
    patient: PatientId
    group: Code
    drug: Code
    dose: Measure
    route: Code
    ordered_by: OpaqueId | None = None
    given_by: OpaqueId
    given_at: AwareDatetime


class RescueDrugInError(EventData):
    """It was not given, or not like that: what was told under this entry does not count.

    Attributes:
        entry: id of the entry.
        session: in which.
        patient: whose.
        by: who says so.
        said_at: when.
    """

    entry: OpaqueId
    session: OpaqueId
    patient: PatientId
    by: OpaqueId
    said_at: AwareDatetime


class InfusionEnded(EventData):
    """The pump is off for good. Told again, if what it had delivered was corrected: the last one holds.

    Attributes:
        session: of which.
        patient: whose.
        given: drug that the patient has received, by the pump's volume.
        reason: ``complete``, ``stopped`` or ``patient-asked``.
        by: who ended it.
        ended_at: when.
    """

    session: OpaqueId
    patient: PatientId
    given: Measure
    reason: Code
    by: OpaqueId
    ended_at: AwareDatetime


class ConsentWithdrawn(EventData):
    """The patient has withdrawn consent at the chair; who owns it writes that down.

    Attributes:
        session: at which.
        case: for which the consent was.
        patient: whose.
        by: who has recorded it.
        withdrawn_at: when.
    """

    session: OpaqueId
    case: OpaqueId
    patient: PatientId
    by: OpaqueId
    withdrawn_at: AwareDatetime


class VitalsSummarised(EventData):
    """A typed set, or what a monitor's stream showed in a span of time.

    Attributes:
        session: of which.
        patient: whose.
        origin: ``typed``, ``monitor`` or ``paper``.
        from_at: first instant that it covers.
        to_at: last instant that it covers.
        sbp: systolic pressure.
        dbp: diastolic pressure.
        heart_rate: last of the span.
        resp_rate: last of the span.
        spo2: last of the span, in percent.
        spo2_low: lowest of the span, in percent.
        moaa_s: sedation (MOAA/S).
    """

    session: OpaqueId
    patient: PatientId
    origin: Code
    from_at: AwareDatetime
    to_at: AwareDatetime
    sbp: Annotated[int, in_unit("mm[Hg]"), Field(ge=0, le=400)] | None = None
    dbp: Annotated[int, in_unit("mm[Hg]"), Field(ge=0, le=400)] | None = None
    heart_rate: Annotated[int, in_unit("/min"), Field(ge=0, le=500)] | None = None
    resp_rate: Annotated[int, in_unit("/min"), Field(ge=0, le=200)] | None = None
    spo2: DecimalText | None = None
    spo2_low: DecimalText | None = None
    moaa_s: Annotated[int, Field(ge=0, le=5)] | None = None


class VitalsDue(EventData):
    """A set of vitals is due and has not been taken. Nobody is paged for it; what is overdue is an alert.

    Attributes:
        session: of which.
        patient: whose.
        due_at: since when.
    """

    session: OpaqueId
    patient: PatientId
    due_at: AwareDatetime


class AlertTier(StrEnum):
    """How grave an alert is."""

    AMBER = "AMBER"
    RED = "RED"
    STOP = "STOP"


class AlertRaised(EventData):
    """A rule of the alert table holds; the owner pages by itself.

    Attributes:
        alert: id of the alert.
        session: of which.
        patient: whose.
        tier: how grave it is.
        signal: what it is about: ``sbp``, ``spo2``, ``gap.bp`` and so on.
        rule: id of the rule.
        at: true time of the value.
        raised_at: when it was known.
        late: whether the value came late.
        answer_due_at: by when a human has to have acknowledged; absent for AMBER.
    """

    alert: OpaqueId
    session: OpaqueId
    patient: PatientId
    tier: Annotated[Code, open_code(AlertTier)]
    signal: Code
    rule: Code
    at: AwareDatetime
    raised_at: AwareDatetime
    late: bool
    answer_due_at: AwareDatetime | None = None


class AlertAcknowledged(EventData):
    """A human has taken an alert over.

    Attributes:
        alert: id of the alert.
        session: of which.
        patient: whose.
        role: on which ladder it ends the paging.
        by: who.
        acknowledged_at: when.
    """

    alert: OpaqueId
    session: OpaqueId
    patient: PatientId
    role: Code
    by: OpaqueId
    acknowledged_at: AwareDatetime


class AlertResolved(EventData):
    """A human has closed an alert; nothing closes by itself.

    Attributes:
        alert: id of the alert.
        session: of which.
        patient: whose.
        action: what was done.
        by: who.
        resolved_at: when.
    """

    alert: OpaqueId
    session: OpaqueId
    patient: PatientId
    action: Code
    by: OpaqueId
    resolved_at: AwareDatetime


class AdverseEventRecorded(EventData):
    """A human has entered an adverse event.

    Attributes:
        adverse_event: id of the adverse event.
        session: of which.
        patient: whose.
        term: what happened.
        grade: 1 to 5 (CTCAE-like), as the human confirmed it.
        relatedness: ``none``, ``possible``, ``probable`` or ``definite``.
        action: ``none``, ``paused``, ``stopped`` or ``drug-given``.
        serious: whether a criterion of seriousness holds (21 CFR 312.32).
        onset_at: when it began.
        by: who entered it.
    """

    adverse_event: OpaqueId
    session: OpaqueId
    patient: PatientId
    term: Code
    grade: Annotated[int, Field(ge=1, le=5)]
    relatedness: Code
    action: Code
    serious: bool
    onset_at: AwareDatetime
    by: OpaqueId


class AdverseEventResolved(EventData):
    """An adverse event is over.

    Attributes:
        adverse_event: id of the adverse event.
        session: of which.
        patient: whose.
        resolved_at: when it was over.
    """

    adverse_event: OpaqueId
    session: OpaqueId
    patient: PatientId
    resolved_at: AwareDatetime


class SessionDischarged(EventData):
    """The patient may go, accompanied; somebody licensed has signed.

    Attributes:
        session: of which.
        patient: who.
        by: who signed.
        discharged_at: when.
        contact_due_at: when the patient is to be called (24 h after).
    """

    session: OpaqueId
    patient: PatientId
    by: OpaqueId
    discharged_at: AwareDatetime
    contact_due_at: AwareDatetime


class SessionEnding(StrEnum):
    """How a session ended: ``completed`` with the whole bag given and a signed discharge, ``aborted`` before the start, or with
    a signed discharge after a part of the bag, ``voided`` if it was entered by mistake.
    """

    COMPLETED = "completed"
    ABORTED = "aborted"
    LEFT_AGAINST_ADVICE = "left-against-advice"
    ELOPED = "eloped"
    TRANSFERRED = "transferred"
    NO_SHOW = "no-show"
    CANCELLED = "cancelled"
    VOIDED = "voided"


class SessionClosed(EventData):
    """Nothing more happens in this session.

    Attributes:
        session: of which.
        patient: whose.
        plan: under which it was held.
        ordinal: its place in the series of the case.
        ending: how it ended.
        started_at: when the infusion began; absent if none did.
        ended_at: when the infusion ended; absent if none did.
        given: drug received; absent if none was.
        peak_sbp: highest systolic pressure of the infusion; absent if none was measured.
        record_due_on: local day by which the monitoring record is due; absent if none is.
        closed_at: when.
        by: who closed it; absent if something that was heard did.
    """

    session: OpaqueId
    patient: PatientId
    plan: OpaqueId
    ordinal: Annotated[int, Field(ge=1, le=1000)]
    ending: Annotated[Code, open_code(SessionEnding)]
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    given: Measure | None = None
    peak_sbp: Annotated[int, in_unit("mm[Hg]"), Field(ge=0, le=400)] | None = None
    record_due_on: date | None = None
    closed_at: AwareDatetime
    by: OpaqueId | None = None


_OWNER = "session_logging"
_MG = Measure(value=Decimal("41.0"), unit="mg")

_DUE_SINCE = "2026-11-28"
SESSION_CHANGED = event_type(
    _OWNER,
    "session-changed",
    SessionChanged,
    since=SINCE,
    sample=SessionChanged(
        session=THING,
        plan=THING,
        plan_version=1,
        case=CASE,
        patient=PATIENT,
        therapy="ketamine",
        ordinal=1,
        phase="induction",
        starts=ZonedInstant(at=AT, zone="America/New_York"),
        state="checked-in",
        nurse=STAFF,
        by=STAFF,
        moved_at=AT,
    ),
)
GATE_EVALUATED = event_type(
    _OWNER,
    "gate-evaluated",
    GateEvaluated,
    since=SINCE,
    sample=GateEvaluated(
        evaluation=THING,
        session=THING,
        patient=PATIENT,
        gate="start",
        outcome="NO_START",
        rules=["hcg.due"],
        revision="ketamine/2026-11-23/0123456789abcdef",
        evaluated_at=AT,
        overrides=[Overridden(rule="K-S-FASTING", by=STAFF)],
    ),
)
INFUSION_STARTED = event_type(
    _OWNER,
    "infusion-started",
    InfusionStarted,
    since=SINCE,
    sample=InfusionStarted(
        session=THING,
        patient=PATIENT,
        dose=_MG,
        volume=Measure(value=Decimal("0.82"), unit="mL"),
        rate=Measure(value=Decimal("150"), unit="mL/h"),
        duration=Measure(value=Decimal("40"), unit="min"),
        by=STAFF,
        started_at=AT,
    ),
)
INFUSION_RATE_CHANGED = event_type(
    _OWNER,
    "infusion-rate-changed",
    InfusionRateChanged,
    since=SINCE,
    sample=InfusionRateChanged(
        session=THING, patient=PATIENT, rate=Measure(value=Decimal("100"), unit="mL/h"), by=STAFF, changed_at=AT
    ),
)
INFUSION_PAUSED = event_type(
    _OWNER,
    "infusion-paused",
    InfusionPaused,
    since=SINCE,
    urgent=True,
    sample=InfusionPaused(session=THING, patient=PATIENT, reason="red-alert", by=STAFF, paused_at=AT),
)
INFUSION_RESUMED = event_type(
    _OWNER,
    "infusion-resumed",
    InfusionResumed,
    since=SINCE,
    sample=InfusionResumed(session=THING, patient=PATIENT, by=STAFF, resumed_at=AT),
)
INFUSION_ENDED = event_type(
    _OWNER,
    "infusion-ended",
    InfusionEnded,
    since=SINCE,
    sample=InfusionEnded(session=THING, patient=PATIENT, given=_MG, reason="complete", by=STAFF, ended_at=AT),
)
RESCUE_DRUG_GIVEN = event_type(
    _OWNER,
    "rescue-drug-given",
    RescueDrugGiven,
    since=SINCE,
    sample=RescueDrugGiven(
        entry=THING,
        session=THING,
        patient=PATIENT,
        group="antiemetic",
        drug="ondansetron",
        dose=Measure(value=Decimal("4"), unit="mg"),
        route="intravenous",
        ordered_by=STAFF,
        given_by=STAFF,
        given_at=AT,
    ),
)
RESCUE_DRUG_IN_ERROR = event_type(
    _OWNER,
    "rescue-drug-in-error",
    RescueDrugInError,
    since=SINCE,
    sample=RescueDrugInError(entry=THING, session=THING, patient=PATIENT, by=STAFF, said_at=AT),
)
CONSENT_WITHDRAWN = event_type(
    _OWNER,
    "consent-withdrawn",
    ConsentWithdrawn,
    since=SINCE,
    urgent=True,
    sample=ConsentWithdrawn(session=THING, case=CASE, patient=PATIENT, by=STAFF, withdrawn_at=AT),
)
VITALS_SUMMARISED = event_type(
    _OWNER,
    "vitals-summarised",
    VitalsSummarised,
    since=SINCE,
    sample=VitalsSummarised(
        session=THING,
        patient=PATIENT,
        origin="typed",
        from_at=AT,
        to_at=AT,
        sbp=130,
        dbp=80,
        heart_rate=77,
        resp_rate=15,
        spo2=Decimal("98"),
        spo2_low=Decimal("98"),
        moaa_s=5,
    ),
)
VITALS_DUE = event_type(
    _OWNER,
    "vitals-due",
    VitalsDue,
    since=_DUE_SINCE,
    sample=VitalsDue(session=THING, patient=PATIENT, due_at=AT),
)
ALERT_RAISED = event_type(
    _OWNER,
    "alert-raised",
    AlertRaised,
    since=SINCE,
    urgent=True,
    sample=AlertRaised(
        alert=THING,
        session=THING,
        patient=PATIENT,
        tier="RED",
        signal="sbp",
        rule="alert.sbp.RED",
        at=AT,
        raised_at=AT,
        late=False,
        answer_due_at=AT,
    ),
)
ALERT_ACKNOWLEDGED = event_type(
    _OWNER,
    "alert-acknowledged",
    AlertAcknowledged,
    since=SINCE,
    sample=AlertAcknowledged(alert=THING, session=THING, patient=PATIENT, role="nurse", by=STAFF, acknowledged_at=AT),
)
ALERT_RESOLVED = event_type(
    _OWNER,
    "alert-resolved",
    AlertResolved,
    since=SINCE,
    sample=AlertResolved(alert=THING, session=THING, patient=PATIENT, action="observed", by=STAFF, resolved_at=AT),
)
ADVERSE_EVENT_RECORDED = event_type(
    _OWNER,
    "adverse-event-recorded",
    AdverseEventRecorded,
    since=SINCE,
    sample=AdverseEventRecorded(
        adverse_event=THING,
        session=THING,
        patient=PATIENT,
        term="dizziness",
        grade=1,
        relatedness="probable",
        action="none",
        serious=False,
        onset_at=AT,
        by=STAFF,
    ),
)
ADVERSE_EVENT_RESOLVED = event_type(
    _OWNER,
    "adverse-event-resolved",
    AdverseEventResolved,
    since=SINCE,
    sample=AdverseEventResolved(adverse_event=THING, session=THING, patient=PATIENT, resolved_at=AT),
)
SESSION_DISCHARGED = event_type(
    _OWNER,
    "session-discharged",
    SessionDischarged,
    since=SINCE,
    sample=SessionDischarged(session=THING, patient=PATIENT, by=STAFF, discharged_at=AT, contact_due_at=AT),
)
SESSION_CLOSED = event_type(
    _OWNER,
    "session-closed",
    SessionClosed,
    since=SINCE,
    sample=SessionClosed(
        session=THING,
        patient=PATIENT,
        plan=THING,
        ordinal=1,
        ending="completed",
        started_at=AT,
        ended_at=AT,
        given=_MG,
        peak_sbp=158,
        record_due_on=date(2027, 2, 1),
        closed_at=AT,
        by=STAFF,
    ),
)
INSTRUMENT_SCORED = event_type(_OWNER, "instrument-scored", InstrumentScored, since=SINCE, sample=instrument_sample())
RISK_FLAGGED = event_type(_OWNER, "risk-flagged", RiskFlagged, since=SINCE, urgent=True, sample=risk_sample())
TASK_OPENED = event_type(_OWNER, "task-opened", TaskOpened, since=SINCE, sample=task_opened_sample())
TASK_CLOSED = event_type(_OWNER, "task-closed", TaskClosed, since=SINCE, sample=task_closed_sample())
EVENTS = (
    SESSION_CHANGED,
    GATE_EVALUATED,
    INFUSION_STARTED,
    INFUSION_RATE_CHANGED,
    INFUSION_PAUSED,
    INFUSION_RESUMED,
    INFUSION_ENDED,
    RESCUE_DRUG_GIVEN,
    RESCUE_DRUG_IN_ERROR,
    CONSENT_WITHDRAWN,
    VITALS_SUMMARISED,
    VITALS_DUE,
    ALERT_RAISED,
    ALERT_ACKNOWLEDGED,
    ALERT_RESOLVED,
    ADVERSE_EVENT_RECORDED,
    ADVERSE_EVENT_RESOLVED,
    SESSION_DISCHARGED,
    SESSION_CLOSED,
    INSTRUMENT_SCORED,
    RISK_FLAGGED,
    TASK_OPENED,
    TASK_CLOSED,
)
