"""Calling a human: a durable ladder over roles and channels, kept by timers, stopped only by an acknowledgement.

A page is raised in the transaction of what it is about. Each rung is an outside call: its attempt is committed first, and
after a crash in between it is sent again, because a page twice is better than none. A message carries a code and an opaque
page id, nothing about a person.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib

from services.runtime.database import Reader
from services.runtime.messaging.changes import Append, Changes, Context
from services.runtime.messaging.timers import OutsideCall, Timer
from services.runtime.settings import SmtpSettings

__all__ = ["Contact", "OnCall", "Pager", "no_roster", "send_mail"]


@dataclass(frozen=True, slots=True)
class Contact:
    """A person on call: opaque id, and the pager they carry (or a whole address)."""

    person: str
    pager: str


OnCall = Callable[[Reader, str, str, Context], Awaitable[Sequence[Contact]]]
"""Who is on call now for a role, about a page's subject, read from the service's own copy of the roster."""


async def no_roster(_: Reader, __: str, ___: str, ____: Context) -> Sequence[Contact]:
    """A service without a roster: the deployment's operator address gets every page."""
    return ()


@dataclass(frozen=True, slots=True)
class _Call:
    page: UUID
    code: str
    rung: int
    contacts: tuple[Contact, ...]


class Pager(OutsideCall):
    """Handler of page timers: looks up who is on call, sends, records the attempt."""

    resend_when_uncertain = True

    def __init__(self, smtp: SmtpSettings, on_call: OnCall) -> None:
        self._smtp = smtp
        self._on_call = on_call

    async def prepare(self, read: Reader, timer: Timer, context: Context) -> _Call | None:
        """The call to make; None if the page was acknowledged meanwhile."""
        page = await read.fetchrow("select id, code, subject from page where id = $1 and status = 'open'", UUID(timer.subject))
        if page is None:
            return None
        contacts = tuple(await self._on_call(read, timer.payload["role"], page["subject"], context))
        if not contacts:
            # A rung without anybody on call must not be silent: the deployment's operator gets it.
            contacts = (Contact("operator", self._smtp.operator),)
        return _Call(page["id"], page["code"], int(timer.payload["rung"]), contacts)

    async def call(self, request: Any, key: str) -> str:
        """Send to every contact; the Message-ID is stable, so a repeat can be told from a new page."""
        for contact in request.contacts:
            message = EmailMessage()
            message["From"] = self._smtp.sender
            message["To"] = contact.pager if "@" in contact.pager else f"{contact.pager}@{self._smtp.pager_domain}"
            message["Subject"] = f"Page: {request.code}"
            # A colon is not allowed in it: the library would cut it off there, and all pages would have one id.
            message["Message-ID"] = f"<{key}.{contact.person}@telemed>".replace(":", ".")
            message["X-Telemed-Page"] = str(request.page)
            message.set_content(f"Page {request.page}: {request.code}. Sign in to telemed to see it and to acknowledge it.\n")
            await send_mail(self._smtp, message)
        return "sent"

    def done(self, timer: Timer, request: Any, outcome: str, context: Context) -> Changes:
        """Record who was called."""
        return Changes(
            rows=[
                Append(
                    "page_attempt",
                    {
                        "page_id": request.page,
                        "step": request.rung,
                        "channel": timer.payload["channel"],
                        "recipient": contact.person,
                        "outcome": outcome,
                    },
                )
                for contact in request.contacts
            ]
        )


async def send_mail(smtp: SmtpSettings, message: EmailMessage) -> None:
    """Hand a message to the mail server.

    Raises:
        aiosmtplib.SMTPException, OSError, TimeoutError: when the server did not take it.
    """
    server = urlsplit(smtp.url)
    await aiosmtplib.send(
        message,
        hostname=server.hostname,
        port=server.port,
        username=unquote(server.username) if server.username else None,
        password=smtp.password.get_secret_value() if smtp.password else None,
        use_tls=server.scheme == "smtps",
        timeout=smtp.timeout_s,
    )
