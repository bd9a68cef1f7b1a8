"""Real recordings through the edge, as a monitor would send them: exactly the alerts of a committed list and of the evaluator
that was written apart; and blocks that were cut out and come late."""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.chair import Chair
from tests.support.room import room
from tests.support.servers import Servers
from tests.unit.therapies.test_recordings import BY_HAND, FOLDER, expected, rows

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

BATCH_S = 30
LENGTH = 481
# Committed: second at which the rule was met, family, tier, as the raw rows have it.
COMMITTED = {
    "bidmc_05": [(191, "resp_rate_low", "AMBER")],
    "bidmc_22": [(6, "spo2_low", "RED")],
    "bidmc_26": [(256, "spo2_low", "AMBER")],
    "bidmc_50": [],
}


@dataclass
class Monitor:
    """A recording that is played at a chair.

    Attributes:
        cut: seconds that are held back and sent last, with a desaturation in the first ten of them.
    """

    chair: Chair
    name: str
    cut: range = range(0)
    device: str = ""
    sent: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)

    async def begin(self) -> None:
        await self.chair.begin()
        self.device = (await self.chair.shown())["device"]

        def whole(text: str) -> int | None:
            return None if text == "NaN" else int(float(text))

        for second, row in enumerate(rows(FOLDER / f"{self.name}_Numerics.csv")):
            assert self.chair.started is not None
            at = (self.chair.started + dt.timedelta(seconds=second)).astimezone(dt.UTC).isoformat()
            values = {"heart_rate": whole(row["PULSE"]), "resp_rate": whole(row["RESP"]), "spo2": whole(row["SpO2"])}
            if second in self.cut and second < self.cut.start + 10:
                values["spo2"] = 90
            self.samples.append({"seq": second, "at": at, **values, "origin": f"{self.name}.{second}"})

    async def send(self, now: dt.datetime) -> None:
        """What has been measured since the last time."""
        assert self.chair.started is not None
        until = min(LENGTH, int((now - self.chair.started).total_seconds()) + 1)
        live = [one for one in self.samples[self.sent : until] if one["seq"] not in self.cut]
        self.sent = until
        await self._post(live)

    async def catch_up(self) -> None:
        """The block that was held back."""
        await self._post([self.samples[second] for second in self.cut])

    async def _post(self, samples: list[dict[str, Any]]) -> None:
        if samples:
            body = {"device": self.device, "samples": samples}
            taken = (await self.chair.ask("integration.a", "samples", body)).ok()
            assert len(taken["accepted"]) == len(samples)

    async def raised(self, *families: str) -> list[tuple[int, str, str]]:
        """Alerts of the session: second, family, tier."""
        found = await self.chair.rows(
            "select at, family, tier from alert where session = $1 order by at, raised_at", self.chair.id
        )
        assert self.chair.started is not None
        return [
            (round((at - self.chair.started).total_seconds()), family, tier)
            for at, family, tier in found
            if not families or family in families
        ]


async def play(monitors: list[Monitor]) -> None:
    """All of them side by side, in real order: the clock moves on, each monitor sends what it has."""
    for place, one in enumerate(monitors):
        await one.chair.arrive()
        if place >= 2:  # a nurse has two patients who are infusing, and no more
            (await one.chair.ask("nurse.b", "handover")).ok()
        await one.chair.ready()
    for one in monitors:
        await one.begin()
    stage = monitors[0].chair.stage
    while any(one.sent < LENGTH for one in monitors):
        now = await stage.now()
        for one in monitors:
            await one.send(now)
        await stage.until(now + dt.timedelta(seconds=BATCH_S))


async def test_recordings_through_the_edge_raise_exactly_what_the_lists_say(servers: Servers, tmp_path: Path) -> None:
    async with room(servers, tmp_path, patients=len(COMMITTED), sessions=1) as chairs:
        monitors = [Monitor(chair, name) for chair, name in zip(chairs, COMMITTED, strict=True)]
        await play(monitors)
        # The last batch is behind: what is raised by its absence is no matter of the recording.
        found = {one.name: [alert for alert in await one.raised() if alert[0] < LENGTH] for one in monitors}
        assert found == COMMITTED
        for name, wanted in COMMITTED.items():
            apart = [(at, family, tier) for at, family, tier, _ in expected(FOLDER / f"{name}_Numerics.csv")]
            assert apart == wanted
            assert [(at, family, tier) for at, family, tier, _ in BY_HAND.get(name, [])] == wanted


async def test_blocks_that_were_cut_out_alert_by_their_absence_and_are_judged_when_they_come(
    servers: Servers, tmp_path: Path
) -> None:
    cuts = {25: [], 61: [(159, "spo2_gap", "RED")], 301: [(159, "spo2_gap", "RED"), (399, "spo2_gap", "STOP")]}
    async with room(servers, tmp_path, patients=len(cuts), sessions=1) as chairs:
        monitors = [Monitor(chair, "bidmc_50", range(100, 100 + length)) for chair, length in zip(chairs, cuts, strict=True)]
        await play(monitors)
        gaps = {len(one.cut): [alert for alert in await one.raised("spo2_gap") if alert[0] < LENGTH] for one in monitors}
        assert gaps == cuts, "a minute without a saturation is RED, five are STOP, whatever comes later (decision A12)"
        for one in monitors:
            before = await one.raised("spo2_gap")
            await one.catch_up()
            # Late, behind newer samples: RED with its true time, AMBER not any more, and no gap is taken back (A13).
            assert await one.raised("spo2_low") == [(105, "spo2_low", "RED")]
            assert await one.raised("spo2_gap") == before
            late = await one.chair.rows("select late from alert where session = $1 and family = 'spo2_low'", one.chair.id)
            assert late == [(True,)]
            # The same block again changes nothing.
            body = {"device": one.device, "samples": [one.samples[second] for second in one.cut]}
            again = (await one.chair.ask("integration.a", "samples", body)).ok()
            assert (again["accepted"], len(again["duplicates"])) == ([], len(one.cut))
            assert await one.raised("spo2_low") == [(105, "spo2_low", "RED")]
