"""What ``consultation`` tells of a patient: who they are to the clinic, what was found, and what a clinician has decided.

Everything about one patient has the same source, ``/consultation/patients/<id>``, so that its order is the order in which it
happened.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime

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
from schemas.fields import Code, Language, Measure, OpaqueId, PatientId, Revision, Sha256, Zone, open_code
from schemas.registry import event_type

__all__ = [
    "BIRTH_DATE_CORRECTED",
    "CASE_OPENED",
    "CONSENT_GIVEN",
    "CONSENT_WITHDRAWN",
    "DECISION_SIGNED",
    "ELIGIBILITY_PROPOSED",
    "EVALUATION_RECORDED",
    "EVENTS",
    "INSTRUMENT_SCORED",
    "PATIENTS_MERGED",
    "PATIENTS_UNMERGED",
    "PATIENT_CHANGED",
    "PDMP_CHECKED",
    "RESULT_REPORTED",
    "RISK_FLAGGED",
    "TASK_CLOSED",
    "TASK_OPENED",
    "BirthDateCorrected",
    "CareTeamMember",
    "CaseOpened",
    "ConsentGiven",
    "ConsentWithdrawn",
    "DecisionKind",
    "DecisionSigned",
    "EligibilityProposed",
    "EvaluationRecorded",
    "PatientChanged",
    "PatientStatus",
    "PatientsMerged",
    "PatientsUnmerged",
    "PdmpChecked",
    "ResultReported",
]


class PatientStatus(StrEnum):
    """What a patient is to the clinic."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    MERGED = "merged"
    """The record goes on under another patient id."""
    ENTERED_IN_ERROR = "entered-in-error"
    DECEASED = "deceased"


class CareTeamMember(EventData):
    """Somebody who treats the patient, and so may see their record.

    Attributes:
        staff: who.
        role: as what.
    """

    staff: OpaqueId
    role: Code


class PatientChanged(EventData):
    """What every service needs to know of a patient; the whole of it, whenever a part changes.

    Attributes:
        patient: id of the patient.
        account: id of the person who signs in as this patient (the token's person); absent while nobody does.
        zone: in which the patient reads the clock now.
        language: in which they are written to.
        region: ISO 3166-2 code of the state where they live; a licence must cover where they are.
        status: what they are to the clinic.
        care_team: who treats them.
    """

    patient: PatientId
    account: OpaqueId | None = None
    zone: Zone
    language: Language
    region: Code
    status: Annotated[Code, open_code(PatientStatus)]
    care_team: list[CareTeamMember]


class BirthDateCorrected(EventData):
    """The birth date that was known of a patient was wrong; neither is told. Whoever asks for it by a copy of their own looks.

    Attributes:
        patient: whose.
        corrected_at: when.
    """

    patient: PatientId
    corrected_at: AwareDatetime


class PatientsMerged(EventData):
    """Two records are of one person: what belongs to the duplicate belongs to the survivor from now on.

    Attributes:
        survivor: the patient id that stays.
        duplicate: the patient id that is no longer used.
    """

    survivor: PatientId
    duplicate: PatientId


class PatientsUnmerged(EventData):
    """A merge was wrong: the two are two persons again.

    Attributes:
        survivor: the patient id that had stayed.
        duplicate: the patient id that is used again.
    """

    survivor: PatientId
    duplicate: PatientId


class CaseOpened(EventData):
    """A patient asks for treatment under a programme; the case is what the consultation works on.

    Attributes:
        case: id of the case.
        patient: whose.
        therapy: the programme: ``ketamine``, ``semaglutide``, ``testosterone``.
    """

    case: OpaqueId
    patient: PatientId
    therapy: Code


class EligibilityProposed(EventData):
    """The rules were asked; software proposes and decides nothing.

    Attributes:
        evaluation: id of the evaluation, under which its evidence is kept.
        case: on which.
        patient: whose.
        therapy: under whose rules.
        outcome: ``INELIGIBLE``, ``INCOMPLETE``, ``REVIEW_REQUIRED``, ``ELIGIBLE_WITH_CONDITIONS`` or ``ELIGIBLE``.
        rules: ids of the rules that fired.
        missing: what was not known.
        revision: the thresholds it was evaluated under.
        evaluated_at: when.
    """

    evaluation: OpaqueId
    case: OpaqueId
    patient: PatientId
    therapy: Code
    outcome: Code
    rules: list[Code]
    missing: list[Code]
    revision: Revision
    evaluated_at: AwareDatetime


