"""Routes of a case: history, findings, examination, education, consent, and the question to the rules."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal
from uuid import UUID

import uuid_utils.compat
from pydantic import model_validator

from services.consultation.commands.cases import Cases, Evaluated
from services.consultation.domain.cases import FINDINGS, MEASURED, Case, Consent, Examination, Finding, Intake
from services.consultation.http.shared import STAFF, TREATS, Therapy
from services.consultation.store import cases as store
from services.directory import policy
from services.directory.policy import PatientPath
from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Code, Id, Instant, Line, Quantity, Request, Response, field_error
from services.runtime.edge.policy import Bearer
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.therapies import evidence
from services.therapies.evidence import plain

__all__ = ["CASE_CLOSED", "CasePath", "of_case", "routes"]

of_case = policy.about("case", store.patient_of_case)
"""Whose case it is."""
_of_consent = policy.about("consent", store.patient_of_consent)

_NOT_ACTIVE = ProblemType("patient-not-active", 409, "This patient is not treated here now")
_CASE_OPEN = ProblemType("case-open", 409, "This patient has an open case under this programme")
CASE_CLOSED = ProblemType("case-closed", 409, "This case is closed")
_INTAKE = ProblemType("intake-malformed", 422, "These answers are not understood")
_NOT_EVALUABLE = ProblemType("not-evaluable", 422, "What is known of this case cannot be judged as it is")
_FUTURE = ProblemType("in-the-future", 422, "This has not happened yet")
_TOPIC = ProblemType("topic-unknown", 422, "There is no such topic to be read before consent")
_NOT_READ = ProblemType("education-not-read", 409, "What has to be read before consent has not been read")
_METHOD = ProblemType(
    "not-your-way-to-consent", 403, "On a screen only the patient consents; staff record what was signed on paper"
)
_TEXT = ProblemType("consent-text-not-in-force", 409, "This is not the version of the text that is in force")
_HOLDS = ProblemType("consent-holds", 409, "A consent holds already; withdraw it first")
_WITHDRAWN = ProblemType("consent-withdrawn", 409, "This consent was withdrawn already")


class CasePath(Request):
    """Path of a case."""

    case: Id


class ConsentPath(Request):
    """Path of a consent."""

    consent: Id


class CaseBody(Request):
    """The programme."""

    therapy: Therapy


class CaseShown(Response):
    """A patient under a programme."""

    case: Id
    patient: Id
    therapy: str
    opened_at: Instant
    opened_by: str
    status: str


class CaseList(Response):
    """A patient's cases, newest first."""

    cases: list[CaseShown]


class IntakeBody(Request):
    """Answers about history and complaints, whole: names and values as the therapy's rules ask for them. What is left out is
    unknown, and an empty list is "none". A number with a unit is text: ``"150 mg/d"``.
    """

    answers: dict[str, Any]


class IntakeShown(Response):
    """The newest intake, with the version that an edit must name."""

    case: Id
    answers: dict[str, Any]
    entered_at: Instant
    version: int


class ResultBody(Request):
    """What a clinician found in a test."""

    test: Literal["hcg", "ecg", "renal", "liver", "blood_count", "metabolic_panel", "tsh", "drug_screen"]
    finding: Literal["normal", "abnormal", "negative", "positive"]
    taken_at: Instant

    @model_validator(mode="after")
    def _of_the_test(self) -> "ResultBody":
        if self.finding not in FINDINGS[self.test]:
            raise field_error("not-a-finding-of-this-test", "/finding")
        return self


class PdmpBody(Request):
    """What the prescription drug monitoring programme said."""

    finding: Literal["clear", "flagged"]
    checked_at: Instant


class ExaminationBody(Request):
    """The patient seen in person. What was not measured is left out."""

    examined_at: Instant
    weight: Quantity | None = None
    height: Quantity | None = None
    sbp: Quantity | None = None
    dbp: Quantity | None = None
    heart_rate: Quantity | None = None
    resp_rate: Quantity | None = None
    spo2: Quantity | None = None
    temperature: Quantity | None = None

    @model_validator(mode="after")
    def _units(self) -> "ExaminationBody":
        for name, unit in MEASURED.items():
            given = getattr(self, name)
            if given is not None and given.unit != unit:
                raise field_error("wrong-unit", f"/{name}/unit")
        if (self.sbp is None) != (self.dbp is None):
            raise field_error("both-or-neither", "/dbp")
        return self


class TopicBody(Request):
    """A topic that was read, and the version of its text."""

    topic: Line
    content: Code


class ConsentBody(Request):
    """The version of the text, and how consent was given."""

    version: Code
    method: Literal["on-screen", "on-paper"]


