"""Ketamine: discharge, adverse-event grade, ledger, outcome review."""

import datetime as dt
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.therapies.evidence import Outcome, Rejected
from services.therapies.instruments import RiskLevel, change
from services.therapies.ketamine.discharge import DischargeCase, discharge
from services.therapies.ketamine.gates import PrescriberDecision
from services.therapies.ketamine.outcomes import OutcomeCase, Scored, SuicidalityPoint, baseline_of, response_review
from services.therapies.ketamine.records import (
    AdverseEvent,
    Intake,
    Intervention,
    Ledger,
    LedgerBalance,
    Serious,
    ledger,
    propose_grade,
    pump_disagrees,
    pump_volume_to_stock,
)
from tests.support.ketamine_cases import DISCHARGE_LIMITS, bp, discharge_case, vitals
from tests.support.rules import local, q, rules, utc, wall

RULES = rules("ketamine")
DAY = "2027-01-25T"


def ready(**changes: Any) -> bool:
    return discharge(discharge_case(**changes), RULES).outcome is Outcome.READY


def at(clock: str) -> dt.datetime:
    return local(DAY + clock)


def test_the_unremarkable_discharge_is_ready_and_says_no_driving() -> None:
    found = discharge(discharge_case(), RULES)
    assert found.outcome is Outcome.READY
    assert found.fired() == ("K-X-DRIVING",)
    assert found.result is not None
    assert found.result.contact_due == local("2027-01-26T12:34")


def test_drowsiness_is_a_reason_of_its_own() -> None:
    drowsy = discharge(discharge_case(sets=(vitals(at("12:10")), vitals(at("12:25"), moaa_s=4))), RULES)
    assert {"K-X-MOAAS", "K-X-VITALS"} <= set(drowsy.fired())


@pytest.mark.parametrize(("before_end_s", "ready_"), [(0, True), (1, False)])
def test_what_is_asked_after_the_infusion_counts_from_its_end_on(before_end_s: int, ready_: bool) -> None:
    ended = discharge_case().ended
    assert ended is not None
    awake = vitals(ended - dt.timedelta(seconds=before_end_s))
    later = [vitals(at(clock), moaa_s=None) for clock in ("12:10", "12:25")]
    assert ready(sets=(awake, *later)) == ready_
    assert ready(cssrs_at=awake.at) == ready_, "as the suicide screen before leaving does"


# An unknown baseline risk only asks for a screen before leaving, which this case has; see the rows.
FACTS = {f.name for f in fields(DischargeCase)} - {
    "at", "started", "sets", "cssrs_at", "baseline_risk", "risks", "risk_decision",
}  # fmt: skip


