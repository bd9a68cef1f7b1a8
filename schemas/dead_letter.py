"""What is said on the bus of an event that a consumer gave up: where it is, never what it says."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from schemas.envelope import EventData
from schemas.fields import Code, EventTypeName, Sha256Prefix, TopicName

__all__ = ["SAMPLE", "DeadLetter"]


def _a_word(value: object) -> object:
    # Anyone may name an error class; the announcement of a dead event must not die of it, nor carry a sentence.
    return value if not isinstance(value, str) or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", value) else "other"


class DeadLetter(EventData):
    """Announcement of a dead event. The bytes stay in the consumer's ``parked`` table.

    Attributes:
        consumer: name of the consumer that gave it up.
        event_type: its type, or ``unknown`` when it could not be read.
        source_hash: first 16 hex digits of the SHA-256 of its source.
        sequence: its sequence within the source; 0 when it could not be read.
        error_class: name of the error's class or a stable reason code, never its text; ``other`` when it is no single word.
        origin_topic: where it was read.
        origin_partition: partition there.
        origin_offset: offset there.
    """

    consumer: Code
    event_type: EventTypeName
    source_hash: Sha256Prefix
    sequence: Annotated[int, Field(ge=0)]
    error_class: Annotated[Code, BeforeValidator(_a_word)]
    origin_topic: TopicName
    origin_partition: Annotated[int, Field(ge=0)]
    origin_offset: Annotated[int, Field(ge=0)]


SAMPLE = DeadLetter(
    consumer="follow_up.plans",
    event_type="org.telemed.treatment_planning.plan-approved.v1",
    source_hash="5f0c8d3a9e7b1c24",
    sequence=3,
    error_class="ZeroDivisionError",
    origin_topic="telemed.treatment-planning.events",
    origin_partition=7,
    origin_offset=4211,
)
