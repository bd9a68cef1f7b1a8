"""One clinic for all tests in a browser: its services, its patient, whose infusion runs, and where people sign in.

The broker that may be killed, and seeds, are those of the fault tests.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.conftest import own_broker, pytest_generate_tests
from tests.support.browser import Chromium, browsing
from tests.support.servers import Servers
from tests.support.stage import Shown, shown

__all__ = ["own_broker", "pytest_generate_tests"]

_LONGEST = ("test_story.py", "test_demo.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take longest begin first: else a worker ends alone with one, minutes after the other."""
    items.sort(key=lambda item: _LONGEST.index(item.path.name) if item.path.name in _LONGEST else len(_LONGEST))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def clinic(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    """It lives as long as the session: a test leaves it so that another can go on with it."""
    async with shown(servers, tmp_path_factory.mktemp("clinic")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    """A browser of this test's own."""
    async with browsing() as made:
        yield made
