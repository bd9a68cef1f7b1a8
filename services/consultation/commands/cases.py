"""Use cases of a case: what is known of it, consent, and the question to the rules."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import zone_of
from services.consultation import events
from services.consultation.domain.cases import Case, Consent, Examination, Finding, Intake, Known, document, intake_problems
from services.consultation.store import cases as store
from services.consultation.store import people
from services.directory import store as directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.screening import store as screening
from services.therapies import cadence, evidence, regulatory
from services.therapies.cases import read_case
from services.therapies.evidence import Evaluation, Thresholds, canonical
from services.therapies.protocol import Part
from services.therapies.registry import THERAPIES
from services.therapies.rulebook import Rulebook

__all__ = ["Cases", "Evaluated"]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What the rules propose: id, outcome and all of the evidence as it is kept."""

    id: UUID
    evaluation: Evaluation[Any]


@dataclass(frozen=True, slots=True)
class Cases:
    """The use cases, under the signed rules."""

    rulebook: Rulebook

    async def open(self, wanted: Case, read: Reader, _: Context) -> Changes | Rejected:
        """A patient asks for treatment under a programme; one case at a time for each."""
        known = await people.patient(read, wanted.patient)
        if known is None:
            return Rejected("not-found", status=404)
        if known.status != "active":
            return Rejected("patient-not-active")
        if await store.open_case(read, wanted.patient, wanted.therapy):
            return Rejected("case-open")
        return Changes(rows=[store.case_row(wanted)], events=[events.case_opened(wanted)], patient=str(wanted.patient))

    async def set_intake(
        self, case_id: UUID, answers: Mapping[str, Any], by: str, read: Reader, context: Context
    ) -> tuple[Changes, Intake] | Rejected | evidence.Rejected:
        """Answers about history and complaints, whole; every version is kept."""
        case = await _open(read, case_id)
        if isinstance(case, Rejected):
            return case
        problems = intake_problems(_part(case).case, answers)
        if problems:
            return evidence.Rejected(problems)
        known = await store.intake(read, case_id)
        wanted = Intake(case_id, answers, by, context.now, known.version if known else 0)
        row, version = store.intake_row(wanted)
        return Changes(rows=[row, version], patient=str(case.patient)), replace(wanted, version=row.version)

    async def report(self, case_id: UUID, found: Finding, by: str, read: Reader, context: Context) -> Changes | Rejected:
        """A clinician reports what a test showed."""
        case = await _open(read, case_id)
        if isinstance(case, Rejected):
            return case
        if found.at > context.now:
            return Rejected("in-the-future")
        identifier = uuid_utils.compat.uuid7()
        row = store.append(
            "result",
            id=identifier,
            care_case=case_id,
            test=found.name,
            finding=found.finding,
            taken_at=found.at,
            reported_by=by,
            reported_at=context.now,
        )
        return Changes(rows=[row], events=[events.result_reported(identifier, case, found)], patient=str(case.patient))

    async def check_pdmp(self, case_id: UUID, found: Finding, by: str, read: Reader, context: Context) -> Changes | Rejected:
        """The prescription drug monitoring programme was asked."""
        case = await _open(read, case_id)
        if isinstance(case, Rejected):
            return case
        if found.at > context.now:
            return Rejected("in-the-future")
        identifier = uuid_utils.compat.uuid7()
        row = store.append(
            "pdmp_check",
            id=identifier,
            care_case=case_id,
            finding=found.finding,
            checked_at=found.at,
            checked_by=by,
            reported_at=context.now,
        )
        return Changes(rows=[row], events=[events.pdmp_checked(identifier, case, found)], patient=str(case.patient))

    async def examine(self, case_id: UUID, seen: Examination, read: Reader, context: Context) -> Changes | Rejected:
        """A prescriber has seen the patient in person."""
        case = await _open(read, case_id)
        if isinstance(case, Rejected):
            return case
        if seen.at > context.now:
            return Rejected("in-the-future")
        row = store.append(
            "examination",
            id=seen.id,
            care_case=case_id,
            measured=dict(seen.measured),
            examined_at=seen.at,
            examined_by=seen.by,
            reported_at=context.now,
        )
        return Changes(rows=[row], events=[events.evaluation_recorded(case, seen)], patient=str(case.patient))

    async def read_topic(
        self, case_id: UUID, topic: str, content: str, by: str, read: Reader, context: Context
    ) -> Changes | Rejected:
        """The patient has read a text of the education."""
        case = await _open(read, case_id)
        if isinstance(case, Rejected):
            return case
        if topic not in await self._topics(case, read, context):
            return Rejected("topic-unknown")
        if topic in await store.topics_read(read, case_id):
            return Changes(patient=str(case.patient))
        row = store.append("topic_read", care_case=case_id, topic=topic, content=content, read_by=by, read_at=context.now)
        return Changes(rows=[row], patient=str(case.patient))

    async def give_consent(
        self, case_id: UUID, text: str, method: str, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Consent] | Rejected:
        """The patient consents to a version of the text, after what has to be read before."""
        case = await _open(read, case_id)
        if isinstance(case, Rejected):
            return case
        if set(await self._topics(case, read, context)) - await store.topics_read(read, case_id):
            return Rejected("education-not-read", final=False)
        in_force = await self._consent_text(case, read, context)
        if in_force is not None and text != in_force:
            return Rejected("consent-text-not-in-force", final=False)
        known = await store.consent_of_case(read, case_id)
        if known is not None:
            return Rejected("consent-holds")
        wanted = Consent(uuid_utils.compat.uuid7(), case_id, text, method, context.now, str(case.patient), by)
        row = store.consent_row(wanted)
        told = events.consent_given(case, wanted)
        return Changes(rows=[row], events=[told], patient=str(case.patient)), replace(wanted, version=row.version)

    async def withdraw_consent(
        self, consent_id: UUID, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Consent] | Rejected:
        """The patient no longer consents; at any time, for no reason that has to be given."""
        known = await store.consent(read, consent_id)
        case = await store.case(read, known.case) if known else None
        if known is None or case is None:
            return Rejected("not-found", status=404)
        if known.withdrawn_at is not None:
            return Rejected("consent-withdrawn")
        return withdrawn(case, known, by, context.now)

    async def evaluate(
        self, case_id: UUID, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Evaluated] | Rejected | evidence.Rejected:
        """Ask the rules about everything that is known now. They propose; nobody has decided anything."""
        case = await _open(read, case_id)
        if isinstance(case, Rejected):
            return case
        known = await self._known(case, read, context)
        part = _part(case)
        asked = read_case(part.case, document(part.case, known))
        if isinstance(asked, evidence.Rejected):
            return asked
        found = part.evaluate(asked, self._rules(case.therapy, known.zone, context))
        if isinstance(found, evidence.Rejected):
            return found
        identifier = uuid_utils.compat.uuid7()
        row = store.append(
            "evaluation",
            id=identifier,
            care_case=case_id,
            outcome=found.outcome.value,
            evidence=json.loads(canonical(found)),
            revision=found.revision,
            evaluated_at=context.now,
            asked_by=by,
        )
        told = events.eligibility_proposed(identifier, case, found, context.now)
        return Changes(rows=[row], events=[told], patient=str(case.patient)), Evaluated(identifier, found)

    async def _known(self, case: Case, read: Reader, context: Context) -> Known:
        patient = await people.patient(read, case.patient)
        assert patient is not None  # noqa: S101 - a case refers to its patient
        intake = await store.intake(read, case.id)
        risk = await screening.risk_of_person(read, case.patient)
        return Known(
            context.now,
            patient.zone,
            patient.person.birth_date,
            intake.answers if intake else {},
            await store.findings(read, case.id),
            await store.examinations(read, case.id),
            await store.scores(read, case.patient),
            (risk.level.value, risk.assessed_at) if risk else None,
        )

    def _rules(self, name: str, zone: str, context: Context) -> Thresholds:
        return self.rulebook.on(name, context.now.astimezone(zone_of(zone)).date())

    async def _topics(self, case: Case, read: Reader, context: Context) -> tuple[str, ...]:
        rules = self._rules("cadence", await _zone(read), context)
        return cadence.education(case.therapy, "before consent", rules)

    async def _consent_text(self, case: Case, read: Reader, context: Context) -> str | None:
        return regulatory.consent_text(case.therapy, self._rules("regulatory", await _zone(read), context))


async def _zone(read: Reader) -> str:
    hours = await directory.opening_hours(read)
    return hours.zone if hours else "UTC"


def withdrawn(case: Case, consent: Consent, by: str, at: dt.datetime) -> tuple[Changes, Consent]:
    """A consent that holds no longer, and who is told."""
    wanted = replace(consent, withdrawn_at=at, withdrawn_by=by)
    row = store.consent_row(wanted)
    told = events.consent_withdrawn(case, wanted)
    return Changes(rows=[row], events=[told], patient=str(case.patient)), replace(wanted, version=row.version)


async def _open(read: Reader, case_id: UUID) -> Case | Rejected:
    case = await store.case(read, case_id)
    if case is None:
        return Rejected("not-found", status=404)
    return case if case.status == "open" else Rejected("case-closed")


def _part(case: Case) -> Part:
    part = THERAPIES[case.therapy].eligibility
    assert part is not None  # noqa: S101 - every programme of the registry has rules of eligibility
    return part
