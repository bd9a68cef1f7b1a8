"""Commands that come together: who is committed with whom, in what order they are decided, and who suffers for whom."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.runtime.database import Conflict, Unavailable
from services.runtime.messaging.changes import Append, Changes, Context, NewEvent, Put, Rejected, Reply, Row
from services.runtime.messaging.together import Asked, Group, Together, decide_in_turn, settled
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio
ANY: Any = None


class Shop:
    """Commits groups and singles, slowly if told to; a command is known by its reply."""

    def __init__(self, *, groups: int = 4, patience_s: float = 5.0) -> None:
        self.together = Together(self.alone, self.all, groups, patience_s)
        self.seen: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: set[str] = set()
        self.lost: Exception | None = None

    async def alone(self, asked: Asked) -> Reply | Rejected:
        name = await _name(asked)
        self.seen.append([name])
        await self.gate.wait()
        if name in self.broken:
            raise RuntimeError(name)
        return Reply(200, name.encode())

    async def all(self, group: Group) -> Sequence[Reply | Rejected | None]:
        names = [await _name(asked) for asked in group]
        self.seen.append(names)
        await self.gate.wait()
        if self.lost is not None:
            raise settled(self.lost)
        if self.broken & set(names):
            raise RuntimeError("one of them")
        return [None if name.startswith("twin") else Reply(200, name.encode()) for name in names]

    def ask(self, name: str) -> "asyncio.Task[Reply | Rejected]":
        async def decide(_: object, __: object) -> Changes:
            return Changes(reply=Reply(200, name.encode()))

        return asyncio.create_task(self.together.run(decide, None, None))


async def _name(asked: Asked) -> str:
    found = await asked.decide(ANY, ANY)
    assert isinstance(found, Changes)
    assert found.reply
    return found.reply.body.decode()


async def replies(tasks: Sequence["asyncio.Task[Reply | Rejected]"]) -> list[str]:
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [one.body.decode() if isinstance(one, Reply) else type(one).__name__ for one in found]


async def test_whoever_is_alone_is_not_kept_waiting_and_those_who_come_meanwhile_go_together() -> None:
    shop = Shop()
    shop.gate.clear()
    first = shop.ask("a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [shop.ask(name) for name in "bcd"]
    await asyncio.sleep(0)
    shop.gate.set()
    assert await replies([first, *others]) == ["a", "b", "c", "d"]
    assert shop.seen == [["a"], ["b", "c", "d"]]


async def test_a_group_that_is_stuck_holds_the_others_up_for_a_moment_only() -> None:
    shop = Shop()
    shop.gate.clear()
    stuck = shop.ask("a")
    await asyncio.sleep(0)
    others = [shop.ask(name) for name in "bc"]

    async def both() -> bool:
        return len(shop.seen) == 2

    await eventually(both, what="another group sets out")
    assert shop.seen == [["a"], ["b", "c"]]
    shop.gate.set()
    assert await replies([stuck, *others]) == ["a", "b", "c"]


async def test_when_every_group_is_stuck_the_next_is_refused_in_time_and_nothing_of_it_is_done() -> None:
    shop = Shop(groups=1, patience_s=0.1)
    shop.gate.clear()
    stuck = shop.ask("a")
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await shop.ask("b")
    shop.gate.set()
    assert await replies([stuck]) == ["a"]
    assert shop.seen == [["a"]]
    assert await replies([shop.ask("c")]) == ["c"]


async def test_only_the_guilty_one_fails() -> None:
    shop = Shop()
    shop.broken = {"c"}
    shop.gate.clear()
    tasks = [shop.ask("a")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks += [shop.ask(name) for name in "bcd"]
    await asyncio.sleep(0)
    shop.gate.set()
    assert await replies(tasks) == ["a", "b", "RuntimeError", "d"]
    assert shop.seen == [["a"], ["b", "c", "d"], ["b"], ["c"], ["d"]]


async def test_what_is_left_out_of_a_group_is_run_alone() -> None:
    shop = Shop()
    shop.gate.clear()
    tasks = [shop.ask("a")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks += [shop.ask(name) for name in ("b", "twin", "d")]
    await asyncio.sleep(0)
    shop.gate.set()
    assert await replies(tasks) == ["a", "b", "twin", "d"]
    assert shop.seen[-1] == ["twin"]


async def test_a_group_whose_fate_is_unknown_is_never_run_again() -> None:
    shop = Shop()
    shop.lost = Unavailable("gone")
    shop.gate.clear()
    tasks = [shop.ask("a")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks += [shop.ask(name) for name in "bc"]
    await asyncio.sleep(0)
    shop.gate.set()
    assert await replies(tasks) == ["a", "Unavailable", "Unavailable"]
    assert shop.seen == [["a"], ["b", "c"]]


async def test_who_has_gone_before_its_turn_is_not_run() -> None:
    shop = Shop(groups=1)
    shop.gate.clear()
    tasks = [shop.ask("a")]
    await asyncio.sleep(0)
    gone = shop.ask("b")
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    shop.gate.set()
    assert await replies(tasks) == ["a"]
    assert await replies([shop.ask("c")]) == ["c"]
    assert ["b"] not in shop.seen


class Accounts:
    """Balances as a transaction sees them: what was written, not what was decided."""

    def __init__(self) -> None:
        self.balance: dict[str, int] = {}
        self.writes: list[int] = []

    def post(self, account: str, amount: int, traceparent: str | None = None) -> Asked:
        async def decide(_: object, __: object) -> Changes | Rejected:
            before = self.balance.get(account, 0)
            if before + amount < 0:
                return Rejected("overdrawn")
            row = Row("account", {"id": account}, {"balance": before + amount}, before)
            event = NewEvent(f"/a/{account}", "t", account, ANY)
            return Changes(rows=[row, Append("entry", {"account": account})], events=[event])

        return Asked(decide, None, traceparent, asyncio.get_running_loop().create_future())

    async def write(self, changes: Sequence[Changes]) -> None:
        self.writes.append(len(changes))
        for one in changes:
            for row in one.rows:
                if isinstance(row, Row):
                    assert row.expected == self.balance.get(row.key["id"], 0), "decided on what is no longer so"
                    self.balance[row.key["id"]] = row.values["balance"]


async def test_commands_on_different_rows_are_written_together() -> None:
    accounts = Accounts()
    group = [accounts.post(name, 1) for name in "abc"]
    await decide_in_turn(group, ANY, ANY, accounts.write)
    assert accounts.writes == [3]


async def test_a_command_on_a_row_of_an_earlier_one_sees_what_that_has_written() -> None:
    """Each of the two could have the money; there is enough for one."""
    accounts = Accounts()
    accounts.balance["a"] = 4
    group = [accounts.post("a", -3), accounts.post("b", 1), accounts.post("a", -3), accounts.post("c", 1)]
    decided = await decide_in_turn(group, ANY, ANY, accounts.write)
    assert accounts.balance == {"a": 1, "b": 1, "c": 1}
    assert [type(one).__name__ for one in decided] == ["Changes", "Changes", "Rejected", "Changes"]
    assert accounts.writes == [3]


async def test_commands_on_one_row_have_one_turn_each_and_the_others_wait_for_none_of_them() -> None:
    accounts = Accounts()
    group = [accounts.post("a", 1), accounts.post("a", 1), accounts.post("b", 1), accounts.post("a", 1), accounts.post("b", 1)]
    await decide_in_turn(group, ANY, ANY, accounts.write)
    assert accounts.balance == {"a": 3, "b": 2}
    assert accounts.writes == [2, 2, 1], "every row that is wanted is locked by the first write"


async def test_a_refusal_stands_whatever_comes_with_it() -> None:
    accounts = Accounts()
    decided = await decide_in_turn([accounts.post("a", 5), accounts.post("a", -3)], ANY, ANY, accounts.write)
    assert [type(one).__name__ for one in decided] == ["Changes", "Rejected"]
    assert accounts.balance == {"a": 5}


async def test_who_changes_its_mind_to_a_row_of_another_ends_the_group() -> None:
    """Its turn is with others who want that row too; each is then run alone."""
    accounts = Accounts()
    asked: list[str] = []

    async def fickle(_: object, __: object) -> Changes:
        asked.append("b" if asked else "a")
        return Changes(rows=[Put("t", {"id": asked[-1]}, {"v": 1})])

    def put(name: str) -> Asked:
        async def decide(_: object, __: object) -> Changes:
            return Changes(rows=[Put("t", {"id": name}, {"v": 1})])

        return Asked(decide, None, None, asyncio.get_running_loop().create_future())

    late = Asked(fickle, None, None, asyncio.get_running_loop().create_future())
    with pytest.raises(Conflict):
        await decide_in_turn([put("a"), put("b"), late, put("b")], ANY, ANY, accounts.write)


async def test_each_event_keeps_the_trace_of_its_own_command() -> None:
    accounts = Accounts()
    group = [accounts.post("a", 1, "trace-a"), accounts.post("b", 1, None)]
    decided = await decide_in_turn(group, ANY, Context, accounts.write)  # type: ignore[arg-type] # nobody reads it
    assert [[event.traceparent for event in one.events] for one in decided if isinstance(one, Changes)] == [["trace-a"], [None]]


async def test_unversioned_rows_count_as_touched_too() -> None:
    async def put(_: object, __: object) -> Changes:
        return Changes(rows=[Put("t", {"id": 1}, {"v": 1})])

    group = [Asked(put, None, None, asyncio.get_running_loop().create_future()) for _ in range(2)]
    accounts = Accounts()
    await decide_in_turn(group, ANY, ANY, accounts.write)
    assert accounts.writes == [1, 1]
