"""Looking at the audit of a service: whose record was touched by whom, and whether anybody has touched the audit."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.cli.operate import acts
from services.cli.operate.reports import Rows
from services.cli.stack.errors import StackError
from services.runtime.audit.seal import COLUMNS, Finding, Head, Seal, Verifier
from services.runtime.database import Connection, Record

__all__ = ["heads_of", "of_patient", "public_keys", "verify"]

_ALLOWED = timedelta(seconds=30)
"""Rows younger than this may be unsealed: a sealer that is being replaced needs a moment."""
_SHOWN = 10_000


async def of_patient(connection: Connection, service: str, *, patient: str, by: str, reason: str) -> Rows:
    """Every audit row about a patient, oldest first. Looking is written down too, before anything is shown."""
    await acts.audit(connection, by=by, action="audit.show", target=f"patient/{patient}", reason=reason, patient=patient)
    rows = await connection.fetch(
        """select at, actor, action, target, reason, origin, client, policy, request from audit
           where patient = $1 order by id limit $2""",
        patient,
        _SHOWN,
    )
    return [{"service": service, **row} for row in rows]


def public_keys(files: Iterable[Path]) -> dict[str, Ed25519PublicKey]:
    """Public keys, by the names of their files; a private key's public half will do.

    Raises:
        StackError: one cannot be read.
    """
    found: dict[str, Ed25519PublicKey] = {}
    for path in files:
        try:
            text = path.read_bytes()
            private = b"PRIVATE KEY" in text
            key = serialization.load_pem_private_key(text, None) if private else serialization.load_pem_public_key(text)
        except (OSError, ValueError) as error:
            raise StackError(f"{path} is no key that can be read: {type(error).__name__}") from None
        public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
        if not isinstance(public, Ed25519PublicKey):
            raise StackError(f"{path} is not an Ed25519 key")
        found[path.stem] = public
    return found


def heads_of(path: Path) -> list[Head]:
    """The heads in a file; a line that was cut off by a crash is left out.

    Raises:
        StackError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise StackError(f"{path} cannot be read: {type(error).__name__}") from None
    heads = []
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            one = json.loads(line)
            heads.append(Head(int(one["number"]), bytes.fromhex(one["hash"])))
    return heads


async def verify(
    connection: Connection, service: str, keys: Mapping[str, Ed25519PublicKey], heads: Sequence[Head]
) -> AsyncIterator[Finding]:
    """Everything that is wrong with a service's audit, in one snapshot of it."""
    verifier = Verifier(service, keys, heads)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # Before the rows: a row that is sealed a moment later must not seem unsealed.
        now = await connection.fetchval("select clock_timestamp()")
        async for row in connection.cursor("select * from audit_seal order by number", prefetch=200):
            one = _seal(row)
            rows = await connection.fetch(
                f"""select {", ".join(COLUMNS)} from audit a, unnest($1::int8multirange) r
                    where a.id >= lower(r) and a.id < upper(r) order by a.id""",
                row["ids"],
            )
            for finding in verifier.seal(one, rows):
                yield finding
        sealed = [asyncpg.Range(first, last + 1) for first, last in verifier.sealed]
        unsealed = await connection.fetch(
            "select id, at from audit where not id <@ $1::int8multirange order by id limit 1000", sealed
        )
        for finding in verifier.end(unsealed, now, _ALLOWED):
            yield finding


def _seal(row: Record) -> Seal:
    ids: Sequence[Any] = row["ids"]
    return Seal(
        row["number"],
        [(span.lower, span.upper - 1) for span in ids],
        row["count"],
        row["rows_hash"],
        row["previous"],
        row["sealed_at"],
        row["key"],
        row["hash"],
        row["signature"],
    )
