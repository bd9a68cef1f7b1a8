"""May an infusion start, and may a paused one resume: every row named, and who may override what.

OPEN means only that nothing speaks against it: a nurse starts, under a prescriber. A fact that is missing, stale or
implausible holds.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from schemas.values import Moment, Quantity
from services.therapies.calendar import whole_years
from services.therapies.evidence import (
    GATE_PRECEDENCE,
    Assessment,
    Evaluation,
    Finding,
    Outcome,
    Threshold,
    Thresholds,
    is_stale,
)
from services.therapies.instruments import RiskLevel
from services.therapies.ketamine.schedule import check_series

__all__ = [
    "GRAVE",
    "OVERRIDDEN",
    "FrozenBaseline",
    "Override",
    "PrescriberDecision",
    "ResumeCase",
    "StartCase",
    "VitalsSet",
    "resume_gate",
    "start_gate",
    "too_many",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VitalsSet:
    """One set of vitals at a chair. None is not measured."""

    at: dt.datetime
    sbp: Quantity | None = None
    dbp: Quantity | None = None
    heart_rate: Quantity | None = None
    resp_rate: Quantity | None = None
    spo2: Quantity | None = None
    on_oxygen: bool | None = None
    moaa_s: int | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """An on-site prescriber's reasoned override of one rule, for what they saw then: it holds until that is said anew."""

    rule: str
    by: str
    role: str
    on_site: bool
    reason: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class PrescriberDecision:
    """A prescriber's recorded decision after looking at something: go on with today's start, or not."""

    by: str
    start: bool
    at: dt.datetime
    face_to_face: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCase:
    """Everything a start depends on, at the chair.

    Attributes:
        at: now, in the clinic's zone.
        consent_version, consent_current_version: signed and required; ``consent_reconfirmed_at`` is when it was
            confirmed aloud today.
        hcg: ``negative``, ``positive`` or ``refused``; ``hcg_at`` when it was read.
        nurse_infusing, nurse_total: patients infusing or paused, and with those in recovery, of the responsible nurse,
            this one included.
        last_solids, last_clear_fluids: when the patient last ate and drank.
        substances_at: last alcohol or cannabis; with ``substances`` False there was none.
        glp1_last: last GLP-1 dose from any source; with ``glp1`` False there was none within the signed days.
        cssrs: level of the newest since-last screen at this chair.
        risks: whatever else answers of today have come to, anybody's, each with when it became known here. A calmer answer
            that follows takes none of them back.
        changes_reported: what the patient named at check-in; None until asked.
        facts_as_of: by owning service, the instant up to which its facts are complete here.
        sets: all sets of this visit.
        earlier_starts: of this patient's infusions.
    """

    at: Moment
    identity_confirmed: bool | None = None
    consent_withdrawn: bool | None = None
    consent_version: str | None = None
    consent_current_version: str | None = None
    consent_reconfirmed_at: dt.datetime | None = None
    hcg_due: bool | None = None
    hcg: str | None = None
    hcg_at: dt.datetime | None = None
    eligibility: Outcome | None = None
    eligibility_signed: bool | None = None
    eligibility_valid_until: dt.date | None = None
    plan_signed_and_active: bool | None = None
    in_person_evaluation: bool | None = None
    prescriber_on_site: bool | None = None
    nurse_infusing: int | None = None
    nurse_total: int | None = None
    escort_named_and_phoned: bool | None = None
    pdmp_due: bool | None = None
    pdmp_checked_at: dt.datetime | None = None
    last_solids: dt.datetime | None = None
    last_clear_fluids: dt.datetime | None = None
    substances: bool | None = None
    substances_at: dt.datetime | None = None
    glp1: bool | None = None
    glp1_last: dt.datetime | None = None
    glp1_checklist_complete: bool | None = None
    gi_symptoms: bool | None = None
    cssrs: RiskLevel | None = None
    cssrs_at: dt.datetime | None = None
    risks: tuple[tuple[RiskLevel, dt.datetime], ...] = ()
    risk_decision: PrescriberDecision | None = None
    changes_reported: tuple[str, ...] | None = None
    changes_decision: PrescriberDecision | None = None
    review_before_next_session_open: bool | None = None
    other_session_open: bool | None = None
    monitor_linked: bool | None = None
    dose_settled: bool | None = None
    birth_date: dt.date | None = None
    cadss6: int | None = None
    facts_as_of: Mapping[str, dt.datetime] = field(default_factory=dict)
    sets: tuple[VitalsSet, ...] = ()
    earlier_starts: tuple[Moment, ...] = ()
    overrides: tuple[Override, ...] = ()


