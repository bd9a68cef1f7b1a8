"""The alert rules on 36 real recordings: three lists made by hand from the raw rows, and all against an evaluator
written apart.
"""

import csv
import datetime as dt
import random
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from services.therapies.ketamine.alerts import AlertState, Reading, Source, Tier, begin, fold, step
from tests.support.ketamine_cases import vitals
from tests.support.rules import q, rules, utc

FOLDER = Path(__file__).parents[3] / "examples" / "vitals"
FILES = sorted(FOLDER.glob("bidmc_*_Numerics.csv"))
RULES = rules("ketamine")
T0 = utc("2027-01-25T15:30")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as lines:
        return [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(lines)]


def second(n: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=n)


def stream(path: Path) -> list[Reading]:
    """What the chair's oximeter and respiration channel would send, one reading a second; NaN is not measured."""

    def value(row: dict[str, str], column: str, unit: str) -> "object":
        return None if row[column] == "NaN" else q(f"{row[column]} {unit}")

    return [
        Reading(
            id=f"{path.stem}:{n}",
            at=second(n),
            recorded_at=second(n),
            source=Source.STREAM,
            heart_rate=value(row, "PULSE", "/min"),  # type: ignore[arg-type]
            resp_rate=value(row, "RESP", "/min"),  # type: ignore[arg-type]
            spo2=value(row, "SpO2", "%"),  # type: ignore[arg-type]
        )
        for n, row in enumerate(rows(path))
    ]


def replay(readings: list[Reading]) -> AlertState:
    state = fold(begin(T0, vitals(), RULES), readings, second(481), RULES)
    assert isinstance(state, AlertState)
    return state


def seen(state: AlertState) -> list[tuple[int, str, str, int]]:
    """(second at which the rule was met, family, tier, first second of the run), in the order raised."""
    return [
        (int((a.at - T0).total_seconds()), a.family, a.tier.name, int((a.since - T0).total_seconds())) for a in state.alerts
    ]


# Made by hand. 05: RESP is 10 or less in seconds 161-212, the first run of 30 s or more (0-14 and 132-153 are too
# short), and 8 or less
# only in 163-168. 22: SpO2 is 91 or less in 1-21, so RED at 6; it is 94 or less all the time, but AMBER at 15 only adds
# to the open RED;
# 88 only in second 49. 26: SpO2 is 94 or less for 15 s or more only in 241-262.
BY_HAND = {
    "bidmc_05": [(191, "resp_rate_low", "AMBER", 161)],
    "bidmc_22": [(6, "spo2_low", "RED", 1)],
    "bidmc_26": [(256, "spo2_low", "AMBER", 241)],
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_the_lists_made_by_hand(name: str) -> None:
    assert seen(replay(stream(FOLDER / f"{name}_Numerics.csv"))) == BY_HAND[name]


# --- An evaluator written apart: whole runs of the column instead of a fold over readings -----------------------------

RULE_TABLE: list[tuple[str, str, Tier, Callable[[float], bool], int]] = [
    ("spo2_low", "SpO2", Tier.AMBER, lambda v: v <= 94, 15),
    ("spo2_low", "SpO2", Tier.RED, lambda v: v <= 91, 5),
    ("spo2_low", "SpO2", Tier.STOP, lambda v: v <= 88, 5),
    ("heart_rate_high", "PULSE", Tier.AMBER, lambda v: v >= 110, 10),
    ("heart_rate_high", "PULSE", Tier.RED, lambda v: v >= 130, 10),
    ("heart_rate_low", "PULSE", Tier.AMBER, lambda v: v <= 50, 10),
    ("heart_rate_low", "PULSE", Tier.RED, lambda v: v <= 40, 10),
    ("resp_rate_low", "RESP", Tier.AMBER, lambda v: v <= 10, 30),
    ("resp_rate_low", "RESP", Tier.RED, lambda v: v <= 8, 30),
    ("resp_rate_low", "RESP", Tier.STOP, lambda v: v == 0, 20),
    ("resp_rate_high", "RESP", Tier.AMBER, lambda v: v >= 25, 30),
]


def expected(path: Path) -> list[tuple[int, str, str, int]]:
    table = rows(path)
    met: list[tuple[int, int, str, Tier, int]] = []
    for family, column, tier, in_band, dwell in RULE_TABLE:
        samples = [(n, float(row[column])) for n, row in enumerate(table) if row[column] != "NaN"]
        for inside, group in groupby(samples, key=lambda sample: in_band(sample[1])):
            run = [n for n, _ in group]
            if inside and run[-1] - run[0] >= dwell:
                first = next(n for n in run if n - run[0] >= dwell)
                met.append((first, -tier, family, tier, run[0]))
    highest: dict[str, int] = {}
    found = []
    for at, _, family, tier, since in sorted(met):
        if tier > highest.get(family, 0):
            highest[family] = tier
            found.append((at, family, tier.name, since))
    # A second without a saturation for a minute is RED, five minutes STOP.
    saturation = [n for n, row in enumerate(table) if row["SpO2"] != "NaN"]
    assert max(b - a for a, b in zip([0, *saturation], [*saturation, 481], strict=False)) < 60
    return sorted(found)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem[:8])
