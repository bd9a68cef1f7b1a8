"""The shape of the rules: a fourth therapy needs nothing else, numbers live in the data, imports are few, texts say
off-label.
"""

import ast
import datetime as dt
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.values import Moment, Quantity
from services.therapies import registry
from services.therapies.evidence import Assessment, Evaluation, Outcome, Thresholds
from services.therapies.protocol import Keys, Part, Therapy
from services.therapies.thresholds import DIRECTORY, load_all, sign
from tests.support.rules import wall

PACKAGE = DIRECTORY.parent
RULE_FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "thresholds.py")


# --- A fourth therapy: a module (this block), a threshold file, a line in the registry --------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LightCase:
    """A case of a therapy nobody has heard of."""

    at: Moment
    hours_of_light: Quantity | None = None
    bipolar: bool | None = None


def light_eligibility(case: LightCase, rules: Thresholds) -> Evaluation[None]:
    """Three lines of rules."""
    e = Assessment("light.eligibility", rules, case.at.at)
    e.ask(case)
    if case.hours_of_light is None:
        e.lack("hours_of_light", "dose")
    elif rules["light.enough"].met_by(case.hours_of_light):
        e.fire("L-ENOUGH", e.look("hours_of_light", case.hours_of_light))
    found = {f.outcome for f in e.findings}
    return e.close(Outcome.INCOMPLETE if e.absent else Outcome.INELIGIBLE if found else Outcome.ELIGIBLE)


LIGHT = Therapy(
    name="light",
    keys=Keys(values={"light.enough": "h"}, rules=frozenset({"L-ENOUGH"}), questions=frozenset({"bipolar"})),
    eligibility=Part(LightCase, light_eligibility),
)
FILE = """
therapy = "light"
effective = 2027-01-01
approver = "NOT APPROVED"
[value]
"light.enough" = { value = "8", unit = "h", comparison = ">=", source = "none", tag = "design-default" }
[rule]
"L-ENOUGH" = { outcome = "INELIGIBLE", reason = "has light enough", source = "none", tag = "design-default" }
"L-BIPOLAR" = { outcome = "INELIGIBLE", reason = "bipolar", source = "none", tag = "design-default", question = "bipolar" }
"""


def test_a_fourth_therapy_is_a_module_a_file_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "light").mkdir()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "development.pub.pem").write_bytes((DIRECTORY / "keys" / "development.pub.pem").read_bytes())
    path = tmp_path / "light" / "2027-01-01.toml"
    path.write_text(FILE)
    sign(path, (DIRECTORY / "keys" / "development.private.pem").read_bytes())
    monkeypatch.setitem(registry.THERAPIES, "light", LIGHT)
    known = registry.keys_of("light")
    assert known is not None
    (rules,) = load_all("light", known, production=False, directory=tmp_path)
    part = registry.THERAPIES["light"].parts()["eligibility"]
    for hours, bipolar, expected in (
        ("7.9 h", False, Outcome.ELIGIBLE),
        ("480 min", False, Outcome.INELIGIBLE),
        ("1 h", True, Outcome.INELIGIBLE),
        ("1 h", None, Outcome.INCOMPLETE),
    ):
        case = LightCase(at=wall("2027-01-02T10:00"), hours_of_light=Quantity.parse(hours), bipolar=bipolar)
        found = part.evaluate(case, rules)
        assert isinstance(found, Evaluation)
        assert found.outcome is expected


def test_the_registry_is_one_line_a_therapy() -> None:
    source = (PACKAGE / "registry.py").read_text()
    for name in ("ketamine", "semaglutide", "testosterone"):
        assert source.count(f'"{name}"') == 1
    for path in RULE_FILES:
        if path.name not in ("registry.py", "cadence.py") and "ketamine" not in path.parts:
            assert "import semaglutide" not in path.read_text(), path


# --- Numbers that belong in the data ----------------------------------------------------------------------------------

