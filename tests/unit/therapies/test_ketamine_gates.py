"""Ketamine: may it start, may it resume. Every row on its own, every boundary, and who may override what."""

import datetime as dt
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.therapies.evidence import Outcome, Thresholds
from services.therapies.instruments import RiskLevel
from services.therapies.ketamine.gates import (
    OVERRIDDEN,
    SIGNALS,
    Override,
    PrescriberDecision,
    ResumeCase,
    StartCase,
    resume_gate,
    start_gate,
)
from tests.support.ketamine_cases import RESUME_BAND, START, START_BANDS, resume_case, start_case, vitals
from tests.support.rules import local, q, rules, wall

RULES = rules("ketamine")
NOW = START.at
OPEN, HOLD, NO_START = Outcome.OPEN, Outcome.HOLD, Outcome.NO_START


def ago(**span: float) -> dt.datetime:
    return NOW - dt.timedelta(**span)


def gate(**changes: Any) -> Outcome:
    return start_gate(start_case(**changes), RULES).outcome


def test_the_unremarkable_start_is_open_and_freezes_its_baseline() -> None:
    found = start_gate(start_case(), RULES)
    assert found.outcome is OPEN
    assert (found.findings, found.missing) == ((), ())
    assert found.result is not None
    assert (found.result.vitals.sbp, found.result.cadss6) == (q("128 mm[Hg]"), 0)


FACTS = {f.name for f in fields(StartCase)} - {
    "at", "overrides", "earlier_starts", "birth_date", "risk_decision", "changes_decision", "glp1_last", "gi_symptoms",
    "glp1_checklist_complete", "substances_at", "sets", "facts_as_of", "risks",
}  # fmt: skip


