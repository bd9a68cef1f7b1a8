"""Does it help: change on each scale with its criterion, the futility question, and the relapse flag."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from schemas.values import Moment
from services.therapies.evidence import Assessment, Evaluation, Outcome, Thresholds
from services.therapies.instruments import Change

__all__ = ["OutcomeCase", "Scored", "SuicidalityPoint", "baseline_of", "response_review"]


@dataclass(frozen=True, slots=True)
class Scored:
    """A complete score of one instrument and when it was answered."""

    instrument: str
    total: int
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class SuicidalityPoint:
    """One value of one of the four suicidality series, side by side, never merged into one number."""

    series: str
    value: str
    at: dt.datetime


def baseline_of(scores: tuple[Scored, ...], instrument: str, first_infusion: dt.datetime, rules: Thresholds) -> Scored | None:
    """The last complete score at or before the first infusion, not older than the signed limit; None when there is
    none.
    """
    limit = rules["baseline.age"].elapsed
    before = [s for s in scores if s.instrument == instrument and dt.timedelta(0) <= first_infusion - s.at <= limit]
    return max(before, key=lambda s: s.at, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCase:
    """What is known at a review.

    Attributes:
        changes: of each instrument against its frozen baseline (``instruments.change``), by instrument name.
        infusions: given so far.
        madrs_after: number of infusions given when the current MADRS was rated.
        relapse: the PHQ-9 has risen by an important change from its best and response is lost
            (``instruments.relapsed``).
        suicidality: the four series, newest last.
    """

    at: Moment
    changes: Mapping[str, Change]
    infusions: int
    madrs_after: int | None = None
    relapse: bool | None = None
    suicidality: tuple[SuicidalityPoint, ...] = ()


def response_review(case: OutcomeCase, rules: Thresholds) -> Evaluation[Mapping[str, Change]]:
    """Propose what a prescriber should look at. MADRS is primary; each instrument keeps its own criterion.

    The futility question is asked after the fourth infusion and after the sixth, never answered here.
    """
    e = Assessment("ketamine.response", rules, case.at.at)
    e.look("infusions", case.infusions)
    for point in case.suicidality:
        e.look(f"{point.series} {point.at.astimezone(dt.UTC).isoformat()}", point.value, point.at)
    for name, change in sorted(case.changes.items()):
        entry = e.look(name, f"{change.baseline} to {change.current}")
        if change.response:
            e.fire("K-O-RESPONSE", entry, detail=f"{name} {change.percent} %")
        for criterion, met in change.remission.items():
            if met:
                e.fire("K-O-REMISSION", entry, detail=criterion)
    asked = case.infusions in (rules["futility.first"].count, rules["futility.second"].count)
    if asked:
        madrs = case.changes.get("madrs")
        if madrs is None or case.madrs_after != case.infusions or madrs.baseline <= 0:
            e.lack("madrs", f"rated by a clinician after infusion {case.infusions}")
        elif rules["futility.improvement"].met_by_percent(Decimal(madrs.fall), Decimal(madrs.baseline)):
            e.fire("K-O-FUTILITY", e.inputs["madrs"], detail=f"{madrs.percent} % after {case.infusions}")
    if case.relapse:
        e.fire("K-O-RELAPSE", e.look("relapse", case.relapse))
    review = any(finding.outcome is Outcome.REVIEW for finding in e.findings) or e.absent
    return e.close(Outcome.REVIEW if review else Outcome.ROUTINE, case.changes)
