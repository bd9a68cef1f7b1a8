"""Event types to try the contract tools on, and random instances of an exported schema."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID

from hypothesis import strategies as st
from pydantic import AwareDatetime, Field

from schemas.envelope import EventData
from schemas.fields import (
    Code,
    CodeSystem,
    Concept,
    EventTypeName,
    Language,
    Measure,
    OpaqueId,
    PatientId,
    Revision,
    Sha256,
    Sha256Prefix,
    SourcePath,
    TopicName,
    UcumUnit,
    Zone,
    ZonedInstant,
    in_unit,
    open_code,
)
from schemas.registry import Registry, event_type
from tests.support.ledger import events as ledger

__all__ = ["EVERYTHING", "LEDGER", "Everything", "Oral", "Reason", "instances"]


class Reason(StrEnum):
    """Why a session ended early."""

    BLOOD_PRESSURE = "blood-pressure"
    WISH = "wish"


class Infused(EventData):
    """Into a vein.

    Attributes:
        route: which way.
        rate: how fast.
    """

    route: Literal["infusion"]
    rate: Measure


class Oral(EventData):
    """By mouth.

    Attributes:
        route: which way.
        tablets: how many.
    """

    route: Literal["oral"]
    tablets: Annotated[int, Field(ge=1, le=20)]


class Everything(EventData):
    """A session ended; it has a field of every shape that events use.

    Attributes:
        patient: whose it was.
        session: which one.
        aggregate: as a path.
        outcome: how it ended.
        reason: why it ended early.
        minutes: how long it took.
        dose: how much was given.
        given: which way.
        diagnoses: what it was for.
        readings: vital signs at the end.
        began: when and where.
        ended: when.
        next_due: the day of the next one.
        complete: whether all of it was given.
        language: of the instructions.
        zone: of the chair.
        unit: of the scale.
        system: of the scale.
        rules: digest of the rules in force.
        rules_short: its beginning.
        revision: of the rules in force.
        topic: where it was said.
        kind: by which event.
    """

    patient: PatientId
    session: OpaqueId
    aggregate: SourcePath
    outcome: Literal["completed", "stopped"]
    reason: Annotated[Code, open_code(Reason)] | None = None
    minutes: Annotated[int, in_unit("min"), Field(ge=0, le=1440)]
    dose: Measure
    given: Annotated[Infused | Oral, Field(discriminator="route")]
    diagnoses: Annotated[tuple[Concept, ...], Field(max_length=20)] = ()
    readings: Annotated[tuple[Measure, ...], Field(min_length=1, max_length=5)]
    began: ZonedInstant
    ended: AwareDatetime
    next_due: date | None = None
    complete: bool
    language: Language
    zone: Zone
    unit: UcumUnit
    system: CodeSystem
    rules: Sha256 | None = None
    rules_short: Sha256Prefix
    revision: Revision
    topic: TopicName
    kind: EventTypeName


_DOSE = Measure(value=Decimal("41.50"), unit="mg")

EVERYTHING = event_type(
    "session_logging",
    "session-ended",
    Everything,
    since="2026-11-23",
    urgent=True,
    sample=Everything(
        patient=UUID("5f3e8a52-0b1d-4c6e-9a7f-2d8b4c6e0f13"),
        session=UUID("7d0c7f3e-52f1-4b0a-9d5e-0c6f6a1b2c3d"),
        aggregate="/session_logging/sessions/7d0c7f3e-52f1-4b0a-9d5e-0c6f6a1b2c3d",
        outcome="stopped",
        reason="blood-pressure",
        minutes=41,
        dose=_DOSE,
        given=Infused(route="infusion", rate=Measure(value=Decimal("0.5"), unit="mg/min")),
        diagnoses=(Concept(system="http://hl7.org/fhir/sid/icd-10-cm", code="F33.2"),),
        readings=(Measure(value=Decimal(152), unit="mm[Hg]"),),
        began=ZonedInstant(at=datetime(2026, 11, 23, 14, 20, tzinfo=UTC), zone="America/Los_Angeles"),
        ended=datetime(2026, 11, 23, 15, 1, tzinfo=UTC),
        next_due=date(2026, 11, 26),
        complete=False,
        language="es-MX",
        zone="America/Argentina/Buenos_Aires",
        unit="{score}",
        system="urn:iso:std:iso:11073:10101",
        rules="9f" * 32,
        revision="ketamine/2026-11-23/0123abcd",
        rules_short="9f" * 8,
        topic="telemed.session-logging.events",
        kind="org.telemed.session_logging.session-ended.v1",
    ),
)


class Posted(EventData):
    """The ledger's event without its padding: as it would be if the ledger were a product.

    Attributes:
        account: to which it was posted.
        entry: id of the entry.
        amount: in cents; negative takes away.
        balance: of the account afterwards.
    """

    account: Code
    entry: Code
    amount: int
    balance: int


LEDGER = Registry((
    *(row for row in ledger.REGISTRY.events if row is not ledger.ENTRY_POSTED),
    replace(ledger.ENTRY_POSTED, data=Posted, sample=Posted(account="a1", entry="e7", amount=-250, balance=1750)),
    EVERYTHING,
))  # fmt: skip
"""Three owners, four types: the product's own, the test ledger's, and one with a field of every shape."""


def instances(schema: dict[str, Any], *, least: bool = False) -> st.SearchStrategy[Any]:
    """Random values that a schema allows; ``least`` leaves out whatever it does not require."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if branches := schema.get("anyOf", schema.get("oneOf")):
        return st.one_of([instances(branch, least=least) for branch in branches])
    match schema["type"]:
        case "object":
            required = set(schema.get("required", ()))
            made = {name: instances(field, least=least) for name, field in schema.get("properties", {}).items()}
            optional = {} if least else {name: value for name, value in made.items() if name not in required}
            return st.fixed_dictionaries({name: value for name, value in made.items() if name in required}, optional=optional)
        case "array":
            low = schema.get("minItems", 0)
            return st.lists(
                instances(schema["items"], least=least),
                min_size=low,
                max_size=low if least else min(low + 2, schema.get("maxItems", 99)),
            )
        case "integer":
            return st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return _text(schema)


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    match schema.get("format"):
        case "uuid":
            return st.uuids().map(str)
        case "date":
            return st.dates().map(date.isoformat)
        case "date-time":
            return st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
    return _matching(
        schema.get("pattern", "^.*$"),
        schema.get("minLength", 0),
        schema.get("maxLength", 200),
        schema.get("not", {}).get("const"),
    )


@cache
def _matching(pattern: str, low: int, high: int, never: str | None) -> st.SearchStrategy[str]:
    # An open end is cut short: what a longer text shows, a short one does, and the generator would throw most away.
    whole = re.sub(r"[*+]$", lambda end: "{0,12}" if end[0] == "*" else "{1,12}", pattern.removeprefix("^").removesuffix("$"))
    return st.from_regex(rf"\A(?:{whole})\Z").filter(lambda text: low <= len(text) <= high and text != never)
