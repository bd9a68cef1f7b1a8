"""A scan for what must not come out: canaries, looked for in every form that a text takes on its way through software.

A scan that finds nothing proves something only if there was something to find. So it first shows that each canary sits in a
table of its owner, and only then looks at logs, metrics, topics and mails.
"""

import base64
import json
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote, quote_plus

from aiokafka.structs import ConsumerRecord

from services.runtime.messaging.topics import names as names_of
from tests.support.care import Care
from tests.support.ledger.app import SERVICE
from tests.support.world import World, dump

__all__ = ["assert_kept", "forms", "homes", "leaks", "logs", "mails", "metrics", "owners", "record", "topics"]

_SHORTEST = 12
"""A shorter canary would be found by chance in base64, or not at all."""
_SHORTEST_PLAIN = 6
"""As it is: a shorter one might be a part of any word."""


def forms(text: str, *, base64_too: bool = True) -> dict[str, bytes]:
    """A text as it may stand in a file, by the name of the form.

    Raw; escaped as JSON with and without its non-ASCII letters; and each of these again URL-encoded, in hex, and in base64 at
    its three alignments, in both alphabets.
    """
    shortest = _SHORTEST if base64_too else _SHORTEST_PLAIN
    if len(text.encode()) < shortest:
        raise ValueError(f"a canary has {shortest} bytes or more")
    plain = {
        "raw": text.encode(),
        "json": json.dumps(text, ensure_ascii=False)[1:-1].encode(),
        "json-ascii": json.dumps(text)[1:-1].encode(),
    }
    found = dict(plain)
    for name, raw in plain.items():
        found[f"{name}+url"] = quote(raw, safe="").encode()
        found[f"{name}+url-path"] = quote(raw).encode()
        found[f"{name}+url-form"] = quote_plus(raw).encode()
        found[f"{name}+hex"] = raw.hex().encode()
        for shift in range(3) if base64_too else ():
            coded = base64.b64encode(b"\0" * shift + raw)
            # The first and last group depend on what stands beside it.
            found[f"{name}+base64-{shift}"] = coded = coded[4 if shift else 0 : -4]
            found[f"{name}+base64url-{shift}"] = coded.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def leaks(canaries: Iterable[str], texts: Mapping[str, bytes], *, base64_too: bool = True) -> list[str]:
    """Where which canary stands, and in what form. The canaries themselves are told by number. Short ones can be looked for
    without base64 only."""
    # Hex and the escapes of URLs and JSON are written in either case.
    lowered = {place: text.lower() for place, text in texts.items()}
    return sorted(
        f"{place}: canary {number} as {name}"
        for number, canary in enumerate(canaries)
        for name, form in forms(canary, base64_too=base64_too).items()
        for place, text in lowered.items()
        if form.lower() in text
    )


async def owners(world: World | Care, canary: str, *, schema: str = "ledger") -> list[str]:
    """The tables of a service that hold a canary, in whatever column."""
    found = await homes(world, [canary], [schema])
    return [table.partition(".")[2] for table in sorted(found[canary])]


async def homes(world: World | Care, canaries: Collection[str], schemas: Collection[str]) -> dict[str, set[str]]:
    """The tables of some schemas that hold each canary, in whatever column."""
    wanted = [
        (canary, form.decode())
        for canary in canaries
        for name, form in forms(canary, base64_too=False).items()
        if "url" not in name
    ]
    found: dict[str, set[str]] = {canary: set() for canary in canaries}
    async with world.owner() as connection:
        tables = await connection.fetch(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = any($1)",
            list(schemas),
        )
        for row in tables:
            held = await connection.fetch(
                f"""select distinct canary from {row["name"]} t, unnest($1::text[], $2::text[]) w (canary, form)
                    where position(lower(form) in lower(to_jsonb(t)::text)) > 0""",
                [canary for canary, _ in wanted],
                [form for _, form in wanted],
            )
            for one in held:
                found[one["canary"]].add(row["name"].replace('"', ""))
    return found


async def assert_kept(world: World, canaries: Collection[str], texts: Mapping[str, bytes]) -> None:
    """Each canary is at home in a table, and in none of the texts."""
    assert texts, "nothing to look at"
    for number, canary in enumerate(canaries):
        assert await owners(world, canary), f"canary {number} sits in no table, so its absence elsewhere would prove nothing"
    assert leaks(canaries, texts) == []


# --- places --------------------------------------------------------------------------------------------------------------


def logs(world: World | Care) -> dict[str, bytes]:
    """What each process has written, living or dead, and the servers that they use."""
    servers = [world.servers.postgres.log, world.servers.kafka.log]
    return {log.name: log.read_bytes() for log in [*(process.log for process in world.processes), *servers]}


async def metrics(world: World | Care) -> dict[str, bytes]:
    """What each living process tells its operator."""
    alive = [process for process in world.processes if process.popen.poll() is None]
    return {f"metrics of {process.log.name}": (await process.get("/metrics"))[1].encode() for process in alive}


async def topics(world: World | Care, *names: str) -> dict[str, bytes]:
    """Every record of some topics, with key and headers; without names, of all that there are."""
    found: dict[str, bytes] = {}
    services = world.services.values() if isinstance(world, Care) else [SERVICE]
    for name in names or names_of(world.prefix, services):
        for one in await dump(world.kafka, name):
            found |= record(one)
    return found


def record(one: "ConsumerRecord[bytes, bytes]") -> dict[str, bytes]:
    """One record of a topic."""
    parts = [one.key or b"", one.value or b"", *(part for name, value in one.headers for part in (name.encode(), value))]
    return {f"{one.topic}/{one.partition}/{one.offset}": b"\n".join(parts)}


def mails(world: World | Care) -> dict[str, bytes]:
    """Every mail that any test of the session has caused."""
    return {path.name: path.read_bytes() for path in world.servers.mail.folder.glob("*.eml")}
