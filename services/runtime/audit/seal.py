"""What a seal over audit rows is, and how to find out that somebody has touched the rows, the seals, or both. Pure.

A seal names its rows, holds the SHA-256 over their canonical bytes, the hash of the seal before it, and an Ed25519 signature.
The canonical bytes of a row are its columns, in the order of ``COLUMNS``, as one JSON array in UTF-8 without spaces, and a line
break; an instant is ISO 8601 in UTC with microseconds. Rows stand in the order of their ids.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "COLUMNS",
    "DEVELOPMENT",
    "FIRST",
    "AuditRow",
    "Finding",
    "Head",
    "Key",
    "Ranges",
    "Seal",
    "Verifier",
    "ranges",
    "row_bytes",
    "seal",
]

COLUMNS: Final = ("id", "at", "actor", "action", "target", "reason", "patient", "client", "origin", "policy", "request")
FIRST: Final = bytes(32)
"""What stands before the first seal."""
DEVELOPMENT: Final = "development"
"""Beginning of the name of keys that production refuses."""

Ranges = Sequence[tuple[int, int]]
"""Ids as spans, each with its first and last, in order."""


class AuditRow(Protocol):
    """An audit row: its columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key; ``id`` is the name of its file, without its ending, and stands in every seal."""

    id: str
    private: Ed25519PrivateKey

    @classmethod
    def read(cls, path: Path) -> "Key":
        """A PEM file (PKCS 8, Ed25519, no password).

        Raises:
            ValueError: it is something else.
            OSError: it cannot be read.
        """
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key")  # noqa: TRY004 - a file's content is a value
        return cls(path.stem, key)


@dataclass(frozen=True, slots=True)
class Seal:
    """One link of a service's chain."""

    number: int
    ids: Ranges
    count: int
    rows_hash: bytes
    previous: bytes
    sealed_at: datetime
    key: str
    hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """What is known outside the database: number and hash of a seal."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. ``code`` is stable; ``seal`` and ``row`` say where, 0 if nowhere in particular."""

    code: str
    seal: int = 0
    row: int = 0

    def __str__(self) -> str:
        places = [f"seal {self.seal}"] * bool(self.seal) + [f"row {self.row}"] * bool(self.row)
        return f"{self.code}: {', '.join(places)}" if places else self.code


def ranges(ids: Iterable[int]) -> list[tuple[int, int]]:
    """Ids in ascending order as spans."""
    found: list[tuple[int, int]] = []
    for one in ids:
        if found and found[-1][1] == one - 1:
            found[-1] = (found[-1][0], one)
        else:
            found.append((one, one))
    return found


def row_bytes(row: AuditRow) -> bytes:
    """The canonical bytes of an audit row; see the module."""
    values = [_value(row[column]) for column in COLUMNS]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _value(value: object) -> object:
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def seal(rows: Sequence[AuditRow], last: Head, service: str, key: Key, now: datetime) -> Seal:
    """The next seal over some rows, in the order of their ids."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row_bytes(row))
    ids = ranges(row["id"] for row in rows)
    number, rows_hash = last.number + 1, digest.digest()
    hashed = _hash(service, number, ids, len(rows), rows_hash, last.hash, now, key.id)
    return Seal(number, ids, len(rows), rows_hash, last.hash, now, key.id, hashed, key.private.sign(hashed))


def _hash(
    service: str, number: int, ids: Ranges, count: int, rows_hash: bytes, previous: bytes, sealed_at: datetime, key: str
) -> bytes:
    document = {
        "count": count,
        "ids": [list(span) for span in ids],
        "key": key,
        "number": number,
        "previous": previous.hex(),
        "rows": rows_hash.hex(),
        "sealed_at": _value(sealed_at),
        "service": service,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).digest()


class Verifier:
    """Judges a chain seal by seal, with the rows of each, then the rows that no seal names. Memory does not grow with rows.

    Args:
        service: whose chain.
        keys: public keys by id; a signature by any other key is a forgery.
        heads: what is known outside of seals, by number; a database that differs was changed or set back.
    """

    def __init__(self, service: str, keys: Mapping[str, Ed25519PublicKey], heads: Iterable[Head] = ()) -> None:
        self._service = service
        self._keys = keys
        self._heads: dict[int, set[bytes]] = {}
        for head in heads:
            self._heads.setdefault(head.number, set()).add(head.hash)
        self._last = Head(0, FIRST)
        self._sealed: list[tuple[int, int]] = []

    @property
    def sealed(self) -> Ranges:
        """Ids that some seal has named so far."""
        return tuple(self._sealed)

    def seal(self, one: Seal, rows: Iterable[AuditRow]) -> Iterator[Finding]:
        """Judge the next seal and its rows, those that are still there, in the order of their ids."""
        if one.number != self._last.number + 1:
            yield Finding("seal-missing", self._last.number + 1)
        elif one.previous != self._last.hash:
            yield Finding("chain-broken", one.number)
        wanted = _hash(self._service, one.number, one.ids, one.count, one.rows_hash, one.previous, one.sealed_at, one.key)
        if wanted != one.hash:
            yield Finding("seal-edited", one.number)
        elif not self._signed(one):
            yield Finding("signature-wrong", one.number)
        if one.number in self._heads and self._heads[one.number] != {one.hash}:
            yield Finding("not-the-head-that-was-published", one.number)
        yield from self._rows(one, rows)
        self._last = Head(one.number, one.hash)

    def _signed(self, one: Seal) -> bool:
        key = self._keys.get(one.key)
        if key is None:
            return False
        try:
            key.verify(one.signature, one.hash)
        except InvalidSignature:
            return False
        return True

    def _rows(self, one: Seal, rows: Iterable[AuditRow]) -> Iterator[Finding]:
        digest, count, expected = hashlib.sha256(), 0, _each(one.ids)
        gone = False
        for row in rows:
            for wanted in expected:
                if wanted == row["id"]:
                    break
                gone = True
                yield Finding("row-missing", one.number, wanted)
            digest.update(row_bytes(row))
            count += 1
        for wanted in expected:
            gone = True
            yield Finding("row-missing", one.number, wanted)
        if not gone and (digest.digest() != one.rows_hash or count != one.count):
            yield Finding("rows-edited", one.number)
        for span in one.ids:
            if any(first <= span[1] and span[0] <= last for first, last in self._sealed):
                yield Finding("row-sealed-twice", one.number, span[0])
        self._sealed = _merged(self._sealed, one.ids)

    def end(self, unsealed: Iterable[AuditRow], now: datetime, allowed: timedelta) -> Iterator[Finding]:
        """Judge what is behind the last seal: heads that the database lacks, and rows that should be sealed by now."""
        beyond = [number for number in self._heads if number > self._last.number]
        if beyond:
            yield Finding("database-behind-its-heads", max(beyond))
        for row in unsealed:
            if now - row["at"] > allowed:
                yield Finding("row-unsealed", row=row["id"])


def _each(ids: Ranges) -> Iterator[int]:
    for first, last in ids:
        yield from range(first, last + 1)


def _merged(known: list[tuple[int, int]], added: Ranges) -> list[tuple[int, int]]:
    """Spans of both; almost always the new ones simply go on where the old ones end."""
    if known and added and added[0][0] > known[-1][1]:
        spans = [*added]
        if spans[0][0] == known[-1][1] + 1:
            known[-1] = (known[-1][0], spans.pop(0)[1])
        known.extend(spans)
        return known
    merged: list[tuple[int, int]] = []
    for first, last in sorted([*known, *added]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
