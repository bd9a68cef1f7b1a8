"""Scoring of the questionnaires and scales, exactly as published, and what a suicide answer opens.

Item text under licence is not here: ``item_text`` checks a text the clinic brings. Scores support a clinician; none is
    a diagnosis,
and no score gates testosterone treatment (AUA 2018, statement 5).

Two rules hold for every instrument: an incomplete one never counts as complete, and a suicide answer is acted on
    whatever else is missing.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from schemas.values import Quantity
from services.therapies.evidence import Assessment, Evaluation, Outcome, Problem, Rejected, Thresholds, percent_shown
from services.therapies.protocol import Keys

__all__ = [
    "SHAPES",
    "Change",
    "CssrsAnswers",
    "CssrsResult",
    "ItemText",
    "RiskLevel",
    "Score",
    "Shape",
    "change",
    "cssrs_screener",
    "cssrs_since_last",
    "item_text",
    "may_measure",
    "relapsed",
    "score",
]


@dataclass(frozen=True, slots=True)
class Shape:
    """How an instrument is built: its number of items, the range of an answer, and which item (from 1) asks about
    suicide.
    """

    items: int
    low: int
    high: int
    suicide_item: int = 0


# The definitions of the published instruments, not clinical thresholds: changing one would make it another instrument.
SHAPES: Final[dict[str, Shape]] = {
    "phq9": Shape(9, 0, 3, suicide_item=9),
    "gad7": Shape(7, 0, 3),
    "qids_sr16": Shape(16, 0, 3, suicide_item=12),
    "madrs": Shape(10, 0, 6, suicide_item=10),
    "cadss6": Shape(6, 0, 4),
    "moaa_s": Shape(1, 0, 5),
    "aldrete": Shape(5, 0, 2),
    "audit_c": Shape(3, 0, 4),
    "dast10": Shape(10, 0, 1),
    "stop_bang": Shape(8, 0, 1),
    "adam": Shape(10, 0, 1),
    "qadam": Shape(10, 1, 5),
    "ipss": Shape(7, 0, 5),
}

# QIDS-SR16: each domain counts once, with the worst of its items (Rush 2003): sleep 1-4, appetite and weight 6-9,
# psychomotor 15-16.
QIDS_DOMAINS: Final = ((1, 2, 3, 4), (5,), (6, 7, 8, 9), (10,), (11,), (12,), (13,), (14,), (15, 16))
DAST10_REVERSED: Final = 3  # "are you always able to stop": no is the answer that counts (Skinner 1982)
ADAM_KEY_ITEMS: Final = (1, 7)  # libido; erections (Morley 2000)
PHQ9_CORE_ITEMS: Final = (1, 2)  # interest; mood

KEYS: Final = Keys(
    values={
        **{f"{name}.band.*": "{score}" for name in ("phq9", "gad7", "qids_sr16", "madrs", "dast10", "stop_bang", "ipss")},
        "phq9.missing_allowed": "1",
        "phq9.symptom_present": "{score}",
        "phq9.item9_positive": "{score}",
        "phq9.major_items": "1",
        "phq9.other_items": "1",
        "phq9.positive": "{score}",
        "phq9.important_change": "{score}",
        "gad7.positive": "{score}",
        "qids_sr16.item12_review": "{score}",
        "qids_sr16.item12_urgent": "{score}",
        "madrs.item10_positive": "{score}",
        "audit_c.positive.female": "{score}",
        "audit_c.positive.male": "{score}",
        "aldrete.ready": "{score}",
        "adam.other_items": "1",
        "response.fall": "%",
        "non_response.fall": "%",
        "remission.madrs.*": "{score}",
        "remission.phq9.*": "{score}",
        "remission.qids_sr16.*": "{score}",
        "recall.*": "d",
    },
    rules=frozenset(
        {
            "I-PHQ9-ITEM9",
            "I-PHQ9-ITEM9-MISSING",
            "I-QIDS-ITEM12",
            "I-QIDS-ITEM12-URGENT",
            "I-QIDS-ITEM12-MISSING",
            "I-MADRS-ITEM10",
            "I-MADRS-ITEM10-MISSING",
            "I-CSSRS-HIGH",
            "I-CSSRS-MODERATE",
            "I-CSSRS-LOW",
            "I-CSSRS-INCOMPLETE",
        }
    ),
)


@dataclass(frozen=True, slots=True)
class Score:
    """A scored instrument.

    Attributes:
        total: None when it cannot be scored (``UNSCORABLE``), never a guess.
        band: name of the severity band, or None where the literature has none.
        positive: whether the screening cut is reached, where there is one.
        missing: item numbers (from 1) without an answer.
        imputed: the total stands on the mean of the answered items (PHQ-9 only, at most two missing, never item 9).
        answers: as given.
        algorithm: PHQ-9 only: ``major``, ``other`` or ``none``; None unless every item is answered. A screen, not a
            diagnosis.
        difficulty: PHQ-9 item 10, apart from the total; None if not answered or not given.
    """

    instrument: str
    total: int | None
    band: str | None
    positive: bool | None
    missing: tuple[int, ...]
    imputed: bool
    answers: tuple[int | None, ...]
    algorithm: str | None = None
    difficulty: int | None = None

    @property
    def scorable(self) -> bool:
        """Whether there is a total."""
        return self.total is not None


def score(
    instrument: str,
    answers: Sequence[object],
    at: dt.datetime,
    thresholds: Thresholds,
    *,
    sex_at_birth: str | None = None,
    difficulty: object = None,
) -> Evaluation[Score] | Rejected:
    """Score any instrument of ``SHAPES``; an answer that was not given is None.

    Args:
        instrument: its name in ``SHAPES``.
        answers: one entry per item, in order.
        at: when it was answered.
        thresholds: of ``instruments``.
        sex_at_birth: ``female`` or ``male``; AUDIT-C has a cut for each, and without it the lower one counts.
        difficulty: PHQ-9 item 10 (0-3).

    Returns:
        The score with what its suicide item opens; the outcome is REVIEW when that item needs a human, INCOMPLETE when
        there is no total. ``Rejected`` (every bad item at once) only for an unknown instrument or malformed answers; a
        partly answered one is never refused.
    """
    shape = SHAPES.get(instrument)
    if shape is None:
        return Rejected.one("unknown-instrument", "instrument", "is not an instrument we score")
    problems = _malformed(shape, answers, difficulty)
    if problems:
        return Rejected(problems)
    given = tuple(a if isinstance(a, int) else None for a in answers)
    missing = tuple(i for i, answer in enumerate(given, 1) if answer is None)
    total, imputed = _total(instrument, given, missing, thresholds)
    result = Score(
        instrument,
        total,
        _band(instrument, total, thresholds),
        _positive(instrument, total, given, sex_at_birth, thresholds),
        missing,
        imputed,
        given,
        _phq9_algorithm(given, thresholds) if instrument == "phq9" and not missing else None,
        difficulty if isinstance(difficulty, int) else None,
    )
    assessment = Assessment(f"instruments.{instrument}", thresholds, at)
    for number, answer in enumerate(given, 1):
        assessment.look(f"item {number}", answer, at)
        if answer is None:
            assessment.lack(f"item {number}", "not answered")
    _suicide_item(instrument, shape, given, assessment)
    if assessment.findings:
        return assessment.close(Outcome.REVIEW, result)
    return assessment.close(Outcome.PROPOSED if result.scorable else Outcome.INCOMPLETE, result)


def _malformed(shape: Shape, answers: Sequence[object], difficulty: object) -> tuple[Problem, ...]:
    if len(answers) != shape.items:
        return (Problem("item-count", "answers", f"must have {shape.items} items, has {len(answers)}"),)
    message = f"must be a whole number from {shape.low} to {shape.high}"
    bad = [
        Problem("item-range", f"answers[{i}]", message)
        for i, answer in enumerate(answers)
        if answer is not None and not (type(answer) is int and shape.low <= answer <= shape.high)
    ]
    if difficulty is not None and not (type(difficulty) is int and shape.low <= difficulty <= shape.high):
        bad.append(Problem("item-range", "difficulty", message))
    return tuple(bad)


def _points(value: int) -> Quantity:
    return Quantity(Decimal(value), "{score}")


def _count(value: int) -> Quantity:
    return Quantity(Decimal(value), "1")


def _total(
    instrument: str, given: tuple[int | None, ...], missing: tuple[int, ...], thresholds: Thresholds
) -> tuple[int | None, bool]:
    answered = [answer for answer in given if answer is not None]
    if missing:
        shape = SHAPES["phq9"]
        may_impute = (
            instrument == "phq9"
            and shape.suicide_item not in missing
            and thresholds["phq9.missing_allowed"].met_by(_count(len(missing)))
        )
        if not may_impute:
            return None, False
        # Mean of the answered items times the number of items, rounded half up, in whole numbers: floor(x + 1/2).
        return (2 * sum(answered) * shape.items + len(answered)) // (2 * len(answered)), True
    if instrument == "qids_sr16":
        return sum(max(answered[item - 1] for item in domain) for domain in QIDS_DOMAINS), False
    if instrument == "dast10":
        return sum(1 - a if i == DAST10_REVERSED else a for i, a in enumerate(answered, 1)), False
    return sum(answered), False


def _band(instrument: str, total: int | None, thresholds: Thresholds) -> str | None:
    if total is None or f"{instrument}.band.*" not in KEYS.values:
        return None
    return thresholds.band(f"{instrument}.band", _points(total))


def _positive(
    instrument: str, total: int | None, given: tuple[int | None, ...], sex: str | None, thresholds: Thresholds
) -> bool | None:
    if total is None:
        return None
    if instrument == "audit_c":
        return thresholds[f"audit_c.positive.{'male' if sex == 'male' else 'female'}"].met_by(_points(total))
    if instrument == "adam":
        others = sum(1 for i, a in enumerate(given, 1) if a and i not in ADAM_KEY_ITEMS)
        return any(given[i - 1] for i in ADAM_KEY_ITEMS) or thresholds["adam.other_items"].met_by(_count(others))
    if instrument == "aldrete":
        return thresholds["aldrete.ready"].met_by(_points(total))
    cut = thresholds.values.get(f"{instrument}.positive")
    return cut.met_by(_points(total)) if cut else None


def _phq9_algorithm(given: tuple[int | None, ...], thresholds: Thresholds) -> str:
    """PHQ-9 diagnostic algorithm (Spitzer 1999): item 9 counts from "several days" on, the others from "more than half
    the days".
    """
    nine = SHAPES["phq9"].suicide_item
    present = [
        i
        for i, answer in enumerate(given, 1)
        if answer is not None
        and thresholds["phq9.item9_positive" if i == nine else "phq9.symptom_present"].met_by(_points(answer))
    ]
    if not any(core in present for core in PHQ9_CORE_ITEMS):
        return "none"
    if thresholds["phq9.major_items"].met_by(_count(len(present))):
        return "major"
    return "other" if thresholds["phq9.other_items"].met_by(_count(len(present))) else "none"


def _suicide_item(instrument: str, shape: Shape, given: tuple[int | None, ...], assessment: Assessment) -> None:
    """What the suicide item opens. A missing one is on the same clock as a positive one until it is answered."""
    if not shape.suicide_item:
        return
    answer, thresholds = given[shape.suicide_item - 1], assessment.thresholds
    entry = assessment.inputs[f"item {shape.suicide_item}"]
    rule, limit = {
        "phq9": ("I-PHQ9-ITEM9", "phq9.item9_positive"),
        "qids_sr16": ("I-QIDS-ITEM12", "qids_sr16.item12_review"),
        "madrs": ("I-MADRS-ITEM10", "madrs.item10_positive"),
    }[instrument]
    if answer is None:
        assessment.fire(f"{rule}-MISSING", entry)
    elif instrument == "qids_sr16" and thresholds["qids_sr16.item12_urgent"].met_by(_points(answer)):
        assessment.fire("I-QIDS-ITEM12-URGENT", entry)
    elif thresholds[limit].met_by(_points(answer)):
        assessment.fire(rule, entry)


# --- Columbia suicide severity rating scale, screener -----------------------------------------------------------------


class RiskLevel(StrEnum):
    """Triage level of a C-SSRS screener. INCOMPLETE is on the clock of HIGH until the answers are complete."""

    NONE = "NONE"
    LOW = "LOW"
    MODERATE = "MODERATE"
    HIGH = "HIGH"
    INCOMPLETE = "INCOMPLETE"


@dataclass(frozen=True, slots=True)
class CssrsAnswers:
    """Answers of the screener; None where the question was not answered or, by the skip logic, not asked.

    q1 wish to be dead, q2 suicidal thoughts, q3 with a method, q4 with some intent, q5 with plan and intent, q6
    behaviour (lifetime, or since the last contact), q6_recent behaviour within three months (screener only).
    """

    q1: bool | None = None
    q2: bool | None = None
    q3: bool | None = None
    q4: bool | None = None
    q5: bool | None = None
    q6: bool | None = None
    q6_recent: bool | None = None


@dataclass(frozen=True, slots=True)
class CssrsResult:
    """The level, and for INCOMPLETE the level that the answers so far already prove."""

    version: str
    level: RiskLevel
    proven: RiskLevel
    unanswered: tuple[str, ...]


def cssrs_screener(answers: CssrsAnswers, at: dt.datetime, thresholds: Thresholds) -> Evaluation[CssrsResult]:
    """Triage of the screener (questions 1-5 past month, 6 lifetime and past three months; Columbia triage card).

    HIGH: 4, 5, or 6 within three months. MODERATE: 3, or 6 only earlier in life. LOW: 1 or 2. Questions 3-5 are
        required only when 2 is yes, but a
    yes to any of them counts whenever it was given. An answer that proves HIGH outweighs whatever is missing.
    """
    a = answers
    if a.q4 or a.q5 or a.q6_recent:
        proven = RiskLevel.HIGH
    elif a.q3 or a.q6:
        proven = RiskLevel.MODERATE
    else:
        proven = RiskLevel.LOW if a.q1 or a.q2 else RiskLevel.NONE
    required = {"q1": a.q1, "q2": a.q2, "q6": a.q6} | _intensity(a)
    if a.q6:
        required["q6_recent"] = a.q6_recent
    return _cssrs("screener", answers, required, proven, at, thresholds)


def cssrs_since_last(answers: CssrsAnswers, at: dt.datetime, thresholds: Thresholds) -> Evaluation[CssrsResult]:
    """Triage of the since-last-contact version: 4, 5 or 6 yes is HIGH, 3 MODERATE, 1 or 2 LOW. Without a lifetime
    question.
    """
    a = answers
    if a.q4 or a.q5 or a.q6:
        proven = RiskLevel.HIGH
    elif a.q3:
        proven = RiskLevel.MODERATE
    else:
        proven = RiskLevel.LOW if a.q1 or a.q2 else RiskLevel.NONE
    return _cssrs("since-last", answers, {"q1": a.q1, "q2": a.q2, "q6": a.q6} | _intensity(a), proven, at, thresholds)


def _intensity(a: CssrsAnswers) -> dict[str, bool | None]:
    """Questions 3-5, required when 2 is yes; and when 2 is not answered they cannot be known to be skipped, which 2
    itself already shows.
    """
    return {"q3": a.q3, "q4": a.q4, "q5": a.q5} if a.q2 else {}


def _cssrs(
    version: str,
    answers: CssrsAnswers,
    required: Mapping[str, bool | None],
    proven: RiskLevel,
    at: dt.datetime,
    thresholds: Thresholds,
) -> Evaluation[CssrsResult]:
    unanswered = tuple(name for name, answer in required.items() if answer is None)
    level = RiskLevel.INCOMPLETE if unanswered and proven is not RiskLevel.HIGH else proven
    assessment = Assessment(f"instruments.cssrs_{version.replace('-', '_')}", thresholds, at)
    inputs = [assessment.look(name, getattr(answers, name), at) for name in CssrsAnswers.__slots__]
    for name in unanswered:
        assessment.lack(name, "a required question of the C-SSRS")
    if level is not RiskLevel.NONE:
        assessment.fire(f"I-CSSRS-{level.value}", *inputs, detail=f"already proven: {proven.value}" if unanswered else "")
    outcome = Outcome.ROUTINE if level is RiskLevel.NONE else Outcome.REVIEW
    return assessment.close(outcome, CssrsResult(version, level, proven, unanswered))


# --- Change over time -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A later score against the baseline of the same instrument.

    Attributes:
        fall: points; positive is better.
        percent: exact only as a fraction, hence for display with one decimal, half up; never compared.
        response: the signed criterion is met; None without a positive baseline.
        non_response: the fall is so small that the trial counts as non-response.
        remission: every remission criterion of the instrument by its id, each on its own.
    """

    instrument: str
    baseline: int
    current: int
    fall: int
    percent: Decimal | None
    response: bool | None
    non_response: bool | None
    remission: Mapping[str, bool]