START_QUESTIONS: Final = frozenset(
    {
        "identity_confirmed",
        "consent_withdrawn",
        "plan_signed_and_active",
        "in_person_evaluation",
        "prescriber_on_site",
        "escort_named_and_phoned",
        "review_before_next_session_open",
        "other_session_open",
        "monitor_linked",
        "dose_settled",
    }
)
RULES: Final = frozenset(
    [
        "K-S-CONSENT",
        "K-S-HCG",
        "K-S-HCG-REFUSED",
        "K-S-ELIGIBILITY",
        "K-S-INELIGIBLE",
        "K-S-NURSE-LOAD",
        "K-S-PDMP",
        "K-S-FASTING",
        "K-S-SUBSTANCES",
        "K-S-GLP1",
        "K-S-GLP1-SYMPTOMS",
        "K-S-RISK",
        "K-S-RISK-NO",
        "K-S-CHECKIN",
        "K-S-SERIES",
        "K-S-SBP",
        "K-S-DBP",
        "K-S-HR",
        "K-S-SPO2",
        "K-S-RR",
        "K-S-MOAAS",
        "K-S-RECHECK",
        "K-S-THIRD-HOLD",
        "K-R-PAUSED",
        "K-R-VITALS",
        "K-R-RATE",
    ]
)
FACT_OWNERS: Final = ("consultation", "treatment_planning", "follow_up")
"""Services whose facts reach the chair by events: their watermark must be fresh. The day's own facts belong to the
session.
"""


@dataclass(frozen=True, slots=True)
class FrozenBaseline:
    """The set the gate passed on: later alerts and discharge compare with it, and with nothing newer."""

    at: dt.datetime
    vitals: VitalsSet
    cadss6: int | None


def start_gate(case: StartCase, rules: Thresholds) -> Evaluation[FrozenBaseline]:
    """Evaluate every start row; OPEN, HOLD or NO_START, with every reason, and the baseline that would be frozen.

    A valid override turns an overridable HOLD into a NOTE and stays visible; NO_START and missing facts cannot be
    overridden. One that does not count changes nothing, and says why among the inputs.
    """
    e = Assessment("ketamine.start_gate", rules, case.at.at)
    e.ask(case, "K-S-")
    _facts(case.facts_as_of, e)
    _consent(case, e)
    _pregnancy(case, e)
    _eligibility(case, e)
    _staff(case, e)
    _stomach(case, e)
    _risk(case, e)
    _series(case, e)
    _apply_overrides(case, e, _vitals(case, e))
    outcome = e.worst(GATE_PRECEDENCE, Outcome.HOLD)
    newest = _newest(case.sets)
    return e.close(outcome, FrozenBaseline(newest.at, newest, case.cadss6) if newest else None)


def _today(at: dt.datetime | None, case: StartCase) -> bool:
    return at is not None and at <= case.at.at and Moment(at, case.at.zone).date == case.at.date


def _facts(facts_as_of: Mapping[str, dt.datetime], e: Assessment) -> None:
    for owner in FACT_OWNERS:
        as_of = facts_as_of.get(owner)
        e.look(f"facts of {owner}", "as of" if as_of else None, as_of)
        if as_of is None:
            e.lack(f"facts_as_of.{owner}", "how current its facts are", "facts-stale")
        elif e.thresholds["start.facts_age"].reached(e.now - as_of):
            e.lack(f"facts_as_of.{owner}", "its facts are not current", "facts-stale")


def _consent(case: StartCase, e: Assessment) -> None:
    version = e.look("consent_version", case.consent_version)
    e.look("consent_reconfirmed_at", case.consent_reconfirmed_at)
    if case.consent_current_version is None:
        e.lack("consent_current_version", "which consent text is in force")
    if (
        case.consent_version is None
        or case.consent_version != case.consent_current_version
        or not _today(case.consent_reconfirmed_at, case)
    ):
        e.fire("K-S-CONSENT", version)