def test_every_recording_agrees_with_the_evaluator_written_apart(path: Path) -> None:
    assert sorted(seen(replay(stream(path)))) == expected(path)


def test_the_recordings_are_all_here_and_some_of_them_alert() -> None:
    assert len(FILES) == 36
    assert {tier for path in FILES for _, _, tier, _ in expected(path)} == {"AMBER", "RED", "STOP"}


def test_the_recordings_of_the_demo_raise_nothing() -> None:
    for number in ("50", "31", "20", "02", "37", "44", "43", "10", "47"):
        assert seen(replay(stream(FOLDER / f"bidmc_{number}_Numerics.csv"))) == []


@pytest.mark.parametrize("name", ["bidmc_22", "bidmc_49", "bidmc_13"])
def test_any_order_of_delivery_gives_the_same_alerts(name: str) -> None:
    readings = stream(FOLDER / f"{name}_Numerics.csv")[:90]
    in_order = fold(begin(T0, vitals(), RULES), readings, second(95), RULES)
    assert isinstance(in_order, AlertState)
    shuffled = readings[:]
    random.Random(7).shuffle(shuffled)
    state = begin(T0, vitals(), RULES)
    for reading in shuffled:
        result = step(state, reading, RULES)
        assert isinstance(result, tuple)
        state = result[0]
    final = fold(state, [], second(95), RULES)
    assert isinstance(final, AlertState)
    assert final.alerts == in_order.alerts


@pytest.mark.parametrize(("length", "tier"), [(25, None), (61, "RED"), (301, "STOP")])
def test_a_cut_in_the_stream_alerts_and_the_block_delivered_late_is_still_judged(length: int, tier: str | None) -> None:
    """bidmc_49 is at 88 or less for most of its length: the cut hides a STOP, which the late block brings to light."""
    readings = stream(FOLDER / "bidmc_50_Numerics.csv")
    cut, rest = readings[100 : 100 + length], readings[:100] + readings[100 + length :]
    gaps = [a for a in replay(rest).alerts if a.family == "spo2_gap"]
    assert [a.tier.name for a in gaps] == {None: [], "RED": ["RED"], "STOP": ["RED", "STOP"]}[tier]
    if gaps:
        assert gaps[0].at == second(99 + 60)
    # The cut block arrives at the end, with a desaturation in it: RED and STOP are raised late with their true time,
    # AMBER is not.
    from dataclasses import replace

    late = [replace(r, recorded_at=second(480.5), spo2=q("90 %") if i < 10 else r.spo2) for i, r in enumerate(cut)]
    raised = [a for a in replay([*rest, *late]).alerts if a.family == "spo2_low"]
    assert [(a.tier, a.late, a.at, a.since) for a in raised] == [(Tier.RED, True, second(105), second(100))]
