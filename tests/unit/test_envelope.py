"""The envelope: what we write is what everybody reads, and what is not ours is refused under a code, without its content."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cloudevents.core.bindings import kafka as official
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.envelope import CONTENT_TYPE, Attributes, Envelope, EventData, Undecodable, attributes_of, decode, headers_of


class Measured(EventData):
    """Test data."""

    code: str
    value: int


Event = Envelope[Measured]
NOW = datetime(2026, 11, 23, 9, 26, 14, 123456, tzinfo=UTC)
TYPE = "org.telemed.shop.measured.v1"


def made(**change: Any) -> Event:
    values: dict[str, Any] = {
        "id": UUID("0198c1f2-7d1e-7cc0-b000-000000000001"),
        "source": "/shop/carts/1",
        "type": TYPE,
        "time": NOW,
        "recordedtime": NOW + timedelta(milliseconds=1),
        "dataschema": "/schemas/json/shop.measured.v1.json",
        "partitionkey": "p1",
        "sequence": 7,
        "epoch": 2,
        "correlationid": "c",
        "causationid": "d",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": Measured(code="bp", value=120),
    }
    return Event(**{**values, **change})


def attributes(event: Event) -> Attributes:
    return Attributes(event.id, event.type, event.source, event.epoch, event.sequence, event.partitionkey)


def headers(event: Event) -> list[tuple[str, bytes]]:
    return headers_of(attributes(event), event.traceparent)


def binary(event: Event) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The record of an event in binary mode, written by the official SDK."""
    structured = official.KafkaMessage({"content-type": CONTENT_TYPE}, event.partitionkey, event.encode())
    message = official.to_binary(official.from_structured(structured, JSONFormat()), JSONFormat())
    return message.value, list(message.headers.items())


@contextmanager
def refused(*codes: str) -> Iterator[None]:
    with pytest.raises(Undecodable) as caught:
        yield
    assert caught.value.code in codes


events = st.builds(
    made,
    id=st.uuids(),
    source=st.from_regex(r"\A/[A-Za-z0-9/_.:-]{1,199}\Z"),
    time=st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1)),  # noqa: DTZ001 - hypothesis adds the zone
    partitionkey=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}\Z"),
    sequence=st.integers(1, 9_999_999_999),
    epoch=st.integers(1, 2_147_483_647),
    correlationid=st.none() | st.just("x"),
    traceparent=st.none() | st.just("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    data=st.builds(Measured, code=st.text(), value=st.integers(-(2**53), 2**53)),
)


@settings(deadline=None, max_examples=200)
@given(event=events)
def test_what_is_written_is_read_back_the_same(event: Event) -> None:
    assert decode(Event, event.encode(), headers(event)) == event
    assert decode(Event, event.encode(), ()) == event
    assert attributes_of(event.encode(), headers(event)) == attributes(event)
    assert attributes_of(event.encode(), ()) == attributes(event)


@settings(deadline=None, max_examples=100)
@given(event=events)
def test_the_official_sdk_reads_what_we_write(event: Event) -> None:
    message = official.KafkaMessage(dict(headers(event)), event.partitionkey, event.encode())
    read = official.from_structured(message, JSONFormat())
    assert (read.get_id(), read.get_type(), read.get_source()) == (str(event.id), event.type, event.source)
    assert read.get_time() == event.time
    assert read.get_data() == {"code": event.data.code, "value": event.data.value}
    assert read.get_extension("sequence") == f"{event.sequence:010d}"
    assert read.get_extension("epoch") == event.epoch
    assert read.get_extension("partitionkey") == event.partitionkey


@settings(deadline=None, max_examples=100)
@given(event=events)
def test_we_read_what_the_official_sdk_writes_in_binary_mode(event: Event) -> None:
    value, found = binary(event)
    assert attributes_of(value, found) == attributes(event)
    assert decode(Event, value, found) == event


def test_we_read_a_plain_event_that_the_official_sdk_made_and_wrote_structured() -> None:
    event = CloudEvent(
        {
            "id": str(UUID(int=5)),
            "source": "/shop/carts/1",
            "type": TYPE,
            "specversion": "1.0",
            "datacontenttype": "application/json",
            "time": NOW,
            "recordedtime": NOW.isoformat(),
            "partitionkey": "p1",
            "sequence": "0000000001",
            "epoch": 1,
        },
        {"code": "bp", "value": 1},
    )
    message = official.to_structured(event, JSONFormat())
    read = decode(Event, message.value, list(message.headers.items()))
    assert (read.id, read.sequence, read.epoch, read.data) == (UUID(int=5), 1, 1, Measured(code="bp", value=1))


def test_the_wire_form_does_not_move() -> None:
    """Consumers of other versions, and rows kept in outboxes, hold exactly these bytes."""
    assert json.loads(made().encode()) == {
        "specversion": "1.0",
        "id": "0198c1f2-7d1e-7cc0-b000-000000000001",
        "source": "/shop/carts/1",
        "type": TYPE,
        "time": "2026-11-23T09:26:14.123456Z",
        "recordedtime": "2026-11-23T09:26:14.124456Z",
        "datacontenttype": "application/json",
        "dataschema": "/schemas/json/shop.measured.v1.json",
        "partitionkey": "p1",
        "sequence": "0000000007",
        "epoch": 2,
        "correlationid": "c",
        "causationid": "d",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": {"code": "bp", "value": 120},
    }
    assert headers(made()) == [
        ("content-type", b"application/cloudevents+json; charset=UTF-8"),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"0198c1f2-7d1e-7cc0-b000-000000000001"),
        ("ce_type", TYPE.encode()),
        ("ce_source", b"/shop/carts/1"),
        ("ce_epoch", b"2"),
        ("ce_sequence", b"0000000007"),
        ("ce_partitionkey", b"p1"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]


