"""What the consultation does when time comes: it calls somebody about an enquiry that nobody has answered."""

from collections.abc import Collection, Mapping
from uuid import UUID

from services.consultation.commands.people import ENQUIRY_WAITS
from services.consultation.domain.people import Enquiry
from services.consultation.store import people as store
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, RaisePage
from services.runtime.messaging.timers import Timer

__all__ = ["EnquiryDue"]


class EnquiryDue:
    """Pages when an enquiry is still open."""

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Enquiry]:
        return await store.enquiries(read, keys)

    def decide(self, state: Enquiry | None, item: Timer, context: Context) -> tuple[Enquiry | None, Changes]:
        if state is None or state.status != "open":
            return state, Changes()
        return state, Changes(pages=[RaisePage(ENQUIRY_WAITS, f"{ENQUIRY_WAITS}:{state.id}", str(state.id))])
