"""Commands that come together are decided one by one and committed together: one claim, one write, one commit for all.

Nothing is waited for to make a group: whoever finds nobody at work commits at once, and those who come meanwhile are the next
group. A command that wants rows which an earlier one of its group changes is decided after those are written. What fails for
one of many is run again as singles, side by side, so that only the guilty one fails and nobody waits for it. A group that is
stuck on a slow decision holds nobody up for longer than a moment: then another one sets out beside it.
"""

import asyncio
import contextvars
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace

from services.runtime.database import Conflict, Reader, Unavailable
from services.runtime.messaging.changes import Append, Changes, Context, Rejected, Reply, RowChange

__all__ = ["Asked", "Group", "Together", "decide_in_turn", "settled"]

Decide = Callable[[Reader, Context], Awaitable[Changes | Rejected]]

_MOST = 32
_ANOTHER_AFTER_S = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A command that waits, with the key under which its reply is kept and the trace that it belongs to."""

    decide: Decide
    key: tuple[object, ...] | None
    traceparent: str | None
    answer: "asyncio.Future[Reply | Rejected]"


Group = Sequence[Asked]
Alone = Callable[[Asked], Awaitable[Reply | Rejected]]
All = Callable[[Group], Awaitable[Sequence[Reply | Rejected | None]]]
"""Commits a group; None for each that has to be run alone. Raises when none of it is written."""


@dataclass(slots=True)
class Together:
    """The commands of one process that wait, and the groups that are being committed.

    Attributes:
        alone: runs one command by itself.
        all: commits a group.
        groups: how many may be committed side by side.
        patience_s: how long a command waits for its turn before it is refused.
    """

    alone: Alone
    all: All
    groups: int
    patience_s: float
    _waiting: deque[Asked] = field(default_factory=deque)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _working: int = 0
    _watched: bool = False

    async def run(self, decide: Decide, key: tuple[object, ...] | None, traceparent: str | None) -> Reply | Rejected:
        """The command's outcome.

        Raises:
            Unavailable: its turn did not come in time.
        """
        loop = asyncio.get_running_loop()
        asked = Asked(decide, key, traceparent, loop.create_future())
        self._waiting.append(asked)
        refusal = loop.call_later(self.patience_s, self._give_up, asked)
        if not self._working:
            self._set_out()
        else:
            self._watch()
        try:
            return await asked.answer
        finally:
            refusal.cancel()

    def _give_up(self, asked: Asked) -> None:
        if asked in self._waiting:
            self._waiting.remove(asked)
            asked.answer.set_exception(Unavailable("busy"))

    def _set_out(self) -> None:
        self._working += 1
        self._start(self._work())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        # In a context of nobody's: it works for many, and what it writes must not bear the trace of whoever woke it.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().call_later(_ANOTHER_AFTER_S, self._look)

    def _look(self) -> None:
        self._watched = False
        if self._waiting and self._working < self.groups:
            self._set_out()
        if self._waiting:
            self._watch()

    async def _work(self) -> None:
        try:
            while group := self._next():
                await self._commit(group)
        finally:
            # In the same breath as nobody was found waiting: who comes next sets out at once.
            self._working -= 1

    async def _commit(self, group: Group) -> None:
        if len(group) == 1:
            await self._single(group[0])
            return
        outcomes: Sequence[Reply | Rejected | None] = [None] * len(group)
        try:
            outcomes = await self.all(group)
        except _Settled as settled:
            for asked in group:
                _fail(asked, settled.error)
            return
        except Exception:  # noqa: BLE001, S110 - nothing is written: whose fault it is shows when each is run alone
            pass
        for asked, outcome in zip(group, outcomes, strict=True):
            if outcome is not None:
                _answer(asked, outcome)
            else:
                self._start(self._single(asked))

    async def _single(self, asked: Asked) -> None:
        try:
            _answer(asked, await self.alone(asked))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            _fail(asked, error)

    def _next(self) -> list[Asked]:
        group: list[Asked] = []
        while self._waiting and len(group) < _MOST:
            asked = self._waiting.popleft()
            if not asked.answer.done():  # or its caller has gone before anything was done
                group.append(asked)
        return group


class _Settled(Exception):
    """The group's fate is known, or cannot be: running its commands alone would be wrong."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def settled(error: Exception) -> Exception:
    """Tell ``Together`` that every command of the group ends with this error."""
    return _Settled(error)


def _answer(asked: Asked, outcome: Reply | Rejected) -> None:
    if not asked.answer.done():
        asked.answer.set_result(outcome)


def _fail(asked: Asked, error: Exception) -> None:
    if not asked.answer.done():
        asked.answer.set_exception(error)


async def decide_in_turn(
    group: Group, read: Reader, context: Context, write: Callable[[Sequence[Changes]], Awaitable[None]]
) -> list[Changes | Rejected]:
    """Decide each command of a group, and write what they want.

    Commands that want different rows are written together, as one turn. One that wants a row of an earlier one has a later
    turn: it is decided again when that is written, and so sees it. The first turn holds every row that the group wants, and is
    written in the order of the keys: so groups beside each other wait for one another, and not in a circle. A refusal stands:
    whoever was refused asked no later than those whose changes it has not seen.

    Raises:
        Conflict: a command wants other rows in its turn than before, and they are another one's.
    """
    decided: dict[Asked, Changes | Rejected] = {}
    turns: dict[int, list[Asked]] = defaultdict(list)
    last: dict[tuple[object, ...], int] = {}
    for asked in group:
        found = decided[asked] = await _decide(asked, read, context)
        if isinstance(found, Changes):
            rows = _touches(found.rows)
            turn = max((last[row] + 1 for row in rows if row in last), default=0)
            last.update(dict.fromkeys(rows, turn))
            turns[turn].append(asked)
    for turn, those in sorted(turns.items()):
        if turn:
            for asked in those:
                decided[asked] = await _decide(asked, read, context)
        wanted = [found for asked in those if isinstance(found := decided[asked], Changes)]
        touched = [_touches(changes.rows) for changes in wanted]
        if len(set().union(*touched)) < sum(map(len, touched)):
            raise Conflict
        if wanted:
            await write(wanted)
    return list(decided.values())


async def _decide(asked: Asked, read: Reader, context: Context) -> Changes | Rejected:
    found = await asked.decide(read, context)
    if isinstance(found, Rejected):
        return found
    return replace(found, events=[replace(event, traceparent=event.traceparent or asked.traceparent) for event in found.events])


def _touches(rows: Sequence[RowChange]) -> set[tuple[object, ...]]:
    return {(row.table, *sorted(row.key.items())) for row in rows if not isinstance(row, Append)}
