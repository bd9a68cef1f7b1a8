"""What is said on the bus of an event that a consumer gave up: where it is, never what it says."""

from typing import Annotated

from pydantic import Field

from schemas.envelope import EventData

__all__ = ["DeadLetter"]


class DeadLetter(EventData):
    """Announcement of a dead event. The bytes stay in the consumer's ``parked`` table.

    Attributes:
        consumer: name of the consumer that gave it up.
        event_type: its type, or ``unknown`` when it could not be read.
        source_hash: first 16 hex digits of the SHA-256 of its source.
        sequence: its sequence within the source; 0 when it could not be read.
        error_class: name of the error's class or a stable reason code, never its text.
        origin_topic: where it was read.
        origin_partition: partition there.
        origin_offset: offset there.
    """

    consumer: Annotated[str, Field(max_length=100)]
    event_type: Annotated[str, Field(max_length=200)]
    source_hash: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    sequence: Annotated[int, Field(ge=0)]
    error_class: Annotated[str, Field(max_length=100)]
    origin_topic: Annotated[str, Field(max_length=249)]
    origin_partition: int
    origin_offset: int
