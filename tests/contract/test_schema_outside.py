"""What we export, judged by others: the validators of JSON Schema, AsyncAPI 3 and CloudEvents, and the official SDK."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings import kafka as official
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.protocols import Validator

from schemas.asyncapi import document
from schemas.envelope import CONTENT_TYPE
from schemas.events import REGISTRY
from schemas.registry import EventType, Registry
from schemas.wire import Schema, samples_of, schema_of
from tests.support.contract import LEDGER

DATA = Path(__file__).parent / "data"
KINDS = {kind.short: kind for registry in (REGISTRY, LEDGER) for kind in registry.events}


def official_schema(name: str) -> Validator:
    return Draft7Validator(json.loads((DATA / name).read_text(encoding="utf-8")), format_checker=Draft7Validator.FORMAT_CHECKER)


ASYNCAPI, CLOUDEVENTS = official_schema("asyncapi-3.0.0.json"), official_schema("cloudevents-1.0.json")


@pytest.mark.parametrize("registry", [REGISTRY, LEDGER], ids=["product", "ledger"])
def test_the_asyncapi_document_is_valid(registry: Registry) -> None:
    made = document(registry.events, "1.0.0")
    assert list(ASYNCAPI.iter_errors(made)) == []
    assert made["asyncapi"] == "3.0.0"


def broken(made: Schema) -> Iterator[Schema]:
    """Copies with one thing wrong each."""
    for path, value in (
        (("asyncapi",), "2.6.0"),
        (("info",), {}),
        (("channels",), []),
        (("operations", next(iter(made["operations"])), "action"), "shout"),
        (("channels", next(iter(made["channels"])), "bogus"), 1),
    ):
        bad = copy.deepcopy(made)
        inside: Any = bad
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = value
        yield bad


def test_that_validator_refuses_what_is_wrong() -> None:
    assert all(list(ASYNCAPI.iter_errors(bad)) for bad in broken(document(LEDGER.events, "1.0.0")))


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_each_schema_is_one_and_each_sample_fits_it_and_cloudevents(kind: EventType) -> None:
    schema = schema_of(kind)
    Draft202012Validator.check_schema(schema)
    judge = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for sample in samples_of(kind).values():
        assert list(judge.iter_errors(sample)) == []
        assert list(CLOUDEVENTS.iter_errors(sample)) == []
        for required in ("id", "source", "type", "specversion", "data"):
            assert list(judge.iter_errors({name: value for name, value in sample.items() if name != required}))
        assert list(judge.iter_errors({**sample, "time": "yesterday"}))
        assert list(CLOUDEVENTS.iter_errors({**sample, "id": ""}))


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_each_sample_goes_through_the_official_sdk_and_back(kind: EventType) -> None:
    for sample in samples_of(kind).values():
        text = json.dumps(sample).encode()
        message = official.KafkaMessage({"content-type": CONTENT_TYPE}, sample["partitionkey"], text)
        again = official.to_structured(official.from_structured(message, JSONFormat()), JSONFormat()).value
        before, after = kind.envelope.model_validate_json(text), kind.envelope.model_validate_json(again)
        assert after == before