@pytest.mark.parametrize("fact", sorted(FACTS))
def test_no_fact_may_be_unknown(fact: str) -> None:
    assert gate(**{fact: None}) is HOLD


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        ("identity", {"identity_confirmed": False}, HOLD),
        ("V-V22 withdrawn", {"consent_withdrawn": True}, NO_START),
        ("old consent", {"consent_version": "v2"}, HOLD),
        ("consent confirmed yesterday", {"consent_reconfirmed_at": ago(days=1)}, HOLD),
        ("hCG positive", {"hcg": "positive"}, NO_START),
        ("hCG positive though not due", {"hcg": "positive", "hcg_due": False}, NO_START),
        ("hCG refused", {"hcg": "refused"}, HOLD),
        ("hCG of yesterday", {"hcg_at": ago(days=1)}, HOLD),
        ("hCG not due", {"hcg": None, "hcg_at": None, "hcg_due": False}, OPEN),
        ("INELIGIBLE", {"eligibility": Outcome.INELIGIBLE}, NO_START),
        ("INCOMPLETE", {"eligibility": Outcome.INCOMPLETE}, HOLD),
        ("eligibility unsigned", {"eligibility_signed": False}, HOLD),
        ("eligibility to today", {"eligibility_valid_until": START.date}, OPEN),
        ("eligibility to yesterday", {"eligibility_valid_until": START.date - dt.timedelta(days=1)}, HOLD),
        ("no plan", {"plan_signed_and_active": False}, HOLD),
        ("never seen in person", {"in_person_evaluation": False}, HOLD),
        ("no prescriber", {"prescriber_on_site": False}, HOLD),
        ("two infusing", {"nurse_infusing": 2, "nurse_total": 2}, OPEN),
        ("three infusing", {"nurse_infusing": 3, "nurse_total": 3}, HOLD),
        ("four with recovery", {"nurse_infusing": 2, "nurse_total": 4}, OPEN),
        ("five with recovery", {"nurse_infusing": 2, "nurse_total": 5}, HOLD),
        ("no escort", {"escort_named_and_phoned": False}, HOLD),
        ("PDMP yesterday", {"pdmp_checked_at": ago(days=1)}, HOLD),
        ("PDMP not due", {"pdmp_due": False, "pdmp_checked_at": None}, OPEN),
        ("solids 8 h", {"last_solids": ago(hours=8)}, OPEN),
        ("solids 7:59", {"last_solids": ago(hours=8) + dt.timedelta(minutes=1)}, HOLD),
        ("fluids 2 h", {"last_clear_fluids": ago(hours=2)}, OPEN),
        ("fluids 1:59", {"last_clear_fluids": ago(hours=2) + dt.timedelta(minutes=1)}, HOLD),
        ("alcohol 48 h", {"substances": True, "substances_at": ago(hours=48)}, OPEN),
        ("alcohol 47:59", {"substances": True, "substances_at": ago(hours=48) + dt.timedelta(minutes=1)}, HOLD),
        ("alcohol undated", {"substances": True}, HOLD),
        ("GLP-1 7 days", {"glp1": True, "glp1_last": ago(days=7), "gi_symptoms": False}, HOLD),
        ("GLP-1 over 7 days", {"glp1": True, "glp1_last": ago(days=7, seconds=1)}, OPEN),
        ("GLP-1 checklist", {"glp1": True, "glp1_last": ago(days=3), "gi_symptoms": False, "glp1_checklist_complete": True}, OPEN),
        ("GLP-1 symptoms", {"glp1": True, "glp1_last": ago(days=3), "gi_symptoms": True, "glp1_checklist_complete": True}, HOLD),
        ("GLP-1 symptoms unknown", {"glp1": True, "glp1_last": ago(days=3), "glp1_checklist_complete": True}, HOLD),
        ("GLP-1 undated", {"glp1": True}, HOLD),
        ("risk NONE", {"cssrs": RiskLevel.NONE}, OPEN),
        ("risk MODERATE", {"cssrs": RiskLevel.MODERATE}, HOLD),
        ("risk HIGH", {"cssrs": RiskLevel.HIGH}, HOLD),
        ("risk INCOMPLETE", {"cssrs": RiskLevel.INCOMPLETE}, HOLD),
        ("risk of yesterday", {"cssrs_at": ago(days=1)}, HOLD),
        ("something changed", {"changes_reported": ("sedatives",)}, HOLD),
        ("review open", {"review_before_next_session_open": True}, HOLD),
        ("other session", {"other_session_open": True}, HOLD),
        ("no monitor", {"monitor_linked": False}, HOLD),
        ("dose open", {"dose_settled": False}, HOLD),
        ("35 h after the last", {"earlier_starts": (wall("2027-01-23T23:30"),)}, HOLD),
        ("36 h after the last", {"earlier_starts": (wall("2027-01-23T22:30"),)}, OPEN),
        ("fourth in 7 days", {"earlier_starts": tuple(wall(f"2027-01-{n}T08:00") for n in (19, 21, 23))}, HOLD),
        ("fourth in 8 days", {"earlier_starts": tuple(wall(f"2027-01-{n}T08:00") for n in (18, 21, 23))}, OPEN),
        ("no vitals", {"sets": ()}, HOLD),
        ("vitals 15 min old", {"sets": (vitals(ago(minutes=15)),)}, OPEN),
        ("vitals older", {"sets": (vitals(ago(minutes=15, seconds=1)),)}, HOLD),
        ("vitals of the future", {"sets": (vitals(ago(seconds=-1)),)}, HOLD),
        ("MOAA/S 4", {"sets": (vitals(moaa_s=4),)}, NO_START),
        ("on oxygen", {"sets": (vitals(on_oxygen=True),)}, HOLD),
        ("oxygen unknown", {"sets": (vitals(on_oxygen=None),)}, HOLD),
        ("SBP not above DBP", {"sets": (vitals(sbp=90, dbp=90),)}, HOLD),
    ],
)  # fmt: skip
def test_rows(row: str, changes: dict[str, Any], expected: Outcome) -> None:
    assert gate(**changes) is expected, row


@pytest.mark.parametrize("signal", [*SIGNALS, "moaa_s"])
def test_every_signal_is_needed(signal: str) -> None:
    missing: dict[str, Any] = {signal: None}
    assert gate(sets=(vitals(**missing),)) is HOLD


