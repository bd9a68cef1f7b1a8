"""Which events exist: their type, data model, owner, urgency and data class. Explicit tuples, no discovery.

An event type names its major version (``org.telemed.<service>.<fact>.v1``). Within a major only additive change is allowed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from schemas.dead_letter import SAMPLE as DEAD_LETTER_SAMPLE
from schemas.dead_letter import DeadLetter
from schemas.envelope import Envelope, EventData

__all__ = ["DEAD_LETTERED", "TYPE_PREFIX", "DataClass", "EventType", "Registry", "event_type"]

TYPE_PREFIX = "org.telemed"
_TYPE = re.compile(rf"^(?P<name>{re.escape(TYPE_PREFIX)}\.(?P<owner>[a-z_]+)\.[a-z0-9-]+)\.v(?P<major>[1-9][0-9]*)$")


class DataClass(StrEnum):
    """What kind of data an event carries; no class allows a direct identifier or free text."""

    OPERATIONAL = "operational"
    """Nothing about a person."""
    PSEUDONYMOUS_HEALTH = "pseudonymous-health"
    """Opaque ids, codes and numbers about a patient: still protected health data."""


@dataclass(frozen=True)
class EventType:
    """One row of the registry.

    Attributes:
        name: the CloudEvents type, with its major version.
        data: model of its ``data``.
        owner: the only service that publishes it (snake_case); its topic follows from it.
        data_class: see ``DataClass``.
        since: date of its first publication (ISO 8601). Once released (``schemas/released``) it changes only additively.
        urgent: when it is parked, or waits behind a parked event, a human is paged at once.
        sample: made by hand, with every field set; the golden samples and the examples in the documents come from it.
    """

    name: str
    data: type[EventData]
    owner: str
    data_class: DataClass
    since: str
    urgent: bool = False
    sample: EventData | None = field(default=None, compare=False, repr=False)

    @cached_property
    def envelope(self) -> type[Envelope[EventData]]:
        """The envelope model with this type's data."""
        return Envelope[self.data]  # type: ignore[name-defined]

    @property
    def fact(self) -> str:
        """The type without its major version."""
        return self.name.rpartition(".v")[0]

    @property
    def short(self) -> str:
        """The type without the common prefix: ``<service>.<fact>.v<major>``."""
        return self.name.removeprefix(f"{TYPE_PREFIX}.")

    @property
    def dataschema(self) -> str:
        """URI of the schema of its data: absolute, as CloudEvents asks, and of no host."""
        return f"urn:telemed:schema:{self.short}"

    def topic(self, prefix: str) -> str:
        """The one topic on which this type is published."""
        if self is DEAD_LETTERED:
            return f"{prefix}.dead-letters"
        return f"{prefix}.{self.owner.replace('_', '-')}.events"


def event_type(
    owner: str,
    fact: str,
    data: type[EventData],
    *,
    major: int = 1,
    since: str,
    data_class: DataClass = DataClass.PSEUDONYMOUS_HEALTH,
    urgent: bool = False,
    sample: EventData | None = None,
) -> EventType:
    """Make a registry row for ``org.telemed.<owner>.<fact>.v<major>``."""
    kind = EventType(f"{TYPE_PREFIX}.{owner}.{fact}.v{major}", data, owner, data_class, since, urgent, sample)
    if not _TYPE.match(kind.name):
        raise ValueError(f"not an event type name: {kind.name}")
    return kind


DEAD_LETTERED = event_type(
    "runtime",
    "dead-lettered",
    DeadLetter,
    since="2026-11-23",
    data_class=DataClass.OPERATIONAL,
    sample=DEAD_LETTER_SAMPLE,
)
"""Announced by any service whose consumer gave an event up; the event itself stays in that service's database."""


@dataclass(frozen=True)
class Registry:
    """All known event types, by type name."""

    events: tuple[EventType, ...]

    @cached_property
    def _by_type(self) -> dict[str, EventType]:
        by_type = {event.name: event for event in self.events}
        if len(by_type) != len(self.events):
            raise ValueError("an event type stands in the registry twice")
        return by_type

    @cached_property
    def _facts(self) -> frozenset[str]:
        return frozenset(event.fact for event in self.events)

    def get(self, type_name: str) -> EventType | None:
        """The row of a type, or None when it is unknown."""
        return self._by_type.get(type_name)

    def is_other_major(self, type_name: str) -> bool:
        """Whether this unknown type is another major version of a fact we know."""
        return type_name not in self._by_type and type_name.rpartition(".v")[0] in self._facts

    def owned_by(self, owners: Iterable[str]) -> tuple[EventType, ...]:
        """The types of some services."""
        wanted = frozenset(owners)
        return tuple(event for event in self.events if event.owner in wanted)
