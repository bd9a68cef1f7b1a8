"""What screening does when a task comes due."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.directory import store as directory
from services.directory.domain import OpeningHours
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context
from services.runtime.messaging.timers import Timer
from services.screening import store
from services.screening.commands import Screening
from services.screening.domain import Risk, Task

__all__ = ["TaskDue"]


@dataclass(frozen=True, slots=True)
class _Due:
    task: Task
    risk: Risk | None
    tasks: Sequence[Task]
    hours: OpeningHours | None


class TaskDue:
    """Calls the next human, or finds that a screen was not completed."""

    def __init__(self, screening: Screening) -> None:
        self._screening = screening

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, _Due]:
        due = await store.tasks(read, keys)
        patients = {task.patient for task in due.values()}
        risks, tasks, hours = (
            await store.risks(read, patients),
            await store.open_tasks(read, patients),
            await directory.opening_hours(read),
        )
        return {
            task.id: _Due(task, risks.get(task.patient), [one for one in tasks if one.patient == task.patient], hours)
            for task in due.values()
        }

    def decide(self, state: _Due | None, item: Timer, context: Context) -> tuple[_Due | None, Changes]:
        if state is None:
            raise LookupError("the task is not known")
        return state, self._screening.due(state.task, state.risk, state.tasks, state.hours, context)
