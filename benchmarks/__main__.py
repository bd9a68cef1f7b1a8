"""``python -m benchmarks [--quick] [--write] [--seed N] [name ...]``: run benches, print their tables.

A bench is a module with ``async def main(stage: Stage) -> Section``; adding one is one line in ``BENCHES``.
"""

import argparse
import asyncio
import importlib
import os
import random
import sys
import time
from collections.abc import Sequence

from benchmarks.loop import loop_factory
from benchmarks.report import Section, machine, render, write
from benchmarks.stage import ROOT, Options, Stage
from services.runtime import log
from tests.support.servers import Servers

__all__ = ["BENCHES", "main", "run"]

BENCHES: dict[str, str] = {
    "relay": "benchmarks.relay",
    "consumer": "benchmarks.consumer",
    "latency": "benchmarks.latency",
    "command": "benchmarks.command",
    "timers": "benchmarks.timers",
    "footprint": "benchmarks.footprint",
    "path": "benchmarks.path",
    "ingest": "benchmarks.ingest",
}


async def run(names: Sequence[str], options: Options, *, servers: Servers | None = None) -> list[tuple[Section, str]]:
    """Run benches one after the other; each with the line that says where and when it was measured."""
    done = []
    async with Stage.open(options, servers) as stage:
        for name in names:
            stage.say(f"{name} (seed {options.seed}, load average {os.getloadavg()[0]:.1f})")
            started = time.monotonic()
            section: Section = await importlib.import_module(BENCHES[name]).main(stage)
            took = time.monotonic() - started
            done.append((section, f"{machine(await stage.versions())}; seed {options.seed}; took {took:.0f} s"))
    return done


def main() -> int:
    """Exit code 1 when a round was void: then a number is missing, not just bad."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Side-by-side measurements.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHES)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="one tiny round without peers; the numbers mean nothing")
    parser.add_argument("--write", action="store_true", help="keep the tables in docs/benchmarks.md")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--rounds", type=int, help="rounds that count, instead of each bench's own number")
    arguments = parser.parse_args()
    if arguments.quick and arguments.write:
        parser.error("what --quick measures is not worth keeping")
    unknown = sorted(set(arguments.names) - set(BENCHES))
    if unknown:
        parser.error(f"no bench is called {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    # Settings of whoever calls must not change what is measured.
    for variable in [name for name in os.environ if name.startswith("TELEMED_") and name != "TELEMED_CACHE"]:
        del os.environ[variable]
    log.configure("bench")
    options = Options(quick=arguments.quick, seed=arguments.seed, rounds=arguments.rounds)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        done = runner.run(run(arguments.names or list(BENCHES), options))
    rendered = [(section.name, render(section, facts, judged=not options.quick)) for section, facts in done]
    for _, text in rendered:
        sys.stdout.write(text + "\n")
    if arguments.write:
        write(ROOT / "docs" / "benchmarks.md", rendered)
    return 1 if any(section.void for section, _ in done) else 0


if __name__ == "__main__":
    sys.exit(main())
