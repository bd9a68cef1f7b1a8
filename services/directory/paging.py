"""Who is called for a page: whoever is on duty for the role, by the service's own copy of the roster."""

import datetime as dt
from collections.abc import Sequence

from services.directory import store
from services.runtime.database import Reader
from services.runtime.edge.break_glass import BROKEN
from services.runtime.messaging.changes import Context
from services.runtime.messaging.ladders import Ladder, Rung
from services.runtime.messaging.paging import Contact

__all__ = ["GLASS", "on_call"]

GLASS = {BROKEN: Ladder((Rung(dt.timedelta(0), "admin"), Rung(dt.timedelta(hours=1), "clinic")))}
"""Who is told at once that somebody opened a record in an emergency, in every service that keeps records."""


async def on_call(read: Reader, role: str, _: str, context: Context) -> Sequence[Contact]:
    """Everybody on duty for a role at this moment of the clinic's clock; nobody means that the operator is called instead."""
    return [Contact(str(shift.staff), shift.pager) for shift in await store.on_duty(read, role, context.now)]