class Recorded(Response):
    """It is recorded."""

    case: Id


class ConsentShown(Response):
    """A consent."""

    consent: Id
    case: Id
    version: str
    method: str
    given_at: Instant
    withdrawn_at: Instant | None


class EvaluationShown(Response):
    """What the rules propose, with every finding, every fact that they looked at, and what is missing. Nobody has decided."""

    evaluation: Id
    case: Id
    outcome: str
    rules: list[str]
    missing: list[str]
    revision: str
    approver: str
    evidence: dict[str, Any]


def routes(cases: Cases) -> tuple[Route, ...]:
    """The routes, under the signed rules."""
    team = Bearer(frozenset({Role.PRESCRIBER, Role.NURSE, Role.THERAPIST}), of_case(policy.treats))
    prescriber = Bearer(frozenset({Role.PRESCRIBER}), of_case(policy.treats))
    own_or_team = Bearer(STAFF | {Role.PATIENT}, of_case(policy.own_or_care_team))
    readers = Bearer(STAFF | {Role.PATIENT, Role.AUDITOR}, of_case(policy.own_or_care_team))
    return (
        Route(
            name="open_case",
            method="POST",
            path_template="/patients/{patient}/cases",
            summary="Open a case under a programme",
            policy=TREATS,
            audit="case.open",
            request=CaseBody,
            path=PatientPath,
            response=CaseShown,
            status=201,
            command=_open(cases),
            idempotency=KEY_REQUIRED,
            errors=(_NOT_ACTIVE, _CASE_OPEN),
            examples=(Example({"therapy": "ketamine"}),),
        ),
        Route(
            name="list_cases",
            method="GET",
            path_template="/patients/{patient}/cases",
            summary="A patient's cases",
            policy=Bearer(STAFF | {Role.PATIENT, Role.AUDITOR}, policy.own_or_care_team),
            audit="cases.read",
            path=PatientPath,
            response=CaseList,
            query=_list,
        ),
        Route(
            name="set_intake",
            method="PUT",
            path_template="/cases/{case}/intake",
            summary="Say what is known of history and complaints; every version is kept",
            policy=own_or_team,
            audit="intake.set",
            request=IntakeBody,
            path=CasePath,
            response=IntakeShown,
            command=_set_intake(cases),
            edits=_intake_version,
            errors=(CASE_CLOSED, _INTAKE),
            examples=(Example({"answers": {"primary_diagnosis": "F33.2", "allergies": [], "psychosis_current": False}}),),
        ),
        Route(
            name="show_intake",
            method="GET",
            path_template="/cases/{case}/intake",
            summary="The newest intake",
            policy=readers,
            audit="intake.read",
            path=CasePath,
            response=IntakeShown,
            query=_show_intake,
        ),
        Route(
            name="report_result",
            method="POST",
            path_template="/cases/{case}/results",
            summary="Report what a test showed",
            policy=team,
            audit="result.report",
            request=ResultBody,
            path=CasePath,
            response=Recorded,
            status=201,
            command=_report(cases),
            idempotency=KEY_REQUIRED,
            errors=(CASE_CLOSED, _FUTURE),
            examples=(Example({"test": "ecg", "finding": "normal", "taken_at": "2026-01-21T15:00:00Z"}),),
        ),
        Route(
            name="report_pdmp_check",
            method="POST",
            path_template="/cases/{case}/pdmp-checks",
            summary="Report what the prescription drug monitoring programme said",
            policy=team,
            audit="pdmp.report",
            request=PdmpBody,
            path=CasePath,
            response=Recorded,
            status=201,
            command=_check_pdmp(cases),
            idempotency=KEY_REQUIRED,
            errors=(CASE_CLOSED, _FUTURE),
            examples=(Example({"finding": "clear", "checked_at": "2026-01-21T15:00:00Z"}),),
        ),
        Route(
            name="record_examination",
            method="POST",
            path_template="/cases/{case}/examinations",
            summary="Record that a prescriber has seen the patient in person, and what was measured",
            policy=prescriber,
            audit="examination.record",
            request=ExaminationBody,
            path=CasePath,
            response=Recorded,
            status=201,
            command=_examine(cases),
            idempotency=KEY_REQUIRED,
            errors=(CASE_CLOSED, _FUTURE),
            examples=(Example({"examined_at": "2026-01-21T15:00:00Z", "weight": {"value": "82.0", "unit": "kg"}}),),
        ),
        Route(
            name="record_reading",
            method="POST",
            path_template="/cases/{case}/readings",
            summary="Say that a topic of the education was read",
            policy=own_or_team,
            audit="topic.read",
            request=TopicBody,
            path=CasePath,
            response=Recorded,
            status=201,
            command=_read_topic(cases),
            idempotency=KEY_REQUIRED,
            errors=(CASE_CLOSED, _TOPIC),
            examples=(Example({"topic": "off-label status", "content": "2026-11"}),),
        ),
        Route(
            name="give_consent",
            method="POST",
            path_template="/cases/{case}/consents",
            summary="Consent to a version of the text, after what has to be read before",
            policy=own_or_team,
            audit="consent.give",
            request=ConsentBody,
            path=CasePath,
            response=ConsentShown,
            status=201,
            command=_give_consent(cases),
            idempotency=KEY_REQUIRED,
            errors=(CASE_CLOSED, _NOT_READ, _HOLDS, _METHOD, _TEXT),
            examples=(Example({"version": "3", "method": "on-screen"}),),
        ),
        Route(
            name="withdraw_consent",
            method="POST",
            path_template="/consents/{consent}/withdrawal",
            summary="Withdraw a consent, at any time",
            policy=Bearer(STAFF | {Role.PATIENT}, _of_consent(policy.own_or_care_team)),
            audit="consent.withdraw",
            path=ConsentPath,
            response=ConsentShown,
            command=_withdraw(cases),
            idempotency=KEY_REQUIRED,
            errors=(_WITHDRAWN,),
        ),
        Route(
            name="ask_rules",
            method="POST",
            path_template="/cases/{case}/evaluations",
            summary="Ask the rules about all that is known now; they propose and decide nothing",
            policy=team,
            audit="eligibility.ask",
            path=CasePath,
            response=EvaluationShown,
            status=201,
            command=_evaluate(cases),
            idempotency=KEY_REQUIRED,
            errors=(CASE_CLOSED, _NOT_EVALUABLE),
        ),
        Route(
            name="show_evaluation",
            method="GET",
            path_template="/cases/{case}/evaluation",
            summary="The newest proposal of the rules",
            policy=team,
            audit="eligibility.read",
            path=CasePath,
            response=EvaluationShown,
            query=_show_evaluation,
        ),
    )