class ConsentGiven(EventData):
    """The patient consents to a treatment as a version of the text describes it.

    Attributes:
        consent: id of the consent.
        case: for which.
        patient: whose.
        therapy: to what.
        version: of the text.
        given_at: when.
    """

    consent: OpaqueId
    case: OpaqueId
    patient: PatientId
    therapy: Code
    version: Code
    given_at: AwareDatetime


class ConsentWithdrawn(EventData):
    """The patient no longer consents; nothing is started under it, and what runs is stopped.

    Attributes:
        consent: id of the consent.
        case: for which it was.
        patient: whose.
        therapy: to what.
        withdrawn_at: when.
    """

    consent: OpaqueId
    case: OpaqueId
    patient: PatientId
    therapy: Code
    withdrawn_at: AwareDatetime


class ResultReported(EventData):
    """A test has a result that was judged.

    Attributes:
        result: id of the result.
        case: for which.
        patient: whose.
        test: which: ``hcg``, ``ecg``, ``renal``, ``liver``, ``blood_count``, ``metabolic_panel``, ``tsh``, ``drug_screen``.
        finding: ``normal``, ``abnormal``, ``negative`` or ``positive``.
        taken_at: when the sample or recording was taken.
    """

    result: OpaqueId
    case: OpaqueId
    patient: PatientId
    test: Code
    finding: Code
    taken_at: AwareDatetime


class PdmpChecked(EventData):
    """The prescription drug monitoring programme was asked.

    Attributes:
        check: id of the check.
        case: for which.
        patient: whose.
        finding: ``clear`` or ``flagged``.
        checked_at: when.
    """

    check: OpaqueId
    case: OpaqueId
    patient: PatientId
    finding: Code
    checked_at: AwareDatetime


class EvaluationRecorded(EventData):
    """The prescriber has examined the patient in person.

    Attributes:
        case: for which.
        patient: whose.
        by: the prescriber.
        examined_at: when.
    """

    case: OpaqueId
    patient: PatientId
    by: OpaqueId
    examined_at: AwareDatetime


class DecisionKind(StrEnum):
    """What a clinician decided on a case."""

    APPROVED = "approved"
    REFUSED = "refused"
    DEFERRED = "deferred"
    REVOKED = "revoked"


class DecisionSigned(EventData):
    """A licensed clinician has decided and signed; a renewal is another decision on the same case.

    Attributes:
        decision: id of the decision.
        case: on which.
        patient: whose.
        therapy: under which programme.
        kind: what was decided.
        proposed: outcome that the rules proposed at the time.
        evaluation: id of that evaluation.
        conditions: rule ids that the approval is bound to.
        by: who signed.
        signed_at: when.
        signed_hash: SHA-256 of the exact version that was shown.
        valid_until: last local day on which an approval holds; absent unless approved.
        examined_at: when the prescriber saw the patient in person; absent if that has not happened.
        consent: version of the consent that holds; absent if none does.
        sex: at birth, ``female`` or ``male``, for rules of dose and monitoring; absent if unknown.
        pregnancy_possible: whether tests for pregnancy are due; absent if unknown.
        weight: at the examination; absent if not measured.
        height: at the examination; absent if not measured.
    """

    decision: OpaqueId
    case: OpaqueId
    patient: PatientId
    therapy: Code
    kind: Annotated[Code, open_code(DecisionKind)]
    proposed: Code
    evaluation: OpaqueId
    conditions: list[Code]
    by: OpaqueId
    signed_at: AwareDatetime
    signed_hash: Sha256
    valid_until: date | None = None
    examined_at: AwareDatetime | None = None
    consent: Code | None = None
    sex: Code | None = None
    pregnancy_possible: bool | None = None
    weight: Measure | None = None
    height: Measure | None = None


_REVISION = "ketamine/2026-11-23/0123456789abcdef"

