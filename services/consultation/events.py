"""What the consultation says in public: the only place that decides what leaves. Names, dates of birth and addresses stay."""

from datetime import datetime
from typing import Any
from uuid import UUID

from schemas.events import consultation
from schemas.fields import Measure
from schemas.values import Quantity
from services.consultation.domain.cases import Case, Consent, Examination, Finding
from services.consultation.domain.decisions import DecisionContent
from services.consultation.domain.people import Patient
from services.runtime.messaging.changes import NewEvent
from services.screening.events import Owner
from services.therapies.evidence import Evaluation

__all__ = [
    "OWNER",
    "birth_date_corrected",
    "case_opened",
    "consent_given",
    "consent_withdrawn",
    "decision_signed",
    "eligibility_proposed",
    "evaluation_recorded",
    "patient_changed",
    "patient_data",
    "patients_merged",
    "patients_unmerged",
    "pdmp_checked",
    "result_reported",
]


def _source(patient: UUID) -> str:
    return f"/consultation/patients/{patient}"


OWNER = Owner(
    _source,
    consultation.INSTRUMENT_SCORED,
    consultation.RISK_FLAGGED,
    consultation.TASK_OPENED,
    consultation.TASK_CLOSED,
)
"""Under which names screening speaks here."""


def patient_data(patient: Patient) -> consultation.PatientChanged:
    """What every service needs to know of a patient."""
    return consultation.PatientChanged(
        patient=patient.id,
        account=patient.account,
        zone=patient.zone,
        language=patient.language,
        region=patient.region,
        status=patient.status,
        care_team=[consultation.CareTeamMember(staff=one.staff, role=one.role) for one in patient.care_team],
    )


def patient_changed(patient: Patient) -> NewEvent:
    """A patient, whole."""
    return OWNER.event(consultation.PATIENT_CHANGED, patient.id, patient_data(patient))


def birth_date_corrected(patient: Patient, at: datetime) -> NewEvent:
    """A patient's birth date was wrong."""
    data = consultation.BirthDateCorrected(patient=patient.id, corrected_at=at)
    return OWNER.event(consultation.BIRTH_DATE_CORRECTED, patient.id, data)


def patients_merged(survivor: Patient, duplicate: Patient) -> NewEvent:
    """Two records are of one person."""
    data = consultation.PatientsMerged(survivor=survivor.id, duplicate=duplicate.id)
    return OWNER.event(consultation.PATIENTS_MERGED, survivor.id, data)


def patients_unmerged(survivor: UUID, duplicate: Patient) -> NewEvent:
    """They are two again."""
    data = consultation.PatientsUnmerged(survivor=survivor, duplicate=duplicate.id)
    return OWNER.event(consultation.PATIENTS_UNMERGED, survivor, data)


def case_opened(case: Case) -> NewEvent:
    """A patient asks for treatment under a programme."""
    data = consultation.CaseOpened(case=case.id, patient=case.patient, therapy=case.therapy)
    return OWNER.event(consultation.CASE_OPENED, case.patient, data)


def result_reported(identifier: UUID, case: Case, found: Finding) -> NewEvent:
    """A test has a result that was judged."""
    data = consultation.ResultReported(
        result=identifier, case=case.id, patient=case.patient, test=found.name, finding=found.finding, taken_at=found.at
    )
    return OWNER.event(consultation.RESULT_REPORTED, case.patient, data)


def pdmp_checked(identifier: UUID, case: Case, found: Finding) -> NewEvent:
    """The prescription drug monitoring programme was asked."""
    data = consultation.PdmpChecked(
        check=identifier, case=case.id, patient=case.patient, finding=found.finding, checked_at=found.at
    )
    return OWNER.event(consultation.PDMP_CHECKED, case.patient, data)


def evaluation_recorded(case: Case, seen: Examination) -> NewEvent:
    """A prescriber has seen the patient in person; what was measured stays until somebody decides."""
    data = consultation.EvaluationRecorded(case=case.id, patient=case.patient, by=UUID(seen.by), examined_at=seen.at)
    return OWNER.event(consultation.EVALUATION_RECORDED, case.patient, data)


def consent_given(case: Case, consent: Consent) -> NewEvent:
    """The patient consents to a version of the text."""
    data = consultation.ConsentGiven(
        consent=consent.id,
        case=case.id,
        patient=case.patient,
        therapy=case.therapy,
        version=consent.text,
        given_at=consent.given_at,
    )
    return OWNER.event(consultation.CONSENT_GIVEN, case.patient, data)


def consent_withdrawn(case: Case, consent: Consent) -> NewEvent:
    """The patient no longer consents."""
    assert consent.withdrawn_at is not None  # noqa: S101 - only a withdrawn one is told
    data = consultation.ConsentWithdrawn(
        consent=consent.id, case=case.id, patient=case.patient, therapy=case.therapy, withdrawn_at=consent.withdrawn_at
    )
    return OWNER.event(consultation.CONSENT_WITHDRAWN, case.patient, data)


def eligibility_proposed(identifier: UUID, case: Case, found: Evaluation[Any], at: datetime) -> NewEvent:
    """What the rules propose."""
    data = consultation.EligibilityProposed(
        evaluation=identifier,
        case=case.id,
        patient=case.patient,
        therapy=case.therapy,
        outcome=found.outcome.value,
        rules=list(found.fired()),
        # "trials[0].dose" is no code.
        missing=[name.replace("[", ".").replace("]", "") for name in found.lacks()],
        revision=found.revision,
        evaluated_at=at,
    )
    return OWNER.event(consultation.ELIGIBILITY_PROPOSED, case.patient, data)


def decision_signed(identifier: UUID, content: DecisionContent, by: UUID, at: datetime, signed_hash: str) -> NewEvent:
    """A licensed clinician has decided and signed. The reason stays."""
    data = consultation.DecisionSigned(
        decision=identifier,
        case=content.case,
        patient=content.patient,
        therapy=content.therapy,
        kind=content.kind,
        proposed=content.proposed,
        evaluation=content.evaluation,
        conditions=list(content.conditions),
        by=by,
        signed_at=at,
        signed_hash=signed_hash,
        valid_until=content.valid_until,
        examined_at=content.examined_at,
        consent=content.consent,
        sex=content.sex,
        pregnancy_possible=content.pregnancy_possible,
        weight=_measure(content.weight),
        height=_measure(content.height),
    )
    return OWNER.event(consultation.DECISION_SIGNED, content.patient, data)


def _measure(text: str | None) -> Measure | None:
    if text is None:
        return None
    quantity = Quantity.parse(text)
    return Measure(value=quantity.value, unit=quantity.unit)
