"""What the form of a monitored session asks for, found in its log: pressures before and after, sedation, dissociation. Pure."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from schemas.values import Quantity
from services.session_logging.domain.alarms import Raised, Sample
from services.session_logging.domain.sessions import Entry, Kind, Session, SessionEnding, facts_of
from services.therapies.evidence import Thresholds
from services.therapies.ketamine.gates import SIGNALS

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
        at_40: pressure 40 minutes after the start, as near as the signed cadence has it measured; None if there is none.
        first: whether it was the patient's first session.
        breathing: whether breaths were so few that an alert was raised; None if nobody has counted them.
        acceptable_before: whether no vital sign before the start had to be overridden.
        acceptable_leaving: whether they were when somebody has signed the discharge; None if nobody has.
        ready_at: when the patient would have been ready to leave but for the minimum time; None if nobody has said.
        concomitant: of sedatives, opioids, stimulants and MAO inhibitors those that the patient takes; None: nobody asked.
    """

    monitored: dt.timedelta | None
    before: str | None
    at_end: str | None
    leaving: str | None
    highest: str | None
    sedation: Spell
    dissociation: Spell
    lowest_spo2: str | None
    at_40: str | None = None
    first: bool = True
    breathing: bool | None = None
    acceptable_before: bool = True
    acceptable_leaving: bool | None = None
    ready_at: dt.datetime | None = None
    concomitant: Sequence[str] | None = None


_FORM = dt.timedelta(minutes=40)
"""When the form asks for a pressure."""


def summary(
    session: Session, entries: Sequence[Entry], samples: Sequence[Sample], alerts: Sequence[Raised], rules: Thresholds
) -> Summary | None:
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
    near = rules["cadence.bp.infusion"].elapsed / 2
    at_40 = [one for one in since if (one.data.get("sbp") or one.data.get("dbp")) and abs(one.at - start - _FORM) <= near]
    counted = any(one.data.get("resp_rate") for one in since) or any(one.resp_rate is not None for one in samples)
    overridden = {one.data["rule"] for one in entries if one.kind == Kind.OVERRIDE and one.at <= start}
    facts = facts_of(entries)
    ready_at = facts["ready_at"][0] if "ready_at" in facts else None
    return Summary(
        monitored=session.closed_at - start if session.closed_at else None,
        before=_last(one for one in sets if one.at < start),
        at_end=_last(one for one in since if ended is not None and one.at <= ended),
        leaving=_last(one for one in since if ended is not None and one.at > ended),
        highest=_pressure(max(with_sbp, key=lambda one: Quantity.parse(one.data["sbp"]).value)) if with_sbp else None,
        sedation=_spell(since, "moaa_s", lambda score: rules["start.moaa_s"].met_by(score), min),
        dissociation=_spell(since, "cadss6", lambda score: not rules["discharge.cadss6"].met_by(score), max),
        lowest_spo2=f"{min(saturations):f} %" if saturations else None,
        at_40=_pressure(min(at_40, key=lambda one: abs(one.at - start - _FORM))) if at_40 else None,
        first=session.ordinal == 1,
        breathing=any(one.family == "resp_rate_low" for one in alerts) if counted else None,
        acceptable_before=not overridden & set(SIGNALS.values()),
        acceptable_leaving=True if session.ending in _SIGNED else None,
        ready_at=dt.datetime.fromisoformat(ready_at) if ready_at else None,
        concomitant=facts["concomitant"][0] if "concomitant" in facts else None,
    )


_SIGNED = (SessionEnding.COMPLETED.value, SessionEnding.ABORTED.value)
"""Endings, after a start, by a discharge whose gate was open."""


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
