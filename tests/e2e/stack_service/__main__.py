"""Keeps notes as its own database role, and tells what it was started with."""

import os

import asyncpg
from aiohttp import web

from services.runtime.settings import DatabaseSettings, HttpSettings, OidcSettings, SmtpSettings, load


async def ready(_: web.Request) -> web.Response:
    if "STACK_NOTE_NEVER_READY" in os.environ:
        raise web.HTTPServiceUnavailable(text="not ready")
    return web.Response(text="ok")


async def notes(request: web.Request) -> web.Response:
    connection = await asyncpg.connect(load(DatabaseSettings).dsn())
    try:
        if request.method == "POST":
            await connection.execute("insert into stack_note.note values ($1)", await request.text())
        rows = await connection.fetch("select text from stack_note.note order by text")
        role = await connection.fetchval("select current_user::text")
    finally:
        await connection.close()
    return web.json_response({"notes": [row["text"] for row in rows], "role": role})


async def environment(_: web.Request) -> web.Response:
    names = sorted(name for name in os.environ if name.startswith("TELEMED_"))
    told = {"smtp": load(SmtpSettings).url, "issuer": load(OidcSettings).issuer}
    return web.json_response({"names": names, "pid": os.getpid(), **told})


def main() -> None:
    if "STACK_NOTE_FAILS" in os.environ:
        raise SystemExit("this service was told to fail")
    application = web.Application()
    application.add_routes(
        [
            web.get("/readyz", ready),
            web.get("/notes", notes),
            web.post("/notes", notes),
            web.get("/environment", environment),
        ]
    )
    http = load(HttpSettings)
    web.run_app(application, host=http.host, port=http.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
