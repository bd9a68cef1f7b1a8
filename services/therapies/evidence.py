"""What every rule is given and what every rule gives back.

A rule gets a *case* (a frozen dataclass of facts) and ``Thresholds`` (one signed revision of the numbers). It gives
back an ``Evaluation``: the outcome it proposes, each finding with its reason and source, every input it looked at with
unit and time, what was missing, and the revision. Equal case and equal revision give byte-equal evaluations
(``canonical``), which is what lets an old decision be re-evaluated years later.
"""

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction
from typing import Any, Final, Generic, TypeVar

from schemas.values import Moment, Quantity, ValueProblem

__all__ = [
    "Assessment",
    "Evaluation",
    "Finding",
    "Input",
    "Observation",
    "Outcome",
    "Problem",
    "Rejected",
    "Rule",
    "Threshold",
    "Thresholds",
    "canonical",
    "is_stale",
]

T = TypeVar("T")


class Outcome(StrEnum):
    """What an evaluation proposes. For eligibility the order is the precedence: the first that applies
    is the outcome.
    """

    INELIGIBLE = "INELIGIBLE"
    INCOMPLETE = "INCOMPLETE"
    REVIEW_REQUIRED = "REVIEW_REQUIRED"
    ELIGIBLE_WITH_CONDITIONS = "ELIGIBLE_WITH_CONDITIONS"
    ELIGIBLE = "ELIGIBLE"
    # Gates: a start or a resume.
    NO_START = "NO_START"
    HOLD = "HOLD"
    OPEN = "OPEN"
    # Discharge.
    NOT_READY = "NOT_READY"
    READY = "READY"
    # Everything that computes or reviews.
    PROPOSED = "PROPOSED"
    REVIEW = "REVIEW"
    ROUTINE = "ROUTINE"
    NOTE = "NOTE"


ELIGIBILITY_PRECEDENCE: Final = (
    Outcome.INELIGIBLE,
    Outcome.INCOMPLETE,
    Outcome.REVIEW_REQUIRED,
    Outcome.ELIGIBLE_WITH_CONDITIONS,
    Outcome.ELIGIBLE,
)
GATE_PRECEDENCE: Final = (Outcome.NO_START, Outcome.HOLD, Outcome.OPEN)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with what was given. ``code`` is stable; ``field`` is the path of the value."""

    code: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The request cannot be evaluated as given, with every reason at once. A value, never an exception."""

    problems: tuple[Problem, ...]

    @classmethod
    def one(cls, code: str, field: str, message: str) -> "Rejected":
        """A rejection for a single reason."""
        return cls((Problem(code, field, message),))


