"""What a clinician may decide on what the rules propose. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel

from services.therapies.evidence import Outcome

__all__ = ["Basis", "DecisionContent", "Wanted", "objection"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a clinician wants to decide: ``approved``, ``refused``, ``deferred`` or ``revoked``.

    Attributes:
        reason: needed wherever the decision is not what the rules propose.
        conditions: ids of fired rules that an approval is bound to.
    """

    kind: str
    reason: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Basis:
    """What a decision rests on.

    Attributes:
        evaluation: id of the newest proposal.
        outcome: what it proposes.
        fired: rules that fired, each with its own outcome.
        fresh: whether it was made today, with nothing recorded since.
        consent: version of the consent that holds.
        examined_at: when a prescriber saw the patient in person.
        approved: whether an approval holds.
    """

    evaluation: UUID
    outcome: Outcome
    fired: Sequence[tuple[str, Outcome]]
    fresh: bool
    consent: str | None
    examined_at: dt.datetime | None
    approved: bool


class DecisionContent(BaseModel):
    """Exactly what is shown to the signer, and hashed.

    Attributes:
        proposed: what the rules proposed; ``rules`` fired, ``missing`` was not known, under ``revision``.
        valid_until: last local day on which an approval may be used.
        consent: version of the consent that holds.
    """

    case: UUID
    patient: UUID
    therapy: str
    kind: str
    reason: str
    conditions: list[str]
    evaluation: UUID
    proposed: str
    rules: list[str]
    missing: list[str]
    revision: str
    approver: str
    valid_until: dt.date | None
    consent: str | None
    examined_at: dt.datetime | None
    weight: str | None
    height: str | None
    sex: str | None
    pregnancy_possible: bool | None


_APPROVABLE = (Outcome.ELIGIBLE, Outcome.ELIGIBLE_WITH_CONDITIONS, Outcome.REVIEW_REQUIRED)


def objection(wanted: Wanted, basis: Basis) -> str:
    """Why this cannot be decided now, as a stable code; empty if it can.

    INELIGIBLE and INCOMPLETE are never approved: a finding is corrected or a fact is found, and the rules are asked again. What
    holds treatment back is never held back itself: it needs no fresh proposal.
    """
    if set(wanted.conditions) - {rule for rule, _ in basis.fired}:
        return "condition-unknown"
    if wanted.kind == "approved":
        found = _approval(wanted, basis)
    elif wanted.kind == "revoked" and not basis.approved:
        found = "nothing-to-revoke"
    else:
        found = ""
    return found or ("reason-required" if _differs(wanted, basis) and not wanted.reason else "")


def _approval(wanted: Wanted, basis: Basis) -> str:
    if not basis.fresh:
        return "evaluation-stale"
    if basis.outcome not in _APPROVABLE:
        return "not-approvable"
    if basis.consent is None:
        return "no-consent"
    if basis.examined_at is None:
        return "not-examined"
    bound = {rule for rule, outcome in basis.fired if outcome is Outcome.ELIGIBLE_WITH_CONDITIONS}
    return "conditions-missing" if bound - set(wanted.conditions) else ""


def _differs(wanted: Wanted, basis: Basis) -> bool:
    """Whether a decision is another one than what is proposed."""
    proposed = basis.outcome in (Outcome.ELIGIBLE, Outcome.ELIGIBLE_WITH_CONDITIONS)
    return wanted.kind == "revoked" or (wanted.kind == "approved") is not proposed
