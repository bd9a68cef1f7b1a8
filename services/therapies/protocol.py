"""What a therapy is: a name, and the parts of a treatment that it has rules for.

Each part is one pure function of a case and one revision of the therapy's thresholds, and says which dataclass its case
is. So a caller, the command line and the tests treat every part of every therapy alike.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.therapies.evidence import Evaluation, Rejected, Thresholds

__all__ = ["Keys", "Part", "Therapy"]


@dataclass(frozen=True, slots=True)
class Part:
    """One question a therapy can answer: the dataclass of its case, and the function that evaluates it."""

    case: type[Any]
    evaluate: Callable[[Any, Thresholds], Evaluation[Any] | Rejected]


@dataclass(frozen=True, slots=True)
class Keys:
    """What a therapy's threshold file must hold: exactly these, so that a mistyped or left-out entry is refused.

    ``values`` maps a key to its unit; a key that ends in ``.*`` allows any further entries of that unit under it.
    ``rules`` are rule ids that code refers to; a file may add yes/no rules whose question is a field in ``questions``.
    ``lists`` are named lists of codes.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    rules: frozenset[str] = frozenset()
    questions: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Therapy:
    """A programme. It implements the parts it has; the others are None and are refused as "not a part
    of this therapy".
    """

    name: str
    keys: Keys
    eligibility: Part | None = None
    plan: Part | None = None
    dose: Part | None = None
    schedule: Part | None = None
    series: Part | None = None
    adjustment: Part | None = None
    start_gate: Part | None = None
    resume_gate: Part | None = None
    alerts: Part | None = None
    discharge: Part | None = None
    cadence: Part | None = None
    response: Part | None = None

    def parts(self) -> dict[str, Part]:
        """The parts this therapy has, by name."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: part for name, part in found.items() if isinstance(part, Part)}
