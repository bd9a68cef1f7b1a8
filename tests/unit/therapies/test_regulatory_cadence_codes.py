"""Regulatory rows, contacts, ladders, reminders, education, codes."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.values import UNITS, Moment, zone_of
from services.therapies import cadence, codes, regulatory
from services.therapies.cadence import (
    BusinessHours,
    business_deadline,
    contacts,
    due_pages,
    education,
    ladder,
    reminders,
    send_at,
)
from services.therapies.evidence import Evaluation, Outcome, Rejected
from services.therapies.regulatory import PrescriptionCase, missing_consent_topics, prescription, schedule_of
from tests.support.rules import local, rules, utc, wall

LAW = rules("regulatory")
CADENCE = rules("cadence")


def ask(**changes: Any) -> Evaluation[str] | Rejected:
    at = wall("2026-12-31T23:50")
    case = PrescriptionCase(
        at=at, patient_zone="America/New_York", drug="testosterone", setting="home", in_person_evaluation=False,
        flexibility_conditions=True, state_law_allows=True, patient_state="NY", licence_states=frozenset({"NY"}),
        dea_states=frozenset({"NY"}), pdmp_checked_at=at.at - dt.timedelta(hours=1), new_patient=True, two_factor=True,
    )  # fmt: skip
    return prescription(replace(case, **changes), LAW)


def fired(**changes: Any) -> tuple[str, ...]:
    found = ask(**changes)
    assert isinstance(found, Evaluation)
    assert (found.outcome is Outcome.OPEN) is (not found.findings and not found.missing)
    return found.fired()


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        ("V-R1", {}, ()),
        ("the first midnight ends it: patient", {"patient_zone": "America/Halifax"}, ("R-IN-PERSON",)),
        ("the first midnight ends it: prescriber", {"at": wall("2027-01-01T00:00"), "patient_zone": "America/Los_Angeles"}, ("R-IN-PERSON", "R-PDMP")),
        ("2027 with a visit", {"at": wall("2027-01-01T00:50"), "in_person_evaluation": True, "new_patient": False}, ()),
        ("conditions not met", {"flexibility_conditions": False}, ("R-IN-PERSON",)),
        ("conditions unknown", {"flexibility_conditions": None}, ("R-IN-PERSON",)),
        ("state law unknown", {"state_law_allows": None}, ("R-STATE-LAW",)),
        ("before the first row", {"at": wall("2025-12-31T12:00"), "pdmp_checked_at": utc("2025-12-31T16:00")}, ("R-IN-PERSON",)),
        ("V-R3", {"drug": "semaglutide", "at": wall("2027-01-01T12:00"), "pdmp_checked_at": None, "dea_states": frozenset()}, ()),
        ("licence by today's location", {"patient_state": "NJ"}, ("R-LICENCE", "R-DEA")),
        ("no registration", {"dea_states": frozenset()}, ("R-DEA",)),
        ("no PDMP", {"pdmp_checked_at": None}, ("R-PDMP",)),
        ("PDMP yesterday, new patient", {"pdmp_checked_at": local("2026-12-30T23:00")}, ("R-PDMP",)),
        ("PDMP yesterday, unknown patient", {"pdmp_checked_at": local("2026-12-30T23:00"), "new_patient": None}, ("R-PDMP",)),
        ("PDMP 90 days", {"pdmp_checked_at": wall("2026-12-31T23:50").at - dt.timedelta(days=90), "new_patient": False}, ()),
        ("PDMP older", {"pdmp_checked_at": wall("2026-12-31T23:50").at - dt.timedelta(days=90, seconds=1), "new_patient": False}, ("R-PDMP",)),
        ("one factor", {"two_factor": None}, ("R-TWO-FACTOR",)),
        ("ketamine needs the visit even in 2026", {"drug": "ketamine", "setting": "clinic"}, ("R-IN-PERSON",)),
        ("ketamine in the clinic", {"drug": "ketamine", "setting": "clinic", "in_person_evaluation": True}, ()),
        ("no schedule row yet", {"drug": "semaglutide", "at": wall("2015-01-01T12:00"), "pdmp_checked_at": utc("2015-01-01T16:00"), "in_person_evaluation": True}, ("R-SCHEDULE",)),
    ],
)  # fmt: skip
def test_prescription(row: str, changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert fired(**changes) == expected, row


def test_where_the_patient_is_has_to_be_known() -> None:
    found = ask(patient_state=None)
    assert isinstance(found, Evaluation)
    assert (found.outcome, found.lacks()) == (Outcome.HOLD, ("patient_state",))


@pytest.mark.parametrize("setting", ["home", "telehealth", ""])
def test_v_r4_there_is_no_home_pathway_for_ketamine(setting: str) -> None:
    found = ask(drug="ketamine", setting=setting, in_person_evaluation=True)
    assert isinstance(found, Rejected)
    assert found.problems[0].code == "no-such-pathway"
    assert isinstance(ask(drug="heroin"), Rejected)


def test_schedules_are_dated() -> None:
    assert schedule_of("ketamine", dt.date(2027, 1, 1), LAW) == "C-III"
    assert schedule_of("ketamine", dt.date(1999, 8, 11), LAW) is None
    moved = replace(LAW, lists={**LAW.lists, "schedule.testosterone": ("1991-02-27 C-III", "2027-06-01 none")})
    assert schedule_of("testosterone", dt.date(2027, 5, 31), moved) == "C-III"
    assert schedule_of("testosterone", dt.date(2027, 6, 1), moved) == "none"


def test_what_an_off_label_consent_covers() -> None:
    everything = frozenset(LAW.lists["consent.ketamine"])
    assert missing_consent_topics("ketamine", everything, LAW) == ()
    assert missing_consent_topics("ketamine", everything - {"off-label status"}, LAW) == ("off-label status",)
    assert {"bladder", "liver", "misuse", "no driving", "costs", "withdrawal at any time"} <= everything


# --- Reminders --------------------------------------------------------------------------------------------------------


def rungs(visit: Moment, zone: str = "America/New_York") -> list[tuple[str, str]]:
    return [(r.rung, f"{r.at.local:%Y-%m-%d %H:%M}") for r in reminders(visit, zone, CADENCE)]


def test_v_s15_a_skipped_wall_clock_is_sent_once_an_hour_later() -> None:
    from services.therapies.calendar import resolve

    at = resolve(dt.date(2027, 3, 14), dt.time(2, 30), "America/New_York")
    assert (at.at, f"{at.local:%H:%M}") == (utc("2027-03-14T07:30"), "03:30")


def test_v_s21_quiet_hours_defer_and_urgent_alerts_are_not_deferred() -> None:
    due = wall("2027-01-05T22:10")
    assert send_at(due, CADENCE) == wall("2027-01-06T08:00")
    assert send_at(due, CADENCE, urgent=True) == due


@pytest.mark.parametrize(
    ("due", "sent"),
    [
        ("20:59", "20:59"),
        ("21:00", "08:00"),
        ("23:59", "08:00"),
        ("00:00", "08:00"),
        ("07:59", "08:00"),
        ("08:00", "08:00"),
        ("08:01", "08:01"),
    ],
)
def test_quiet_hours_boundaries(due: str, sent: str) -> None:
    assert f"{send_at(wall(f'2027-01-05T{due}'), CADENCE).local:%H:%M}" == sent


@pytest.mark.parametrize(
    ("visit", "expected"),
    [
        ("2027-01-25T10:30", [("72 h", "2027-01-22 10:30"), ("24 h", "2027-01-24 10:30"), ("2 h", "2027-01-25 08:30")]),
        ("2027-01-25T08:45", [("72 h", "2027-01-22 08:45"), ("24 h", "2027-01-24 08:45"), ("2 h", "2027-01-25 08:00")]),
        ("2027-01-25T08:44", [("72 h", "2027-01-22 08:44"), ("24 h", "2027-01-24 08:44")]),
        ("2027-01-25T22:30", [("72 h", "2027-01-23 08:00"), ("24 h", "2027-01-25 08:00"), ("2 h", "2027-01-25 20:30")]),
    ],
)
def test_reminders_of_a_visit(visit: str, expected: list[tuple[str, str]]) -> None:
    assert rungs(wall(visit)) == expected


def test_v_s19_the_recipient_reads_their_own_clock() -> None:
    for day, clock in (("2027-03-08", "10:00"), ("2027-03-15", "09:00")):
        visit = wall(f"{day}T09:00", "America/Los_Angeles")
        assert f"{Moment(visit.at, 'America/Phoenix').local:%H:%M}" == clock


@settings(max_examples=80)
@given(
    st.integers(0, 2 * 366 * 24 * 60),
    st.sampled_from(["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_no_reminder_is_in_quiet_hours_or_after_the_visit(minute: int, zone: str) -> None:
    visit = Moment(utc("2027-01-01") + dt.timedelta(minutes=minute), "America/New_York")
    for reminder in reminders(visit, zone, CADENCE):
        assert dt.time(8) <= reminder.at.at.astimezone(zone_of(zone)).time() < dt.time(21)
        assert visit.at - reminder.at.at >= dt.timedelta(minutes=45)


# --- Ladders ----------------------------------------------------------------------------------------------------------

T0 = utc("2027-01-25T16:00")


def pages(tier: str, seconds: float, **answers: float) -> list[tuple[int, str]]:
    at = {name: T0 + dt.timedelta(seconds=n) for name, n in answers.items()}
    found = due_pages(tier, T0, T0 + dt.timedelta(seconds=seconds), CADENCE, **at)
    return [(int((p.at - T0).total_seconds()), p.who) for p in found]


def test_v_v17_an_unanswered_red_pages_again_wider_and_wider() -> None:
    assert pages("RED", 59.9) == [(0, "nurse"), (0, "prescriber")]
    assert pages("RED", 60)[2:] == [(60, "nurse again"), (60, "nurse, pause not recorded")]
    assert {who for _, who in pages("RED", 180)} >= {
        "second person",
        "clinic-wide",
        "prescriber at the bedside is overdue",
    }


def test_a_nurses_acknowledgement_ends_only_the_nurses_page() -> None:
    found = pages("RED", 600, nurse_acknowledged_at=30)
    assert found == [
        (0, "nurse"),
        (0, "prescriber"),
        (60, "nurse, pause not recorded"),
        (180, "prescriber at the bedside is overdue"),
    ]
    assert pages("RED", 600, nurse_acknowledged_at=30, prescriber_at=100, pause_recorded_at=40) == [
        (0, "nurse"),
        (0, "prescriber"),
    ]


def test_a_stop_pages_everyone_at_once_and_an_amber_waits_for_its_recheck() -> None:
    assert [who for at, who in pages("STOP", 0) if at == 0] == ["clinic-wide", "nurse", "prescriber"]
    # It calls for as long as a RED does, and a nurse's acknowledgement ends only the nurse's calls.
    assert [at for at, _ in pages("STOP", 600)] == [0, 0, 0, 60, 60, 120, 120, 180, 180]
    assert [at for at, _ in pages("STOP", 600, nurse_acknowledged_at=30)] == [0, 0, 0, 60, 120, 180]
    assert [at for at, _ in pages("STOP", 600, nurse_acknowledged_at=30, prescriber_at=100)] == [0, 0, 0, 60]
    assert pages("AMBER", 299) == []
    assert pages("AMBER", 300) == [(300, "second nurse, recheck missing")]
    assert pages("AMBER", 900, rechecked_at=200) == []


def test_suicide_clocks() -> None:
    assert [(r.after, r.who) for r in ladder("suicide HIGH", CADENCE)] == [
        (dt.timedelta(seconds=60), "page a clinician"), (dt.timedelta(minutes=5), "a human has answered"),
    ]  # fmt: skip
    assert [r.after for r in ladder("suicide INCOMPLETE", CADENCE)] == [r.after for r in ladder("suicide HIGH", CADENCE)]
    assert ladder("item 9", CADENCE)[0].after == dt.timedelta(minutes=10)
    assert ladder("suicide LOW", CADENCE)[0].after == dt.timedelta(hours=72)
    assert [r.after for r in ladder("no answer", CADENCE)][-1] == dt.timedelta(minutes=15)
    assert ladder("left without discharge", CADENCE)[-1].after == dt.timedelta(hours=2)
    assert ladder("nothing", CADENCE) == ()


HOURS = BusinessHours(frozenset({1, 2, 3, 4, 5}), dt.time(9), dt.time(17), frozenset({dt.date(2027, 1, 18)}))


@pytest.mark.parametrize(
    ("detected", "deadline"),
    [
        ("2027-01-13T09:00", "2027-01-13T13:00"), ("2027-01-13T13:00", "2027-01-13T17:00"), ("2027-01-13T15:00", "2027-01-14T11:00"),
        ("2027-01-13T03:00", "2027-01-13T13:00"), ("2027-01-13T20:00", "2027-01-14T13:00"), ("2027-01-15T15:00", "2027-01-16T15:00"),
        ("2027-01-17T12:00", "2027-01-18T12:00"), ("2027-01-13T13:00:01", "2027-01-14T09:00:01"),
    ],
)  # fmt: skip
def test_moderate_is_answered_in_business_hours_and_never_after_a_day(detected: str, deadline: str) -> None:
    assert business_deadline(wall(detected), HOURS, CADENCE) == local(deadline)


# --- Contacts, education, codes ---------------------------------------------------------------------------------------


def test_contacts_of_each_programme() -> None:
    ketamine = {c.name: c.after for c in contacts("ketamine", CADENCE)}
    assert ketamine["check after discharge sign-off"] == "24 h"
    semaglutide = [c.after for c in contacts("semaglutide", CADENCE)]
    assert semaglutide == ["7 d", "28 d", "84 d", "168 d", "364 d"]
    assert [c.after for c in contacts("testosterone", CADENCE)] == ["3 mo", "6 mo", "12 mo"]
    assert all(c.source for programme in cadence.PROGRAMMES for c in contacts(programme, CADENCE))


def test_education_has_topics_for_every_programme_and_stage() -> None:
    for programme in cadence.PROGRAMMES:
        for stage in cadence.STAGES:
            assert education(programme, stage, CADENCE)
    before = education("ketamine", "before consent", CADENCE)
    assert {
        "misconceptions",
        "addiction",
        "recreational use",
        "side effects",
        "off-label status",
        "what to expect",
    } <= set(before)
    with pytest.raises(KeyError):
        education("ketamine", "never", CADENCE)


def luhn(code: str) -> bool:
    digits, check = code.split("-")
    total = sum(sum(divmod(int(d) * (2 if i % 2 == 0 else 1), 10)) for i, d in enumerate(reversed(digits)))
    return (10 - total % 10) % 10 == int(check)


def test_loinc_codes_have_their_check_digit_and_known_units() -> None:
    assert [c.coding.code for c in codes.LOINC.values() if not c.coding.code.startswith("LA") and not luhn(c.coding.code)] == []
    assert all(c.unit is None or c.unit in UNITS for c in codes.LOINC.values())
    assert len({c.coding.code for c in codes.LOINC.values()}) == len(codes.LOINC)
    assert {name for name, c in codes.LOINC.items() if not c.verified} == {"lh", "fsh", "prolactin", "estradiol"}
    assert (codes.LOINC["gad7_item6"].coding.code, codes.LOINC["gad7_item7"].coding.code) == ("69689-8", "69736-7")
    assert {codes.LOINC["spo2"].coding.code, codes.LOINC["spo2_pulse_oximetry"].coding.code} == {"2708-6", "59408-5"}


@pytest.mark.parametrize(
    ("code", "others", "expected"),
    [
        ("F33.2", [], True),
        ("E66.8", [], False),
        ("E66.81", [], False),
        ("E66.811", [], True),
        ("Z68.30", [], False),
        ("Z68.30", ["E66.9"], True),
        ("Z68.30", ["I10"], False),
        ("F99", [], False),
    ],
)
def test_icd10(code: str, others: list[str], expected: bool) -> None:
    assert codes.billable(code, frozenset(others)) is expected


def test_regulatory_module_offers_no_home_ketamine_function() -> None:
    assert not any("home" in name for name in vars(regulatory))
