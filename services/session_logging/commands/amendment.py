"""The use case of a plan that was amended while the patient is here: a prescriber takes its new version for this session."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from schemas.values import Quantity
from services.runtime.database import Reader
from services.runtime.edge.principal import Principal
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.session_logging import events
from services.session_logging.commands.arrival import Arrival, present
from services.session_logging.commands.room import Log, entry
from services.session_logging.domain.drug import Drawn
from services.session_logging.domain.gates import Known, Stock, dose_case, prescriber_named
from services.session_logging.domain.sessions import HERE, Kind, Session, SessionState, move
from services.session_logging.domain.totals import by_rate
from services.session_logging.store import aftercare as drugs
from services.session_logging.store import sessions as store
from services.therapies import evidence
from services.therapies.evidence import plain
from services.therapies.ketamine.dosing import dose_of_the_day, from_bag

__all__ = ["Amendment"]


@dataclass(frozen=True, slots=True)
class Amendment:
    """The use case, in the room of ``Arrival``."""

    arrival: Arrival

    async def take(
        self, session_id: UUID, number: int, who: Principal, read: Reader, context: Context
    ) -> tuple[Changes, Session] | Rejected | evidence.Rejected:
        """The prescriber on site takes the newest signed version of the plan for a session that waits or is paused.

        Nothing runs on by it: the gates of start and resume ask by its terms from now on. Before the drug is drawn its dose is
        settled anew. A bag that is mixed is what it is: less of it may be given, and slower; more, or faster after the start,
        is for a later session (decision A9).
        """
        session = await present(session_id, read, HERE | {SessionState.PAUSED})
        if isinstance(session, Rejected):
            return session
        room = self.arrival.room
        log = await Log.load(read, session)
        known = await room.known(session, log.entries, read, context)
        if known.prescriber is not True or str(prescriber_named(log.entries)) != who.person:
            return Rejected("not-on-site", final=False)
        newest, terms = await store.plan_version(read, session.plan)
        if terms is None or number != newest or number <= session.plan_number or not known.plan_active:
            return Rejected("not-the-version", final=False)
        stands = SessionState.HELD if session.state is SessionState.READY else session.state
        taken = move(session, stands, context.now, plan_number=number, terms=terms, dose=None)
        drawn = await drugs.drawn(read, session_id)
        if drawn is not None:
            dose = self._out_of_bag(session, taken, drawn, log, known, context)
            if isinstance(dose, Rejected | evidence.Rejected):
                return dose
            taken = replace(taken, dose=dose)
        data = {"from_version": session.plan_number, "to_version": number, "dose": terms.dose, "duration": terms.duration}
        if taken.dose is not None:
            data |= {"pump_rate": taken.dose["pump_rate"], "to_give": taken.dose["to_give"]}
        changes = room.logged(log, taken, [entry(Kind.PLAN_VERSION, who.person, context, data=data)], context)
        if isinstance(changes, evidence.Rejected):
            return changes
        told = events.session_changed(taken, UUID(who.person))
        return replace(changes, events=[told, *changes.events]), replace(taken, version=session.version + 1)

    def _out_of_bag(
        self, before: Session, session: Session, drawn: Drawn, log: Log, known: Known, context: Context
    ) -> dict[str, Any] | Rejected | evidence.Rejected:
        rules = self.arrival.room.pinned(session, context)
        stock = Stock(Quantity.parse(drawn.strength), Quantity.parse(drawn.bag))
        case = dose_case(session, stock, known, self.arrival.room.moment(session, context))
        found = dose_of_the_day(case, rules)
        if isinstance(found, evidence.Rejected):
            return found
        if found.result is None or case.weight is None or before.dose is None:
            return Rejected("dose-not-settled", final=False)
        rest = from_bag(found.result, case.plan, Quantity.parse(drawn.into_bag), stock.bag, rules)
        if rest is None:
            return Rejected("more-than-the-bag", final=False)
        to_give, rate = rest
        if session.started_at is not None:
            if rate > Quantity.parse(before.dose["pump_rate"]):
                return Rejected("above-plan", final=False)
            if by_rate(log.entries, context.now) >= to_give:
                return Rejected("given-already", final=False)
        return {
            **plain(found.result),
            "concentration": before.dose["concentration"],
            "pump_rate": str(rate),
            "to_give": str(to_give),
            "weight": str(case.weight.value),
            "strength": str(stock.strength),
            "bag": str(stock.bag),
        }