@pytest.mark.parametrize(("signal", "value", "expected"), [(s, v, o) for s, row in START_BANDS.items() for v, o in row.items()])
def test_each_vital_at_its_boundaries(signal: str, value: int, expected: Outcome) -> None:
    """V-V1, V-V2, V-V4 and the rest of the start table."""
    changes: dict[str, Any] = {signal: value} | ({"dbp": 60} if signal == "sbp" else {})
    found = start_gate(start_case(sets=(vitals(**changes),)), RULES)
    assert found.outcome is expected
    assert (SIGNALS[signal] in found.fired()) is (expected is not OPEN)


def test_v_v2_holds_at_every_age_while_the_age_row_is_off() -> None:
    for born in (dt.date(1987, 1, 1), dt.date(1950, 1, 1)):
        assert gate(sets=(vitals(sbp=141),), birth_date=born) is HOLD


def test_the_age_row_works_when_a_signed_file_turns_it_on() -> None:
    from decimal import Decimal

    from schemas.values import Quantity

    key = "start.sbp.older.enabled"
    on = replace(RULES[key], quantity=Quantity(Decimal(1), "1"))
    aged: Thresholds = replace(RULES, values={**RULES.values, key: on})
    for born, sbp, expected in (
        (dt.date(1950, 1, 1), 150, OPEN),
        (dt.date(1950, 1, 1), 151, HOLD),
        (dt.date(1962, 1, 25), 141, HOLD),  # 65 today: not older than 65
        (dt.date(1961, 1, 25), 141, OPEN),
    ):
        assert start_gate(start_case(sets=(vitals(sbp=sbp),), birth_date=born), aged).outcome is expected


def test_the_newest_value_of_each_signal_counts() -> None:
    old, new = vitals(ago(minutes=13), sbp=150), vitals(ago(minutes=3), sbp=138, spo2=None, on_oxygen=None)
    assert gate(sets=(new, old)) is OPEN
    assert gate(sets=(replace(old, sbp=q("138 mm[Hg]")), replace(new, sbp=q("150 mm[Hg]")))) is HOLD


@pytest.mark.parametrize("signal", ["sbp", "dbp", "heart_rate", "resp_rate", "spo2"])
def test_one_old_signal_beside_fresh_ones_is_not_known(signal: str) -> None:
    """Sixteen minutes old, and the newer set does not have it: missing, named as stale."""
    old, new = vitals(ago(minutes=16)), vitals(ago(minutes=3), **{signal: None})
    found = start_gate(start_case(sets=(old, new)), RULES)
    assert found.outcome is HOLD
    assert ("stale", signal) in [(problem.code, problem.field) for problem in found.missing]
    fresh = start_gate(start_case(sets=(replace(old, at=ago(minutes=15)), new)), RULES)
    assert fresh.outcome is OPEN


@pytest.mark.parametrize(("signal", "value"), [("sbp", 40), ("sbp", 320), ("heart_rate", 12)])
def test_an_implausible_value_is_judged_and_asked_for_again(signal: str, value: int) -> None:
    measured: dict[str, Any] = {signal: value}
    found = start_gate(start_case(sets=(vitals(**measured),)), RULES)
    assert found.outcome is NO_START
    assert ("implausible", signal) in [(problem.code, problem.field) for problem in found.missing]


def test_a_consent_that_is_confirmed_this_instant_counts() -> None:
    assert gate(consent_reconfirmed_at=NOW) is OPEN
    assert gate(consent_reconfirmed_at=NOW + dt.timedelta(seconds=1)) is not OPEN


def test_without_a_consent_text_in_force_it_is_said_what_is_missing() -> None:
    found = start_gate(start_case(consent_current_version=None), RULES)
    assert "consent_current_version" in [problem.field for problem in found.missing]


@pytest.mark.parametrize(("seconds", "expected"), [(60, OPEN), (61, HOLD)])
@pytest.mark.parametrize("owner", ["consultation", "treatment_planning", "follow_up"])
def test_stale_facts_block(owner: str, seconds: int, expected: Outcome) -> None:
    facts = {**start_case().facts_as_of, owner: ago(seconds=seconds)}
    found = start_gate(start_case(facts_as_of=facts), RULES)
    assert found.outcome is expected
    del facts[owner]
    assert start_gate(start_case(facts_as_of=facts), RULES).missing[0].code == "facts-stale"


