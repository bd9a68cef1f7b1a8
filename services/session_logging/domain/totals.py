"""What an infusion comes to, by its rates and by its pump, and curves that hide no extreme. Pure."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from schemas.values import Quantity
from services.session_logging.domain.alarms import Sample
from services.session_logging.domain.drug import Drawn, given_volume
from services.session_logging.domain.sessions import Entry, Kind, Session
from services.therapies.evidence import Thresholds
from services.therapies.ketamine.records import pump_disagrees

__all__ = ["AGREES", "DIFFERS", "UNKNOWN", "Span", "Totals", "by_rate", "end_reason", "given", "thinned", "totals"]

AGREES, DIFFERS, UNKNOWN = "agrees", "differs", "unknown"
_HOUR: Final = Decimal(3600)
_STEP: Final = Decimal("0.1")
_PER_KG: Final = Decimal("0.001")
_SIGNALS: Final[dict[str, Callable[[Sample], int | None]]] = {
    "heart_rate": lambda one: one.heart_rate,
    "resp_rate": lambda one: one.resp_rate,
    "spo2": lambda one: one.spo2,
}


@dataclass(frozen=True, slots=True)
class Totals:
    """What an infusion has come to, by two ways that know nothing of each other: texts with units.

    Attributes:
        by_rate: volume of the bag by each rate and how long it held; never more than the bag holds.
        by_rate_mass: drug in it.
        pump_volume: what the pump says it has delivered; None while nobody has read it.
        given: drug in that: what counts as received.
        given_per_kg: of the weight that the dose was calculated on.
        pump: whether the two agree within what is signed; ``unknown`` while the pump was not read, which is no agreement.
    """

    by_rate: str
    by_rate_mass: str | None
    pump_volume: str | None
    given: str | None
    given_per_kg: str | None
    pump: str


def totals(
    session: Session, entries: Sequence[Entry], drawn: Drawn | None, until: dt.datetime, rules: Thresholds
) -> Totals | None:
    """What has run by then; None before the start."""
    if session.started_at is None or session.dose is None:
        return None
    bag = Quantity.parse(session.dose["bag"])
    ran = min(by_rate(entries, until), bag, key=lambda one: one.value)
    pump = Quantity.parse(session.pump_volume) if session.pump_volume else None
    received = given(drawn, pump, rules)
    per_kg = None
    if received is not None:
        weight = Quantity.parse(session.dose["dosing_weight"]).to("kg").value
        per_kg = f"{(received.value / weight).quantize(_PER_KG, ROUND_HALF_UP):f} mg/kg"
    agreement = UNKNOWN if pump is None else DIFFERS if pump_disagrees(pump, ran, bag, rules) else AGREES
    ran_mass = given(drawn, ran, rules)
    return Totals(
        by_rate=str(ran),
        by_rate_mass=str(ran_mass) if ran_mass else None,
        pump_volume=session.pump_volume,
        given=str(received) if received else None,
        given_per_kg=per_kg,
        pump=agreement,
    )


def given(drawn: Drawn | None, volume: Quantity | None, rules: Thresholds) -> Quantity | None:
    """Drug in a volume of the bag, in mg, as the ledger counts it; None while the volume is not known or nothing was drawn."""
    if drawn is None or volume is None:
        return None
    stock = given_volume(drawn, volume, rules)
    return Quantity(stock.to("mL").value * Quantity.parse(drawn.strength).to("mg/mL").value, "mg")


def end_reason(said: str, session: Session) -> str:
    """Why an infusion ended: ``complete`` if the pump has delivered the whole bag, or as much of it as a later version of the
    plan orders, as far as that is known now; who has stopped it for another reason keeps that one.
    """
    if said not in ("complete", "stopped"):
        return said
    if session.pump_volume is None or session.dose is None:
        return "stopped"
    ordered = Quantity.parse(session.dose.get("to_give", session.dose["bag"]))
    return "complete" if Quantity.parse(session.pump_volume) >= ordered else "stopped"


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
    """Curves of each signal with at most so many spans of one length: a spike of one second stays as high as it was.

    A stretch in which nothing was measured makes no span, so a gap longer than a span stays one.
    """
    times = [one.at for one in samples]
    first = min(times, default=None)
    if first is None:
        return {name: [] for name in _SIGNALS}
    # The last instant lies inside the last span.
    length = (max(times) - first) / spans + dt.timedelta(microseconds=1)
    found: dict[str, list[Span]] = {}
    for name, value_of in _SIGNALS.items():
        held: dict[int, list[tuple[dt.datetime, int]]] = {}
        for one in samples:
            if (value := value_of(one)) is not None:
                held.setdefault((one.at - first) // length, []).append((one.at, value))
        found[name] = [_span(held[place]) for place in sorted(held)]
    return found


def _span(points: Sequence[tuple[dt.datetime, int]]) -> Span:
    times, values = [at for at, _ in points], [value for _, value in points]
    return Span(min(times), max(times), min(values), max(values), len(points))
