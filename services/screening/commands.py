"""Use cases of screening: read, decide, answer with everything that has to be written together."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import zone_of
from services.directory import store as directory
from services.directory.domain import OpeningHours
from services.runtime.database import Reader
from services.runtime.messaging.changes import (
    AcknowledgePage,
    CancelTimers,
    Changes,
    Context,
    NewEvent,
    RaisePage,
    Rejected,
    SetTimer,
)
from services.runtime.messaging.ladders import Ladder, Rung
from services.screening import events, store
from services.screening.domain import Followed, Risk, Task, TaskKind, after_item, after_screen, item_of, not_screened, overdue
from services.screening.events import Owner
from services.therapies import evidence
from services.therapies.evidence import Thresholds
from services.therapies.instruments import SHAPES, CssrsAnswers, RiskLevel, cssrs_screener, cssrs_since_last, score
from services.therapies.rulebook import Rulebook

__all__ = ["HIGH", "INCOMPLETE", "OVERDUE", "TASK_DUE", "Screening", "ladders"]

HIGH = "screening.risk-high"
"""Page: answers prove a high suicide risk."""
INCOMPLETE = "screening.risk-incomplete"
"""Page: answers about suicide are not complete; on the clock of HIGH until they are."""
OVERDUE = "screening.task-overdue"
"""Page: nobody has done in time what answers about suicide ask for."""
TASK_DUE = "screening.task-due"
"""Timer: a task has come due."""

_PAGES = {RiskLevel.HIGH: HIGH, RiskLevel.INCOMPLETE: INCOMPLETE}


def ladders(rules: Thresholds) -> dict[str, Ladder]:
    """Who is called for those pages, after the signed times of ``cadence``; the first one at once."""
    found = {}
    for code, level in ((HIGH, "HIGH"), (INCOMPLETE, "INCOMPLETE")):
        signed = rules.under(f"ladder.suicide {level}")
        rungs = (
            Rung(dt.timedelta(0), "prescriber"),
            Rung(signed["page a clinician"].elapsed, "nurse"),
            Rung(signed["a human has answered"].elapsed, "clinic"),
        )
        found[code] = Ladder(rungs)
    again = rules["ladder.suicide HIGH.a human has answered"].elapsed
    found[OVERDUE] = Ladder((Rung(dt.timedelta(0), "nurse"), Rung(again, "prescriber"), Rung(2 * again, "clinic")))
    return found


@dataclass(frozen=True, slots=True)
class Answers:
    """A questionnaire as it came.

    Attributes:
        rater: the clinician who rated; None where the patient answered.
        entered_by: who sent it.
        answered_at: when it was answered, as far as its sender says.
    """

    patient: UUID
    instrument: str
    answers: Sequence[int | None]
    entered_by: str
    answered_at: dt.datetime | None = None
    rater: UUID | None = None
    difficulty: int | None = None


@dataclass(frozen=True, slots=True)
class Screen:
    """A C-SSRS as it came; attributes as of ``Answers``."""

    patient: UUID
    answers: CssrsAnswers
    since_last: bool
    entered_by: str
    answered_at: dt.datetime | None = None
    rater: UUID | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of answers: the changes to write, and what the sender is shown."""

    changes: Changes
    assessment: UUID
    level: RiskLevel | None
    total: int | None
    severity: str | None
    opens_screen: bool


