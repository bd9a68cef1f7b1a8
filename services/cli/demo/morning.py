"""A clinic morning of different outcomes: each patient's course from the enquiry on, side by side on one clock.

Who comes and when follows from a seed; what must come of each is known beforehand, and compared.
"""

import datetime as dt
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final

from services.cli.demo.course import FIRST_DAY, SCREENER, SINCE, Course, stock
from services.cli.demo.patient import Person, Vitals, intake, madrs
from services.cli.demo.stage import Stage
from services.therapies.ketamine.eligibility import QUESTIONS

__all__ = ["OUTCOMES", "Booked", "Guest", "book", "play"]

_NAMES: Final = ("Alder", "Birch", "Cedar", "Hazel", "Juniper", "Laurel", "Rowan", "Willow")
_DAY: Final = 22
"""The morning: a Wednesday, so many days after the first of those who come."""
_OPENS: Final = 9 * 60
_APART: Final = 20
"""Minutes of the day at which the first patient comes, and between two."""
_CALM: Final = tuple(range(0, 40, 4))
_AFTER: Final = (44, 48, 63, 78, 93, 108, 118)
"""Minutes after the start at which a nurse measures: every four while the pump runs, later every fifteen."""


@dataclass(frozen=True, slots=True)
class Booked:
    """Somebody who comes that morning, when (wall-clock time), and what will come of it."""

    who: Person
    slot: str
    outcome: str


def book(count: int, seed: int, number: int) -> tuple[Booked, ...]:
    """The first so many of a morning's patients, in the order in which they come.

    Args:
        count: 1 to as many as there are outcomes.
        seed: decides the order, and each patient's birth date, sex, height and weight. The first patients of a seed are the
            same however many come.
        number: makes them other people each time.
    """
    chance = random.Random(seed)  # noqa: S311 - the same patients for the same seed; nothing is a secret
    outcomes = chance.sample(list(OUTCOMES), len(OUTCOMES))
    names = chance.sample(_NAMES, len(_NAMES))
    booked = []
    for place, (outcome, name) in enumerate(zip(outcomes, names, strict=True)):
        slot = _OPENS + place * _APART
        weight = Decimal(chance.randrange(56, 95))
        bmi = Decimal(chance.randrange(200, 290)) / 10
        nurses = ("nurse.a", "nurse.b") if place % 2 == 0 else ("nurse.b", "nurse.a")
        who = Person(
            login=f"patient.{place + 1}",
            given_name=name,
            family_name=f"Fictitious-{seed}-{number}",
            birth_date=FIRST_DAY - dt.timedelta(days=chance.randrange(20 * 366, 63 * 365)),
            email=f"{name.lower()}.{seed}.{number}@example.org",
            escort=f"{name}'s Friend",
            female=chance.random() < 0.5,
            weight=weight,
            height=((weight / bmi).sqrt() * 100).quantize(Decimal("0.1")),
            nurse=nurses[0],
            witness=nurses[1],
            device=f"monitor-{number}-{place + 1}",
            last_drink=_clock(slot - 150),
        )
        booked.append(Booked(who, _clock(slot), outcome))
    return tuple(booked[:count])


