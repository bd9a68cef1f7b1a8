"""Many decisions written together: the same rows as one after the other."""

import pytest

from services.runtime.database import Budget
from services.runtime.messaging.changes import Changes
from services.runtime.messaging.unit_of_work import read_context
from services.runtime.serve import build
from tests.support.ledger import store
from tests.support.ledger.app import SERVICE
from tests.support.ledger.domain import Account, EntryPosted
from tests.support.world import World

pytestmark = pytest.mark.asyncio


async def test_a_known_and_a_new_parent_with_their_children_are_written_together(world: World) -> None:
    """The child of the first decision must not be written before the new parent of the second one's child."""
    runtime = build(SERVICE, world.settings())
    await runtime.database.open()
    try:
        known, new = Account("known", 1, 1), Account("new")
        batches = [
            [(Account("known"), EntryPosted("known", "e1", 1, 1))],
            [(known, EntryPosted("known", "e2", 1, 2)), (new, EntryPosted("new", "e3", 1, 1))],
        ]
        for batch in batches:
            changes = [Changes(rows=store.account_rows(before, event)) for before, event in batch]
            async with runtime.database.acquire(Budget.HTTP) as connection, connection.transaction():
                await runtime.unit_of_work.write(connection, changes, await read_context(connection))
    finally:
        await runtime.database.close()
    assert [tuple(row) for row in await world.rows("select id, account from entry order by id")] == [
        ("e1", "known"),
        ("e2", "known"),
        ("e3", "new"),
    ]
