"""What may change in a released event: each rule refuses its example, and what no rule refuses truly breaks no reader."""

import json
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, Field, ValidationError, WithJsonSchema, create_model

from schemas.compat import Rule, violations
from schemas.envelope import EventData
from schemas.fields import Code, EventTypeName, OpaqueId, PatientId, SourcePath, in_unit, open_code
from schemas.registry import EventType, event_type
from schemas.wire import Schema, schema_of
from tests.support.contract import LEDGER, Reason, instances

Fields = dict[str, Any]


def model(fields: Fields, name: str = "Data", **config: Any) -> type[EventData]:
    made: type[EventData] = create_model(name, __base__=EventData, __cls_kwargs__=config, **fields)
    return made


def exported(data: type[EventData]) -> Schema:
    schema: Schema = schema_of(event_type("clinic", "tried", data, since="2026-11-23"))["properties"]["data"]
    return schema


def reads(data: type[EventData], value: object) -> bool:
    try:
        data.model_validate_json(json.dumps(value))
    except ValidationError:
        return False
    return True


class Wider(Reason.__base__):  # type: ignore[name-defined,misc]
    """More reasons than there were."""

    BLOOD_PRESSURE = "blood-pressure"
    WISH = "wish"
    FIRE = "fire"


class Case(NamedTuple):
    """A change that is refused. The example shows what it would break; some changes break the meaning and not the parsing.

    Attributes:
        rule: that refuses it.
        old: fields before.
        new: fields after.
        old_event: one that was fine and is not read any more.
        new_event: one that an older reader does not read.
    """

    rule: Rule
    old: Fields
    new: Fields
    old_event: Fields | None = None
    new_event: Fields | None = None


def part(name: str = "Part", **fields: Any) -> type[EventData]:
    return model(fields, name)


MINUTES = Annotated[int, in_unit("min")]
SECONDS = Annotated[int, in_unit("s")]
ODD = Annotated[int, Field(multiple_of=2)]
A, AB = Literal["a"], Literal["a", "b"]
TEXT_ID = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
TEXT_DATE = Annotated[str, WithJsonSchema({"type": "string", "format": "date"})]

