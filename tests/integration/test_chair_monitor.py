"""The monitor at a chair: rows judged one by one, its binding, its silence, what fell due while the process was down."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.support.chair import CALM, Chair
from tests.support.room import room
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


def batch(chair: Chair, device: str, *rows: dict[str, Any], **more: object) -> dict[str, Any]:
    """Samples of a monitor; each row's ``second`` counts from the start of the infusion."""
    assert chair.started is not None
    samples = [
        {
            "seq": row.pop("seq", row["second"]),
            "at": (chair.started + dt.timedelta(seconds=row.pop("second"))).astimezone(dt.UTC).isoformat(),
            "heart_rate": 80,
            "spo2": 98,
            **row,
        }
        for row in rows
    ]
    return {"device": device, "samples": samples, **more}


async def test_a_bad_row_refuses_itself_and_a_stranger_is_refused_whole_and_alarmed(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=2, sessions=1) as (chair, other):
        await chair.start()
        await other.arrive()
        mine, theirs = (await chair.shown())["device"], (await other.shown())["device"]
        await chair.minute(0.5)
        now = (await chair.stage.now()).astimezone(dt.UTC)
        sent = (now + dt.timedelta(seconds=90)).isoformat()
        rows = ({"second": 1}, {"second": 2, "spo2": 101}, {"second": 3, "heart_rate": 351}, {"second": 600}, {"second": 4})
        taken = (await chair.ask("integration.a", "samples", batch(chair, mine, *rows, sent_at=sent))).ok()
        assert (taken["accepted"], taken["duplicates"]) == ([1, 4], [])
        assert taken["refused"] == [
            {"seq": 2, "code": "impossible"},
            {"seq": 3, "code": "impossible"},
            {"seq": 600, "code": "in-the-future"},
        ]
        assert 80 < taken["offset_s"] <= 90, "the monitor's clock is ahead, and that is written down"
        again = (await chair.ask("integration.a", "samples", batch(chair, mine, {"second": 4}, {"second": 4, "spo2": 60}))).ok()
        assert (again["accepted"], again["duplicates"], again["refused"]) == ([], [4], [{"seq": 4, "code": "conflicting"}])
        kept = await chair.rows("select accepted, duplicates, offset_ms between 80000 and 90000 from batch order by id")
        assert kept == [(2, 0, True), (0, 1, None)]
        assert await chair.rows("select count(*) from sample") == [(2,)]
        # One audit row of a batch, not of each sample.
        assert await chair.rows("select count(*) from audit where action = 'samples.ingest'") == [(2,)]
        # Kafka has a summary of what was taken, not a sample a second.
        assert await chair.rows("select count(*) from outbox where type like '%vitals-summarised%'") == [(2,)]

        # A monitor that is bound elsewhere, or nowhere: nothing is kept, and a nurse is called, once.
        for stranger in (theirs, theirs, "monitor-x"):
            refused = await chair.ask("integration.a", "samples", batch(chair, stranger, {"second": 5, "spo2": 70}))
            assert (refused.status, refused.code) == (409, "not-bound")
        assert await chair.rows("select count(*) from sample") == [(2,)]
        pages = await chair.rows("select subject from page where code = 'session.monitor-unbound'")
        assert pages == [(chair.id,), (chair.id,)], "one for each monitor"
        assert await chair.rows("select count(*) from alert") == [(0,)]

        # Another monitor is scanned; the first is free, and its samples are no longer this patient's.
        assert (await chair.ask("nurse.a", "device", {"device": theirs})).code == "device-bound"
        assert (await chair.ask("nurse.a", "device", {"device": "monitor-y"})).ok()["device"] == "monitor-y"
        assert (await chair.ask("integration.a", "samples", batch(chair, mine, {"second": 6}))).code == "not-bound"
        assert (await chair.ask("integration.a", "samples", batch(chair, "monitor-y", {"second": 6}))).ok()["accepted"] == [6]
        (await other.ask("nurse.a", "device", {"device": mine})).ok()