# What may stand in code besides 0, 1, 2 and -1, and why.
ALLOWED: dict[str, dict[int, str]] = {
    "instruments.py": dict.fromkeys(
        (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), "definitions of the published instruments"
    ),
    "eligibility.py": {7: "days in a week"},
    "evidence.py": {
        6: "microseconds",
        10: "decimal shift",
        100: "percent",
        1000: "percent with one decimal",
        1_000_000: "microseconds",
        -1: "scale",
    },
    "calendar.py": {12: "months in a year"},
    "body.py": {100: "percent"},
    "cadence.py": {60: "minutes in an hour"},
    "semaglutide.py": {
        7: "days in a week",
        520: "bound of a loop",
        3: "review after month 3 (name of a key)",
        6: "review after month 6",
    },
    "testosterone.py": {60: "minutes in an hour"},
    "dosing.py": {60: "minutes in an hour", 3: "decimals shown", 4: "decimals shown"},
    "schedule.py": {52: "bound of a loop", 8: "ISO weekdays end at 7"},
    "alerts.py": {
        3: "tier number; position in a tuple",
        4: "position in a tuple",
        5: "range of MOAA/S",
        24: "range of CADSS-6",
    },
    "records.py": {3: "CTCAE grade", 4: "CTCAE grade", 5: "CTCAE grade"},
}


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_clinical_number_is_in_code(path: Path) -> None:
    tree = ast.parse(path.read_text())
    allowed = {0, 1, 2, -1} | set(ALLOWED.get(path.name, {}))
    found = [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
        if node.value not in allowed or isinstance(node.value, float)
    ]
    assert found == []
    # Nor hidden in a text that becomes a decimal.
    texts = [
        n.args[0].value
        for n in ast.walk(tree)
        if isinstance(n, ast.Call)
        and getattr(n.func, "id", "") in ("Decimal", "Fraction")
        and n.args
        and isinstance(n.args[0], ast.Constant)
    ]
    assert set(texts) <= {0, 1, 2, "0.1", "2.54", "0", "1"}, texts


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rules_import_only_the_standard_library_values_and_each_other(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        for name in names:
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names or name == "schemas.values" or name.startswith("services.therapies"), name
            assert name != "services.therapies.thresholds"


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rules_read_no_clock_no_chance_and_no_file(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\b(now\(\)|utcnow|today\(\)|random|open\(|read_text|environ|uuid)\b", text)
    assert not re.search(r"\bfloat\(", text)


def test_off_label_use_is_never_called_approved() -> None:
    for path in [*RULE_FILES, *DIRECTORY.rglob("*.toml")]:
        for line in path.read_text().lower().splitlines():
            if "approved" in line and "ketamine" in line:
                assert "anaesthetic" in line or "no ketamine plan is approved" in line or "ketamine plan is approved" in line, (
                    line
                )
            assert "fda-approved" not in line


def test_every_evaluating_function_returns_a_proposal_and_none_a_decision() -> None:
    for therapy in registry.THERAPIES.values():
        for part in therapy.parts().values():
            returns = str(part.evaluate.__annotations__["return"])
            assert "Evaluation" in returns
            assert "Decision" not in returns


# --- Dates against an oracle written apart ----------------------------------------------------------------------------

CASES = 10_000
TOLD_ZONES = (
    "America/New_York",
    "America/Los_Angeles",
    "America/Phoenix",
    "Europe/London",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "UTC",
)


def test_ten_thousand_wall_clocks_against_an_oracle() -> None:
    """The oracle never asks for the instant of a wall clock: it searches instants for the first whose wall clock is the
    one asked for, or, when there is none, for the end of the gap plus what was asked beyond its start.
    """
    import random
    from zoneinfo import ZoneInfo

    from services.therapies.calendar import add_months, resolve

    chance = random.Random(20270314)
    first = dt.date(2024, 1, 1)
    changes = {
        zone: [
            day
            for n in range(4 * 366)
            for day in [first + dt.timedelta(days=n)]
            if _offset(zone, day) != _offset(zone, day + dt.timedelta(days=1))
        ]
        for zone in TOLD_ZONES
    }
    skipped = repeated = leap = 0
    for n in range(CASES):
        zone = TOLD_ZONES[n % len(TOLD_ZONES)]
        near = changes[zone]
        day = (
            chance.choice(near)
            if near and n % 3 == 0
            else dt.date(2028, 2, 29)
            if n % 50 == 1
            else first + dt.timedelta(days=chance.randrange(4 * 366))
        )
        clock = dt.time(
            chance.choice([0, 1, 1, 2, 2, 3, chance.randrange(24)]),
            chance.choice([0, 15, 30, 45, chance.randrange(60)]),
        )
        found = resolve(day, clock, zone)
        wanted = dt.datetime.combine(day, clock)
        info = ZoneInfo(zone)
        base = wanted.replace(tzinfo=dt.UTC)
        candidates = [base + dt.timedelta(minutes=30 * k) for k in range(-28, 29)]
        same = [c for c in candidates if c.astimezone(info).replace(tzinfo=None) == wanted]
        if same:
            assert found.at == min(same)
            repeated += len(same) > 1
        else:
            before = max(
                c for c in candidates if c.astimezone(info).replace(tzinfo=None) < wanted and c <= base + dt.timedelta(hours=14)
            )
            shown = found.at.astimezone(info).replace(tzinfo=None)
            gap = _offset_at(info, found.at) - _offset_at(info, before)
            assert shown == wanted + gap
            skipped += 1
        leap += day == dt.date(2028, 2, 29)
        months = chance.randrange(-30, 31)
        later = add_months(day, months)
        assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
        assert later.day == day.day or (later + dt.timedelta(days=1)).day == 1
        assert later.day <= day.day
    assert min(skipped, repeated, leap) > 20


def _offset(zone: str, day: dt.date) -> dt.timedelta | None:
    from zoneinfo import ZoneInfo

    return dt.datetime.combine(day, dt.time(), ZoneInfo(zone)).utcoffset()


def _offset_at(info: dt.tzinfo, at: dt.datetime) -> dt.timedelta:
    offset = at.astimezone(info).utcoffset()
    assert offset is not None
    return offset