# --- Rechecks and overrides -------------------------------------------------------------------------------------------


def override(rule: str, **changes: Any) -> Override:
    return replace(Override(rule, "prescriber-1", "prescriber", True, "asymptomatic, settled", ago(minutes=1)), **changes)


HELD = (vitals(ago(minutes=14), sbp=150), vitals(ago(minutes=8), sbp=148))


def test_a_passing_recheck_opens_and_an_early_one_does_not() -> None:
    assert gate(sets=(HELD[0], vitals(ago(minutes=9), sbp=138))) is OPEN  # exactly 5 min later
    assert gate(sets=(HELD[0], vitals(ago(minutes=9, seconds=1), sbp=138))) is HOLD


def test_a_recheck_is_of_the_signal_that_was_held() -> None:
    """A set without it is none, however many come; nor does an early one become one by waiting."""
    early = (HELD[0], vitals(ago(minutes=12), sbp=128))
    nothing = vitals(ago(minutes=3), sbp=None, dbp=None, heart_rate=None, spo2=None, resp_rate=None, on_oxygen=None)
    breathing = replace(nothing, resp_rate=q("14 /min"), moaa_s=None)
    for more in (nothing, breathing, replace(breathing, dbp=q("78 mm[Hg]"))):
        found = start_gate(start_case(sets=(*early, more)), RULES)
        assert found.fired() == ("K-S-RECHECK",)
    assert gate(sets=(*early, vitals(ago(minutes=3), sbp=128))) is OPEN
    # Another signal's hold has a recheck of its own.
    pulse = vitals(ago(minutes=10), sbp=None, heart_rate=110)
    assert gate(sets=(HELD[0], pulse, vitals(ago(minutes=6)))) is HOLD
    assert gate(sets=(HELD[0], pulse, vitals(ago(minutes=5)))) is OPEN


def test_a_recheck_after_more_than_ten_minutes_counts_and_is_to_be_fresh() -> None:
    assert gate(sets=(HELD[0], vitals(ago(minutes=2), sbp=138))) is OPEN
    assert gate(sets=(vitals(ago(hours=1), sbp=150), vitals(ago(minutes=15), sbp=138))) is OPEN
    assert gate(sets=(vitals(ago(hours=1), sbp=150), vitals(ago(minutes=16), sbp=138))) is HOLD


def test_a_hold_band_needs_a_recheck_before_an_override() -> None:
    assert gate(sets=HELD[1:], overrides=(override("K-S-SBP"),)) is HOLD
    assert gate(sets=HELD, overrides=(override("K-S-SBP"),)) is OPEN
    other = (HELD[0], vitals(ago(minutes=8), sbp=None, heart_rate=110))
    assert gate(sets=other, overrides=(override("K-S-SBP"), override("K-S-HR"))) is HOLD


def test_an_override_is_of_the_value_that_was_seen() -> None:
    seen = override("K-S-SBP", at=ago(minutes=7))
    assert gate(sets=HELD, overrides=(seen,)) is OPEN
    assert gate(sets=(*HELD, vitals(ago(minutes=5), sbp=159)), overrides=(seen,)) is HOLD
    assert gate(sets=HELD, overrides=(override("K-S-SBP", at=ago(minutes=9)),)) is HOLD


def test_an_override_that_does_not_count_is_no_missing_fact() -> None:
    """Given too early, or about what nobody may override: it shuts nothing once the hold is over."""
    early = override("K-S-SBP", at=ago(minutes=13))
    found = start_gate(start_case(sets=(HELD[0], vitals(ago(minutes=8))), overrides=(early, override("K-S-HCG"))), RULES)
    assert (found.outcome, found.missing) == (OPEN, ())
    shown = {one.name: one.value for one in found.inputs}
    assert "does not count: vitals are rechecked" in shown["overrides[0]"]
    assert "does not count: K-S-HCG can never be overridden" in shown["overrides[1]"]


