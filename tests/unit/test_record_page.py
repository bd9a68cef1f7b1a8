"""The record on paper: a form's figures found in a log, a drawing that hides nothing, and a page in which text stays text."""

import datetime as dt
import re
import uuid
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from services.session_logging.domain.alarms import Sample
from services.session_logging.domain.sessions import Entry, Session, SessionState, Terms
from services.session_logging.domain.summary import Spell, Summary, summary
from services.session_logging.domain.totals import Span, thinned
from services.session_logging.http.monitoring import EntryShown, RecordShown, TotalsShown
from services.session_logging.http.record_page import record_page
from services.session_logging.http.shared import shown
from tests.support.rules import rules

NOW = dt.datetime(2027, 1, 25, 15, 30, tzinfo=dt.UTC)
RULES = rules("ketamine")
SESSION = Session(
    uuid.uuid4(),
    uuid.uuid4(),
    1,
    Terms("0.5 mg/kg", "actual", "40 min"),
    uuid.uuid4(),
    uuid.uuid4(),
    "ketamine",
    1,
    "induction",
    NOW,
    "America/New_York",
    SessionState.RECOVERY,
    dose={"mass": "41.00 mg", "bag": "100.00 mL", "dosing_weight": "82.0 kg", "pump_rate": "150.0 mL/h"},
    started_at=NOW,
    ended_at=NOW + dt.timedelta(minutes=40),
    pump_volume="90.0 mL",
)


def entry(kind: str, minute: float, **data: Any) -> Entry:
    at = NOW + dt.timedelta(minutes=minute)
    return Entry(uuid.uuid4(), kind, at, at, "nurse", data)


def vitals(minute: float, sbp: int, dbp: int, **more: Any) -> Entry:
    return entry("vitals", minute, sbp=f"{sbp} mm[Hg]", dbp=f"{dbp} mm[Hg]", **more)


LOG = [
    vitals(-5, 128, 78, moaa_s=5, cadss6=0),
    entry("start", 0, rate="150.0 mL/h"),
    vitals(10, 139, 84, moaa_s=4, cadss6=6, spo2="95 %"),
    vitals(20, 152, 91, moaa_s=3, cadss6=14),
    vitals(30, 149, 88, moaa_s=5, cadss6=5),
    entry("end", 40, reason="complete", pump_volume="90.0 mL"),
    vitals(55, 131, 80, moaa_s=5, cadss6=4, symptoms=["nausea"]),
]
STREAM = [
    Sample("m", second, at := NOW + dt.timedelta(seconds=second), at, spo2=71 if second == 1111 else 97)
    for second in range(2400)
    if not 1200 <= second < 1500
]


def test_the_figures_of_the_form() -> None:
    found = summary(SESSION, LOG, STREAM, (), RULES)
    assert found is not None
    assert (found.before, found.at_end, found.leaving, found.highest, found.monitored) == (
        "128/78 mm[Hg]",
        "149/88 mm[Hg]",
        "131/80 mm[Hg]",
        "152/91 mm[Hg]",
        None,
    )
    assert found.lowest_spo2 == "71 %"
    at = {minute: NOW + dt.timedelta(minutes=minute) for minute in (10, 30, 55)}
    assert found.sedation == Spell(True, at[10], at[30], 3)
    assert found.dissociation == Spell(True, at[10], at[55], 14)
    # Nothing measured is unknown, never "no"; what has not gone away is not over.
    unknown = Summary(None, "128/78 mm[Hg]", None, None, None, Spell(None), Spell(None), None)
    assert summary(SESSION, LOG[:2], (), (), RULES) == unknown
    going_on = summary(SESSION, LOG[:4], (), (), RULES)
    assert going_on is not None
    assert (going_on.sedation.over, going_on.dissociation.over) == (None, None)
    calm = summary(SESSION, [LOG[1], LOG[6]], (), (), RULES)
    assert calm is not None
    assert calm.sedation == Spell(False, worst=5)


def page(curves: dict[str, list[Span]], *more: Entry) -> str:
    entries = [
        EntryShown(entry=one.id, kind=one.kind, at=one.at, recorded_at=one.recorded_at, by=one.by, data=dict(one.data))
        for one in [*LOG, *more]
    ]
    record = RecordShown(
        session=shown(SESSION),
        baseline=None,
        totals=TotalsShown(
            by_rate="100.0 mL",
            by_rate_mass="41.00 mg",
            pump_volume="90.0 mL",
            given="37.00 mg",
            given_per_kg="0.451 mg/kg",
            pump="differs",
        ),
        summary=None,
        moves=[],
        entries=entries,
        alerts=[],
        gates=[],
        adverse_events=[],
        drug=None,
        signatures=[],
        missing=["session-open", "drug-unaccounted"],
        samples=len(STREAM),
    )
    return record_page(record, curves, {"spo2": [94.0]}, NOW + dt.timedelta(hours=1)).html


def test_a_page_in_which_text_stays_text_and_nothing_is_fetched() -> None:
    words = "<script>alert(1)</script> & <img src=x>"
    wrong = entry("entered-in-error", 56, entry=str(LOG[6].id), reason=words)
    html = page({}, wrong)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;img src=x&gt;" in html
    assert not [one for one in ("<script", "<img", "<link", " href=", " src=x>", "url(", "@import", " style=") if one in html]
    assert re.findall(r'"https?://[^"]*"', html) == ['"http://www.w3.org/2000/svg"'], "a name, not an address"
    for said in ("NOT SIGNED. Missing: session-open, drug-unaccounted", "DIFFERS", "off-label", "10:40:00"):
        assert said in html, said
    struck = re.findall(r'<tr class="wrong">(.*?)</tr>', html)
    assert [row.startswith("<td>11:25:00</td><td>131/80</td>") for row in struck] == [True]


def test_the_drawing_hides_no_extreme_and_bridges_no_gap() -> None:
    html = page(thinned(STREAM, 100))
    drawing = ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    bars = [one for one in drawing.iter(f"{space}rect") if one.get("class") == "spo2"]
    assert max(float(one.get("height", 0)) for one in bars) > 50, "the second of 71 % is as deep as it was"
    frames = [one for one in drawing.iter(f"{space}rect") if one.get("class") == "frame"]
    floor = float(frames[1].get("y", 0)) + float(frames[1].get("height", 0))
    assert all(float(one.get("y", 0)) + float(one.get("height", 0)) <= floor + 1 for one in bars), "the axis has grown with it"
    places = sorted((float(one.get("x", 0)), float(one.get("width", 0))) for one in bars)
    widest = max(right[0] - left[0] - left[1] for left, right in pairwise(places))
    whole = float(frames[1].get("width", 0))
    assert widest / whole > 5 / 64 * 0.95, "five minutes without a sample, of 64 that are drawn"
