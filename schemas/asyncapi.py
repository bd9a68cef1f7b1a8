"""The AsyncAPI 3.0 document: which topics there are, which events are on them, and what a record looks like."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

from schemas.envelope import CONTENT_TYPE, MAX_EVENT_BYTES
from schemas.registry import DEAD_LETTERED, EventType
from schemas.wire import Schema, samples_of, schema_of

__all__ = ["HEARTBEAT_HEADER", "PARTITIONS", "RETENTION_DAYS", "channels_of", "document", "headers_schema"]

PARTITIONS: Final = 12
RETENTION_DAYS: Final = 30
HEARTBEAT_HEADER: Final = "telemed-heartbeat"
"""These three are the runtime's; a contract test compares them."""

_KAFKA: Final = "0.5.0"
_HEARTBEAT: Final[Schema] = {
    "name": "heartbeat",
    "title": "Heartbeat of a partition",
    "summary": "Not a CloudEvent: every few seconds a service says on each partition up to when it has published everything.",
    "description": f"Told by its header `{HEARTBEAT_HEADER}` and its missing key. Skip it if you do not need to tell a quiet "
    "topic from a dead one.",
    "contentType": "application/json",
    "headers": {"type": "object", "properties": {HEARTBEAT_HEADER: {"const": "1"}}, "required": [HEARTBEAT_HEADER]},
    "payload": {
        "type": "object",
        "properties": {
            "as_of": {"type": "string", "format": "date-time", "description": "everything committed before is published."},
            "last_event": {"type": ["string", "null"], "format": "uuid", "description": "the newest event of the service."},
        },
        "required": ["as_of", "last_event"],
    },
}


def channels_of(events: Iterable[EventType]) -> dict[str, list[EventType]]:
    """The event types of each topic, by the topic's address with its deployment's prefix left open."""
    rows = sorted(events, key=lambda kind: (kind.topic("{prefix}"), kind.name))
    return {address: list(kinds) for address, kinds in groupby(rows, key=lambda kind: kind.topic("{prefix}"))}


def document(events: Iterable[EventType], version: str) -> Schema:
    """The whole document for these event types."""
    channels: Schema = {}
    operations: Schema = {}
    messages: Schema = {}
    for address, kinds in channels_of(events).items():
        key = address.removeprefix("{prefix}.").replace(".", "-")
        marks = [] if DEAD_LETTERED in kinds else ["heartbeat"]
        messages |= {kind.short: _message(kind) for kind in kinds} | ({"heartbeat": _HEARTBEAT} if marks else {})
        names = [*(kind.short for kind in kinds), *marks]
        channels[key] = _channel(address, names)
        operations[f"publish-{key}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{key}"},
            "summary": "Published out of the owner's outbox, in order for each aggregate, at least once.",
            "messages": [{"$ref": f"#/channels/{key}/messages/{_escaped(name)}"} for name in names],
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "telemed events",
            "version": version,
            "description": "Facts that the services of one clinic publish: CloudEvents 1.0 in structured JSON on Kafka. "
            "No record holds a name, a birth date, an address, a phone number, an e-mail address or free text.\n\n"
            f"An event is at most {MAX_EVENT_BYTES // 1024} KiB. Within a major version, which is part of the type, changes "
            "only add; ignore fields that you do not know. Delivery is at least once: skip what you have seen by `source`, "
            "`epoch` and `sequence`, which counts up from 1 without gaps.",
        },
        "defaultContentType": CONTENT_TYPE.decode().partition(";")[0],
        "servers": _SERVERS,
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "securitySchemes": {
                "mutualTls": {"type": "X509", "description": "One certificate, so one principal, per service."},
                "scram": {"type": "scramSha512", "description": "SASL over TLS, one user per service."},
            },
        },
    }


_SERVERS: Final[Schema] = {
    "production": {
        "host": "{bootstrap}",
        "protocol": "kafka-secure",
        "description": "The clinic's own Kafka cluster, behind TLS. Its address belongs to the deployment.",
        "variables": {"bootstrap": {"description": "what `TELEMED_KAFKA_BOOTSTRAP` names"}},
        "security": [{"$ref": "#/components/securitySchemes/mutualTls"}, {"$ref": "#/components/securitySchemes/scram"}],
    },
    "local": {
        "host": "localhost:{port}",
        "protocol": "kafka",
        "description": "The broker that `make run` starts; it prints its port.",
        "variables": {"port": {"description": "chosen at start"}},
    },
}


def _channel(address: str, messages: list[str]) -> Schema:
    return {
        "address": address,
        "description": f"{PARTITIONS} partitions, never changed in place; the key is the event's `partitionkey`, so that one "
        f"key's facts stay in order. Kept {RETENTION_DAYS} days.",
        "parameters": {"prefix": {"default": "telemed", "description": "of the deployment's topics"}},
        "messages": {name: {"$ref": f"#/components/messages/{_escaped(name)}"} for name in messages},
        "bindings": {
            "kafka": {
                "partitions": PARTITIONS,
                "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": RETENTION_DAYS * 86_400_000},
                "bindingVersion": _KAFKA,
            }
        },
    }


def _message(kind: EventType) -> Schema:
    schema = schema_of(kind)
    payload = _plain(schema)
    return {
        "name": kind.name,
        "title": kind.fact.rpartition(".")[2].replace("-", " ").capitalize(),
        "summary": schema["description"],
        "contentType": CONTENT_TYPE.decode(),
        "tags": [{"name": kind.owner}, {"name": str(kind.data_class)}, *([{"name": "urgent"}] if kind.urgent else [])],
        "correlationId": {
            "location": "$message.payload#/correlationid",
            "description": "the care journey or request this belongs to.",
        },
        "headers": headers_schema(kind),
        "payload": payload,
        "bindings": {"kafka": {"key": _key(payload), "bindingVersion": _KAFKA}},
        "examples": [{"name": name, "payload": sample} for name, sample in samples_of(kind).items()],
    }


def _plain(schema: Any) -> Any:
    """Without the identifiers of schema resources: in here the schema is no resource of its own. What is left means the same
    in draft 7, which AsyncAPI asks for, and in 2020-12."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _plain(value) for name, value in schema.items() if name not in ("$schema", "$id") or isinstance(value, dict)}


def _key(payload: Schema) -> Schema:
    return {**payload["properties"]["partitionkey"], "description": "the event's `partitionkey`."}


def headers_schema(kind: EventType) -> Schema:
    """The headers beside a structured event. They repeat attributes, so that a consumer can choose before it parses."""
    attributes = schema_of(kind)["properties"]
    properties: Schema = {
        "content-type": {"type": "string", "const": CONTENT_TYPE.decode()},
        **{
            f"ce_{name}": {key: value for key, value in attributes[name].items() if key != "description"}
            for name in ("specversion", "id", "type", "source")
        },
        "ce_epoch": {"type": "string", "pattern": "^[1-9][0-9]{0,9}$"},
        "ce_sequence": {"type": "string", "pattern": attributes["sequence"]["pattern"]},
        "ce_partitionkey": {key: value for key, value in attributes["partitionkey"].items() if key != "description"},
        "traceparent": {"type": "string", "pattern": attributes["traceparent"]["pattern"]},
    }
    return {
        "type": "object",
        "description": "CloudEvents Kafka binding, structured mode (`content-type` decides) with mirrored attributes.",
        "properties": properties,
        "required": [name for name in properties if name != "traceparent"],
    }


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
