"""Use cases of tasks between visits: opened by what happened, done by a human, called for when they are not."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import uuid_utils.compat

from services.follow_up import events
from services.follow_up.domain.tasks import CareTask, closed
from services.follow_up.store import tasks as store
from services.runtime.database import Reader
from services.runtime.edge.principal import Principal
from services.runtime.messaging.changes import AcknowledgePage, CancelTimers, Changes, Context, RaisePage, Rejected, SetTimer
from services.runtime.messaging.ladders import Ladder, Rung
from services.screening import store as screening
from services.therapies.evidence import Thresholds

__all__ = [
    "CHECKS",
    "DAY_7",
    "SERIOUS",
    "TASK_DUE",
    "TASK_OVERDUE",
    "complete",
    "ladders",
    "merged",
    "opened",
    "overdue",
    "voided",
]

TASK_DUE = "follow_up.task-due"
"""Timer: a task should have been done by now."""
DAY_7 = "follow_up.day-7"
"""Timer: the last infusion was a week ago."""
TASK_OVERDUE = "follow-up.task-overdue"
"""Page: nobody has done in time what a patient is owed between visits."""
SERIOUS = "serious-event-review"
"""Task: a patient has died, and a prescriber looks at what was done for them (decision B6)."""
CHECKS = {"check-24h": "24h", "welfare": "welfare"}
"""Tasks that are checks of a patient, as events call them; each asks for a suicide screen of its own."""


def ladders(rules: Thresholds) -> dict[str, Ladder]:
    """Who is called for those pages, after the signed times of ``cadence``."""
    wait = rules["ladder.suicide HIGH.a human has answered"].elapsed
    rungs = (Rung(dt.timedelta(0), "nurse"), Rung(wait, "prescriber"), Rung(2 * wait, "clinic"))
    return {TASK_OVERDUE: Ladder(rungs)}


def opened(
    patient: UUID, session: UUID | None, kind: str, role: str, due: dt.datetime, grace: dt.timedelta, context: Context
) -> Changes:
    """A task with its clock; ``grace`` is how long after ``due`` somebody is called."""
    task = CareTask(uuid_utils.compat.uuid7(), patient, session, kind, role, context.now, due)
    timer = SetTimer(TASK_DUE, f"{TASK_DUE}:{task.id}", str(task.id), due + grace)
    return Changes(rows=[store.task_row(task)], events=[events.task_opened(task)], timers=[timer])


def voided(tasks: Sequence[CareTask], context: Context) -> Changes:
    """Tasks that are no longer needed."""
    void = [closed(task, None, context.now, None, void=True) for task in tasks]
    return Changes(
        rows=[store.task_row(task) for task in void],
        events=[events.task_closed(task) for task in void],
        timers=[CancelTimers(str(task.id), (TASK_DUE,)) for task in void],
    )


def merged(*parts: Changes) -> Changes:
    """Several decisions as one."""
    return Changes(
        rows=[row for part in parts for row in part.rows],
        events=[event for part in parts for event in part.events],
        timers=[timer for part in parts for timer in part.timers],
        pages=[page for part in parts for page in part.pages],
    )


def overdue(task: CareTask) -> Changes:
    """A task has come due: if it is still open, somebody is called."""
    if task.status != "open":
        return Changes()
    return Changes(pages=[RaisePage(TASK_OVERDUE, f"overdue:{task.id}", str(task.id))])


@dataclass(frozen=True, slots=True)
class Done:
    """What somebody says who has done a task."""

    task: UUID
    note: str


async def complete(wanted: Done, who: Principal, read: Reader, context: Context) -> tuple[Changes, CareTask] | Rejected:
    """Somebody of the task's role, or a prescriber, has done it. A check needs a suicide screen taken since it was asked."""
    task = await store.task(read, wanted.task)
    if task is None:
        return Rejected("not-found", status=404)
    if task.status != "open":
        return Rejected("task-closed")
    if not {task.role, "prescriber"} & set(who.roles):
        return Rejected("not-of-your-role", final=False)
    check = CHECKS.get(task.kind)
    if check is not None:
        risk = await screening.risk(read, task.patient)
        if risk is None or risk.assessed_at < task.opened_at:
            return Rejected("not-screened", final=False)
    done = closed(task, who.person, context.now, wanted.note)
    told = [events.task_closed(done)]
    if check is not None:
        told.insert(0, events.check_completed(done, check))
    pages = await screening.page_of(read, [f"overdue:{task.id}"])
    changes = Changes(
        rows=[store.task_row(done)],
        events=told,
        timers=[CancelTimers(str(task.id), (TASK_DUE,))],
        pages=[AcknowledgePage(page, who.person) for page in pages],
        patient=str(task.patient),
    )
    return changes, replace(done, version=task.version + 1)
