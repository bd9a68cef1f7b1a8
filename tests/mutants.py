"""Removes each safety mechanism of the kernel in turn, in a copy of the tree: the tests must go red each time.

``python -m tests.mutants [name ...]``. Prints a table; exits 1 if a mutant survives or a mutation no longer fits the code.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutant:
    """One mechanism removed.

    Attributes:
        removed: what is gone.
        file: where it was.
        old: its code; must stand there exactly once.
        new: the code without it.
        tests: which tests must notice (run until the first failure).
    """

    removed: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "dedupe",
        "services/runtime/messaging/inbox.py",
        "        if verdict is Verdict.DUPLICATE:\n            outcome.duplicates += 1\n        elif verdict is Verdict.FORK:",
        "        if verdict is Verdict.FORK:",
        ("tests/unit/test_triage.py", "tests/unit/test_simulation.py", "tests/faults/test_once.py"),
    ),
    Mutant(
        "cursor in the effect's transaction",
        "services/runtime/messaging/inbox.py",
        "        await self._advance(connection, list(applied.values()))\n        if draining",
        "        if draining",
        ("tests/faults/test_once.py",),
    ),
    Mutant(
        "lane lock",
        "services/runtime/messaging/relay.py",
        "lane where pg_try_advisory_xact_lock($1, lane))",
        "lane where $1::int is not null)",
        ("tests/integration/test_two_replicas.py",),
    ),
    Mutant(
        "delete after acknowledgement",
        "services/runtime/messaging/relay.py",
        "            sent = await self._acknowledged()\n",
        "            sent, self._under_way = self._under_way, []\n",
        ("tests/faults/test_relay.py", "tests/faults/test_broker.py"),
    ),
    Mutant(
        "gap check",
        "services/runtime/messaging/cursor.py",
        "    if event.sequence > cursor.sequence + 1:\n        return Verdict.GAP\n",
        "    if event.sequence > cursor.sequence + 1:\n        return Verdict.APPLY\n",
        ("tests/unit/test_cursor.py", "tests/unit/test_simulation.py"),
    ),
    Mutant(
        "gap check of a first event",
        "services/runtime/messaging/cursor.py",
        "return Verdict.APPLY if event.sequence == 1 else Verdict.GAP",
        "return Verdict.APPLY",
        ("tests/unit/test_cursor.py", "tests/unit/test_simulation.py"),
    ),
    Mutant(
        "fork check of the last event",
        "services/runtime/messaging/cursor.py",
        "return Verdict.DUPLICATE if event.event_id == cursor.event_id else Verdict.FORK",
        "return Verdict.DUPLICATE",
        ("tests/unit/test_cursor.py",),
    ),
    Mutant(
        "fork check of earlier events",
        "services/runtime/messaging/cursor.py",
        "return Verdict.FORK if event.event_id.int > cursor.event_id.int else Verdict.DUPLICATE",
        "return Verdict.DUPLICATE",
        ("tests/unit/test_cursor.py",),
    ),
    Mutant(
        "timer's transaction",
        "services/runtime/messaging/timers.py",
        "async with self.database.acquire(Budget.TIMERS) as connection, connection.transaction():\n"
        "            context = await read_context(connection)\n"
        "            rows = await self._claim(connection, self._inside,",
        "async with self.database.acquire(Budget.TIMERS) as connection:\n"
        "            context = await read_context(connection)\n"
        "            rows = await self._claim(connection, self._inside,",
        ("tests/faults/test_once.py",),
    ),
    Mutant(
        "outbox in the same transaction",
        "services/runtime/messaging/unit_of_work.py",
        "        await self._write_events(connection, events, context, traceparent or current_traceparent())\n",
        "        async with self._database.acquire(Budget.HTTP) as other, other.transaction():\n"
        "            await self._write_events(other, events, context, traceparent or current_traceparent())\n",
        ("tests/faults/test_commands.py",),
    ),
    Mutant(
        "only a replay that began after a rebuild ends it",
        "services/runtime/messaging/inbox.py",
        "and watermark <= $4 and not replayed",
        "and (watermark <= $4 or true) and not replayed",
        ("tests/integration/test_board.py::test_a_board_that_is_made_anew_is_the_one_it_was_and_sends_nothing",),
    ),
    Mutant(
        "no live record while a projection is made anew",
        "services/runtime/messaging/inbox.py",
        "        if live and await rebuilding(connection, self.subscription):\n            raise Rebuild\n",
        "",
        ("tests/integration/test_board.py::test_a_board_that_is_made_anew_is_the_one_it_was_and_sends_nothing",),
    ),
)


def run(mutants: Sequence[Mutant]) -> int:
    """Try those named on the command line, or all."""
    chosen = [mutant for mutant in mutants if not sys.argv[1:] or mutant.removed in sys.argv[1:]]
    problems = 0
    print("| removed | caught by | seconds |\n|---|---|---|")
    for mutant in chosen:
        started = time.monotonic()
        verdict = _try(mutant)
        problems += verdict.startswith("**")
        print(f"| {mutant.removed} | {verdict} | {time.monotonic() - started:.0f} |", flush=True)
    return 1 if problems else 0


def _try(mutant: Mutant) -> str:
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".telemed", "__pycache__", ".*_cache"))
        target = copy / mutant.file
        text = target.read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            return "**the mutation does not fit the code any more**"
        target.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        # ``python -m pytest`` puts the copy first on the path, before the installed tree; so do the service processes.
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *mutant.tests]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, timeout=900)
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        if done.returncode != 1 or not failed:
            return f"**survived** (pytest exit {done.returncode})"
        return "`" + failed[0].split(" ")[1].split("[")[0] + "`"


if __name__ == "__main__":
    sys.exit(run(MUTANTS))
