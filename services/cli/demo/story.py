"""The story of one ketamine patient, from the enquiry to the review in spring: every step a public call by the right person.

It is played on any Tuesday: the dates of the story are moved by whole weeks to the next one that is ahead.
"""

import csv
import datetime as dt
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.cli.demo.course import APPROVED, FIRST_DAY, SCREENER, SINCE, Course, stock, utc
from services.cli.demo.patient import (
    FOLLOWING,
    INFUSION,
    RECOVERY,
    Person,
    Vitals,
    gad7,
    intake,
    madrs,
    phq9,
    qids,
)
from services.cli.demo.stage import Stage
from services.therapies.ketamine.eligibility import QUESTIONS

__all__ = ["FIRST_DAY", "Story"]

_RECORDINGS: Final = Path(__file__).parents[3] / "examples" / "vitals"
_INFUSION: Final = ("50", "31", "20", "02", "37")
_RECOVERY: Final = ("44", "43", "10", "47")
_BATCH_S: Final = 50
"""Seconds of one batch of the monitor: a minute without any saturation would be an alarm, and rightly."""
_SCREENER: Final = {**SCREENER, "q1": True, "q2": True}
_APPROVAL: Final = {
    "kind": "approved",
    "reason": "hypertension controlled; amlodipine on session mornings",
    "conditions": ["K-E-HYPERTENSION"],
}


