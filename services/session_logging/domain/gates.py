"""The questions to the gates, put together from what is known of a session. Pure; the rules answer them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from schemas.values import Moment, Quantity
from services.session_logging.domain.sessions import CaseFacts, Entry, Kind, Session, facts_of, newest
from services.therapies.body import Sex
from services.therapies.evidence import Evaluation, Observation, Outcome
from services.therapies.instruments import RiskLevel
from services.therapies.ketamine.discharge import DischargeCase
from services.therapies.ketamine.dosing import Basis, DoseCase, DosePlan
from services.therapies.ketamine.gates import OVERRIDDEN, Override, PrescriberDecision, ResumeCase, StartCase, VitalsSet

__all__ = [
    "Answer",
    "Known",
    "Stock",
    "discharge_case",
    "dose_case",
    "overridden",
    "result_code",
    "resume_case",
    "start_case",
    "vitals_of",
    "worst_today",
]

_QUANTITIES = ("sbp", "dbp", "heart_rate", "resp_rate", "spo2")


@dataclass(frozen=True, slots=True)
class Stock:
    """What the dose is drawn from and into: strength of the vial, total volume of the bag."""

    strength: Quantity
    bag: Quantity


@dataclass(frozen=True, slots=True)
class Answer:
    """A level that answers about suicide have come to: when they were given, and when that became known here."""

    level: RiskLevel
    at: dt.datetime
    known_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that the gates of a session look at.

    Attributes:
        entries: of this session.
        case: what others say of the case; None if nothing has come.
        plan_active: whether the plan is signed, and neither held nor stopped.
        consent_text: version that is in force.
        risks: what answers have come to anywhere: the newest of each service, and every HIGH and MODERATE.
        screened: level and time of this service's own newest screen.
        facts_as_of: by owner, up to when its facts are complete here.
        starts: earlier infusions of the patient.
        last_weight: at the last session.
        nurse_infusing: patients of the responsible nurse who are infusing or paused, this one included.
        nurse_total: and those in recovery.
        prescriber: who was named as on site holds what that takes.
        reds: whether a RED or STOP was raised in this session.
        open_alerts: tiers of alerts that are open.
    """

    entries: Sequence[Entry]
    case: CaseFacts | None = None
    plan_active: bool = False
    consent_text: str | None = None
    risks: Sequence[Answer] = ()
    screened: tuple[RiskLevel, dt.datetime] | None = None
    facts_as_of: Mapping[str, dt.datetime] = field(default_factory=dict)
    starts: Sequence[dt.datetime] = ()
    last_weight: str | None = None
    nurse_infusing: int | None = None
    nurse_total: int | None = None
    prescriber: bool | None = None
    review_open: bool = False
    other_open: bool = False
    reds: bool = False
    open_alerts: Sequence[tuple[str, bool]] = ()


def vitals_of(entry: Entry) -> VitalsSet:
    """A typed set."""
    data = entry.data
    given = {name: Quantity.parse(data[name]) for name in _QUANTITIES if data.get(name)}
    return VitalsSet(at=entry.at, on_oxygen=data.get("on_oxygen"), moaa_s=data.get("moaa_s"), **given)


def _sets(entries: Sequence[Entry]) -> tuple[VitalsSet, ...]:
    return tuple(vitals_of(entry) for entry in entries if entry.kind == Kind.VITALS)


_WORST_FIRST = (RiskLevel.HIGH, RiskLevel.INCOMPLETE, RiskLevel.MODERATE, RiskLevel.LOW, RiskLevel.NONE)


def worst_today(known: Known, at: Moment) -> RiskLevel | None:
    """The worst level of today, anybody's: one that is calmer takes none back. None while nobody has asked here."""
    if known.screened is None:
        return None
    return min((known.screened[0], *(level for level, _ in _risks(known, at))), key=_WORST_FIRST.index)


def _risks(known: Known, at: Moment) -> tuple[tuple[RiskLevel, dt.datetime], ...]:
    """What answers of today have come to, each with when it became known here."""
    return tuple((one.level, one.known_at) for one in known.risks if Moment(one.at, at.zone).date == at.date)