@pytest.mark.parametrize("fact", sorted(FACTS))
def test_nothing_may_be_unknown(fact: str) -> None:
    changes: dict[str, Any] = {fact: None}
    assert not ready(**changes)


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        ("V-V21 no escort", {"escort_seen": False}, False),
        ("not oriented", {"oriented_x4": False}, False),
        ("unsteady", {"gait_steady": False}, False),
        ("vomiting", {"vomiting": True}, False),
        ("alert open", {"alert_open": True}, False),
        ("no instructions", {"instructions_given": False}, False),
        ("no contact booked", {"contact_booked": False}, False),
        ("Aldrete 9", {"aldrete": 9}, True),
        ("Aldrete 8", {"aldrete": 8}, False),
        ("CADSS-6 2 above 0", {"cadss6": 2}, True),
        ("CADSS-6 3 above 0", {"cadss6": 3}, False),
        ("CADSS-6 4 above 2", {"cadss6": 4, "baseline_cadss6": 2}, True),
        ("CADSS-6 5 above 4", {"cadss6": 5, "baseline_cadss6": 4}, False),
        ("HIGH", {"cssrs": RiskLevel.HIGH, "signer_role": "prescriber"}, False),
        ("MODERATE, nurse", {"cssrs": RiskLevel.MODERATE}, False),
        ("MODERATE, prescriber", {"cssrs": RiskLevel.MODERATE, "signer_role": "prescriber"}, True),
        ("INCOMPLETE", {"cssrs": RiskLevel.INCOMPLETE}, False),
        ("screen from before the end", {"cssrs_at": at("11:09")}, False),
        ("ideation before not known, no screen", {"baseline_risk": None, "cssrs": None, "cssrs_at": None}, False),
        ("no ideation before, no screen", {"baseline_risk": RiskLevel.NONE, "cssrs": None, "cssrs_at": None}, True),
        ("no ideation before, HIGH now", {"baseline_risk": RiskLevel.NONE, "cssrs": RiskLevel.HIGH}, False),
        ("RED, nurse signs", {"red_occurred": True}, False),
        ("RED, prescriber signs", {"red_occurred": True, "signer_role": "prescriber"}, True),
        ("front desk signs", {"signer_role": "front_desk"}, False),
        ("MOAA/S 4", {"sets": (vitals(at("12:10")), vitals(at("12:25"), moaa_s=4))}, False),
        ("12:30 exactly", {"at": wall(DAY + "12:30")}, True),
        ("12:29:59", {"at": wall(DAY + "12:29:59")}, False),
        ("60 min after a late end", {"ended": at("11:34")}, True),
        ("59 min after a late end", {"ended": at("11:35")}, False),
        ("15 min apart", {"sets": (vitals(at("12:10")), vitals(at("12:25")))}, True),
        ("14:59 apart", {"sets": (vitals(at("12:10:01")), vitals(at("12:25")))}, False),
        ("one set", {"sets": (vitals(at("12:25")),)}, False),
        ("no sets", {"sets": ()}, False),
        ("sets before the end", {"sets": (vitals(at("10:50")), vitals(at("11:10")))}, False),
        ("one set before the end", {"sets": (vitals(at("11:10")), vitals(at("12:25")))}, False),
        ("failing in between", {"sets": (vitals(at("12:00")), vitals(at("12:15"), sbp=160), vitals(at("12:25")))}, False),
        ("partial between is neither", {"sets": (vitals(at("12:00")), vitals(at("12:15"), sbp=None), vitals(at("12:25")))}, True),
        ("newest is partial and failing", {"sets": (vitals(at("12:00")), vitals(at("12:20")), vitals(at("12:25"), sbp=None, spo2=90))}, False),
        ("newest 15 min old", {"sets": (vitals(at("12:04")), vitals(at("12:19")))}, True),
        ("newest older", {"sets": (vitals(at("12:03")), vitals(at("12:18:59")))}, False),
        ("on oxygen", {"sets": (vitals(at("12:10")), vitals(at("12:25"), on_oxygen=True))}, False),
        ("oxygen unknown", {"sets": (vitals(at("12:10")), vitals(at("12:25"), on_oxygen=None))}, False),
    ],
)  # fmt: skip
def test_rows(row: str, changes: dict[str, Any], expected: bool) -> None:
    assert ready(**changes) is expected, row


@pytest.mark.parametrize(("signal", "value", "passes"), DISCHARGE_LIMITS)
def test_vitals_limits(signal: str, value: int, passes: bool) -> None:
    changes = {signal: value} | ({"dbp": 60} if signal == "sbp" else {})
    low_baseline = vitals(sbp=120, dbp=70, spo2=99)
    assert ready(sets=(vitals(at("12:10")), vitals(at("12:25"), **changes)), baseline=low_baseline) is passes


@pytest.mark.parametrize(
    ("base", "now", "passes"),
    [
        ((140, 80), (154, 80), True), ((140, 80), (155, 80), False), ((150, 80), (159, 80), True), ((150, 80), (160, 80), False),
        ((130, 90), (130, 99), True), ((130, 88), (130, 97), False), ((130, 95), (130, 100), False),
    ],
)  # fmt: skip
def test_a_high_baseline_allows_a_tenth_more_below_the_ceiling(
    base: tuple[int, int], now: tuple[int, int], passes: bool
) -> None:
    sets = tuple(vitals(at(t), sbp=now[0], dbp=now[1]) for t in ("12:10", "12:25"))
    assert ready(sets=sets, baseline=vitals(sbp=base[0], dbp=base[1])) is passes


@pytest.mark.parametrize(("baseline", "now", "passes"), [(93, 93, True), (93, 92, False), (98, 94, False)])
def test_a_low_saturation_passes_at_its_baseline(baseline: int, now: int, passes: bool) -> None:
    sets = tuple(vitals(at(t), spo2=now) for t in ("12:10", "12:25"))
    assert ready(sets=sets, baseline=vitals(spo2=baseline)) is passes


