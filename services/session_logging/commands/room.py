"""What all use cases of the room share: reading what is known, and writing an entry with every alert that follows from it."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import uuid_utils.compat

from schemas.values import Moment, zone_of
from services.directory import store as directory
from services.directory.domain import Shift, duty_until, lacks_to_prescribe
from services.directory.facts import Facts
from services.runtime.database import Reader
from services.runtime.messaging.changes import (
    CancelTimers,
    Changes,
    Context,
    NewEvent,
    RaisePage,
    Rejected,
    RezoneTimers,
    RowChange,
    SetTimer,
)
from services.runtime.messaging.ladders import Ladder, Rung
from services.screening import store as screening
from services.session_logging import events
from services.session_logging.domain.alarms import Raised, Sample, Watched, continued, raised_id, resolutions, watch
from services.session_logging.domain.gates import Answer, Known, prescriber_named
from services.session_logging.domain.sessions import AFTER, RUNNING, Entry, Review, Session, SessionState
from services.session_logging.store import sessions as store
from services.session_logging.store import watch as alarms
from services.therapies import evidence
from services.therapies.evidence import Thresholds
from services.therapies.instruments import RiskLevel, score
from services.therapies.ketamine.alerts import Alert, AlertState, Tier
from services.therapies.ketamine.gates import FACT_OWNERS
from services.therapies.regulatory import consent_text
from services.therapies.rulebook import Rulebook

__all__ = [
    "ADVERSE_EVENT",
    "ALERT_DUE",
    "AMBER_UNCHECKED",
    "LATE_DANGER",
    "LEFT",
    "PAUSE_UNRECORDED",
    "RECORD_DUE",
    "RED",
    "RED_PRESCRIBER",
    "RESPONSIBLE",
    "SHIFT_OVER",
    "STOP",
    "STOPPED",
    "STOP_PRESCRIBER",
    "SYSTEM",
    "TOO_MANY",
    "TRANSFERRED",
    "UNACCOUNTED",
    "UNBOUND",
    "VITALS_DUE",
    "WATCH",
    "Log",
    "Room",
    "entry",
    "fresh_or_rejected",
    "in_order_or_rejected",
    "ladders",
    "look_at",
    "page_key",
    "page_keys",
    "stop_pages",
    "written",
]

RED = "session.alert-red"
"""Page to nurses: a RED alert that no nurse has acknowledged."""
RED_PRESCRIBER = "session.alert-red-prescriber"
"""Page to the prescriber: a RED alert that no prescriber has answered."""
STOP = "session.alert-stop"
"""Page to nurses and the clinic: a STOP alert that no nurse has acknowledged."""
STOP_PRESCRIBER = "session.alert-stop-prescriber"
"""Page to the prescriber: a STOP alert that no prescriber has answered."""
PAUSE_UNRECORDED = "session.pause-unrecorded"
"""Page: a RED alert, and no pause of the pump is recorded."""
AMBER_UNCHECKED = "session.amber-unchecked"
"""Page: an AMBER alert, and nobody has measured again."""
LEFT = "session.left-without-discharge"
"""Page: a patient has left without being discharged."""
RECORD_DUE = "session.record-due"
"""Timer and page: the record of a session is due, and nobody has signed it."""
LATE_DANGER = "session.late-danger"
"""Page: after a session it became known that a value in it was RED or STOP."""
UNBOUND = "session.monitor-unbound"
"""Page: a monitor sends for a session that it is not bound to."""
UNACCOUNTED = "session.drug-unaccounted"
"""Page: a session is over, and not all of its controlled drug is accounted for."""
TOO_MANY = "session.nurse-overloaded"
"""Page: a nurse has taken over more patients than one may have."""
ADVERSE_EVENT = "session.adverse-event"
"""Page: an adverse event is serious or grave."""
TRANSFERRED = "session.transferred"
"""Page: a patient was taken to an emergency department."""
VITALS_DUE = "session.vitals-due"
"""Timer: the next set of vitals is due now. Nobody is paged; what is overdue is an alert."""
WATCH = "session.watch"
"""Timer: silence would raise an alert now."""
STOPPED = "session.stopped"
"""Timer: a STOP was written; what follows from it is told."""
ALERT_DUE = "session.alert-due"
"""Timer: what an alert asks for should have been done by now."""
SHIFT_OVER = "session.shift-over"
"""Timer: whether the nurse who is responsible is still on duty is looked up in the roster."""
RESPONSIBLE = "responsible-nurse"
"""Who is called first for what a nurse is to do: whoever is responsible for the session when the call goes out."""
SYSTEM = "session_logging"
"""Who acts where no human does."""


def ladders(rules: Thresholds) -> dict[str, Ladder]:
    """Who is called for which page, after the signed times of ``cadence``."""

    def ladder(name: str, roles: Mapping[str, str]) -> Ladder:
        signed = rules.under(f"ladder.{name}")
        rungs = [Rung(signed[who].elapsed, role) for who, role in roles.items()]
        return Ladder(tuple(sorted(rungs, key=lambda rung: rung.after)))

    def at_once(role: str) -> Ladder:
        return Ladder((Rung(dt.timedelta(0), role),))

    overdue = "prescriber at the bedside is overdue"
    return {
        RED: ladder(
            "red",
            {"nurse": RESPONSIBLE, "nurse again": RESPONSIBLE, "second person": "nurse", "clinic-wide": "clinic"},
        ),
        RED_PRESCRIBER: ladder("red prescriber", {"prescriber": "prescriber", overdue: "clinic"}),
        STOP: ladder(
            "stop",
            {
                "nurse": "nurse",
                "clinic-wide": "clinic",
                "nurse again": "nurse",
                "second person": "nurse",
                "clinic-wide again": "clinic",
            },
        ),
        STOP_PRESCRIBER: ladder(
            "stop prescriber",
            {
                "prescriber": "prescriber",
                "prescriber again": "prescriber",
                "prescriber a third time": "prescriber",
                overdue: "clinic",
            },
        ),
        # Their waits are timers, so that what was done meanwhile keeps the page from being raised.
        PAUSE_UNRECORDED: at_once(RESPONSIBLE),
        AMBER_UNCHECKED: at_once("nurse"),
        TOO_MANY: at_once("prescriber"),
        ADVERSE_EVENT: at_once("prescriber"),
        TRANSFERRED: at_once("prescriber"),
        UNBOUND: at_once(RESPONSIBLE),
        LATE_DANGER: at_once("prescriber"),
        RECORD_DUE: Ladder((Rung(dt.timedelta(0), "prescriber"), Rung(dt.timedelta(days=1), "clinic"))),
        UNACCOUNTED: at_once("prescriber"),
        LEFT: ladder("left without discharge", {"prescriber": "prescriber", "welfare call": "nurse"}),
    }


@dataclass(frozen=True, slots=True)
class Log:
    """A session with everything that was recorded in it.

    Attributes:
        head: where the log stood when it was read.
        samples: all of them; those behind ``folded`` where there is one.
        folded: where the fold of the log stands, if it can go on from there.
        watched_at: when silence is looked for next; None if that is not known.
    """

    session: Session
    head: int = 0
    entries: Sequence[Entry] = ()
    samples: Sequence[Sample] = ()
    alerts: Sequence[Raised] = ()
    review: Review | None = None
    next_start: dt.datetime | None = None
    folded: AlertState | None = None
    watched_at: dt.datetime | None = None

    @staticmethod
    async def load(read: Reader, session: Session) -> "Log":
        """All of one session."""
        log, _ = await Log.said(read, session)
        return replace(log, samples=await alarms.samples(read, session.id)) if session.started_at else log

    @staticmethod
    async def said(read: Reader, session: Session) -> "tuple[Log, Mapping[str, Any] | None]":
        """One session without its samples, and the fold that is kept of all of it, if one is."""
        head = await alarms.head(read, session.id)
        entries, raised = await store.entries(read, session.id), await alarms.alerts(read, session.id)
        watched_at = dt.datetime.fromisoformat(at) if (at := (head.stands or {}).get("watched_at")) else None
        log = Log(session, head.version, entries, (), raised, head.review, head.next_start, watched_at=watched_at)
        return log, head.stands

    @property
    def resolved(self) -> list[tuple[Raised, str]]:
        """See ``resolutions``."""
        return resolutions(self.alerts)


def entry(kind: str, by: str, context: Context, at: dt.datetime | None = None, data: Mapping[str, Any] | None = None) -> Entry:
    """Something that is recorded now, and was true at ``at``."""
    return Entry(uuid_utils.compat.uuid7(), kind, at or context.now, context.now, by, data or {})


def look_at(kind: str, log: Log, at: dt.datetime, *, recorded: bool) -> SetTimer:
    """A look at a session at an instant. One that was cancelled is never set again under its key, so whoever has ``recorded``
    something, and cancels what others have set before, names the log as it is then.
    """
    version = log.head + 1 if recorded else log.head
    return SetTimer(kind, f"{kind}:{log.session.id}:log-{version}:{at.isoformat()}", str(log.session.id), at)


def page_key(alert: UUID | str, what: str) -> str:
    """Key of a page of an alert: it is raised once, whoever raises it."""
    return f"alert:{alert}:{what}"


def page_keys(alert: Raised, *roles: str) -> list[str]:
    """Keys of an alert's pages: those of a role's ladder."""
    keys = {"nurse": ("nurse", "pause", "amber", "stop"), "prescriber": ("prescriber", "late", "stop-prescriber")}
    return [page_key(alert.id, what) for role in roles for what in keys[role]]


def stop_pages(alert: UUID) -> list[RaisePage]:
    """Pages of a STOP alert: nurse, prescriber and clinic at once, on two ladders (decision A2)."""
    return [
        RaisePage(STOP, page_key(alert, "stop"), str(alert)),
        RaisePage(STOP_PRESCRIBER, page_key(alert, "stop-prescriber"), str(alert)),
    ]


def fresh_or_rejected(at: dt.datetime | None, session: Session, context: Context) -> Rejected | None:
    """Why something cannot have been true then: it has not happened yet, or the patient was not here."""
    if at is not None and at > context.now:
        return Rejected("in-the-future", final=False)
    if at is not None and session.checked_in_at is not None and at < session.checked_in_at:
        return Rejected("before-check-in", final=False)
    return None


def in_order_or_rejected(at: dt.datetime | None, session: Session, context: Context) -> Rejected | None:
    """Why a session cannot have moved then: as above, or it did not stand where it stands yet."""
    if refused := fresh_or_rejected(at, session, context):
        return refused
    if at is not None and session.moved_at is not None and at < session.moved_at:
        return Rejected("out-of-order", final=False)
    return None


def written(before: Session, after: Session, by: str, context: Context) -> list[RowChange]:
    """The session's row; and if it stands elsewhere now, who moved it, since when that is true and when it was recorded."""
    if after.state is before.state:
        return [store.session_row(after)]
    moved = store.append(
        "move",
        id=uuid_utils.compat.uuid7(),
        session=after.id,
        from_state=before.state.value,
        to_state=after.state.value,
        ending=after.ending,
        at=after.moved_at,
        recorded_at=context.now,
        by_person=by,
    )
    return [store.session_row(after), moved]


