"""A chair of the infusion room, with the story's patient in it: from check-in to discharge by public calls."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.cli.demo.patient import Vitals
from services.cli.demo.stage import Stage
from tests.support.care import Answer, Care

__all__ = ["CALM", "SINCE", "Chair", "ml", "quantity"]

SINCE = {"version": "since-last", **dict.fromkeys(("q1", "q2", "q3", "q4", "q5", "q6"), False)}
CALM = Vitals(0, 128, 78, 76, 14, 98)
"""A set that raises nothing and passes every gate."""


def quantity(value: str, unit: str) -> dict[str, str]:
    """A quantity as a body carries it."""
    return {"value": value, "unit": unit}


def ml(value: str) -> dict[str, str]:
    """A volume as a body carries it."""
    return quantity(value, "mL")


@dataclass
class Chair:
    """See the module.

    Attributes:
        sessions: of the patient's plan, each with its id and when it is planned to begin.
        number: of the one that is held, from 1 on.
    """

    care: Care
    stage: Stage
    patient: str
    sessions: Sequence[Mapping[str, str]]
    number: int = 1
    started: dt.datetime | None = None

    def other(self, number: int) -> "Chair":
        """Another session of the same patient."""
        return replace(self, number=number, started=None)

    @property
    def id(self) -> str:
        """The session's id."""
        return str(self.sessions[self.number - 1]["session"])

    @property
    def path(self) -> str:
        """The session's path."""
        return f"/sessions/{self.id}"

    @property
    def planned(self) -> dt.datetime:
        """When it is planned to begin."""
        return dt.datetime.fromisoformat(self.sessions[self.number - 1]["starts"])

    async def ask(self, login: str | None, what: str, body: object = None, **more: Any) -> Answer:
        """A POST about the session, or at a path that begins with a slash."""
        target = what if what.startswith("/") else f"{self.path}/{what}"
        return await self.care.call(login, "session_logging", "POST", target, body, **more)

    async def shown(self) -> dict[str, Any]:
        """The session as it stands."""
        answer = await self.care.call("nurse.a", "session_logging", "GET", self.path)
        return dict(answer.ok())

    async def record(self) -> dict[str, Any]:
        """The session's monitoring record."""
        answer = await self.care.call("nurse.a", "session_logging", "GET", f"{self.path}/monitoring-record")
        return dict(answer.ok())

    async def until(self, at: dt.datetime) -> None:
        """Move the clinic clock on."""
        await self.stage.until(at)

    async def wait(self, **span: float) -> None:
        """Move the clinic clock on by a span."""
        await self.until(await self.stage.now() + dt.timedelta(**span))

    async def minute(self, after_start: float) -> None:
        """Move the clinic clock on to a minute of the infusion, and nobody looks at the patient meanwhile."""
        assert self.started is not None
        await self.until(self.started + dt.timedelta(minutes=after_start))

    async def tend(self, after_start: float) -> None:
        """Move the clinic clock on to a minute of the infusion, with a calm set every four minutes."""
        assert self.started is not None
        at, end = await self.stage.now(), self.started + dt.timedelta(minutes=after_start)
        while at < end:
            (await self.ask("nurse.a", "vitals", CALM.body())).ok()
            at = min(end, at + dt.timedelta(minutes=4))
            await self.until(at)

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Rows of the room's tables."""
        return [tuple(row.values()) for row in await self.care.rows("session_logging", query, *arguments)]

    # --- the steps -------------------------------------------------------------------------------------------------

    def door(self, **more: object) -> dict[str, object]:
        """What is asked at the door."""
        eve = self.planned - dt.timedelta(hours=14)
        asked = {
            "identity_confirmed": True,
            "consent_reconfirmed": True,
            "prescriber_on_site": self.care.id("prescriber.a"),
            "escort_name": "Sam Marlow",
            "escort_phone": "+1 212 555 0142",
            "escort_phoned": True,
            "pdmp_checked": True,
            "last_solids": eve.astimezone(dt.UTC).isoformat(),
            "last_clear_fluids": eve.astimezone(dt.UTC).isoformat(),
            "substances": False,
            "glp1": False,
            "changes": [],
            "device": f"monitor-{self.id[-4:]}",
        }
        return {**asked, **more}

    async def arrive(self, number: int = 1, **more: object) -> dict[str, Any]:
        """The patient is here, 25 minutes before the session is planned to begin."""
        self.number = number
        await self.until(self.planned - dt.timedelta(minutes=25))
        return dict((await self.ask("nurse.a", "check-in", self.door(**more))).ok())

    async def prepare(self, **vitals: object) -> None:
        """All that the gate asks is entered, and the drug is drawn. ``vitals`` are other values of the set before the start."""
        (await self.ask("nurse.a", f"/patients/{self.patient}/suicide-screens", SINCE)).ok()
        (await self.ask("nurse.a", "facts", {"weight": quantity("82.0", "kg"), "hcg": "negative"})).ok()
        (await self.ask("nurse.a", "vitals", CALM.body(cadss6=[0] * 6) | vitals)).ok()
        stock = {"strength": quantity("50", "mg/mL"), "bag": ml("100.00")}
        (await self.ask("nurse.a", "dose", stock)).ok()
        expires = (self.planned + dt.timedelta(days=300)).date().isoformat()
        vial = {"vial": f"V-{self.number}", "lot": "L-7", "expires": expires}
        (await self.ask("nurse.a", "drug", {**stock, "drawn": ml("1.00"), "into_bag": ml("0.82"), **vial})).ok()

    async def waste(self, volume: str, witness: str = "nurse.b") -> None:
        """Drug is thrown away before somebody."""
        made = (await self.ask("nurse.a", "wastes", {"volume": ml(volume)})).ok()
        (await self.ask(witness, f"/wastes/{made['waste']}/witness")).ok()

    async def start(self, number: int = 1, **vitals: object) -> None:
        """From check-in to a running pump."""
        await self.arrive(number)
        await self.wait(minutes=5)
        await self.ready(**vitals)
        await self.begin()

    async def ready(self, **vitals: object) -> None:
        """All is prepared, and what is left of the vial is thrown away."""
        await self.prepare(**vitals)
        await self.waste("0.18")

    async def begin(self) -> None:
        """The pump runs."""
        await self.stage.settle()
        begun = (await self.ask("nurse.a", "start")).ok()
        self.started = dt.datetime.fromisoformat(begun["started_at"])

    async def end(self, pump: str = "100.0") -> None:
        """The pump is off."""
        (await self.ask("nurse.a", "end", {"pump_volume": ml(pump)})).ok()

    async def rest(self, minutes: int) -> None:
        """Awake and calm for so long, by the clinic clock alone: no service is waited for."""
        for _ in range(2):
            (await self.ask("nurse.a", "vitals", CALM.body())).ok()
        for _ in range(0, minutes, 14):
            await self.care.advance(14 * 60)
            (await self.ask("nurse.a", "vitals", CALM.body())).ok()

    async def well(self) -> None:
        """Everything is said that a discharge asks for."""
        (await self.ask("nurse.a", f"/patients/{self.patient}/suicide-screens", SINCE)).ok()
        (await self.ask("nurse.a", "vitals", CALM.body(cadss6=[0] * 6))).ok()
        said = {"oriented_x4": True, "gait_steady": True, "vomiting": False, "aldrete": 10}
        (await self.ask("nurse.a", "facts", {**said, "escort_seen": True, "instructions_given": True})).ok()

    async def recover(self) -> dict[str, Any]:
        """Recovery with calm sets until the discharge gate may be asked: two hours from the start, one from the end."""
        ended = dt.datetime.fromisoformat((await self.shown())["ended_at"])
        assert self.started is not None
        ready = max(self.started + dt.timedelta(minutes=121), ended + dt.timedelta(minutes=61))
        now = await self.stage.now()
        awake = now + dt.timedelta(minutes=4)
        while now < ready:
            (await self.ask("nurse.a", "vitals", CALM.body())).ok()
            now = awake if now < awake else min(ready, now + dt.timedelta(minutes=14))
            await self.until(now)
        await self.well()
        return dict((await self.ask("nurse.a", "discharge-evaluations")).ok())

    async def discharge(self, login: str = "nurse.a") -> Answer:
        """Sign what the discharge gate shows."""
        shown = (await self.ask(login, "discharge-evaluations")).ok()["shown"]
        signature = {"meaning": "discharged", "licence": "US-NY", "shown": shown}
        return await self.ask(login, "discharge", {"signature": signature})
