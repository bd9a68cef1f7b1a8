"""The CloudEvents 1.0 envelope: one immutable blob in the outbox, on the topic, in a dead letter's origin and on a stream.

Structured JSON mode is written; structured and binary mode are read (CloudEvents Kafka binding 3.2, 3.3). The attributes
that a consumer needs before it parses a body are mirrored as ``ce_*`` headers, which the binding allows in structured mode.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

__all__ = [
    "CONTENT_TYPE",
    "MAX_EVENT_BYTES",
    "Attributes",
    "Envelope",
    "EventData",
    "Headers",
    "Undecodable",
    "attributes_of",
    "decode",
    "headers_of",
]

CONTENT_TYPE = b"application/cloudevents+json; charset=UTF-8"
MAX_EVENT_BYTES = 64 * 1024
"""The largest event, refused at the outbox insert and never at the broker."""

Headers = Sequence[tuple[str, bytes]]


class EventData(BaseModel):
    """Base of every event's data: immutable, and tolerant of fields that a newer minor version has added."""

    # A validation error names the field, never the value: it may end in a log.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


D = TypeVar("D", bound=EventData)


def _sequence_from_text(value: object) -> object:
    # On the wire a sequence is text (CloudEvents "sequence" extension), zero-padded so that text order is number order.
    if isinstance(value, str):
        if not value.isascii() or not value.isdigit():
            raise ValueError("sequence must be decimal digits")
        return int(value)
    return value


Sequence10 = Annotated[
    int,
    BeforeValidator(_sequence_from_text),
    PlainSerializer(lambda number: f"{number:010d}", when_used="json"),
    Field(ge=1, le=9_999_999_999),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{10}$", "not": {"const": "0000000000"}}),
]

Reference = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$")]
"""An opaque id in text: no space, no @, nothing that reads as a sentence."""

_TRACEPARENT = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"


def _or_nothing(value: object) -> object:
    # W3C Trace Context: a receiver ignores a traceparent it cannot read. Tracing must never stop a fact.
    return value if isinstance(value, str) and re.fullmatch(_TRACEPARENT, value) else None


Traceparent = Annotated[str | None, BeforeValidator(_or_nothing), WithJsonSchema({"type": "string", "pattern": _TRACEPARENT})]


class Envelope(BaseModel, Generic[D]):
    """One event. ``source`` is the aggregate instance, so ``sequence`` orders within it (CloudEvents sequence extension).

    Attributes:
        specversion: of CloudEvents.
        id: time-ordered UUID (v7), increasing along the sequence of one source.
        source: aggregate instance as a path, e.g. ``/ledger/accounts/<uuid>``.
        type: which fact, with its major version.
        time: when the fact happened, by the clinic clock.
        recordedtime: when it was stored, real time.
        datacontenttype: of ``data``.
        dataschema: URI of the schema of ``data``; another one means another meaning.
        partitionkey: the patient's opaque id (the aggregate's where there is no patient); also the record key.
        sequence: contiguous from 1 within ``source``.
        epoch: raised after a database restore; sequences of a lower epoch may have been undone by it.
        correlationid: the care journey or request this belongs to.
        causationid: the event that caused this one, if any.
        traceparent: W3C trace context of the command behind it; one that cannot be read is dropped.
        data: the fact.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, hide_input_in_errors=True)

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: Annotated[str, Field(min_length=2, max_length=200, pattern=r"^/[A-Za-z0-9/_.:-]+$")]
    type: Annotated[str, Field(min_length=1, max_length=200)]
    time: AwareDatetime
    recordedtime: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str | None = None
    partitionkey: Reference
    sequence: Sequence10
    epoch: Annotated[int, Field(ge=1, le=2_147_483_647)]
    correlationid: Reference | None = None
    causationid: Reference | None = None
    traceparent: Traceparent = None
    data: D

    def encode(self) -> bytes:
        """Structured-mode JSON: the record value."""
        return self.model_dump_json(exclude_none=True).encode()


class Attributes(NamedTuple):
    """What a consumer must know of a record before parsing its body."""

    id: UUID
    type: str
    source: str
    epoch: int
    sequence: int
    partitionkey: str


class Undecodable(ValueError):
    """A record that is not an event of ours. ``code`` is stable; the text never holds any of the record's content."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def headers_of(event: Attributes, traceparent: str | None = None) -> list[tuple[str, bytes]]:
    """The headers mirrored beside a structured-mode value."""
    headers = [
        ("content-type", CONTENT_TYPE),
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event.id).encode()),
        ("ce_type", event.type.encode()),
        ("ce_source", event.source.encode()),
        ("ce_epoch", b"%d" % event.epoch),
        ("ce_sequence", b"%010d" % event.sequence),
        ("ce_partitionkey", event.partitionkey.encode()),
    ]
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    return headers


