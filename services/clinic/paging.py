"""Who is called for a page of the clinic's own: whoever the roster has on duty for the role."""

from collections.abc import Sequence

from services.clinic import store
from services.runtime.database import Reader
from services.runtime.messaging.changes import Context
from services.runtime.messaging.paging import Contact

__all__ = ["on_call"]


async def on_call(read: Reader, role: str, _: str, context: Context) -> Sequence[Contact]:
    """Everybody on duty for a role at this moment of the clinic's clock."""
    shifts = await store.shifts_between(read, context.now, context.now)
    return [Contact(str(shift.staff), shift.pager) for shift in shifts if shift.role == role]
