"""Use cases of messages: the contact book, what is planned and withdrawn, one-time links and what is answered by them."""

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import Moment, zone_of
from services.directory import store as directory
from services.follow_up import events
from services.follow_up.domain.links import (
    Contact,
    Link,
    answered,
    birth_hash,
    is_birth_date,
    link_hash,
    refusal,
    tried,
    tried_anew,
)
from services.follow_up.domain.reminders import Appointment, Rung, planned, settled
from services.follow_up.store import messages as store
from services.runtime.database import Reader
from services.runtime.edge.principal import Principal, Role
from services.runtime.messaging.changes import CancelTimers, Changes, Context, Rejected, SetTimer
from services.screening import store as screening
from services.screening.commands import Answers, Recorded, Screen, Screening
from services.therapies import evidence
from services.therapies.cadence import send_at
from services.therapies.evidence import Thresholds
from services.therapies.instruments import CssrsAnswers, RiskLevel
from services.therapies.rulebook import Rulebook

__all__ = ["MESSAGE", "WEEKLY", "ContactWanted", "LinkAnswers", "Messages", "WrongBirthDate", "payload_of", "rung_of"]

MESSAGE = "follow_up.message"
"""Timer: a message to a patient goes out."""
WEEKLY = "follow_up.weekly"
"""Timer: the weekly questionnaires of the induction are due."""
_LOOKED_AT = 200
"""Newest answers of a patient among which those of a link are looked for; a link holds for a week."""
_POSSIBLE = 8
"""Messages that one visit may ask for, at most."""


@dataclass(frozen=True, slots=True)
class ContactWanted:
    """An entry of the contact book as it came; the birth date is hashed and not kept."""

    email: str | None
    phone: str | None
    email_agreed: bool
    birth_date: dt.date


@dataclass(frozen=True, slots=True)
class LinkAnswers:
    """A questionnaire as it came by a link; whose it is, the link says."""

    instrument: str
    answers: Sequence[int | None]
    difficulty: int | None = None


@dataclass(frozen=True, slots=True)
class WrongBirthDate:
    """A link was tried with a birth date that is not the patient's; counted."""

    changes: Changes


def payload_of(one: Rung) -> dict[str, Any]:
    """What the timer of a message has to know when nothing can be read any more."""
    return {
        "id": str(one.id),
        "patient": str(one.patient),
        "about": str(one.about),
        "kind": one.kind,
        "rung": one.rung,
        "due_at": one.due_at.isoformat(),
        "zone": one.zone,
        "about_at": one.about_at.isoformat() if one.about_at else None,
    }


def rung_of(payload: Mapping[str, Any]) -> Rung:
    """The message of a timer."""
    about_at = payload["about_at"]
    return Rung(
        UUID(payload["id"]),
        UUID(payload["patient"]),
        UUID(payload["about"]),
        payload["kind"],
        payload["rung"],
        dt.datetime.fromisoformat(payload["due_at"]),
        payload["zone"],
        dt.datetime.fromisoformat(about_at) if about_at else None,
    )