async def test_what_fell_due_while_the_process_was_down_is_raised_once_when_it_is_back(
    servers: Servers, tmp_path: Path
) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        await chair.care.running["session_logging"].kill()
        await chair.care.advance(21 * 60)
        await chair.care.spawn("session_logging")
        await chair.stage.settle()
        raised = "select family, tier from alert order by family, at"
        silence = [
            ("bp_gap", "AMBER"),
            ("bp_gap", "RED"),
            ("bp_gap", "STOP"),
            ("spo2_gap", "RED"),
            ("spo2_gap", "STOP"),
        ]
        assert await chair.rows(raised) == silence
        # Each at the instant at which it would have been: 12, 15 and 20 minutes, one and five after the typed saturation.
        assert chair.started is not None
        late = await chair.rows("select round(extract(epoch from at - $1) / 60) from alert order by family, at", chair.started)
        assert [int(row[0]) for row in late] == [12, 15, 20, 5, 9]
        pages = await chair.rows(
            "select code, count(*) from page where code like 'session.alert-%' group by code order by code"
        )
        assert pages == [("session.alert-red", 2), ("session.alert-red-prescriber", 2), ("session.alert-stop", 2)]
        # Another crash, and nothing is raised or called twice.
        await chair.care.running["session_logging"].kill()
        await chair.care.advance(60)
        await chair.care.spawn("session_logging")
        await chair.stage.settle()
        assert await chair.rows(raised) == silence
        assert await chair.rows("select count(*) from page where code like 'session.alert-%'") == [(6,)]


async def test_one_page_for_who_takes_over_and_curves_that_hide_nothing(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, sessions=1) as (chair,):
        await chair.start()
        device = (await chair.shown())["device"]
        await chair.tend(2)
        rows = [{"second": second, "spo2": 60 if second == 77 else 98} for second in range(120)]
        (await chair.ask("integration.a", "samples", batch(chair, device, *rows))).ok()
        (await chair.ask("nurse.a", "rate", {"rate": {"value": "60.0", "unit": "mL/h"}})).ok()
        (await chair.ask("nurse.a", "vitals", {**CALM.body(), "sbp": {"value": "182", "unit": "mm[Hg]"}})).ok()
        await chair.minute(4)
        page = (await chair.care.call("nurse.b", "session_logging", "GET", f"{chair.path}/handover")).ok()
        assert (page["state"], page["nurse"], page["dose"]) == ("infusing", chair.care.id("nurse.a"), "41.00 mg")
        # Two minutes at 150 mL/h and two at 60: 7.0 mL of a bag with 0.41 mg/mL, give or take the seconds of this test.
        ran = page["totals"]
        assert 6.9 <= float(ran["by_rate"].split()[0]) <= 7.4
        assert ran["by_rate_mass"] == "3.00 mg", "0.06 mL of the stock: the ledger counts hundredths"
        assert (ran["pump_volume"], ran["given"], ran["given_per_kg"], ran["pump"]) == (None, None, None, "unknown")
        assert [(one["tier"], one["family"]) for one in page["open_alerts"]] == [("RED", "sbp_high")]
        last = {one["signal"]: one["value"] for one in page["last"]}
        assert (last["sbp"], last["spo2"], last["moaa_s"]) == ("182 mm[Hg]", "98 %", "5")
        due = dt.datetime.fromisoformat(page["pressure_due"])
        read = await chair.rows("select at from entry where kind = 'vitals' order by at desc limit 1")
        assert due == read[0][0] + dt.timedelta(minutes=3), "after a RED pressure the next one is due in three minutes"
        trend = (await chair.care.call("nurse.b", "session_logging", "GET", f"{chair.path}/trend?spans=10")).ok()
        assert len(trend["spo2"]) == 10
        assert min(one["low"] for one in trend["spo2"]) == 60
        assert "182 mm[Hg]" in [one["value"] for one in trend["pressures"]]
