"""The session monitoring record: everything that was done, measured, raised and signed in a session, as data."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from services.runtime.database import Reader
from services.runtime.edge.fields import Date, Id, Instant, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.route import Asked, Find, Found, Route
from services.runtime.messaging.changes import Context, Rejected
from services.session_logging.commands.record import Record
from services.session_logging.domain.drug import Drawn, Waste
from services.session_logging.domain.sessions import Session, SessionState
from services.session_logging.domain.summary import Spell, Summary, summary
from services.session_logging.domain.totals import Totals, totals
from services.session_logging.http.sessions import READERS, AdverseEventShown, AlertShown, show_adverse_event, show_alert
from services.session_logging.http.shared import SessionPath, SessionShown, of, shown
from services.session_logging.store import aftercare, watch
from services.session_logging.store import sessions as store

__all__ = ["RecordShown", "TotalsShown", "monitoring_record", "routes", "show_totals"]


class EntryShown(Response):
    """Something that was recorded."""

    entry: Id
    kind: str
    at: Instant
    recorded_at: Instant
    by: str
    data: dict[str, Any]


class MoveShown(Response):
    """A move of a session: who, since when it is true, and when it was recorded."""

    from_state: str
    to_state: str
    ending: str | None
    at: Instant
    recorded_at: Instant
    by: str


class GateShown(Response):
    """A gate that was asked, with all of its evidence."""

    evaluation: Id
    gate: str
    outcome: str
    evidence: dict[str, Any]
    evaluated_at: Instant
    asked_by: str


class WastedShown(Response):
    """Drug that was thrown away, before whom; one with an ``error_reason`` counts no longer."""

    volume: str
    method: str | None
    by: str
    at: Instant
    witness: str | None
    witnessed_at: Instant | None
    error_reason: str | None
    error_by: str | None


class DrugShown(Response):
    """What was drawn, and what of it was thrown away before whom."""

    strength: str
    drawn: str
    into_bag: str
    bag: str
    vial: str
    lot: str
    expires: Date
    drawn_by: str
    drawn_at: Instant
    wastes: list[WastedShown]


class TotalsShown(Response):
    """What the infusion has come to, by rate and time and by the pump, in mL, mg and mg/kg. ``pump`` says whether the two
    agree: ``agrees``, ``differs``, or ``unknown`` while the pump was not read. Where they differ a human finds out why.
    """

    by_rate: str
    by_rate_mass: str | None
    pump_volume: str | None
    given: str | None
    given_per_kg: str | None
    pump: str


class SpellShown(Response):
    """Something that set in and went away: whether it did (null: nobody has looked), when, and the worst score."""

    seen: bool | None
    onset: Instant | None
    over: Instant | None
    worst: int | None


class SummaryShown(Response):
    """What a monitoring form asks for: how long, pressures before, after 40 minutes, at the end of the infusion and on leaving,
    the highest one, sedation (MOAA/S), dissociation (CADSS-6), breaths so few that an alert was raised, the lowest saturation,
    whether vital signs were acceptable before and on leaving, which other drugs the patient takes, and when they would have
    been ready but for the minimum time. What was not measured or said is null.
    """

    monitored_minutes: int | None
    before: str | None
    at_end: str | None
    leaving: str | None
    highest: str | None
    sedation: SpellShown
    dissociation: SpellShown
    lowest_spo2: str | None
    at_40: str | None
    first: bool
    breathing: bool | None
    acceptable_before: bool
    acceptable_leaving: bool | None
    ready_at: Instant | None
    concomitant: list[str] | None


class SignatureShown(Response):
    """Who has signed what: the discharge, the record; and the SHA-256 of what they were shown."""

    subject: str
    meaning: str
    signer: str
    licence: str
    signed_at: Instant
    shown: str


class RecordShown(Response):
    """The record of a session: everything that was done, measured, raised and signed in it, and what is missing for its
    signature.
    """

    session: SessionShown
    baseline: dict[str, Any] | None
    totals: TotalsShown | None
    summary: SummaryShown | None
    moves: list[MoveShown]
    entries: list[EntryShown]
    alerts: list[AlertShown]
    gates: list[GateShown]
    adverse_events: list[AdverseEventShown]
    drug: DrugShown | None
    signatures: list[SignatureShown]
    missing: list[str]
    samples: int


def show_totals(found: Totals | None) -> TotalsShown | None:
    """Totals as they are answered."""
    if found is None:
        return None
    return TotalsShown(
        by_rate=found.by_rate,
        by_rate_mass=found.by_rate_mass,
        pump_volume=found.pump_volume,
        given=found.given,
        given_per_kg=found.given_per_kg,
        pump=found.pump,
    )


def _show_summary(found: Summary | None) -> SummaryShown | None:
    if found is None:
        return None

    def spell(one: Spell) -> SpellShown:
        return SpellShown(seen=one.seen, onset=one.onset, over=one.over, worst=one.worst)

    return SummaryShown(
        monitored_minutes=found.monitored // dt.timedelta(minutes=1) if found.monitored is not None else None,
        before=found.before,
        at_end=found.at_end,
        leaving=found.leaving,
        highest=found.highest,
        sedation=spell(found.sedation),
        dissociation=spell(found.dissociation),
        lowest_spo2=found.lowest_spo2,
        at_40=found.at_40,
        first=found.first,
        breathing=found.breathing,
        acceptable_before=found.acceptable_before,
        acceptable_leaving=found.acceptable_leaving,
        ready_at=found.ready_at,
        concomitant=list(found.concomitant) if found.concomitant is not None else None,
    )


def routes(record: Record) -> tuple[Route, ...]:
    """The routes, in the room."""
    return (
        Route(
            name="show_monitoring_record",
            method="GET",
            path_template="/sessions/{session}/monitoring-record",
            summary="The record of a session: all that was done, measured, raised and signed, and what is missing",
            policy=Bearer(READERS, of("session")),
            audit="session.record",
            path=SessionPath,
            response=RecordShown,
            query=_record(record),
        ),
    )


def _record(record: Record) -> Callable[[Asked[Any, SessionPath]], Find]:
    def query(asked: Asked[Any, SessionPath]) -> Find:
        async def find(read: Reader, context: Context) -> Found | Rejected:
            session = await store.session(read, asked.path.session)
            if session is None:
                return Rejected("not-found", status=404)
            return Found(await monitoring_record(record, session, read, context), patient=str(session.patient))

        return find

    return query


async def monitoring_record(record: Record, session: Session, read: Reader, context: Context) -> RecordShown:
    """The record of a session as it stands."""
    drawn = await aftercare.drawn(read, session.id)
    rules = record.aftercare.arrival.room.pinned(session, context)
    entries, samples = await store.entries(read, session.id), await watch.samples(read, session.id)
    alerts = await watch.alerts(read, session.id)
    ran = totals(session, entries, drawn, context.now, rules)
    return RecordShown(
        session=shown(session),
        baseline=dict(session.baseline) if session.baseline else None,
        totals=show_totals(ran),
        summary=_show_summary(summary(session, entries, samples, alerts, rules)),
        moves=[
            MoveShown(
                from_state=row["from_state"],
                to_state=row["to_state"],
                ending=row["ending"],
                at=row["at"],
                recorded_at=row["recorded_at"],
                by=row["by_person"],
            )
            for row in await store.moves(read, session.id)
        ],
        entries=[
            EntryShown(
                entry=one.id,
                kind=one.kind,
                at=one.at,
                recorded_at=one.recorded_at,
                by=one.by,
                data=dict(one.data),
            )
            for one in await store.entries(read, session.id, all_of_them=True)
        ],
        alerts=[show_alert(one) for one in alerts],
        gates=[
            GateShown(
                evaluation=row["id"],
                gate=row["gate"],
                outcome=row["outcome"],
                evidence=row["evidence"],
                evaluated_at=row["evaluated_at"],
                asked_by=row["asked_by"],
            )
            for row in await watch.evaluations(read, session.id)
        ],
        adverse_events=[show_adverse_event(one) for one in await aftercare.adverse_events(read, session.id)],
        drug=_drug(drawn, await aftercare.wastes(read, session.id)),
        signatures=[
            SignatureShown(
                subject=row["subject"].rpartition("/")[2],
                meaning=row["meaning"],
                signer=row["signer"],
                licence=row["licence"],
                signed_at=row["signed_at"],
                shown=row["shown_hash"].hex(),
            )
            for row in await aftercare.signatures(read, session.id)
        ],
        missing=[] if session.state is SessionState.SCHEDULED else list(await record.missing(session, read, context)),
        samples=len(samples),
    )


def _drug(drawn: Drawn | None, wastes: list[Waste]) -> DrugShown | None:
    if drawn is None:
        return None
    return DrugShown(
        strength=drawn.strength,
        drawn=drawn.drawn,
        into_bag=drawn.into_bag,
        bag=drawn.bag,
        vial=drawn.vial,
        lot=drawn.lot,
        expires=drawn.expires,
        drawn_by=drawn.drawn_by,
        drawn_at=drawn.drawn_at,
        wastes=[
            WastedShown(
                volume=one.volume,
                method=one.method,
                by=one.wasted_by,
                at=one.wasted_at,
                witness=one.witness,
                witnessed_at=one.witnessed_at,
                error_reason=one.error_reason,
                error_by=one.error_by,
            )
            for one in wastes
        ],
    )