def change(instrument: str, baseline: int, current: int, thresholds: Thresholds) -> Change:
    """Response and remission by each criterion. Compared in whole numbers: ``100 * fall >= 50 * baseline``, never a
    rounded percentage.
    """
    fall = baseline - current
    criteria = {name: limit.met_by(_points(current)) for name, limit in thresholds.under(f"remission.{instrument}").items()}
    if baseline <= 0:
        return Change(instrument, baseline, current, fall, None, None, None, criteria)
    part, whole = Decimal(fall), Decimal(baseline)
    return Change(
        instrument,
        baseline,
        current,
        fall,
        percent_shown(part, whole),
        thresholds["response.fall"].met_by_percent(part, whole),
        thresholds["non_response.fall"].met_by_percent(part, whole),
        criteria,
    )


def relapsed(best: int, current: int, still_in_response: bool, thresholds: Thresholds) -> bool:
    """Relapse flag on the PHQ-9: risen by an important change (5 points, Lowe 2004) from the best score, and response
    lost.
    """
    return not still_in_response and thresholds["phq9.important_change"].met_by(_points(current - best))


def may_measure(instrument: str, elapsed: dt.timedelta, thresholds: Thresholds) -> bool:
    """Whether an instrument may be asked again after ``elapsed``: not before its recall window has passed (no PHQ-9 as
    a 24 h measure).

    An instrument without a window of its own (a since-last version, a scale of the moment) may always be asked.
    """
    window = thresholds.values.get(f"recall.{instrument}")
    return window is None or elapsed >= window.elapsed


# --- Licensed text ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemText:
    """The wording of an instrument, brought by a clinic that holds the licence."""

    instrument: str
    language: str
    licence: str
    items: tuple[str, ...]


def item_text(document: Mapping[str, object]) -> ItemText | Rejected:
    """The clinic's own wording (``instrument``, ``language``, ``licence``, ``items``), checked for shape; every problem
    at once.
    """
    problems = [
        Problem("missing", name, "must be text")
        for name in ("instrument", "language", "licence")
        if not (isinstance(document.get(name), str) and document[name])
    ]
    instrument, items = str(document.get("instrument")), document.get("items")
    shape = SHAPES.get(instrument)
    if shape is None:
        problems.append(Problem("unknown-instrument", "instrument", "is not an instrument we score"))
    elif not isinstance(items, list) or len(items) != shape.items or not all(isinstance(i, str) and i for i in items):
        problems.append(Problem("item-count", "items", f"must be {shape.items} texts"))
    if problems or not isinstance(items, list):
        return Rejected(tuple(problems))
    return ItemText(instrument, str(document["language"]), str(document["licence"]), tuple(items))
