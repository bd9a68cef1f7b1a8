"""US rules that change what software may propose: schedules, in-person evaluation, licence, PDMP, consent content.
Every row is dated data.

What is not covered by a dated row fails to the stricter side: a controlled drug needs an in-person evaluation. There is
    no pathway for
ketamine outside a clinic, and asking for one is refused.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from schemas.values import Moment
from services.therapies.evidence import GATE_PRECEDENCE, Assessment, Evaluation, Outcome, Rejected, Thresholds, is_stale
from services.therapies.protocol import Keys

__all__ = [
    "KEYS",
    "PrescriptionCase",
    "consent_text",
    "flexibility_applies",
    "missing_consent_topics",
    "prescription",
    "schedule_of",
]

KEYS: Final = Keys(
    values={"pdmp.fresh": "d", "pdmp.fresh.*": "d"},
    rules=frozenset({"R-IN-PERSON", "R-LICENCE", "R-PDMP", "R-DEA", "R-TWO-FACTOR", "R-STATE-LAW", "R-SCHEDULE"}),
    lists=frozenset(
        {
            "schedule.ketamine",
            "schedule.testosterone",
            "schedule.semaglutide",
            "flexibility",
            "consent.ketamine",
            "consent_text.ketamine",
        }
    ),
)

NOT_CONTROLLED: Final = "none"


def schedule_of(drug: str, on: dt.date, rules: Thresholds) -> str | None:
    """The federal schedule of a drug on a date (``C-III``, or ``none``); None when no dated row covers it."""
    rows = sorted(row.split(" ", 1) for row in rules.lists.get(f"schedule.{drug}", ()))
    return next((name for day, name in reversed(rows) if dt.date.fromisoformat(day) <= on), None)


def flexibility_applies(on: dt.date, rules: Thresholds) -> bool:
    """Whether the telemedicine flexibility is in force on a date: only inside a dated row, first and
    last day included.
    """
    rows = (row.split(" to ") for row in rules.lists["flexibility"])
    return any(dt.date.fromisoformat(first) <= on <= dt.date.fromisoformat(last) for first, last in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrescriptionCase:
    """A prescription or administration that is about to be signed.

    Attributes:
        at: now, in the prescriber's zone; ``patient_zone`` is where the patient is today.
        drug: ``ketamine``, ``testosterone`` or ``semaglutide``; ``setting``: ``clinic`` or ``home``.
        in_person_evaluation: the prescriber has seen the patient in person.
        flexibility_conditions: the conditions of the telemedicine flexibility are met; ``state_law_allows`` likewise.
        patient_state: where the patient is located at this encounter, from today's address.
        licence_states: where the prescriber is licensed today; ``dea_states`` where registered.
        pdmp_checked_at: last query of the prescription monitoring programme; ``new_patient`` asks for one on the day.
        two_factor: the controlled prescription is signed with two factors.
    """

    at: Moment
    patient_zone: str
    drug: str
    setting: str
    in_person_evaluation: bool | None = None
    flexibility_conditions: bool | None = None
    state_law_allows: bool | None = None
    patient_state: str | None = None
    licence_states: frozenset[str] = frozenset()
    dea_states: frozenset[str] = frozenset()
    pdmp_checked_at: dt.datetime | None = None
    new_patient: bool | None = None
    two_factor: bool | None = None


def prescription(case: PrescriptionCase, rules: Thresholds) -> Evaluation[str] | Rejected:
    """OPEN when nothing regulatory speaks against it, else HOLD with every reason; the result is the schedule.

    The date is the later of the prescriber's and the patient's local date, so a row that ends at midnight ends at the
    first midnight.
    """
    if case.drug == "ketamine" and case.setting != "clinic":
        return Rejected.one("no-such-pathway", "setting", "ketamine is given in the clinic only; there is no home pathway")
    if f"schedule.{case.drug}" not in rules.lists:
        return Rejected.one("unknown-drug", "drug", "has no schedule row")
    e = Assessment("regulatory.prescription", rules, case.at.at)
    today = max(case.at.date, Moment(case.at.at, case.patient_zone).date)
    schedule = schedule_of(case.drug, today, rules)
    row = e.look("schedule", schedule)
    if schedule is None:
        e.fire("R-SCHEDULE", row, detail=f"on {today}")
    state = e.look("patient_state", case.patient_state)
    if case.patient_state is None:
        e.lack("patient_state", "where the patient is today decides the licence")
    elif case.patient_state not in case.licence_states:
        e.fire("R-LICENCE", state)
    if schedule != NOT_CONTROLLED:
        _controlled(case, today, e)
    return e.close(e.worst(GATE_PRECEDENCE, Outcome.HOLD), schedule)


def _controlled(case: PrescriptionCase, today: dt.date, e: Assessment) -> None:
    rules = e.thresholds
    seen = e.look("in_person_evaluation", case.in_person_evaluation)
    if case.in_person_evaluation is not True:
        flexible = flexibility_applies(today, rules) and case.flexibility_conditions is True
        # Ketamine here is infused in the clinic: its plan needs the visit whatever the flexibility says.
        if not flexible or case.drug == "ketamine":
            e.fire("R-IN-PERSON", seen, detail=f"on {today}")
        law = e.look("state_law_allows", case.state_law_allows)
        if case.state_law_allows is not True:
            e.fire("R-STATE-LAW", law)
    registered = e.look("dea_states", case.dea_states)
    if case.patient_state is not None and case.patient_state not in case.dea_states:
        e.fire("R-DEA", registered)
    checked = e.look("pdmp_checked_at", "checked" if case.pdmp_checked_at else None, case.pdmp_checked_at)
    limit = rules.values.get(f"pdmp.fresh.{case.patient_state}", rules["pdmp.fresh"])
    same_day = case.pdmp_checked_at is not None and Moment(case.pdmp_checked_at, case.at.zone).date == case.at.date
    if (
        case.pdmp_checked_at is None
        or is_stale(case.pdmp_checked_at, e.now, limit)
        or (case.new_patient is not False and not same_day)
    ):
        e.fire("R-PDMP", checked)
    if case.setting == "home" and case.two_factor is not True:
        e.fire("R-TWO-FACTOR", e.look("two_factor", case.two_factor))


def consent_text(programme: str, rules: Thresholds) -> str | None:
    """The version of the consent text that is in force; None for a programme without a signed one."""
    return next(iter(rules.lists.get(f"consent_text.{programme}", ())), None)


def missing_consent_topics(programme: str, topics: frozenset[str], rules: Thresholds) -> tuple[str, ...]:
    """What a written, versioned off-label consent has to cover and this one does not.

    Raises:
        KeyError: the programme has no consent row.
    """
    return tuple(topic for topic in rules.lists[f"consent.{programme}"] if topic not in topics)