@pytest.mark.parametrize(
    ("level", "decided", "start", "signer", "expected"),
    [
        (RiskLevel.HIGH, None, True, "prescriber", False),
        (RiskLevel.HIGH, "11:59", True, "prescriber", False),
        (RiskLevel.HIGH, "12:00", True, "nurse", True),
        (RiskLevel.HIGH, "12:00", False, "prescriber", False),
        (RiskLevel.INCOMPLETE, None, True, "prescriber", False),
        (RiskLevel.INCOMPLETE, "12:00", True, "nurse", True),
        (RiskLevel.MODERATE, None, True, "nurse", False),
        (RiskLevel.MODERATE, None, True, "prescriber", True),
        (RiskLevel.MODERATE, "12:00", True, "nurse", True),
        (RiskLevel.LOW, None, True, "nurse", True),
    ],
)
def test_a_calmer_screen_takes_no_grave_answer_back_before_a_prescriber_decides(
    level: RiskLevel, decided: str | None, start: bool, signer: str, expected: bool
) -> None:
    decision = PrescriberDecision("prescriber-1", start, at(decided)) if decided else None
    assert ready(risks=((level, at("12:00")),), risk_decision=decision, signer_role=signer) is expected


def test_a_refusal_lists_everything_and_the_earliest_time() -> None:
    found = discharge(
        discharge_case(at=wall(DAY + "12:20"), sets=(vitals(at("12:10")),), escort_seen=False, aldrete=None), RULES
    )
    assert found.outcome is Outcome.NOT_READY
    assert set(found.fired()) == {"K-X-TIME", "K-X-VITALS", "K-X-ESCORT", "K-X-DRIVING"}
    assert "aldrete" in found.lacks()
    assert found.result is not None
    assert found.result.earliest == at("12:30")
    assert "12:30" in next(f.reason for f in found.findings if f.rule == "K-X-TIME")


# --- Adverse events ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readings", "grade"),
    [
        ((bp(119, 79), bp(119, 79)), None), ((bp(120, 79), bp(120, 79)), 1), ((bp(110, 80), bp(110, 80)), 1),
        ((bp(139, 89), bp(139, 89)), 1), ((bp(140, 80), bp(140, 80)), 2), ((bp(130, 90), bp(130, 90)), 2),
        ((bp(159, 99), bp(159, 99)), 2), ((bp(160, 80), bp(160, 80)), 3), ((bp(130, 100), bp(130, 100)), 3),
        ((bp(158, 96), bp(138, 84)), 1), ((bp(158, 96),), None), ((bp(170, 90), bp(118, 70), bp(165, 90)), None),
    ],
)  # fmt: skip
def test_hypertension_grade_by_the_highest_confirmed_reading(readings: Any, grade: int | None) -> None:
    assert propose_grade(AdverseEvent(term="hypertension", readings=readings), RULES).grade == grade


@pytest.mark.parametrize(
    ("event", "grade", "serious"),
    [
        (AdverseEvent(term="nausea", oral_intake=Intake.EATING), 1, False),
        (AdverseEvent(term="nausea", oral_intake=Intake.LESS), 2, False),
        (AdverseEvent(term="vomiting", oral_intake=Intake.NEEDS_SUPPORT), 3, False),
        (AdverseEvent(term="dizziness", intervention=Intervention.NONE), 1, False),
        (AdverseEvent(term="dizziness", intervention=Intervention.MINIMAL), 2, False),
        (AdverseEvent(term="dizziness", intervention=Intervention.HOSPITAL), 3, False),
        (AdverseEvent(term="fall", serious=frozenset({Serious.HOSPITALISATION})), 3, True),
        (AdverseEvent(term="crisis", serious=frozenset({Serious.LIFE_THREATENING})), 4, True),
        (AdverseEvent(term="death", serious=frozenset({Serious.DEATH, Serious.LIFE_THREATENING})), 5, True),
        (AdverseEvent(term="other", serious=frozenset({Serious.IMPORTANT_MEDICAL_EVENT})), None, True),
        (AdverseEvent(term="unknown"), None, False),
    ],
)
def test_grade_and_serious_flag(event: AdverseEvent, grade: int | None, serious: bool) -> None:
    found = propose_grade(event, RULES)
    assert (found.grade, found.serious) == (grade, serious)


