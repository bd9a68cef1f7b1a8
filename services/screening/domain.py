"""What answers about suicide open: which level holds, what a human has to do by when, who is called. Pure.

Sources: decisions A4 to A6, clinical sheet 5.2. Every figure comes from the signed ladders of ``cadence``.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from services.directory.domain import OpeningHours
from services.therapies.evidence import Thresholds
from services.therapies.instruments import RiskLevel

__all__ = [
    "NAMES",
    "Followed",
    "Item",
    "Risk",
    "Task",
    "TaskKind",
    "after_item",
    "after_screen",
    "item_of",
    "not_screened",
    "overdue",
]

NAMES = {
    "phq9": "PHQ-9",
    "gad7": "GAD-7",
    "qids_sr16": "QIDS-SR16",
    "madrs": "MADRS",
    "audit_c": "AUDIT-C",
    "dast10": "DAST-10",
    "stop_bang": "STOP-BANG",
}
"""Instruments that are taken here, as events call them."""


class TaskKind(StrEnum):
    """What is to be done."""

    SCREEN = "risk-screen"
    """Complete the C-SSRS that a suicide item has opened."""
    REVIEW = "risk-review"
    """Talk to the patient, as the level asks for."""


class Item(StrEnum):
    """What the suicide item of a questionnaire came to."""

    CLEAR = "clear"
    REVIEW = "review"
    """A human reviews; QIDS item 12 = 1."""
    SCREEN = "screen"
    """Opens the C-SSRS."""
    MISSING = "missing"
    """Not answered, and never imputed: on the clock of HIGH until it is."""


@dataclass(frozen=True, slots=True)
class Risk:
    """The level that holds for a patient.

    Attributes:
        level: of the newest answers.
        proven: with INCOMPLETE, what the given answers prove already.
        assessment: id of those answers.
        assessed_at: when they were given.
        version: of the row; 0 while there is none.
    """

    level: RiskLevel
    proven: RiskLevel
    assessment: UUID
    assessed_at: dt.datetime
    version: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """Something that a human has to do.

    Attributes:
        level: whose clock it is on.
        role: who is called; a prescriber may do it always.
        assignee: the person who has taken it.
        cause: id of the answers behind it.
        caused_at: when those were given.
        acknowledged_at: when somebody took it.
        status: ``open``, ``done`` or ``void``.
    """

    id: UUID
    patient: UUID
    kind: TaskKind
    level: RiskLevel
    role: str
    cause: UUID
    caused_at: dt.datetime
    opened_at: dt.datetime
    due_at: dt.datetime
    assignee: str | None = None
    acknowledged_at: dt.datetime | None = None
    status: str = "open"
    closed_by: str | None = None
    closed_at: dt.datetime | None = None
    note: str | None = None
    version: int = 0

    @property
    def urgent(self) -> bool:
        """Whether a human has to answer at once."""
        return self.level in (RiskLevel.HIGH, RiskLevel.INCOMPLETE) and self.kind is TaskKind.REVIEW


@dataclass(frozen=True, slots=True)
class Followed:
    """What follows from answers: the risk that holds now (None: as before), tasks that open and tasks that fall away."""

    risk: Risk | None = None
    opened: Task | None = None
    void: tuple[Task, ...] = ()


def item_of(fired: Sequence[str]) -> Item:
    """What the rules say of a questionnaire's suicide item, by the ids of those that fired; an unknown one opens the screen."""
    for rule in fired:
        if rule.endswith("-MISSING"):
            return Item.MISSING
        return Item.REVIEW if rule == "I-QIDS-ITEM12" else Item.SCREEN
    return Item.CLEAR


def after_screen(
    found: Risk, known: Risk | None, tasks: Sequence[Task], wanted: Task, hours: OpeningHours | None, rules: Thresholds
) -> Followed:
    """A C-SSRS was answered.

    Args:
        found: what it comes to.
        known: the level that held.
        tasks: open ones of the patient.
        wanted: a task with its ids and times; its level, role and due time are set here.
        hours: when the clinic is open; without them the cap of elapsed time alone counts.
        rules: of ``cadence``.

    Returns:
        The newest answers hold. Each level opens its own task, unless one of that level is open. What waited for complete
        answers falls away with them; a HIGH is never closed but by a human.
    """
    newest = known is None or found.assessed_at >= known.assessed_at
    risk = replace(found, version=known.version if known else 0) if newest else None
    void: tuple[Task, ...] = ()
    if found.level is not RiskLevel.INCOMPLETE:
        void = tuple(task for task in tasks if _waits_for_answers(task) and _covers(found, task.caused_at, rules))
    left = [task for task in tasks if task not in void]
    return Followed(risk, _review(found.level, left, wanted, hours, rules), void)