CASES = [
    Case(Rule.FIELD_REMOVED, {"a": (int, ...), "b": (int, 0)}, {"a": (int, ...)}),
    Case(Rule.FIELD_REMOVED, {"a": (int, ...)}, {}, new_event={}),
    Case(Rule.FIELD_REMOVED, {"p": (part(x=(int, ...)), ...)}, {"p": (part(y=(int, 0)), ...)}, new_event={"p": {}}),
    Case(Rule.FIELD_ADDED_REQUIRED, {}, {"a": (int, ...)}, old_event={}),
    Case(Rule.FIELD_ADDED_REQUIRED, {"p": (part(), ...)}, {"p": (part(x=(int, ...)), ...)}, old_event={"p": {}}),
    Case(Rule.BECAME_REQUIRED, {"a": (Code | None, None)}, {"a": (Code, ...)}, old_event={}),
    Case(Rule.BECAME_OPTIONAL, {"a": (Code, ...)}, {"a": (Code | None, None)}, new_event={}),
    Case(Rule.TYPE_CHANGED, {"a": (int, ...)}, {"a": (Code, ...)}, old_event={"a": 1}, new_event={"a": "x"}),
    Case(Rule.TYPE_CHANGED, {"a": (int, ...)}, {"a": (list[int], ...)}, old_event={"a": 1}),
    Case(Rule.TYPE_CHANGED, {"a": (list[int], ...)}, {"a": (list[Code], ...)}, old_event={"a": [1]}),
    Case(Rule.BOUND_NARROWED, {"a": (int, ...)}, {"a": (Annotated[int, Field(ge=0)], ...)}, old_event={"a": -1}),
    Case(Rule.BOUND_NARROWED, {"a": (int, ...)}, {"a": (Annotated[int, Field(lt=9)], ...)}, old_event={"a": 9}),
    Case(Rule.BOUND_NARROWED, {"a": (Code, ...)}, {"a": (Annotated[Code, Field(max_length=3)], ...)}, old_event={"a": "long"}),
    Case(
        Rule.BOUND_NARROWED,
        {"a": (list[int], ...)},
        {"a": (Annotated[list[int], Field(min_length=1)], ...)},
        old_event={"a": []},
    ),
    Case(
        Rule.BOUND_NARROWED,
        {"a": (list[int], ...)},
        {"a": (list[Annotated[int, Field(ge=0)]], ...)},
        old_event={"a": [-1]},
    ),
    Case(Rule.BOUND_WIDENED, {"a": (Annotated[int, Field(le=9)], ...)}, {"a": (int, ...)}, new_event={"a": 10}),
    Case(
        Rule.BOUND_WIDENED,
        {"a": (Annotated[int, Field(le=9)], ...)},
        {"a": (Annotated[int, Field(le=10)], ...)},
        new_event={"a": 10},
    ),
    Case(Rule.PATTERN_CHANGED, {"a": (Code, ...)}, {"a": (SourcePath, ...)}, old_event={"a": "x"}, new_event={"a": "/x"}),
    Case(Rule.PATTERN_CHANGED, {"a": (str, ...)}, {"a": (Code, ...)}, old_event={"a": "two words"}),
    Case(Rule.PATTERN_CHANGED, {"a": (Code, ...)}, {"a": (str, ...)}, new_event={"a": "two words"}),
    Case(Rule.FORMAT_CHANGED, {"a": (TEXT_ID, ...)}, {"a": (TEXT_DATE, ...)}),
    Case(Rule.FORMAT_CHANGED, {"a": (OpaqueId, ...)}, {"a": (AwareDatetime, ...)}, new_event={"a": "2026-11-23T00:00:00Z"}),
    Case(Rule.MEMBER_REMOVED, {"a": (AB, ...)}, {"a": (Literal["b", "c"], ...)}, old_event={"a": "a"}),
    Case(
        Rule.MEMBER_REMOVED, {"a": (Annotated[Code, open_code(Wider)], ...)}, {"a": (Annotated[Code, open_code(Reason)], ...)}
    ),
    Case(Rule.MEMBER_REMOVED, {"a": (Code, ...)}, {"a": (AB, ...)}, old_event={"a": "z"}),
    Case(Rule.MEMBER_ADDED, {"a": (AB, ...)}, {"a": (Literal["a", "b", "c"], ...)}, new_event={"a": "c"}),
    Case(Rule.MEMBER_ADDED, {"a": (Reason, ...)}, {"a": (Wider, ...)}, new_event={"a": "fire"}),
    Case(Rule.MEMBER_ADDED, {"a": (AB, ...)}, {"a": (Annotated[Code, open_code(Reason)], ...)}, new_event={"a": "z"}),
    Case(Rule.CONSTANT_CHANGED, {"a": (A, ...)}, {"a": (Literal["b"], ...)}, old_event={"a": "a"}),
    Case(Rule.UNIT_CHANGED, {"a": (MINUTES, ...)}, {"a": (SECONDS, ...)}),
    Case(Rule.UNIT_CHANGED, {"a": (int, ...)}, {"a": (SECONDS, ...)}),
    Case(Rule.KIND_CHANGED, {"a": (OpaqueId, ...)}, {"a": (PatientId, ...)}),
    Case(Rule.DEFAULT_CHANGED, {"a": (int, 0)}, {"a": (int, 1)}),
    Case(Rule.NULL_REMOVED, {"a": (int | None, ...)}, {"a": (int, ...)}, old_event={"a": None}),
    Case(Rule.NULL_ADDED, {"a": (int, ...)}, {"a": (int | None, ...)}, new_event={"a": None}),
    Case(Rule.NULL_ADDED, {"a": (list[int], ...)}, {"a": (list[int | None], ...)}, new_event={"a": [None]}),
    Case(Rule.VARIANT_REMOVED, {"a": (int | bool, ...)}, {"a": (bool, ...)}, old_event={"a": 2}),
    Case(Rule.VARIANT_ADDED, {"a": (int, ...)}, {"a": (int | bool, ...)}, new_event={"a": True}),
    Case(
        Rule.VARIANT_REMOVED,
        {"a": (part("P", x=(int, ...)) | part("Q", y=(int, ...)), ...)},
        {"a": (part("P", x=(Code, ...)) | part("Q", y=(int, ...)), ...)},
        old_event={"a": {"x": 1}},
    ),
    Case(Rule.OTHERWISE, {"a": (int, ...)}, {"a": (ODD, ...)}, old_event={"a": 1}),
    Case(Rule.OTHERWISE, {"a": (dict[str, int], ...)}, {"a": (dict[Code, int], ...)}, old_event={"a": {"two words": 1}}),
    Case(Rule.TYPE_CHANGED, {"a": (dict[str, int], ...)}, {"a": (dict[str, Code], ...)}, old_event={"a": {"x": 1}}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.rule))
def test_a_change_is_refused_by_the_rule_for_it(case: Case) -> None:
    old, new = model(case.old), model(case.new)
    assert case.rule in [violation.rule for violation in violations(exported(old), exported(new))]
    if case.old_event is not None:
        assert reads(old, case.old_event)
        assert not reads(new, case.old_event)
    if case.new_event is not None:
        assert reads(new, case.new_event)
        assert not reads(old, case.new_event)


