"""From a wall-clock rule to an instant. Pure: the zone data of the process is the only thing it leans on."""

import importlib.metadata
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

__all__ = ["LocalRule", "due_at", "tzdata_version"]


@dataclass(frozen=True, slots=True)
class LocalRule:
    """A wall-clock time in an IANA zone: what a person means by "nine in the morning".

    Attributes:
        local: naive local date and time.
        zone: IANA name, e.g. ``America/New_York``.
    """

    local: datetime
    zone: str

    def __post_init__(self) -> None:
        if self.local.tzinfo is not None:
            raise ValueError("a wall-clock time carries no offset; its zone is given apart")


def due_at(rule: LocalRule) -> datetime:
    """The instant (UTC) of a wall-clock rule.

    A time that a clock change skips is moved forward by the length of the change (02:30 -> 03:30); of a time that comes
    twice, the first is meant.
    """
    # fold=0 takes the first of a repeated time, and in a gap applies the offset from before it (PEP 495), which is
    # exactly "moved forward by the length of the change".
    return rule.local.replace(tzinfo=ZoneInfo(rule.zone), fold=0).astimezone(UTC)


def tzdata_version() -> str:
    """Version of the time-zone rules this process uses; a change makes every waiting wall-clock timer be derived anew."""
    return importlib.metadata.version("tzdata")
