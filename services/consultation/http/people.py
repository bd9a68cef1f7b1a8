"""Routes of enquiries and people: anybody enquires, the front desk finds out who is who."""

from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID

import uuid_utils.compat
from pydantic import Field, model_validator

from services.consultation.commands import people as commands
from services.consultation.domain.people import Enquiry, Member, Patient, Person, likeness
from services.consultation.http.shared import STAFF, TREATS, Therapy
from services.consultation.store import people as store
from services.directory import policy
from services.directory.policy import PatientPath
from services.runtime.database import Reader
from services.runtime.edge.fields import Date, Id, Instant, Line, Region, Request, Response, Zone, field_error
from services.runtime.edge.pages import Page
from services.runtime.edge.policy import Bearer, Public, role_is_enough
from services.runtime.edge.principal import Role
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, NaturalKey, Route, reply
from services.runtime.messaging.changes import AuditEntry, Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide

__all__ = ["ROUTES"]

_FRONT = frozenset({Role.FRONT_DESK, Role.NURSE})
_DESK = Bearer(_FRONT, role_is_enough)
_KEEPS = Bearer(frozenset({Role.FRONT_DESK}), policy.treats)

_POSSIBLE = ProblemType("possible-duplicate", 409, "Somebody like this is known: look at the matches and say who they are not")
_ENQUIRY_CLOSED = ProblemType("enquiry-closed", 409, "This enquiry has been answered already")
_PATIENT_UNKNOWN = ProblemType("patient-unknown", 409, "There is no such patient")
_NOT_IN_USE = ProblemType("record-not-in-use", 409, "This record was merged or entered in error")
_NOT_MERGEABLE = ProblemType("not-mergeable", 409, "These two records cannot be made one")
_NOT_MERGED = ProblemType("not-merged", 409, "This record was not merged into that one")
_STAFF_UNKNOWN = ProblemType("staff-unknown", 409, "There is no such member of staff here")
_ROLE_NOT_HELD = ProblemType("role-not-held", 409, "This member of staff does not have the role")
_UNCHANGED = ProblemType("status-unchanged", 409, "This is what the patient is to the clinic already")
_FUTURE = ProblemType("in-the-future", 422, "This has not happened yet")
_ACCOUNT_TAKEN = ProblemType("account-taken", 409, "Another patient signs in with this account")

Email = Annotated[
    str, Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")
]
"""An address as people write it (RFC 5321 without quoted parts)."""
Phone = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$", examples=["+12125550123"])]
"""E.164."""
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$", examples=["en-US"])]
Reason = Annotated[Line, Field(min_length=5)]


class EnquiryPath(Request):
    """Path of an enquiry."""

    enquiry: Id


# --- enquiries -----------------------------------------------------------------------------------------------------------


class EnquiryBody(Request):
    """How to reach you, and which programme it is about. Say nothing of your health here: no nurse reads it in time."""

    name: Line
    email: Email | None = None
    phone: Phone | None = None
    language: Language
    zone: Zone
    therapy: Therapy

    @model_validator(mode="after")
    def _reachable(self) -> "EnquiryBody":
        if self.email is None and self.phone is None:
            raise field_error("email-or-phone", "/email")
        return self


class EnquiryTaken(Response):
    """Your enquiry, and where help is now: the Suicide and Crisis Lifeline and emergency services, day and night."""

    enquiry: Id
    crisis_line: str
    emergency: str


class EnquiryShown(Response):
    """An open enquiry."""

    enquiry: Id
    name: str
    email: str | None
    phone: str | None
    language: str
    zone: str
    therapy: str
    received_at: Instant


class EnquiryList(Response):
    """Open enquiries, oldest first."""

    enquiries: list[EnquiryShown]


class LinkBody(Request):
    """Which patient an enquiry is of, and how that was found out."""

    patient: Id
    reason: Reason


class CloseBody(Request):
    """Why nothing comes of an enquiry."""

    reason: Literal["withdrawn", "unreachable", "not-offered", "spam"]


class EnquiryHandled(Response):
    """An enquiry that was answered."""

    enquiry: Id
    status: str
    patient: Id | None


