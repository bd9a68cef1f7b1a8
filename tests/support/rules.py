"""Loads the shipped rules for tests, once."""

import datetime as dt
from decimal import Decimal
from functools import cache

from schemas.values import Moment, Quantity
from services.therapies import thresholds as files
from services.therapies.evidence import Observation, Thresholds
from services.therapies.registry import keys_of

NEW_YORK = "America/New_York"


@cache
def rules(name: str) -> Thresholds:
    """The newest shipped revision of a programme or common rule set."""
    known = keys_of(name)
    assert known is not None
    return files.load_all(name, known, production=False)[-1]


def q(text: str) -> Quantity:
    """``"82.0 kg"`` as a quantity."""
    return Quantity.parse(text)


def utc(text: str) -> dt.datetime:
    """An ISO time as a UTC instant; without an offset it is read as UTC."""
    at = dt.datetime.fromisoformat(text)
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)


def local(text: str, zone: str = NEW_YORK) -> dt.datetime:
    """A wall-clock time in a zone as a UTC instant."""
    return wall(text, zone).at


def wall(text: str, zone: str = NEW_YORK) -> Moment:
    """A wall-clock time in a zone as a moment."""
    from zoneinfo import ZoneInfo

    return Moment(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)), zone)


def seen(text: str, at: dt.datetime) -> Observation:
    """An observation."""
    return Observation(q(text), at)


def d(text: str) -> Decimal:
    """A decimal."""
    return Decimal(text)