PATIENT_CHANGED = event_type(
    "consultation",
    "patient-changed",
    PatientChanged,
    since=SINCE,
    sample=PatientChanged(
        patient=PATIENT,
        account=THING,
        zone="America/New_York",
        language="en-US",
        region="US-NY",
        status="active",
        care_team=[CareTeamMember(staff=STAFF, role="prescriber")],
    ),
)
BIRTH_DATE_CORRECTED = event_type(
    "consultation",
    "birth-date-corrected",
    BirthDateCorrected,
    since=SINCE,
    sample=BirthDateCorrected(patient=PATIENT, corrected_at=AT),
)
PATIENTS_MERGED = event_type(
    "consultation", "patients-merged", PatientsMerged, since=SINCE, sample=PatientsMerged(survivor=PATIENT, duplicate=THING)
)
PATIENTS_UNMERGED = event_type(
    "consultation",
    "patients-unmerged",
    PatientsUnmerged,
    since=SINCE,
    sample=PatientsUnmerged(survivor=PATIENT, duplicate=THING),
)
CASE_OPENED = event_type(
    "consultation",
    "case-opened",
    CaseOpened,
    since=SINCE,
    sample=CaseOpened(case=CASE, patient=PATIENT, therapy="ketamine"),
)
INSTRUMENT_SCORED = event_type("consultation", "instrument-scored", InstrumentScored, since=SINCE, sample=instrument_sample())
RISK_FLAGGED = event_type("consultation", "risk-flagged", RiskFlagged, since=SINCE, urgent=True, sample=risk_sample())
TASK_OPENED = event_type("consultation", "task-opened", TaskOpened, since=SINCE, sample=task_opened_sample())
TASK_CLOSED = event_type("consultation", "task-closed", TaskClosed, since=SINCE, sample=task_closed_sample())
ELIGIBILITY_PROPOSED = event_type(
    "consultation",
    "eligibility-proposed",
    EligibilityProposed,
    since=SINCE,
    sample=EligibilityProposed(
        evaluation=THING,
        case=CASE,
        patient=PATIENT,
        therapy="ketamine",
        outcome="REVIEW_REQUIRED",
        rules=["hypertension.controlled"],
        missing=["hcg"],
        revision=_REVISION,
        evaluated_at=AT,
    ),
)
CONSENT_GIVEN = event_type(
    "consultation",
    "consent-given",
    ConsentGiven,
    since=SINCE,
    sample=ConsentGiven(consent=THING, case=CASE, patient=PATIENT, therapy="ketamine", version="3", given_at=AT),
)
CONSENT_WITHDRAWN = event_type(
    "consultation",
    "consent-withdrawn",
    ConsentWithdrawn,
    since=SINCE,
    urgent=True,
    sample=ConsentWithdrawn(consent=THING, case=CASE, patient=PATIENT, therapy="ketamine", withdrawn_at=AT),
)
RESULT_REPORTED = event_type(
    "consultation",
    "result-reported",
    ResultReported,
    since=SINCE,
    sample=ResultReported(result=THING, case=CASE, patient=PATIENT, test="hcg", finding="negative", taken_at=AT),
)
PDMP_CHECKED = event_type(
    "consultation",
    "pdmp-checked",
    PdmpChecked,
    since=SINCE,
    sample=PdmpChecked(check=THING, case=CASE, patient=PATIENT, finding="clear", checked_at=AT),
)
EVALUATION_RECORDED = event_type(
    "consultation",
    "evaluation-recorded",
    EvaluationRecorded,
    since=SINCE,
    sample=EvaluationRecorded(case=CASE, patient=PATIENT, by=STAFF, examined_at=AT),
)
DECISION_SIGNED = event_type(
    "consultation",
    "decision-signed",
    DecisionSigned,
    since=SINCE,
    sample=DecisionSigned(
        decision=THING,
        case=CASE,
        patient=PATIENT,
        therapy="ketamine",
        kind="approved",
        proposed="REVIEW_REQUIRED",
        evaluation=THING,
        conditions=["hypertension.controlled"],
        by=STAFF,
        signed_at=AT,
        signed_hash="0" * 64,
        valid_until=date(2027, 2, 20),
        examined_at=AT,
        consent="3",
        sex="female",
        pregnancy_possible=True,
        weight=Measure(value=Decimal("82.0"), unit="kg"),
        height=Measure(value=Decimal("168.0"), unit="cm"),
    ),
)
EVENTS = (
    PATIENT_CHANGED,
    BIRTH_DATE_CORRECTED,
    PATIENTS_MERGED,
    PATIENTS_UNMERGED,
    CASE_OPENED,
    INSTRUMENT_SCORED,
    RISK_FLAGGED,
    TASK_OPENED,
    TASK_CLOSED,
    ELIGIBILITY_PROPOSED,
    CONSENT_GIVEN,
    CONSENT_WITHDRAWN,
    RESULT_REPORTED,
    PDMP_CHECKED,
    EVALUATION_RECORDED,
    DECISION_SIGNED,
)