def _pregnancy(case: StartCase, e: Assessment) -> None:
    result = e.look("hcg", case.hcg, case.hcg_at)
    e.look("hcg_due", case.hcg_due)
    if case.hcg == "positive":
        e.fire("K-S-HCG", result)
    elif case.hcg_due is None:
        e.lack("hcg_due", "whether a pregnancy test is due")
    elif case.hcg_due and case.hcg == "refused":
        e.fire("K-S-HCG-REFUSED", result)
    elif case.hcg_due and not (case.hcg == "negative" and _today(case.hcg_at, case)):
        e.lack("hcg", "the pregnancy test due today")


def _eligibility(case: StartCase, e: Assessment) -> None:
    outcome = e.look("eligibility", case.eligibility)
    valid = e.look("eligibility_valid_until", case.eligibility_valid_until)
    signed = e.look("eligibility_signed", case.eligibility_signed)
    if case.eligibility is Outcome.INELIGIBLE:
        e.fire("K-S-INELIGIBLE", outcome)
    expired = case.eligibility_valid_until is None or case.eligibility_valid_until < case.at.date
    if case.eligibility in (None, Outcome.INCOMPLETE) or case.eligibility_signed is not True or expired:
        e.fire("K-S-ELIGIBILITY", outcome, signed, valid)


def too_many(infusing: int, total: int, rules: Thresholds) -> bool:
    """Whether a nurse has more patients than one may: infusing or paused, and with those in recovery (decision B4)."""
    counts = ((infusing, "start.per_nurse"), (total, "start.per_nurse.with_recovery"))
    return any(rules[limit].met_by(Quantity(Decimal(count), "1")) for count, limit in counts)


def _nurse(case: "StartCase | ResumeCase", e: Assessment) -> None:
    """Whether the responsible nurse has the hands for one more running pump; a resume asks for it like a start."""
    looked = [e.look(name, getattr(case, name)) for name in ("nurse_infusing", "nurse_total")]
    for name in ("nurse_infusing", "nurse_total"):
        if getattr(case, name) is None:
            e.lack(name, "patients of the responsible nurse")
    if too_many(case.nurse_infusing or 0, case.nurse_total or 0, e.thresholds):
        e.fire("K-S-NURSE-LOAD", *looked)


def _staff(case: StartCase, e: Assessment) -> None:
    _nurse(case, e)
    checked = e.look("pdmp_checked_at", case.pdmp_checked_at)
    e.look("pdmp_due", case.pdmp_due)
    if case.pdmp_due is None:
        e.lack("pdmp_due", "whether the prescription monitoring query is due")
    elif case.pdmp_due and not _today(case.pdmp_checked_at, case):
        e.fire("K-S-PDMP", checked)


def _stomach(case: StartCase, e: Assessment) -> None:
    now, limits = case.at.at, e.thresholds
    for name, limit in (("last_solids", "start.solids"), ("last_clear_fluids", "start.clear_fluids")):
        at = getattr(case, name)
        entry = e.look(name, "last" if at else None, at)
        if at is None:
            e.lack(name, "fasting")
        elif not limits[limit].reached(now - at):
            e.fire("K-S-FASTING", entry, detail=f"less than {limits[limit].quantity}")
    used = e.look("substances", case.substances, case.substances_at)
    if case.substances is None or (case.substances and case.substances_at is None):
        e.lack("substances", "alcohol or cannabis in the last two days, and when")
    elif case.substances_at is not None and limits["start.substances"].reached(now - case.substances_at):
        e.fire("K-S-SUBSTANCES", used)
    dose = e.look("glp1", case.glp1, case.glp1_last)
    if case.glp1 is None or (case.glp1 and case.glp1_last is None):
        e.lack("glp1", "GLP-1 agonist from any source, and when")
    elif case.glp1_last is not None and limits["start.glp1"].reached(now - case.glp1_last):
        symptoms = e.look("gi_symptoms", case.gi_symptoms)
        if case.gi_symptoms is None:
            e.lack("gi_symptoms", "gastrointestinal symptoms on a GLP-1 agonist")
        elif case.gi_symptoms:
            e.fire("K-S-GLP1-SYMPTOMS", symptoms, dose)
        if case.glp1_checklist_complete is not True:
            e.fire("K-S-GLP1", dose)


