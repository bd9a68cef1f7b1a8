"""The benches still measure what they say: a tiny round of each, checked like a real one. No number is looked at."""

from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHES, run
from benchmarks.report import render, write
from benchmarks.stage import Options
from tests.support.servers import Servers

ROWS = {"command": 10, "relay": 7, "consumer": 3, "latency": 2, "timers": 2, "footprint": 6, "path": 10, "ingest": 7}


@pytest.mark.asyncio
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(BENCHES))
async def test_a_tiny_round_of_each_bench_is_complete_and_not_void(servers: Servers, name: str) -> None:
    [(section, facts)] = await run([name], Options(quick=True, seed=1), servers=servers)
    assert section.void == []
    rows = [(row, table.header) for table in section.tables for row in table.rows]
    assert len(rows) == ROWS[name]
    assert all(len(row) == len(header) for row, header in rows)
    text = render(section, facts)
    assert text.count("\n| ") == len(rows) + len(section.goals) + 2 * len(section.tables) + 2


def test_a_section_is_written_in_place_of_its_earlier_self(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    write(path, [("one", "alpha\n"), ("two", "omega\n")])
    write(path, [("one", "later\n")])
    text = path.read_text(encoding="utf-8")
    assert "alpha" not in text
    assert text.index("later") < text.index("omega")
