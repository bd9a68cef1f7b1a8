"""What a story leaves behind in every service, in a form in which two runs can be compared."""

import bisect
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from services.runtime.service import Service
from tests.support.care import Care

__all__ = ["Ledger", "differences", "ledger", "normalised"]

Ledger = Mapping[str, Counter[str]]
"""Rows by table, as often as they stand there."""

_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TRACE = re.compile(r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\b")
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:(\d\d(?:\.\d+)?)(?:Z|[+-]\d\d(?::?\d\d)?)")
_SPAN = re.compile(r"(together\W+)\d+")
"""How long two people were together, in seconds: the difference of two instants."""
_SIDE_BY_SIDE = "reminder-settled.v1"
"""Messages of one instant are sent side by side: which of them is noted first is open."""
_PLACE = re.compile(r"(sequence\W+)\d+")
_IN_A_BODY = re.compile(r'("sequence\W+)\d{10}\b')
"""It stands in a column, too."""
_AT_ONCE = "vitals-due"
"""Said of vitals that are due and not there: the story's nurse comes at that very instant, and who is first is open."""

_OF_THE_WAY = frozenset({"consumer_partition", "audit_seal", "sequencer", "vitals_due"})
"""How far somebody has read, which rows fell into one seal, how many changes were put in order at once; and ``_AT_ONCE``."""
_GIVEN = frozenset({"id", "lane", "key", "body_hash", "reply", "position", "attempts", "authenticated_at"})
"""Numbers, keys and what is made of ids, given anew in every run; how often a call was tried; and when somebody signed in, in
whole seconds: one in sixty would pass for a planned instant.
"""
_PAGE_OF = {"page": "id", "page_attempt": "page_id", "timer": "subject"}
"""Where a page's id stands in what belongs to it."""


def normalised(text: str, names: Mapping[str, str]) -> str:
    """A row without what no two runs share: ids (those with a name get it), instants, traceparents, and what is made of them.

    An instant on the full minute stays: it was planned. Every other one was read off a clock.
    """
    for one, name in names.items():
        text = text.replace(one, f"<{name}>")
    text = _DIGEST.sub("<digest>", _TRACE.sub("<trace>", text))
    text = _IN_A_BODY.sub(r"\1<place>", _SPAN.sub(r"\1<span>", _ID.sub("<id>", text)))
    if _SIDE_BY_SIDE in text:
        text = _PLACE.sub(r"\1<place>", text)
    return _INSTANT.sub(lambda match: match[0] if float(match[1]) == 0 else "<instant>", text)


async def ledger(care: Care, names: Mapping[str, str], *, without: Collection[str] = ()) -> Ledger:
    """Rows of every table of every service, normalised.

    Args:
        care: where.
        names: of ids, and of what else is another one in each run.
        without: codes of pages that are left out, with their timers and attempts.
    """
    found: dict[str, Counter[str]] = {}
    services = {service.name: await _rows(care, service) for service in care.services.values()}
    told: dict[str, list[int]] = defaultdict(list)
    for row in (row for tables in services.values() for row in tables["outbox"] if _AT_ONCE in row["type"]):
        bisect.insort(told[row["source"]], row["sequence"])
    for service, tables in services.items():
        pages = {str(row["id"]) for row in tables["page"] if row["code"] in without}
        for table, rows in tables.items():
            for row in rows:
                if {"source", "sequence"} <= row.keys():
                    row["sequence"] -= bisect.bisect(told[row["source"]], row["sequence"])
            kept = [row for row in rows if str(row.get(_PAGE_OF.get(table, ""))) not in pages and not _left_out(row)]
            found[f"{service}.{table}"] = Counter(normalised(_text(row), names) for row in kept)
    return found


def differences(one: Ledger, other: Ledger) -> dict[str, tuple[list[str], list[str]]]:
    """Rows that only one of two ledgers has, by table."""
    tables = sorted({*one, *other})
    sides = {table: (one.get(table, Counter()), other.get(table, Counter())) for table in tables}
    return {
        table: (sorted((left - right).elements()), sorted((right - left).elements()))
        for table, (left, right) in sides.items()
        if left != right
    }


async def _rows(care: Care, service: Service) -> dict[str, list[dict[str, Any]]]:
    async with care.owner(service.schema) as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = $1", service.schema)
        names = [row[0] for row in tables if row[0] not in _OF_THE_WAY]
        return {name: [dict(row) for row in await connection.fetch(f"select * from {service.schema}.{name}")] for name in names}


def _left_out(row: Mapping[str, Any]) -> bool:
    """What depends on how long it took: of the stream that tells of seals, and of vitals that are due."""
    return str(row.get("source", "")).endswith("/audit") or _AT_ONCE in f"{row.get('type')} {row.get('kind')}"


def _text(row: Mapping[str, Any]) -> str:
    return json.dumps({name: _shown(value) for name, value in row.items() if name not in _GIVEN}, sort_keys=True, default=str)


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        try:
            return json.loads(value) and value.decode()
        except ValueError:
            return f"{len(value)} bytes"  # a hash, which may begin like a body
    return value
