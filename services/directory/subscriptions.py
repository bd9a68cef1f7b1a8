"""The subscription that keeps the directory: rows only, the newest event of a source replaces what was known."""

from collections.abc import Collection, Mapping
from typing import Any, Generic, TypeVar
from uuid import UUID

from schemas.envelope import Envelope, EventData
from schemas.events import clinic, consultation
from services.runtime.database import Reader
from services.runtime.messaging.changes import Context, Put, RowChanges
from services.runtime.messaging.fold import ProjectionHandler
from services.runtime.messaging.inbox import Projection

__all__ = ["directory", "patient_row"]

D = TypeVar("D", bound=EventData)


class _Replaces(Generic[D]):
    """Nothing is read: each event says all there is to know."""

    def key(self, item: Envelope[D]) -> str:
        return item.source

    async def load(self, read: Reader, keys: Collection[str]) -> Mapping[str, None]:
        return {}

    def decide(self, state: None, item: Envelope[D], context: Context) -> tuple[None, RowChanges]:
        return None, RowChanges(rows=[self.row(item.data)])

    def row(self, data: D) -> Put:
        raise NotImplementedError


def patient_row(data: consultation.PatientChanged) -> Put:
    """What is kept of a patient; consultation, which owns them, writes it with the patient."""
    team = [{"staff": str(member.staff), "role": member.role} for member in data.care_team]
    values = {
        "account": data.account,
        "zone": data.zone,
        "language": data.language,
        "region": data.region,
        "status": data.status,
        "care_team": team,
    }
    return Put("patient_fact", {"patient": data.patient}, values)


class _Patients(_Replaces[consultation.PatientChanged]):
    def row(self, data: consultation.PatientChanged) -> Put:
        return patient_row(data)


_Merging = Envelope[consultation.PatientsMerged] | Envelope[consultation.PatientsUnmerged]


class _Merges:
    """A merge says where the duplicate's record goes on; its own ``patient-changed`` says that it is no longer used."""

    def __init__(self, *, undone: bool) -> None:
        self._undone = undone

    def key(self, item: _Merging) -> UUID:
        return item.data.duplicate

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        rows = await read.fetch("select * from patient_fact where patient = any($1)", list(keys))
        return {row["patient"]: {name: value for name, value in row.items() if name != "patient"} for row in rows}

    def decide(
        self, state: Mapping[str, Any] | None, item: _Merging, context: Context
    ) -> tuple[Mapping[str, Any] | None, RowChanges]:
        if state is None:
            # The duplicate's own events are of another source and may come later: parked until they have.
            raise LookupError("the duplicate is not known yet")
        known = {**state, "merged_into": None if self._undone else item.data.survivor}
        return known, RowChanges(rows=[Put("patient_fact", {"patient": item.data.duplicate}, known)])


class _Staff(_Replaces[clinic.StaffChanged]):
    def row(self, data: clinic.StaffChanged) -> Put:
        held = [one.model_dump(mode="json", exclude_none=True) for one in data.credentials]
        return Put("staff_fact", {"staff": data.staff}, {"roles": data.roles, "credentials": held, "active": data.active})


class _Sites(_Replaces[clinic.SiteChanged]):
    def row(self, data: clinic.SiteChanged) -> Put:
        values = {"region": data.region, "zone": data.zone, "chairs": data.chairs, "active": data.active}
        return Put("site_fact", {"site": data.site}, values)


class _Shifts(_Replaces[clinic.ShiftChanged]):
    def row(self, data: clinic.ShiftChanged) -> Put:
        values = {
            "role": data.role,
            "staff": data.staff,
            "pager": data.pager,
            "starts_at": data.starts_at,
            "ends_at": data.ends_at,
            "active": data.active,
        }
        return Put("shift_fact", {"shift": data.shift}, values)


class _Calendar(_Replaces[clinic.CalendarChanged]):
    def row(self, data: clinic.CalendarChanged) -> Put:
        hours = [span.model_dump(mode="json") for span in data.hours]
        return Put("calendar_fact", {"only_row": True}, {"zone": data.zone, "hours": hours, "closed": data.closed})


def directory(service: str, *, patients: bool = True) -> Projection:
    """The subscription of one service.

    Args:
        service: whose copy it is; the consumer is ``<service>.directory``.
        patients: whether it keeps patients too; consultation owns them and does not.
    """
    handlers: dict[str, ProjectionHandler[Any, Any, Any]] = {
        clinic.STAFF_CHANGED.name: _Staff(),
        clinic.SITE_CHANGED.name: _Sites(),
        clinic.SHIFT_CHANGED.name: _Shifts(),
        clinic.CALENDAR_CHANGED.name: _Calendar(),
    }
    if patients:
        handlers |= {
            consultation.PATIENT_CHANGED.name: _Patients(),
            consultation.PATIENTS_MERGED.name: _Merges(undone=False),
            consultation.PATIENTS_UNMERGED.name: _Merges(undone=True),
        }
    return Projection(f"{service}.directory", handlers)