@dataclass(frozen=True, slots=True)
class Room:
    """The signed rules, and how current the facts of others are.

    Attributes:
        facts: of this service's subscription to them.
    """

    rulebook: Rulebook
    facts: Facts

    def rules(self, name: str, zone: str, context: Context) -> Thresholds:
        """A revision that is in force on the session's local day."""
        return self.rulebook.on(name, context.now.astimezone(zone_of(zone)).date())

    def pinned(self, session: Session, context: Context) -> Thresholds:
        """The therapy's rules for a session: the revision that was in force when the patient was checked in (decision A28)."""
        return self._in_force(session, session.checked_in_at or context.now)

    def _in_force(self, session: Session, at: dt.datetime) -> Thresholds:
        return self.rulebook.on("ketamine", at.astimezone(zone_of(session.zone)).date())

    async def log(self, read: Reader, session: Session, new: Sequence[Entry] = (), samples: Sequence[Sample] = ()) -> Log:
        """The log of a session, as far as it takes to record something: what continues the fold that is kept beside it needs
        no sample from before.
        """
        log, stands = await Log.said(read, session)
        if session.started_at is None:
            return log
        if stands is not None:
            ahead = []
            if stands["ahead"]:
                ahead = await alarms.samples_since(read, session.id, dt.datetime.fromisoformat(stands["fold"]["clock"]))
            rules = self._in_force(session, session.checked_in_at or session.started_at)
            folded = continued(session, [*log.entries, *new], [*ahead, *samples], log.resolved, stands, rules)
            if folded is not None:
                return replace(log, samples=ahead, folded=folded)
        return replace(log, samples=await alarms.samples(read, session.id))

    def pressure_due(self, log: Log, context: Context) -> dt.datetime | None:
        """When the next set of vitals is due, with a pressure in it; None before the infusion, and when the session is over."""
        rules = self.pinned(log.session, context)
        found = watch(log.session, log.entries, log.samples, log.resolved, context.now, rules, log.folded)
        assert isinstance(found, Watched)  # noqa: S101 - nothing new that could be refused
        return found.pressure_due

    def roster_due(self, session: Session, shifts: Iterable[Shift], context: Context) -> SetTimer | None:
        """The next look at the roster: when the shift of the nurse who is responsible ends, and meanwhile as often as the
        pressure is due, for rosters change. None if nobody is responsible, or not on duty by the roster.
        """
        until = duty_until(shifts, context.now)
        if until is None or session.nurse is None:
            return None
        at = min(until, context.now + self.pinned(session, context)["cadence.bp.infusion"].elapsed)
        key = f"{SHIFT_OVER}:{session.id}:{session.nurse}:{at.isoformat()}"
        return SetTimer(SHIFT_OVER, key, str(session.id), at, {"nurse": str(session.nurse)})

    async def on_roster(self, session: Session, read: Reader, context: Context) -> list[SetTimer]:
        """What somebody who becomes responsible for a patient under way brings with them: see ``roster_due``."""
        if session.nurse is None or session.state not in RUNNING | AFTER:
            return []
        due = self.roster_due(session, await directory.shifts(read, "nurse", session.nurse), context)
        return [due] if due else []

    async def logs(self, read: Reader, ids: Collection[UUID]) -> Mapping[UUID, Log]:
        """Many sessions with everything that was recorded in them; one after the other, for each is large."""
        return {session.id: await self.log(read, session) for session in (await store.sessions(read, ids)).values()}

    def scored(
        self, values: Mapping[str, Any], at: dt.datetime, session: Session, context: Context
    ) -> dict[str, Any] | evidence.Rejected:
        """A typed set with its answers about dissociation scored."""
        answers = values.get("cadss6_answers")
        if not answers:
            return dict(values)
        found = score("cadss6", answers, at, self.rules("instruments", session.zone, context))
        if isinstance(found, evidence.Rejected):
            return found
        assert found.result is not None  # noqa: S101 - a score is always given
        return {**values, "cadss6": found.result.total, "cadss6_answers": list(answers)}

    def moment(self, session: Session, context: Context) -> Moment:
        """Now, as the clinic reads the clock."""
        return Moment(context.now, session.zone)

    async def known(self, session: Session, entries: Sequence[Entry], read: Reader, context: Context) -> Known:
        """Everything that gates look at."""
        own = await screening.risk(read, session.patient)
        nurse_infusing = nurse_total = None
        if session.nurse is not None:
            infusing, total = await store.nurse_load(read, session.nurse, session.id)
            nurse_infusing, nurse_total = infusing + 1, total + 1
        alerts = await alarms.alerts(read, session.id)
        text = consent_text(session.therapy, self.rules("regulatory", session.zone, context))
        return Known(
            entries=entries,
            case=await store.case_facts(read, session.case),
            plan_active=await store.plan_status(read, session.plan) == "active",
            consent_text=text,
            risks=await self._risks(session, read, context),
            screened=(own.level, own.assessed_at) if own else None,
            facts_as_of=await self.facts.as_of(read, FACT_OWNERS, session.patient, context),
            starts=await store.infusions(read, session.patient, session.id),
            last_weight=await store.last_weight(read, session.patient, session.id),
            nurse_infusing=nurse_infusing,
            nurse_total=nurse_total,
            prescriber=await self._on_site(session, entries, read, context),
            review_open=await store.open_review(read, session.patient, session.id) is not None,
            other_open=await store.open_others(read, session.patient, session.id),
            reds=any(one.grave for one in alerts),
            open_alerts=[(one.tier, one.prescriber_at is not None) for one in alerts if one.status == "open"],
        )

    async def _risks(self, session: Session, read: Reader, context: Context) -> list[Answer]:
        """What answers have come to anywhere, as far as it may be of today; the newest one here is ``Known.screened``."""
        since = context.now - dt.timedelta(days=2)
        own = [Answer(*one) for one in await screening.levels(read, session.patient, since)]
        return own + [Answer(RiskLevel(level), *when) for level, *when in await store.risks(read, session.patient, since)]

    async def _on_site(self, session: Session, entries: Sequence[Entry], read: Reader, context: Context) -> bool | None:
        """Whether the prescriber who was named as on site may prescribe for this patient; None while nobody was named."""
        named = prescriber_named(entries)
        if named is None:
            return None
        patient = await directory.patient(read, session.patient)
        return patient is not None and not lacks_to_prescribe(await directory.staff(read, named), patient.region, context.now)

    def logged(
        self, log: Log, session: Session, new: Sequence[Entry], context: Context, samples: Sequence[Sample] = ()
    ) -> Changes | evidence.Rejected:
        """What is written when something is recorded: the entries, the session as it stands then, every alert that follows.

        Args:
            log: of the session as it was read.
            session: as it stands with these entries; the same object if it stands as before.
            new: entries.
            context: of the command.
            samples: new ones.

        Returns:
            Rejected if an entry cannot be: impossible values, a time that is not of this session.
        """
        rules = self.pinned(session, context)
        all_said, all_samples = [*log.entries, *new], [*log.samples, *samples]
        found = watch(session, all_said, all_samples, log.resolved, context.now, rules, log.folded)
        if isinstance(found, evidence.Rejected):
            return found
        rows: list[RowChange] = []
        timers: list[SetTimer | CancelTimers | RezoneTimers] = []
        # A look at silence that is early finds none and sets the next one: a batch need not move it.
        waits = found.silent_at is not None and log.watched_at is not None and context.now < log.watched_at <= found.silent_at
        left = bool(samples) and not new and waits
        if new or samples:
            watched_at = log.watched_at if left else found.silent_at
            stands = found.kept and {**found.kept, "watched_at": watched_at and watched_at.isoformat()}
            # Of two who record at once, one has to look at what the other has recorded.
            rows.append(store.head_row(session.id, log.head, stands))
            if not left:
                timers.append(CancelTimers(str(session.id), (WATCH, VITALS_DUE) if new else (WATCH,)))
        if session is not log.session:
            rows += written(log.session, session, new[0].by, context)
        rows += [store.entry_row(session.id, one) for one in new] + [alarms.sample_row(session.id, one) for one in samples]
        known = {one.key for one in log.alerts}
        raised = [_raised(alert, session) for alert in found.alerts if alert.id not in known]
        changes = self._alarmed(raised, log, session, context)
        timers += changes.timers
        if found.silent_at is not None and not left:
            timers.append(look_at(WATCH, log, found.silent_at, recorded=bool(new or samples)))
        if new and found.pressure_due is not None:
            timers.append(look_at(VITALS_DUE, log, found.pressure_due, recorded=True))
        return replace(changes, rows=[*rows, *changes.rows], timers=timers, patient=str(session.patient))

    def _alarmed(self, raised: Sequence[Raised], log: Log, session: Session, context: Context) -> Changes:
        signed = self.rules("cadence", session.zone, context)
        rules = self.pinned(session, context)
        made = _Alarms(session, log.review, signed)
        for alert in raised:
            made.add(alert, context)
        if any(alert.grave for alert in raised) and log.review is None:
            due = log.next_start or context.now + rules["check.after_discharge"].elapsed
            made.review("alert-red", due, context)
        return made.changes()


