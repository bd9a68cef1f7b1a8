"""Does it help: scores against the frozen baseline. Proposes what a prescriber should look at; decides nothing. Pure."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

from schemas.values import Moment
from services.therapies.evidence import Evaluation, Thresholds
from services.therapies.instruments import Change, change, relapsed
from services.therapies.ketamine.outcomes import OutcomeCase, Scored, baseline_of, response_review

__all__ = ["INSTRUMENTS", "Baseline", "Reviewed", "Score", "State", "frozen", "review"]

INSTRUMENTS: Mapping[str, str] = {"PHQ-9": "phq9", "GAD-7": "gad7", "QIDS-SR16": "qids_sr16", "MADRS": "madrs"}
"""Scales that are compared with a baseline: as events call them, and as the rules do."""


@dataclass(frozen=True, slots=True)
class Score:
    """A questionnaire that was scored, by any service."""

    assessment: UUID
    instrument: str
    total: int | None
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class Baseline:
    """The score that later ones are compared with."""

    instrument: str
    total: int
    assessment: UUID
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a patient's outcome.

    Attributes:
        infusions: when they began, oldest first.
    """

    scores: tuple[Score, ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    infusions: tuple[dt.datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A score that was compared.

    Attributes:
        asks: kinds of task that a human has to look at because of it.
    """

    score: Score
    baseline: Baseline
    shown: Decimal
    response: bool
    remission: bool
    relapse: bool
    criteria: tuple[str, ...]
    evaluation: Evaluation[Any]
    asks: tuple[str, ...]


def frozen(state: State, rules: Thresholds) -> dict[str, Baseline]:
    """Baselines that can be frozen now: of each scale without one, the last complete score before the first infusion."""
    if not state.infusions:
        return {}
    found = {}
    for instrument in INSTRUMENTS:
        if instrument in state.baselines:
            continue
        scored = tuple(Scored(one.instrument, one.total, one.at) for one in state.scores if one.total is not None)
        base = baseline_of(scored, instrument, state.infusions[0], rules)
        if base is not None:
            kept = next(one for one in state.scores if (one.instrument, one.total, one.at) == (instrument, base.total, base.at))
            found[instrument] = Baseline(instrument, base.total, kept.assessment, base.at)
    return found


def review(state: State, score: Score, at: Moment, scales: Thresholds, rules: Thresholds) -> Reviewed | None:
    """Compare a score with its baseline; None where there is nothing to compare.

    Args:
        state: with the score in it.
        score: the new one.
        at: now.
        scales: of ``instruments``.
        rules: of the therapy.
    """
    base = state.baselines.get(score.instrument)
    if base is None or score.total is None or not state.infusions or score.at < state.infusions[0]:
        return None
    key = INSTRUMENTS[score.instrument]
    found = change(key, base.total, score.total, scales)
    relapse = score.instrument == "PHQ-9" and _relapse(state, score, found, scales)
    infusions = sum(1 for one in state.infusions if one <= score.at)
    primary = score.instrument == "MADRS"
    case = OutcomeCase(
        at=at,
        changes={key: found},
        infusions=infusions if primary else 0,
        madrs_after=infusions if primary else None,
        relapse=relapse,
    )
    evaluation = response_review(case, rules)
    fired = evaluation.fired()
    asks = [kind for rule, kind in (("K-O-FUTILITY", "futility-review"), ("K-O-RELAPSE", "relapse-review")) if rule in fired]
    remission = tuple(f"remission.{_code(name)}" for name, met in found.remission.items() if met)
    criteria = ((f"response.{key}",) if found.response else ()) + remission
    return Reviewed(
        score,
        base,
        _shown(found),
        bool(found.response),
        bool(remission),
        relapse,
        criteria,
        evaluation,
        tuple(asks),
    )


def _relapse(state: State, score: Score, found: Change, scales: Thresholds) -> bool:
    assert score.total is not None  # noqa: S101 - the caller looked
    totals = [
        one.total
        for one in state.scores
        if one.instrument == score.instrument and one.total is not None and one.at >= state.infusions[0] and one.at <= score.at
    ]
    return relapsed(min(totals, default=score.total), score.total, bool(found.response), scales)


def _code(criterion: str) -> str:
    """The name of a criterion (``madrs<=10``) as a code: ``madrs-le-10``."""
    return criterion.replace("<=", "-le-").replace("<", "-lt-")


def _shown(found: Change) -> Decimal:
    """The fall in percent with two decimals, half up: for showing, never compared."""
    if found.baseline <= 0:
        return Decimal("0.00")
    exact = Decimal(found.fall * 100) / Decimal(found.baseline)
    return exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
