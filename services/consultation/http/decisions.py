"""Routes of decisions: what would be signed, the signature, and what was decided."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from services.consultation.commands.decisions import Decisions
from services.consultation.domain.decisions import DecisionContent, Wanted
from services.consultation.http.cases import CASE_CLOSED, CasePath, of_case
from services.consultation.http.shared import STAFF
from services.consultation.store import decisions as store
from services.directory import policy
from services.runtime.database import Reader
from services.runtime.edge.fields import Code, Id, Instant, Note, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, NaturalKey, Route, reply
from services.runtime.edge.signature import SIGNATURE_PROBLEMS, SignatureBody
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide

__all__ = ["routes"]

_OBJECTIONS = (
    ProblemType(
        "not-qualified", 403, "A decision needs a prescriber licensed in the patient's state, with DEA registration and ACLS"
    ),
    ProblemType("evaluation-stale", 409, "Ask the rules first: nothing is proposed, or something was recorded since"),
    ProblemType("condition-unknown", 422, "A condition names a rule that has fired"),
    ProblemType("nothing-to-revoke", 409, "No approval holds"),
    ProblemType("reason-required", 422, "This is not what the rules propose: say why"),
    ProblemType("not-approvable", 409, "The rules propose ineligible or incomplete: that is corrected first"),
    ProblemType("no-consent", 409, "No consent holds"),
    ProblemType("not-examined", 409, "No prescriber has seen the patient in person"),
    ProblemType("conditions-missing", 409, "The approval has to be bound to every rule that asks for a condition"),
)
_LICENCE = ProblemType("wrong-licence", 409, "The signature names a licence of another state than the patient's")


class WantedBody(Request):
    """What you want to decide. A reason is needed where it is not what the rules propose."""

    kind: Literal["approved", "refused", "deferred", "revoked"]
    reason: Annotated[Note, Field(max_length=4000)] = ""
    conditions: Annotated[tuple[Code, ...], Field(max_length=50, strict=False)] = ()


class DecisionBody(WantedBody):
    """The same, signed: ``shown`` is the hash that the draft was shown with."""

    signature: SignatureBody


class DraftShown(Response):
    """What would be signed, and its hash."""

    content: DecisionContent
    shown: str


class DecisionMade(Response):
    """A decision that was signed."""

    decision: Id
    case: Id


class DecisionShown(Response):
    """A decision, with exactly what was shown to its signer."""

    decision: Id
    content: DecisionContent
    signature: Id
    signed_by: str
    signed_at: Instant


class DecisionList(Response):
    """What was decided, newest first."""

    decisions: list[DecisionShown]


def routes(decisions: Decisions) -> tuple[Route, ...]:
    """The routes, under the signed rules."""
    prescriber = Bearer(frozenset({Role.PRESCRIBER}), of_case(policy.treats))
    readers = Bearer(STAFF | {Role.AUDITOR}, of_case(policy.treats))
    wanted = {"kind": "approved", "reason": "hypertension controlled", "conditions": ["K-E-HYPERTENSION"]}
    return (
        Route(
            name="draft_decision",
            method="POST",
            path_template="/cases/{case}/decision-drafts",
            summary="See what would be signed",
            policy=prescriber,
            audit="decision.draft",
            request=WantedBody,
            path=CasePath,
            response=DraftShown,
            command=_draft(decisions),
            idempotency=NaturalKey(of="nothing: a draft is not kept"),
            errors=(CASE_CLOSED, *_OBJECTIONS),
            examples=(Example(wanted),),
        ),
        Route(
            name="sign_decision",
            method="POST",
            path_template="/cases/{case}/decisions",
            summary="Decide and sign",
            policy=prescriber,
            audit="decision.sign",
            request=DecisionBody,
            path=CasePath,
            response=DecisionMade,
            status=201,
            command=_decide(decisions),
            idempotency=KEY_REQUIRED,
            errors=(CASE_CLOSED, *_OBJECTIONS, _LICENCE, *SIGNATURE_PROBLEMS),
            examples=(Example({**wanted, "signature": {"meaning": "approved", "licence": "US-NY", "shown": "0" * 64}}),),
        ),
        Route(
            name="list_decisions",
            method="GET",
            path_template="/cases/{case}/decisions",
            summary="What was decided on a case",
            policy=readers,
            audit="decisions.read",
            path=CasePath,
            response=DecisionList,
            query=_list,
        ),
    )


def _wanted(body: WantedBody) -> Wanted:
    return Wanted(body.kind, body.reason, tuple(body.conditions))


def _draft(decisions: Decisions) -> Callable[[Asked[WantedBody, CasePath]], Decide]:
    def command(asked: Asked[WantedBody, CasePath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            found = await decisions.draft(asked.path.case, _wanted(asked.body), asked.principal, read, context)
            if isinstance(found, Rejected):
                return found
            shown = DraftShown(content=found.content, shown=found.shown)
            return Changes(reply=reply(shown), patient=str(found.content.patient))

        return decide

    return command


def _decide(decisions: Decisions) -> Callable[[Asked[DecisionBody, CasePath]], Decide]:
    def command(asked: Asked[DecisionBody, CasePath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            body = asked.body
            decided = await decisions.decide(asked.path.case, _wanted(body), body.signature, asked.principal, read, context)
            if isinstance(decided, Rejected):
                return decided
            changes, identifier = decided
            return replace(changes, reply=reply(DecisionMade(decision=identifier, case=asked.path.case), 201))

        return decide

    return command


def _list(asked: Asked[Any, CasePath]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        rows = await store.decisions(read, asked.path.case)
        shown = [
            DecisionShown(
                decision=row["id"],
                content=DecisionContent.model_validate(row["content"]),
                signature=row["signature"],
                signed_by=row["signed_by"],
                signed_at=row["signed_at"],
            )
            for row in rows
        ]
        return Found(DecisionList(decisions=shown), [str(row["id"]) for row in rows])

    return find
