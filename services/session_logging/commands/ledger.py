"""Use cases of the controlled drug: drawn, thrown away before a second person, and all of it accounted for (21 CFR 1304)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from uuid import UUID

import uuid_utils.compat

from schemas.values import Quantity
from services.runtime.database import Reader
from services.runtime.messaging.changes import AcknowledgePage, Changes, Context, RaisePage, Rejected, RowChange
from services.session_logging.commands.arrival import illegal, present
from services.session_logging.commands.room import UNACCOUNTED, Room, entry
from services.session_logging.domain.drug import Drawing, Drawn, Waste, balance, exceeds, measurable
from services.session_logging.domain.sessions import BEFORE, Entry, Kind, Session, SessionState
from services.session_logging.store import aftercare as drugs
from services.session_logging.store import sessions as store
from services.therapies import evidence

__all__ = ["DrugLedger", "given_by"]


def given_by(entries: Sequence[Entry]) -> list[str]:
    """Who has given the drug: whoever has made the pump run; of what comes from paper, whoever did it then."""
    return [one.data.get("done_by") or one.by for one in entries if one.kind in (Kind.START, Kind.RESUME)]


@dataclass(frozen=True, slots=True)
class DrugLedger:
    """The use cases, in the room."""

    room: Room

    async def draw(
        self, session_id: UUID, wanted: Drawing, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected:
        """What was drawn from which vial; as much of it goes into the bag as the dose of the day says."""
        session = await present(session_id, read, BEFORE)
        if isinstance(session, Rejected):
            return session
        if session.dose is None:
            return Rejected("dose-not-settled", final=False)
        if await drugs.drawn(read, session_id) is not None:
            return Rejected("drug-drawn")
        if wanted.expires < self.room.moment(session, context).date:
            return Rejected("drug-expired")
        if not measurable(wanted.drawn, self.room.pinned(session, context)):
            return Rejected("not-measurable")
        dose = session.dose
        same = (wanted.strength, Quantity.parse(wanted.into_bag), Quantity.parse(wanted.bag)) == (
            dose["strength"],
            Quantity.parse(dose["volume"]),
            Quantity.parse(dose["bag"]),
        )
        if not same or Quantity.parse(wanted.drawn) < Quantity.parse(wanted.into_bag):
            return Rejected("not-the-dose", final=False)
        drawn = Drawn(**asdict(wanted), session=session_id, drawn_by=by, drawn_at=context.now)
        said = entry(Kind.DRUG, by, context, data={"drawn": wanted.drawn, "into_bag": wanted.into_bag})
        rows: list[RowChange] = [
            store.session_row(session),
            drugs.drawn_row(drawn),
            store.entry_row(session.id, said),
        ]
        return Changes(rows=rows, patient=str(session.patient)), replace(session, version=session.version + 1)

    async def waste(
        self, session_id: UUID, volume: str, method: str | None, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Waste] | Rejected:
        """Drug is thrown away; it counts once a second person has said that they saw it. After a patient has left, too."""
        session = await store.session(read, session_id)
        if session is None:
            return Rejected("not-found", status=404)
        if session.locked_at is not None:
            return Rejected("record-locked")
        if session.state is SessionState.SCHEDULED or not await self._open(session, read, context):
            return illegal(session)
        drawn = await drugs.drawn(read, session_id)
        if drawn is None:
            return Rejected("drug-not-drawn", final=False)
        rules = self.room.pinned(session, context)
        if not measurable(volume, rules):
            return Rejected("not-measurable")
        wanted = Waste(uuid_utils.compat.uuid7(), session_id, volume, by, context.now, method)
        pump = Quantity.parse(session.pump_volume) if session.pump_volume else None
        if exceeds(drawn, pump, [*await drugs.wastes(read, session_id), wanted], rules):
            return Rejected("more-than-drawn", final=False)
        # The session's row: of two who throw away at the same moment, one has to look at what the other has.
        rows: list[RowChange] = [drugs.waste_row(wanted), store.session_row(session)]
        return Changes(rows=rows, patient=str(session.patient)), replace(wanted, version=1)

    async def witness(self, waste_id: UUID, by: str, read: Reader, context: Context) -> tuple[Changes, Waste] | Rejected:
        """A nurse or prescriber who neither drew nor gave the drug has seen it thrown away."""
        waste = await drugs.waste(read, waste_id)
        drawn = await drugs.drawn(read, waste.session) if waste else None
        session = await store.session(read, waste.session) if waste else None
        if waste is None or drawn is None or session is None:
            return Rejected("not-found", status=404)
        if session.locked_at is not None:
            return Rejected("record-locked")
        if waste.error_at is not None:
            return Rejected("entered-in-error")
        if waste.witness is not None:
            return Rejected("witnessed")
        if not await self._open(session, read, context):
            # What was left over when a ledger that balances was closed was not thrown away: it is marked as an error.
            return illegal(session)
        if by in (waste.wasted_by, drawn.drawn_by, *given_by(await store.entries(read, waste.session))):
            return Rejected("self-witnessed", final=False)
        seen = replace(waste, witness=by, witnessed_at=context.now)
        # The session's row: of who witnesses and who starts at the same moment, one has to look at the other.
        rows: list[RowChange] = [drugs.waste_row(seen), store.session_row(session)]
        pages = await self.recounted(session, by, read, context, seen)
        return Changes(rows=rows, pages=pages, patient=str(session.patient)), replace(seen, version=waste.version + 1)

    async def waste_wrong(
        self, waste_id: UUID, reason: str, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Waste] | Rejected:
        """It was not thrown away, or not as much: the entry stays, with the reason, and counts no longer."""
        waste = await drugs.waste(read, waste_id)
        session = await store.session(read, waste.session) if waste else None
        if waste is None or session is None:
            return Rejected("not-found", status=404)
        if session.locked_at is not None:
            return Rejected("record-locked")
        if waste.error_at is not None:
            return Rejected("entered-in-error")
        wrong = replace(waste, error_reason=reason, error_by=by, error_at=context.now)
        rows: list[RowChange] = [drugs.waste_row(wrong), store.session_row(session)]
        pages = await self.recounted(session, by, read, context, wrong)
        return Changes(rows=rows, pages=pages, patient=str(session.patient)), replace(wrong, version=waste.version + 1)

    async def unbalanced(
        self, session: Session, read: Reader, context: Context, *new: Waste
    ) -> Rejected | evidence.Rejected | None:
        """Why the drug of a session is not accounted for. ``new`` are wastes as they stand with what is being written."""
        drawn = await drugs.drawn(read, session.id)
        if drawn is None:
            return None
        if session.started_at is not None and session.pump_volume is None:
            return Rejected("pump-not-read", final=False)
        pump = Quantity.parse(session.pump_volume or "0 mL")
        wastes = {one.id: one for one in [*await drugs.wastes(read, session.id), *new]}
        gave = given_by(await store.entries(read, session.id))
        found = balance(drawn, pump, list(wastes.values()), gave, self.room.pinned(session, context))
        return found if isinstance(found, evidence.Rejected) else None

    async def recounted(
        self, session: Session, by: str, read: Reader, context: Context, *new: Waste
    ) -> list[RaisePage | AcknowledgePage]:
        """Whom the ledger of a session that is over calls, or calls no longer, now that something in it is another figure.

        Until the session is over nobody is called: it cannot be closed.
        """
        if session.state is not SessionState.CLOSED:
            return []
        called = await drugs.open_pages(read, UNACCOUNTED, session.id)
        if await self.unbalanced(session, read, context, *new) is None:
            return [AcknowledgePage(page, by) for page in called]
        # A page is raised once under its key: one that was answered before is another one.
        key = f"{UNACCOUNTED}:{session.id}:{context.now.isoformat()}"
        return [] if called else [RaisePage(UNACCOUNTED, key, str(session.id))]

    async def missing(self, session: Session, read: Reader, context: Context) -> list[RaisePage]:
        """Whom a ledger calls that is not balanced when the session is over all the same."""
        if await self.unbalanced(session, read, context) is None:
            return []
        return [RaisePage(UNACCOUNTED, f"{UNACCOUNTED}:{session.id}", str(session.id))]

    async def _open(self, session: Session, read: Reader, context: Context) -> bool:
        """Whether anything may still be written in the ledger: until the session is over, and then until it balances."""
        return session.state is not SessionState.CLOSED or await self.unbalanced(session, read, context) is not None