class Story(Course):
    """Plays it on a stage.

    Args:
        stage: where.
        first: the Tuesday on which it begins; whole weeks after ``FIRST_DAY``.
        number: makes the patient another person each time: 1, 2, 3 ...
        weekly: how many of the four weekly infusions are held before the last look.
    """

    def __init__(self, stage: Stage, first: dt.date, number: int = 1, weekly: int = 4) -> None:
        who = Person(
            login="patient.a",
            given_name="Zoe",
            family_name=f"Marlow-{first.isoformat()}-{number}",
            birth_date=dt.date(1983, 6, 9),
            email=f"z.{first.isoformat()}.{number}@example.org",
        )
        super().__init__(stage, first, who)
        self.weekly = weekly

    async def _visit(self, day: int, clock: str) -> str:
        """A visit with the psychiatrist; the patient says where they are that day before anything else."""
        wanted = {"clinician": self.stage.ids["psychiatrist.a"], "starts": utc(self.at(day, clock)), "by_video": False}
        made = await self._visits("front_desk.a", f"/patients/{self.patient}/visits", {**wanted, "case": self.case})
        visit = f"/visits/{made['visit']}"
        await self._visits(self.account, f"{visit}/join-tokens", refused="not-by-video")
        address = {"region": "US-NY", "address": "12 Canary Street, Albany"}
        await self._visits(self.account, f"{visit}/location", address)
        return visit

    # --- the story -------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """All of it."""
        await self.to_the_plan()
        await self.first_session()
        await self.amendment()
        await self.induction()
        await self.maintenance()
        await self.results()

    async def to_the_plan(self) -> None:
        """From the enquiry to the signed plan."""
        await self.enquiry()
        await self.intake()
        await self.findings()
        await self.decision_and_plan()

    async def enquiry(self) -> None:
        """Tuesday and Wednesday: two enquiries from one address are one person, as a human finds out."""
        await self._until(0, "09:00")
        asked = self._asked()
        first = await self._consultation(None, "POST", "/enquiries", asked)
        await self._until(1, "10:00")
        second = await self._consultation(None, "POST", "/enquiries", {**asked, "name": "The same, by another name"})
        self._is("988 is shown to who asks", "988", re.sub(r"\D", "", first["crisis_line"])[:3])
        await self._register(first["enquiry"])
        await self._consultation(
            "front_desk.a",
            "POST",
            f"/enquiries/{second['enquiry']}/link",
            {"patient": self.patient, "reason": "Called back: the same person, who shares the address with her spouse"},
        )
        await self._open()

    async def intake(self) -> None:
        """Thursday evening: incomplete twice, and a suicide item that a human answers the next morning."""
        answers = intake(self.first - FIRST_DAY, QUESTIONS)
        await self._until(2, "20:40")
        without = {name: value for name, value in answers.items() if name != "allergies"}
        await self._consultation(self.account, "PUT", f"/cases/{self.case}/intake", {"answers": without}, version=0)
        found = await self.evaluated()
        self._is("intake without allergies", ("INCOMPLETE", True), (found["outcome"], "allergies" in found["missing"]))
        await self._until(2, "20:52")
        await self._consultation(self.account, "PUT", f"/cases/{self.case}/intake", {"answers": answers}, version=1)
        found = await self.evaluated()
        self._is("still incomplete: tests", ("INCOMPLETE", False), (found["outcome"], "allergies" in found["missing"]))
        trials = [(one["verdict"], one["weeks"]) for one in found["evidence"]["result"]["trials"]]
        wanted = [("failed", "10.0"), ("failed", "24.0"), ("intolerant", "3.0"), ("failed", "32.4")]
        self._is("trials", wanted, trials)
        path = f"/patients/{self.patient}"
        phq = {"instrument": "phq9", "answers": [3, 3, 3, 3, 2, 2, 2, 2, 1]}
        scored = await self._consultation(self.account, "POST", f"{path}/assessments", phq)
        self._is("PHQ-9", (21, "severe", True, "988"), tuple(scored[k] for k in ("total", "severity", "screen_now", "help")))
        screened = await self._consultation(self.account, "POST", f"{path}/suicide-screens", _SCREENER)
        self._is("C-SSRS", "LOW", screened["level"])
        await self._until(3, "09:10")
        await self._answer_risk("consultation", "nurse.a", "Called at 09:10; safety plan made")

    async def _answer_risk(self, service: str, login: str, note: str) -> None:
        """Whatever answers about suicide have opened of this patient is done by a human."""
        found = await self.stage.call(login, service, "GET", f"/patients/{self.patient}/risk")
        for task in found["tasks"]:
            if task["kind"] == "risk-review":
                await self.stage.call(login, service, "POST", f"/tasks/{task['task']}/completion", {"note": note})

    async def findings(self) -> None:
        """Tuesday: scales by a clinician, education read. Thursday: examination, tests, consent, and the rules' proposal."""
        path = f"/patients/{self.patient}"
        visit = await self._visit(7, "10:00")
        await self._until(7, "10:00")
        for role in ("patient", "clinician"):
            await self._visits("front_desk.a", f"{visit}/presence", {"role": role, "there": True})
        rated = {"instrument": "madrs", "answers": [4, 4, 3, 4, 3, 4, 5, 4, 3, 2]}
        scored = await self._consultation("psychiatrist.a", "POST", f"{path}/assessments", rated)
        self._is("MADRS", (36, "severe"), (scored["total"], scored["severity"]))
        if scored["screen_now"]:
            await self._consultation("psychiatrist.a", "POST", f"{path}/suicide-screens", _SCREENER)
            await self._answer_risk("consultation", "psychiatrist.a", "Talked through at the visit; safety plan holds")
        anxious = {"instrument": "gad7", "answers": gad7(13)}
        scored = await self._consultation(self.account, "POST", f"{path}/assessments", anxious)
        self._is("GAD-7", (13, "moderate"), (scored["total"], scored["severity"]))
        await self._scales()
        await self._read()
        await self._until(7, "10:45")
        for role in ("patient", "clinician"):
            await self._visits("front_desk.a", f"{visit}/presence", {"role": role, "there": False})
        await self._until(9, "14:00")
        over = await self.stage.call("psychiatrist.a", "video_visits", "GET", visit)
        self._is("visit", ("ended", "US-NY"), (over["state"], over["region"]))
        await self._examined()
        await self._consents()
        found = await self.evaluated()
        self._is("proposal", ("REVIEW_REQUIRED", ["K-E-HYPERTENSION"]), (found["outcome"], found["rules"]))
        result = found["evidence"]["result"]
        self._is("treatment-resistant, BMI", (True, "29.05"), (result["treatment_resistant"], result["bmi"]))
        staging = result["maudsley"]
        points = [staging[name] for name in ("duration", "severity", "failures", "augmentation", "ect")]
        self._is("Maudsley", ([2, 4, 2, 1, 0], 9), (points, sum(points)))

    async def decision_and_plan(self) -> None:
        """Thursday, 16:00: a licensed human decides, with a reason; the plan is proposed, edited and signed."""
        await self._planning("psychiatrist.a", "POST", f"/cases/{self.case}/plans", self._series(), refused="not-approved")
        await self._until(9, "16:00")
        content = await self._decide(_APPROVAL)
        self._is("approval holds until", (self.first + dt.timedelta(days=39)).isoformat(), content["valid_until"])
        proposed = await self._planning("psychiatrist.a", "POST", f"/cases/{self.case}/plans", self._series())
        self.plan = proposed["plan"]
        terms = proposed["draft"]
        self._is("proposed", ("0.5 mg/kg", "actual", "40 min", 6), (*_terms(terms), len(terms["sessions"])))
        later = [self.at(day, "11:00") for day in (20, 22, 24)]
        starts = [dt.datetime.fromisoformat(one["starts"]) for one in terms["sessions"][:3]] + later
        sessions = [
            {"session": one["session"], "starts": utc(start), "phase": "induction"}
            for one, start in zip(terms["sessions"], starts, strict=True)
        ]
        edited = await self._edit(sessions, "40", None, proposed["version"])
        await self._sign("psychiatrist.a")
        self.sessions = edited["draft"]["sessions"]

    def _series(self) -> dict[str, Any]:
        return {"first": (self.first + dt.timedelta(days=13)).isoformat(), "time": "10:30", "weekdays": [1, 3, 5]}

    async def _edit(self, sessions: Sequence[dict[str, Any]], minutes: str, reason: str | None, version: int) -> Any:
        body = {
            "dose": {"value": "0.5", "unit": "mg/kg"},
            "basis": "actual",
            "duration": {"value": minutes, "unit": "min"},
            "reason": reason,
            "sessions": list(sessions),
        }
        return await self._planning("psychiatrist.a", "PUT", f"/plans/{self.plan}/draft", body, version=version)

    # --- session 1 -------------------------------------------------------------------------------------------------

    async def first_session(self) -> None:
        """Monday: refused once, started, one AMBER by the rise alone, one adverse event, discharge refused once."""
        one, started = await self.start_first()
        await self._infusion(one, started)

    async def start_first(self) -> tuple[str, dt.datetime]:
        """From check-in to the start of the pump; returns the session's path and the instant."""
        one = f"/sessions/{self.sessions[0]['session']}"
        await self._until(13, "10:05")
        await self._room("nurse.a", f"{one}/start", refused="illegal-move")
        await self.check_in(one, 13)
        await self._room("nurse.a", f"/patients/{self.patient}/suicide-screens", {**SINCE, "q1": True})
        answers = [3, 2, 1, 0, 2, 2, 0, 1, 0, 2, 3, 1, 1, 2, 1, 1]
        scored = await self._room(self.account, f"/patients/{self.patient}/assessments", _qids(answers))
        self._is("QIDS before", (17, "severe"), (scored["total"], scored["severity"]))
        await self._answer_risk("session_logging", "nurse.a", "Talked through at the chair; safety plan holds")
        await self._until(13, "10:17")
        await self._room("nurse.a", f"{one}/facts", {"weight": self.who.measured["weight"]})
        await self._room("nurse.a", f"{one}/vitals", Vitals(-13, 128, 78, 76, 14, 98).body(cadss6=[0] * 6))
        dose = (await self._room("nurse.a", f"{one}/dose", stock()))["dose"]
        wanted = ("41.00 mg", "0.82 mL", "0.4100 mg/mL", "150.0 mL/h", "1.025 mg/min", "61.500 mg/h")
        self._is("dose of the day", wanted, _dose(dose))
        await self._until(13, "10:18")
        refused = await self._room("nurse.a", f"{one}/start", refused="gate-shut")
        self._is("start refused for one reason", ["/gate/hcg"], [error["pointer"] for error in refused["errors"]])
        await self._until(13, "10:21")
        await self._room("nurse.a", f"{one}/facts", {"hcg": "negative"})
        self._is("gate", "OPEN", (await self._room("nurse.a", f"{one}/start-evaluations"))["outcome"])
        await self._draw(one)
        await self._until(13, "10:30")
        started = await self._room("nurse.a", f"{one}/start")
        self._is("infusing", ("infusing", "150.0 mL/h"), (started["state"], started["rate"]))
        return one, dt.datetime.fromisoformat(started["started_at"])

    async def _infusion(self, path: str, started: dt.datetime) -> None:
        """Monitor and nurse, side by side: what is due next is done next."""
        acts: list[tuple[float, int, Any]] = []
        for number, batch in enumerate(_batches()):
            acts.append((batch[-1]["second"], number, ("samples", batch)))
        for one in (*INFUSION, *RECOVERY):
            acts.append((one.minute * 60 + (25 if one.minute == 30 else 0), 10_000, ("vitals", one)))
        acts += [
            (26 * 60, 10_001, ("adverse event", None)),
            (30 * 60 + 55, 10_001, ("acknowledge", None)),
            (34 * 60 + 40, 10_001, ("resolve", None)),
            (40 * 60, 10_001, ("end", None)),
            (80 * 60, 10_001, ("over", None)),
            (110 * 60, 10_001, ("too early", None)),
            (118 * 60, 10_001, ("ready", None)),
            (124 * 60, 10_001, ("home", None)),
        ]
        state: dict[str, Any] = {}
        with ExitStack() as watched:
            watched.enter_context(self.stage.watching())
            for second, _, (what, data) in sorted(acts, key=lambda act: act[:2]):
                await self.stage.until(started + dt.timedelta(seconds=second))
                await self._act(what, data, path, started, state)
                if what == "end":
                    watched.close()

    async def _act(self, what: str, data: Any, path: str, started: dt.datetime, state: dict[str, Any]) -> None:
        if what == "samples":
            samples = [
                {
                    "seq": one["second"],
                    "at": utc(started + dt.timedelta(seconds=one["second"])),
                    "heart_rate": one["pulse"],
                    "spo2": one["spo2"],
                    "origin": one["origin"],
                }
                for one in data
            ]
            await self._room("integration.a", f"{path}/samples", {"device": "monitor-1", "samples": samples}, quiet=False)
        elif what == "vitals":
            more: dict[str, Any] = {"cadss6": [2, 2, 1, 1, 1, 1]} if data.minute == 40 else {}
            if data.minute == 30:
                more["at"] = utc(started + dt.timedelta(minutes=30))
            await self._room("nurse.a", f"{path}/vitals", data.body(**more))
        elif what == "adverse event":
            body = {
                "term": "dizziness",
                "grade": 1,
                "relatedness": "probable",
                "action": "none",
                "onset_at": utc(await self.stage.now()),
            }
            state["event"] = (await self._room("nurse.a", f"{path}/adverse-events", body))["adverse_event"]
        elif what == "acknowledge":
            record = await self.stage.call("nurse.a", "session_logging", "GET", f"{path}/monitoring-record")
            raised = [(one["tier"], one["family"], one["rule"]) for one in record["alerts"]]
            self._is("one alert, by the rise alone", [("AMBER", "sbp_high", "alert.sbp_rise.AMBER")], raised)
            state["alert"] = record["alerts"][0]["alert"]
            await self._room("nurse.a", f"/alerts/{state['alert']}/acknowledgement")
        elif what == "resolve":
            await self._room("nurse.a", f"/alerts/{state['alert']}/resolution", {"action": "rechecked"})
        elif what == "end":
            await self._ended(path)
        elif what == "over":
            body = {"resolved_at": utc(await self.stage.now())}
            await self._room("nurse.a", f"/adverse-events/{state['event']}/resolution", body)
        else:
            await self._leave(what, path, started)

    async def _leave(self, what: str, path: str, started: dt.datetime) -> None:
        if what == "too early":
            asked = await self._room("nurse.a", f"{path}/discharge-evaluations")
            self._is("too early", "NOT_READY", asked["gate"]["outcome"])
            earliest = dt.datetime.fromisoformat(asked["earliest"]).astimezone(ZoneInfo(self.stage.zone))
            self._is("earliest discharge", "12:30", f"{earliest:%H:%M}")
            body = {"signature": {**APPROVED, "shown": asked["shown"]}}
            await self._room("nurse.a", f"{path}/discharge", body, refused="gate-shut")
        elif what == "ready":
            await self._screened()
            await self._fit(path)
        elif what == "home":
            await self._discharge(path)

    # --- the weeks after -------------------------------------------------------------------------------------------

    async def amendment(self) -> None:
        """Tuesday: the check, and a plan that takes longer from session 2 on."""
        await self._until(14, "12:34")
        await self._check()
        await self._until(14, "15:00")
        plan = await self._planning("psychiatrist.a", "GET", f"/plans/{self.plan}")
        left = [{name: one[name] for name in ("session", "starts", "phase")} for one in plan["signed"]["sessions"][1:]]
        await self._edit(left, "50", "pressure-rise", plan["version"])
        stale = {"dose": {"value": "0.5", "unit": "mg/kg"}, "basis": "actual", "duration": {"value": "45", "unit": "min"}}
        await self._planning(
            "psychiatrist.a",
            "PUT",
            f"/plans/{self.plan}/draft",
            {**stale, "sessions": left},
            version=plan["version"],
            refused="precondition-failed",
        )
        signed = await self._sign("prescriber.a")
        self._is("plan v2", (2, "50 min"), (signed["number"], signed["signed"]["duration"]))

    async def induction(self) -> None:
        """Sessions 2 to 6, each with its check; PHQ-9, MADRS and the questions by link between them."""
        days = (15, 17, 20, 22, 24)
        for number, (day, (before, peak, cadss6, score)) in enumerate(zip(days, FOLLOWING, strict=True), 2):
            clock = "10:30" if day < 20 else "11:00"
            if day == 20:
                await self._until(20, "10:00")
                await self._consultation(self.account, "POST", f"/patients/{self.patient}/assessments", _phq(13))
            if day == 22:
                await self._until(22, "10:00")
                rated = {"instrument": "madrs", "answers": madrs(18)}
                await self._consultation("psychiatrist.a", "POST", f"/patients/{self.patient}/assessments", rated)
            await self._short_session(number, day, clock, before, peak, cadss6, score)
        await self._until(27, "12:00")
        await self._by_link({"phq9": phq9(8), "gad7": gad7(7)})

    async def _short_session(
        self, number: int, day: int, clock: str, before: int, peak: int, cadss6: int, score: int | None
    ) -> None:
        path = f"/sessions/{self.sessions[number - 1]['session']}"
        start = self.at(day, clock)
        await self.stage.until(start - dt.timedelta(minutes=25))
        await self.check_in(path, day)
        await self._screened()
        if score is not None:
            await self._room(self.account, f"/patients/{self.patient}/assessments", _qids(qids(score)))
        await self._room("nurse.a", f"{path}/facts", {"weight": self.who.measured["weight"], "hcg": "negative"})
        await self._room("nurse.a", f"{path}/vitals", Vitals(-25, before, 78, 76, 14, 98).body(cadss6=[0] * 6))
        dose = (await self._room("nurse.a", f"{path}/dose", stock()))["dose"]
        self._is(f"dose of session {number}", ("41.00 mg", "120.0 mL/h", "0.820 mg/min"), _dose(dose, 0, 3, 4))
        await self._draw(path)
        await self.stage.until(start - dt.timedelta(minutes=12))
        await self._room("nurse.a", f"{path}/vitals", Vitals(-12, before, 78, 76, 14, 98).body())
        await self.stage.until(start)
        started = dt.datetime.fromisoformat((await self._room("nurse.a", f"{path}/start"))["started_at"])
        for minute in range(0, 50, 4):
            await self.stage.until(started + dt.timedelta(minutes=minute))
            pressure = peak if minute == 28 else before + min(minute, 12)
            await self._room("nurse.a", f"{path}/vitals", Vitals(minute, pressure, 84, 84, 16, 99).body())
        await self.stage.until(started + dt.timedelta(minutes=50))
        answers = [*_answers(cadss6)]
        await self._room("nurse.a", f"{path}/vitals", Vitals(50, before + 8, 82, 84, 16, 99).body(cadss6=answers))
        await self._ended(path)
        for minute in (54, 58, 73, 88, 103, 118):
            await self.stage.until(started + dt.timedelta(minutes=minute))
            await self._room("nurse.a", f"{path}/vitals", Vitals(minute, before, 78, 78, 15, 98).body())
        await self.stage.until(started + dt.timedelta(minutes=122))
        await self._screened()
        await self._fit(path, (0, 0, 0, 0, 0, 0))
        await self._discharge(path)
        await self.stage.until(start + dt.timedelta(minutes=123, days=1))
        await self._check()

    async def _by_link(self, answers: dict[str, list[int]]) -> None:
        """The questions by the newest link in the mail; a wrong birth date opens nothing."""
        await self.stage.settle()
        mails = [mail for mail in await self.stage.mails() if self.person["email"] in mail["to"] and "#" in mail["text"]]
        token = mails[-1]["text"].split("#", 1)[1].split()[0]
        holder = {"Authorization": f"Link {token}"}
        wrong = {"birth_date": "1983-06-08"}
        await self.stage.call(None, "follow_up", "POST", "/link/opening", wrong, headers=holder, refused="birth-date-wrong")
        birth = {"birth_date": self.person["birth_date"]}
        opened = await self.stage.call(None, "follow_up", "POST", "/link/opening", birth, headers=holder)
        self._is("what the link asks", sorted(answers), sorted(opened["instruments"]))
        for instrument, given in answers.items():
            body = {**birth, "instrument": instrument, "answers": given}
            await self.stage.call(None, "follow_up", "POST", "/link/answers", body, headers=holder)
        await self.stage.call(None, "follow_up", "POST", "/link/opening", birth, headers=holder, refused="unauthenticated")

    async def maintenance(self) -> None:
        """Day 7: remission, renewal, weekly infusions; a month later the decision stays with the prescriber."""
        path = f"/patients/{self.patient}"
        await self._until(31, "14:00")
        rated = {"instrument": "madrs", "answers": madrs(9)}
        await self._consultation("psychiatrist.a", "POST", f"{path}/assessments", rated)
        await self._consultation(self.account, "POST", f"{path}/assessments", _qids(qids(5)))
        await self._consultation(self.account, "POST", f"{path}/assessments", _phq(6))
        await self._consultation("psychiatrist.a", "POST", f"{path}/suicide-screens", SCREENER)
        await self._care_task("day-7-review", "psychiatrist.a", "Response kept; weekly infusions proposed")
        await self._examined()
        await self.evaluated()
        content = await self._decide(_APPROVAL)
        self._is("renewed until", (self.first + dt.timedelta(days=61)).isoformat(), content["valid_until"])
        plan = await self._planning("psychiatrist.a", "GET", f"/plans/{self.plan}")
        wanted = [{"starts": utc(self.at(day, "10:30")), "phase": "maintenance"} for day in (35, 42, 49, 56)]
        edited = await self._edit(wanted, "50", "maintenance", plan["version"])
        signed = await self._sign("psychiatrist.a")
        self._is("plan v3", (3, 4), (signed["number"], len(signed["signed"]["sessions"])))
        self.sessions += edited["draft"]["sessions"]
        for number, day in enumerate((35, 42, 49, 56)[: self.weekly], 7):
            await self._short_session(number, day, "10:30", 128, 144, 4, None)
        await self._until(59, "10:30")
        rated = {"instrument": "madrs", "answers": madrs(8)}
        await self._consultation("psychiatrist.a", "POST", f"{path}/assessments", rated)
        await self._consultation(self.account, "POST", f"{path}/assessments", _phq(4))
        # The next review is in another season of the clock: the reminder stays at the same local hour.
        visit = await self._visit(94, "10:30")
        await self.stage.settle()
        messages = (await self._after("front_desk.a", "GET", f"{path}/messages"))["messages"]
        last = [one["due_at"] for one in messages if visit.endswith(one["about"]) and one["rung"] == "2h"]
        local = [f"{dt.datetime.fromisoformat(due).astimezone(ZoneInfo(self.stage.zone)):%H:%M}" for due in last]
        self._is("the last reminder of the review", ["08:30"], local)

    async def results(self) -> None:
        """What the story says must have come of it."""
        path = f"/patients/{self.patient}"
        found = await self._after("psychiatrist.a", "GET", f"{path}/outcomes")
        shown = [(one["instrument"], one["total"], one["change"]) for one in found["outcomes"] if one["response"]]
        first = {name: next((one for one in shown if one[0] == name), None) for name in ("QIDS-SR16", "MADRS", "PHQ-9")}
        self._is("first response, QIDS", ("QIDS-SR16", 8, "52.94"), first["QIDS-SR16"])
        self._is("first response, MADRS", ("MADRS", 18, "50.00"), first["MADRS"])
        self._is("first response, PHQ-9", ("PHQ-9", 8, "61.90"), first["PHQ-9"])
        remission = [(one["instrument"], one["total"]) for one in found["outcomes"] if one["remission"]]
        wanted = {"MADRS": 9, "QIDS-SR16": 5, "PHQ-9": 4}
        self._is("first remission", wanted, dict(reversed(remission)))
        self._is("relapse", False, any(one["relapse"] for one in found["outcomes"]))
        series = sorted({one["series"] for one in found["suicidality"]})
        self._is("four series", ["C-SSRS", "MADRS item 10", "PHQ-9 item 9", "QIDS item 12"], series)
        messages = (await self._after("front_desk.a", "GET", f"{path}/messages"))["messages"]
        induction = {one["session"] for one in self.sessions[:6]}
        sent = [one for one in messages if one["about"] in induction and one["status"] == "sent"]
        self._is("reminders of the induction", 18, len(sent))
        hours = {dt.datetime.fromisoformat(one["due_at"]).astimezone(ZoneInfo(one["zone"])).hour for one in sent}
        self._is("none in quiet hours", True, all(8 <= hour < 21 for hour in hours))
        mails = [mail for mail in await self.stage.mails() if self.person["email"] in mail["to"]]
        self._is("each message is one mail", len([one for one in messages if one["status"] == "sent"]), len(mails))
        steps = (await self._after("psychiatrist.a", "GET", f"{path}/journey?limit=200"))["steps"]
        waiting = {
            service.name: await self.stage.connection.fetchval(f"select count(*) from {service.schema}.parked")
            for service in self.stage.services
        }
        self._is("no event waits anywhere", dict.fromkeys(waiting, 0), waiting)
        self._is("the journey begins with the patient", "consultation.patient-changed.v1", steps[0]["type"])