def _clock(minutes: int) -> str:
    """A minute of the day as the clinic writes it."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


async def play(stage: Stage, first: dt.date, booked: Iterable[Booked]) -> None:
    """Play a morning; ``first`` is a Tuesday, three weeks and a day before it."""
    await stage.together([OUTCOMES[one.outcome](stage, first, one).play() for one in booked])


class Guest(Course):
    """A course that leads to one of the outcomes.

    Attributes:
        answers: in the intake, beside those of somebody whom nothing speaks against.
        day: of the first session.
        weeks: so many weeks after the first day somebody enquires.
    """

    answers: ClassVar[Mapping[str, Any]] = {}
    weeks: ClassVar[int] = 1

    def __init__(self, stage: Stage, first: dt.date, booked: Booked) -> None:
        super().__init__(stage, first + dt.timedelta(weeks=self.weeks), booked.who)
        self.slot = booked.slot
        self.day = _DAY - 7 * self.weeks
        self.outcome = booked.outcome
        self.consent = ""

    async def play(self) -> None:
        """The whole course."""
        raise NotImplementedError

    def _is(self, name: str, wanted: object, found: object) -> None:
        super()._is(f"{self.outcome}: {name}", wanted, found)

    # --- to the plan -----------------------------------------------------------------------------------------------

    async def known(self) -> None:
        """From the enquiry to everything that a patient says of themselves."""
        await self._until(0, "09:00")
        made = await self._consultation(None, "POST", "/enquiries", self._asked())
        await self._register(made["enquiry"])
        await self._open()
        await self._until(2, "20:00")
        answers = {
            **intake(self.first - FIRST_DAY, QUESTIONS),
            "hypertension_treated": False,
            "medications": ["bupropion"],
            "sex_at_birth": "female" if self.who.female else "male",
            "pregnancy_potential": self.who.female,
            **self.answers,
        }
        await self._consultation(self.account, "PUT", f"/cases/{self.case}/intake", {"answers": answers}, version=0)
        await self._consultation(self.account, "POST", f"/patients/{self.patient}/suicide-screens", SCREENER)
        await self._read()

    async def seen(self) -> dict[str, Any]:
        """The examination, consent, and what the rules propose."""
        await self._scales()
        await self._examined()
        self.consent = await self._consents()
        return await self.evaluated()

    async def planned(self) -> None:
        """To a signed plan, whose first session is on the day."""
        await self.known()
        await self._until(9, "14:00")
        found = await self.seen()
        self._is("proposal", ("ELIGIBLE", []), (found["outcome"], found["rules"]))
        await self._decide({"kind": "approved", "reason": "", "conditions": []})
        first = (self.first + dt.timedelta(days=self.first_session)).isoformat()
        series = {"first": first, "time": self.slot, "weekdays": [1, 3, 5]}
        proposed = await self._planning("psychiatrist.a", "POST", f"/cases/{self.case}/plans", series)
        self.plan = proposed["plan"]
        await self._sign("psychiatrist.a")
        self.sessions = proposed["draft"]["sessions"]

    @property
    def first_session(self) -> int:
        """Day of it."""
        return self.day

    # --- at the chair ----------------------------------------------------------------------------------------------

    def session(self, number: int = 1) -> str:
        """Path of a session of the plan."""
        return f"/sessions/{self.sessions[number - 1]['session']}"

    async def shown(self, number: int = 1) -> dict[str, Any]:
        """A session, as it stands."""
        return dict(await self.stage.call(self.who.nurse, "session_logging", "GET", self.session(number)))

    async def arrives(self, path: str, day: int) -> None:
        """A quarter of an hour before the start: everything that the gate asks for, and the dose of the day in the bag."""
        await self.stage.until(self.at(day, self.slot) - dt.timedelta(minutes=14))
        await self.check_in(path, day)
        await self._screened()
        facts = {"weight": self.who.measured["weight"], **({"hcg": "negative"} if self.who.female else {})}
        await self._room(self.who.nurse, f"{path}/facts", facts)
        await self._measured(path, Vitals(-14, 124, 76, 74, 14, 98), cadss6=[0] * 6)

    async def starts(self, path: str, day: int) -> dt.datetime:
        """The dose of the day is settled and drawn, and the pump started; returns when."""
        dose = (await self._room(self.who.nurse, f"{path}/dose", stock()))["dose"]
        wanted = (f"{self.who.weight / 2:.2f} mg", f"{self.who.volume} mL", "150.0 mL/h")
        self._is("dose of the day", wanted, (dose["mass"], dose["volume"], dose["pump_rate"]))
        await self._draw(path)
        await self.stage.until(self.at(day, self.slot))
        started = await self._room(self.who.nurse, f"{path}/start")
        self._is("infusing", ("infusing", "150.0 mL/h"), (started["state"], started["rate"]))
        return dt.datetime.fromisoformat(started["started_at"])

    async def _measured(self, path: str, vitals: Vitals, **more: Any) -> None:
        await self._room(self.who.nurse, f"{path}/vitals", vitals.body(**more))

    async def rounds(self, path: str, started: dt.datetime, minutes: Iterable[int], sbp: int = 130) -> None:
        """Nothing happens: the nurse measures at these minutes."""
        for minute in minutes:
            await self.stage.until(started + dt.timedelta(minutes=minute))
            await self._measured(path, Vitals(minute, sbp, 80, 80, 16, 98))

    async def whole_infusion(self, path: str, started: dt.datetime) -> None:
        """Forty minutes in which nothing happens."""
        await self.rounds(path, started, _CALM)
        await self.stage.until(started + dt.timedelta(minutes=40))
        await self._measured(path, Vitals(40, 132, 82, 80, 16, 98), cadss6=[1] * 6)
        await self._ended(path)

    async def goes_home(self, path: str, started: dt.datetime, login: str = "", ending: str = "completed") -> None:
        """Two hours after the start at the earliest, accompanied; the next day a nurse calls."""
        await self.stage.until(started + dt.timedelta(minutes=122))
        await self._screened()
        await self._fit(path, (0, 0, 0, 0, 0, 0))
        await self._discharge(path, login, ending)
        await self.stage.until(started + dt.timedelta(minutes=130, days=1))
        await self._check()

    async def alerts(self, path: str) -> list[dict[str, Any]]:
        """What was raised in a session."""
        found = await self.stage.call(self.who.nurse, "session_logging", "GET", f"{path}/monitoring-record")
        return list(found["alerts"])

    async def paged(self, subject: str) -> Counter[tuple[str, str]]:
        """Mails to pagers about something: how many of which code came to whom."""
        await self.stage.settle()
        query = "select id::text from session_logging.page where subject = $1"
        pages = [row["id"] for row in await self.stage.connection.fetch(query, subject)]
        return Counter(
            (mail["subject"].removeprefix("Page: "), mail["to"].partition("@")[0])
            for mail in await self.stage.mails()
            if any(page in mail["text"] for page in pages)
        )

    async def messages(self, about: str) -> Counter[str]:
        """What became of the messages about a session."""
        found = await self._after("front_desk.a", "GET", f"/patients/{self.patient}/messages")
        return Counter(one["status"] for one in found["messages"] if one["about"] == about)


class GoesWell(Guest):
    """An infusion, two hours, and a call the next day."""

    async def play(self) -> None:
        await self.planned()
        path = self.session()
        await self.arrives(path, self.day)
        started = await self.starts(path, self.day)
        with self.stage.watching():
            await self.whole_infusion(path, started)
        await self.rounds(path, started, _AFTER)
        await self.goes_home(path, started)
        self._is("alerts", [], await self.alerts(path))


class Ineligible(Guest):
    """The rules find a reason that nobody may decide away; the psychiatrist says no, and nothing can be planned."""

    answers: ClassVar = {"aneurysm_or_avm": True}

    async def play(self) -> None:
        await self.known()
        await self._until(self.day, self.slot)
        found = await self.seen()
        self._is("proposal", ("INELIGIBLE", ["K-E-ANEURYSM"]), (found["outcome"], found["rules"]))
        approval = {"kind": "approved", "reason": "the patient wishes it", "conditions": []}
        drafts = f"/cases/{self.case}/decision-drafts"
        await self._consultation("psychiatrist.a", "POST", drafts, approval, refused="not-approvable")
        await self._decide({"kind": "refused", "reason": "Aneurysm: a rise in pressure is a danger", "conditions": []})
        series = {"first": (self.first + dt.timedelta(days=self.day)).isoformat(), "time": self.slot, "weekdays": [1, 3, 5]}
        await self._planning("psychiatrist.a", "POST", f"/cases/{self.case}/plans", series, refused="not-approved")
        plans = await self._planning("psychiatrist.a", "GET", f"/cases/{self.case}/plans")
        self._is("plans", [], plans["plans"])


class ConsentWithdrawn(Guest):
    """At the chair the patient does not want to go on: nothing starts, the consultation hears of it, the plan is held."""

    async def play(self) -> None:
        await self.planned()
        path = self.session()
        await self.arrives(path, self.day)
        held = await self._room(self.who.nurse, f"{path}/consent-withdrawal")
        self._is("state", "held", held["state"])
        refused = await self._room(self.who.nurse, f"{path}/start", refused="gate-shut")
        self._is("gate", True, "/gate/K-S-CONSENT-WITHDRAWN" in {error["pointer"] for error in refused["errors"]})
        closed = await self._room(self.who.nurse, f"{path}/closure", {"ending": "aborted", "note": "Does not want to go on"})
        self._is("session", ("closed", "aborted", None), (closed["state"], closed["ending"], closed["started_at"]))
        withdrawal = f"/consents/{self.consent}/withdrawal"
        await self._consultation(self.account, "POST", withdrawal, refused="consent-withdrawn")
        plan = await self._planning("psychiatrist.a", "GET", f"/plans/{self.plan}")
        self._is("plan", ("held", "consent-withdrawn"), (plan["status"], plan["reason"]))


class NoShow(Guest):
    """Nobody comes; the next session stays as it is."""

    async def play(self) -> None:
        await self.planned()
        await self.stage.until(self.at(self.day, self.slot) + dt.timedelta(minutes=30))
        closed = await self._room(self.who.nurse, f"{self.session()}/closure", {"ending": "no-show", "note": "Phoned twice"})
        self._is("session", ("closed", "no-show", None), (closed["state"], closed["ending"], closed["checked_in_at"]))
        self._is("the next session", "scheduled", (await self.shown(2))["state"])
        self._is("reminders", {"sent": 3}, dict(await self.messages(self.sessions[0]["session"])))


class Aborted(Guest):
    """Half-way the saturation falls: STOP, everybody is paged at once, and what is left of the bag is accounted for."""

    async def play(self) -> None:
        await self.planned()
        path = self.session()
        await self.arrives(path, self.day)
        started = await self.starts(path, self.day)
        with self.stage.watching():
            await self.rounds(path, started, range(0, 20, 4))
            await self.stage.until(started + dt.timedelta(minutes=20))
            await self._measured(path, Vitals(20, 128, 80, 104, 12, 87))
        stopped = await self._room(self.who.nurse, f"{path}/stop", {"reason": "emergency"})
        self._is("state", ("recovery", None), (stopped["state"], stopped["rate"]))
        await self.stage.settle()
        alerts = await self.alerts(path)
        wanted = [("STOP", "spo2_low", "87 %"), ("STOP", "stopped:emergency", "emergency")]
        self._is("alerts", wanted, [(one["tier"], one["family"], one["value"]) for one in alerts])
        code = "session.alert-stop"
        paged = {(code, "pager-nurse"): 1, (code, "pager-clinic"): 1, (f"{code}-prescriber", "pager-prescriber"): 1}
        for alert in alerts:
            self._is("pages", paged, dict(await self.paged(alert["alert"])))
            await self._room(self.who.witness, f"/alerts/{alert['alert']}/acknowledgement")
        await self.stage.until(started + dt.timedelta(minutes=20, seconds=40))
        for alert in alerts:
            await self._room("prescriber.a", f"/alerts/{alert['alert']}/acknowledgement")
        await self._room(self.who.nurse, f"{path}/pump-volume", {"pump_volume": {"value": "50.0", "unit": "mL"}})
        await self.rounds(path, started, (22, 26, 30))
        for alert in alerts:
            await self._room("prescriber.a", f"/alerts/{alert['alert']}/resolution", {"action": "stopped"})
        given = (self.who.volume / 2).quantize(Decimal("0.01"), "ROUND_HALF_UP")
        waste = await self._wasted(path, self.who.volume - given)
        await self._room(self.who.witness, f"/wastes/{waste}/witness")
        await self.rounds(path, started, (45, 60, 75, 90, 105, 120))
        # Who was given drug goes home by a signed discharge only, and after a STOP a prescriber signs.
        away = {"ending": "aborted", "note": "Saturation; recovered on oxygen"}
        await self._room(self.who.nurse, f"{path}/closure", away, refused="illegal-move")
        await self.goes_home(path, started, "prescriber.a", "aborted")


class Unanswered(Guest):
    """A RED that nobody answers for three minutes: each page goes out in its time, and nothing closes by itself."""

    async def play(self) -> None:
        await self.planned()
        path = self.session()
        await self.arrives(path, self.day)
        started = await self.starts(path, self.day)
        with self.stage.watching():
            await self._unanswered(path, started)
        await self.rounds(path, started, (50, 54, 69, 84, 99, 114))
        # After a RED a prescriber signs.
        await self.goes_home(path, started, "prescriber.a")

    async def _unanswered(self, path: str, started: dt.datetime) -> None:
        await self.rounds(path, started, range(0, 20, 4))
        await self.stage.until(started + dt.timedelta(minutes=20))
        await self._measured(path, Vitals(20, 184, 98, 100, 18, 98))
        (alert,) = await self.alerts(path)
        raised = dt.datetime.fromisoformat(alert["raised_at"])
        self._is("alert", ("RED", "sbp_high", "184/98 mm[Hg]"), (alert["tier"], alert["family"], alert["value"]))
        code = "session.alert-red"
        wanted = Counter({(code, "pager-nurse"): 1, (f"{code}-prescriber", "pager-prescriber"): 1})
        self._is("paged at once", Counter(wanted), await self.paged(alert["alert"]))
        for seconds, more in (
            (60, {(code, "pager-nurse"): 1, ("session.pause-unrecorded", "pager-nurse"): 1}),
            (120, {(code, "pager-nurse"): 1}),
            (180, {(code, "pager-clinic"): 1, (f"{code}-prescriber", "pager-clinic"): 1}),
        ):
            await self.stage.until(raised + dt.timedelta(seconds=seconds))
            wanted.update(more)
            self._is(f"paged after {seconds} s", Counter(wanted), await self.paged(alert["alert"]))
        (alert,) = await self.alerts(path)
        self._is("still open", ("open", None, None), (alert["status"], alert["nurse"], alert["prescriber"]))
        await self._answered(path, started, alert["alert"])

    async def _answered(self, path: str, started: dt.datetime, alert: str) -> None:
        await self._room(self.who.witness, f"/alerts/{alert}/acknowledgement")
        await self._room(self.who.nurse, f"{path}/pause", {"reason": "alert"})
        await self._room("prescriber.a", f"/alerts/{alert}/acknowledgement")
        order = {"about": "resume", "start": True, "reason": "Pressure settled, seen at the bedside"}
        await self._room("prescriber.a", f"{path}/decisions", order)
        await self.rounds(path, started, (24, 28), sbp=136)
        await self._room("prescriber.a", f"/alerts/{alert}/resolution", {"action": "paused"})
        again = {"rate": {"value": "150.0", "unit": "mL/h"}, "patient_agrees": True}
        resumed = await self._room(self.who.nurse, f"{path}/resume", again)
        self._is("goes on", "infusing", resumed["state"])
        await self.rounds(path, started, (32, 36, 40, 44), sbp=134)
        await self.stage.until(started + dt.timedelta(minutes=46))
        await self._measured(path, Vitals(46, 132, 82, 80, 16, 98), cadss6=[1] * 6)
        await self._ended(path)


class LeftAgainstAdvice(Guest):
    """After the infusion the patient walks out: the prescriber is called at once, and a nurse calls the patient."""

    async def play(self) -> None:
        await self.planned()
        path = self.session()
        await self.arrives(path, self.day)
        started = await self.starts(path, self.day)
        with self.stage.watching():
            await self.whole_infusion(path, started)
        await self.rounds(path, started, (44, 48, 63))
        await self.stage.until(started + dt.timedelta(minutes=65))
        asked = await self._room(self.who.nurse, f"{path}/discharge-evaluations")
        self._is("may not go yet", "NOT_READY", asked["gate"]["outcome"])
        leaving = {"ending": "left-against-advice", "note": "Walked out; told of the risks", "screened": "declined"}
        closed = await self._room(self.who.nurse, f"{path}/closure", leaving)
        self._is("session", ("closed", "left-against-advice"), (closed["state"], closed["ending"]))
        code = "session.left-without-discharge"
        self._is("pages", {(code, "pager-prescriber"): 1}, dict(await self.paged(closed["session"])))
        await self.stage.until(started + dt.timedelta(minutes=125))
        await self._after("nurse.a", "POST", f"/patients/{self.patient}/suicide-screens", SINCE)
        await self._care_task("welfare", "nurse.a", "Reached at home, friend is there; told when to call 911")


class NonResponder(Guest):
    """Four infusions have not helped: the question is asked, and the prescriber ends the plan."""

    weeks: ClassVar = 0

    @property
    def first_session(self) -> int:
        return 13

    async def play(self) -> None:
        await self.planned()
        for number, day in enumerate((13, 15, 17, 20), 1):
            path = self.session(number)
            await self.arrives(path, day)
            started = await self.starts(path, day)
            await self.whole_infusion(path, started)
            await self.rounds(path, started, _AFTER)
            await self.goes_home(path, started)
        await self._until(self.day, self.slot)
        await self._rated(32)
        await self._care_task("futility-review", "psychiatrist.a", "No benefit after four: talked through, ended together")
        found = await self._after("psychiatrist.a", "GET", f"/patients/{self.patient}/outcomes")
        (last,) = [one for one in found["outcomes"] if one["instrument"] == "MADRS"]
        shown = (last["baseline"], last["total"], last["change"], last["response"])
        self._is("outcome", (34, 32, "5.88", False), shown)
        stopped = await self._planning("psychiatrist.a", "POST", f"/plans/{self.plan}/stop", {"reason": "no-response"})
        self._is("plan", ("stopped", "no-response"), (stopped["status"], stopped["reason"]))
        await self.stage.settle()
        for number in (5, 6):
            session = await self.shown(number)
            self._is(f"session {number}", ("closed", "cancelled"), (session["state"], session["ending"]))
            waiting = await self.messages(session["session"])
            self._is(f"messages about session {number}", 0, waiting["planned"])

    async def seen(self) -> dict[str, Any]:
        await self._rated(34)
        return await super().seen()

    async def _rated(self, total: int) -> None:
        rated = {"instrument": "madrs", "answers": madrs(total)}
        await self._consultation("psychiatrist.a", "POST", f"/patients/{self.patient}/assessments", rated)


OUTCOMES: Final[Mapping[str, type[Guest]]] = {
    "ineligible": Ineligible,
    "consent withdrawn": ConsentWithdrawn,
    "no-show": NoShow,
    "aborted": Aborted,
    "RED unanswered": Unanswered,
    "left against advice": LeftAgainstAdvice,
    "non-responder": NonResponder,
    "goes well": GoesWell,
}
"""What a morning can bring."""