@dataclass(frozen=True, slots=True)
class Screening:
    """Screening as one service does it."""

    owner: Owner
    rulebook: Rulebook

    async def answer(self, given: Answers, read: Reader, context: Context) -> Recorded | evidence.Rejected:
        """A questionnaire: kept, scored, and acted on if its suicide item asks for it. Never refused for what is missing."""
        hours = await directory.opening_hours(read)
        day = _day(hours, context)
        scales = self.rulebook.on("instruments", day)
        at = min(given.answered_at or context.now, context.now)
        found = score(given.instrument, given.answers, at, scales, difficulty=given.difficulty)
        if isinstance(found, evidence.Rejected):
            return found
        assert found.result is not None  # noqa: S101 - a score is always given, if only without a total
        number = SHAPES[given.instrument].suicide_item
        item = found.result.answers[number - 1] if number else None
        assessment = uuid_utils.compat.uuid7()
        row = store.assessment_row(
            id=assessment,
            patient=given.patient,
            instrument=given.instrument,
            answers={"items": list(given.answers), "difficulty": given.difficulty, **_said(given.answered_at, at)},
            total=found.result.total,
            severity=found.result.band,
            complete=not found.result.missing,
            suicide_item=item,
            level=None,
            proven=None,
            rules=list(found.fired()),
            revision=found.revision,
            rater=str(given.rater) if given.rater else None,
            entered_by=given.entered_by,
            answered_at=at,
            recorded_at=context.now,
        )
        known, tasks = await self._state(read, given.patient)
        wanted = _wanted(given.patient, assessment, at, context)
        followed = after_item(item_of(found.fired()), known, tasks, wanted, hours, self.rulebook.on("cadence", day))
        told = events.scored(self.owner, assessment, given.patient, found.result, item, given.rater, at)
        changes = await self._changes(followed, given.patient, given.instrument, given.entered_by, read, context)
        changes = replace(changes, rows=[row, *changes.rows], events=[told, *changes.events])
        opens = followed.opened is not None and followed.opened.level is not RiskLevel.LOW
        level = followed.risk.level if followed.risk else None
        return Recorded(changes, assessment, level, found.result.total, found.result.band, opens)

    async def screen(self, given: Screen, read: Reader, context: Context) -> Recorded:
        """A C-SSRS: kept, graded, and acted on in the same commit. Never refused for what is missing."""
        hours = await directory.opening_hours(read)
        day = _day(hours, context)
        at = min(given.answered_at or context.now, context.now)
        grade = cssrs_since_last if given.since_last else cssrs_screener
        found = grade(given.answers, at, self.rulebook.on("instruments", day))
        assert found.result is not None  # noqa: S101 - a screen always has a level
        assessment = uuid_utils.compat.uuid7()
        instrument = "C-SSRS-SINCE-LAST" if given.since_last else "C-SSRS"
        row = store.assessment_row(
            id=assessment,
            patient=given.patient,
            instrument=instrument,
            answers={name: getattr(given.answers, name) for name in CssrsAnswers.__slots__} | _said(given.answered_at, at),
            total=None,
            severity=None,
            complete=not found.result.unanswered,
            suicide_item=None,
            level=found.result.level.value,
            proven=found.result.proven.value,
            rules=list(found.fired()),
            revision=found.revision,
            rater=str(given.rater) if given.rater else None,
            entered_by=given.entered_by,
            answered_at=at,
            recorded_at=context.now,
        )
        known, tasks = await self._state(read, given.patient)
        risk = Risk(found.result.level, found.result.proven, assessment, at)
        wanted = _wanted(given.patient, assessment, at, context)
        followed = after_screen(risk, known, tasks, wanted, hours, self.rulebook.on("cadence", day))
        changes = await self._changes(followed, given.patient, instrument, given.entered_by, read, context)
        changes = replace(changes, rows=[row, *changes.rows])
        return Recorded(changes, assessment, found.result.level, None, None, False)

    def due(
        self, task: Task, risk: Risk | None, tasks: Sequence[Task], hours: OpeningHours | None, context: Context
    ) -> Changes:
        """A task has come due: a screen that was not completed counts as INCOMPLETE, anything else calls the next human."""
        if task.kind is TaskKind.SCREEN:
            wanted = _wanted(task.patient, task.cause, task.caused_at, context)
            rules = self.rulebook.on("cadence", _day(hours, context))
            return self._written(not_screened(task, risk, tasks, wanted, rules), task.patient, "C-SSRS", [])
        if overdue(task):
            return Changes(pages=[RaisePage(OVERDUE, f"overdue:{task.id}", str(task.id))])
        return Changes()

    async def acknowledge(self, task_id: UUID, by: str, read: Reader, context: Context) -> tuple[Changes, Task] | Rejected:
        """Somebody takes a task: its pages stop, it stays open until it is done."""
        task = await store.task(read, task_id)
        if task is None:
            return Rejected("not-found", status=404)
        if task.status != "open":
            return Rejected("task-closed")
        taken = replace(task, assignee=by, acknowledged_at=task.acknowledged_at or context.now)
        pages = [AcknowledgePage(page, by) for page in await store.page_of(read, _page_keys(task))]
        return Changes(rows=[store.task_row(taken)], pages=pages, patient=str(task.patient)), taken

    async def complete(
        self, task_id: UUID, by: str, roles: Collection[str], note: str, read: Reader, context: Context
    ) -> tuple[Changes, Task] | Rejected:
        """A human of the task's role, or a prescriber, has done what it asks for, and says what."""
        task = await store.task(read, task_id)
        if task is None:
            return Rejected("not-found", status=404)
        if task.status != "open":
            return Rejected("task-closed")
        if task.kind is TaskKind.SCREEN:
            return Rejected("screen-not-completed")
        if not {task.role, "prescriber"} & set(roles):
            return Rejected("not-of-your-role", final=False)
        done = replace(
            task,
            assignee=task.assignee or by,
            acknowledged_at=task.acknowledged_at or context.now,
            status="done",
            closed_by=by,
            closed_at=context.now,
            note=note,
        )
        changes = Changes(
            rows=[store.task_row(done)],
            events=[events.closed(self.owner, done)],
            timers=[CancelTimers(str(task.id), (TASK_DUE,))],
            pages=[AcknowledgePage(page, by) for page in await store.page_of(read, _page_keys(task))],
            patient=str(task.patient),
        )
        return changes, done

    async def _state(self, read: Reader, patient: UUID) -> tuple[Risk | None, list[Task]]:
        return await store.risk(read, patient), await store.open_tasks(read, [patient])

    async def _changes(
        self, followed: Followed, patient: UUID, instrument: str, by: str, read: Reader, context: Context
    ) -> Changes:
        # Nobody has closed them: what they waited for has come.
        void = [replace(task, status="void", closed_at=context.now) for task in followed.void]
        pages = await store.page_of(read, [key for task in void for key in _page_keys(task)])
        changes = self._written(followed, patient, instrument, void)
        return replace(changes, pages=[*changes.pages, *(AcknowledgePage(page, by) for page in pages)])

    def _written(self, followed: Followed, patient: UUID, instrument: str, void: Sequence[Task]) -> Changes:
        rows: list[Any] = [store.task_row(task) for task in void]
        told: list[NewEvent] = [events.closed(self.owner, task) for task in void]
        timers: list[Any] = [CancelTimers(str(task.id), (TASK_DUE,)) for task in void]
        pages: list[Any] = []
        if followed.risk is not None:
            rows.append(store.risk_row(patient, followed.risk))
            told.append(events.flagged(self.owner, patient, followed.risk, instrument, followed.opened))
        if task := followed.opened:
            rows.append(store.task_row(task))
            told.append(events.opened(self.owner, task))
            timers.append(SetTimer(TASK_DUE, f"{TASK_DUE}:{task.id}", str(task.id), task.due_at))
            if task.urgent:
                pages.append(RaisePage(_PAGES[task.level], f"risk:{task.id}", str(task.id)))
        return Changes(rows=rows, events=told, timers=timers, pages=pages)


def _page_keys(task: Task) -> list[str]:
    return [f"risk:{task.id}", f"overdue:{task.id}"]


def _wanted(patient: UUID, cause: UUID, at: dt.datetime, context: Context) -> Task:
    identifier = uuid_utils.compat.uuid7()
    return Task(identifier, patient, TaskKind.REVIEW, RiskLevel.NONE, "", cause, at, opened_at=context.now, due_at=context.now)


def _said(given: dt.datetime | None, kept: dt.datetime) -> dict[str, str]:
    # A clock that is ahead is no reason to refuse an answer; what it said is kept beside what counts.
    return {"answered_at_said": given.isoformat()} if given is not None and given != kept else {}


def _day(hours: OpeningHours | None, context: Context) -> dt.date:
    return context.now.astimezone(zone_of(hours.zone) if hours else dt.UTC).date()
