"""Who is called for a page, in which order. Values only; ``paging`` climbs them."""

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["OPERATIONS", "PAGE_KIND", "Ladder", "Rung"]

PAGE_KIND = "runtime.page"
"""Kind of the timers that climb a ladder."""


@dataclass(frozen=True, slots=True)
class Rung:
    """Who is called next, and how long after the page was raised (clinic time)."""

    after: timedelta
    role: str
    channel: str = "email"


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs of one kind of page, climbed until someone acknowledges."""

    rungs: tuple[Rung, ...]


OPERATIONS = Ladder(tuple(Rung(timedelta(minutes=after), "operator") for after in (0, 5, 15, 30, 60)))
"""The ladder of pages that the runtime raises itself (forks, gaps, dead events) and of codes without a ladder."""
