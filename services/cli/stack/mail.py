"""A mail server that delivers to nobody: every message is kept, once per delivery, and shown on a page.

``python -m services.cli.stack.mail --outbox FOLDER --smtp-port N --http-port N``. It never drops a second copy of a message:
whoever looks here wants to see how often something was really sent.
"""

import argparse
import asyncio
import email
import email.policy
import html
import itertools
import os
import signal
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from services.cli.stack.ports import HOST

__all__ = ["Outbox", "build_page", "serve"]

_LARGEST_BYTES = 10 * 1024 * 1024
_HEADERS = {
    # What is shown was written by others: it may neither run nor load anything.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc}}
pre{{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f4f4;padding:1rem}}</style>
<h1>{title}</h1>{body}</html>"""


class Outbox:
    """A folder of ``.eml`` files, named so that their names sort by arrival."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = itertools.count()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep one message; called by the SMTP server, which answers with the text returned."""
        content = envelope.content
        body = content.encode() if isinstance(content, str) else content or b""
        try:
            await asyncio.to_thread(self._keep, str(envelope.mail_from or ""), list(envelope.rcpt_tos), body)
        except OSError as error:
            return f"451 could not be kept: {error.strerror}"
        return "250 kept"

    def _keep(self, sender: str, recipients: list[str], content: bytes) -> None:
        now = datetime.now(UTC)
        added = {"X-Received-At": now.isoformat(), "X-Envelope-From": sender, "X-Envelope-To": ", ".join(recipients)}
        head = "".join(f"{name}: {' '.join(value.split())}\r\n" for name, value in added.items())
        name = f"{now:%Y%m%dT%H%M%S%f}Z-{os.getpid()}-{next(self._count):06d}.eml"
        partial = self._folder / (name + ".partial")
        partial.write_bytes(head.encode("utf-8", "replace") + content)
        partial.rename(self._folder / name)

    def messages(self) -> list[dict[str, Any]]:
        """Every message in order of arrival, as shown by the page and its JSON."""
        return [self._described(path) for path in sorted(self._folder.glob("*.eml"))]

    def find(self, identifier: str) -> dict[str, Any] | None:
        """One message; an identifier is only ever compared with the names that exist."""
        known = {path.stem: path for path in self._folder.glob("*.eml")}
        return self._described(known[identifier]) if identifier in known else None

    def _described(self, path: Path) -> dict[str, Any]:
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        return {
            "id": path.stem,
            "received_at": _header(message, "X-Received-At"),
            "envelope_from": _header(message, "X-Envelope-From"),
            "envelope_to": [part for part in _header(message, "X-Envelope-To").split(", ") if part],
            "message_id": _header(message, "Message-ID"),
            "from": _header(message, "From"),
            "to": _header(message, "To"),
            "subject": _header(message, "Subject"),
            "text": _text(message),
        }


def _header(message: EmailMessage, name: str) -> str:
    return str(message.get(name, ""))


def _text(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    payload = part.get_payload(decode=True) if part is not None else None
    if not isinstance(payload, bytes) or part is None:
        return ""
    try:
        return payload.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:  # a charset that does not exist
        return payload.decode("utf-8", "replace")


def build_page(outbox: Outbox) -> web.Application:
    """The readable outbox: ``/``, ``/messages/ID``, ``/messages.json`` and ``/readyz``."""

    async def index(_: web.Request) -> web.Response:
        rows = [
            f"<tr><td>{_safe(item['received_at'])}</td><td>{_safe(', '.join(item['envelope_to']))}</td>"
            f'<td><a href="/messages/{_safe(item["id"])}">{_safe(item["subject"] or "(no subject)")}</a></td></tr>'
            for item in reversed(await asyncio.to_thread(outbox.messages))
        ]
        table = "<table><tr><th>Received (UTC)</th><th>To</th><th>Subject</th></tr>" + "".join(rows) + "</table>"
        return _page("Outbox", table if rows else "<p>No mail yet.</p>")

    async def show(request: web.Request) -> web.Response:
        item = await asyncio.to_thread(outbox.find, request.match_info["id"])
        if item is None:
            raise web.HTTPNotFound(text="no such message", headers=_HEADERS)
        rows = "".join(
            f"<tr><th>{name}</th><td>{_safe(item[key])}</td></tr>"
            for name, key in (("From", "from"), ("To", "to"), ("Received", "received_at"), ("Message-ID", "message_id"))
        )
        return _page(item["subject"] or "(no subject)", f"<table>{rows}</table><pre>{_safe(item['text'])}</pre>")

    async def listing(_: web.Request) -> web.Response:
        return web.json_response({"messages": await asyncio.to_thread(outbox.messages)}, headers=_HEADERS)

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers=_HEADERS)

    application = web.Application()
    application.add_routes(
        [
            web.get("/", index),
            web.get("/messages/{id}", show),
            web.get("/messages.json", listing),
            web.get("/readyz", ready),
        ]
    )
    return application


def _safe(value: str) -> str:
    return html.escape(value, quote=True)


def _page(title: str, body: str) -> web.Response:
    return web.Response(
        text=_PAGE.format(title=_safe(title), body=body), content_type="text/html", charset="utf-8", headers=_HEADERS
    )


async def serve(folder: Path, smtp_port: int, http_port: int) -> None:
    """Serve both ports on loopback until SIGTERM or SIGINT."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    outbox = Outbox(folder)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    smtp = await loop.create_server(
        lambda: SMTP(
            outbox, data_size_limit=_LARGEST_BYTES, enable_SMTPUTF8=True, hostname="localhost", ident="telemed", loop=loop
        ),
        HOST,
        smtp_port,
    )
    runner = web.AppRunner(build_page(outbox), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, http_port).start()
    await stopped.wait()
    smtp.close()
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--outbox", type=Path, required=True)
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.outbox, given.smtp_port, given.http_port))
