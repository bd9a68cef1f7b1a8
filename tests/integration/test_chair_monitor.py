"""The monitor at a chair: rows judged one by one, its binding, its silence, what fell due while the process was down."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from services.runtime.migrations import migrate
from services.session_logging.store.retention import keep_samples
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


async def due(chair: Chair) -> dict[str, Any]:
    """When the next set of vitals is due, as a nurse is shown it."""
    return dict((await chair.care.call("nurse.a", "session_logging", "GET", f"{chair.path}/vitals-due")).ok())


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
        measured = (await chair.rows("select at from entry where kind = 'vitals' order by at desc limit 1"))[0][0]
        next_set = {"due_at": (measured + dt.timedelta(minutes=10)).isoformat().replace("+00:00", "Z")}
        assert await due(chair) == {**next_set, "due": False, "noticed_at": None}
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
        codes = ("red", "red-prescriber", "stop", "stop-prescriber")
        assert pages == [(f"session.alert-{code}", 2) for code in codes]
        # The set was due before it was overdue: that is a notice, and no page.
        notices = "select due_at from vitals_due"
        assert await chair.rows(notices) == [(measured + dt.timedelta(minutes=10),)]
        told = "select count(*) from outbox where type like '%vitals-due%'"
        assert await chair.rows(told) == [(1,)]
        found = await due(chair)
        assert (found["due_at"], found["due"]) == (next_set["due_at"], True)
        assert found["noticed_at"] > found["due_at"]
        # Another crash, and nothing is raised or called twice.
        await chair.care.running["session_logging"].kill()
        await chair.care.advance(60)
        await chair.care.spawn("session_logging")
        await chair.stage.settle()
        assert await chair.rows(raised) == silence
        assert await chair.rows("select count(*) from page where code like 'session.alert-%'") == [(8,)]
        others = await chair.rows("select distinct code from page where code not like 'session.alert-%'")
        assert others == [("session.pause-unrecorded",)], "a RED asks for a pause; what is due asks for nobody"
        assert (len(await chair.rows(notices)), await chair.rows(told)) == (1, [(1,)])
        # A set, and the next one is due, by the cadence of recovery once the pump is off.
        (await chair.ask("nurse.a", "vitals", CALM.body())).ok()
        await chair.end()
        assert (await due(chair))["due"] is False
        last = (await chair.rows("select max(at) from entry where kind = 'vitals'"))[0][0]
        await chair.until(last + dt.timedelta(minutes=15, seconds=-1))
        assert len(await chair.rows(notices)) == 1
        await chair.until(last + dt.timedelta(minutes=15, seconds=1))
        assert (await due(chair))["due"] is True
        assert (await chair.rows(f"{notices} order by due_at desc"))[0] == (last + dt.timedelta(minutes=15),)


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


async def test_samples_live_in_months_and_none_is_lost_outside_of_them(servers: Servers, tmp_path: Path) -> None:
    evening = dt.datetime(2027, 1, 31, 19, 0, tzinfo=ZoneInfo("America/New_York"))  # midnight in UTC, where months begin
    where = "select tableoid::regclass::text, count(*) from sample group by 1 order by 1"
    async with room(servers, tmp_path, sessions=1) as (made,):
        care = made.care
        await made.rows("update session set starts_at = $1 returning id", evening)
        chair = replace(made, sessions=[{**made.sessions[0], "starts": evening.isoformat()}])
        await chair.start()
        assert chair.started is not None
        device, midnight = (await chair.shown())["device"], int((evening - chair.started).total_seconds()) + 1
        await chair.minute(25)
        # Nobody has made a month yet: what is measured is kept, and known when it comes again.
        first = [{"second": second} for second in range(midnight - 5, midnight + 5)]
        (await chair.ask("integration.a", "samples", batch(chair, device, *map(dict, first)))).ok()
        assert await chair.rows(where) == [("sample_outside", 10)]
        async with care.owner() as owner:
            done = await keep_samples(owner, months=84, by="ops.a")
            assert done.made == [f"sample_2027_{month:02}" for month in range(1, 6)]
            assert (done.moved, done.dropped) == (10, [])
            again = await keep_samples(owner, months=84, by="ops.a")
            assert (again.made, again.moved, again.dropped) == ([], 0, [])
        assert await chair.rows(where) == [("sample_2027_01", 5), ("sample_2027_02", 5)]
        assert await chair.rows("select count(*) from audit where action = 'samples.keep' and actor = 'ops.a'") == [(5,)]

        # The same again, over the end of the month; a number of one month with an instant of the other; a late block.
        rows = [*map(dict, first), {"second": midnight + 9, "seq": midnight - 3}, {"second": midnight - 9, "seq": midnight + 3}]
        late = [{"second": second} for second in (midnight - 20, midnight + 20)]
        taken = (await chair.ask("integration.a", "samples", batch(chair, device, *rows, *late))).ok()
        assert (len(taken["duplicates"]), taken["accepted"]) == (10, [midnight - 20, midnight + 20])
        assert {one["code"] for one in taken["refused"]} == {"conflicting"}
        assert len(taken["refused"]) == 2
        assert await chair.rows(where) == [("sample_2027_01", 6), ("sample_2027_02", 6)]
        trend = (await care.call("nurse.b", "session_logging", "GET", f"{chair.path}/trend")).ok()
        assert sum(one["samples"] for one in trend["spo2"]) == 12

        # A month is reached through the whole table, whose rows the service cannot change; also behind the next deployment.
        await migrate(servers.postgres.url(care.database), [care.services["session_logging"]])
        async with care.as_service("session_logging") as service:
            assert await service.fetchval("select count(*) from sample") == 12
            for statement in ("delete from sample", "delete from sample_2027_01", "drop table sample_2027_01"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await service.execute(statement)

        # A year and two months later the first month has gone; what people wrote and what was raised has not.
        await care.running["session_logging"].kill()
        await care.advance(dt.timedelta(days=395).total_seconds())
        entries = await chair.rows("select count(*) from entry")
        async with care.owner() as owner:
            done = await keep_samples(owner, months=12, by="ops.a")
        assert done.dropped == ["sample_2027_01", "sample_2027_02"]
        assert await chair.rows("select count(*) from sample") == [(0,)]
        assert await chair.rows("select count(*) from entry") == entries