def after_item(
    item: Item, known: Risk | None, tasks: Sequence[Task], wanted: Task, hours: OpeningHours | None, rules: Thresholds
) -> Followed:
    """A questionnaire with a suicide item was answered; arguments as for ``after_screen``.

    A complete C-SSRS of the same sitting sets the clock whatever the item says.
    """
    if item is Item.CLEAR:
        return Followed()
    if known is not None and known.level is not RiskLevel.INCOMPLETE and _covers(known, wanted.caused_at, rules):
        return Followed()
    if item is Item.MISSING:
        return _incomplete(known, tasks, wanted, hours, rules)
    if item is Item.REVIEW:
        return Followed(opened=_review(RiskLevel.LOW, tasks, wanted, hours, rules))
    if any(task.kind is TaskKind.SCREEN for task in tasks):
        return Followed()
    due = wanted.opened_at + rules[_SCREEN_WITHIN].elapsed
    opened = replace(wanted, kind=TaskKind.SCREEN, level=RiskLevel.INCOMPLETE, role="nurse", due_at=due)
    return Followed(opened=opened)


def not_screened(screen: Task, known: Risk | None, tasks: Sequence[Task], wanted: Task, rules: Thresholds) -> Followed:
    """The C-SSRS that an item has opened was not completed in time: that counts as INCOMPLETE."""
    if screen.status != "open":
        return Followed()
    return _incomplete(known, tasks, wanted, None, rules)


def overdue(task: Task) -> bool:
    """Whether a task that has come due needs another human: nobody took an urgent one, or the contact was not made."""
    return task.status == "open" and not (task.urgent and task.acknowledged_at is not None)


def _incomplete(
    known: Risk | None, tasks: Sequence[Task], wanted: Task, hours: OpeningHours | None, rules: Thresholds
) -> Followed:
    # HIGH is more than incomplete, and newer answers say more than older ones that are missing.
    holds = known is not None and (known.level is RiskLevel.HIGH or known.assessed_at > wanted.caused_at)
    proven = known.proven if known is not None else RiskLevel.NONE
    version = known.version if known is not None else 0
    risk = None if holds else Risk(RiskLevel.INCOMPLETE, proven, wanted.cause, wanted.caused_at, version)
    return Followed(risk, _review(RiskLevel.INCOMPLETE, tasks, wanted, hours, rules))


def _waits_for_answers(task: Task) -> bool:
    return task.kind is TaskKind.SCREEN or task.level is RiskLevel.INCOMPLETE


def _covers(screen: Risk, item_at: dt.datetime, rules: Thresholds) -> bool:
    return screen.assessed_at >= item_at - rules[_SCREEN_WITHIN].elapsed


def _review(
    level: RiskLevel, tasks: Sequence[Task], wanted: Task, hours: OpeningHours | None, rules: Thresholds
) -> Task | None:
    if level is RiskLevel.NONE or any(task.kind is TaskKind.REVIEW and task.level is level for task in tasks):
        return None
    due = wanted.opened_at + rules[_ANSWERED_WITHIN[level]].elapsed
    if level is RiskLevel.MODERATE and hours is not None:
        due = hours.due(wanted.opened_at, rules["moderate.business"].elapsed, due)
    role = "nurse" if level is RiskLevel.LOW else "prescriber"
    return replace(wanted, kind=TaskKind.REVIEW, level=level, role=role, due_at=due)


_SCREEN_WITHIN = "ladder.item 9.C-SSRS not completed counts as INCOMPLETE"
_ANSWERED_WITHIN = {
    RiskLevel.HIGH: "ladder.suicide HIGH.a human has answered",
    RiskLevel.INCOMPLETE: "ladder.suicide INCOMPLETE.a human has answered",
    RiskLevel.MODERATE: "moderate.cap",
    RiskLevel.LOW: "ladder.suicide LOW.discussed at the latest",
}
