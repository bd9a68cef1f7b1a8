"""Use cases of enquiries and people, one function each: read, decide, answer with what to write."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import uuid_utils.compat

from services.consultation import events
from services.consultation.domain.people import (
    ANSWERED_WITHIN,
    NOT_IN_USE,
    Enquiry,
    Member,
    Patient,
    Person,
    may_be_merged,
    merged,
    unresolved,
)
from services.consultation.store import people as store
from services.directory import store as directory
from services.directory.subscriptions import patient_row
from services.runtime.database import Reader
from services.runtime.messaging.changes import Changes, Context, NewEvent, Rejected, RowChange, SetTimer

__all__ = [
    "ENQUIRY_DUE",
    "ENQUIRY_WAITS",
    "Written",
    "close_enquiry",
    "edit_patient",
    "enquire",
    "enter_in_error",
    "link_enquiry",
    "merge",
    "register",
    "set_account",
    "set_care_team",
    "set_status",
    "unmerge",
]

ENQUIRY_DUE = "consultation.enquiry-due"
"""Timer: an enquiry should have been answered by now."""
ENQUIRY_WAITS = "consultation.enquiry-waits"
"""Page: nobody has answered an enquiry within a business day."""

Written = tuple[Changes, Patient] | Rejected
"""What an edit of a patient writes, and the patient after it."""

_AT_THE_LATEST = dt.timedelta(days=4)
"""A business day over the longest weekend with a holiday."""


async def enquire(wanted: Enquiry, read: Reader, _: Context) -> Changes:
    """Somebody asks; staff have a business day to answer."""
    hours = await directory.opening_hours(read)
    latest = wanted.received_at + _AT_THE_LATEST
    due = hours.due(wanted.received_at, ANSWERED_WITHIN, latest) if hours else latest
    timer = SetTimer(ENQUIRY_DUE, f"{ENQUIRY_DUE}:{wanted.id}", str(wanted.id), due)
    return Changes(rows=[store.enquiry_row(wanted)], timers=[timer])


async def link_enquiry(
    enquiry_id: UUID, patient_id: UUID, by: str, reason: str, read: Reader, context: Context
) -> Changes | Rejected:
    """Staff have found that an enquiry is of a patient whom the clinic knows."""
    enquiry, patient = await store.enquiry(read, enquiry_id), await store.patient(read, patient_id)
    if enquiry is None:
        return Rejected("not-found", status=404)
    if enquiry.status != "open":
        return Rejected("enquiry-closed")
    if patient is None or patient.status in NOT_IN_USE:
        return Rejected("patient-unknown")
    linked = replace(enquiry, status="linked", patient=patient.id, handled_by=by)
    said = _said("linked", patient.id, enquiry.id, by, reason, context)
    return Changes(rows=[store.enquiry_row(linked), said], patient=str(patient.id))


async def close_enquiry(enquiry_id: UUID, reason: str, by: str, read: Reader, _: Context) -> Changes | Rejected:
    """Nothing comes of an enquiry."""
    enquiry = await store.enquiry(read, enquiry_id)
    if enquiry is None:
        return Rejected("not-found", status=404)
    if enquiry.status != "open":
        return Rejected("enquiry-closed")
    return Changes(rows=[store.enquiry_row(replace(enquiry, status="closed", closed_for=reason, handled_by=by))])


async def register(
    wanted: Patient, enquiry_id: UUID | None, distinct: Sequence[UUID], by: str, read: Reader, context: Context
) -> Written:
    """Staff make somebody a patient. Anybody who may be the same person has to be looked at first.

    Args:
        enquiry_id: where it began; it is linked with the same commit.
        distinct: patients of whom staff say that they are somebody else.
    """
    if unresolved(wanted.person, await store.like(read, wanted.person), distinct):
        return Rejected("possible-duplicate", final=False)
    rows: list[RowChange] = [await store.person_key_row(read, wanted.person)]
    if enquiry_id is not None:
        enquiry = await store.enquiry(read, enquiry_id)
        if enquiry is None or enquiry.status != "open":
            return Rejected("enquiry-closed")
        rows.append(store.enquiry_row(replace(enquiry, status="linked", patient=wanted.id, handled_by=by)))
    rows.append(_said("registered", wanted.id, enquiry_id, by, "", context))
    return _with_patient(wanted, rows)


async def edit_patient(patient_id: UUID, person: Person, home: tuple[str, str, str], read: Reader, context: Context) -> Written:
    """Correct or change who somebody is, and where: ``home`` is zone, language and region."""
    known = await store.patient(read, patient_id)
    if known is None:
        return Rejected("not-found", status=404)
    if known.status in NOT_IN_USE:
        return Rejected("record-not-in-use")
    zone, language, region = home
    edited = replace(known, person=person, zone=zone, language=language, region=region)
    corrected = person.birth_date != known.person.birth_date
    return _with_patient(edited, after=[events.birth_date_corrected(edited, context.now)] if corrected else [])


async def set_care_team(patient_id: UUID, team: Sequence[Member], read: Reader, _: Context) -> Written:
    """Say who treats a patient; only staff who work here, in roles that they have."""
    known = await store.patient(read, patient_id)
    if known is None:
        return Rejected("not-found", status=404)
    if known.status in NOT_IN_USE:
        return Rejected("record-not-in-use")
    for member in team:
        staff = await directory.staff(read, member.staff)
        if staff is None or not staff.active:
            return Rejected("staff-unknown", final=False)
        if member.role not in staff.roles:
            return Rejected("role-not-held", final=False)
    return _with_patient(replace(known, care_team=tuple(team)))


async def set_account(patient_id: UUID, account: UUID | None, read: Reader, _: Context) -> Written:
    """Say who signs in as this patient."""
    known = await store.patient(read, patient_id)
    if known is None:
        return Rejected("not-found", status=404)
    if known.status in NOT_IN_USE:
        return Rejected("record-not-in-use")
    other = await directory.patient_of_account(read, account) if account else None
    if other is not None and other.id != patient_id:
        return Rejected("account-taken")
    return _with_patient(replace(known, account=account))


async def merge(survivor_id: UUID, duplicate_id: UUID, by: str, reason: str, read: Reader, context: Context) -> Written:
    """Two records are of one person: the duplicate is no longer used, and says where it went on."""
    survivor, duplicate = await store.patient(read, survivor_id), await store.patient(read, duplicate_id)
    if survivor is None:
        return Rejected("not-found", status=404)
    if duplicate is None:
        return Rejected("patient-unknown")
    if may_be_merged(survivor, duplicate):
        return Rejected("not-mergeable")
    said = _said("merged", survivor.id, duplicate.id, by, reason, context)
    # The survivor's row is written too: it may not be merged elsewhere at the same moment.
    rows = [store.patient_row(survivor), said]
    return _with_patient(merged(survivor, duplicate), rows, after=[events.patients_merged(survivor, duplicate)])


async def unmerge(survivor_id: UUID, duplicate_id: UUID, by: str, reason: str, read: Reader, context: Context) -> Written:
    """A merge was wrong: the two are two persons again, the duplicate as it was before."""
    duplicate = await store.patient(read, duplicate_id)
    if duplicate is None or duplicate.merged_into != survivor_id:
        return Rejected("not-merged")
    again = replace(duplicate, status=await store.standing(read, duplicate_id), merged_into=None)
    said = _said("unmerged", survivor_id, duplicate_id, by, reason, context)
    return _with_patient(again, [said], after=[events.patients_unmerged(survivor_id, again)])


async def set_status(
    patient_id: UUID, status: str, since: dt.datetime | None, by: str, reason: str, read: Reader, context: Context
) -> Written:
    """Say what a patient is to the clinic: treated here, no longer, or deceased; or that what was said of it was wrong.

    Every service withdraws by the event what it had planned for who is not treated any more (decision B6).

    Args:
        status: one of ``STANDINGS``.
        since: since when it is so; None: since now.
    """
    known = await store.patient(read, patient_id)
    if known is None:
        return Rejected("not-found", status=404)
    if known.status in NOT_IN_USE:
        return Rejected("record-not-in-use")
    if known.status == status:
        return Rejected("status-unchanged")
    if since is not None and since > context.now:
        return Rejected("in-the-future", final=False)
    said = _said(status, known.id, None, by, reason, context, since or context.now)
    return _with_patient(replace(known, status=status), [said])


async def enter_in_error(patient_id: UUID, by: str, reason: str, read: Reader, context: Context) -> Written:
    """A record that should never have been made; it stays, and is no longer used."""
    known = await store.patient(read, patient_id)
    if known is None:
        return Rejected("not-found", status=404)
    if known.status in NOT_IN_USE:
        return Rejected("record-not-in-use")
    said = _said("entered-in-error", known.id, None, by, reason, context)
    return _with_patient(replace(known, status="entered-in-error"), [said])


def _with_patient(
    wanted: Patient, rows: Sequence[RowChange] = (), *, after: Sequence[NewEvent] = ()
) -> tuple[Changes, Patient]:
    """A patient's row, the service's own copy of what others are told, and the event: always together."""
    row = store.patient_row(wanted)
    fact = patient_row(events.patient_data(wanted))
    fact = replace(fact, values={**fact.values, "merged_into": wanted.merged_into})
    changes = Changes(rows=[*rows, row, fact], events=[events.patient_changed(wanted), *after], patient=str(wanted.id))
    return changes, replace(wanted, version=row.version)


def _said(
    kind: str,
    patient: UUID,
    other: UUID | None,
    by: str,
    reason: str,
    context: Context,
    since: dt.datetime | None = None,
) -> RowChange:
    return store.identity_row(
        id=uuid_utils.compat.uuid7(),
        kind=kind,
        patient=patient,
        other=other,
        by_person=by,
        reason=reason,
        at=context.now,
        since=since,
    )
