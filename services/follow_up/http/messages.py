"""Routes of the contact book, of messages, and of what a one-time link opens."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from services.directory import policy
from services.directory.policy import PatientPath
from services.follow_up.commands.messages import ContactWanted, LinkAnswers, Messages, WrongBirthDate
from services.follow_up.domain.links import Contact, Link, link_hash
from services.follow_up.store import messages as store
from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Date, Id, Instant, Request, Response, field_error
from services.runtime.edge.policy import Bearer, OneTimeLink
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, NaturalKey, Route, reply
from services.runtime.messaging.changes import Changes, Context, Rejected, Reply
from services.runtime.messaging.unit_of_work import Decide
from services.screening.commands import Recorded
from services.screening.http import AnswersShown, show_answers
from services.therapies import evidence
from services.therapies.instruments import SHAPES, CssrsAnswers

__all__ = ["routes"]

_STAFF = frozenset({Role.FRONT_DESK, Role.NURSE, Role.PRESCRIBER, Role.THERAPIST})

_LINK = ProblemType("link-not-valid", 401, "This link is not valid any more")
_BIRTH = ProblemType("birth-date-wrong", 403, "This is not the birth date that the clinic knows; five tries end the link")
_NOT_ACTIVE = ProblemType("patient-not-active", 409, "This patient is not treated here now")
_NOBODY = ProblemType("nobody-on-duty", 409, "Nobody is on duty to read the answers now: in a crisis call or text 988")
_ASKED = ProblemType("not-asked", 409, "The link does not ask for this, or it was answered already")
_MALFORMED = ProblemType("answers-malformed", 422, "These are not answers to this questionnaire")

_ADDRESS = r"^[!#-'*+\-./0-9=?A-Z^-~]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=_ADDRESS)]
Phone = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$", examples=["+12125557351"])]


class ContactBody(Request):
    """Where a patient is reached, and whether by e-mail. The birth date is asked of who opens a link; it is kept as a hash."""

    email: Email | None = None
    phone: Phone | None = None
    email_agreed: bool
    birth_date: Date

    @model_validator(mode="after")
    def _reachable(self) -> "ContactBody":
        if self.email_agreed and self.email is None:
            raise field_error("no-address", "/email")
        return self


class ContactShown(Response):
    """An entry of the contact book."""

    patient: Id
    email: str | None
    phone: str | None
    email_agreed: bool
    entered_at: Instant
    version: int


class MessageShown(Response):
    """A message that is planned, or what became of it."""

    message: Id
    about: Id
    kind: str
    rung: str
    due_at: Instant
    zone: str
    status: str
    channel: str | None
    settled_at: Instant | None


class MessageList(Response):
    """Messages of a patient, the next or newest first."""

    messages: list[MessageShown]


class Asking(Response):
    """A link to questionnaires will be sent."""

    patient: Id


class LinkBody(Request):
    """The birth date of the person whom the link was sent to."""

    birth_date: Date


class LinkAnswersBody(LinkBody):
    """Answers in the order of the items; null where one was not given. ``difficulty`` is item 10 of the PHQ-9."""

    instrument: Literal["phq9", "gad7"]
    answers: Annotated[list[Annotated[int, Field(ge=0, le=6)] | None], Field(min_length=3, max_length=16)]
    difficulty: Annotated[int, Field(ge=0, le=3)] | None = None


class LinkScreenBody(LinkBody):
    """The Columbia screener since the last contact; null where a question was not answered."""

    q1: bool | None = None
    q2: bool | None = None
    q3: bool | None = None
    q4: bool | None = None
    q5: bool | None = None
    q6: bool | None = None


class Opened(Response):
    """What the link asks: instruments that are not answered yet, with the number of their items and the highest answer.

    ``screen_now`` asks for the suicide screen first: an earlier answer waits for it.
    """

    instruments: list[str]
    screen_now: bool
    items: dict[str, int]
    highest: dict[str, int]
    expires_at: Instant
    help: str


def routes(messages: Messages) -> tuple[Route, ...]:
    """The routes, under the signed rules."""
    link, sender = OneTimeLink(messages.holder), OneTimeLink(messages.sender)
    contact = {"email": "zoe@example.org", "email_agreed": True, "birth_date": "1983-06-09"}
    answers = {"birth_date": "1983-06-09", "instrument": "phq9", "answers": [1, 1, 1, 1, 1, 1, 1, 1, 0]}
    return (
        Route(
            name="set_contact",
            method="PUT",
            path_template="/patients/{patient}/contact",
            summary="Say where a patient is reached, and by what they agreed to be",
            policy=Bearer(_STAFF | {Role.PATIENT}, policy.own_or_care_team),
            audit="contact.set",
            request=ContactBody,
            path=PatientPath,
            response=ContactShown,
            command=_set_contact(messages),
            edits=_contact_version,
            examples=(Example(contact),),
        ),
        Route(
            name="show_contact",
            method="GET",
            path_template="/patients/{patient}/contact",
            summary="Where a patient is reached",
            policy=Bearer(_STAFF | {Role.PATIENT}, policy.own_or_care_team),
            audit="contact.read",
            path=PatientPath,
            response=ContactShown,
            query=_show_contact,
        ),
        Route(
            name="list_messages",
            method="GET",
            path_template="/patients/{patient}/messages",
            summary="Messages that are planned, and what became of the others",
            policy=Bearer(_STAFF | {Role.PATIENT, Role.AUDITOR}, policy.own_or_care_team),
            audit="messages.read",
            path=PatientPath,
            response=MessageList,
            query=_list_messages,
        ),
        Route(
            name="ask_questionnaires",
            method="POST",
            path_template="/patients/{patient}/links",
            summary="Send the patient a one-time link to the questionnaires of between visits",
            policy=Bearer(_STAFF, policy.treats),
            audit="link.send",
            path=PatientPath,
            response=Asking,
            status=202,
            command=_ask(messages),
            idempotency=KEY_REQUIRED,
            errors=(_NOT_ACTIVE,),
        ),
        Route(
            name="open_link",
            method="POST",
            path_template="/link/opening",
            summary="What a link asks, for the person whose birth date it is",
            policy=link,
            audit="link.open",
            request=LinkBody,
            response=Opened,
            command=_open(messages),
            idempotency=NaturalKey(of="nothing but a wrong birth date is kept"),
            errors=(_LINK, _BIRTH, _NOBODY),
            examples=(Example({"birth_date": "1983-06-09"}),),
        ),
        Route(
            name="answer_link",
            method="POST",
            path_template="/link/answers",
            summary="Answer a questionnaire by a link, once",
            policy=sender,
            audit="link.answer",
            request=LinkAnswersBody,
            response=AnswersShown,
            status=201,
            command=_answer(messages),
            idempotency=NaturalKey(of="the link and the questionnaire: the same answers again are told the same"),
            errors=(_LINK, _BIRTH, _ASKED, _MALFORMED),
            examples=(Example(answers),),
        ),
        Route(
            name="screen_link",
            method="POST",
            path_template="/link/suicide-screen",
            summary="Answer the suicide screen that a questionnaire has opened, by the same link",
            policy=sender,
            audit="link.screen",
            request=LinkScreenBody,
            response=AnswersShown,
            status=201,
            command=_screen(messages),
            idempotency=NaturalKey(of="nothing: each screen is kept, the newest holds"),
            errors=(_LINK, _BIRTH),
            examples=(Example({"birth_date": "1983-06-09", "q1": False, "q2": False, "q6": False}),),
        ),
    )


async def _contact_version(read: Reader, asked: Asked[Any, PatientPath]) -> int:
    known = await store.contact(read, asked.path.patient)
    return known.version if known else 0


def _shown(contact: Contact) -> ContactShown:
    return ContactShown(
        patient=contact.patient,
        email=contact.email,
        phone=contact.phone,
        email_agreed=contact.email_agreed,
        entered_at=contact.entered_at,
        version=contact.version,
    )


def _set_contact(messages: Messages) -> Callable[[Asked[ContactBody, PatientPath]], Decide]:
    def command(asked: Asked[ContactBody, PatientPath]) -> Decide:
        body = asked.body
        wanted = ContactWanted(body.email, body.phone, body.email_agreed, body.birth_date)

        async def decide(read: Reader, context: Context) -> Changes:
            changes, entry = await messages.set_contact(asked.path.patient, wanted, asked.principal.person, read, context)
            return replace(changes, reply=reply(_shown(entry)))

        return decide

    return command


def _show_contact(asked: Asked[Any, PatientPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        known = await store.contact(read, asked.path.patient)
        return Found(_shown(known)) if known else Rejected("not-found", status=404)

    return find


def _list_messages(asked: Asked[Any, PatientPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        found = await store.reminders(read, asked.path.patient)
        shown = [
            MessageShown(
                message=one.id,
                about=one.about,
                kind=one.kind,
                rung=one.rung,
                due_at=one.due_at,
                zone=one.zone,
                status=one.status,
                channel=one.channel,
                settled_at=one.settled_at,
            )
            for one in found
        ]
        return Found(MessageList(messages=shown), [str(one.id) for one in found])

    return find


def _ask(messages: Messages) -> Callable[[Asked[Any, PatientPath]], Decide]:
    def command(asked: Asked[Any, PatientPath]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            patient = asked.path.patient
            zone, _, status = (await store.recipients(read, [patient])).get(patient, ("UTC", "", "active"))
            if status != "active":
                return Rejected(_NOT_ACTIVE.code, final=False)
            changes = messages.ask(patient, zone, context.now, context)
            return replace(changes, reply=reply(Asking(patient=patient), 202))

        return decide

    return command


def _token(asked: Asked[Any]) -> bytes:
    return link_hash(asked.headers.get("authorization", "").partition(" ")[2])


def _refused(outcome: WrongBirthDate | Rejected | evidence.Rejected) -> Changes | Rejected:
    if isinstance(outcome, WrongBirthDate):
        return replace(outcome.changes, reply=Reply(_BIRTH.status, problems.document(_BIRTH)))
    if isinstance(outcome, evidence.Rejected):
        errors = [FieldProblem.of_path(one.field, one.code) for one in outcome.problems]
        return Rejected(_MALFORMED.code, body=problems.document(_MALFORMED, errors=errors), final=False)
    return outcome


def _open(messages: Messages) -> Callable[[Asked[LinkBody]], Decide]:
    def command(asked: Asked[LinkBody]) -> Decide:
        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            link = await messages.open(_token(asked), asked.body.birth_date, read, context)
            if not isinstance(link, Link):
                return _refused(link)
            left = [name for name in link.instruments if name not in link.answered]
            shown = Opened(
                instruments=left,
                screen_now=await messages.owes_screen(read, link.patient),
                items={name: SHAPES[name].items for name in left},
                highest={name: SHAPES[name].high for name in left},
                expires_at=link.expires_at,
                help="988",
            )
            return Changes(reply=reply(shown), patient=str(link.patient))

        return decide

    return command


def _answer(messages: Messages) -> Callable[[Asked[LinkAnswersBody]], Decide]:
    def command(asked: Asked[LinkAnswersBody]) -> Decide:
        body = asked.body

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            given = LinkAnswers(body.instrument, body.answers, body.difficulty)
            outcome = await messages.answer(_token(asked), body.birth_date, given, read, context)
            return show_answers(outcome) if isinstance(outcome, Recorded) else _refused(outcome)

        return decide

    return command


def _screen(messages: Messages) -> Callable[[Asked[LinkScreenBody]], Decide]:
    def command(asked: Asked[LinkScreenBody]) -> Decide:
        body = asked.body
        answers = CssrsAnswers(**{name: getattr(body, name) for name in ("q1", "q2", "q3", "q4", "q5", "q6")})

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            outcome = await messages.screen(_token(asked), body.birth_date, answers, read, context)
            return show_answers(outcome) if isinstance(outcome, Recorded) else _refused(outcome)

        return decide

    return command