def dose_case(session: Session, stock: Stock, known: Known, at: Moment) -> DoseCase:
    """The question about the dose of the day."""
    facts = facts_of(known.entries)
    weight = facts.get("weight")
    of_weight = _of_weight(known.entries)
    confirmed = _decision(of_weight, "weight")
    case = known.case or CaseFacts()
    terms = session.terms
    return DoseCase(
        at=at,
        plan=DosePlan(
            dose=Quantity.parse(terms.dose),
            basis=Basis(terms.basis),
            duration=Quantity.parse(terms.duration),
            cap=Quantity.parse(terms.cap) if terms.cap else None,
            # The prescriber gave the reasons that the limits ask for when the plan was signed.
            duration_override="signed plan",
        ),
        weight=Observation(Quantity.parse(weight[0]), weight[1]) if weight else None,
        strength=stock.strength,
        bag=stock.bag,
        height=Quantity.parse(case.height) if case.height else None,
        sex_at_birth=Sex(case.sex) if case.sex else None,
        intake_weight=Quantity.parse(case.weight) if case.weight else None,
        last_weight=Quantity.parse(known.last_weight) if known.last_weight else None,
        weight_remeasured=_said(facts_of(of_weight), "weight_remeasured") is True,
        weight_confirmed=confirmed is not None and confirmed.start,
    )


def start_case(session: Session, known: Known, at: Moment) -> StartCase:
    """The question about the start."""
    facts = facts_of(known.entries)
    case = known.case or CaseFacts()
    level, level_at = known.screened or (None, None)
    return StartCase(
        at=at,
        identity_confirmed=_said(facts, "identity_confirmed"),
        consent_withdrawn=case.withdrawn_at is not None or newest(known.entries, Kind.CONSENT_WITHDRAWN) is not None,
        consent_version=case.consent,
        consent_current_version=known.consent_text,
        consent_reconfirmed_at=_when(facts, "consent_reconfirmed"),
        hcg_due=case.pregnancy_possible,
        hcg=_said(facts, "hcg"),
        hcg_at=_at(facts, "hcg"),
        eligibility=Outcome(case.proposed) if case.proposed else None,
        eligibility_signed=case.kind == "approved" if case.kind else None,
        eligibility_valid_until=case.valid_until,
        plan_signed_and_active=known.plan_active,
        in_person_evaluation=case.examined_at is not None,
        prescriber_on_site=known.prescriber,
        nurse_infusing=known.nurse_infusing,
        nurse_total=known.nurse_total,
        escort_named_and_phoned=_said(facts, "escort_phoned"),
        # The clinic asks on each induction day (decision A24); later it is asked when somebody says that it is due.
        pdmp_due=session.phase == "induction" or _said(facts, "pdmp_due") is True,
        pdmp_checked_at=max(filter(None, (case.pdmp_checked_at, _when(facts, "pdmp_checked"))), default=None),
        last_solids=_instant(facts, "last_solids"),
        last_clear_fluids=_instant(facts, "last_clear_fluids"),
        substances=_said(facts, "substances"),
        substances_at=_instant(facts, "substances_at"),
        glp1=_said(facts, "glp1"),
        glp1_last=_instant(facts, "glp1_last"),
        glp1_checklist_complete=_said(facts, "glp1_checklist_complete"),
        gi_symptoms=_said(facts, "gi_symptoms"),
        cssrs=level,
        cssrs_at=level_at,
        risks=_risks(known, at),
        risk_decision=_decision(known.entries, "risk"),
        changes_reported=_changes(facts, known.entries, case),
        changes_decision=_decision_on_changes(known.entries),
        review_before_next_session_open=known.review_open,
        other_session_open=known.other_open,
        monitor_linked=session.device is not None,
        dose_settled=_settled(session, facts, known.entries),
        cadss6=_said(facts, "cadss6"),
        facts_as_of=known.facts_as_of,
        sets=_sets(known.entries),
        earlier_starts=tuple(Moment(start, at.zone) for start in known.starts),
        overrides=tuple(_override(entry) for entry in _overrides(known.entries)),
    )