def _show_case(case: Case) -> CaseShown:
    return CaseShown(
        case=case.id,
        patient=case.patient,
        therapy=case.therapy,
        opened_at=case.opened_at,
        opened_by=case.opened_by,
        status=case.status,
    )


def _open(cases: Cases) -> Callable[[Asked[CaseBody, PatientPath]], Decide]:
    def command(asked: Asked[CaseBody, PatientPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            who = asked.principal.person
            wanted = Case(uuid_utils.compat.uuid7(), asked.path.patient, asked.body.therapy, context.now, who)
            decided = await cases.open(wanted, read, context)
            return decided if isinstance(decided, Rejected) else replace(decided, reply=reply(_show_case(wanted), 201))

        return decide

    return command


def _list(asked: Asked[Any, PatientPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        found = await store.cases(read, asked.path.patient)
        return Found(CaseList(cases=[_show_case(case) for case in found]), [str(case.id) for case in found])

    return find


async def _intake_version(read: Reader, asked: Asked[Any, CasePath]) -> int:
    known = await store.intake(read, asked.path.case)
    return known.version if known else 0


def _shown_intake(intake: Intake) -> IntakeShown:
    return IntakeShown(case=intake.case, answers=dict(intake.answers), entered_at=intake.entered_at, version=intake.version)


def _set_intake(cases: Cases) -> Callable[[Asked[IntakeBody, CasePath]], Decide]:
    def command(asked: Asked[IntakeBody, CasePath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            by = asked.principal.person
            decided = await cases.set_intake(asked.path.case, asked.body.answers, by, read, context)
            if isinstance(decided, Rejected):
                return decided
            if isinstance(decided, evidence.Rejected):
                return _refused(_INTAKE, decided, "/answers")
            changes, intake = decided
            return replace(changes, reply=reply(_shown_intake(intake)))

        return decide

    return command


def _refused(kind: ProblemType, rejected: evidence.Rejected, root: str) -> Rejected:
    errors = [FieldProblem.of_path(one.field, one.code, root) for one in rejected.problems]
    return Rejected(kind.code, body=problems.document(kind, errors=errors), final=False)


def _show_intake(asked: Asked[Any, CasePath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        known = await store.intake(read, asked.path.case)
        return Found(_shown_intake(known), patient=await _patient(read, asked)) if known else Rejected("not-found", status=404)

    return find


async def _patient(read: Reader, asked: Asked[Any, CasePath]) -> str:
    return str(await store.patient_of_case(read, asked.path.case) or "")


def _recorded(asked: Asked[Any, CasePath], decided: Changes | Rejected) -> Changes | Rejected:
    return decided if isinstance(decided, Rejected) else replace(decided, reply=reply(Recorded(case=asked.path.case), 201))


def _report(cases: Cases) -> Callable[[Asked[ResultBody, CasePath]], Decide]:
    def command(asked: Asked[ResultBody, CasePath]) -> Decide:
        found = Finding(asked.body.test, asked.body.finding, asked.body.taken_at)

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            by = asked.principal.person
            return _recorded(asked, await cases.report(asked.path.case, found, by, read, context))

        return decide

    return command


def _check_pdmp(cases: Cases) -> Callable[[Asked[PdmpBody, CasePath]], Decide]:
    def command(asked: Asked[PdmpBody, CasePath]) -> Decide:
        found = Finding("pdmp", asked.body.finding, asked.body.checked_at)

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            by = asked.principal.person
            return _recorded(asked, await cases.check_pdmp(asked.path.case, found, by, read, context))

        return decide

    return command


def _examine(cases: Cases) -> Callable[[Asked[ExaminationBody, CasePath]], Decide]:
    def command(asked: Asked[ExaminationBody, CasePath]) -> Decide:
        body = asked.body
        given = {name: getattr(body, name) for name in MEASURED}
        measured = {name: f"{one.value:f} {one.unit}" for name, one in given.items() if one is not None}

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            seen = Examination(uuid_utils.compat.uuid7(), asked.principal.person, body.examined_at, measured)
            return _recorded(asked, await cases.examine(asked.path.case, seen, read, context))

        return decide

    return command


def _read_topic(cases: Cases) -> Callable[[Asked[TopicBody, CasePath]], Decide]:
    def command(asked: Asked[TopicBody, CasePath]) -> Decide:
        body, by = asked.body, asked.principal.person

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            return _recorded(asked, await cases.read_topic(asked.path.case, body.topic, body.content, by, read, context))

        return decide

    return command


def _show_consent(consent: Consent) -> ConsentShown:
    return ConsentShown(
        consent=consent.id,
        case=consent.case,
        version=consent.text,
        method=consent.method,
        given_at=consent.given_at,
        withdrawn_at=consent.withdrawn_at,
    )


def _give_consent(cases: Cases) -> Callable[[Asked[ConsentBody, CasePath]], Decide]:
    def command(asked: Asked[ConsentBody, CasePath]) -> Decide:
        body, by = asked.body, asked.principal.person

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            # On a screen the patient consents themself; what staff record was signed on paper.
            if (body.method == "on-screen") != (asked.principal.roles == {Role.PATIENT}):
                return Rejected(_METHOD.code, final=False)
            decided = await cases.give_consent(asked.path.case, body.version, body.method, by, read, context)
            if isinstance(decided, Rejected):
                return decided
            return replace(decided[0], reply=reply(_show_consent(decided[1]), 201))

        return decide

    return command


def _withdraw(cases: Cases) -> Callable[[Asked[Any, ConsentPath]], Decide]:
    def command(asked: Asked[Any, ConsentPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            decided = await cases.withdraw_consent(asked.path.consent, asked.principal.person, read, context)
            return decided if isinstance(decided, Rejected) else replace(decided[0], reply=reply(_show_consent(decided[1])))

        return decide

    return command


def _show(case: UUID, identifier: UUID, found: Mapping[str, Any]) -> EvaluationShown:
    return EvaluationShown(
        evaluation=identifier,
        case=case,
        outcome=found["outcome"],
        rules=[one["rule"] for one in found["findings"]],
        missing=[one["field"] for one in found["missing"]],
        revision=found["revision"],
        approver=found["approver"],
        evidence=dict(found),
    )


def _evaluate(cases: Cases) -> Callable[[Asked[Any, CasePath]], Decide]:
    def command(asked: Asked[Any, CasePath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            decided = await cases.evaluate(asked.path.case, asked.principal.person, read, context)
            if isinstance(decided, Rejected):
                return decided
            if isinstance(decided, evidence.Rejected):
                return _refused(_NOT_EVALUABLE, decided, "")
            changes, made = decided
            return replace(changes, reply=reply(_shown(asked.path.case, made), 201))

        return decide

    return command


def _shown(case: UUID, made: Evaluated) -> EvaluationShown:
    return _show(case, made.id, plain(made.evaluation))


def _show_evaluation(asked: Asked[Any, CasePath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        row = await store.evaluation(read, asked.path.case)
        if row is None:
            return Rejected("not-found", status=404)
        return Found(_show(asked.path.case, row["id"], row["evidence"]), patient=await _patient(read, asked))

    return find
