"""What the clinic does when time comes: it looks ahead on the roster."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from services.clinic import commands, store
from services.clinic.domain import Calendar, Coverage, Shift
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context
from services.runtime.messaging.timers import Timer

__all__ = ["CheckCoverage"]


@dataclass(frozen=True, slots=True)
class _Roster:
    rules: Sequence[Coverage]
    shifts: Sequence[Shift]
    calendar: Calendar | None


class CheckCoverage:
    """Pages in advance when a role will have nobody on duty."""

    def key(self, item: Timer) -> str:
        return item.subject

    async def load(self, read: Reader, keys: Collection[str]) -> Mapping[str, _Roster]:
        rules = await store.coverages(read)
        return dict.fromkeys(keys, _Roster(rules, await store.shifts_ahead(read, rules), await store.calendar(read)))

    def decide(self, state: _Roster | None, item: Timer, context: Context) -> tuple[_Roster | None, Changes]:
        if state is None:
            raise LookupError("the roster was not loaded")
        return state, commands.check_coverage(state.rules, state.shifts, state.calendar, context)
