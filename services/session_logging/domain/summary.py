"""What the form of a monitored session asks for, found in its log: pressures before and after, sedation, dissociation. Pure."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from schemas.values import Quantity
from services.session_logging.domain.alarms import Sample
from services.session_logging.domain.sessions import Entry, Kind, Session
from services.therapies.evidence import Thresholds

__all__ = ["Spell", "Summary", "summary"]


@dataclass(frozen=True, slots=True)
class Spell:
    """Something that set in and went away again.

    Attributes:
        seen: whether it did; None if nobody has looked since the start.
        onset: when it was first seen.
        over: when it was first seen to be gone for good; None while it was not.
        worst: the score that was worst.
    """

    seen: bool | None
    onset: dt.datetime | None = None
    over: dt.datetime | None = None
    worst: int | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """The fields of the SPRAVATO REMS monitoring form, as a model: nobody asks for that form with ketamine.

    Attributes:
        monitored: from the start to the end of the session; None while it is not over.
        before, at_end, leaving: last pressure before the start, of the infusion, and of the session; None if there is none.
        highest: highest systolic pressure from the start on, with the diastolic of the same set.
        sedation: MOAA/S at or below what keeps a session from starting.
        dissociation: CADSS-6 above what a discharge allows.
        lowest_spo2: typed or of the monitor, in percent, from the start on.
    """

    monitored: dt.timedelta | None
    before: str | None
    at_end: str | None
    leaving: str | None
    highest: str | None
    sedation: Spell
    dissociation: Spell
    lowest_spo2: str | None


def summary(session: Session, entries: Sequence[Entry], samples: Sequence[Sample], rules: Thresholds) -> Summary | None:
    """What a session comes to; None before the start."""
    start = session.started_at
    if start is None:
        return None
    sets = sorted((one for one in entries if one.kind == Kind.VITALS), key=lambda one: (one.at, one.recorded_at))
    since = [one for one in sets if one.at >= start]
    ended = session.ended_at
    saturations = [Quantity.parse(one.data["spo2"]).value for one in since if one.data.get("spo2")]
    saturations += [Decimal(one.spo2) for one in samples if one.spo2 is not None and one.at >= start]
    with_sbp = [one for one in since if one.data.get("sbp")]
    return Summary(
        monitored=session.closed_at - start if session.closed_at else None,
        before=_last(one for one in sets if one.at < start),
        at_end=_last(one for one in since if ended is not None and one.at <= ended),
        leaving=_last(one for one in since if ended is not None and one.at > ended),
        highest=_pressure(max(with_sbp, key=lambda one: Quantity.parse(one.data["sbp"]).value)) if with_sbp else None,
        sedation=_spell(since, "moaa_s", lambda score: rules["start.moaa_s"].met_by(score), min),
        dissociation=_spell(since, "cadss6", lambda score: not rules["discharge.cadss6"].met_by(score), max),
        lowest_spo2=f"{min(saturations):f} %" if saturations else None,
    )


def _last(sets: Iterable[Entry]) -> str | None:
    found = [one for one in sets if one.data.get("sbp") or one.data.get("dbp")]
    return _pressure(found[-1]) if found else None


def _pressure(entry: Entry) -> str:
    def shown(name: str) -> str:
        return f"{Quantity.parse(entry.data[name]).value:f}" if entry.data.get(name) else "?"

    return f"{shown('sbp')}/{shown('dbp')} mm[Hg]"


def _spell(sets: Sequence[Entry], name: str, holds: Callable[[Quantity], bool], worst: Callable[[Iterable[int]], int]) -> Spell:
    scores = [(one.at, int(one.data[name])) for one in sets if one.data.get(name) is not None]
    held = [at for at, score in scores if holds(Quantity(Decimal(score), "{score}"))]
    if not held:
        return Spell(False if scores else None, worst=worst(score for _, score in scores) if scores else None)
    over = next((at for at, _ in scores if at > held[-1]), None)
    return Spell(True, held[0], over, worst(score for _, score in scores))
