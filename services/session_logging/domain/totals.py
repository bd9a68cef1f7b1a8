"""What an infusion comes to: how much of the bag has run by rate and time, and curves that hide no extreme. Pure."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from schemas.values import Quantity
from services.session_logging.domain.alarms import Sample
from services.session_logging.domain.sessions import Entry, Kind

__all__ = ["Span", "by_rate", "thinned"]

_HOUR: Final = Decimal(3600)
_STEP: Final = Decimal("0.1")
_SIGNALS: Final[dict[str, Callable[[Sample], int | None]]] = {
    "heart_rate": lambda one: one.heart_rate,
    "resp_rate": lambda one: one.resp_rate,
    "spo2": lambda one: one.spo2,
}


def by_rate(entries: Sequence[Entry], until: dt.datetime) -> Quantity:
    """Volume of the bag that has run by then, from each rate and how long it held, to 0.1 mL.

    What the pump itself reports is another figure: whoever shows one shows both.
    """
    total, rate, since = Decimal(0), Decimal(0), None
    for entry in sorted(entries, key=lambda one: (one.at, one.recorded_at, one.id)):
        if entry.kind not in (Kind.START, Kind.RATE, Kind.PAUSE, Kind.RESUME, Kind.END) or entry.at > until:
            continue
        if since is not None:
            total += rate * _seconds(entry.at - since) / _HOUR
        stands = entry.kind in (Kind.PAUSE, Kind.END)
        rate = Decimal(0) if stands else Quantity.parse(entry.data["rate"]).to("mL/h").value
        since = entry.at
    if since is not None:
        total += rate * _seconds(until - since) / _HOUR
    return Quantity(total.quantize(_STEP, ROUND_HALF_UP), "mL")


def _seconds(span: dt.timedelta) -> Decimal:
    return Decimal(span // dt.timedelta(microseconds=1)) / Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a curve: its lowest and its highest value, and how many samples it stands for."""

    from_at: dt.datetime
    to_at: dt.datetime
    low: int
    high: int
    samples: int


def thinned(samples: Sequence[Sample], spans: int) -> dict[str, list[Span]]:
    """Curves of each signal with at most so many spans: a spike of one second stays as high as it was.

    A gap stays one: what was not measured makes no span.
    """
    found: dict[str, list[Span]] = {}
    for name, value_of in _SIGNALS.items():
        points = sorted((one.at, value) for one in samples if (value := value_of(one)) is not None)
        size = max(1, -(-len(points) // spans))
        found[name] = [_span(points[place : place + size]) for place in range(0, len(points), size)]
    return found


def _span(points: Sequence[tuple[dt.datetime, int]]) -> Span:
    values = [value for _, value in points]
    return Span(points[0][0], points[-1][0], min(values), max(values), len(points))