_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One signed number: its unit, how a value is compared with it, where it comes from and how sure that is.

    ``comparison`` is ``"<"``, ``"<="``, ``">"``, ``">="``, or ``"="`` for a number that is used and not compared with.
    ``tag`` is one of ``TAGS``.
    """

    key: str
    quantity: Quantity
    comparison: str
    source: str
    tag: str
    elapsed: dt.timedelta = field(init=False, repr=False, compare=False)
    """The threshold as elapsed time, where it is one (s, min, h, d or wk); otherwise zero. Worked out once: gates and
    alerts ask often.
    """

    def __post_init__(self) -> None:
        span = dt.timedelta(0)
        if self.quantity.dimension == "time":
            span = dt.timedelta(microseconds=int(self.quantity.to("s").value * 1_000_000))
        object.__setattr__(self, "elapsed", span)

    def reached(self, span: dt.timedelta) -> bool:
        """Whether ``span <comparison> threshold`` holds for elapsed time."""
        return bool(_COMPARISONS[self.comparison](span, self.elapsed))

    def met_by(self, value: Quantity) -> bool:
        """Whether ``value <comparison> threshold`` holds, exactly and across units of one dimension.

        Raises:
            ValueProblem: ``value`` measures something else; naming the threshold.
        """
        try:
            return _COMPARISONS[self.comparison](value, self.quantity)
        except ValueProblem as problem:
            raise ValueProblem(problem.reason, self.key) from None

    def met_by_ratio(self, part: Decimal, whole: Decimal) -> bool:
        """Whether ``part / whole`` meets the threshold, without dividing: ``part`` against ``value * whole``, exactly.

        ``whole`` must be positive.
        """
        return _COMPARISONS[self.comparison](Fraction(part), Fraction(self.value) * Fraction(whole))

    def met_by_percent(self, part: Decimal, whole: Decimal) -> bool:
        """Whether ``part`` of ``whole`` in percent meets the threshold, without dividing. ``whole``
        must be positive.
        """
        return self.met_by_ratio(part * 100, whole)

    @property
    def value(self) -> Decimal:
        """The bare number, for arithmetic in the threshold's own unit."""
        return self.quantity.value

    @property
    def count(self) -> int:
        """The number as a whole count.

        Raises:
            ValueProblem: it is not whole.
        """
        if self.quantity.value != int(self.quantity.value):
            raise ValueProblem("is not a whole number", self.key)
        return int(self.quantity.value)

    def __str__(self) -> str:
        return f"{self.comparison} {self.quantity}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One signed rule without a number of its own: what it concludes, why, on whose authority.

    ``question`` names the yes/no fact of the case that the rule asks about and ``when`` the answer that makes it fire;
    both are empty for rules whose condition is written in code. ``action`` is what a human is to do about it.
    """

    id: str
    outcome: Outcome
    reason: str
    source: str
    tag: str
    action: str = ""
    question: str = ""
    when: bool = True


TAGS: Final = ("read", "unverified", "derived", "design-default")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """One revision of a programme's numbers, rules and lists, as signed.

    Attributes:
        therapy: whose they are.
        effective: the date from which they hold.
        approver: who signed them off clinically; shipped files say ``NOT APPROVED``.
        revision: ``therapy/date/digest``: pins the exact bytes a decision was made under.
        signed_by: name of the key whose signature was verified.
    """

    therapy: str
    effective: dt.date
    approver: str
    revision: str
    signed_by: str
    values: Mapping[str, Threshold]
    rules: Mapping[str, Rule]
    lists: Mapping[str, tuple[str, ...]]

    def __getitem__(self, key: str) -> Threshold:
        return self.values[key]

    def under(self, prefix: str) -> dict[str, Threshold]:
        """The thresholds whose key starts with ``prefix.``, by the rest of the key, in the order of the file's keys."""
        cut = len(prefix) + 1
        return {k[cut:]: v for k, v in sorted(self.values.items()) if k.startswith(prefix + ".")}

    def band(self, prefix: str, value: Quantity) -> str:
        """The name of the one band under ``prefix`` that ``value`` falls in: bands are lower limits, the highest met
        wins.
        """
        met = [(limit.quantity, name) for name, limit in self.under(prefix).items() if limit.met_by(value)]
        return max(met)[1]


@dataclass(frozen=True, slots=True)
class Observation:
    """A measured value and when it was true."""

    value: Quantity
    at: dt.datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueProblem("the time has no offset")


@dataclass(frozen=True, slots=True)
class Input:
    """A fact a rule looked at, as shown to a reader: value with unit, and the time it was true if it has one."""

    name: str
    value: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that fired."""

    rule: str
    outcome: Outcome
    reason: str
    source: str
    inputs: tuple[Input, ...] = ()
    action: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation(Generic[T]):
    """What the software proposes, and all of the evidence. It is never a decision: a licensed human signs one or does
    not.

    Attributes:
        part: ``"ketamine.eligibility"``.
        outcome: the proposal.
        result: what was computed (a dose, a calendar, a date), or None.
        findings: every rule that fired, not only the one that set the outcome.
        inputs: every fact looked at.
        missing: field and why it is needed, for every fact that was absent, stale or not usable.
        at: the instant the evaluation is for, UTC.
        revision, approver: of the thresholds.
    """

    part: str
    outcome: Outcome
    result: T | None
    findings: tuple[Finding, ...]
    inputs: tuple[Input, ...]
    missing: tuple[Problem, ...]
    at: str
    revision: str
    approver: str

    def fired(self) -> tuple[str, ...]:
        """The ids of the rules that fired."""
        return tuple(finding.rule for finding in self.findings)

    def lacks(self) -> tuple[str, ...]:
        """The fields that were missing, stale or not usable."""
        return tuple(problem.field for problem in self.missing)


def is_stale(at: dt.datetime, now: dt.datetime, limit: Threshold) -> bool:
    """Whether something true at ``at`` is too old at ``now``, or from the future, which is no better."""
    return not dt.timedelta(0) <= now - at <= limit.elapsed


def percent_shown(part: Decimal, whole: Decimal) -> Decimal:
    """``part`` of ``whole`` in percent with one decimal, half up: for display, never compared."""
    return Decimal(_half_up(Fraction(part) / Fraction(whole) * 1000)).scaleb(-1)


def _half_up(value: Fraction) -> int:
    size = (2 * abs(value.numerator) + value.denominator) // (2 * value.denominator)
    return -size if value < 0 else size


def shown(value: object) -> str:
    """A value as a reader sees it in evidence: never rounded."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, tuple | list | frozenset | set):
        return ", ".join(shown(item) for item in (sorted(value, key=shown) if isinstance(value, frozenset | set) else value))
    return "unknown" if value is None else str(value)


