"""What the consultation says in public: the only place that decides what leaves. Names, dates of birth and addresses stay."""

from uuid import UUID

from schemas.events import consultation
from services.consultation.domain import Case, Patient
from services.runtime.messaging.changes import NewEvent
from services.screening.events import Owner

__all__ = ["OWNER", "case_opened", "patient_changed", "patient_data", "patients_merged", "patients_unmerged"]


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
