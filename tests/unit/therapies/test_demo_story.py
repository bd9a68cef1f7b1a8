"""The figures of the demo patient, worked out by hand in the story and computed here."""

import datetime as dt
from dataclasses import replace

from services.therapies.body import bmi_shown
from services.therapies.cadence import reminders
from services.therapies.evidence import Evaluation, Outcome
from services.therapies.instruments import CssrsAnswers, RiskLevel, change, cssrs_screener, cssrs_since_last, score
from services.therapies.ketamine.alerts import AlertState, Event, EventKind, Reading, Source, Tier, begin, fold
from services.therapies.ketamine.discharge import discharge
from services.therapies.ketamine.dosing import dose_of_the_day
from services.therapies.ketamine.eligibility import EligibilityCase, eligibility
from services.therapies.ketamine.gates import start_gate
from services.therapies.ketamine.outcomes import OutcomeCase, response_review
from services.therapies.ketamine.records import AdverseEvent, Intervention, Ledger, LedgerBalance, ledger, propose_grade
from services.therapies.ketamine.schedule import check_series
from tests.support.ketamine_cases import PLAN, bp, discharge_case, dose_case, eligible, start_case, trial, vitals
from tests.support.rules import NEW_YORK, d, local, q, rules, wall

KETAMINE, SCALES = rules("ketamine"), rules("instruments")
DAY = "2027-01-25T"

TRIALS = (
    trial("sertraline", "150", "2025-08-04", "2025-10-13", "none"),
    trial("venlafaxine", "150", "2025-10-20", "2026-04-06", "partial"),
    trial("mirtazapine", "15", "2026-04-20", "2026-05-11", "intolerant"),
    trial("bupropion", "300", "2026-06-01", None, "none"),
)


def patient(at: str = "2027-01-21T16:00") -> EligibilityCase:
    return eligible(
        at=wall(at), trials=TRIALS, augmentations=("aripiprazole",), hypertension_treated=True, medications=("amlodipine", "bupropion"),
    )  # fmt: skip


def test_intake_is_incomplete_twice() -> None:
    tests = dict.fromkeys(("ecg", "renal", "liver", "blood_count", "metabolic_panel", "tsh", "drug_screen", "hcg"))
    early = replace(patient("2027-01-21T20:40"), **tests)  # type: ignore[arg-type]
    first = eligibility(replace(early, allergies=None), KETAMINE)
    assert first.outcome is Outcome.INCOMPLETE
    assert "allergies" in first.lacks()
    second = eligibility(early, KETAMINE)
    assert second.outcome is Outcome.INCOMPLETE
    assert set(second.lacks()) == set(tests)


def test_trials_staging_and_body() -> None:
    at_intake = eligibility(patient("2027-01-14T20:40"), KETAMINE).result
    assert at_intake is not None
    assert [(t.verdict, t.weeks) for t in at_intake.trials] == [
        ("failed", d("10.0")), ("failed", d("24.0")), ("intolerant", d("3.0")), ("failed", d("32.4")),
    ]  # fmt: skip
    found = eligibility(patient(), KETAMINE).result
    assert found is not None
    assert found.treatment_resistant is True
    assert found.maudsley is not None
    staging = found.maudsley
    assert (staging.duration, staging.severity, staging.failures, staging.augmentation, staging.ect) == (2, 4, 2, 1, 0)
    assert (staging.total, staging.band) == (9, "moderate")
    assert bmi_shown(q("82.0 kg"), q("168.0 cm")) == d("29.05")


def test_the_proposal_is_review_for_one_relative_rule_and_valid_thirty_days() -> None:
    found = eligibility(patient(), KETAMINE)
    assert (found.outcome, found.fired(), found.missing) == (Outcome.REVIEW_REQUIRED, ("K-E-HYPERTENSION",), ())
    assert found.result is not None
    assert found.result.valid_until == dt.date(2027, 2, 20)
    renewed = eligibility(replace(patient(), at=wall("2027-02-12T10:00")), KETAMINE).result
    assert renewed is not None
    assert renewed.valid_until == dt.date(2027, 3, 14)


def test_scores() -> None:
    at = local("2027-01-14T20:52")
    for instrument, answers, total, band in (
        ("phq9", [3, 3, 3, 3, 2, 2, 2, 2, 1], 21, "severe"),
        ("madrs", [4, 4, 3, 4, 3, 4, 5, 4, 3, 2], 36, "severe"),
        ("qids_sr16", [3, 2, 1, 0, 2, 2, 0, 1, 0, 2, 3, 1, 1, 2, 1, 1], 17, "severe"),
        ("phq9", [2, 2, 2, 2, 1, 1, 2, 1, 0], 13, "moderate"),
        ("cadss6", [2, 2, 1, 1, 1, 1], 8, None),
    ):
        found = score(instrument, answers, at, SCALES)
        assert isinstance(found, Evaluation)
        assert found.result is not None
        assert (found.result.total, found.result.band) == (total, band)
    screen = cssrs_screener(CssrsAnswers(True, True, False, False, False, False), at, SCALES).result
    since = cssrs_since_last(CssrsAnswers(True, False, q6=False), at, SCALES).result
    assert screen is not None
    assert since is not None
    assert (screen.level, since.level) == (RiskLevel.LOW, RiskLevel.LOW)