def resume_case(session: Session, rate: Quantity, agrees: bool, known: Known, at: Moment) -> ResumeCase:
    """The question about going on after a pause."""
    paused = session.paused_at or at.at
    ordered = _decision([entry for entry in known.entries if entry.at >= paused], "resume")
    sets = [one for one in _sets(known.entries) if one.at >= paused]
    case = known.case or CaseFacts()
    dose = session.dose or {}
    return ResumeCase(
        at=at,
        paused_at=paused,
        prescriber_ordered=ordered is not None and ordered.start,
        patient_agrees=agrees,
        consent_withdrawn=case.withdrawn_at is not None or newest(known.entries, Kind.CONSENT_WITHDRAWN) is not None,
        prescriber_on_site=known.prescriber,
        plan_signed_and_active=known.plan_active,
        stop_open=any(tier == "STOP" for tier, _ in known.open_alerts),
        red_unanswered=any(tier == "RED" and not answered for tier, answered in known.open_alerts),
        vitals=max(sets, key=lambda one: one.at, default=None),
        rate=rate,
        plan_rate=Quantity.parse(dose["pump_rate"]) if "pump_rate" in dose else None,
        nurse_infusing=known.nurse_infusing,
        nurse_total=known.nurse_total,
        facts_as_of=known.facts_as_of,
    )


def discharge_case(session: Session, signer_role: str | None, known: Known, at: Moment) -> DischargeCase:
    """The question about going home. The contact after it is booked with the sign-off itself."""
    facts = {name: one for name, one in facts_of(known.entries).items() if session.ended_at and one[1] >= session.ended_at}
    own = known.screened
    return DischargeCase(
        at=at,
        started=session.started_at or at.at,
        ended=session.ended_at,
        baseline=frozen(session),
        baseline_cadss6=session.baseline_cadss6,
        sets=_sets(known.entries),
        cadss6=_said(facts, "cadss6"),
        aldrete=_said(facts, "aldrete"),
        oriented_x4=_said(facts, "oriented_x4"),
        gait_steady=_said(facts, "gait_steady"),
        vomiting=_said(facts, "vomiting"),
        escort_seen=_said(facts, "escort_seen"),
        alert_open=bool(known.open_alerts),
        baseline_risk=RiskLevel(session.baseline_risk) if session.baseline_risk else None,
        cssrs=own[0] if own and session.ended_at and own[1] >= session.ended_at else None,
        cssrs_at=own[1] if own and session.ended_at and own[1] >= session.ended_at else None,
        risks=_risks(known, at),
        risk_decision=_decision(known.entries, "risk"),
        red_occurred=known.reds,
        signer_role=signer_role,
        instructions_given=_said(facts, "instructions_given"),
        contact_booked=True,
    )


def frozen(session: Session) -> VitalsSet | None:
    """The set that the gate passed on."""
    kept = session.baseline
    if kept is None:
        return None
    given = {name: Quantity.parse(kept[name]) for name in _QUANTITIES if kept.get(name)}
    at = dt.datetime.fromisoformat(kept["at"])
    return VitalsSet(at=at, on_oxygen=kept.get("on_oxygen"), moaa_s=kept.get("moaa_s"), **given)


def prescriber_named(entries: Sequence[Entry]) -> UUID | None:
    """The prescriber who was named as on site, and has not left since."""
    named = facts_of(entries).get("prescriber_on_site")
    return UUID(named[0]) if named and named[0] else None


Facts = Mapping[str, tuple[Any, dt.datetime]]


def _said(facts: Facts, name: str) -> Any:
    known = facts.get(name)
    return known[0] if known else None


def _at(facts: Facts, name: str) -> dt.datetime | None:
    known = facts.get(name)
    return known[1] if known else None


def _when(facts: Facts, name: str) -> dt.datetime | None:
    """When a yes was said."""
    return _at(facts, name) if _said(facts, name) is True else None


