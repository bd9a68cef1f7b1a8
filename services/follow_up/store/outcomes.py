"""SQL of scores, baselines and outcomes."""

from collections.abc import Collection, Mapping
from uuid import UUID

from services.follow_up.domain.outcomes import Baseline, Reviewed, Score, State
from services.runtime.database import Reader, Record
from services.runtime.messaging.changes import Append, Put

__all__ = ["baseline_row", "outcome_row", "outcomes", "risk_row", "score_row", "series", "states"]


async def states(read: Reader, patients: Collection[UUID]) -> Mapping[UUID, State]:
    """What is known of patients' outcomes; every patient that was asked for is there."""
    wanted = list(patients)
    scores: dict[UUID, list[Score]] = {patient: [] for patient in wanted}
    for row in await read.fetch(
        "select patient, assessment, instrument, total, at from score where patient = any($1) order by at, assessment", wanted
    ):
        scores[row["patient"]].append(Score(row["assessment"], row["instrument"], row["total"], row["at"]))
    baselines: dict[UUID, dict[str, Baseline]] = {patient: {} for patient in wanted}
    for row in await read.fetch(
        "select patient, instrument, total, assessment, at from baseline where patient = any($1)", wanted
    ):
        base = Baseline(row["instrument"], row["total"], row["assessment"], row["at"])
        baselines[row["patient"]][row["instrument"]] = base
    infusions: dict[UUID, list[object]] = {patient: [] for patient in wanted}
    for row in await read.fetch(
        """select patient, started_at from session_fact where patient = any($1) and started_at is not null
           order by started_at""",
        wanted,
    ):
        infusions[row["patient"]].append(row["started_at"])
    return {
        patient: State(tuple(scores[patient]), baselines[patient], tuple(infusions[patient]))  # type: ignore[arg-type]
        for patient in wanted
    }


def score_row(patient: UUID, score: Score, suicide_item: int | None, owner: str) -> Put:
    """What is kept of a score."""
    values = {
        "patient": patient,
        "instrument": score.instrument,
        "total": score.total,
        "suicide_item": suicide_item,
        "at": score.at,
        "owner": owner,
    }
    return Put("score", {"assessment": score.assessment}, values)


def risk_row(assessment: UUID, values: Mapping[str, object]) -> Put:
    """What is kept of a level of suicide risk."""
    return Put("risk_point", {"assessment": assessment}, values)


def baseline_row(patient: UUID, wanted: Baseline) -> Append:
    """A baseline, frozen."""
    values = {
        "patient": patient,
        "instrument": wanted.instrument,
        "total": wanted.total,
        "assessment": wanted.assessment,
        "at": wanted.at,
    }
    return Append("baseline", values)


def outcome_row(patient: UUID, wanted: Reviewed) -> Put:
    """A comparison."""
    values = {
        "patient": patient,
        "instrument": wanted.score.instrument,
        "baseline": wanted.baseline.total,
        "total": wanted.score.total,
        "change": wanted.shown,
        "response": wanted.response,
        "remission": wanted.remission,
        "relapse": wanted.relapse,
        "criteria": list(wanted.criteria),
        "rules": list(wanted.evaluation.fired()),
        "revision": wanted.evaluation.revision,
        "at": wanted.score.at,
    }
    return Put("outcome", {"assessment": wanted.score.assessment}, values)


async def outcomes(read: Reader, patient: UUID) -> list[Record]:
    """Every comparison of a patient, oldest first."""
    return await read.fetch("select * from outcome where patient = $1 order by at, assessment", patient)


async def series(read: Reader, patient: UUID) -> list[Record]:
    """The four series about suicidality side by side, never merged into one number: series, value, at, owner."""
    return await read.fetch(
        """select 'C-SSRS' as series, level as value, at, owner from risk_point
           where patient = $1 and instrument like 'C-SSRS%'
           union all
           select case instrument when 'PHQ-9' then 'PHQ-9 item 9' when 'QIDS-SR16' then 'QIDS item 12'
                  else 'MADRS item 10' end, suicide_item::text, at, owner from score
           where patient = $1 and suicide_item is not null
           order by series, at""",
        patient,
    )