def test_a_model_that_closes_itself_to_more_fields_is_refused() -> None:
    open_model, closed = model({"a": (int, ...)}), model({"a": (int, ...)}, extra="forbid")
    assert [violation.rule for violation in violations(exported(open_model), exported(closed))] == [Rule.CLOSED]
    assert reads(open_model, {"a": 1, "later": 2})
    assert not reads(closed, {"a": 1, "later": 2})


def test_there_is_an_example_for_every_rule() -> None:
    assert {case.rule for case in CASES} | {Rule.CLOSED} == set(Rule)


ALLOWED: list[tuple[Fields, Fields]] = [
    ({}, {"a": (Code | None, None)}),
    ({}, {"a": (tuple[int, ...], ())}),
    ({"p": (part(x=(int, ...)), ...)}, {"p": (part(x=(int, ...), y=(Code | None, None)), ...)}),
    ({"p": (list[part(x=(int, ...))], ...)}, {"p": (list[part(x=(int, ...), y=(int, 0))], ...)}),  # type: ignore[misc]
    ({"a": (Annotated[Code, open_code(Reason)], ...)}, {"a": (Annotated[Code, open_code(Wider)], ...)}),
    ({"a": (Code, ...)}, {"a": (Annotated[Code, open_code(Reason)], ...)}),
    ({"a": (Annotated[int, Field(description="this")], ...)}, {"a": (Annotated[int, Field(description="that")], ...)}),
    (
        {"a": (part("P", x=(int, ...)) | part("Q", y=(int, ...)), ...)},
        {"a": (part("P", x=(int, ...), z=(int, 0)) | part("Q", y=(int, ...)), ...)},
    ),
]


@pytest.mark.parametrize(("before", "after"), ALLOWED)
def test_an_addition_is_allowed(before: Fields, after: Fields) -> None:
    assert violations(exported(model(before)), exported(model(after))) == []


SHAPES: list[tuple[Any, Any]] = [
    (int, ...),
    (int, 0),
    (MINUTES, ...),
    (Annotated[int, Field(ge=0)], ...),
    (Annotated[int, Field(ge=0, le=9)], ...),
    (Code, ...),
    (Annotated[Code, Field(max_length=3)], ...),
    (Code | None, None),
    (Annotated[Code, open_code(Reason)], ...),
    (Annotated[Code, open_code(Wider)], ...),
    (Reason, ...),
    (Wider, ...),
    (EventTypeName, ...),
    (OpaqueId, ...),
    (AwareDatetime, ...),
    (bool, ...),
    (int | None, ...),
    (int | bool, ...),
    (list[int], ...),
    (list[Code], ...),
    (Annotated[list[int], Field(min_length=1)], ...),
    (part(x=(int, ...)), ...),
    (part(x=(int, ...), y=(Code | None, None)), ...),
    (part(x=(int, ...), y=(Code, ...)), ...),
    (list[part(x=(int, ...))], ...),  # type: ignore[misc]
    (list[part(x=(int, ...), y=(int, 0))], ...),  # type: ignore[misc]
    (part("P", x=(int, ...)) | part("Q", y=(bool, ...)), ...),
    (part("P", x=(int, ...), z=(int, 0)) | part("Q", y=(bool, ...)), ...),
]
"""Each with each other, and with no field at all: every single change there can be among them."""

MODELS = [model({}), *(model({"a": shape}) for shape in SHAPES)]
SCHEMAS = {made: exported(made) for made in MODELS}
PAIRS = [(old, new) for old in MODELS for new in MODELS]
COMPATIBLE = [(old, new) for old, new in PAIRS if not violations(SCHEMAS[old], SCHEMAS[new])]


def test_the_judgement_is_no_formality() -> None:
    changed = [(old, new) for old, new in COMPATIBLE if SCHEMAS[old] != SCHEMAS[new]]
    assert len(changed) >= 8
    assert len(COMPATIBLE) < len(PAIRS) / 10


@settings(deadline=None)
@given(st.sampled_from(COMPATIBLE), st.data())
def test_what_is_allowed_breaks_no_reader_old_or_new(
    pair: tuple[type[EventData], type[EventData]], data: st.DataObject
) -> None:
    old, new = pair
    assert reads(new, data.draw(instances(SCHEMAS[old]), label="an old event"))
    assert reads(old, data.draw(instances(SCHEMAS[new], least=True), label="a new event, cut to its least"))


VALID = [st.tuples(st.just(kind), instances(schema_of(kind), least=least)) for kind in LEDGER.events for least in (False, True)]


@settings(deadline=None)
@given(st.one_of(VALID))
def test_every_model_reads_all_that_its_schema_allows(valid: tuple[EventType, Schema]) -> None:
    kind, event = valid
    kind.envelope.model_validate_json(json.dumps(event))