def test_the_sessions_keep_gap_and_cap() -> None:
    starts = [wall(f"2027-01-{n}T10:30") for n in (25, 27, 29)] + [wall(f"2027-02-0{n}T11:00") for n in (1, 3, 5)]
    assert check_series(starts, NEW_YORK, KETAMINE) == ()
    rungs = [r.at.local for visit in starts for r in reminders(visit, NEW_YORK, rules("cadence"))]
    assert len(rungs) == 18
    assert all(dt.time(8) <= clock.time() < dt.time(21) for clock in rungs)


def test_the_start_is_refused_for_the_missing_hcg_only() -> None:
    at = wall(DAY + "10:18")
    sets = (vitals(local(DAY + "10:17")),)
    day = {
        "at": at, "sets": sets, "consent_reconfirmed_at": local(DAY + "10:06"), "cssrs_at": local(DAY + "10:10"),
        "facts_as_of": dict.fromkeys(start_case().facts_as_of, at.at),
    }  # fmt: skip
    refused = start_gate(start_case(**day, hcg=None, hcg_at=None), KETAMINE)
    assert (refused.outcome, refused.lacks(), refused.fired()) == (Outcome.HOLD, ("hcg",), ())
    later = wall(DAY + "10:30")
    opened = start_gate(
        start_case(**{**day, "at": later, "facts_as_of": dict.fromkeys(start_case().facts_as_of, later.at)}, hcg_at=local(DAY + "10:21")),
        KETAMINE,
    )  # fmt: skip
    assert opened.outcome is Outcome.OPEN


def test_dose_ledger_and_pump() -> None:
    for minutes, rate, per_minute, per_hour in (
        (40, "150 mL/h", "1.025 mg/min", "61.5 mg/h"),
        (50, "120 mL/h", "0.82 mg/min", "49.2 mg/h"),
    ):
        found = dose_of_the_day(dose_case(plan=replace(PLAN, duration=q(f"{minutes} min"))), KETAMINE)
        assert isinstance(found, Evaluation)
        assert found.result is not None
        dose = found.result
        assert (dose.mass, dose.volume, dose.concentration) == (q("41.0 mg"), q("0.82 mL"), q("0.41 mg/mL"))
        assert (dose.pump_rate, dose.mass_per_minute, dose.mass_per_hour) == (q(rate), q(per_minute), q(per_hour))
    entry = Ledger(
        strength=q("50 mg/mL"), drawn=q("1.00 mL"), administered=q("0.82 mL"), wasted=q("0.18 mL"), drawn_by="a", administered_by="a",
        waste_witness="b", witness_role="nurse",
    )  # fmt: skip
    assert ledger(entry, KETAMINE) == LedgerBalance(q("50.0 mg"), q("41.0 mg"), q("9.0 mg"))


SETS = [
    ("10:30", 130, 80, 77, 15, 98), ("10:40", 138, 84, 84, 18, 100), ("10:50", 148, 90, 87, 15, 100), ("11:00", 158, 96, 91, 16, 100),
    ("11:04", 150, 92, 90, 16, 100), ("11:10", 146, 88, 90, 18, 100), ("11:25", 138, 86, 93, 19, 96), ("11:40", 134, 84, 84, 22, 98),
    ("11:55", 130, 80, 80, 16, 98), ("12:10", 128, 80, 78, 15, 98), ("12:25", 126, 78, 76, 14, 98),
]  # fmt: skip


