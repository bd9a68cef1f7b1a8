"""A patient's whole path while every service, the database and the broker die in turn, and events come twice and out of order.

Its beginning is tried in the same way beside the undisturbed story (``tests/e2e/test_story.py``).
"""

import dataclasses
import random

import pytest

from services.cli.stack.postgres import PostgresServer
from tests.faults.conftest import OwnBroker
from tests.support.servers import Servers
from tests.support.torment import walk

pytestmark = pytest.mark.asyncio


@pytest.mark.full
@pytest.mark.timeout(3600)
async def test_every_service_the_database_and_the_broker_die_along_the_whole_path(
    seed: int, servers: Servers, own_broker: OwnBroker, own_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(seed)
    async with walk(servers, tmp_path_factory.mktemp("calm")) as calm:
        await calm.all_of_it()
        ledger, history = await calm.ledger(), calm.stage.history
    apart = dataclasses.replace(servers, kafka=own_broker.broker, postgres=own_postgres)
    for replicas in (1, 2):
        async with walk(apart, tmp_path_factory.mktemp("torn"), replicas=replicas, mischief=True) as torn:
            victims = sorted(torn.care.services)
            faults = torn.draw(chance, history, victims, own_broker.broker)
            faults.append((chance.randrange(len(history) - 20), torn.crashes(own_postgres)))
            await torn.tormented(torn.all_of_it(), faults)
            await torn.came_to(ledger)
            assert torn.struck.keys() == {*victims, "database", "broker"}