def _risk(case: StartCase, e: Assessment) -> None:
    found = [(case.cssrs, case.cssrs_at), *case.risks]
    looked = [e.look("cssrs", case.cssrs, case.cssrs_at)]
    looked += [e.look(f"risks[{i}]", level, at) for i, (level, at) in enumerate(case.risks)]
    if any(level is RiskLevel.INCOMPLETE for level, _ in found):
        e.lack("cssrs", "the suicide screen is not complete", "incomplete")
    elif case.cssrs is None or not _today(case.cssrs_at, case):
        e.lack("cssrs", "today's suicide screen")
    grave = [at for level, at in found if level in GRAVE]
    decided = case.risk_decision
    if grave and not (decided and decided.face_to_face and all(_answers(decided, at, case) for at in grave)):
        e.fire("K-S-RISK", *looked)
    elif decided is not None and not decided.start:
        e.fire("K-S-RISK-NO", *looked)
    changes = e.look("changes_reported", case.changes_reported)
    if case.changes_reported is None:
        e.lack("changes_reported", "what changed since the last visit")
    elif case.changes_reported and not (
        case.changes_decision and case.changes_decision.start and _today(case.changes_decision.at, case)
    ):
        e.fire("K-S-CHECKIN", changes, detail=", ".join(case.changes_reported))
    e.look("cadss6", case.cadss6)
    if case.cadss6 is None:
        e.lack("cadss6", "baseline dissociation")


def _answers(decided: PrescriberDecision, since: dt.datetime | None, case: StartCase) -> bool:
    return bool(decided.by) and since is not None and since <= decided.at <= case.at.at


def _series(case: StartCase, e: Assessment) -> None:
    problems = check_series([*case.earlier_starts, case.at], case.at.zone, e.thresholds)
    for i, start in enumerate(case.earlier_starts):
        e.look(f"earlier_starts[{i}]", "start", start.at)
    for problem in problems:
        e.fire("K-S-SERIES", detail=problem.message)


GRAVE: Final = (RiskLevel.HIGH, RiskLevel.MODERATE, RiskLevel.INCOMPLETE)
"""Levels that wait for a prescriber who sees the patient face to face."""

# signal -> rule
SIGNALS: Final = {
    "sbp": "K-S-SBP",
    "dbp": "K-S-DBP",
    "heart_rate": "K-S-HR",
    "spo2": "K-S-SPO2",
    "resp_rate": "K-S-RR",
}
OVERRIDDEN: Final[Mapping[str, tuple[str, ...]]] = {
    **{rule: (signal,) for signal, rule in SIGNALS.items()},
    "K-S-FASTING": ("last_solids", "last_clear_fluids"),
    "K-S-SUBSTANCES": ("substances", "substances_at"),
    "K-S-GLP1": ("glp1", "glp1_last", "glp1_checklist_complete"),
}
"""What a prescriber has looked at who overrides a rule. Once one of these is said or measured anew nobody has looked at it, and
the override counts no longer.
"""


def _start_band(signal: str, value: Quantity, case: StartCase, limits: Thresholds) -> Outcome:
    """OPEN, HOLD or NO_START for one value."""

    def met(key: str) -> bool:
        limit = limits.values.get(f"start.{signal}.{key}")
        return limit is not None and limit.met_by(value)

    if met("no_start") or met("low"):
        return Outcome.NO_START
    if met("pass") or (signal == "sbp" and _older(case, limits) and met("older.pass")):
        return Outcome.OPEN
    return Outcome.HOLD


def _older(case: StartCase, limits: Thresholds) -> bool:
    """Whether the age row applies: only when a signed file turns it on, and the age is known."""
    if limits["start.sbp.older.enabled"].count != 1 or case.birth_date is None:
        return False
    age = whole_years(case.birth_date, case.at.date)
    return limits["start.sbp.older.age"].met_by(Quantity(Decimal(age), "a"))


def _newest(sets: tuple[VitalsSet, ...]) -> VitalsSet | None:
    """The newest value of each signal; the time is that of the newest set."""
    ordered = sorted(sets, key=lambda s: s.at)
    if not ordered:
        return None
    merged = {
        name: next((getattr(s, name) for s in reversed(ordered) if getattr(s, name) is not None), None)
        for name in ("sbp", "dbp", "heart_rate", "resp_rate", "spo2", "on_oxygen", "moaa_s")
    }
    return VitalsSet(at=ordered[-1].at, **merged)


