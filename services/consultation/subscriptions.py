"""What the consultation listens to: staff, sites, duty and opening hours, and consent that is withdrawn at a chair.

Patients are its own.
"""

from collections.abc import Collection, Mapping
from uuid import UUID

from schemas.envelope import Envelope
from schemas.events import session_logging
from services.consultation.commands.cases import withdrawn
from services.consultation.domain.cases import Case, Consent
from services.consultation.store import cases as store
from services.directory.subscriptions import directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context
from services.runtime.messaging.inbox import Subscription

__all__ = ["SUBSCRIPTIONS"]

_State = tuple[Case, Consent]


class _WithdrawnAtTheChair:
    """The consent that held then no longer does; one that was given since, or withdrawn before, is left as it is."""

    def key(self, item: Envelope[session_logging.ConsentWithdrawn]) -> UUID:
        return item.data.case

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, _State]:
        found = {}
        for key in keys:
            case, consent = await store.case(read, key), await store.consent_of_case(read, key)
            if case is not None and consent is not None:
                found[key] = (case, consent)
        return found

    def decide(
        self, state: _State | None, item: Envelope[session_logging.ConsentWithdrawn], context: Context
    ) -> tuple[_State | None, Changes]:
        data = item.data
        if state is None or state[1].given_at > data.withdrawn_at:
            return state, Changes()
        changes, _ = withdrawn(*state, str(data.by), data.withdrawn_at)
        return None, changes


SUBSCRIPTIONS: tuple[Subscription, ...] = (
    directory("consultation", patients=False),
    Subscription("consultation.chair", {session_logging.CONSENT_WITHDRAWN.name: _WithdrawnAtTheChair()}, max_events=10),
)
