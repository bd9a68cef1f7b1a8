"""Who is called for a page: whoever is on duty for the role, by the service's own copy of the roster."""

from collections.abc import Sequence

from services.directory import store
from services.runtime.database import Reader
from services.runtime.messaging.changes import Context
from services.runtime.messaging.paging import Contact

__all__ = ["on_call"]


async def on_call(read: Reader, role: str, context: Context) -> Sequence[Contact]:
    """Everybody on duty for a role at this moment of the clinic's clock; nobody means that the operator is called instead."""
    return [Contact(str(shift.staff), shift.pager) for shift in await store.on_duty(read, role, context.now)]