@dataclass(frozen=True, slots=True)
class Messages:
    """The use cases, under the signed rules."""

    rulebook: Rulebook
    screening: Screening

    def rules(self, name: str, context: Context, zone: str = "UTC") -> Thresholds:
        """A revision that is in force today."""
        return self.rulebook.on(name, context.now.astimezone(zone_of(zone)).date())

    # --- contact book ----------------------------------------------------------------------------------------------

    async def set_contact(
        self, patient: UUID, wanted: ContactWanted, by: str, read: Reader, context: Context
    ) -> tuple[Changes, Contact]:
        """Where a patient is reached; whole, as staff or the patient themself say it.

        With another birth date than before, the tries that were counted against the old one count for nothing.
        """
        known = await store.contact(read, patient)
        salt = secrets.token_bytes(16)
        entry = Contact(
            patient,
            wanted.email,
            wanted.phone,
            wanted.email_agreed,
            salt,
            birth_hash(wanted.birth_date, salt),
            by,
            context.now,
            known.version if known else 0,
        )
        row = store.contact_row(entry)
        corrected = known is not None and not is_birth_date(known, wanted.birth_date)
        links = await store.tried_links(read, patient, context.now) if corrected else []
        anew = [store.link_row(tried_anew(link)) for link in links]
        return Changes(rows=[row, *anew], patient=str(patient)), replace(entry, version=row.version)

    # --- planning --------------------------------------------------------------------------------------------------

    def plan(self, about: Appointment, zone: str, status: str, known: Sequence[Rung], context: Context) -> Changes:
        """The messages of an appointment as it is now: what no longer fits is withdrawn, and only what is new is planned.

        What went out, or may have, is not planned again: in another zone its hour may be ahead once more.
        """
        wanted: tuple[Rung, ...] = ()
        if status == "active":
            ids = [uuid_utils.compat.uuid7() for _ in range(_POSSIBLE)]
            wanted = planned(about, zone, context.now, ids, self.rules("cadence", context, about.zone))
        told = {(one.rung, one.about_at) for one in known if one.status != "planned"}
        wanted = tuple(one for one in wanted if (one.rung, one.about_at) not in told)
        stays = {(one.rung, one.due_at, one.about_at, one.zone) for one in wanted}
        gone = [one for one in known if (one.rung, one.due_at, one.about_at, one.zone) not in stays]
        there = {(one.rung, one.due_at, one.about_at, one.zone) for one in known}
        new = [one for one in wanted if (one.rung, one.due_at, one.about_at, one.zone) not in there]
        return self._planned(new, self.withdrawn(gone, context))

    def withdrawn(self, known: Sequence[Rung], context: Context) -> Changes:
        """Those of some messages that still wait will not go out."""
        gone = [settled(one, "withdrawn", context.now) for one in known if one.status == "planned"]
        return Changes(
            rows=[store.reminder_row(one) for one in gone],
            events=[events.reminder_settled(one) for one in gone],
            timers=[CancelTimers(str(one.id), (MESSAGE,)) for one in gone],
        )

    def ask(self, patient: UUID, zone: str, at: dt.datetime, context: Context) -> Changes:
        """A message with a one-time link to questionnaires, at a time out of the patient's quiet hours."""
        due = send_at(Moment(max(at, context.now), zone), self.rules("cadence", context, zone)).at
        identifier = uuid_utils.compat.uuid7()
        one = Rung(identifier, patient, identifier, "questionnaire", "due", due, zone, None)
        return self._planned([one], Changes())

    def _planned(self, new: Sequence[Rung], before: Changes) -> Changes:
        timers = [
            SetTimer(MESSAGE, f"{MESSAGE}:{one.id}", str(one.id), one.due_at, payload_of(one), expires_at=one.about_at)
            for one in new
        ]
        return Changes(
            rows=[*before.rows, *(store.reminder_row(one) for one in new)],
            events=before.events,
            timers=[*before.timers, *timers],
        )

    # --- links -----------------------------------------------------------------------------------------------------

    def link(self, token: str, patient: UUID, context: Context) -> Link:
        """A link to the questionnaires of between visits; it holds until they are asked for again."""
        days = self.rules("cadence", context)["contact.ketamine.weekly PHQ-9 and GAD-7 in induction"].elapsed
        return Link(link_hash(token), uuid_utils.compat.uuid7(), patient, ("phq9", "gad7"), context.now, context.now + days)

    async def holder(self, read: Reader, token: str, context: Context) -> Principal | None:
        """Whom a token stands for; nobody if it is used up, dead or expired."""
        link = await store.link_by_hash(read, link_hash(token))
        return None if link is None or refusal(link, context.now) else _patient_by(link)

    async def sender(self, read: Reader, token: str, context: Context) -> Principal | None:
        """The same for what is sent by it: that may come again."""
        link = await store.link_by_hash(read, link_hash(token))
        return None if link is None or refusal(link, context.now, again=True) else _patient_by(link)

    async def open(
        self, token_hash: bytes, birth_date: dt.date, read: Reader, context: Context
    ) -> Link | WrongBirthDate | Rejected:
        """What a link asks, for the person whose birth date it is. Nothing is shown before."""
        link = await self._held(token_hash, birth_date, read, context, again=False)
        if not isinstance(link, Link):
            return link
        # A form that asks about suicide is open only while somebody could answer what it says (decision B7).
        on_duty = [await directory.on_duty(read, role, context.now) for role in ("nurse", "prescriber")]
        if not any(on_duty):
            return Rejected("nobody-on-duty", final=False)
        return link

    async def _held(
        self, token_hash: bytes, birth_date: dt.date, read: Reader, context: Context, *, again: bool = True
    ) -> Link | WrongBirthDate | Rejected:
        """The link, if it holds. What was asked is taken whoever is on duty by then: what it says of suicide is paged."""
        link = await store.link_by_hash(read, token_hash)
        contact = await store.contact(read, link.patient) if link else None
        if link is None or contact is None or refusal(link, context.now, again=again):
            return Rejected("link-not-valid", final=False)
        if not is_birth_date(contact, birth_date):
            return WrongBirthDate(Changes(rows=[store.link_row(tried(link))], patient=str(link.patient)))
        return link

    async def answer(
        self, token_hash: bytes, birth_date: dt.date, given: LinkAnswers, read: Reader, context: Context
    ) -> Recorded | WrongBirthDate | Rejected | evidence.Rejected:
        """A questionnaire is answered by a link; each once. It is kept and acted on like any other.

        The same answers again are told what the first ones were: whoever sends them has not heard it.
        """
        link = await self._held(token_hash, birth_date, read, context)
        if not isinstance(link, Link):
            return link
        if given.instrument in link.answered:
            return await self._again(link, given, read) or Rejected("not-asked", final=False)
        if given.instrument not in link.instruments:
            return Rejected("not-asked", final=False)
        answers = Answers(link.patient, given.instrument, given.answers, _by(link), difficulty=given.difficulty)
        recorded = await self.screening.answer(answers, read, context)
        if isinstance(recorded, evidence.Rejected):
            return recorded
        # The link stays open for the suicide screen that this answer, or an earlier one, has opened.
        owes = recorded.opens_screen or await self.owes_screen(read, link.patient)
        row = store.link_row(answered(link, given.instrument, owes_screen=owes))
        changes = replace(recorded.changes, rows=[row, *recorded.changes.rows], patient=str(link.patient))
        return replace(recorded, changes=changes, opens_screen=owes)

    async def _again(self, link: Link, given: LinkAnswers, read: Reader) -> Recorded | None:
        """What became of the same answers when they came first; None if they are others."""
        said = {"items": list(given.answers), "difficulty": given.difficulty}
        for row in await screening.assessments(read, link.patient, _LOOKED_AT):
            if (row["entered_by"], row["instrument"]) == (_by(link), given.instrument) and row["answers"] == said:
                owes = await self.owes_screen(read, link.patient)
                nothing = Changes(patient=str(link.patient))
                return Recorded(nothing, row["id"], None, row["total"], row["severity"], owes)
        return None

    async def owes_screen(self, read: Reader, patient: UUID) -> bool:
        """Whether something that this patient has answered waits for a complete suicide screen."""
        return any(task.level is RiskLevel.INCOMPLETE for task in await screening.open_tasks(read, [patient]))

    async def screen(
        self, token_hash: bytes, birth_date: dt.date, answers: CssrsAnswers, read: Reader, context: Context
    ) -> Recorded | WrongBirthDate | Rejected:
        """The suicide screen, by a link."""
        link = await self._held(token_hash, birth_date, read, context)
        if not isinstance(link, Link):
            return link
        recorded = await self.screening.screen(Screen(link.patient, answers, True, _by(link)), read, context)
        row = store.link_row(answered(link, owes_screen=recorded.level is RiskLevel.INCOMPLETE))
        changes = replace(recorded.changes, rows=[row, *recorded.changes.rows], patient=str(link.patient))
        return replace(recorded, changes=changes)


def _by(link: Link) -> str:
    """Who sent an answer, as it is kept with it."""
    return f"link:{link.id}"


def _patient_by(link: Link) -> Principal:
    return Principal("link", str(link.id), "link", frozenset({Role.PATIENT}), str(link.id))