def test_unknown_attributes_and_fields_of_a_newer_writer_are_ignored() -> None:
    body = json.loads(made().encode())
    body["later"] = 1
    body["data"]["unit"] = "mmHg"
    assert decode(Event, json.dumps(body).encode(), headers(made())) == made()


@pytest.mark.parametrize("missing", ["ce_type", "ce_source", "ce_epoch", "ce_sequence", "ce_partitionkey"])
def test_a_missing_header_is_never_made_up(missing: str) -> None:
    with refused("bad-attribute"):
        attributes_of(made().encode(), [(name, value) for name, value in headers(made()) if name != missing])


@pytest.mark.parametrize("missing", ["id", "type", "source", "epoch", "sequence", "partitionkey"])
def test_a_missing_attribute_of_a_body_is_never_made_up(missing: str) -> None:
    body = json.loads(made().encode())
    del body[missing]
    with refused("bad-attribute"):
        attributes_of(json.dumps(body).encode(), ())
    with refused("does-not-fit"):
        decode(Event, json.dumps(body).encode(), ())


BAD: list[tuple[str, Any]] = [
    ("id", "not an id"),
    ("id", "é"),
    ("id", ""),
    ("type", ""),
    ("type", "a\x00b"),
    ("type", "x" * 201),
    ("source", "/a\x00b"),
    ("source", "no-slash"),
    ("source", "/"),
    ("source", "/" + "x" * 200),
    ("source", "/a b"),
    ("epoch", "0"),
    ("epoch", "-1"),
    ("epoch", "2147483648"),
    ("epoch", "1.5"),
    ("epoch", " 1"),
    ("epoch", "1_0"),
    ("sequence", "0"),
    ("sequence", "-1"),
    ("sequence", "9" * 11),
    ("sequence", "9" * 400),
    ("sequence", "٣"),
    ("sequence", ""),
    ("partitionkey", ""),
    ("partitionkey", "x" * 101),
    ("partitionkey", "a\x00b"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_an_attribute_that_no_database_should_see_is_refused_wherever_it_stands(name: str, value: str) -> None:
    """Else it would be refused by PostgreSQL, in the transaction that tries to set the record aside, for ever."""
    mirrored = [(header, value.encode() if header == f"ce_{name}" else old) for header, old in headers(made())]
    with refused("bad-attribute"):
        attributes_of(made().encode(), mirrored)
    body = {**json.loads(made().encode()), name: value}
    with refused("bad-attribute"):
        attributes_of(json.dumps(body).encode(), ())


@pytest.mark.parametrize(
    ("name", "value"), [("epoch", 1.5), ("epoch", True), ("epoch", None), ("type", 7), ("id", 7), ("source", ["/a"])]
)
def test_an_attribute_of_the_wrong_kind_is_refused(name: str, value: object) -> None:
    body = {**json.loads(made().encode()), name: value}
    with refused("bad-attribute"):
        attributes_of(json.dumps(body).encode(), ())


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "no-value"),
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"\xff\xfe\x00", "not-json"),
        ('{"specversion":"1.0"}'.encode("utf-16"), "not-json"),
        (b"[" * 100_000, "not-json"),
        (b"[]", "not-cloudevents"),
        (b'"1.0"', "not-cloudevents"),
        (b"{}", "not-cloudevents"),
        (b'{"specversion":"0.3"}', "not-cloudevents"),
        (b'{"specversion":"1.0"}', "bad-attribute"),
    ],
)
def test_what_is_no_event_has_a_code_of_its_own(value: bytes | None, code: str) -> None:
    with refused(code):
        attributes_of(value, ())


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "no-value"),
        (b"\xff", "not-json"),
        (b"{}", "does-not-fit"),
        (made(sequence=8).encode(), "mirror-differs"),
        (made(source="/shop/carts/2").encode(), "mirror-differs"),
    ],
)
def test_a_body_that_is_not_what_its_headers_say_is_refused(value: bytes | None, code: str) -> None:
    with refused(code):
        decode(Event, value, headers(made()))


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"nul", b'{"code":"bp","value":1},"time":"1999-01-01T00:00:00Z"', b'{"code":"bp","value":1}} {'],
)
def test_the_value_of_a_binary_record_is_one_document_and_cannot_add_attributes(value: bytes) -> None:
    _, found = binary(made())
    with refused("not-json"):
        decode(Event, value, found)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "true", '"1"', "1.0"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    body = made().encode().replace(b"120", number.encode())
    with refused("does-not-fit", "not-json"):
        decode(Event, body, headers(made()))


def test_no_content_stands_in_the_text_of_a_refusal() -> None:
    body = made().encode().replace(b'"bp"', b'["c4n4ry"]')
    with pytest.raises(Undecodable) as caught:
        decode(Event, body, headers(made()))
    assert "c4n4ry" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_event_cannot_be_made_without_its_time_or_with_a_naive_one() -> None:
    with pytest.raises(ValidationError):
        made(time=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(ValidationError):
        made(id="0198c1f2-7d1e-7cc0-b000-000000000001")
    with pytest.raises(ValidationError):
        made(sequence=0)