def test_each_rule_that_may_be_overridden_says_what_it_is_about() -> None:
    assert set(RULES.lists["start.overridable"]) == set(OVERRIDDEN)


def test_the_third_hold_is_a_reschedule_that_nobody_overrides() -> None:
    third = (*HELD, vitals(ago(minutes=2), sbp=146))
    assert gate(sets=third, overrides=(override("K-S-SBP"),)) is NO_START
    assert gate(sets=(*HELD, vitals(ago(minutes=2), sbp=138))) is OPEN


def test_an_override_stays_visible() -> None:
    found = start_gate(start_case(sets=HELD, overrides=(override("K-S-SBP"),)), RULES)
    assert [(f.rule, f.outcome) for f in found.findings] == [("K-S-SBP", Outcome.NOTE)]
    assert "prescriber-1" in found.findings[0].reason


OVERRIDABLE: dict[str, dict[str, Any]] = {
    "K-S-FASTING": {"last_solids": ago(hours=7)},
    "K-S-SUBSTANCES": {"substances": True, "substances_at": ago(hours=10)},
    "K-S-GLP1": {"glp1": True, "glp1_last": ago(days=3), "gi_symptoms": False},
    "K-S-SBP": {"sets": HELD},
    "K-S-DBP": {"sets": tuple(replace(s, sbp=q("138 mm[Hg]"), dbp=q("95 mm[Hg]")) for s in HELD)},
    "K-S-HR": {"sets": tuple(replace(s, sbp=q("138 mm[Hg]"), heart_rate=q("110 /min")) for s in HELD)},
    "K-S-SPO2": {"sets": tuple(replace(s, sbp=q("138 mm[Hg]"), spo2=q("94 %")) for s in HELD)},
    "K-S-RR": {"sets": tuple(replace(s, sbp=q("138 mm[Hg]"), resp_rate=q("26 /min")) for s in HELD)},
}
NEVER: dict[str, dict[str, Any]] = {
    "K-S-IDENTITY": {"identity_confirmed": False},
    "K-S-CONSENT": {"consent_version": "v2"},
    "K-S-CONSENT-WITHDRAWN": {"consent_withdrawn": True},
    "K-S-HCG": {"hcg": "positive"},
    "K-S-HCG-REFUSED": {"hcg": "refused"},
    "K-S-PLAN": {"plan_signed_and_active": False},
    "K-S-INELIGIBLE": {"eligibility": Outcome.INELIGIBLE},
    "K-S-ELIGIBILITY": {"eligibility_valid_until": dt.date(2027, 1, 1)},
    "K-S-IN-PERSON": {"in_person_evaluation": False},
    "K-S-PRESCRIBER": {"prescriber_on_site": False},
    "K-S-ESCORT": {"escort_named_and_phoned": False},
    "K-S-PDMP": {"pdmp_checked_at": None},
    "K-S-GLP1-SYMPTOMS": {"glp1": True, "glp1_last": ago(days=3), "gi_symptoms": True, "glp1_checklist_complete": True},
    "K-S-NURSE-LOAD": {"nurse_infusing": 3},
    "K-S-RISK": {"cssrs": RiskLevel.HIGH},
    "K-S-CHECKIN": {"changes_reported": ("pregnancy",)},
    "K-S-REVIEW-OPEN": {"review_before_next_session_open": True},
    "K-S-OTHER-SESSION": {"other_session_open": True},
    "K-S-MONITOR": {"monitor_linked": False},
    "K-S-DOSE": {"dose_settled": False},
    "K-S-SERIES": {"earlier_starts": (wall("2027-01-24T10:00"),)},
    "K-S-MOAAS": {"sets": (vitals(moaa_s=4),)},
}