def attributes_of(value: bytes | None, headers: Headers) -> Attributes:
    """Read the attributes from the headers, or from the body of a structured record that mirrors none.

    Raises:
        Undecodable: ``no-value``, ``not-json``, ``not-cloudevents``, or ``bad-attribute``.
    """
    if value is None:
        raise Undecodable("no-value")
    found = dict(headers)
    try:
        if "ce_id" in found:
            return _checked(
                found["ce_id"].decode("ascii"),
                found["ce_type"].decode(),
                found["ce_source"].decode(),
                found["ce_epoch"].decode("ascii"),
                found["ce_sequence"].decode("ascii"),
                found["ce_partitionkey"].decode(),
            )
    except (KeyError, ValueError):
        raise Undecodable("bad-attribute") from None
    try:
        body = json.loads(value.decode())  # given bytes, it would guess UTF-16 too
    except (ValueError, RecursionError):
        raise Undecodable("not-json") from None
    if not isinstance(body, dict) or body.get("specversion") != "1.0":
        raise Undecodable("not-cloudevents")
    try:
        return _checked(
            body["id"], body["type"], body["source"], str(body["epoch"]), str(body["sequence"]), body["partitionkey"]
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Undecodable("bad-attribute") from None


_SOURCE = re.compile(r"/[A-Za-z0-9/_.:-]{1,199}")
_DIGITS = re.compile("[0-9]{1,10}")


def _checked(id: str, type: str, source: str, epoch: str, sequence: str, partitionkey: str) -> Attributes:
    """The limits of ``Envelope``, for records whose body is never parsed: a value that the database refuses to store (a NUL,
    a number too large) would stop the consumer that tries to set the record aside."""
    sound = (
        _SOURCE.fullmatch(source)
        and 1 <= len(type) <= 200
        and type.isprintable()
        and 1 <= len(partitionkey) <= 100
        and partitionkey.isprintable()
        and _DIGITS.fullmatch(epoch)
        and 1 <= int(epoch) <= 2_147_483_647
        and _DIGITS.fullmatch(sequence)
        and int(sequence) >= 1
    )
    if not sound:
        raise ValueError
    return Attributes(UUID(id), type, source, int(epoch), int(sequence), partitionkey)


def decode(kind: type[Envelope[D]], value: bytes | None, headers: Headers) -> Envelope[D]:
    """Parse and validate a record of a known type.

    Raises:
        Undecodable: ``no-value``, ``not-json``, ``mirror-differs`` (a header contradicts the body), or ``does-not-fit``
            (the body breaks the type's schema).
    """
    if value is None:
        raise Undecodable("no-value")
    found = dict(headers)
    structured = found.get("content-type", CONTENT_TYPE).startswith(b"application/cloudevents")
    try:
        event = kind.model_validate_json(value if structured else _structured(value, found))
    except ValidationError as error:
        invalid_json = any(problem["type"] == "json_invalid" for problem in error.errors(include_url=False))
        raise Undecodable("not-json" if invalid_json else "does-not-fit") from None
    if "ce_id" in found and _mirror(event) != attributes_of(value, headers):
        raise Undecodable("mirror-differs")
    return event


def _mirror(event: Envelope[D]) -> Attributes:
    return Attributes(event.id, event.type, event.source, event.epoch, event.sequence, event.partitionkey)


def _structured(value: bytes, headers: dict[str, bytes]) -> bytes:
    """A binary-mode record as the structured JSON it stands for."""
    attributes: dict[str, object] = {
        name.removeprefix("ce_"): text.decode("utf-8", "replace") for name, text in headers.items() if name.startswith("ce_")
    }
    if "traceparent" in headers:
        attributes["traceparent"] = headers["traceparent"].decode("ascii", "replace")
    if str(attributes.get("epoch", "")).isdigit():
        attributes["epoch"] = int(str(attributes["epoch"]))
    try:
        # Exactly one document: anything after it would become attributes of ours.
        json.loads(value.decode())
    except (ValueError, RecursionError):
        raise Undecodable("not-json") from None
    return json.dumps(attributes).encode()[:-1] + b',"data":' + value + b"}"
