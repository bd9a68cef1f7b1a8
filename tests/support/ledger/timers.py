"""What the ledger does when time comes: a row (in the database), or a mail (a call to the outside)."""

from collections.abc import Collection, Mapping
from email.message import EmailMessage
from typing import Any

from services.runtime.database import Reader
from services.runtime.messaging.changes import Append, Changes, Context
from services.runtime.messaging.paging import send_mail
from services.runtime.messaging.timers import OutsideCall, Timer
from services.runtime.settings import SmtpSettings, load

__all__ = ["Fire", "Notify"]


class Fire:
    """Writes one row per timer, without any uniqueness: firing twice must show."""

    def key(self, item: Timer) -> str:
        return item.subject

    async def load(self, read: Reader, keys: Collection[str]) -> Mapping[str, bool]:
        rows = await read.fetch("select account from poison where account = any($1)", list(keys))
        return {row["account"]: True for row in rows}

    def decide(self, state: bool | None, item: Timer, context: Context) -> tuple[bool | None, Changes]:
        if state:
            raise ValueError(item.subject)
        return state, Changes(rows=[Append("fired", {"dedupe_key": item.dedupe_key, "due_at": item.due_at, "at": context.now})])


class Notify(OutsideCall):
    """Sends one mail; after a crash in between it is unknown whether it went, and a human is told."""

    async def prepare(self, read: Reader, timer: Timer, context: Context) -> Any | None:
        return timer.subject

    async def call(self, request: Any, key: str) -> str:
        smtp = load(SmtpSettings)
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = smtp.sender, "someone@localhost", "A reminder"
        message["Message-ID"] = f"<{key}@telemed>"
        message.set_content("Please sign in.\n")
        await send_mail(smtp, message)
        return "sent"

    def done(self, timer: Timer, request: Any, outcome: str, context: Context) -> Changes:
        return Changes(rows=[Append("fired", {"dedupe_key": timer.dedupe_key, "due_at": timer.due_at, "at": context.now})])