@pytest.mark.parametrize("rule", sorted(OVERRIDABLE))
def test_what_the_prescriber_on_site_may_override(rule: str) -> None:
    facts: dict[str, Any] = OVERRIDABLE[rule]
    assert start_gate(start_case(**facts), RULES).fired() == (rule,)
    assert gate(**facts) is HOLD
    assert gate(**facts, overrides=(override(rule),)) is OPEN
    for bad in (
        {"role": "nurse"}, {"on_site": False}, {"reason": "  "}, {"by": ""}, {"at": ago(days=1)}, {"at": ago(seconds=-1)},
    ):  # fmt: skip
        assert gate(**facts, overrides=(override(rule, **bad),)) is HOLD, bad


@pytest.mark.parametrize("rule", sorted(NEVER))
def test_what_nobody_may_override(rule: str) -> None:
    assert rule in start_gate(start_case(**NEVER[rule]), RULES).fired()
    found = start_gate(start_case(**NEVER[rule], overrides=(override(rule),)), RULES)
    assert found.outcome is not OPEN
    assert rule in {one.rule for one in found.findings if one.outcome is not Outcome.NOTE}


@pytest.mark.parametrize("signal", sorted(START_BANDS))
def test_a_no_start_vital_is_never_overridden(signal: str) -> None:
    worst = next(v for v, o in START_BANDS[signal].items() if o is NO_START)
    sets = tuple(vitals(ago(minutes=m), **{signal: worst}) for m in (14, 8))
    assert gate(sets=sets, overrides=(override(SIGNALS[signal]),)) is NO_START


def test_missing_facts_are_not_overridable() -> None:
    assert gate(last_solids=None, overrides=(override("K-S-FASTING"),)) is HOLD


# --- Risk and changes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [RiskLevel.HIGH, RiskLevel.MODERATE])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, OPEN),
        ({"start": False}, NO_START),
        ({"face_to_face": False}, HOLD),
        ({"by": ""}, HOLD),
        ({"at": ago(minutes=21)}, HOLD),  # before the screen it is about
        ({"at": ago(minutes=20)}, OPEN),
        ({"at": ago(seconds=-1)}, HOLD),
    ],
)
def test_a_prescriber_assesses_the_risk_face_to_face(level: RiskLevel, changes: dict[str, Any], expected: Outcome) -> None:
    decided = replace(PrescriberDecision("prescriber-1", True, ago(minutes=5)), **changes)
    assert gate(cssrs=level, risk_decision=decided) is expected


def test_an_incomplete_screen_has_to_be_completed() -> None:
    decided = PrescriberDecision("prescriber-1", True, ago(minutes=5))
    assert gate(cssrs=RiskLevel.INCOMPLETE, risk_decision=decided) is HOLD
    assert gate(risks=((RiskLevel.INCOMPLETE, ago(minutes=20)),), risk_decision=decided) is HOLD


@pytest.mark.parametrize("level", [RiskLevel.HIGH, RiskLevel.MODERATE])
def test_a_calmer_screen_takes_no_grave_answer_of_today_back(level: RiskLevel) -> None:
    """Only a decision does that follows all of them."""
    first, second = (level, ago(minutes=30)), (level, ago(minutes=10))

    def decided(minutes: int, start: bool = True) -> PrescriberDecision:
        return PrescriberDecision("prescriber-1", start, ago(minutes=minutes))

    for risks, decision, expected in (
        ((first,), None, HOLD),
        ((first,), decided(25), OPEN),
        ((first, second), decided(25), HOLD),
        ((first, second), decided(5), OPEN),
        ((first,), decided(25, start=False), NO_START),
        ((), decided(25, start=False), NO_START),
    ):
        assert gate(cssrs=RiskLevel.NONE, risks=risks, risk_decision=decision) is expected, (risks, decision)


@pytest.mark.parametrize(("start", "at", "expected"), [(True, 5, OPEN), (False, 5, HOLD), (True, 60 * 24, HOLD)])
def test_reported_changes_are_reviewed_today(start: bool, at: int, expected: Outcome) -> None:
    decided = PrescriberDecision("prescriber-1", start, ago(minutes=at))
    assert gate(changes_reported=("new medicine",), changes_decision=decided) is expected


