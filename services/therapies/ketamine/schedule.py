"""Calendars: induction, maintenance, and the two rules every series of infusions keeps (gap and cap)."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.values import Moment
from services.therapies.calendar import breaks_cap, breaks_gap, resolve
from services.therapies.evidence import Assessment, Evaluation, Outcome, Problem, Rejected, Thresholds
from services.therapies.ketamine.dosing import Basis, DosePlan, check_plan

__all__ = [
    "MaintenanceCase",
    "PlanCase",
    "ScheduleCase",
    "SeriesCase",
    "check_series",
    "maintenance",
    "plan",
    "schedule",
    "series",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleCase:
    """A series to propose.

    Attributes:
        at: when it is asked for; its zone is the clinic's.
        first: local date of the first infusion.
        time: wall-clock time of every infusion, in the clinic's zone.
        weekdays: ISO weekdays (Monday 1) on which infusions may be; two or three of them.
        count: how many; None is a whole induction.
        earlier: starts that already happened or are booked.
    """

    at: Moment
    first: dt.date
    time: dt.time
    weekdays: tuple[int, ...]
    count: int | None = None
    earlier: tuple[Moment, ...] = ()


def check_series(starts: Sequence[Moment], zone: str, rules: Thresholds) -> tuple[Problem, ...]:
    """Whether a series keeps the minimum gap (elapsed, start to start) and the cap in any window of local dates of the
    clinic.
    """
    problems = []
    gap = breaks_gap(starts, rules["gap"].elapsed)
    if gap is not None:
        problems.append(Problem("gap", f"starts[{gap}]", f"less than {rules['gap'].quantity} after the one before"))
    cap = breaks_cap(starts, zone, rules["cap"].count, rules["cap.window"].elapsed.days)
    if cap is not None:
        message = f"more than {rules['cap'].count} in {rules['cap.window'].elapsed.days} consecutive dates"
        problems.append(Problem("cap", f"starts[{cap}]", message))
    return tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesCase:
    """Starts that somebody wants, each chosen by hand; ``earlier`` are those that already happened."""

    at: Moment
    starts: tuple[Moment, ...]
    earlier: tuple[Moment, ...] = ()


def series(case: SeriesCase, rules: Thresholds) -> Evaluation[tuple[Moment, ...]] | Rejected:
    """Accept chosen starts, in time order, or name each that is past or breaks the gap or the cap."""
    problems = [
        Problem("in-the-past", f"starts[{i}]", "has passed") for i, start in enumerate(case.starts) if start.at < case.at.at
    ]
    if problems := [*problems, *check_series([*case.earlier, *case.starts], case.at.zone, rules)]:
        return Rejected(tuple(problems))
    e = Assessment("ketamine.series", rules, case.at.at)
    for i, start in enumerate(case.starts):
        e.look(f"starts[{i}]", "start", start.at)
    return e.close(Outcome.PROPOSED, tuple(sorted(case.starts)))


def schedule(case: ScheduleCase, rules: Thresholds) -> Evaluation[tuple[Moment, ...]] | Rejected:
    """Propose an induction (or any series on fixed weekdays): the next allowed weekday each time, at the same
    wall-clock time.

    A date that would break the gap or the cap with what is already there is skipped, never squeezed in.
    """
    allowed = {rules["induction.per_week"].count, rules["induction.per_week.alternative"].count}
    problems = []
    if len(set(case.weekdays)) not in allowed or not set(case.weekdays) <= set(range(1, 8)):
        problems.append(Problem("invalid", "weekdays", f"must be {sorted(allowed)} different ISO weekdays"))
    count = rules["induction.infusions"].count if case.count is None else case.count
    if not 0 < count <= _MOST:
        problems.append(Problem("invalid", "count", f"must be 1 to {_MOST}"))
    if case.first < case.at.date:
        problems.append(Problem("invalid", "first", "is in the past"))
    if problems:
        return Rejected(tuple(problems))
    e = Assessment("ketamine.schedule", rules, case.at.at)
    for name in ("first", "time", "weekdays"):
        e.look(name, getattr(case, name))
    starts: list[Moment] = []
    day = case.first
    last = case.first + dt.timedelta(weeks=2 * _MOST)
    while len(starts) < count and day <= last:
        candidate = resolve(day, case.time, case.at.zone)
        fits = day.isoweekday() in case.weekdays and candidate > case.at
        if fits and not check_series([*case.earlier, *starts, candidate], case.at.zone, rules):
            starts.append(candidate)
        day += dt.timedelta(days=1)
    if len(starts) < count:
        return Rejected.one(
            "no-room", "weekdays", "no series fits: the earlier starts break the gap or the cap among themselves"
        )
    return e.close(Outcome.PROPOSED, tuple(starts))


_MOST = 52  # a bound on the loop, not a clinical number


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceCase:
    """What the next maintenance infusion follows from.

    ``stage`` counts from 1: the weekly infusions first, then longer intervals; ``responded`` is the prescriber's
        judgement after induction.
    """

    at: Moment
    last: Moment
    time: dt.time
    responded: bool | None
    interval_weeks: int
    weekly_given: int


def maintenance(case: MaintenanceCase, rules: Thresholds) -> Evaluation[Moment] | Rejected:
    """Propose the date of the next maintenance infusion, for responders only: weekly first, then 2, 3 or 4 weeks apart.

    The interval is the prescriber's choice among the signed ones; a longer one than weekly only after the weekly
    infusions.
    """
    intervals = {t.count for t in rules.under("maintenance.interval").values()}
    if case.interval_weeks not in intervals:
        return Rejected.one("invalid", "interval_weeks", f"must be one of {sorted(intervals)}")
    if case.interval_weeks > min(intervals) and case.weekly_given < rules["maintenance.weekly"].count:
        return Rejected.one("invalid", "interval_weeks", f"the first {rules['maintenance.weekly'].count} are weekly")
    e = Assessment("ketamine.maintenance", rules, case.at.at)
    e.look("last", case.last.at, case.last.at)
    e.look("responded", case.responded)
    if case.responded is None:
        e.lack("responded", "maintenance is for responders")
    if not case.responded:
        return e.close(Outcome.HOLD)
    e.fire("K-D-MAINTENANCE")
    day = case.last.date + dt.timedelta(weeks=case.interval_weeks)
    return e.close(Outcome.PROPOSED, resolve(day, case.time, case.last.zone))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCase:
    """What a treatment plan is proposed from.

    Attributes:
        eligibility: the proposed outcome that a human has signed, and until when (local date) it may be used.
        in_person_evaluation: when the prescriber saw the patient in person; without it no ketamine plan is approved.
        plan: the dose plan to check; None asks for the usual one.
    """

    at: Moment
    eligibility: Outcome | None
    eligibility_signed: bool | None
    eligibility_valid_until: dt.date | None
    in_person_evaluation: dt.datetime | None
    consent_current: bool | None
    plan: DosePlan | None = None


def plan(case: PlanCase, rules: Thresholds) -> Evaluation[DosePlan] | Rejected:
    """Propose a dose plan for signature: REVIEW until everything it rests on is there, never for a patient who is
    INELIGIBLE.
    """
    dose_plan = case.plan or DosePlan(
        dose=rules["dose.usual.low"].quantity, basis=Basis.ACTUAL, duration=rules["duration.minimum"].quantity
    )
    problems = check_plan(dose_plan, rules)
    if case.eligibility is Outcome.INELIGIBLE:
        problems += (Problem("ineligible", "eligibility", "an ineligible patient gets no plan"),)
    if problems:
        return Rejected(problems)
    e = Assessment("ketamine.plan", rules, case.at.at)
    for name in (
        "eligibility",
        "eligibility_signed",
        "eligibility_valid_until",
        "in_person_evaluation",
        "consent_current",
    ):
        e.look(name, getattr(case, name))
    if case.eligibility in (None, Outcome.INCOMPLETE):
        e.lack("eligibility", "a complete eligibility evaluation")
    if case.eligibility_signed is not True:
        e.lack("eligibility_signed", "a human has to sign the eligibility decision")
    if case.eligibility_valid_until is None or case.eligibility_valid_until < case.at.date:
        e.lack("eligibility_valid_until", "the eligibility decision has expired or has no date", "stale")
    if case.in_person_evaluation is None or case.in_person_evaluation > case.at.at:
        e.lack("in_person_evaluation", "the prescriber sees the patient in person before the plan is approved")
    if case.consent_current is not True:
        e.lack("consent_current", "current consent")
    return e.close(Outcome.REVIEW if e.absent else Outcome.PROPOSED, dose_plan)
