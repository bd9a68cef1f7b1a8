"""A scan for what must not come out: canaries, looked for in every form that a text takes on its way through software.

A scan that finds nothing proves something only if there was something to find. So it first shows that each canary sits in a
table of its owner, and only then looks at logs, metrics, topics and mails.
"""

import base64
import json
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote, quote_plus

from aiokafka.structs import ConsumerRecord

from tests.support.care import Care
from tests.support.world import World

__all__ = ["assert_kept", "forms", "leaks", "logs", "mails", "metrics", "owners", "record", "topics"]

_SHORTEST = 12
"""A shorter canary would be found by chance in base64, or not at all."""


def forms(text: str) -> dict[str, bytes]:
    """A text as it may stand in a file, by the name of the form.

    Raw; escaped as JSON with and without its non-ASCII letters; and each of these again URL-encoded, in hex, and in base64 at
    its three alignments, in both alphabets.
    """
    if len(text.encode()) < _SHORTEST:
        raise ValueError(f"a canary has {_SHORTEST} bytes or more")
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
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + raw)
            # The first and last group depend on what stands beside it.
            found[f"{name}+base64-{shift}"] = coded = coded[4 if shift else 0 : -4]
            found[f"{name}+base64url-{shift}"] = coded.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def leaks(canaries: Iterable[str], texts: Mapping[str, bytes]) -> list[str]:
    """Where which canary stands, and in what form. The canaries themselves are told by number."""
    # Hex and the escapes of URLs and JSON are written in either case.
    lowered = {place: text.lower() for place, text in texts.items()}
    return sorted(
        f"{place}: canary {number} as {name}"
        for number, canary in enumerate(canaries)
        for name, form in forms(canary).items()
        for place, text in lowered.items()
        if form.lower() in text
    )


async def owners(world: World, canary: str) -> list[str]:
    """The tables of the service that hold a canary, in whatever column."""
    wanted = [form.decode() for name, form in forms(canary).items() if "base64" not in name and "url" not in name]
    async with world.owner() as connection:
        tables = await connection.fetch("select quote_ident(tablename) as name from pg_tables where schemaname = 'ledger'")
        return [
            row["name"]
            for row in tables
            if await connection.fetchval(
                f"""select exists (select 1 from ledger.{row["name"]} t, unnest($1::text[]) form
                                   where position(form in to_jsonb(t)::text) > 0)""",
                wanted,
            )
        ]


async def assert_kept(world: World, canaries: Collection[str], texts: Mapping[str, bytes]) -> None:
    """Each canary is at home in a table, and in none of the texts."""
    assert texts, "nothing to look at"
    for number, canary in enumerate(canaries):
        assert await owners(world, canary), f"canary {number} sits in no table, so its absence elsewhere would prove nothing"
    assert leaks(canaries, texts) == []


# --- places --------------------------------------------------------------------------------------------------------------


def logs(world: World | Care) -> dict[str, bytes]:
    """What each process has written, living or dead."""
    return {process.log.name: process.log.read_bytes() for process in world.processes}


async def metrics(world: World) -> dict[str, bytes]:
    """What each living process tells its operator."""
    alive = [process for process in world.processes if process.popen.poll() is None]
    return {f"metrics of {process.log.name}": (await process.get("/metrics"))[1].encode() for process in alive}


async def topics(world: World, *names: str) -> dict[str, bytes]:
    """Every record of some topics, with key and headers; without names, of the live topic."""
    found: dict[str, bytes] = {}
    for name in names or (world.topic,):
        for one in await world.dump(name):
            found |= record(one)
    return found


def record(one: "ConsumerRecord[bytes, bytes]") -> dict[str, bytes]:
    """One record of a topic."""
    parts = [one.key or b"", one.value or b"", *(part for name, value in one.headers for part in (name.encode(), value))]
    return {f"{one.topic}/{one.partition}/{one.offset}": b"\n".join(parts)}


def mails(world: World) -> dict[str, bytes]:
    """Every mail that any test of the session has caused."""
    return {path.name: path.read_bytes() for path in world.servers.mail.folder.glob("*.eml")}
