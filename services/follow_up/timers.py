"""What follow-up does when time comes: messages go out, weekly questions are asked, tasks are called for."""

import datetime as dt
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from schemas.values import zone_of
from services.follow_up import events
from services.follow_up.commands import tasks
from services.follow_up.commands.messages import WEEKLY, Messages, rung_of
from services.follow_up.domain.links import Contact
from services.follow_up.domain.reminders import Rung, SessionFact, settled
from services.follow_up.domain.tasks import CareTask
from services.follow_up.settings import MessageSettings
from services.follow_up.store import messages as store
from services.follow_up.store import tasks as work
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, SetTimer
from services.runtime.messaging.paging import send_mail
from services.runtime.messaging.timers import OutsideCall, Timer
from services.runtime.settings import SmtpSettings, load

__all__ = ["DaySeven", "SendMessage", "TaskDue", "Weekly"]

_LATER = dt.timedelta(hours=24)
"""How long somebody has for what is not urgent: one day."""


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """A message that is about to be sent; without an address it is dropped."""

    rung: Rung
    address: str | None
    token: str | None


class SendMessage(OutsideCall):
    """Sends a message by e-mail. After a crash in between it is not sent again: a human looks."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    async def prepare(self, read: Reader, timer: Timer, context: Context) -> _Outgoing | None:
        rung = await store.reminder(read, UUID(timer.subject))
        if rung is None or rung.status != "planned":
            return None
        contact = await store.contact(read, rung.patient)
        known = (await store.recipients(read, [rung.patient])).get(rung.patient)
        if known is not None and known[2] != "active":
            return None
        token = secrets.token_urlsafe(32) if rung.kind == "questionnaire" else None
        return _Outgoing(rung, _address(contact), token)

    async def call(self, request: Any, key: str) -> str:
        if request.address is None:
            return "dropped"
        wording = load(MessageSettings)
        smtp = load(SmtpSettings)
        message = EmailMessage()
        message["From"] = smtp.sender
        message["To"] = request.address
        message["Subject"] = f"{wording.clinic}: {'a few questions' if request.token else 'your appointment'}"
        # The same at every attempt, so that a repeat can be told from a new message.
        message["Message-ID"] = f"<{request.rung.id}@telemed>"
        message.set_content(_text(request, wording))
        await send_mail(smtp, message)
        return "sent"

    def done(self, timer: Timer, request: Any, outcome: str, context: Context) -> Changes:
        one = settled(request.rung, outcome, context.now, "email" if outcome == "sent" else None)
        rows: list[Any] = [store.reminder_row(one)]
        if request.token is not None and outcome == "sent":
            rows.append(store.link_row(self._messages.link(request.token, one.patient, context)))
        return Changes(rows=rows, events=[events.reminder_settled(one)])

    def uncertain(self, timer: Timer, context: Context) -> Changes:
        """It may have gone out: it is not sent again, and the front desk looks."""
        one = settled(rung_of(timer.payload), "uncertain", context.now)
        due = min(one.about_at or context.now + _LATER, context.now + _LATER)
        task = tasks.opened(one.patient, None, "message-uncertain", "front_desk", due, _LATER * 0, context)
        return tasks.merged(Changes(rows=[store.reminder_row(one)], events=[events.reminder_settled(one)]), task)

    def missed(self, timer: Timer, context: Context) -> Changes:
        """What it was about has begun: nobody is reminded any more."""
        one = settled(rung_of(timer.payload), "dropped", context.now)
        return Changes(rows=[store.reminder_row(one)], events=[events.reminder_settled(one)])


def _address(contact: Contact | None) -> str | None:
    return contact.email if contact is not None and contact.email_agreed else None


def _text(request: _Outgoing, wording: MessageSettings) -> str:
    """What is written: no diagnosis, no drug, no kind of treatment; who to call, always."""
    if request.token is not None:
        about = f"please answer a few questions before we speak next:\n\n{wording.link_url}#{request.token}\n"
    else:
        assert request.rung.about_at is not None  # noqa: S101 - a visit has a time
        local = request.rung.about_at.astimezone(zone_of(request.rung.zone))
        about = f"you have an appointment on {local:%A, %d %B %Y} at {local:%H:%M} ({request.rung.zone}).\n"
        about += "Please follow the instructions that you were given for the day.\n"
    return (
        f"Hello,\n\n{about}\n"
        f"{wording.clinic}: {wording.phone}, at other times {wording.out_of_hours}\n"
        "In a crisis call or text 988. In an emergency call 911.\n"
    )


class Weekly:
    """Asks the weekly questionnaires while the induction goes on."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, tuple[str, str, Sequence[SessionFact]]]:
        known, sessions = await store.recipients(read, keys), await store.sessions_of(read, keys)
        return {
            patient: (*_zone_and_status(known.get(patient), sessions.get(patient, ())), sessions.get(patient, ()))
            for patient in keys
        }

    def decide(
        self, state: tuple[str, str, Sequence[SessionFact]] | None, item: Timer, context: Context
    ) -> tuple[tuple[str, str, Sequence[SessionFact]] | None, Changes]:
        assert state is not None  # noqa: S101 - `load` answers for every patient
        zone, status, sessions = state
        week = self._messages.rules("cadence", context)["contact.ketamine.weekly PHQ-9 and GAD-7 in induction"].elapsed
        lately = [
            one
            for one in sessions
            if one.phase == "induction" and one.started_at is not None and item.due_at - one.started_at <= week
        ]
        if status != "active" or not lately:
            return state, Changes()
        asked = self._messages.ask(UUID(item.subject), zone, item.due_at, context)
        due = item.due_at + week
        again = SetTimer(WEEKLY, f"{WEEKLY}:{item.subject}:{due.isoformat()}", item.subject, due, item.payload)
        return state, replace(asked, timers=[*asked.timers, again])


def _zone_and_status(known: tuple[str, str, str] | None, sessions: Sequence[SessionFact]) -> tuple[str, str]:
    if known is not None:
        return known[0], known[2]
    return (sessions[0].zone if sessions else "UTC"), "active"


class DaySeven:
    """A week after the last infusion a prescriber looks at how it went."""

    def key(self, item: Timer) -> str:
        return item.subject

    async def load(self, read: Reader, keys: Collection[str]) -> Mapping[str, None]:
        return {}

    def decide(self, state: None, item: Timer, context: Context) -> tuple[None, Changes]:
        session = UUID(item.payload["session"])
        due = context.now + _LATER
        return None, tasks.opened(UUID(item.subject), session, "day-7-review", "prescriber", due, _LATER * 0, context)


class TaskDue:
    """Calls somebody for a task that is still open."""

    def key(self, item: Timer) -> UUID:
        return UUID(item.subject)

    async def load(self, read: Reader, keys: Collection[UUID]) -> Mapping[UUID, CareTask]:
        return await work.tasks(read, keys)

    def decide(self, state: CareTask | None, item: Timer, context: Context) -> tuple[CareTask | None, Changes]:
        if state is None:
            raise LookupError("the task is not known")
        return state, tasks.overdue(state)