@settings(max_examples=80)
@given(st.sets(st.sampled_from(sorted(FACTS)), min_size=1, max_size=6), st.sampled_from(sorted(NEVER)))
def test_less_knowledge_never_opens_a_gate(hidden: set[str], rule: str) -> None:
    unknown: dict[str, Any] = dict.fromkeys(hidden)
    assert gate(**unknown) is HOLD
    assert gate(**{**NEVER[rule], **{k: v for k, v in unknown.items() if k not in NEVER[rule]}}) is not OPEN


# --- Resume -----------------------------------------------------------------------------------------------------------

RESUME_AT = resume_case().at.at


def resumed(**changes: Any) -> Outcome:
    return resume_gate(resume_case(**changes), RULES).outcome


def test_the_unremarkable_resume_is_open() -> None:
    assert resumed() is OPEN


@pytest.mark.parametrize("fact", sorted({f.name for f in fields(ResumeCase)} - {"at", "paused_at", "facts_as_of"}))
def test_no_fact_of_a_resume_may_be_unknown(fact: str) -> None:
    assert resumed(**{fact: None}) is HOLD


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prescriber_ordered": False}, HOLD),
        ({"patient_agrees": False}, HOLD),
        ({"consent_withdrawn": True}, NO_START),
        ({"prescriber_on_site": False}, HOLD),
        ({"plan_signed_and_active": False}, HOLD),
        ({"stop_open": True}, HOLD),
        ({"red_unanswered": True}, HOLD),
        ({"nurse_infusing": 2, "nurse_total": 4}, OPEN),
        ({"nurse_infusing": 3, "nurse_total": 3}, HOLD),
        ({"nurse_infusing": 1, "nurse_total": 5}, HOLD),
        ({"facts_as_of": {}}, HOLD),
        ({"rate": q("151 mL/h")}, NO_START),
        ({"rate": q("120 mL/h")}, OPEN),
        ({"paused_at": RESUME_AT - dt.timedelta(minutes=30)}, OPEN),
        ({"paused_at": RESUME_AT - dt.timedelta(minutes=30, seconds=1)}, NO_START),
        ({"vitals": vitals(RESUME_AT - dt.timedelta(minutes=5))}, OPEN),
        ({"vitals": vitals(RESUME_AT - dt.timedelta(minutes=5, seconds=1))}, HOLD),
    ],
)
def test_resume_rows(changes: dict[str, Any], expected: Outcome) -> None:
    assert resumed(**changes) is expected


@pytest.mark.parametrize(("signal", "value", "opens"), RESUME_BAND)
def test_resume_band(signal: str, value: int, opens: bool) -> None:
    changes = {signal: value} | ({"dbp": 60} if signal == "sbp" else {})
    assert (resumed(vitals=vitals(RESUME_AT, **changes)) is OPEN) is opens


@pytest.mark.parametrize("signal", ["sbp", "dbp", "spo2", "heart_rate", "resp_rate", "moaa_s"])
def test_the_resume_set_is_complete(signal: str) -> None:
    assert resumed(vitals=vitals(RESUME_AT, **{signal: None})) is HOLD


def test_an_implausible_pressure_does_not_resume() -> None:
    assert resumed(vitals=vitals(RESUME_AT, sbp=99, dbp=99)) is HOLD


def test_local_midnight_separates_today_from_yesterday() -> None:
    midnight = wall("2027-01-25T00:05")
    late = local("2027-01-24T23:59")
    case = replace(start_case(), at=midnight, pdmp_checked_at=late)
    assert "K-S-PDMP" in start_gate(case, RULES).fired()
    assert "K-S-PDMP" not in start_gate(replace(case, pdmp_checked_at=local("2027-01-25T00:01")), RULES).fired()


def test_holds_of_another_day_do_not_count() -> None:
    yesterday = tuple(replace(s, at=s.at - dt.timedelta(days=1)) for s in (*HELD, vitals(ago(minutes=2), sbp=146)))
    assert gate(sets=(*yesterday, vitals())) is OPEN
    assert gate(sets=(*yesterday, HELD[1]), overrides=(override("K-S-SBP"),)) is HOLD
