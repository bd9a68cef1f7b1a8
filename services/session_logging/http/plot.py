"""The vitals of a session as one drawing (SVG): what was typed, what a monitor sent, when the pump ran, what was raised.

No extreme is hidden: a span of the monitor is a bar from its lowest to its highest value, an axis grows with what is out of its
range, and nothing is drawn over a time in which nothing was measured. It is read in black and white, too.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from zoneinfo import ZoneInfo

from services.runtime.edge.printed import Element, el
from services.session_logging.domain.totals import Span

__all__ = ["STYLE", "Drawn", "Mark", "vitals_plot"]

STYLE = """
svg text{font:11px sans-serif;fill:#000}svg .frame{fill:none;stroke:#000}svg .grid{stroke:#ccc;stroke-width:.5}
svg .limit{stroke:#000;stroke-dasharray:4 3;stroke-width:.7}svg .bar{stroke:#000;stroke-width:1.5}svg .cap{stroke:#000}
svg .pulse{fill:#777}svg .spo2{fill:#333}svg .breaths{fill:#555}svg .dot{fill:#fff;stroke:#000}
svg .pump{fill:#bbb;stroke:#000;stroke-width:.5}svg .mark{stroke:#000;stroke-width:.7}svg .late{stroke-dasharray:2 2}
"""
_WIDTH, _LEFT, _RIGHT, _TOP = 1000, 118, 12, 34
_GAP = 14
_TICK = dt.timedelta(minutes=10)
_TICKS = 24


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was raised or done: a line through the drawing with a letter at its head."""

    at: dt.datetime
    letter: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is drawn.

    Attributes:
        from_at, to_at: what the drawing spans.
        typed: by signal, the values that people have typed.
        curves: by signal, spans of the monitor.
        limits: by signal, the signed values from which an alert is raised.
        rates: of the pump: from when to when it ran, and how fast, in mL/h.
    """

    from_at: dt.datetime
    to_at: dt.datetime
    zone: ZoneInfo
    typed: Mapping[str, Sequence[tuple[dt.datetime, float]]]
    curves: Mapping[str, Sequence[Span]]
    limits: Mapping[str, Sequence[float]]
    rates: Sequence[tuple[dt.datetime, dt.datetime, Decimal]]
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    unit: str
    low: float
    high: float
    step: int
    height: int
    signals: tuple[str, ...]
    top: float = 0
    values: tuple[float, ...] = field(default=(), repr=False)

    def y(self, value: float) -> float:
        return self.top + self.height * (self.high - value) / (self.high - self.low)


_PANELS = (
    _Panel("Pressure, pulse", "mm[Hg], /min", 40, 180, 20, 230, ("sbp", "dbp", "heart_rate")),
    _Panel("SpO2", "%", 84, 100, 4, 110, ("spo2",)),
    _Panel("Breaths", "/min", 0, 30, 10, 80, ("resp_rate",)),
    _Panel("Pump", "mL/h", 0, 100, 50, 60, ("pump",)),
)


def vitals_plot(what: Drawn) -> Element:
    """The drawing."""
    panels, bottom = [], float(_TOP)
    for panel in _PANELS:
        values = _values(what, panel.signals)
        low = min(panel.low, math.floor(min(values, default=panel.low) / panel.step) * panel.step)
        high = max(panel.high, math.ceil(max(values, default=panel.high) / panel.step) * panel.step)
        panels.append(
            _Panel(panel.title, panel.unit, low, high, panel.step, panel.height, panel.signals, bottom, tuple(values))
        )
        bottom += panel.height + _GAP
    made = el("svg", viewBox=f"0 0 {_WIDTH} {bottom + 14:g}", role="img", aria__label="Vitals of the session", width="100%")
    made.set("xmlns", "http://www.w3.org/2000/svg")
    for part in _clock(what, panels):
        made.append(part)
    for panel in panels:
        for part in _panel(what, panel):
            made.append(part)
    for part in _marks(what, panels):
        made.append(part)
    return made


def _values(what: Drawn, signals: Iterable[str]) -> list[float]:
    found = [value for name in signals for _, value in what.typed.get(name, ())]
    found += [float(value) for name in signals for one in what.curves.get(name, ()) for value in (one.low, one.high)]
    return found + [float(rate) for _, _, rate in what.rates if "pump" in signals]


def _x(what: Drawn, at: dt.datetime) -> float:
    share = (at - what.from_at) / (what.to_at - what.from_at)
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(1.0, max(0.0, share))


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Element:
    return el("line", class_=kind, x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}")


def _rect(kind: str, x1: float, y1: float, x2: float, y2: float) -> Element:
    # A single sample is seen, too.
    wide, high = max(1.2, x2 - x1), max(1.6, y2 - y1)
    return el(
        "rect", class_=kind, x=f"{x1:.1f}", y=f"{y1 - (high - (y2 - y1)) / 2:.1f}", width=f"{wide:.1f}", height=f"{high:.1f}"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> Element:
    return el("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text__anchor=anchor)


def _clock(what: Drawn, panels: Sequence[_Panel]) -> list[Element]:
    """Lines every ten minutes by the clinic's clock, or less often where there would be too many."""
    tick = _TICK * max(1, math.ceil((what.to_at - what.from_at) / _TICK / _TICKS))
    local = what.from_at.astimezone(what.zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(dt.UTC)
    at = midnight + tick * math.ceil((what.from_at - midnight) / tick)
    parts, bottom = [], panels[-1].top + panels[-1].height
    while at <= what.to_at:
        x = _x(what, at)
        parts += [_line("grid", x, panels[0].top, x, bottom), _text(x, bottom + 14, at.astimezone(what.zone).strftime("%H:%M"))]
        at += tick
    return parts


def _panel(what: Drawn, panel: _Panel) -> list[Element]:
    right = _WIDTH - _RIGHT
    parts = [
        el("rect", class_="frame", x=_LEFT, y=f"{panel.top:.1f}", width=right - _LEFT, height=panel.height),
        _text(2, panel.top + 12, panel.title, "start"),
        _text(2, panel.top + 26, panel.unit, "start"),
    ]
    ticks = int((panel.high - panel.low) / panel.step)
    every = max(1, math.ceil(ticks / (panel.height / 22)))
    for number in range(0, ticks + 1, every):
        value = panel.low + number * panel.step
        parts += [
            _line("grid", _LEFT, panel.y(value), right, panel.y(value)),
            _text(_LEFT - 4, panel.y(value) + 4, f"{value:g}", "end"),
        ]
    for value in (limit for name in panel.signals for limit in what.limits.get(name, ())):
        if panel.low <= value <= panel.high:
            parts.append(_line("limit", _LEFT, panel.y(value), right, panel.y(value)))
    for name, kind in (("heart_rate", "pulse"), ("spo2", "spo2"), ("resp_rate", "breaths")):
        if name in panel.signals:
            parts += [
                _rect(kind, _x(what, one.from_at), panel.y(one.high), _x(what, one.to_at), panel.y(one.low))
                for one in what.curves.get(name, ())
            ]
            parts += [
                el("circle", class_="dot", cx=f"{_x(what, at):.1f}", cy=f"{panel.y(value):.1f}", r=3)
                for at, value in what.typed.get(name, ())
            ]
    if "sbp" in panel.signals:
        parts += _pressures(what, panel)
    if "pump" in panel.signals:
        parts += [
            _rect("pump", _x(what, since), panel.y(float(rate)), _x(what, until), panel.y(panel.low))
            for since, until, rate in what.rates
        ]
    return parts


def _pressures(what: Drawn, panel: _Panel) -> list[Element]:
    """A bar from diastolic to systolic, with a cap at each end that was measured."""
    parts: list[Element] = []
    held: dict[dt.datetime, dict[str, float]] = {}
    for name in ("sbp", "dbp"):
        for at, value in what.typed.get(name, ()):
            held.setdefault(at, {})[name] = value
    for at, both in held.items():
        x = _x(what, at)
        parts += [_line("cap", x - 4, panel.y(value), x + 4, panel.y(value)) for value in both.values()]
        if len(both) > 1:
            parts.append(_line("bar", x, panel.y(both["sbp"]), x, panel.y(both["dbp"])))
    return parts


def _marks(what: Drawn, panels: Sequence[_Panel]) -> list[Element]:
    """Letters that would lie over each other stand in two rows."""
    parts: list[Element] = []
    bottom, last, row = panels[-1].top + panels[-1].height, -100.0, 0
    for one in sorted(what.marks, key=lambda mark: mark.at):
        x = _x(what, one.at)
        row = 1 - row if x - last < 14 else 0
        last = x
        parts += [
            _line("mark late" if one.late else "mark", x, panels[0].top, x, bottom),
            _text(x, panels[0].top - 4 - 12 * row, one.letter),
        ]
    return parts
