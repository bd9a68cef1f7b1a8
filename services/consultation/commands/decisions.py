"""Use cases of decisions: show what would be signed, and sign it. Software has proposed; a licensed human decides."""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import zone_of
from services.consultation import events
from services.consultation.domain.cases import Case
from services.consultation.domain.decisions import Basis, DecisionContent, Wanted, objection
from services.consultation.domain.people import Patient
from services.consultation.store import cases, people
from services.consultation.store import decisions as store
from services.directory import store as directory
from services.directory.domain import lacks_to_prescribe
from services.runtime.database import Reader
from services.runtime.edge.principal import Principal
from services.runtime.edge.signature import SignatureBody, content_hash, sign
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.therapies.evidence import Outcome
from services.therapies.rulebook import Rulebook

__all__ = ["Decisions", "Draft"]


@dataclass(frozen=True, slots=True)
class Draft:
    """What would be signed, and its hash."""

    content: DecisionContent
    shown: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """The use cases, under the signed rules."""

    rulebook: Rulebook

    async def draft(self, case_id: UUID, wanted: Wanted, who: Principal, read: Reader, context: Context) -> Draft | Rejected:
        """What would be signed, or why it cannot be."""
        prepared = await self._prepare(case_id, wanted, who, read, context)
        if isinstance(prepared, Rejected):
            return prepared
        content = prepared[1]
        return Draft(content, content_hash(content))

    async def decide(
        self, case_id: UUID, wanted: Wanted, given: SignatureBody, who: Principal, read: Reader, context: Context
    ) -> tuple[Changes, UUID] | Rejected:
        """A prescriber signs what was shown."""
        prepared = await self._prepare(case_id, wanted, who, read, context)
        if isinstance(prepared, Rejected):
            return prepared
        case, content, region = prepared
        if given.licence != region:
            return Rejected("wrong-licence", final=False)
        number = len(await store.decisions(read, case_id)) + 1
        signed = sign(given, who, content, subject=f"cases/{case_id}/decisions", version=number, context=context)
        if isinstance(signed, Rejected):
            return signed
        identifier = uuid_utils.compat.uuid7()
        row = cases.append(
            "decision",
            id=identifier,
            care_case=case_id,
            kind=content.kind,
            evaluation=content.evaluation,
            content=content.model_dump(mode="json"),
            signature=signed.id,
            signed_by=who.person,
            signed_at=signed.at,
        )
        # Two who decide at once: the case's row makes one of them look again.
        told = events.decision_signed(identifier, content, UUID(who.person), signed.at, signed.hash)
        return Changes(rows=[cases.case_row(case), signed.row, row], events=[told], patient=str(case.patient)), identifier

    async def _prepare(
        self, case_id: UUID, wanted: Wanted, who: Principal, read: Reader, context: Context
    ) -> tuple[Case, DecisionContent, str] | Rejected:
        case = await cases.case(read, case_id)
        if case is None:
            return Rejected("not-found", status=404)
        if case.status != "open":
            return Rejected("case-closed")
        patient = await people.patient(read, case.patient)
        assert patient is not None  # noqa: S101 - a case refers to its patient
        signer = await directory.staff(read, UUID(who.person))
        if lacks_to_prescribe(signer, patient.region, context.now):
            return Rejected("not-qualified", final=False)
        proposal = await cases.evaluation(read, case_id)
        if proposal is None:
            return Rejected("evaluation-stale", final=False)
        examinations = await cases.examinations(read, case_id)
        consent = await cases.consent_of_case(read, case_id)
        intake = await cases.intake(read, case_id)
        before = await store.newest(read, case_id)
        fact_at = await store.last_fact_at(read, case_id, case.patient)
        proposed = proposal["evidence"]
        basis = Basis(
            proposal["id"],
            Outcome(proposal["outcome"]),
            [(one["rule"], Outcome(one["outcome"])) for one in proposed["findings"]],
            _fresh(proposal["evaluated_at"], fact_at, patient, context),
            consent.text if consent else None,
            examinations[0].at if examinations else None,
            before is not None and before["kind"] == "approved",
        )
        if code := objection(wanted, basis):
            return Rejected(code, final=False)
        answers = intake.answers if intake else {}
        measured = examinations[0].measured if examinations else {}
        content = DecisionContent(
            case=case.id,
            patient=case.patient,
            therapy=case.therapy,
            kind=wanted.kind,
            reason=wanted.reason,
            conditions=list(wanted.conditions),
            evaluation=basis.evaluation,
            proposed=basis.outcome.value,
            rules=[rule for rule, _ in basis.fired],
            missing=[one["field"] for one in proposed["missing"]],
            revision=proposed["revision"],
            approver=proposed["approver"],
            valid_until=self._valid_until(case, patient, context) if wanted.kind == "approved" else None,
            consent=basis.consent,
            examined_at=basis.examined_at,
            weight=measured.get("weight"),
            height=measured.get("height"),
            sex=answers.get("sex_at_birth"),
            pregnancy_possible=answers.get("pregnancy_potential"),
        )
        return case, content, patient.region

    def _valid_until(self, case: Case, patient: Patient, context: Context) -> dt.date:
        today = _today(patient, context.now)
        limit: Any = self.rulebook.on(case.therapy, today).values.get("eligibility.valid")
        # A programme whose rules do not say how long an approval holds: for the day on which it was given.
        return today + (limit.elapsed if limit is not None else dt.timedelta(0))


def _today(patient: Patient, at: dt.datetime) -> dt.date:
    return at.astimezone(zone_of(patient.zone)).date()


def _fresh(evaluated_at: dt.datetime, fact_at: dt.datetime | None, patient: Patient, context: Context) -> bool:
    same_day = _today(patient, evaluated_at) == _today(patient, context.now)
    return same_day and (fact_at is None or fact_at <= evaluated_at)
