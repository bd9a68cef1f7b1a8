"""No event type is published that could hold a direct identifier or free text, and none without a sample of every field."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import Field, ValidationError, create_model

from schemas.dead_letter import SAMPLE, DeadLetter
from schemas.envelope import Envelope, EventData
from schemas.events import EVENTS
from schemas.fields import KINDS, Code, DecimalText, Measure, OpaqueId, PatientId
from schemas.registry import DEAD_LETTERED, DataClass, EventType, event_type
from schemas.rules import problems
from tests.support.contract import EVERYTHING, LEDGER, Everything, Oral
from tests.support.ledger.events import ENTRY_POSTED


def row(field: Any, value: Any, name: str = "field", data_class: DataClass = DataClass.PSEUDONYMOUS_HEALTH) -> EventType:
    """An event type with one described field and a sample of it."""
    create: Any = create_model  # its overloads do not know fields that are named at run time
    model: type[EventData] = create("Data", __base__=EventData, **{name: (field, ...)})
    model.__doc__ = f"Data.\n\nAttributes:\n    {name}: what it is."
    return event_type("clinic", "tried", model, since="2026-11-23", data_class=data_class, sample=model(**{name: value}))


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.short)
def test_every_event_type_of_the_product_keeps_the_rules(kind: EventType) -> None:
    assert problems(kind) == []


@pytest.mark.parametrize("kind", LEDGER.events, ids=lambda kind: kind.short)
def test_a_field_of_every_kind_and_shape_passes(kind: EventType) -> None:
    assert problems(kind) == []


def test_the_one_free_text_of_the_test_ledger_is_found() -> None:
    assert problems(ENTRY_POSTED) == ["data.padding: text of no known kind may be free text; use a type of schemas.fields"]


class Open(EventData):
    """Two ways, told apart by a field that the schema does not require.

    Attributes:
        given: which way.
    """

    class Other(EventData):
        """Another way.

        Attributes:
            route: which.
        """

        route: Literal["other"] = "other"

    given: Annotated[Oral | Other, Field(discriminator="route")]


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (row(str, "x"), "data.field: text of no known kind"),
        (row(Annotated[str, Field(max_length=20)], "x"), "data.field: text of no known kind"),
        (row(Annotated[str, Field(pattern="^.*$")], "x"), "data.field: text of no known kind"),
        (row(Annotated[str, Field(json_schema_extra={"x-kind": "code"})], "x"), "data.field: says that it is a code, but"),
        (row(Annotated[str, Field(json_schema_extra={"x-kind": "story"})], "x"), "data.field: text of no known kind"),
        (row(UUID, UUID(int=1)), "data.field: text of no known kind"),
        (row(list[str], ["x"]), "data.field[]: text of no known kind"),
        (row(Code | str, "x"), "data.field: text of no known kind"),
        (row(Literal["a", "two words"], "a"), "data.field: a constant is a sentence"),
        (row(dict[str, int], {"x": 1}), "data.field: a map has names that nobody checks"),
        (row(dict[str, Any], {"x": 1}), "data.field: a map has names that nobody checks"),
        (row(Any, 1), "data.field: may be anything"),
        (row(float, 1.5), "data.field: a binary float"),
        (row(tuple[Code, int], ("a", 1)), "data.field: a list whose places mean different things"),
        (row(Code | None, None), "data.field: null is never written"),
        (row(Code, "x", "patient_name"), "data.patient_name: the name asks for a direct identifier"),
        (row(Code, "x", "note"), "data.note: the name asks for a direct identifier"),
        (row(Code, "x", "homePhone"), "data.homePhone: the name asks for a direct identifier"),
        (row(PatientId, UUID(int=1), data_class=DataClass.OPERATIONAL), "data.field: a patient-id speaks of a patient"),
        (row(Measure, Measure(value=Decimal(1), unit="mg"), data_class=DataClass.OPERATIONAL), "a decimal speaks of a patient"),
        (replace(EVERYTHING, sample=None), "has no sample of Everything"),
        (replace(EVERYTHING, sample=SAMPLE), "has no sample of Everything"),
        (replace(EVERYTHING, since="soon"), "since is not an ISO 8601 date"),
        (
            event_type("clinic", "tried", Open, since="2026-11-23", sample=Open(given=Open.Other())),
            "sample is not read: data.given",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_refused(kind: EventType, found: str) -> None:
    assert any(found in problem for problem in problems(kind)), problems(kind)


def test_a_field_without_a_description_is_refused() -> None:
    undescribed: type[EventData] = create_model("Data", __base__=EventData, field=(Code, ...))
    kind = event_type("clinic", "tried", undescribed, since="2026-11-23", sample=undescribed.model_validate({"field": "x"}))
    assert any("data.field: is not described" in problem for problem in problems(kind))


def test_a_model_that_is_closed_to_later_fields_is_refused() -> None:
    class Closed(EventData, extra="forbid"):
        """Closed."""

    kind = event_type("clinic", "tried", Closed, since="2026-11-23", sample=Closed())
    assert "data: is closed to fields of a later minor version" in problems(kind)


@pytest.mark.parametrize("left_out", ["reason", "diagnoses", "next_due", "rules"])
def test_a_sample_must_show_every_field(left_out: str) -> None:
    assert isinstance(EVERYTHING.sample, Everything)
    given = {name: value for name, value in dict(EVERYTHING.sample).items() if name != left_out}
    found = problems(replace(EVERYTHING, sample=Everything(**given)))
    assert len(found) == 1
    assert f"data.{left_out}" in found[0]


def test_every_kind_of_text_refuses_a_sentence_and_an_address() -> None:
    sentence = "Mary feels worse today"
    assert isinstance(EVERYTHING.sample, Everything)
    texts = {name: field for name, field in _texts(EVERYTHING).items() if field["x-kind"] in KINDS}
    assert {field["x-kind"] for field in texts.values()} | {"decimal"} == set(KINDS)
    whole = EVERYTHING.sample.model_dump(mode="json")
    for name in texts:
        for bad in (sentence, "mary@example.org", "ring\nher", ""):
            with pytest.raises(ValidationError):
                Everything.model_validate_json(json.dumps({**whole, name: bad}))


def _texts(kind: EventType) -> dict[str, dict[str, Any]]:
    properties = kind.data.model_json_schema()["properties"]
    flat = {name: field.get("anyOf", [field])[0] for name, field in properties.items()}
    return {name: {**properties[name], **field} for name, field in flat.items() if "x-kind" in {**properties[name], **field}}


def test_numbers_are_exact_text_on_the_wire() -> None:
    class Given(EventData):
        value: DecimalText

    assert Given.model_validate_json('{"value":"0.500"}').model_dump_json() == '{"value":"0.500"}'
    for bad in (
        "0.5",
        "1",
        '"1e3"',
        '"NaN"',
        '"Infinity"',
        '"01"',
        '".5"',
        '"1_000"',
        '" 1"',
        '"1\\n"',
        '"1٣"',
        "null",
        "true",
    ):
        with pytest.raises(ValidationError):
            Given.model_validate_json(f'{{"value":{bad}}}')


def test_a_refused_event_does_not_repeat_what_it_held() -> None:
    with pytest.raises(ValidationError) as refused:
        Everything.model_validate({"patient": "Mary Quant", "outcome": "Mary Quant"})
    assert "Mary" not in str(refused.value)
    with pytest.raises(ValidationError) as refused:
        Envelope[Everything].model_validate({"partitionkey": "Mary Quant"})
    assert "Mary" not in str(refused.value)


@pytest.mark.parametrize("attribute", ["partitionkey", "correlationid", "causationid"])
def test_the_ids_of_the_envelope_take_no_sentence(attribute: str) -> None:
    fields = {"source": "/a/b", "type": "t", "partitionkey": "p"}
    with pytest.raises(ValidationError) as refused:
        Envelope[DeadLetter].model_validate({**fields, attribute: "Mary Quant"})
    assert (attribute,) in [problem["loc"] for problem in refused.value.errors()]


def test_an_unreadable_traceparent_is_dropped_and_not_refused() -> None:
    for bad in ("", "00-xyz", "Mary Quant", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"):
        with pytest.raises(ValidationError) as refused:
            Envelope[DeadLetter].model_validate({"traceparent": bad})
        assert ("traceparent",) not in [problem["loc"] for problem in refused.value.errors()]


@pytest.mark.parametrize("odd", ["<locals>", "Mary feels worse", "x" * 65, "", "Fehlerä"])
def test_the_announcement_of_a_dead_event_survives_any_name_of_an_error(odd: str) -> None:
    assert DeadLetter(**{**dict(SAMPLE), "error_class": odd}).error_class == "other"
    assert DEAD_LETTERED.data is DeadLetter


def test_an_opaque_id_and_a_patients_id_are_told_apart() -> None:
    assert _texts(row(OpaqueId, UUID(int=1)))["field"]["x-kind"] == "opaque-id"
    assert _texts(row(PatientId, UUID(int=1)))["field"]["x-kind"] == "patient-id"