def _vitals(case: StartCase, e: Assessment) -> Mapping[str, dt.datetime]:
    """The newest value of each signal against its band, and the recheck rules.

    Returns:
        Rules whose hold was held again by its recheck, so that a prescriber may decide; each with the time of the value
        that they decide about.
    """
    limits = e.thresholds
    sets = sorted(case.sets, key=lambda s: s.at)
    for signal, rule in SIGNALS.items():
        measured = next(((s, getattr(s, signal)) for s in reversed(sets) if getattr(s, signal) is not None), None)
        value = _usable(signal, measured, e)
        if value is not None:
            band = _start_band(signal, value, case, limits)
            if band is not Outcome.OPEN:
                e.fire(rule, e.inputs[signal], detail=str(value), outcome=band)
    oxygen = next((s for s in reversed(sets) if s.spo2 is not None), None)
    if oxygen is not None and oxygen.on_oxygen is not False:
        e.lack("on_oxygen", "the saturation counts on room air only")
    newest = _newest(case.sets)
    if newest and newest.sbp is not None and newest.dbp is not None and newest.sbp <= newest.dbp:
        e.lack("sbp", "systolic is not above diastolic: measure again", "implausible")
    awake = next(((s, s.moaa_s) for s in reversed(sets) if s.moaa_s is not None), None)
    if awake is None or is_stale(awake[0].at, case.at.at, limits["start.vitals_age"]):
        e.lack("moaa_s", "sedation scale before the start")
    elif limits["start.moaa_s"].met_by(Quantity(Decimal(awake[1]), "{score}")):
        e.fire("K-S-MOAAS", e.look("moaa_s", awake[1], awake[0].at))
    return _rechecks(case, sets, e)


def _usable(signal: str, measured: tuple[VitalsSet, Quantity] | None, e: Assessment) -> Quantity | None:
    """The value to judge. A stale or implausible one is missing as well, yet is still judged: worse is never milder."""
    limits = e.thresholds
    e.look(signal, measured[1] if measured else None, measured[0].at if measured else None)
    if measured is None:
        e.lack(signal, "vitals before the start")
        return None
    taken, value = measured
    if is_stale(taken.at, e.now, limits["start.vitals_age"]):
        e.lack(signal, f"older than {limits['start.vitals_age'].quantity}", "stale")
    if any(limits[f"plausible.{signal}.{k}"].met_by(value) for k in ("low", "high")):
        e.lack(signal, f"{value} is not plausible: verify now", "implausible")
    return value


def _rechecks(case: StartCase, sets: list[VitalsSet], e: Assessment) -> Mapping[str, dt.datetime]:
    """Each signal that was held is measured again: not before five minutes are over, and a set without it is no recheck.

    The ten minutes of the rule say until when the nurse has to look. A recheck that comes later counts as well: the patient
    has rested for longer, and what it says may be no older than any other value before a start.
    """
    after: Threshold = e.thresholds["start.recheck.after"]
    today = [s for s in sets if Moment(s.at, case.at.zone).date == case.at.date]
    bands = [
        (s.at, signal, _start_band(signal, value, case, e.thresholds))
        for s in today
        for signal in SIGNALS
        if (value := getattr(s, signal)) is not None
    ]
    rechecked: dict[str, dt.datetime] = {}
    for signal, rule in SIGNALS.items():
        held: dt.datetime | None = None
        again, newest = False, None
        for at, _, band in (one for one in bands if one[1] == signal):
            newest = (at, band)
            due = held is not None and after.reached(at - held)
            if band is not Outcome.OPEN and (held is None or due):
                held, again = at, due
            elif band is Outcome.OPEN and due:
                held = None
        if held is None or newest is None:
            continue
        if newest[1] is Outcome.OPEN:
            e.fire("K-S-RECHECK", e.look(f"recheck of {signal}", "too early", newest[0]))
        elif again:
            rechecked[rule] = newest[0]
    holds: list[dt.datetime] = []
    for at in sorted({at for at, _, band in bands if band is not Outcome.OPEN}):
        if not holds or after.reached(at - holds[-1]):
            holds.append(at)
    if e.thresholds["start.holds"].met_by(Quantity(Decimal(len(holds)), "1")):
        e.fire("K-S-THIRD-HOLD", detail=f"{len(holds)} holds")
    return rechecked


