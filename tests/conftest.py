"""Fixtures: servers once a session, a world of its own for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.program import fork
from tests.support.servers import Servers
from tests.support.world import World, make_world


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """PostgreSQL, Kafka and SMTP, real ones."""
    running = asyncio.run(Servers.start(tmp_path_factory.mktemp("servers"), fork))
    yield running
    asyncio.run(running.stop())


@pytest_asyncio.fixture
async def world(servers: Servers, tmp_path: Path) -> AsyncIterator[World]:
    """A database and topics of this test's own."""
    made = await make_world(servers, tmp_path)
    yield made
    await made.close()