def test_session_one_raises_one_alert_by_the_relative_rule() -> None:
    typed = dt.timedelta(seconds=25)
    entries: list[Reading | Event] = []
    for clock, sbp, dbp, pulse, breaths, saturation in SETS:
        at = local(DAY + clock)
        entries.append(
            Reading(
                id=clock, at=at, recorded_at=at + typed, source=Source.TYPED, sbp=q(f"{sbp} mm[Hg]"), dbp=q(f"{dbp} mm[Hg]"),
                heart_rate=q(f"{pulse} /min"), resp_rate=q(f"{breaths} /min"), spo2=q(f"{saturation} %"), moaa_s=5,
                cadss6=8 if clock == "11:10" else None,
            )
        )  # fmt: skip
    # The oximeter streams from the start to minute 72.
    start = local(DAY + "10:30")
    for second in range(0, 72 * 60, 20):
        at = start + dt.timedelta(seconds=second)
        entries.append(
            Reading(id=f"s{second}", at=at, recorded_at=at, source=Source.STREAM, spo2=q("98 %"), heart_rate=q("80 /min"))
        )
    dizzy = local(DAY + "10:56")
    entries.append(Reading(id="dizzy", at=dizzy, recorded_at=dizzy, source=Source.TYPED, symptoms=frozenset({"dizziness"})))
    resolved, ended = local(DAY + "11:04:40"), local(DAY + "11:10:30")
    entries.append(Event(id="res", at=resolved, recorded_at=resolved, kind=EventKind.RESOLVED, family="sbp_high", role="nurse"))
    entries.append(Event(id="end", at=local(DAY + "11:10"), recorded_at=ended, kind=EventKind.INFUSION_ENDED))
    state = fold(begin(start, vitals(local(DAY + "10:17")), KETAMINE), entries, local(DAY + "12:34"), KETAMINE)
    assert isinstance(state, AlertState)
    assert [(a.family, a.tier, a.at, a.rule) for a in state.alerts] == [
        ("sbp_high", Tier.AMBER, local(DAY + "11:00"), "alert.sbp_rise.AMBER"),
    ]
    assert state.open == {}
    assert propose_grade(AdverseEvent(term="dizziness", intervention=Intervention.NONE), KETAMINE).grade == 1
    around = (bp(148, 90), bp(158, 96), bp(150, 92), bp(146, 88))
    assert propose_grade(AdverseEvent(term="hypertension", readings=around), KETAMINE).serious is False


def test_discharge_is_refused_at_1220_and_ready_at_1234() -> None:
    sets = tuple(vitals(local(DAY + t), sbp=s, dbp=b, heart_rate=h, resp_rate=r, spo2=o) for t, s, b, h, r, o in SETS[6:])
    early = discharge(
        discharge_case(
            at=wall(DAY + "12:20"), sets=sets, cadss6=None, aldrete=None, escort_seen=None, cssrs_at=None, cssrs=None
        ),
        KETAMINE,
    )
    assert early.outcome is Outcome.NOT_READY
    assert "12:30" in next(f.reason for f in early.findings if f.rule == "K-X-TIME")
    assert {"cadss6", "aldrete", "escort_seen", "cssrs"} <= set(early.lacks())
    assert discharge(discharge_case(sets=sets), KETAMINE).outcome is Outcome.READY


def test_earliest_discharge_of_each_session() -> None:
    for start, minutes, expected in (("10:30", 40, "12:30"), ("10:30", 50, "12:30"), ("11:00", 50, "13:00")):
        begun = local(DAY + start)
        case = discharge_case(started=begun, ended=begun + dt.timedelta(minutes=minutes))
        found = discharge(case, KETAMINE).result
        assert found is not None
        assert found.earliest == local(DAY + expected)


def test_response_and_remission_dates() -> None:
    first_response = {
        "qids_sr16": (17, [("01-27", 13), ("01-29", 9), ("02-01", 8), ("02-03", 7), ("02-05", 6)], "02-01"),
        "madrs": (36, [("02-03", 18), ("02-12", 9)], "02-03"),
        "phq9": (21, [("02-01", 13), ("02-08", 8), ("02-12", 6)], "02-08"),
    }
    for instrument, (baseline, series, day) in first_response.items():
        responding = [on for on, total in series if change(instrument, baseline, total, SCALES).response]
        assert responding[0] == day, instrument
    assert all(change("madrs", 36, 9, SCALES).remission.values())
    assert not any(change("madrs", 36, 18, SCALES).remission.values())
    assert change("qids_sr16", 17, 5, SCALES).remission == {"qids<=5": True}
    assert change("qids_sr16", 17, 6, SCALES).remission == {"qids<=5": False}
    assert [change("phq9", 21, total, SCALES).remission["phq9<5"] for total in (8, 6, 4)] == [False, False, True]


def test_no_futility_task() -> None:
    for infusions, madrs in ((4, 18), (6, 9)):
        case = OutcomeCase(
            at=wall("2027-02-12T10:00"),
            changes={"madrs": change("madrs", 36, madrs, SCALES)},
            infusions=infusions,
            madrs_after=infusions,
        )
        assert "K-O-FUTILITY" not in response_review(case, KETAMINE).fired()


def test_the_april_review_keeps_its_wall_clock() -> None:
    visit = wall("2027-04-16T10:30")
    assert visit.at == dt.datetime(2027, 4, 16, 14, 30, tzinfo=dt.UTC)
    assert wall("2027-01-16T10:30").at.hour == 15
    assert f"{reminders(visit, NEW_YORK, rules('cadence'))[-1].at.local:%H:%M}" == "08:30"
