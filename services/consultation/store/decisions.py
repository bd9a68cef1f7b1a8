"""SQL of decisions."""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from services.runtime.database import Reader, Record

__all__ = ["decisions", "last_fact_at", "newest"]


async def decisions(read: Reader, case_id: UUID) -> list[Record]:
    """What was decided on a case, newest first."""
    return await read.fetch(
        """select id, kind, evaluation, content, signature, signed_by, signed_at from decision where care_case = $1
           order by signed_at desc, id desc""",
        case_id,
    )


async def newest(read: Reader, case_id: UUID) -> Mapping[str, Any] | None:
    """The newest decision on a case."""
    found = await decisions(read, case_id)
    return dict(found[0]) if found else None


async def last_fact_at(read: Reader, case_id: UUID, patient_id: UUID) -> dt.datetime | None:
    """When anything was last recorded that the rules look at."""
    found: dt.datetime | None = await read.fetchval(
        """select max(at) from (
               select max(entered_at) from intake_version where care_case = $1
               union all select max(reported_at) from result where care_case = $1
               union all select max(reported_at) from examination where care_case = $1
               union all select max(recorded_at) from assessment where patient = $2
           ) facts (at)""",
        case_id,
        patient_id,
    )
    return found
