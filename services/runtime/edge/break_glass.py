"""Access in an emergency to a record that one has nothing to do with: asked for with a reason, brief, announced, written down.

A grant widens the relationship for one person and one patient in one service, never the role. Whoever leads the clinic is paged
at once; the audit row of every request under the grant names the grant, and the grant's own row says why.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import uuid_utils.compat
from pydantic import Field

from services.runtime.database import Reader
from services.runtime.edge.fields import Id, Instant, Note, Request, Response
from services.runtime.edge.policy import Bearer, Relationship, role_is_enough
from services.runtime.edge.principal import Principal, Role
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Route, reply
from services.runtime.messaging.changes import Append, Changes, Context, RaisePage
from services.runtime.messaging.unit_of_work import Decide

__all__ = ["BREAK_GLASS", "BROKEN", "broken_glasses", "or_broken_glass"]

BROKEN = "edge.glass-broken"
"""Page: somebody opened a record that they have nothing to do with."""

_LONGEST_MIN = 60


class BreakGlass(Request):
    """For which patient, why, and for how long (minutes, at most an hour)."""

    patient: Id
    reason: Annotated[Note, Field(min_length=10, max_length=2000)]
    minutes: Annotated[int, Field(ge=1, le=_LONGEST_MIN)] = 30


class GlassBroken(Response):
    """Until when the record is open."""

    grant: Id
    expires_at: Instant


def or_broken_glass(relationship: Relationship) -> Relationship:
    """The relationship, or a grant that has not expired; the record names a ``patient``."""

    async def check(read: Reader, who: Principal, record: Mapping[str, str], context: Context) -> str:
        if related := await relationship(read, who, record, context):
            return related
        try:
            patient = UUID(record["patient"])
        except ValueError:
            return ""
        return (await broken_glasses(read, who, [patient], context)).get(patient, "")

    check.__name__ = f"{relationship.__name__}_or_broken_glass"  # as the access table shows it
    return check


async def broken_glasses(read: Reader, who: Principal, patients: Collection[UUID], context: Context) -> Mapping[UUID, str]:
    """Which of some patients' records somebody has opened in an emergency, as an audit row says it."""
    # Real time: a clinic clock that is moved must not make a grant longer.
    rows = await read.fetch(
        """select distinct on (patient) patient, id from broken_glass
           where person = $1 and patient = any($2) and expires_at > $3 order by patient, id""",
        who.person,
        list(patients),
        context.recorded,
    )
    return {row["patient"]: f"broken-glass {row['id']}" for row in rows}


def _break(asked: Asked[BreakGlass]) -> Decide:
    wanted: Any = asked.body

    async def decide(_: Reader, context: Context) -> Changes:
        grant = uuid_utils.compat.uuid7()
        expires = context.recorded + timedelta(minutes=wanted.minutes)
        row = Append(
            "broken_glass",
            {
                "id": grant,
                "person": asked.principal.person,
                "patient": wanted.patient,
                "reason": wanted.reason,
                "expires_at": expires,
            },
        )
        page = RaisePage(BROKEN, f"glass:{grant}", str(grant))
        return Changes(rows=[row], pages=[page], reply=reply(GlassBroken(grant=grant, expires_at=expires), 201))

    return decide


BREAK_GLASS = Route(
    name="break_glass",
    method="POST",
    path_template="/break-glass",
    summary="Open a patient's record in an emergency, without being on the care team",
    policy=Bearer(frozenset({Role.PRESCRIBER, Role.NURSE}), role_is_enough),
    audit="glass.break",
    request=BreakGlass,
    response=GlassBroken,
    status=201,
    command=_break,
    about=lambda asked: {"patient": str(asked.body.patient)},
    idempotency=KEY_REQUIRED,
    examples=(
        Example(
            {"patient": "018f0000-0000-7000-8000-000000000001", "reason": "Unconscious in the waiting room", "minutes": 30}
        ),
    ),
)
"""For the routes of every service that keeps records of patients."""