def _apply_overrides(case: StartCase, e: Assessment, rechecked: Mapping[str, dt.datetime]) -> None:
    allowed = set(e.thresholds.lists["start.overridable"])
    for i, override in enumerate(case.overrides):
        held = [f for f in e.findings if f.rule == override.rule and f.outcome is Outcome.HOLD]
        why = _refuse_override(override, allowed, case, rechecked)
        said = f"{override.rule} by {override.by}: {override.reason}"
        e.look(f"overrides[{i}]", f"{said} (does not count: {why})" if why else said, override.at)
        for finding in () if why else held:
            reason = f"{finding.reason}; overridden by {override.by}: {override.reason}"
            e.findings[e.findings.index(finding)] = Finding(
                finding.rule, Outcome.NOTE, reason, finding.source, finding.inputs, finding.action
            )


def _refuse_override(override: Override, allowed: set[str], case: StartCase, rechecked: Mapping[str, dt.datetime]) -> str:
    if override.rule not in allowed or override.rule not in OVERRIDDEN:
        return f"{override.rule} can never be overridden"
    if override.role != "prescriber" or not override.on_site or not override.by:
        return "only the prescriber on site may override"
    if not override.reason.strip():
        return "an override needs a reason"
    if not _today(override.at, case):
        return "an override holds for today's start only"
    if override.rule in SIGNALS.values():
        seen = rechecked.get(override.rule)
        if seen is None or seen > override.at:
            return "vitals are rechecked before an override"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeCase:
    """What resuming a paused infusion depends on. ``rate`` is what is asked for, ``plan_rate`` what the plan says; the nurse's
    patients and the age of others' facts are as of a start.
    """

    at: Moment
    paused_at: dt.datetime
    prescriber_ordered: bool | None = None
    patient_agrees: bool | None = None
    consent_withdrawn: bool | None = None
    prescriber_on_site: bool | None = None
    plan_signed_and_active: bool | None = None
    stop_open: bool | None = None
    red_unanswered: bool | None = None
    vitals: VitalsSet | None = None
    rate: Quantity | None = None
    plan_rate: Quantity | None = None
    nurse_infusing: int | None = None
    nurse_total: int | None = None
    facts_as_of: Mapping[str, dt.datetime] = field(default_factory=dict)


RESUME_QUESTIONS: Final = frozenset(
    {
        "prescriber_ordered",
        "patient_agrees",
        "consent_withdrawn",
        "prescriber_on_site",
        "plan_signed_and_active",
        "stop_open",
        "red_unanswered",
    }
)


def resume_gate(case: ResumeCase, rules: Thresholds) -> Evaluation[None]:
    """Evaluate a resume: an order, agreement, nothing dangerous open, facts that are current, a nurse with the hands for it, a
    complete fresh set in band, and never above the plan's rate.
    """
    e = Assessment("ketamine.resume_gate", rules, case.at.at)
    e.ask(case, "K-R-")
    _facts(case.facts_as_of, e)
    _nurse(case, e)
    paused = e.look("paused_at", "paused", case.paused_at)
    if rules["resume.paused"].reached(case.at.at - case.paused_at):
        e.fire("K-R-PAUSED", paused)
    rate = e.look("rate", case.rate)
    plan_rate = e.look("plan_rate", case.plan_rate)
    if case.rate is None or case.plan_rate is None:
        e.lack("rate", "rate asked for and rate of the plan")
    elif case.rate > case.plan_rate:
        e.fire("K-R-RATE", rate, plan_rate)
    vitals = case.vitals
    if vitals is None or is_stale(vitals.at, case.at.at, rules["resume.vitals_age"]):
        e.lack("vitals", f"a set not older than {rules['resume.vitals_age'].quantity}")
    if vitals is not None:
        score = None if vitals.moaa_s is None else Quantity(Decimal(vitals.moaa_s), "{score}")
        values = {name: getattr(vitals, name) for name in SIGNALS} | {"moaa_s": score}
        for signal, value in values.items():
            entry = e.look(signal, value, vitals.at)
            if value is None:
                e.lack(signal, "a complete set")
                continue
            limits = [t for k, t in rules.values.items() if k == f"resume.{signal}" or k.startswith(f"resume.{signal}.")]
            if not all(limit.met_by(value) for limit in limits):
                e.fire("K-R-VITALS", entry, detail=f"{signal} {value}")
        if vitals.sbp is not None and vitals.dbp is not None and vitals.sbp <= vitals.dbp:
            e.lack("sbp", "systolic is not above diastolic: measure again", "implausible")
    return e.close(e.worst(GATE_PRECEDENCE, Outcome.HOLD))
