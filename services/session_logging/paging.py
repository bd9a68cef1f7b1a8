"""Who is called for a page of the infusion room: whoever is on duty for the role, and first of all who is responsible."""

from collections.abc import Sequence
from uuid import UUID

from services.directory import paging as directory
from services.runtime.database import Reader
from services.runtime.messaging.changes import Context
from services.runtime.messaging.paging import Contact
from services.session_logging.commands.room import RESPONSIBLE
from services.session_logging.store import sessions as store

__all__ = ["on_call"]


async def on_call(read: Reader, role: str, subject: str, context: Context) -> Sequence[Contact]:
    """Everybody on duty for a role at this moment of the clinic's clock. ``RESPONSIBLE`` is the nurse who has the patient now,
    so that the next call follows a handover (decision B4); where nobody has, or the roster gives them no pager, every nurse.
    """
    if role != RESPONSIBLE:
        return await directory.on_call(read, role, subject, context)
    nurses = await directory.on_call(read, "nurse", subject, context)
    nurse = await store.responsible(read, UUID(subject))
    return [one for one in nurses if one.person == str(nurse)] or nurses
