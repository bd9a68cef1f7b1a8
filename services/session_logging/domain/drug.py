"""The controlled drug of a session: drawn = given + wasted, before two people. Pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from schemas.values import Quantity
from services.therapies.evidence import Rejected, Thresholds
from services.therapies.ketamine.records import Ledger, LedgerBalance, ledger, pump_volume_to_stock

__all__ = ["Drawing", "Drawn", "Rescue", "Waste", "balance", "exceeds", "given_volume", "measurable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What is drawn from which vial, and how much of it goes into a bag of which total volume."""

    strength: str
    drawn: str
    into_bag: str
    bag: str
    vial: str
    lot: str
    expires: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn(Drawing):
    """The same, as it was done: for which session, by whom, when."""

    session: UUID
    drawn_by: str
    drawn_at: dt.datetime
    version: int = 0


@dataclass(frozen=True, slots=True)
class Waste:
    """What was thrown away; it counts once a second person has seen it, and until somebody says that the entry was wrong."""

    id: UUID
    session: UUID
    volume: str
    wasted_by: str
    wasted_at: dt.datetime
    method: str | None = None
    witness: str | None = None
    witnessed_at: dt.datetime | None = None
    error_reason: str | None = None
    error_by: str | None = None
    error_at: dt.datetime | None = None
    version: int = 0

    @property
    def counts(self) -> bool:
        """Whether the ledger counts it."""
        return self.witness is not None and self.error_at is None


@dataclass(frozen=True, slots=True)
class Rescue:
    """Another drug than the infusion, given to who sits in the chair: against pressure, nausea, agitation, low saturation.

    Attributes:
        ordered_by: a prescriber; None if that is not known yet, which never keeps what was given from being recorded.
        given_by: a nurse or prescriber.
    """

    group: str
    drug: str
    dose: str
    route: str
    ordered_by: UUID | None
    given_by: UUID

    def said(self) -> dict[str, Any]:
        """As the log keeps it."""
        ordered = str(self.ordered_by) if self.ordered_by else None
        return {**asdict(self), "ordered_by": ordered, "given_by": str(self.given_by)}


def measurable(volume: str, rules: Thresholds) -> bool:
    """Whether a volume is one that the ledger counts in: whole hundredths of a millilitre, as the clinic has signed."""
    step = rules["ledger.volume"].value
    return Quantity.parse(volume).to("mL").value % step == 0


def exceeds(drawn: Drawn, pump_volume: Quantity | None, wastes: Sequence[Waste], rules: Thresholds) -> bool:
    """Whether more was given and thrown away than was drawn: every waste that stands, seen by somebody or not. While the pump
    was not read nothing counts as given.
    """
    gone = [Quantity.parse(one.volume).to("mL").value for one in wastes if one.error_at is None]
    given = given_volume(drawn, pump_volume, rules).to("mL").value if pump_volume else Decimal(0)
    return sum(gone, given) > Quantity.parse(drawn.drawn).to("mL").value


def given_volume(drawn: Drawn, pump_volume: Quantity, rules: Thresholds) -> Quantity:
    """Stock that the patient has received when the pump has delivered so much of the bag."""
    return pump_volume_to_stock(pump_volume, Quantity.parse(drawn.bag), Quantity.parse(drawn.into_bag), rules)


def balance(
    drawn: Drawn, pump_volume: Quantity, wastes: Sequence[Waste], given_by: Sequence[str], rules: Thresholds
) -> LedgerBalance | Rejected:
    """The ledger of a session, or why it cannot be closed.

    Args:
        given_by: everybody who has given of it; none of them may have witnessed.
    """
    given = given_volume(drawn, pump_volume, rules)
    seen = [one for one in wastes if one.counts]
    involved = [one.witness for one in seen if one.witness in (drawn.drawn_by, *given_by)]
    total = sum((Quantity.parse(one.volume).to("mL").value for one in seen), Decimal(0))
    entry = Ledger(
        strength=Quantity.parse(drawn.strength),
        drawn=Quantity.parse(drawn.drawn),
        administered=given,
        wasted=Quantity(total, "mL"),
        drawn_by=drawn.drawn_by,
        administered_by=next(iter(involved or given_by), ""),
        # One witness who was involved is enough to spoil it: that one is asked about.
        waste_witness=next(iter(involved), seen[0].witness if seen else None),
        # Only nurses and prescribers may witness at all: the route and the use case see to it.
        witness_role="nurse" if seen else None,
    )
    return ledger(entry, rules)