# --- Ledger -----------------------------------------------------------------------------------------------------------


def entry(**changes: Any) -> Ledger:
    base: dict[str, Any] = {
        "strength": q("50 mg/mL"), "drawn": q("1.00 mL"), "administered": q("0.82 mL"), "wasted": q("0.18 mL"),
        "drawn_by": "rn-a", "administered_by": "rn-a", "waste_witness": "rn-b", "witness_role": "nurse",
    }  # fmt: skip
    return Ledger(**base | changes)


def test_v_d11_a_balanced_ledger() -> None:
    assert ledger(entry(), RULES) == LedgerBalance(q("50.0 mg"), q("41.0 mg"), q("9.0 mg"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"wasted": q("0.17 mL")}, "discrepancy"), ({"wasted": q("0.19 mL")}, "discrepancy"),
        ({"drawn": q("1.005 mL")}, "invalid"), ({"wasted": q("-0.18 mL")}, "invalid"),
        ({"waste_witness": None}, "missing"), ({"waste_witness": "rn-a"}, "self-witnessed"),
        ({"drawn_by": "rn-b"}, "self-witnessed"), ({"administered_by": "rn-b"}, "self-witnessed"),
        ({"witness_role": "front_desk"}, "not-qualified"),
    ],
)  # fmt: skip
def test_a_ledger_that_blocks_closing(changes: dict[str, Any], code: str) -> None:
    found = ledger(entry(**changes), RULES)
    assert isinstance(found, Rejected)
    assert code in {p.code for p in found.problems}


def test_nothing_wasted_needs_no_witness() -> None:
    changes: dict[str, Any] = {"drawn": q("0.82 mL"), "wasted": q("0.00 mL"), "waste_witness": None}
    assert isinstance(ledger(entry(**changes), RULES), LedgerBalance)


def test_an_interrupted_infusion_counts_what_the_pump_reported() -> None:
    given_ = pump_volume_to_stock(q("55.0 mL"), q("100 mL"), q("0.82 mL"), RULES)
    assert given_ == q("0.45 mL")
    assert isinstance(ledger(entry(administered=given_, wasted=q("0.55 mL")), RULES), LedgerBalance)


@pytest.mark.parametrize(
    ("reported", "by_rate", "wanted"),
    [
        ("95.0 mL", "100.0 mL", False),
        ("94.9 mL", "100.0 mL", True),
        ("5.0 mL", "0.0 mL", False),
        ("5.1 mL", "0.0 mL", True),
    ],
)
def test_a_pump_that_differs_from_rate_and_time_is_flagged_beyond_the_signed_share_of_the_bag(
    reported: str, by_rate: str, wanted: bool
) -> None:
    assert pump_disagrees(q(reported), q(by_rate), q("100 mL"), RULES) is wanted
    assert pump_disagrees(q(by_rate), q(reported), q("100 mL"), RULES) is wanted


@given(st.integers(0, 10_000), st.integers(1, 300))
def test_what_was_given_never_exceeds_what_was_drawn(delivered: int, drawn: int) -> None:
    stock = pump_volume_to_stock(q(f"{delivered / 100:.2f} mL"), q("100 mL"), q(f"{drawn / 100:.2f} mL"), RULES)
    assert q("0 mL") <= stock <= q(f"{drawn / 100:.2f} mL")


# --- Outcomes ---------------------------------------------------------------------------------------------------------

SCORING = rules("instruments")


def review(current: int, infusions: int, after: int | None = None, **changes: Any) -> tuple[Outcome, tuple[str, ...]]:
    case = OutcomeCase(
        at=wall("2027-02-12T10:00"), changes={"madrs": change("madrs", 36, current, SCORING)}, infusions=infusions,
        madrs_after=infusions if after is None else after, **changes,
    )  # fmt: skip
    found = response_review(case, RULES)
    return found.outcome, found.fired()


@pytest.mark.parametrize("infusions", [4, 6])
@pytest.mark.parametrize(("current", "asked"), [(27, False), (28, True), (36, True), (40, True)])
def test_futility_is_asked_below_a_quarter(infusions: int, current: int, asked: bool) -> None:
    outcome, fired = review(current, infusions)
    assert ("K-O-FUTILITY" in fired) is asked
    assert (outcome is Outcome.REVIEW) is asked


