"""Routes of tasks between visits, outcomes, guidance, and the care journey."""

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from services.directory import policy
from services.directory.policy import PatientPath
from services.follow_up.commands import tasks
from services.follow_up.commands.tasks import Done
from services.follow_up.domain.tasks import CareTask
from services.follow_up.store import outcomes
from services.follow_up.store import tasks as store
from services.runtime.database import Reader
from services.runtime.edge.fields import Code, Id, Instant, Note, Number, Request, Response
from services.runtime.edge.pages import Page
from services.runtime.edge.policy import Bearer, role_is_enough
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide

__all__ = ["ROUTES"]

_TEAM = frozenset({Role.PRESCRIBER, Role.NURSE, Role.THERAPIST})
_STAFF = _TEAM | {Role.FRONT_DESK}

_CLOSED = ProblemType("task-closed", 409, "The task is closed already")
_YOURS = ProblemType("not-of-your-role", 403, "This task is done by its role or by a prescriber")
_SCREEN = ProblemType("not-screened", 409, "A check asks for the suicide screen first; then say that the check is done")


class TaskPath(Request):
    """Path of a task."""

    task: Id


class DoneBody(Request):
    """What was done; the note stays here."""

    note: Annotated[Note, Field(min_length=3, max_length=4000)]


class CareTaskShown(Response):
    """Something that somebody of a role has to do."""

    task: Id
    patient: Id
    session: Id | None
    kind: str
    role: str
    opened_at: Instant
    due_at: Instant
    status: str
    closed_by: str | None
    closed_at: Instant | None


class CareTaskList(Response):
    """Open tasks, the next due first."""

    tasks: list[CareTaskShown]


class OutcomeShown(Response):
    """A score against its frozen baseline; it proposes and decides nothing."""

    assessment: Id
    instrument: Code
    baseline: int
    total: int
    change: Number
    response: bool
    remission: bool
    relapse: bool
    criteria: list[str]
    at: Instant


class PointShown(Response):
    """One value of one of the four series about suicidality."""

    series: str
    value: str
    at: Instant


class OutcomesShown(Response):
    """How it goes: comparisons, oldest first, and the series about suicidality side by side, never merged."""

    outcomes: list[OutcomeShown]
    suicidality: list[PointShown]


class GuidanceShown(Response):
    """Something to read."""

    topic: str
    stage: str
    given_at: Instant


class GuidanceList(Response):
    """What a patient was given to read."""

    guidance: list[GuidanceShown]


class StepShown(Response):
    """Something that happened, as its service told it."""

    event: Id
    at: Instant
    type: str
    source: str
    sequence: int
    data: dict[str, Any]


class Journey(Response):
    """A patient's care, oldest first."""

    steps: list[StepShown]


def _show(task: CareTask) -> CareTaskShown:
    return CareTaskShown(
        task=task.id,
        patient=task.patient,
        session=task.session,
        kind=task.kind,
        role=task.role,
        opened_at=task.opened_at,
        due_at=task.due_at,
        status=task.status,
        closed_by=task.closed_by,
        closed_at=task.closed_at,
    )


def _complete(asked: Asked[DoneBody, TaskPath]) -> Decide:
    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        made = await tasks.complete(Done(asked.path.task, asked.body.note), asked.principal, read, context)
        return made if isinstance(made, Rejected) else replace(made[0], reply=reply(_show(made[1])))

    return decide


def _list(asked: Asked[Any, Any, Page]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        after = UUID(asked.query.after[0]) if asked.query.after else None
        rows = await store.open_tasks_after(read, after, asked.query.limit + 1)
        page = rows[: asked.query.limit]
        more = (str(page[-1].id),) if len(rows) > len(page) else ()
        return Found(CareTaskList(tasks=[_show(one) for one in page]), [str(one.id) for one in page], more)

    return find


def _outcomes(asked: Asked[Any, PatientPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        patient = asked.path.patient
        rows = await outcomes.outcomes(read, patient)
        shown = [
            OutcomeShown(
                assessment=row["assessment"],
                instrument=row["instrument"],
                baseline=row["baseline"],
                total=row["total"],
                change=row["change"],
                response=row["response"],
                remission=row["remission"],
                relapse=row["relapse"],
                criteria=row["criteria"],
                at=row["at"],
            )
            for row in rows
        ]
        points = [
            PointShown(series=row["series"], value=row["value"], at=row["at"]) for row in await outcomes.series(read, patient)
        ]
        return Found(OutcomesShown(outcomes=shown, suicidality=points))

    return find


def _guidance(asked: Asked[Any, PatientPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        found = (await store.guidance(read, [asked.path.patient])).get(asked.path.patient, [])
        return Found(
            GuidanceList(guidance=[GuidanceShown(topic=topic, stage=stage, given_at=at) for topic, stage, at in found])
        )

    return find


def _journey(asked: Asked[Any, PatientPath, Page]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        rows = await store.journey(read, asked.path.patient, asked.query.after or (), asked.query.limit + 1)
        page = rows[: asked.query.limit]
        more: tuple[str, ...] = (page[-1]["at"].isoformat(), str(page[-1]["id"])) if len(rows) > len(page) else ()
        steps = [
            StepShown(
                event=row["id"],
                at=row["at"],
                type=row["type"],
                source=row["source"],
                sequence=row["sequence"],
                data=row["data"],
            )
            for row in page
        ]
        return Found(Journey(steps=steps), [str(row["id"]) for row in page], more)

    return find


_READERS = _STAFF | {Role.PATIENT, Role.AUDITOR}
ROUTES = (
    Route(
        name="list_care_tasks",
        method="GET",
        path_template="/care-tasks",
        summary="What patients are owed between visits, the next due first",
        policy=Bearer(_STAFF, role_is_enough),
        audit="care-tasks.list",
        query_model=Page,
        response=CareTaskList,
        query=_list,
    ),
    Route(
        name="complete_care_task",
        method="POST",
        path_template="/care-tasks/{task}/completion",
        summary="Say that a task is done, and what was done",
        policy=Bearer(_STAFF, policy.about("task", store.patient_of_task)(policy.treats_or_on_duty)),
        audit="care-task.complete",
        request=DoneBody,
        path=TaskPath,
        response=CareTaskShown,
        command=_complete,
        idempotency=KEY_REQUIRED,
        errors=(_CLOSED, _YOURS, _SCREEN),
        examples=(Example({"note": "Called; slept well, spouse at home"}),),
    ),
    Route(
        name="show_outcomes",
        method="GET",
        path_template="/patients/{patient}/outcomes",
        summary="Scores against the frozen baseline, and the four series about suicidality",
        policy=Bearer(_TEAM | {Role.AUDITOR}, policy.treats),
        audit="outcomes.read",
        path=PatientPath,
        response=OutcomesShown,
        query=_outcomes,
    ),
    Route(
        name="list_guidance",
        method="GET",
        path_template="/patients/{patient}/guidance",
        summary="What the patient was given to read",
        policy=Bearer(_READERS, policy.own_or_care_team),
        audit="guidance.read",
        path=PatientPath,
        response=GuidanceList,
        query=_guidance,
    ),
    Route(
        name="show_journey",
        method="GET",
        path_template="/patients/{patient}/journey",
        summary="A patient's whole care, in one call",
        policy=Bearer(_TEAM | {Role.AUDITOR}, policy.treats),
        audit="journey.read",
        path=PatientPath,
        query_model=Page,
        response=Journey,
        query=_journey,
    ),
)