def _enquire(asked: Asked[EnquiryBody]) -> Decide:
    body = asked.body

    async def decide(read: Reader, context: Context) -> Changes:
        identifier = uuid_utils.compat.uuid7()
        wanted = Enquiry(
            identifier, body.name, body.email, body.phone, body.language, body.zone, body.therapy, received_at=context.now
        )
        taken = EnquiryTaken(enquiry=identifier, crisis_line="988", emergency="911")
        return replace(await commands.enquire(wanted, read, context), reply=reply(taken, 201))

    return decide


def _list_enquiries(asked: Asked[Any, Any, Page]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        after = UUID(asked.query.after[0]) if asked.query.after else None
        rows = await store.enquiries_after(read, after, asked.query.limit + 1)
        page = rows[: asked.query.limit]
        shown = [
            EnquiryShown(
                enquiry=one.id,
                name=one.name,
                email=one.email,
                phone=one.phone,
                language=one.language,
                zone=one.zone,
                therapy=one.therapy,
                received_at=one.received_at,
            )
            for one in page
        ]
        more = (str(page[-1].id),) if len(rows) > len(page) else ()
        return Found(EnquiryList(enquiries=shown), [str(one.id) for one in page], more)

    return find


def _link(asked: Asked[LinkBody, EnquiryPath]) -> Decide:
    enquiry, body, by = asked.path.enquiry, asked.body, asked.principal.person

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        decided = await commands.link_enquiry(enquiry, body.patient, by, body.reason, read, context)
        if isinstance(decided, Rejected):
            return decided
        return replace(decided, reply=reply(EnquiryHandled(enquiry=enquiry, status="linked", patient=body.patient)))

    return decide


def _close(asked: Asked[CloseBody, EnquiryPath]) -> Decide:
    enquiry, reason, by = asked.path.enquiry, asked.body.reason, asked.principal.person

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        decided = await commands.close_enquiry(enquiry, reason, by, read, context)
        if isinstance(decided, Rejected):
            return decided
        return replace(decided, reply=reply(EnquiryHandled(enquiry=enquiry, status="closed", patient=None)))

    return decide


# --- who somebody is -----------------------------------------------------------------------------------------------------


class PersonBody(Request):
    """What tells one person from another; a match needs one contact, and e-mail alone says nothing."""

    given_name: Line
    family_name: Line
    birth_date: Date
    email: Email | None = None
    phone: Phone | None = None


class PatientBody(PersonBody):
    """A person, and where they live and read the clock."""

    zone: Zone
    language: Language
    region: Region


class RegisterBody(PatientBody):
    """A new patient.

    Attributes:
        enquiry: where it began; it is linked by the same request.
        distinct_from: patients who are like this one, and of whom you say that they are somebody else.
    """

    enquiry: Id | None = None
    distinct_from: Annotated[tuple[Id, ...], Field(max_length=50, strict=False)] = ()


class MatchShown(Response):
    """A known patient who may be the same person: ``same`` (name, birth date and a contact agree) or ``possible`` (two do)."""

    patient: Id
    likeness: str
    given_name: str
    family_name: str
    birth_date: Date
    email: str | None
    phone: str | None
    status: str


class MatchList(Response):
    """Known patients who may be the same person."""

    matches: list[MatchShown]


class CareTeamMember(Request):
    """Somebody who treats the patient."""

    staff: Id
    role: Literal["prescriber", "nurse", "therapist"]


class PatientShown(Response):
    """A patient, with the version that an edit must name."""

    patient: Id
    given_name: str
    family_name: str
    birth_date: Date
    email: str | None
    phone: str | None
    account: Id | None
    zone: str
    language: str
    region: str
    status: str
    care_team: list[CareTeamMember]
    merged_into: Id | None
    version: int


class CareTeamBody(Request):
    """Everybody who treats the patient from now on."""

    care_team: Annotated[list[CareTeamMember], Field(max_length=20)]


class AccountBody(Request):
    """The person (of the tokens) who signs in as this patient; null for nobody."""

    account: Id | None


class MergeBody(Request):
    """The record that is no longer to be used, and how it was found out that both are of one person."""

    duplicate: Id
    reason: Reason


class MergePath(Request):
    """Path of a merge."""

    patient: Id
    duplicate: Id


class ReasonBody(Request):
    """Why."""

    reason: Reason


class StatusBody(ReasonBody):
    """What the patient is to the clinic, how that is known, and since when it is so; since now if it is not said."""

    status: Literal["active", "inactive", "deceased"]
    since: Instant | None = None


def _person(body: PersonBody) -> Person:
    return Person(body.given_name, body.family_name, body.birth_date, body.email, body.phone)


def _show(patient: Patient) -> PatientShown:
    return PatientShown(
        patient=patient.id,
        given_name=patient.person.given_name,
        family_name=patient.person.family_name,
        birth_date=patient.person.birth_date,
        email=patient.person.email,
        phone=patient.person.phone,
        account=patient.account,
        zone=patient.zone,
        language=patient.language,
        region=patient.region,
        status=patient.status,
        care_team=[CareTeamMember.model_validate({"staff": one.staff, "role": one.role}) for one in patient.care_team],
        merged_into=patient.merged_into,
        version=patient.version,
    )


async def _version(read: Reader, asked: Asked[Any, PatientPath]) -> int | None:
    known = await store.patient(read, asked.path.patient)
    return known.version if known else None


def _match(asked: Asked[PersonBody]) -> Decide:
    person, by = _person(asked.body), asked.principal.person

    async def decide(read: Reader, _: Context) -> Changes:
        found = [one for one in await store.like(read, person) if likeness(person, one.person) != "none"]
        shown = [
            MatchShown(
                patient=one.id,
                likeness=str(likeness(person, one.person)),
                given_name=one.person.given_name,
                family_name=one.person.family_name,
                birth_date=one.person.birth_date,
                email=one.person.email,
                phone=one.person.phone,
                status=one.status,
            )
            for one in found
        ]
        # Each record that was shown is a read of that record.
        audit = [AuditEntry(by, "patient.matched", f"patient/{one.id}", patient=str(one.id)) for one in found]
        return Changes(audit=audit, reply=reply(MatchList(matches=shown)))

    return decide


def _register(asked: Asked[RegisterBody]) -> Decide:
    body, by = asked.body, asked.principal.person

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        wanted = Patient(uuid_utils.compat.uuid7(), _person(body), body.zone, body.language, body.region)
        return _shown(await commands.register(wanted, body.enquiry, body.distinct_from, by, read, context), 201)

    return decide


def _get(asked: Asked[Any, PatientPath]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        known = await store.patient(read, asked.path.patient)
        return Found(_show(known)) if known else Rejected("not-found", status=404)

    return find


def _shown(decided: commands.Written, status: int = 200) -> Changes | Rejected:
    """A patient's edit, with the patient as it stands after it as the answer."""
    if isinstance(decided, Rejected):
        return decided
    changes, patient = decided
    return replace(changes, reply=reply(_show(patient), status))


def _edit(asked: Asked[PatientBody, PatientPath]) -> Decide:
    patient, body = asked.path.patient, asked.body

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        home = (body.zone, body.language, body.region)
        return _shown(await commands.edit_patient(patient, _person(body), home, read, context))

    return decide


def _set_care_team(asked: Asked[CareTeamBody, PatientPath]) -> Decide:
    patient, team = asked.path.patient, [Member(one.staff, one.role) for one in asked.body.care_team]

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        return _shown(await commands.set_care_team(patient, team, read, context))

    return decide


def _set_account(asked: Asked[AccountBody, PatientPath]) -> Decide:
    patient, account = asked.path.patient, asked.body.account

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        return _shown(await commands.set_account(patient, account, read, context))

    return decide


def _merge(asked: Asked[MergeBody, PatientPath]) -> Decide:
    survivor, body, by = asked.path.patient, asked.body, asked.principal.person

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        return _shown(await commands.merge(survivor, body.duplicate, by, body.reason, read, context))

    return decide


def _unmerge(asked: Asked[ReasonBody, MergePath]) -> Decide:
    path, by = asked.path, asked.principal.person

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        return _shown(await commands.unmerge(path.patient, path.duplicate, by, asked.body.reason, read, context))

    return decide


def _set_status(asked: Asked[StatusBody, PatientPath]) -> Decide:
    patient, body, by = asked.path.patient, asked.body, asked.principal.person

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        return _shown(await commands.set_status(patient, body.status, body.since, by, body.reason, read, context))

    return decide


def _enter_in_error(asked: Asked[ReasonBody, PatientPath]) -> Decide:
    patient, reason, by = asked.path.patient, asked.body.reason, asked.principal.person

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        return _shown(await commands.enter_in_error(patient, by, reason, read, context))

    return decide


# --- the table -----------------------------------------------------------------------------------------------------------

_SOMEBODY = {
    "given_name": "Ada",
    "family_name": "Lopez",
    "birth_date": "1983-06-09",
    "email": "family@example.org",
    "phone": "+12125550123",
}
_HOME = {"zone": "America/New_York", "language": "en-US", "region": "US-NY"}
_ID = "018f0000-0000-7000-8000-000000000001"

# --- names for ids -------------------------------------------------------------------------------------------------------


class NamesBody(Request):
    """Whose names."""

    patients: Annotated[tuple[Id, ...], Field(min_length=1, max_length=200, strict=False)]


class NameShown(Response):
    """The two identifiers by which a person is told from another."""

    patient: Id
    given_name: str
    family_name: str
    birth_date: Date


class NameList(Response):
    """Of those patients whom the asker treats, or may see because they are on duty; the others are left out."""

    names: list[NameShown]


def _names(asked: Asked[NamesBody]) -> Decide:
    async def decide(read: Reader, context: Context) -> Changes:
        visible = await policy.visible(read, asked.principal, frozenset(asked.body.patients), context)
        found = await store.patients(read, visible)
        shown = [
            NameShown(
                patient=patient,
                given_name=one.person.given_name,
                family_name=one.person.family_name,
                birth_date=one.person.birth_date,
            )
            for patient, one in sorted(found.items())
        ]
        return Changes(reply=reply(NameList(names=shown)), shown=[str(one.patient) for one in shown])

    return decide


ROUTES = (
    Route(
        name="enquire",
        method="POST",
        path_template="/enquiries",
        summary="Ask to become a patient; no health details here",
        policy=Public(count=10, per_s=60),
        audit="enquiry.receive",
        request=EnquiryBody,
        response=EnquiryTaken,
        status=201,
        command=_enquire,
        idempotency=KEY_REQUIRED,
        examples=(
            Example(
                {
                    "name": "Ada Lopez",
                    "email": "family@example.org",
                    "language": "en-US",
                    "zone": "America/New_York",
                    "therapy": "ketamine",
                }
            ),
        ),
    ),
    Route(
        name="list_enquiries",
        method="GET",
        path_template="/enquiries",
        summary="Enquiries that wait for an answer, oldest first",
        policy=_DESK,
        audit="enquiries.list",
        query_model=Page,
        response=EnquiryList,
        query=_list_enquiries,
    ),
    Route(
        name="link_enquiry",
        method="POST",
        path_template="/enquiries/{enquiry}/link",
        summary="Say that an enquiry is of a patient whom the clinic knows",
        policy=_DESK,
        audit="enquiry.link",
        request=LinkBody,
        path=EnquiryPath,
        response=EnquiryHandled,
        command=_link,
        idempotency=KEY_REQUIRED,
        errors=(_ENQUIRY_CLOSED, _PATIENT_UNKNOWN),
        examples=(Example({"patient": _ID, "reason": "Called back; birth date and phone agree"}),),
    ),
    Route(
        name="close_enquiry",
        method="POST",
        path_template="/enquiries/{enquiry}/closure",
        summary="Say that nothing comes of an enquiry",
        policy=_DESK,
        audit="enquiry.close",
        request=CloseBody,
        path=EnquiryPath,
        response=EnquiryHandled,
        command=_close,
        idempotency=KEY_REQUIRED,
        errors=(_ENQUIRY_CLOSED,),
        examples=(Example({"reason": "unreachable"}),),
    ),
    Route(
        name="match_patients",
        method="POST",
        path_template="/patients/matches",
        summary="Known patients who may be this person",
        policy=_DESK,
        audit="patients.match",
        request=PersonBody,
        response=MatchList,
        command=_match,
        idempotency=NaturalKey(of="nothing: only the reads are written down"),
        examples=(Example(_SOMEBODY),),
    ),
    Route(
        name="register_patient",
        method="POST",
        path_template="/patients",
        summary="Make somebody a patient; whoever may be the same person has to be ruled out first",
        policy=_DESK,
        audit="patient.register",
        request=RegisterBody,
        response=PatientShown,
        status=201,
        location="/patients/{patient}",
        command=_register,
        idempotency=KEY_REQUIRED,
        errors=(_POSSIBLE, _ENQUIRY_CLOSED),
        examples=(Example({**_SOMEBODY, **_HOME}),),
    ),
    Route(
        name="show_patient",
        method="GET",
        path_template="/patients/{patient}",
        summary="A patient",
        policy=Bearer(STAFF | {Role.PATIENT, Role.AUDITOR}, policy.own_or_care_team),
        audit="patient.read",
        path=PatientPath,
        response=PatientShown,
        query=_get,
    ),
    Route(
        name="edit_patient",
        method="PUT",
        path_template="/patients/{patient}",
        summary="Correct or change who somebody is, and where they live",
        policy=TREATS,
        audit="patient.edit",
        request=PatientBody,
        path=PatientPath,
        response=PatientShown,
        command=_edit,
        edits=_version,
        errors=(_NOT_IN_USE,),
        examples=(Example({**_SOMEBODY, **_HOME}),),
    ),
    Route(
        name="set_care_team",
        method="PUT",
        path_template="/patients/{patient}/care-team",
        summary="Say who treats a patient",
        policy=TREATS,
        audit="care-team.set",
        request=CareTeamBody,
        path=PatientPath,
        response=PatientShown,
        command=_set_care_team,
        edits=_version,
        errors=(_NOT_IN_USE, _STAFF_UNKNOWN, _ROLE_NOT_HELD),
        examples=(Example({"care_team": [{"staff": "018f0000-0000-7000-8000-0000000000b1", "role": "nurse"}]}),),
    ),
    Route(
        name="set_account",
        method="PUT",
        path_template="/patients/{patient}/account",
        summary="Say who signs in as this patient",
        policy=_KEEPS,
        audit="account.set",
        request=AccountBody,
        path=PatientPath,
        response=PatientShown,
        command=_set_account,
        edits=_version,
        errors=(_NOT_IN_USE, _ACCOUNT_TAKEN),
        examples=(Example({"account": "018f0000-0000-7000-8000-000000000101"}),),
    ),
    Route(
        name="merge_patients",
        method="POST",
        path_template="/patients/{patient}/merges",
        summary="Say that another record is of this patient too; it is no longer used",
        policy=_KEEPS,
        audit="patient.merge",
        request=MergeBody,
        path=PatientPath,
        response=PatientShown,
        command=_merge,
        idempotency=KEY_REQUIRED,
        errors=(_PATIENT_UNKNOWN, _NOT_MERGEABLE),
        examples=(Example({"duplicate": _ID, "reason": "Same person, registered twice on the phone"}),),
    ),
    Route(
        name="unmerge_patients",
        method="POST",
        path_template="/patients/{patient}/merges/{duplicate}/undoing",
        summary="Say that a merge was wrong: they are two persons",
        policy=_KEEPS,
        audit="patient.unmerge",
        request=ReasonBody,
        path=MergePath,
        response=PatientShown,
        command=_unmerge,
        idempotency=KEY_REQUIRED,
        errors=(_NOT_MERGED,),
        examples=(Example({"reason": "Mother and daughter of the same name"}),),
    ),
    Route(
        name="set_status",
        method="POST",
        path_template="/patients/{patient}/status",
        summary="Say that a patient is not treated here any more, or has died: what was planned is withdrawn everywhere",
        policy=TREATS,
        audit="patient.set-status",
        request=StatusBody,
        path=PatientPath,
        response=PatientShown,
        command=_set_status,
        idempotency=KEY_REQUIRED,
        errors=(_NOT_IN_USE, _UNCHANGED, _FUTURE),
        examples=(Example({"status": "deceased", "reason": "The hospital called"}),),
    ),
    Route(
        name="enter_in_error",
        method="POST",
        path_template="/patients/{patient}/entered-in-error",
        summary="Say that a record should never have been made; it stays and is no longer used",
        policy=_KEEPS,
        audit="patient.enter-in-error",
        request=ReasonBody,
        path=PatientPath,
        response=PatientShown,
        command=_enter_in_error,
        idempotency=KEY_REQUIRED,
        errors=(_NOT_IN_USE,),
        examples=(Example({"reason": "Registered for a training"}),),
    ),
    Route(
        name="show_names",
        method="POST",
        path_template="/patients/names",
        summary="Names and birth dates for the ids that a page has: asked in a body, so that no URL holds them",
        policy=Bearer(STAFF, policy.checked_patient_by_patient),
        audit="patients.names",
        request=NamesBody,
        response=NameList,
        command=_names,
        idempotency=NaturalKey(of="nothing: it only reads"),
        examples=(Example({"patients": [_ID]}),),
    ),
)
