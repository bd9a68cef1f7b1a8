"""A course of treatment as a stage plays it: who asks whom, and the steps that are the same for every patient."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.cli.demo.patient import TOPICS, Person
from services.cli.demo.stage import Stage

__all__ = ["APPROVED", "FIRST_DAY", "SCREENER", "SINCE", "Course", "stock", "utc"]

FIRST_DAY: Final = dt.date(2027, 1, 12)
"""The Tuesday on which the story begins."""
SCREENER: Final = {"version": "screener", **dict.fromkeys(("q1", "q2", "q3", "q4", "q5", "q6"), False)}
"""A first suicide screen, all answers no."""
SINCE: Final = {**SCREENER, "version": "since-last"}
"""The same since the last visit."""
APPROVED: Final = {"meaning": "approved", "licence": "US-NY"}
"""What a prescriber signs with; the hash of what was shown comes to it."""
_BOTTLE: Final = Decimal("1.00")
"""mL that are drawn from a vial."""
_ML: Final = "mL"


class Course:
    """A patient on a stage.

    Args:
        stage: where.
        first: day 0.
        who: the patient.

    Attributes:
        patient, case, plan: ids, once there are any.
        sessions: of the plan, in its order.
    """

    def __init__(self, stage: Stage, first: dt.date, who: Person) -> None:
        self.stage = stage
        self.first = first
        self.who = who
        self.account = who.login
        self.person = {
            "given_name": who.given_name,
            "family_name": who.family_name,
            "birth_date": who.birth_date.isoformat(),
            "email": who.email,
        }
        self.patient = self.case = self.plan = ""
        self.sessions: list[dict[str, Any]] = []

    # --- when ------------------------------------------------------------------------------------------------------

    def at(self, day: int, clock: str) -> dt.datetime:
        """A wall-clock time of the clinic, so many days after the first."""
        time = dt.time.fromisoformat(clock)
        return dt.datetime.combine(self.first + dt.timedelta(days=day), time, ZoneInfo(self.stage.zone))

    async def _until(self, day: int, clock: str) -> None:
        await self.stage.until(self.at(day, clock))

    # --- who asks whom ---------------------------------------------------------------------------------------------

    async def _consultation(self, login: str | None, method: str, path: str, body: object = None, **more: Any) -> Any:
        return await self.stage.call(login, "consultation", method, path, body, **more)

    async def _room(self, login: str, path: str, body: object = None, **more: Any) -> Any:
        return await self.stage.call(login, "session_logging", "POST", path, body, **more)

    async def _planning(self, login: str, method: str, path: str, body: object = None, **more: Any) -> Any:
        return await self.stage.call(login, "treatment_planning", method, path, body, **more)

    async def _after(self, login: str, method: str, path: str, body: object = None, **more: Any) -> Any:
        return await self.stage.call(login, "follow_up", method, path, body, **more)

    async def _visits(self, login: str, path: str, body: object = None, **more: Any) -> Any:
        return await self.stage.call(login, "video_visits", "POST", path, body, **more)

    def _is(self, name: str, wanted: object, found: object) -> None:
        self.stage.check(name, wanted, found)

    # --- to the plan -----------------------------------------------------------------------------------------------

    def _asked(self) -> dict[str, Any]:
        """An enquiry, as it comes from the web."""
        return {
            "name": f"{self.who.given_name} {self.who.family_name}",
            "email": self.who.email,
            "language": "en-US",
            "zone": self.stage.zone,
            "therapy": "ketamine",
        }

    async def _register(self, enquiry: str) -> None:
        """The front desk makes an enquiry a patient."""
        body = {**self.person, "zone": self.stage.zone, "language": "en-US", "region": "US-NY", "enquiry": enquiry}
        self.patient = (await self._consultation("front_desk.a", "POST", "/patients", body))["patient"]

    async def _open(self) -> None:
        """Account, care team, contact and case of a patient."""
        path = f"/patients/{self.patient}"
        await self._consultation("front_desk.a", "PUT", f"{path}/account", {"account": self.stage.ids[self.account]}, version=1)
        team = [("psychiatrist.a", "prescriber"), ("prescriber.a", "prescriber"), ("nurse.a", "nurse"), ("nurse.b", "nurse")]
        members = [{"staff": self.stage.ids[login], "role": role} for login, role in team]
        await self._consultation("front_desk.a", "PUT", f"{path}/care-team", {"care_team": members}, version=2)
        contact = {"email": self.who.email, "email_agreed": True, "birth_date": self.person["birth_date"]}
        await self._after("front_desk.a", "PUT", f"{path}/contact", contact, version=0)
        self.case = (await self._consultation("nurse.a", "POST", f"{path}/cases", {"therapy": "ketamine"}))["case"]

    async def _scales(self) -> None:
        """The short questionnaires that a nurse goes through with the patient."""
        for instrument, answers in (("audit_c", [1, 0, 0]), ("dast10", [0, 0, 1] + [0] * 7), ("stop_bang", [1, 1] + [0] * 6)):
            body = {"instrument": instrument, "answers": answers}
            await self._consultation("nurse.a", "POST", f"/patients/{self.patient}/assessments", body)

    async def _read(self) -> None:
        """What has to be read before consent."""
        for topic in TOPICS:
            body = {"topic": topic, "content": "2026-11"}
            await self._consultation(self.account, "POST", f"/cases/{self.case}/readings", body)

    async def _examined(self) -> None:
        at = utc(await self.stage.now() - dt.timedelta(minutes=5))
        for test, finding in self.who.tests.items():
            body = {"test": test, "finding": finding, "taken_at": at}
            await self._consultation("nurse.a", "POST", f"/cases/{self.case}/results", body)
        pdmp = {"finding": "clear", "checked_at": at}
        await self._consultation("nurse.a", "POST", f"/cases/{self.case}/pdmp-checks", pdmp)
        seen = {"examined_at": at, **self.who.measured}
        await self._consultation("psychiatrist.a", "POST", f"/cases/{self.case}/examinations", seen)

    async def _consents(self) -> str:
        body = {"version": "3", "method": "on-screen"}
        return str((await self._consultation(self.account, "POST", f"/cases/{self.case}/consents", body))["consent"])

    async def evaluated(self) -> dict[str, Any]:
        """What the rules propose."""
        return dict(await self._consultation("psychiatrist.a", "POST", f"/cases/{self.case}/evaluations"))

    async def _decide(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The psychiatrist decides and signs what was shown."""
        draft = await self._consultation("psychiatrist.a", "POST", f"/cases/{self.case}/decision-drafts", wanted)
        signature = {**APPROVED, "meaning": wanted["kind"], "shown": draft["shown"]}
        body = {**wanted, "signature": signature}
        await self._consultation("psychiatrist.a", "POST", f"/cases/{self.case}/decisions", body)
        return dict(draft["content"])

    async def _sign(self, login: str) -> Any:
        draft = await self._planning(login, "GET", f"/plans/{self.plan}/draft")
        body = {"signature": {**APPROVED, "shown": draft["shown"]}}
        return await self._planning(login, "POST", f"/plans/{self.plan}/versions", body)

    # --- at the chair ----------------------------------------------------------------------------------------------

    async def check_in(self, path: str, day: int) -> None:
        """The nurse checks the patient in, with everything that is asked at the door."""
        body = {
            "identity_confirmed": True,
            "consent_reconfirmed": True,
            "prescriber_on_site": self.stage.ids["prescriber.a"],
            "escort_name": self.who.escort,
            "escort_phone": "+1 212 555 0142",
            "escort_phoned": True,
            "pdmp_checked": True,
            "last_solids": utc(self.at(day - 1, "20:00")),
            "last_clear_fluids": utc(self.at(day, self.who.last_drink)),
            "substances": False,
            "glp1": False,
            "changes": [],
            "device": self.who.device,
        }
        await self._room(self.who.nurse, f"{path}/check-in", body)

    async def _screened(self) -> None:
        """A nurse at the chair asks what is asked since the last time; nothing is answered with yes."""
        await self._room(self.who.nurse, f"/patients/{self.patient}/suicide-screens", SINCE)

    async def _draw(self, path: str) -> None:
        """The dose is drawn into the bag, and what is left in the syringe thrown away before a witness."""
        drawn = {
            **stock(),
            "drawn": {"value": str(_BOTTLE), "unit": _ML},
            "into_bag": {"value": str(self.who.volume), "unit": _ML},
            "vial": "V-2027-01",
            "lot": "L-7",
            "expires": (self.first + dt.timedelta(days=300)).isoformat(),
        }
        await self._room(self.who.nurse, f"{path}/drug", drawn)
        waste = await self._wasted(path, _BOTTLE - self.who.volume)
        await self._room(self.who.nurse, f"/wastes/{waste}/witness", refused="self-witnessed")
        await self._room(self.who.witness, f"/wastes/{waste}/witness")

    async def _wasted(self, path: str, volume: Decimal) -> str:
        body = {"volume": {"value": f"{volume:.2f}", "unit": _ML}}
        return str((await self._room(self.who.nurse, f"{path}/wastes", body))["waste"])

    async def _ended(self, path: str) -> Any:
        """The bag has run through."""
        return await self._room(self.who.nurse, f"{path}/end", {"pump_volume": {"value": "100.0", "unit": _ML}})

    async def _fit(self, path: str, cadss6: Sequence[int] = (1, 0, 0, 0, 0, 0)) -> None:
        await self._room(self.who.nurse, f"{path}/vitals", {"moaa_s": 5, "cadss6": list(cadss6)})
        facts = {
            "oriented_x4": True,
            "gait_steady": True,
            "vomiting": False,
            "aldrete": 10,
            "escort_seen": True,
            "instructions_given": True,
        }
        await self._room(self.who.nurse, f"{path}/facts", facts)

    async def _discharge(self, path: str, login: str = "", ending: str = "completed") -> None:
        """A nurse signs that the patient may go, or who else has to."""
        signer = login or self.who.nurse
        asked = await self._room(signer, f"{path}/discharge-evaluations")
        self._is(f"{self.who.given_name} may go", ("READY", []), (asked["gate"]["outcome"], asked["gate"]["shut_by"]))
        body = {"signature": {**APPROVED, "meaning": "discharged", "shown": asked["shown"]}}
        closed = await self._room(signer, f"{path}/discharge", body)
        self._is(f"{self.who.given_name}'s session", ("closed", ending), (closed["state"], closed["ending"]))
        await self._record_signed(path)

    async def _record_signed(self, path: str) -> None:
        """The prescriber on site signs what the room has written down; from then on it is only added to."""
        draft = await self.stage.call("prescriber.a", "session_logging", "GET", f"{path}/record-draft")
        self._is(f"{self.who.given_name}'s record lacks", [], draft["missing"])
        await self._room(
            "prescriber.a",
            f"{path}/record-signature",
            {"signature": {**APPROVED, "meaning": "authored", "shown": draft["shown"]}},
        )

    # --- the days after --------------------------------------------------------------------------------------------

    async def _check(self, note: str = "Called; slept well, spouse at home") -> None:
        """The 24-hour check: a suicide screen, then the task is done."""
        await self._after("nurse.a", "POST", f"/patients/{self.patient}/suicide-screens", SINCE)
        await self._care_task("check-24h", "nurse.a", note)

    async def _care_task(self, kind: str, login: str, note: str) -> None:
        found = await self._after(login, "GET", "/care-tasks?limit=200")
        mine = [one for one in found["tasks"] if one["kind"] == kind and one["patient"] == self.patient]
        self._is(f"{self.who.given_name} has a task: {kind}", 1, len(mine))
        for one in mine:
            await self._after(login, "POST", f"/care-tasks/{one['task']}/completion", {"note": note})


def utc(at: dt.datetime) -> str:
    """An instant as the services take it."""
    return at.astimezone(dt.UTC).isoformat()


def stock() -> dict[str, Any]:
    """What the dose is drawn from and into."""
    return {"strength": {"value": "50", "unit": "mg/mL"}, "bag": {"value": "100.00", "unit": _ML}}