def _terms(terms: dict[str, Any]) -> tuple[str, str, str]:
    return terms["dose"], terms["basis"], terms["duration"]


_DOSE: Final = ("mass", "volume", "concentration", "pump_rate", "mass_per_minute", "mass_per_hour")


def _dose(dose: dict[str, Any], *places: int) -> tuple[str, ...]:
    found = tuple(str(dose[name]) for name in _DOSE)
    return tuple(found[place] for place in places) if places else found


def _qids(answers: Sequence[int]) -> dict[str, Any]:
    return {"instrument": "qids_sr16", "answers": list(answers)}


def _phq(total: int) -> dict[str, Any]:
    return {"instrument": "phq9", "answers": phq9(total)}


def _answers(total: int) -> list[int]:
    """A CADSS-6 with this total."""
    return [min(4, max(0, total - 4 * place)) for place in range(6)]


def _batches() -> list[list[dict[str, Any]]]:
    """The monitor's stream, one after the other in real recordings: nothing is looped, stretched or made up."""
    seconds: list[dict[str, Any]] = []
    for number in (*_INFUSION, *_RECOVERY):
        name = f"bidmc_{number}_Numerics.csv"
        with (_RECORDINGS / name).open(newline="", encoding="utf-8") as file:
            for row, line in enumerate(csv.DictReader(file, skipinitialspace=True)):
                seconds.append(
                    {
                        "second": len(seconds),
                        "pulse": _whole(line["PULSE"]),
                        "spo2": _whole(line["SpO2"]),
                        "origin": f"bidmc_{number}.{row}",
                    }
                )
    return [seconds[place : place + _BATCH_S] for place in range(0, len(seconds), _BATCH_S)]


def _whole(text: str) -> int | None:
    """A number of a recording; a gap is a gap."""
    return None if text in ("", "NaN") else int(float(text))
