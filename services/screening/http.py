"""Routes of screening, for every service that takes answers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from services.directory import policy
from services.directory import store as directory
from services.directory.policy import PatientPath
from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Id, Instant, Note, Request, Response
from services.runtime.edge.pages import Page
from services.runtime.edge.policy import Bearer, Relationship, role_is_enough
from services.runtime.edge.principal import Principal, Role
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.screening import store
from services.screening.commands import Answers, Recorded, Screen, Screening
from services.screening.domain import NAMES, Task
from services.therapies import evidence
from services.therapies.instruments import CssrsAnswers

__all__ = ["AnswersShown", "routes", "show_answers"]

CLINICIANS = frozenset({Role.PRESCRIBER, Role.NURSE, Role.THERAPIST})

_MALFORMED = ProblemType("answers-malformed", 422, "These are not answers to this questionnaire")
_RATED = ProblemType("clinician-rates", 403, "This scale is rated by a clinician")
_CLOSED = ProblemType("task-closed", 409, "The task is closed already")
_NOT_SCREENED = ProblemType("screen-not-completed", 409, "This task is done by completing the C-SSRS")

_NOT_YOURS = ProblemType("not-of-your-role", 403, "This task is done by its role or by a prescriber")

_HELP = "988"
"""Suicide and Crisis Lifeline of the United States: call, text or chat, day and night."""


class TaskPath(Request):
    """Path of a task."""

    task: Id


class AnswersBody(Request):
    """Answers in the order of the items; null where one was not given. ``difficulty`` is item 10 of the PHQ-9."""

    instrument: Literal["phq9", "gad7", "qids_sr16", "madrs", "audit_c", "dast10", "stop_bang"]
    answers: Annotated[list[Annotated[int, Field(ge=0, le=6)] | None], Field(min_length=3, max_length=16)]
    difficulty: Annotated[int, Field(ge=0, le=3)] | None = None
    answered_at: Instant | None = None


class ScreenBody(Request):
    """The Columbia screener, or its version since the last contact; null where a question was not asked or not answered."""

    version: Literal["screener", "since-last"]
    q1: bool | None = None
    q2: bool | None = None
    q3: bool | None = None
    q4: bool | None = None
    q5: bool | None = None
    q6: bool | None = None
    q6_recent: bool | None = None
    answered_at: Instant | None = None


class AnswersShown(Response):
    """What became of answers; ``screen_now`` asks for the C-SSRS on the same screen. ``help`` is to be shown with it."""

    assessment: Id
    total: int | None
    severity: str | None
    level: str | None
    screen_now: bool
    help: str | None


class AssessmentShown(Response):
    """Answers that were recorded."""

    assessment: Id
    instrument: str
    total: int | None
    severity: str | None
    complete: bool
    suicide_item: int | None
    level: str | None
    answered_at: Instant
    rater: str | None
    revision: str


class RiskShown(Response):
    """The level that holds, and the newest answers."""

    level: str | None
    proven: str | None
    assessed_at: Instant | None
    assessments: list[AssessmentShown]
    tasks: list["TaskShown"]


class TaskShown(Response):
    """Something that a human has to do."""

    task: Id
    patient: Id
    kind: str
    level: str
    role: str
    due_at: Instant
    assignee: str | None
    acknowledged_at: Instant | None
    status: str


class TaskList(Response):
    """Open tasks, the next due first."""

    tasks: list[TaskShown]


class Done(Request):
    """What was done; the note stays here."""

    note: Annotated[Note, Field(min_length=3, max_length=4000)]


def routes(screening: Screening, *, treats: Relationship = policy.treats_or_on_duty) -> tuple[Route, ...]:
    """The routes of one service.

    Args:
        screening: as that service does it.
        treats: which staff may see and act on a patient's answers.
    """
    own_or_treated = policy.either(policy.own_record, treats)
    of_task = policy.about("task", store.patient_of_task)(treats)
    clinicians = Bearer(CLINICIANS, treats)
    return (
        Route(
            name="record_answers",
            method="POST",
            path_template="/patients/{patient}/assessments",
            summary="Record the answers to a questionnaire; a suicide item is acted on whatever else is missing",
            policy=Bearer(CLINICIANS | {Role.PATIENT}, own_or_treated),
            audit="assessment.record",
            request=AnswersBody,
            path=PatientPath,
            response=AnswersShown,
            status=201,
            command=_record_answers(screening),
            idempotency=KEY_REQUIRED,
            errors=(_MALFORMED, _RATED),
            examples=(Example({"instrument": "phq9", "answers": [3, 3, 3, 3, 2, 2, 2, 2, 1]}),),
        ),
        Route(
            name="record_screen",
            method="POST",
            path_template="/patients/{patient}/suicide-screens",
            summary="Record a C-SSRS; the level it proves has its task, clock and page in the same commit",
            policy=Bearer(CLINICIANS | {Role.PATIENT}, own_or_treated),
            audit="suicide-screen.record",
            request=ScreenBody,
            path=PatientPath,
            response=AnswersShown,
            status=201,
            command=_record_screen(screening),
            idempotency=KEY_REQUIRED,
            examples=(Example({"version": "since-last", "q1": True, "q2": False, "q6": False}),),
        ),
        Route(
            name="show_risk",
            method="GET",
            path_template="/patients/{patient}/risk",
            summary="The suicide risk that holds, the newest answers and what is open",
            policy=clinicians,
            audit="risk.read",
            path=PatientPath,
            response=RiskShown,
            query=_show_risk,
        ),
        Route(
            name="list_tasks",
            method="GET",
            path_template="/tasks",
            summary="Every open task, the next due first",
            policy=Bearer(CLINICIANS, role_is_enough),
            audit="tasks.list",
            query_model=Page,
            response=TaskList,
            query=_list_tasks,
        ),
        Route(
            name="acknowledge_task",
            method="POST",
            path_template="/tasks/{task}/acknowledgement",
            summary="Take a task: its pages stop, it stays open until it is done",
            policy=Bearer(CLINICIANS, of_task),
            audit="task.acknowledge",
            path=TaskPath,
            response=TaskShown,
            command=_acknowledge(screening),
            idempotency=KEY_REQUIRED,
            errors=(_CLOSED,),
        ),
        Route(
            name="complete_task",
            method="POST",
            path_template="/tasks/{task}/completion",
            summary="Say that a task is done, and what was done",
            policy=Bearer(CLINICIANS, of_task),
            audit="task.complete",
            request=Done,
            path=TaskPath,
            response=TaskShown,
            command=_complete(screening),
            idempotency=KEY_REQUIRED,
            errors=(_CLOSED, _NOT_SCREENED, _NOT_YOURS),
            examples=(Example({"note": "Called at 09:10; safety plan made, spouse present"}),),
        ),
    )


def _rater(who: Principal) -> UUID | None:
    return None if Role.PATIENT in who.roles else UUID(who.person)


def show_answers(recorded: Recorded) -> Changes:
    """What becomes of answers, with what their sender is shown."""
    asks = recorded.opens_screen or (recorded.level is not None and recorded.level.value != "NONE")
    body = AnswersShown(
        assessment=recorded.assessment,
        total=recorded.total,
        severity=recorded.severity,
        level=recorded.level.value if recorded.level else None,
        screen_now=recorded.opens_screen,
        help=_HELP if asks else None,
    )
    return replace(recorded.changes, reply=reply(body, 201))


def _record_answers(screening: Screening) -> Callable[[Asked[AnswersBody, PatientPath]], Decide]:
    def command(asked: Asked[AnswersBody, PatientPath]) -> Decide:
        body, who = asked.body, asked.principal

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            if body.instrument == "madrs" and _rater(who) is None:
                return Rejected(_RATED.code)
            given = Answers(
                asked.path.patient, body.instrument, body.answers, who.person, body.answered_at, _rater(who), body.difficulty
            )
            recorded = await screening.answer(given, read, context)
            if isinstance(recorded, evidence.Rejected):
                return _malformed(recorded)
            return show_answers(recorded)

        return decide

    return command


def _malformed(rejected: evidence.Rejected) -> Rejected:
    errors = [FieldProblem.of_path(one.field, one.code) for one in rejected.problems]
    return Rejected(_MALFORMED.code, body=problems.document(_MALFORMED, errors=errors))


def _record_screen(screening: Screening) -> Callable[[Asked[ScreenBody, PatientPath]], Decide]:
    def command(asked: Asked[ScreenBody, PatientPath]) -> Decide:
        body, who = asked.body, asked.principal
        answers = CssrsAnswers(**{name: getattr(body, name) for name in CssrsAnswers.__slots__})
        since_last = body.version == "since-last"

        async def decide(read: Reader, context: Context) -> Changes:
            given = Screen(asked.path.patient, answers, since_last, who.person, body.answered_at, _rater(who))
            return show_answers(await screening.screen(given, read, context))

        return decide

    return command


def _show_risk(asked: Asked[Any, PatientPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        patient = asked.path.patient
        risk = await store.risk_of_person(read, patient)
        rows = await store.assessments(read, patient, 50)
        shown = RiskShown(
            level=risk.level.value if risk else None,
            proven=risk.proven.value if risk else None,
            assessed_at=risk.assessed_at if risk else None,
            assessments=[
                AssessmentShown(
                    assessment=row["id"],
                    instrument=NAMES.get(row["instrument"], row["instrument"]),
                    total=row["total"],
                    severity=row["severity"],
                    complete=row["complete"],
                    suicide_item=row["suicide_item"],
                    level=row["level"],
                    answered_at=row["answered_at"],
                    rater=row["rater"],
                    revision=row["revision"],
                )
                for row in rows
            ],
            tasks=[_task(task) for task in await store.open_tasks(read, await directory.records(read, patient))],
        )
        return Found(shown, [str(row["id"]) for row in rows])

    return find


def _task(task: Task) -> TaskShown:
    return TaskShown(
        task=task.id,
        patient=task.patient,
        kind=task.kind.value,
        level=task.level.value,
        role=task.role,
        due_at=task.due_at,
        assignee=task.assignee,
        acknowledged_at=task.acknowledged_at,
        status=task.status,
    )


def _list_tasks(asked: Asked[Any, Any, Page]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        after = UUID(asked.query.after[0]) if asked.query.after else None
        rows = await store.open_tasks_after(read, after, asked.query.limit + 1)
        shown = rows[: asked.query.limit]
        more = (str(shown[-1].id),) if len(rows) > len(shown) else ()
        return Found(TaskList(tasks=[_task(one) for one in shown]), [str(one.id) for one in shown], more)

    return find


def _acknowledge(screening: Screening) -> Callable[[Asked[Any, TaskPath]], Decide]:
    def command(asked: Asked[Any, TaskPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            decided = await screening.acknowledge(asked.path.task, asked.principal.person, read, context)
            return decided if isinstance(decided, Rejected) else replace(decided[0], reply=reply(_task(decided[1])))

        return decide

    return command


def _complete(screening: Screening) -> Callable[[Asked[Done, TaskPath]], Decide]:
    def command(asked: Asked[Done, TaskPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            who, note = asked.principal, asked.body.note
            decided = await screening.complete(asked.path.task, who.person, who.roles, note, read, context)
            return decided if isinstance(decided, Rejected) else replace(decided[0], reply=reply(_task(decided[1])))

        return decide

    return command
