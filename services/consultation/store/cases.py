"""SQL of cases: what is known of them, what was consented to, what the rules proposed."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from services.consultation.domain.cases import Case, Consent, Examination, Finding, Intake
from services.runtime.database import Reader
from services.runtime.messaging.changes import Append, Row

__all__ = [
    "append",
    "case",
    "case_row",
    "cases",
    "consent",
    "consent_of_case",
    "consent_row",
    "evaluation",
    "examinations",
    "findings",
    "intake",
    "intake_row",
    "open_case",
    "patient_of_case",
    "patient_of_consent",
    "scores",
    "topics_read",
]

_CASE = "select id, patient, therapy, opened_at, opened_by, status, version from care_case"
_CONSENT = """select id, care_case, text_version, method, given_at, given_by, recorded_by, withdrawn_at, withdrawn_by, version
              from consent"""


async def case(read: Reader, case_id: UUID) -> Case | None:
    """A case."""
    row = await read.fetchrow(f"{_CASE} where id = $1", case_id)
    return None if row is None else Case(*row)


async def cases(read: Reader, patient_id: UUID) -> Sequence[Case]:
    """A patient's cases, newest first."""
    rows = await read.fetch(f"{_CASE} where patient = $1 order by opened_at desc, id desc", patient_id)
    return [Case(*row) for row in rows]


async def open_case(read: Reader, patient_id: UUID, therapy: str) -> Case | None:
    """The open case of a patient under a programme: there is at most one."""
    row = await read.fetchrow(f"{_CASE} where patient = $1 and therapy = $2 and status = 'open'", patient_id, therapy)
    return None if row is None else Case(*row)


async def patient_of_case(read: Reader, case_id: UUID) -> UUID | None:
    """Whose case it is."""
    found: UUID | None = await read.fetchval("select patient from care_case where id = $1", case_id)
    return found


async def patient_of_consent(read: Reader, consent_id: UUID) -> UUID | None:
    """Whose consent it is."""
    found: UUID | None = await read.fetchval(
        "select c.patient from consent k join care_case c on c.id = k.care_case where k.id = $1", consent_id
    )
    return found


def case_row(wanted: Case) -> Row:
    """What is written of a case."""
    values = {
        "patient": wanted.patient,
        "therapy": wanted.therapy,
        "opened_at": wanted.opened_at,
        "opened_by": wanted.opened_by,
        "status": wanted.status,
    }
    return Row("care_case", {"id": wanted.id}, values, wanted.version)


async def intake(read: Reader, case_id: UUID) -> Intake | None:
    """The newest intake of a case."""
    row = await read.fetchrow(
        "select care_case, answers, entered_by, entered_at, version from intake where care_case = $1", case_id
    )
    return None if row is None else Intake(*row)


def intake_row(wanted: Intake) -> tuple[Row, Append]:
    """What is written of an intake: the newest, and its place among the versions."""
    values = {"answers": wanted.answers, "entered_by": wanted.entered_by, "entered_at": wanted.entered_at}
    row = Row("intake", {"care_case": wanted.case}, values, wanted.version)
    return row, Append("intake_version", {"care_case": wanted.case, "number": row.version, **values})


async def findings(read: Reader, case_id: UUID) -> list[Finding]:
    """Results of a case, newest first."""
    rows = await read.fetch(
        "select test, finding, taken_at from result where care_case = $1 order by taken_at desc, reported_at desc", case_id
    )
    return [Finding(*row) for row in rows]


async def examinations(read: Reader, case_id: UUID) -> list[Examination]:
    """Examinations of a case, newest first."""
    rows = await read.fetch(
        """select id, examined_by, examined_at, measured from examination where care_case = $1
           order by examined_at desc, reported_at desc""",
        case_id,
    )
    return [Examination(*row) for row in rows]


async def scores(read: Reader, patient_id: UUID) -> Mapping[str, int]:
    """Totals of a patient's newest complete questionnaires, by instrument."""
    rows = await read.fetch(
        """select distinct on (instrument) instrument, total from assessment
           where patient = $1 and complete and total is not null order by instrument, answered_at desc, id desc""",
        patient_id,
    )
    return {row["instrument"]: row["total"] for row in rows}


async def topics_read(read: Reader, case_id: UUID) -> set[str]:
    """Education topics that were read for a case."""
    return {row["topic"] for row in await read.fetch("select topic from topic_read where care_case = $1", case_id)}


async def consent(read: Reader, consent_id: UUID) -> Consent | None:
    """A consent."""
    row = await read.fetchrow(f"{_CONSENT} where id = $1", consent_id)
    return None if row is None else Consent(*row)


async def consent_of_case(read: Reader, case_id: UUID) -> Consent | None:
    """The consent that holds for a case."""
    row = await read.fetchrow(f"{_CONSENT} where care_case = $1 and withdrawn_at is null", case_id)
    return None if row is None else Consent(*row)


def consent_row(wanted: Consent) -> Row:
    """What is written of a consent."""
    values = {
        "care_case": wanted.case,
        "text_version": wanted.text,
        "method": wanted.method,
        "given_at": wanted.given_at,
        "given_by": wanted.given_by,
        "recorded_by": wanted.recorded_by,
        "withdrawn_at": wanted.withdrawn_at,
        "withdrawn_by": wanted.withdrawn_by,
    }
    return Row("consent", {"id": wanted.id}, values, wanted.version)


async def evaluation(read: Reader, case_id: UUID) -> Mapping[str, Any] | None:
    """The newest proposal of the rules for a case: id, outcome, evidence, revision, evaluated_at."""
    row = await read.fetchrow(
        """select id, outcome, evidence, revision, evaluated_at from evaluation where care_case = $1
           order by evaluated_at desc, id desc limit 1""",
        case_id,
    )
    return None if row is None else dict(row)


def append(table: str, **values: object) -> Append:
    """A row of one of the tables that are never changed."""
    return Append(table, values)
