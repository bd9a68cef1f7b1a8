"""The runtime writes many decisions in one transaction, and fails as a whole."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.runtime.database import Budget, Conflict
from services.runtime.messaging.changes import Append, Changes, Row, RowChanges
from services.runtime.messaging.unit_of_work import read_context
from services.runtime.serve import Runtime, build
from tests.support.ledger.app import SERVICE
from tests.support.world import World

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def runtime(world: World) -> AsyncIterator[Runtime]:
    """A ledger inside this process, with nothing running but its database pools."""
    made = build(SERVICE, world.settings())
    await made.database.open()
    yield made
    await made.database.close()


async def write(runtime: Runtime, *decided: RowChanges) -> None:
    async with runtime.database.acquire(Budget.HTTP) as connection, connection.transaction():
        await runtime.unit_of_work.write(connection, decided, await read_context(connection))


def entry(account: str, version: int) -> Changes:
    """A balance and its entry, as a command decides them."""
    row = Row("account", {"id": account}, {"balance": 1}, version)
    return Changes(rows=[row, Append("entry", {"id": f"{account}-{version}", "account": account, "amount": 1})])


async def test_a_parent_is_written_before_its_child_whatever_else_is_in_the_batch(world: World, runtime: Runtime) -> None:
    """A known account, its entry, then a new account and its entry: the new account must not wait for the first entry."""
    await write(runtime, entry("known", 0))
    await write(runtime, entry("known", 1), entry("new", 0))
    assert await world.value("select count(*) from entry") == 3


async def test_one_stale_decision_fails_all_of_its_transaction(world: World, runtime: Runtime) -> None:
    await write(runtime, entry("a", 0))
    with pytest.raises(Conflict):
        await write(runtime, entry("b", 0), entry("a", 0))
    assert await world.value("select count(*) from account") == 1
