"""The session monitoring record on paper (A4): the same as its data, with the vitals drawn."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from schemas.values import Quantity, zone_of
from services.runtime.edge.printed import Element, Printed, el, printed
from services.session_logging.domain.sessions import Kind
from services.session_logging.domain.totals import DIFFERS, UNKNOWN, Span
from services.session_logging.http.monitoring import EntryShown, RecordShown, SpellShown
from services.session_logging.http.plot import STYLE as DRAWING
from services.session_logging.http.plot import Drawn, Mark, vitals_plot

__all__ = ["record_page"]

_STYLE = (
    """
@page{size:A4;margin:14mm 12mm}
body{font:12px/1.35 sans-serif;color:#000;background:#fff;max-width:186mm;margin:0 auto}
h1{font-size:18px;margin:0 0 2mm}h2{font-size:14px;margin:5mm 0 1mm;border-bottom:1px solid #000;break-after:avoid}
table{border-collapse:collapse;width:100%}th,td{border:1px solid #888;padding:1px 4px;text-align:left;vertical-align:top}
th{background:#eee}tr,figure{break-inside:avoid}figure{margin:0}.state{border:2px solid #000;padding:2mm;font-weight:bold}
.wrong{text-decoration:line-through}figcaption,footer{font-size:10px}td{overflow-wrap:anywhere}td:first-child{white-space:nowrap}
"""
    + DRAWING
)
_ACTS = (
    Kind.DRUG,
    Kind.START,
    Kind.RATE,
    Kind.PAUSE,
    Kind.RESUME,
    Kind.END,
    Kind.PUMP_VOLUME,
    Kind.PUMP_CORRECTED,
    Kind.RESCUE,
)
_LETTERS = {
    Kind.START: "start",
    Kind.PAUSE: "pause",
    Kind.RESUME: "resume",
    Kind.END: "end",
    Kind.RESCUE: "drug",
    "AMBER": "A",
    "RED": "R",
    "STOP": "S",
}
_SIGNALS = ("sbp", "dbp", "heart_rate", "resp_rate", "spo2")
_LATE = dt.timedelta(minutes=1)


class _Page:
    """What every part needs: how people, times and values are written."""

    def __init__(self, record: RecordShown) -> None:
        self.record = record
        self.zone: ZoneInfo = zone_of(record.session.zone)
        self.people: dict[str, str] = {}
        self.wrong = {one.data["entry"]: one for one in record.entries if one.kind == Kind.ERROR}

    def who(self, person: object) -> str:
        """A short name for somebody; the whole id stands at the end."""
        text = str(person)
        if person is None or not text:
            return "-"
        return self.people.setdefault(text, f"P{len(self.people) + 1}")

    def at(self, instant: dt.datetime | None) -> str:
        return "-" if instant is None else instant.astimezone(self.zone).strftime("%H:%M:%S")

    def day(self, instant: dt.datetime | None) -> str:
        return "-" if instant is None else instant.astimezone(self.zone).strftime("%Y-%m-%d %H:%M")

    def true_at(self, one: EntryShown) -> str:
        """When it was true, and when it was recorded, if that was later."""
        late = one.recorded_at - one.at > _LATE
        return f"{self.at(one.at)} (recorded {self.at(one.recorded_at)})" if late else self.at(one.at)

    def said(self, data: Mapping[str, Any]) -> str:
        named = {"done_by", "given_by", "ordered_by", "prescriber_on_site", "from"}
        return "; ".join(
            f"{name.replace('_', ' ')}: {self._value(value, name in named)}"
            for name, value in data.items()
            if value is not None
        )

    def _value(self, value: object, person: bool) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list | tuple):
            return ", ".join("-" if one is None else str(one) for one in value) or "none"
        text = str(value)
        return self.who(text) if person and len(text) == len("00000000-0000-0000-0000-000000000000") else text


def record_page(
    record: RecordShown, curves: Mapping[str, Sequence[Span]], limits: Mapping[str, Sequence[float]], now: dt.datetime
) -> Printed:
    """The page.

    Args:
        curves: by signal, what the monitor sent, thinned.
        limits: by signal, the signed values from which an alert is raised.
        now: when it is printed.
    """
    page = _Page(record)
    session = record.session
    signed = next((one for one in record.signatures if one.subject == "record"), None)
    if signed is not None:
        state = f"Signed by {page.who(signed.signer)}, {page.day(signed.signed_at)}, licence {signed.licence}"
    else:
        state = "NOT SIGNED. Missing: " + (", ".join(record.missing) or "the signature")
    return printed(
        "Session monitoring record",
        _STYLE,
        el("h1", "Session monitoring record"),
        el("p", "Ketamine infusion for treatment-resistant depression: off-label use, given in the clinic with staff present."),
        el("p", state, class_="state"),
        _facts(
            ("Session", str(session.session)),
            ("Patient", str(session.patient)),
            ("Plan", f"{session.plan}, version {session.plan_number}; session {session.ordinal} ({session.phase})"),
            ("Planned", f"{page.day(session.starts_at)} ({session.zone}; all times are of this zone)"),
            ("Checked in", page.day(session.checked_in_at)),
            ("Infusion", f"{page.day(session.started_at)} to {page.at(session.ended_at)}"),
            ("State", " ".join(filter(None, (session.state, session.ending)))),
            ("Responsible nurse", page.who(session.nurse)),
            ("Monitor", session.device or "none bound"),
        ),
        *_dose(page),
        *_summary(page),
        *_drawing(page, curves, limits, now),
        *_alerts(page),
        *_vitals(page),
        *_entries(page, "Infusion, pump and other drugs", [one for one in record.entries if one.kind in _ACTS]),
        *_gates(page),
        *_ledger(page),
        *_events(page),
        *_moves(page),
        *_entries(
            page, "Said, decided and corrected", [one for one in record.entries if one.kind not in (*_ACTS, Kind.VITALS)]
        ),
        *_signatures(page),
        *_table("People", ("Here", "Id"), [(short, person) for person, short in page.people.items()]),
        el("footer", _foot(page, now)),
    )


def _facts(*rows: tuple[str, str]) -> Element:
    return el("table", *[el("tr", el("th", name), el("td", value)) for name, value in rows])


def _table(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], wrong: Sequence[bool] = (), empty: str = "None."
) -> list[Element]:
    found = [el("tr", *[el("td", cell) for cell in row]) for row in rows]
    for row, struck in zip(found, wrong, strict=False):
        if struck:
            row.set("class", "wrong")
    if not found:
        return [el("h2", title), el("p", empty)]
    return [el("h2", title), el("table", el("tr", *[el("th", head) for head in heads]), *found)]


def _dose(page: _Page) -> list[Element]:
    dose, found = page.record.session.dose or {}, page.record.totals
    rows = [
        ("Dose of the day", f"{dose['mass']} (weight {dose['dosing_weight']}, bag {dose['bag']})" if dose else "not settled"),
        ("Pump rate", str(dose.get("pump_rate", "-"))),
    ]
    if "to_give" in dose:
        rows.append(("Of the bag", f"no more than {dose['to_give']}, by version {page.record.session.plan_number} of the plan"))
    if found is not None:
        flag = {
            DIFFERS: "DIFFERS from rate x time beyond the signed limit",
            UNKNOWN: "UNKNOWN: the pump was not read",
        }.get(found.pump, "agrees with rate x time")
        rows += [
            ("By rate x time", f"{found.by_rate} = {found.by_rate_mass or '-'}"),
            ("By the pump", found.pump_volume or "not read"),
            ("Given", f"{found.given}, {found.given_per_kg}" if found.given else "not known"),
            ("Pump", flag),
        ]
    return [el("h2", "Dose"), _facts(*rows)]


def _summary(page: _Page) -> list[Element]:
    found = page.record.summary
    if found is None:
        return []

    def spell(one: SpellShown) -> str:
        if not one.seen:
            return "not measured" if one.seen is None else f"no (worst score {one.worst})"
        return f"yes, from {page.at(one.onset)}, over {page.at(one.over)}, worst score {one.worst}"

    def yes(holds: bool | None, unknown: str) -> str:
        return unknown if holds is None else "yes" if holds else "no"

    minutes = found.monitored_minutes
    other = None if found.concomitant is None else ", ".join(found.concomitant) or "none"
    return [
        el("h2", "In short"),
        _facts(
            ("Monitored", "not over" if minutes is None else f"{minutes} min from the start"),
            ("Pressure before", found.before or "not measured"),
            ("After 40 min", found.at_40 or "not measured"),
            ("At the end of the infusion", found.at_end or "not measured"),
            ("On leaving", found.leaving or "not measured"),
            ("Highest", found.highest or "not measured"),
            ("Lowest SpO2", found.lowest_spo2 or "not measured"),
            ("Sedation (MOAA/S)", spell(found.sedation)),
            ("Dissociation (CADSS-6)", spell(found.dissociation)),
            ("Respiratory depression", yes(found.breathing, "not counted")),
            ("Vital signs acceptable before", yes(found.acceptable_before, "")),
            ("Vital signs acceptable on leaving", yes(found.acceptable_leaving, "nobody has signed that")),
            ("First session", yes(found.first, "")),
            ("Sedatives, opioids, stimulants, MAO inhibitors", other or "not asked"),
            ("Ready but for the minimum time", page.at(found.ready_at) if found.ready_at else "not said"),
        ),
    ]


def _drawing(
    page: _Page, curves: Mapping[str, Sequence[Span]], limits: Mapping[str, Sequence[float]], now: dt.datetime
) -> list[Element]:
    sets = [one for one in page.record.entries if one.kind == Kind.VITALS and str(one.entry) not in page.wrong]
    typed = {
        name: [(one.at, float(Quantity.parse(one.data[name]).value)) for one in sets if one.data.get(name)] for name in _SIGNALS
    }
    times = [one.at for one in sets] + [at for spans in curves.values() for one in spans for at in (one.from_at, one.to_at)]
    if not times:
        return [el("h2", "Vitals"), el("p", "Nothing was measured.")]
    session = page.record.session
    known = [at for at in (session.started_at, session.ended_at) if at is not None]
    first, last = min(*times, *known), max(*times, *known)
    acts = [one for one in page.record.entries if one.kind in _LETTERS and str(one.entry) not in page.wrong]
    marks = [Mark(one.at, _LETTERS[one.kind], one.data.get("source") == "paper") for one in acts]
    marks += [Mark(one.at, _LETTERS[one.tier], one.late) for one in page.record.alerts]
    room = dt.timedelta(minutes=2)
    what = Drawn(first - room, last + room, page.zone, typed, curves, limits, _rates(page, min(now, last + room)), marks)
    said = (
        "Bars: pressures from diastolic to systolic. Circles: typed pulse, SpO2 and breaths. Grey: the monitor, lowest to "
        "highest value of each span; where there is none nothing was measured. Broken horizontal lines: signed limits of SpO2 "
        "alerts. A, R, S: an AMBER, RED or STOP was true; broken vertical lines: recorded late, or from paper."
    )
    return [el("h2", "Vitals"), el("figure", vitals_plot(what), el("figcaption", said))]


def _rates(page: _Page, until: dt.datetime) -> list[tuple[dt.datetime, dt.datetime, Decimal]]:
    """Stretches in which the pump ran at one rate."""
    acts = (Kind.START, Kind.RATE, Kind.PAUSE, Kind.RESUME, Kind.END)
    log = sorted((one for one in page.record.entries if one.kind in acts), key=lambda one: (one.at, one.recorded_at))
    found = []
    for one, following in zip(log, [*log[1:], None], strict=True):
        if rate := one.data.get("rate"):
            found.append((one.at, following.at if following else until, Quantity.parse(rate).to("mL/h").value))
    return found


def _alerts(page: _Page) -> list[Element]:
    heads = ("Tier", "Signal", "Value", "True at", "Raised", "Nurse", "Prescriber", "Resolved")
    rows = []
    for one in page.record.alerts:
        notes = [word for word, holds in (("late", one.late), ("verify", one.verify)) if holds]
        closed = f"{one.action}, {page.who(one.resolved_by)} {page.at(one.resolved_at)}" if one.resolved_at else "OPEN"
        rows.append(
            (
                " ".join((one.tier, *notes)),
                one.family,
                one.value,
                page.at(one.at),
                page.at(one.raised_at),
                f"{page.who(one.nurse)} {page.at(one.nurse_at)}",
                f"{page.who(one.prescriber)} {page.at(one.prescriber_at)}",
                closed,
            )
        )
    return _table("Alerts", heads, rows, empty="None was raised.")


def _vitals(page: _Page) -> list[Element]:
    heads = ("At", "SBP/DBP", "Pulse", "Breaths", "SpO2", "MOAA/S", "CADSS-6", "Symptoms", "By")
    sets = [one for one in page.record.entries if one.kind == Kind.VITALS]
    rows = []
    for one in sorted(sets, key=lambda entry: (entry.at, entry.recorded_at)):
        data = one.data
        source = " paper" if data.get("source") == "paper" else ""
        rows.append(
            (
                page.true_at(one) + source,
                f"{_number(data, 'sbp')}/{_number(data, 'dbp')}",
                _number(data, "heart_rate"),
                _number(data, "resp_rate"),
                _number(data, "spo2") + (" on oxygen" if data.get("on_oxygen") else ""),
                str(data.get("moaa_s", "-")),
                str(data.get("cadss6", "-")),
                ", ".join(data.get("symptoms", ())) or "-",
                page.who(one.by),
            )
        )
    wrong = [str(one.entry) in page.wrong for one in sorted(sets, key=lambda entry: (entry.at, entry.recorded_at))]
    more = [el("p", f"Samples of the monitor: {page.record.samples}.")]
    return [*_table("Typed sets", heads, rows, wrong), *more]


def _number(data: Mapping[str, Any], name: str) -> str:
    return f"{Quantity.parse(data[name]).value:f}" if data.get(name) else "-"


def _entries(page: _Page, title: str, entries: Sequence[EntryShown]) -> list[Element]:
    shown = sorted(entries, key=lambda entry: (entry.at, entry.recorded_at))
    rows = [(page.true_at(one), one.kind, page.said(one.data), page.who(one.by)) for one in shown]
    return _table(title, ("At", "What", "Said", "By"), rows, [str(one.entry) in page.wrong for one in shown])


def _gates(page: _Page) -> list[Element]:
    rows = []
    for one in reversed(page.record.gates):
        reasons = [f"{found['rule']}: {found['reason']}" for found in one.evidence.get("findings", ())]
        reasons += [f"{found['field']}: {found['message']}" for found in one.evidence.get("missing", ())]
        rows.append((page.at(one.evaluated_at), one.gate, one.outcome, "; ".join(reasons) or "-", page.who(one.asked_by)))
    return _table("Gates", ("At", "Gate", "Answer", "Why", "Asked by"), rows)


def _ledger(page: _Page) -> list[Element]:
    drug = page.record.drug
    if drug is None:
        return [el("h2", "Controlled drug"), el("p", "Nothing was drawn.")]
    rows = [
        (
            page.at(one.at),
            one.volume,
            one.method or "-",
            page.who(one.by),
            f"{page.who(one.witness)} {page.at(one.witnessed_at)}",
        )
        for one in drug.wastes
    ]
    wrong = [one.error_reason is not None for one in drug.wastes]
    why = [el("p", f"{one.volume}: {one.error_reason} ({page.who(one.error_by)})") for one in drug.wastes if one.error_reason]
    drawn = _facts(
        ("Vial, lot, expiry", f"{drug.vial}, {drug.lot}, {drug.expires.isoformat()}"),
        ("Drawn", f"{drug.drawn} of {drug.strength} by {page.who(drug.drawn_by)} {page.at(drug.drawn_at)}"),
        ("Into the bag", f"{drug.into_bag} in {drug.bag}"),
        ("Given", page.record.totals.given if page.record.totals and page.record.totals.given else "not known"),
        ("Balance", "NOT ACCOUNTED FOR" if "drug-unaccounted" in page.record.missing else "drawn = given + wasted"),
    )
    wasted = _table("Thrown away", ("At", "Volume", "How", "By", "Witness"), rows, wrong)
    return [el("h2", "Controlled drug"), drawn, *wasted, *why]


def _events(page: _Page) -> list[Element]:
    heads = ("Onset", "Term", "Grade", "Related", "Action", "Serious", "Note", "Over", "Outcome")
    locked = page.record.session.locked_at
    rows = [
        (
            page.day(one.onset_at) + (" (entered after the signature)" if locked and one.entered_at > locked else ""),
            one.term,
            f"{one.grade} (proposed {one.proposed_grade or '-'})",
            one.relatedness,
            one.action,
            ", ".join(one.serious) or "no",
            one.note or "-",
            page.day(one.resolved_at) if one.resolved_at else "NOT OVER",
            one.outcome or "not known",
        )
        for one in page.record.adverse_events
    ]
    return _table("Adverse events", heads, rows, empty="None was entered.")


def _moves(page: _Page) -> list[Element]:
    rows = [
        (page.at(one.at), f"{one.from_state} to {one.to_state}", one.ending or "-", page.who(one.by))
        for one in page.record.moves
    ]
    return _table("Moves", ("Since", "Move", "Ending", "By"), rows)


def _signatures(page: _Page) -> list[Element]:
    rows = [
        (page.day(one.signed_at), one.subject, one.meaning, page.who(one.signer), one.licence, one.shown)
        for one in page.record.signatures
    ]
    return _table("Signatures", ("At", "Of", "Meaning", "By", "Licence", "SHA-256 of what was shown"), rows, empty="None.")


def _foot(page: _Page, now: dt.datetime) -> str:
    rules = sorted({(one.evidence["revision"], one.evidence["approver"]) for one in page.record.gates})
    signed = "; ".join(f"{revision}, approver: {approver}" for revision, approver in rules) or "none was asked"
    return f"Rules of the gates: {signed}. Printed {page.day(now)}. Struck through: entered in error, it counts no longer."
