"""What a bench hands back, and how it is shown: Markdown, printed and (with ``--write``) kept in ``docs/benchmarks.md``."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

__all__ = ["Goal", "Section", "Table", "machine", "render", "write"]

_HEAD = """# Benchmarks

Written by `python -m benchmarks --write`; each section by its own run, so compare inside one section only. Contenders run side
by side in one run: shuffled in every round, the first round thrown away; values are medians over the rounds (minimum-maximum).
Ratios are taken round by round. A round is void on any error and when the rows or records that it left behind are not exactly
those that were asked for. Broker, PostgreSQL (default durability), load and contender share the machine named.
"""


@dataclass(frozen=True, slots=True)
class Goal:
    """What was to be reached, and what was.

    Attributes:
        cause: why it was missed, as far as known; shown only then.
    """

    text: str
    measured: str
    reached: bool
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(slots=True)
class Section:
    """One bench's part of the report.

    Attributes:
        how: what was measured and how, in a sentence or three.
        void: what spoilt rounds that are left out.
    """

    name: str
    title: str
    how: str
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)


def machine(versions: Sequence[str] = ()) -> str:
    """What it was measured on."""
    memory = psutil.virtual_memory().total / 2**30
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    facts = [
        f"{os.cpu_count()} cores",
        f"{memory:.0f} GiB",
        f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
        *versions,
    ]
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {', '.join(facts)}; load average afterwards {loads}"


def render(section: Section, facts: str, *, judged: bool = True) -> str:
    """The section as Markdown; its goals only when the numbers may be judged."""
    lines = [f"## {section.title}", "", facts, "", section.how, ""]
    for table in section.tables:
        if table.caption:
            lines += [table.caption, ""]
        lines += [_row(table.header), _row(["---"] * len(table.header)), *(_row(row) for row in table.rows), ""]
    if section.goals and judged:
        lines += [_row(["goal", "measured", ""]), _row(["---"] * 3)]
        lines += [_row([goal.text, goal.measured, _verdict(goal)]) for goal in section.goals]
        lines.append("")
    lines += [f"- {note}" for note in section.notes]
    lines += [f"- **void**: {text}" for text in section.void]
    return "\n".join(lines).rstrip() + "\n"


def write(path: Path, sections: Sequence[tuple[str, str]]) -> None:
    """Put rendered sections into the file, each in place of its earlier self; the others stay as they are."""
    text = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    for name, rendered in sections:
        block = f"<!-- bench:{name} -->\n{rendered}<!-- /bench:{name} -->\n"
        pattern = re.compile(rf"<!-- bench:{name} -->\n.*?<!-- /bench:{name} -->\n", re.DOTALL)
        found = pattern.search(text)
        text = text[: found.start()] + block + text[found.end() :] if found else f"{text}\n{block}"
    path.write_text(text, encoding="utf-8")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _verdict(goal: Goal) -> str:
    if goal.reached:
        return "reached"
    return f"**not reached**: {goal.cause or 'cause not known yet'}"