@dataclass(slots=True)
class _Alarms:
    """Collects what alerts write: rows, events, pages, timers."""

    session: Session
    known_review: Review | None
    signed: Thresholds
    rows: list[RowChange] = field(default_factory=list)
    events: list[NewEvent] = field(default_factory=list)
    pages: list[RaisePage] = field(default_factory=list)
    timers: list[SetTimer] = field(default_factory=list)

    def add(self, alert: Raised, context: Context) -> None:
        subject = str(alert.id)
        due: dt.datetime | None = None
        self.rows.append(alarms.alert_row(alert))
        if self.session.state is SessionState.CLOSED:
            # Nobody is in the chair any more: it is the prescriber's to look at (decision A13).
            if alert.grave:
                self.pages.append(RaisePage(LATE_DANGER, page_key(alert.id, "late"), subject))
        elif alert.tier == Tier.AMBER.name:
            # What is long past is shown, and nobody is called for it (decision B1).
            if not alert.late:
                wait = self.signed["ladder.amber.second nurse, recheck missing"].elapsed
                self._due(alert, "amber", context.now + wait)
        elif alert.tier == Tier.RED.name:
            due = context.now + self.signed["ladder.red.nurse again"].elapsed
            self.pages += [
                RaisePage(RED, page_key(alert.id, "nurse"), subject),
                RaisePage(RED_PRESCRIBER, page_key(alert.id, "prescriber"), subject),
            ]
            self._due(alert, "pause", context.now + self.signed["ladder.red pause.nurse, pause not recorded"].elapsed)
        else:
            due = context.now
            self.pages += stop_pages(alert.id)
        self.events.append(events.alert_raised(alert, due))

    def review(self, cause: str, due: dt.datetime, context: Context) -> None:
        opened = Review(uuid_utils.compat.uuid7(), self.session.patient, self.session.id, cause, context.now)
        self.rows.append(store.review_row(opened))
        self.events.append(events.review_opened(opened, due))

    def changes(self) -> Changes:
        return Changes(rows=self.rows, events=self.events, pages=self.pages, timers=self.timers)

    def _due(self, alert: Raised, what: str, at: dt.datetime) -> None:
        self.timers.append(SetTimer(ALERT_DUE, f"{ALERT_DUE}:{alert.id}:{what}", str(alert.id), at, {"what": what}))


def _raised(alert: Alert, session: Session) -> Raised:
    return Raised(
        raised_id(session.id, alert.id),
        session.id,
        session.patient,
        alert.id,
        alert.family,
        alert.tier.name,
        alert.rule,
        alert.value,
        alert.at,
        alert.raised_at,
        alert.late,
        alert.verify,
    )
