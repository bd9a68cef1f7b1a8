"""Parameters of paths and queries are as strict as bodies."""

from enum import StrEnum

import pytest
from pydantic import ValidationError

from services.runtime.edge.fields import Id, Instant, Request
from services.runtime.edge.strict_json import read_parameters


class Colour(StrEnum):
    RED = "red"


class Wanted(Request):
    count: int | None = None
    open: bool = False
    colour: Colour | None = None
    id: Id | None = None
    since: Instant | None = None


@pytest.mark.parametrize("text", ["0", "7", "-7", "9223372036854775807"])
def test_an_integer_is_digits(text: str) -> None:
    assert read_parameters({"count": text}, Wanted).count == int(text)


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "01", "-0", "1.0", "1_0", "1e1", "0x1", "٣", "1\n", "NaN", "true", "null"]
)
def test_nothing_else_is_an_integer(text: str) -> None:
    with pytest.raises(ValidationError):
        read_parameters({"count": text}, Wanted)


@pytest.mark.parametrize("text", ["yes", "1", "on", "TRUE", "True", "t", "", " true"])
def test_only_true_and_false_are_booleans(text: str) -> None:
    assert read_parameters({"open": "true"}, Wanted).open
    assert not read_parameters({"open": "false"}, Wanted).open
    with pytest.raises(ValidationError):
        read_parameters({"open": text}, Wanted)


def test_what_has_a_text_form_is_read_from_it() -> None:
    given = {"colour": "red", "id": "0192f0a0-0000-7000-8000-000000000001", "since": "2026-11-23T10:00:00+01:00"}
    found = read_parameters(given, Wanted)
    assert found.colour is Colour.RED
    assert found.model_dump_json(include={"id", "since"}) == (
        '{"id":"0192f0a0-0000-7000-8000-000000000001","since":"2026-11-23T09:00:00Z"}'
    )
    with pytest.raises(ValidationError):
        read_parameters({"unknown": "1"}, Wanted)
