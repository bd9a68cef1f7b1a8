"""Who the demo's patient is, and what they answer: the figures of the story, as data."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

__all__ = ["FOLLOWING", "INFUSION", "RECOVERY", "TOPICS", "Person", "Vitals", "intake", "madrs", "phq9", "qids"]

_MEASURED: Final = {
    "sbp": {"value": "128", "unit": "mm[Hg]"},
    "dbp": {"value": "78", "unit": "mm[Hg]"},
    "heart_rate": {"value": "74", "unit": "/min"},
    "resp_rate": {"value": "14", "unit": "/min"},
    "spo2": {"value": "98", "unit": "%"},
    "temperature": {"value": "36.7", "unit": "Cel"},
}
_TESTS: Final = {
    **dict.fromkeys(("ecg", "renal", "liver", "blood_count", "metabolic_panel", "tsh"), "normal"),
    "drug_screen": "negative",
}
TOPICS: Final = ("misconceptions", "addiction", "recreational use", "side effects", "off-label status", "what to expect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who is treated: obviously nobody, and everything that a path has to know of them.

    Attributes:
        login: whose account it is.
        escort: who takes them home.
        weight: kg.
        nurse, witness: who is responsible for them at the chair, and who sees that drug is thrown away.
        device: the monitor at their chair.
        last_drink: wall-clock time of the last clear fluid before a session.
    """

    login: str
    given_name: str
    family_name: str
    birth_date: dt.date
    email: str
    escort: str = "Sam Marlow"
    female: bool = True
    weight: Decimal = Decimal("82.0")
    height: Decimal = Decimal("168.0")
    nurse: str = "nurse.a"
    witness: str = "nurse.b"
    device: str = "monitor-1"
    last_drink: str = "08:15"

    @property
    def measured(self) -> dict[str, dict[str, str]]:
        """What is measured at the examination."""
        return {
            "weight": {"value": str(self.weight), "unit": "kg"},
            "height": {"value": str(self.height), "unit": "cm"},
            **_MEASURED,
        }

    @property
    def tests(self) -> dict[str, str]:
        """What the tests find; a pregnancy test where one is due."""
        return {**_TESTS, "hcg": "negative"} if self.female else dict(_TESTS)

    @property
    def volume(self) -> Decimal:
        """mL of the stock that are the dose: 0.5 mg/kg out of 50 mg/mL."""
        return (self.weight / 100).quantize(Decimal("0.01"))


@dataclass(frozen=True, slots=True)
class Vitals:
    """A set as the nurse types it, so many minutes after the start; MOAA/S 5 throughout."""

    minute: int
    sbp: int
    dbp: int
    heart_rate: int
    resp_rate: int
    spo2: int

    def body(self, **more: Any) -> dict[str, Any]:
        """The request."""
        return {
            "sbp": {"value": str(self.sbp), "unit": "mm[Hg]"},
            "dbp": {"value": str(self.dbp), "unit": "mm[Hg]"},
            "heart_rate": {"value": str(self.heart_rate), "unit": "/min"},
            "resp_rate": {"value": str(self.resp_rate), "unit": "/min"},
            "spo2": {"value": str(self.spo2), "unit": "%"},
            "on_oxygen": False,
            "moaa_s": 5,
            **more,
        }


INFUSION: Final = (
    Vitals(0, 130, 80, 77, 15, 98),
    Vitals(10, 138, 84, 84, 18, 100),
    Vitals(20, 148, 90, 87, 15, 100),
    Vitals(30, 158, 96, 91, 16, 100),
    Vitals(34, 150, 92, 90, 16, 100),
    Vitals(40, 146, 88, 90, 18, 100),
)
RECOVERY: Final = (
    Vitals(55, 138, 86, 93, 19, 96),
    Vitals(70, 134, 84, 84, 22, 98),
    Vitals(85, 130, 80, 80, 16, 98),
    Vitals(100, 128, 80, 78, 15, 98),
    Vitals(115, 126, 78, 76, 14, 98),
)
FOLLOWING: Final = (
    # pressure before, peak, CADSS-6 at the end, QIDS before
    (126, 150, 7, 13),
    (128, 148, 6, 9),
    (130, 146, 6, 8),
    (128, 147, 5, 7),
    (126, 144, 4, 6),
)
"""Sessions 2 to 6."""


def intake(shift: dt.timedelta, questions: frozenset[str]) -> dict[str, Any]:
    """History and complaints; dates are moved by a whole number of weeks where the story is played later."""

    def day(text: str) -> str:
        return (dt.date.fromisoformat(text) + shift).isoformat()

    trials = [
        {"drug": "sertraline", "dose": "150 mg/d", "start": day("2025-08-04"), "end": day("2025-10-13"), "outcome": "none"},
        {
            "drug": "venlafaxine",
            "dose": "150 mg/d",
            "start": day("2025-10-20"),
            "end": day("2026-04-06"),
            "outcome": "partial",
        },
        {
            "drug": "mirtazapine",
            "dose": "15 mg/d",
            "start": day("2026-04-20"),
            "end": day("2026-05-11"),
            "outcome": "intolerant",
        },
        {"drug": "bupropion", "dose": "300 mg/d", "start": day("2026-06-01"), "outcome": "none"},
    ]
    return {
        **dict.fromkeys(questions, False),
        "capacity_confirmed": True,
        "hypertension_treated": True,
        "sex_at_birth": "female",
        "pregnancy_potential": True,
        "primary_diagnosis": "F33.2",
        "trials": [{**trial, "adherence": "95 %"} for trial in trials],
        "episode_start": day("2025-07-14"),
        "severity": "severe",
        "augmentations": ["aripiprazole"],
        "ect": False,
        "allergies": [],
        "medications": ["amlodipine", "bupropion"],
        "child_pugh": "none",
        "cardiovascular_event": False,
    }


def _spread(total: int, places: int, highest: int) -> list[int]:
    """A total, spread over answers from the first on."""
    found = []
    for _ in range(places):
        found.append(min(highest, total))
        total -= found[-1]
    return found


def phq9(total: int) -> list[int]:
    """Answers with this total and item 9 = 0."""
    return [*_spread(total, 8, 3), 0]


def gad7(total: int) -> list[int]:
    """Answers with this total."""
    return _spread(total, 7, 3)


def qids(total: int) -> list[int]:
    """Answers with this total and item 12 = 0: of sleep, weight and pace the highest of their group counts."""
    one, five, six, ten, eleven, thirteen, fourteen, fifteen = _spread(total, 8, 3)
    return [one, 0, 0, 0, five, six, 0, 0, 0, ten, eleven, 0, thirteen, fourteen, fifteen, 0]


def madrs(total: int) -> list[int]:
    """Answers with this total and item 10 = 0."""
    return [*_spread(total, 9, 6), 0]
