"""The handover for an emergency on one sheet (A4): what an ambulance or a hospital has to know, largest first."""

import datetime as dt
from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from services.runtime.edge.printed import Element, Printed, el, printed
from services.session_logging.domain.totals import DIFFERS, UNKNOWN
from services.session_logging.http.handover import HandoverShown

__all__ = ["handover_page"]

_STYLE = """
@page{size:A4;margin:12mm}
body{font:13px/1.35 sans-serif;color:#000;background:#fff;max-width:186mm;margin:0 auto}
h1{font-size:20px;margin:0 0 2mm}h2{font-size:14px;margin:4mm 0 1mm;border-bottom:1px solid #000}
table{border-collapse:collapse;width:100%}th,td{border:1px solid #888;padding:1px 4px;text-align:left;vertical-align:top}
th{background:#eee;width:34%}td.blank{height:7mm}.alert{border:2px solid #000;padding:2mm;font-weight:bold;font-size:16px}
footer{font-size:10px}td{overflow-wrap:anywhere}
"""


def handover_page(shown: HandoverShown, zone: ZoneInfo, now: dt.datetime) -> Printed:
    """The page. Names and birth dates are not this service's: there is room to write them by hand.

    Args:
        zone: in which the clinic reads the clock.
        now: when it is printed.
    """

    def at(instant: dt.datetime | None) -> str:
        return "-" if instant is None else instant.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")

    alerts = [f"{one.tier} {one.family} {one.value} at {at(one.at)}" for one in shown.open_alerts]
    ran = shown.totals
    given = "not known"
    if ran is not None:
        flag = {DIFFERS: "; pump and rate x time DIFFER", UNKNOWN: "; the pump was not read"}.get(ran.pump, "")
        given = f"{ran.given or ran.by_rate_mass or '-'} ({'pump' if ran.given else 'by rate x time'}{flag})"
    escort = ", ".join(filter(None, (shown.escort_name, shown.escort_phone)))
    return printed(
        "Emergency handover",
        _STYLE,
        el("h1", "Emergency handover"),
        el("p", "; ".join(alerts) or "No alert is open.", class_="alert"),
        _facts(
            ("Name, birth date (write by hand)", ""),
            ("Ambulance called at, taken over by (write by hand)", ""),
            ("Treatment", f"Ketamine, intravenous infusion, for depression (off-label); dose of the day {shown.dose or '-'}"),
            ("Given", given),
            ("Started, ended", f"{at(shown.started_at)}, {at(shown.ended_at)}"),
            ("State", shown.state),
            ("Symptoms", ", ".join(shown.symptoms) or "none entered"),
        ),
        el("h2", "Last values"),
        _facts(*((one.signal, f"{one.value} at {at(one.at)}") for one in shown.last)),
        el("h2", "Other drugs given"),
        _facts(*((at(one.at), f"{one.drug} {one.dose} {one.route}") for one in shown.rescue_drugs)),
        el("h2", "People"),
        _facts(
            ("Escort", escort or "not named"),
            ("Responsible nurse", str(shown.nurse or "-")),
            ("Prescriber", str(shown.prescriber or "-")),
            ("Patient", str(shown.patient)),
            ("Session", str(shown.session)),
        ),
        el("footer", f"Printed {at(now)} ({zone.key}; all times are of this zone)."),
    )


def _facts(*rows: tuple[str, str]) -> Element:
    return el("table", *_rows(rows)) if rows else el("p", "None.")


def _rows(rows: Sequence[tuple[str, str]]) -> Iterable[Element]:
    for name, value in rows:
        yield el("tr", el("th", name), el("td", value) if value else el("td", class_="blank"))
