"""The world of a video visit, and what was measured in it: printed at the end, kept in docs/video.md with ``--keep``."""

import datetime as dt
import os
import platform
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.report import Section, Table, render, write
from services.cli.stack.livekit import LIVEKIT_VERSION
from tests.support.care import Care
from tests.support.consultation import staffed
from tests.support.servers import Servers
from tests.video.support import Video, running

_DOCUMENT = Path(__file__).parents[2] / "docs" / "video.md"
_MEASURED = pytest.StashKey[list[tuple[str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", action="store_true", help="write what was measured into docs/video.md")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MEASURED] = []


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """What was sent or done, and what came of it."""
    return request.config.stash[_MEASURED]


@pytest_asyncio.fixture
async def clinic(servers: Servers, tmp_path: Path) -> AsyncIterator[Care]:
    """A clinic with its staff."""
    async with staffed(servers, tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def video(clinic: Care, tmp_path: Path) -> AsyncIterator[Video]:
    """A real LiveKit server, which calls the running ``video_visits``."""
    async with running(tmp_path) as made:
        await clinic.spawn("video_visits", **made.environment)
        made.target = clinic.running["video_visits"].url
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    rows = config.stash[_MEASURED]
    if not rows:
        return
    facts = (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC; LiveKit {LIVEKIT_VERSION}, livekit (Python) {version('livekit')}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}; "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    section = Section("video", "What was measured", "By `make e2e-video`; times as the test process saw them.")
    section.tables.append(Table(("done", "came"), sorted(rows)))
    text = render(section, facts)
    terminalreporter.write_line(text)
    if config.getoption("--keep") and exitstatus == 0:
        write(_DOCUMENT, [("video", text)])
