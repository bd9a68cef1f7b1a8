"""What treatment planning listens to: who decided what, which consent holds, which sessions have begun; and the directory.

What takes away the ground of a plan holds it in the transaction in which it is heard of; a prescriber releases it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from schemas.envelope import Envelope, EventData
from schemas.events import consultation, session_logging
from services.directory.subscriptions import directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, NewEvent, Put, RowChange
from services.runtime.messaging.inbox import Subscription
from services.treatment_planning import commands, store
from services.treatment_planning.commands import SYSTEM
from services.treatment_planning.domain import Plan, Status

__all__ = ["FACTS", "SUBSCRIPTIONS"]

D = TypeVar("D", bound=EventData)


class _OfCase:
    """About a case: what is known of it, and its plan."""

    def key(self, item: Envelope[Any]) -> UUID:
        case: UUID = item.data.case
        return case

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Plan]:
        return await store.open_plans_of_cases(read, keys)

    def decide(self, state: Plan | None, item: Envelope[Any], context: Context) -> tuple[Plan | None, Changes]:
        data = item.data
        known = store.case_row(data.case, {"patient": data.patient, "therapy": data.therapy, **self.values(data)})
        reason = self.takes_away(data)
        if state is None or state.status is not Status.ACTIVE or not reason:
            return state, Changes(rows=[known])
        return _hold(state, reason, known, context)

    def values(self, data: Any) -> Mapping[str, object]:
        raise NotImplementedError

    def takes_away(self, data: Any) -> str:
        """Code of why a plan cannot go on; empty if it can."""
        return ""


def _hold(plan: Plan, reason: str, known: Put, context: Context) -> tuple[Plan, Changes]:
    made = commands.hold(plan, reason, SYSTEM, context)
    assert isinstance(made, tuple)  # noqa: S101 - an active plan can be held
    changes, held = made
    return held, Changes(rows=[known, *changes.rows], events=changes.events)


class _Decided(_OfCase):
    def values(self, data: consultation.DecisionSigned) -> Mapping[str, object]:
        return {
            "decision": data.decision,
            "kind": data.kind,
            "proposed": data.proposed,
            "conditions": list(data.conditions),
            "valid_until": data.valid_until,
            "examined_at": data.examined_at,
            "consent": data.consent,
        }

    def takes_away(self, data: consultation.DecisionSigned) -> str:
        return "" if data.kind == consultation.DecisionKind.APPROVED else "approval-revoked"


class _Consented(_OfCase):
    def values(self, data: consultation.ConsentGiven) -> Mapping[str, object]:
        return {"consent": data.version}


class _Withdrawn(_OfCase):
    def values(self, data: consultation.ConsentWithdrawn) -> Mapping[str, object]:
        return {"consent": None}

    def takes_away(self, data: consultation.ConsentWithdrawn) -> str:
        return "consent-withdrawn"


class _Patients:
    """A patient who is no longer treated here: their plans are held; one who has died: they end."""

    def key(self, item: Envelope[consultation.PatientChanged]) -> UUID:
        return item.data.patient

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Sequence[Plan]]:
        return await store.open_plans_of_patients(read, keys)

    def decide(
        self, state: Sequence[Plan] | None, item: Envelope[consultation.PatientChanged], context: Context
    ) -> tuple[Sequence[Plan] | None, Changes]:
        status = item.data.status
        if state is None or status == consultation.PatientStatus.ACTIVE:
            return state, Changes()
        rows: list[RowChange] = []
        events: list[NewEvent] = []
        left: list[Plan] = []
        for plan in state:
            died = status == consultation.PatientStatus.DECEASED
            end, reason = (commands.stop, "deceased") if died else (commands.hold, "patient-not-active")
            made = end(plan, reason, SYSTEM, context)
            if isinstance(made, tuple):
                changes, changed = made
                rows += changes.rows
                events += changes.events
                left += [] if died else [changed]
            else:
                left.append(plan)  # a draft, or held already
        return left, Changes(rows=rows, events=events)


class _Sessions:
    """A session has moved on."""

    def key(self, item: Envelope[Any]) -> UUID:
        session: UUID = item.data.session
        return session

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, None]:
        return {}

    def decide(self, state: None, item: Envelope[Any], context: Context) -> tuple[None, Changes]:
        data = item.data
        values: Mapping[str, object]
        if isinstance(data, session_logging.InfusionStarted):
            values = {"patient": data.patient, "state": "infusing", "started_at": data.started_at}
        elif isinstance(data, session_logging.SessionClosed):
            values = {"patient": data.patient, "state": "closed", "ending": data.ending}
        else:
            values = {"patient": data.patient, "state": data.state}
        return None, Changes(rows=[store.session_row(data.session, values)])


FACTS = Subscription(
    "treatment_planning.facts",
    {
        consultation.DECISION_SIGNED.name: _Decided(),
        consultation.CONSENT_GIVEN.name: _Consented(),
        consultation.CONSENT_WITHDRAWN.name: _Withdrawn(),
        consultation.PATIENT_CHANGED.name: _Patients(),
        session_logging.SESSION_CHANGED.name: _Sessions(),
        session_logging.INFUSION_STARTED.name: _Sessions(),
        session_logging.SESSION_CLOSED.name: _Sessions(),
    },
)
SUBSCRIPTIONS: tuple[Subscription, ...] = (directory("treatment_planning"), FACTS)