def _instant(facts: Facts, name: str) -> dt.datetime | None:
    said = _said(facts, name)
    return dt.datetime.fromisoformat(said) if said else None


def _settled(session: Session, facts: Facts, entries: Sequence[Entry]) -> bool:
    """Whether the dose is that of the weight that was said last, and no prescriber has refused that one since: a dose for
    another weight is none (decision B9).
    """
    weight, confirmed = _said(facts, "weight"), _decision(_of_weight(entries), "weight")
    if session.dose is None or weight is None or (confirmed is not None and not confirmed.start):
        return False
    return Quantity.parse(session.dose["weight"]) == Quantity.parse(weight)


def _changes(facts: Facts, entries: Sequence[Entry], case: CaseFacts) -> tuple[str, ...] | None:
    """What has changed since the last visit, and what has arrived since then that a prescriber has to look at."""
    reported = _said(facts, "changes")
    arrived = [str(entry.data["code"]) for entry in entries if entry.kind == Kind.DECISION_NEEDED]
    if case.result is not None:
        arrived.append(result_code(case.result))
    return None if reported is None else tuple(dict.fromkeys((*reported, *arrived)))


def result_code(test: str) -> str:
    """Code of a result that asks for a decision."""
    return f"result-{test.replace('_', '-')}"


def _decision_on_changes(entries: Sequence[Entry]) -> PrescriberDecision | None:
    """What was decided after the last change was known: nobody has looked at what came later."""
    changed = [entry for entry in entries if entry.kind == Kind.DECISION_NEEDED or "changes" in entry.data]
    last = max(changed, key=lambda one: (one.recorded_at, one.id), default=None)
    since = [entry for entry in entries if last is None or (entry.recorded_at, entry.id) > (last.recorded_at, last.id)]
    return _decision(since, "changes")


def _about(entry: Entry, about: str) -> bool:
    return entry.kind == Kind.DECISION and entry.data["about"] == about


def _decision(entries: Sequence[Entry], about: str) -> PrescriberDecision | None:
    found = newest([entry for entry in entries if _about(entry, about)], Kind.DECISION)
    return PrescriberDecision(found.by, found.data["start"], found.at) if found else None


def _of_weight(entries: Sequence[Entry]) -> list[Entry]:
    """What was recorded since today's weight is the one that holds: whatever was said before was of another."""
    since: list[Entry] = []
    weight: Quantity | None = None
    for entry in _in_order(entries):
        if entry.kind == Kind.FACTS and "weight" in entry.data and Quantity.parse(entry.data["weight"]) != weight:
            weight, since = Quantity.parse(entry.data["weight"]), []
        since.append(entry)
    return since


def _overrides(entries: Sequence[Entry]) -> list[Entry]:
    """Overrides that still stand: what they are about was neither said nor measured anew, and nothing was found to be entered
    in error since (decision A8).
    """
    standing: list[Entry] = []
    for entry in _in_order(entries):
        if entry.kind in (Kind.FACTS, Kind.VITALS):
            said = {name for name, value in entry.data.items() if value is not None}
            standing = [one for one in standing if not said & set(OVERRIDDEN.get(one.data["rule"], ()))]
        elif entry.kind == Kind.ERROR:
            standing = []
        elif entry.kind == Kind.OVERRIDE:
            standing.append(entry)
    return standing


def overridden(entries: Sequence[Entry], found: Evaluation[Any]) -> list[tuple[str, UUID]]:
    """Rules that an override has kept from shutting a start gate, each with who has made it."""
    noted = {one.rule for one in found.findings if one.outcome is Outcome.NOTE}
    standing = {entry.data["rule"]: UUID(entry.by) for entry in _overrides(entries)}
    return [(rule, by) for rule, by in standing.items() if rule in noted]


def _in_order(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda one: (one.recorded_at, one.id))


def _override(entry: Entry) -> Override:
    return Override(entry.data["rule"], entry.by, "prescriber", True, entry.data["reason"], entry.at)