@pytest.mark.parametrize("infusions", [1, 2, 3, 5, 7])
def test_futility_is_not_asked_at_other_times(infusions: int) -> None:
    assert "K-O-FUTILITY" not in review(36, infusions)[1]


def test_futility_needs_the_right_madrs() -> None:
    assert review(10, 6, after=4)[0] is Outcome.REVIEW
    found = response_review(OutcomeCase(at=wall("2027-02-12T10:00"), changes={}, infusions=4), RULES)
    assert (found.outcome, found.lacks()) == (Outcome.REVIEW, ("madrs",))


def test_response_and_each_remission_criterion_are_named() -> None:
    _, fired = review(9, 5)
    assert fired.count("K-O-REMISSION") == 4
    assert "K-O-RESPONSE" in fired
    assert "K-O-RESPONSE" in review(18, 5)[1]
    assert "K-O-RESPONSE" not in review(19, 5)[1]


def test_relapse_asks_the_prescriber() -> None:
    assert review(9, 5, relapse=True)[0] is Outcome.REVIEW
    assert "K-O-RELAPSE" in review(9, 5, relapse=True)[1]


def test_the_baseline_is_the_last_score_within_two_weeks_before() -> None:
    first = utc("2027-01-25T15:30")
    scores = tuple(
        Scored("madrs", total, first - dt.timedelta(days=days)) for total, days in ((40, 20), (36, 14), (34, 3), (20, -1))
    )
    found = baseline_of(scores, "madrs", first, RULES)
    assert found is not None
    assert found.total == 34
    assert baseline_of(scores[:2], "madrs", first, RULES) == scores[1]
    assert baseline_of(scores[:1], "madrs", first, RULES) is None
    assert baseline_of(scores, "phq9", first, RULES) is None


def test_suicidality_series_stay_side_by_side() -> None:
    points = (
        SuicidalityPoint("C-SSRS", "LOW", utc("2027-01-25T15:00")),
        SuicidalityPoint("QIDS item 12", "1", utc("2027-01-25T15:00")),
    )
    case = OutcomeCase(at=wall("2027-02-12T10:00"), changes={}, infusions=1, suicidality=points)
    names = [i.name for i in response_review(case, RULES).inputs]
    assert sum(n.startswith(("C-SSRS", "QIDS")) for n in names) == 2


def test_baseline_and_sets_do_not_mix() -> None:
    case = discharge_case()
    assert discharge(replace(case, baseline=None), RULES).outcome is Outcome.NOT_READY


def test_the_evidence_shows_the_last_two_sets_and_what_fails_in_each() -> None:
    sets = (vitals(at("11:55")), vitals(at("12:10"), sbp=150), vitals(at("12:25"), resp_rate=None))
    found = discharge(discharge_case(sets=sets), RULES)
    shown = {one.name: str(one.value) for one in found.inputs if one.name.startswith("set ")}
    assert list(shown) == ["set 17:10", "set 17:25"], "the last two, by UTC"
    assert shown["set 17:10"].startswith("150 ")
    assert shown["set 17:10"].endswith("fails: sbp")
    assert "RR unknown" in shown["set 17:25"]
    assert "unknown" not in shown["set 17:10"]
    assert shown["set 17:25"].endswith("fails: nothing")


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"sbp": 90, "dbp": 90}, "implausible pressure"),
        ({"sbp": 91, "dbp": 90}, "nothing"),
        ({"sbp": None}, "nothing"),
        ({"dbp": None}, "nothing"),
        ({"on_oxygen": True}, "on oxygen"),
        ({"on_oxygen": False}, "nothing"),
        ({"moaa_s": 4}, "moaa_s"),
        ({"moaa_s": 5}, "nothing"),
        ({"moaa_s": None}, "nothing"),
    ],
)
def test_what_fails_in_a_set_is_named(changes: dict[str, Any], fails: str) -> None:
    found = discharge(discharge_case(sets=(vitals(at("12:10")), vitals(at("12:25"), **changes))), RULES)
    shown = {one.name: str(one.value) for one in found.inputs}
    assert shown["set 17:25"].endswith(f"fails: {fails}")