@dataclass(slots=True)
class Assessment:
    """Collects the evidence of one evaluation while its rules run. Local to one call; what leaves is the frozen
    ``Evaluation``.
    """

    part: str
    thresholds: Thresholds
    now: dt.datetime
    findings: list[Finding] = field(default_factory=list)
    inputs: dict[str, Input] = field(default_factory=dict)
    absent: dict[str, Problem] = field(default_factory=dict)

    def look(self, name: str, value: object, at: dt.datetime | None = None) -> Input:
        """Note that a rule looked at a fact."""
        if isinstance(value, Observation):
            at = value.at
            value = value.value
        entry = Input(name, shown(value), shown(at) if at else "")
        self.inputs[name] = entry
        return entry

    def lack(self, name: str, why: str, code: str = "missing") -> None:
        """Note that a fact is absent, stale or not usable, and what needs it."""
        self.absent.setdefault(name, Problem(code, name, why))

    def fire(self, rule: str, *inputs: Input, detail: str = "", outcome: Outcome | None = None) -> None:
        """Add the finding of a signed rule, optionally with the figures that made it fire."""
        signed = self.thresholds.rules[rule]
        reason = f"{signed.reason} ({detail})" if detail else signed.reason
        self.findings.append(Finding(rule, outcome or signed.outcome, reason, signed.source, inputs, signed.action))

    def ask(self, case: object, prefix: str = "") -> None:
        """Run every signed yes/no rule whose question is a field of ``case``; an unanswered one is missing."""
        for rule in self.thresholds.rules.values():
            if rule.question and rule.id.startswith(prefix) and hasattr(case, rule.question):
                answer = getattr(case, rule.question)
                entry = self.look(rule.question, answer)
                if answer is None:
                    self.lack(rule.question, f"needed by {rule.id}")
                elif answer is rule.when:
                    self.fire(rule.id, entry)

    def fresh(self, name: str, seen: Observation | None, limit: Threshold, why: str) -> Quantity | None:
        """The observed value when it is there and not stale; otherwise None, noted as missing."""
        entry = self.look(name, seen)
        if seen is None:
            self.lack(name, why)
            return None
        if is_stale(seen.at, self.now, limit):
            self.lack(name, f"{why}; the value of {entry.at} is not within {limit.quantity}", "stale")
            return None
        return seen.value

    def worst(self, precedence: tuple[Outcome, ...], when_missing: Outcome) -> Outcome:
        """The first outcome of ``precedence`` that any finding or missing fact calls for; the last if nothing does."""
        called = {finding.outcome for finding in self.findings}
        if self.absent:
            called.add(when_missing)
        return next((outcome for outcome in precedence if outcome in called), precedence[-1])

    def close(self, outcome: Outcome, result: T | None = None) -> Evaluation[T]:
        """The finished evaluation: findings and inputs in the order they were met."""
        return Evaluation(
            self.part,
            outcome,
            result,
            tuple(self.findings),
            tuple(self.inputs.values()),
            tuple(self.absent.values()),
            shown(self.now),
            self.thresholds.revision,
            self.thresholds.approver,
        )


def canonical(value: object) -> bytes:
    """The one byte form of a value: sorted keys, no spaces, decimals and instants as text. What is signed, hashed and
    compared.
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def plain(value: object) -> Any:
    """``value`` in JSON's own types.

    Raises:
        TypeError: a type that has no exact text (a float among them).
    """
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, Moment):
        return {"at": shown(value.at), "zone": value.zone}
    if isinstance(value, dt.datetime):
        return shown(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return f"{Decimal(value // dt.timedelta(microseconds=1)).scaleb(-6).normalize():f} s"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


def digest(value: object) -> str:
    """SHA-256 of the canonical bytes, hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()
