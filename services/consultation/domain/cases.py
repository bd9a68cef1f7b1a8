"""What is known of a case, put together as the case that the rules are asked about. Pure."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from services.therapies.cases import read_case
from services.therapies.evidence import Problem, Rejected

__all__ = [
    "FINDINGS",
    "MEASURED",
    "Case",
    "Consent",
    "Examination",
    "Finding",
    "Intake",
    "Known",
    "document",
    "intake_problems",
]

MEASURED: Final = {
    "weight": "kg",
    "height": "cm",
    "sbp": "mm[Hg]",
    "dbp": "mm[Hg]",
    "heart_rate": "/min",
    "resp_rate": "/min",
    "spo2": "%",
    "temperature": "Cel",
}
"""What is measured at an examination, and in which unit it is kept."""

FINDINGS: Final = {
    "hcg": ("negative", "positive"),
    "drug_screen": ("negative", "positive"),
    **dict.fromkeys(("ecg", "renal", "liver", "blood_count", "metabolic_panel", "tsh"), ("normal", "abnormal")),
}
"""Tests, and what a clinician may find in them."""

_SCORES: Final = ("audit_c", "dast10", "stop_bang")
_OF_OTHERS: Final = frozenset({"at", "birth_date", "blood_pressure", "cssrs", "cssrs_at", *MEASURED, *FINDINGS, *_SCORES})
"""Facts that have an owner of their own: the intake does not say them."""


@dataclass(frozen=True, slots=True)
class Case:
    """A patient under a programme; the consultation works on it."""

    id: UUID
    patient: UUID
    therapy: str
    opened_at: dt.datetime
    opened_by: str
    status: str = "open"
    version: int = 0


@dataclass(frozen=True, slots=True)
class Intake:
    """Answers about history and complaints, in the words of the therapy's rules; what is left out is unknown."""

    case: UUID
    answers: Mapping[str, Any]
    entered_by: str
    entered_at: dt.datetime
    version: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test showed, or a drug monitoring programme said, when."""

    name: str
    finding: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class Examination:
    """The patient seen in person: what was measured, as text with its unit (``82.0 kg``)."""

    id: UUID
    by: str
    at: dt.datetime
    measured: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Consent:
    """A patient's consent to a version of the text; it holds until it is withdrawn."""

    id: UUID
    case: UUID
    text: str
    method: str
    given_at: dt.datetime
    given_by: str
    recorded_by: str
    withdrawn_at: dt.datetime | None = None
    withdrawn_by: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that the clinic knows for the rules, at an instant.

    Attributes:
        findings: newest first.
        examinations: newest first.
        scores: totals of complete questionnaires, by instrument, the newest each.
        screen: level of the suicide screen that holds, and when it was answered.
    """

    at: dt.datetime
    zone: str
    birth_date: dt.date
    intake: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    examinations: Sequence[Examination] = ()
    scores: Mapping[str, int] = field(default_factory=dict)
    screen: tuple[str, dt.datetime] | None = None


def intake_problems(kind: type[Any], answers: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Every bad field of intake answers, for the case dataclass of a therapy."""
    foreign = [Problem("not-of-the-intake", name, "has an owner of its own") for name in answers if name in _OF_OTHERS]
    own = {name: value for name, value in answers.items() if name not in _OF_OTHERS}
    read = read_case(kind, {**own, "at": {"at": "2027-01-01T00:00:00Z", "zone": "UTC"}})
    return (*foreign, *(read.problems if isinstance(read, Rejected) else ()))


def document(kind: type[Any], known: Known) -> dict[str, Any]:
    """What is known, as the document of a therapy's case; only the fields that the therapy asks about."""
    found: dict[str, Any] = {
        **known.intake,
        "at": {"at": known.at.isoformat(), "zone": known.zone},
        "birth_date": known.birth_date.isoformat(),
        **{name: total for name, total in known.scores.items() if name in _SCORES},
    }
    for one in reversed(known.findings):
        found[one.name] = {"result": one.finding, "at": one.at.isoformat()}
    for seen in reversed(known.examinations):
        found |= {name: {"value": seen.measured[name], "at": seen.at.isoformat()} for name in MEASURED if name in seen.measured}
    found["blood_pressure"] = [
        {"sbp": seen.measured["sbp"], "dbp": seen.measured["dbp"], "at": seen.at.isoformat()}
        for seen in known.examinations
        if {"sbp", "dbp"} <= seen.measured.keys()
    ]
    if known.screen is not None:
        found["cssrs"], found["cssrs_at"] = known.screen[0], known.screen[1].isoformat()
    asked = {one.name for one in dataclasses.fields(kind)}
    return {name: value for name, value in found.items() if name in asked}
