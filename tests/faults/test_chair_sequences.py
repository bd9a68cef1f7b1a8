"""No sequence of calls, retries, duplicates, clock steps and crashes brings a chair into a state that must not be.

Hypothesis chooses who does what at the chair, and what happens to each call on its way. After every step the rows are asked
(``tests/support/room_checks.py``), never the service: it would only repeat what it believes.
"""

import asyncio
import datetime as dt
import random
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from schemas.events import consultation, treatment_planning
from tests.support.care import Answer
from tests.support.chair import CALM, SINCE, Chair, ml, quantity
from tests.support.room import another, room, say
from tests.support.room_checks import forbidden
from tests.support.servers import Servers
from tests.support.timings import SHORT, Timings

STEPS: Final = 25
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
NURSE, WITNESS, PRESCRIBER = "nurse.a", "nurse.b", "prescriber.a"
HERE: Final = (NURSE, WITNESS, PRESCRIBER)
ON_THE_WAY: Final = (*["told"] * 6, "sent again", "twice at once", "commit lost")
"""What becomes of a call before its caller knows the answer."""
SETS: Final[dict[str, dict[str, Any]]] = {
    "calm": {},
    "calm again": {},
    "held": {"sbp": quantity("150", "mm[Hg]")},
    "red pressure": {"sbp": quantity("182", "mm[Hg]")},
    "red saturation": {"spo2": quantity("90", "%")},
    "stop": {"spo2": quantity("87", "%")},
    "impossible": {"spo2": quantity("101", "%")},
}
Act = tuple[str, str, Any]
SCREENS: Final = "/patients/{patient}/suicide-screens"
STOCK: Final = {"strength": quantity("50", "mg/mL"), "bag": ml("100.00")}
VIAL: Final = {**STOCK, "vial": "V-1", "lot": "L-1", "expires": "2028-12-31", "drawn": ml("1.00")}
GLP1: Final = {"glp1": True, "glp1_last": "2027-01-20T12:00:00Z", "gi_symptoms": False}
RATES: Final = tuple((NURSE, "rate", {"rate": quantity(rate, "mL/h")}) for rate in ("60.0", "150.0", "150.1", "400.0"))
ENDS: Final[tuple[Act, ...]] = (
    *((NURSE, "end", {"pump_volume": ml(volume)}) for volume in ("100.0", "50.0", "100.1")),
    (WITNESS, "stop", {}),
    (NURSE, "consent-withdrawal", None),
)
ACTS: Final[dict[str, tuple[Act, ...]]] = {
    "before": (
        (NURSE, "facts", {"hcg": "positive"}),
        (NURSE, "facts", {"hcg": "negative", "identity_confirmed": True, "escort_phoned": True, "consent_reconfirmed": True}),
        (NURSE, "facts", {"identity_confirmed": False}),
        (NURSE, "facts", {"escort_phoned": False}),
        (NURSE, "facts", {"changes": ["illness"]}),
        (NURSE, "facts", GLP1),
        (NURSE, "facts", {"glp1": False}),
        (NURSE, "facts", {"weight": quantity("60.0", "kg"), "weight_remeasured": True}),
        (NURSE, "facts", {"weight": quantity("82.0", "kg")}),
        (NURSE, SCREENS, SINCE),
        (NURSE, SCREENS, SINCE | {"q4": True}),
        (NURSE, "dose", STOCK),
        *((NURSE, "drug", {**VIAL, "into_bag": ml(into)}) for into in ("0.82", "0.60", "0.90")),
        *(
            (PRESCRIBER, "decisions", {"about": about, "start": start, "reason": "Seen at the bedside"})
            for about, start in (("risk", True), ("risk", False), ("changes", True), ("weight", True))
        ),
        *((PRESCRIBER, "overrides", {"rule": rule, "reason": "Seen at the bedside"}) for rule in ("K-S-SBP", "K-S-HCG")),
        (NURSE, "closure", {"ending": "aborted", "note": "As it was"}),
    ),
    "infusing": (*RATES, *[(NURSE, "pause", {"reason": "patient-asked"})] * 3, *ENDS),
    "paused": ENDS,
    "after": (
        (NURSE, "facts", {"escort_seen": False}),
        (NURSE, SCREENS, SINCE | {"q4": True}),
        (NURSE, "pump-volume", {"pump_volume": ml("50.0")}),
        (NURSE, "closure", {"ending": "eloped"}),
        (NURSE, "closure", {"ending": "transferred"}),
    ),
    "closed": ((NURSE, "pump-volume", {"pump_volume": ml("50.0")}),),
}
"""What somebody may ask for where the session stands, whether they get it or not."""
MET: Final = {
    "infusions": "entry where kind = 'start'",
    "pauses": "entry where kind = 'pause'",
    "resumes": "entry where kind = 'resume'",
    "rates": "entry where kind = 'rate'",
    "ends": "entry where kind = 'end' and data ->> 'reason' in ('complete', 'stopped')",
    "stops": "entry where kind = 'end' and data ->> 'reason' not in ('complete', 'stopped')",
    "REDs": "alert where tier = 'RED'",
    "STOPs": "alert where tier = 'STOP'",
    "graves closed by a prescriber": "alert where tier <> 'AMBER' and status = 'resolved'",
    "starts on a blocked gate": "gate_evaluation where gate = 'start' and outcome <> 'OPEN'",
    "discharges on a blocked gate": "gate_evaluation where gate = 'discharge' and outcome <> 'READY'",
    "discharges": "session where ending in ('completed', 'aborted') and started_at is not null",
    "witnessed wastes": "waste where witness is not null",
}
"""What sequences have to reach, as rows."""

_LOSE_COMMITS = """
create table public.lost (commits boolean not null);
insert into public.lost values (false);
create function public.lose() returns trigger language plpgsql security definer as $$ begin
    if (select commits from public.lost) then
        raise exception 'the commit is lost' using errcode = 'admin_shutdown';
    end if;
    return null;
end $$;
"""
_LOSE = """create constraint trigger lose after insert or update on session_logging.{}
           deferrable initially deferred for each row execute function public.lose()"""
_OF_EVERY_COMMAND: Final = ("idempotency", "entry", "batch")


FAR: Final = ("arrived", "ready", "infusing", "stopped", "resumed", "ended", "rested", "home")
"""How far a patient is when their sequence begins; each is begun with."""
STANDS: Final = {
    **dict.fromkeys(("scheduled", "checked-in", "held", "ready"), "before"),
    "infusing": "infusing",
    "paused": "paused",
    **dict.fromkeys(("recovery", "discharge-ready"), "after"),
    "closed": "closed",
}


def when(*stands: str) -> Callable[[F], F]:
    """A rule for sessions that stand there; ``out_of_turn`` tries what is for others."""
    here: Callable[[F], F] = precondition(lambda self: self.stands in stands)
    return here


class Played:
    """The one room that all sequences are played in; each has a patient of its own."""

    run: ClassVar[Any]
    first: ClassVar[Chair]
    far: ClassVar[str]
    met: ClassVar[Counter[str]]
    found: ClassVar[set[tuple[str, str]]]


@contextmanager
def played(servers: Servers, folder: Path) -> Iterator[None]:
    """Open the room."""
    with asyncio.Runner() as runner:
        world = room(servers, folder, sessions=1)
        (Played.first,) = runner.run(world.__aenter__())
        Played.run, Played.met, Played.found = runner.run, Counter(), set()

        async def prepare() -> None:
            async with Played.first.care.owner() as connection:
                await connection.execute(_LOSE_COMMITS)
                for table in _OF_EVERY_COMMAND:
                    await connection.execute(_LOSE.format(table))

        try:
            runner.run(prepare())
            yield
        finally:
            runner.run(world.__aexit__(None, None, None))


class AtTheChair(RuleBasedStateMachine):
    """What anybody at a chair might do, in any order, and what may become of it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: Counter[str] = Counter()
        self.one: Chair | None = None
        self.stands = ""

    @initialize(ways=st.integers(0, 2**16))
    def arrive(self, ways: int) -> None:
        self.ways = random.Random(ways)
        self.next_patient(Played.far)

    def next_patient(self, far: str) -> None:
        self.one = self.do(another(Played.first, sessions=2))
        self.do(self.chair.ask(NURSE, "check-in", self.chair.door()))
        if far == "arrived":
            assert self.post(NURSE, "start").code == "gate-shut"
            return
        self.do(self.chair.ready())
        if far == "ready":
            return
        self.do(self.chair.ask(NURSE, "start")).ok()
        if far == "stopped":
            self.act((WITNESS, "stop", {}))
        elif far == "resumed":
            self.act((NURSE, "rate", {"rate": quantity("120.0", "mL/h")}))
            self.act((NURSE, "pause", {"reason": "patient-asked"}))
            self.the_process_dies(True)
            self.resume("120.0", True)
        elif far != "infusing":
            self.act((NURSE, "vitals", CALM.body() | SETS["red pressure"]))
            self.do(self.chair.end())
        if far in ("rested", "home"):
            self.rest(125)
        if far == "home":
            self.go_home("early", NURSE)
            self.go_home("properly", PRESCRIBER)

    def teardown(self) -> None:
        # The nurse has her hands free for the next patient.
        if self.one is not None:
            self.leave()

    def leave(self) -> None:
        for chair in (self.chair, self.chair.other(2)):
            self.do(chair.ask(NURSE, "stop", {})).ok()
            self.do(chair.ask(NURSE, "closure", {"ending": "eloped"}))

    @property
    def chair(self) -> Chair:
        assert self.one is not None
        return self.one

    def do(self, made: Coroutine[Any, Any, T]) -> T:
        found: T = Played.run(made)
        return found

    # --- a call, and what becomes of it on its way -------------------------------------------------------------------

    def post(self, login: str, what: str, body: object = None, chair: Chair | None = None) -> Answer:
        """Ask, as the way wants it; what was answered for good is answered again."""
        return self.do(self._posted(chair or self.chair, login, what, body, self.ways.choice(ON_THE_WAY)))

    async def _posted(self, chair: Chair, login: str, what: str, body: object, way: str) -> Answer:
        key = secrets.token_hex(8)

        async def ask() -> Answer:
            return await chair.ask(login, what, body, key=key)

        if way == "twice at once":
            twins = await asyncio.gather(ask(), ask())
            assert all(one.status < 500 for one in twins), twins
            Played.met["twins"] += 1
        elif way == "commit lost":
            await self._lose(True)
            lost = await ask()
            await self._lose(False)
            assert 403 <= lost.status < 500 or lost.status == 503, lost
            Played.met["lost commits"] += lost.status == 503
        answer = await ask()
        assert answer.status < 500, (what, body, answer.body)
        if way != "told" and answer.status < 300:
            again = await ask()
            keyless = what in ("stop", "consent-withdrawal", "samples")
            assert again.status == answer.status
            assert keyless or again.body == answer.body
            Played.met["sent again"] += 1
        return answer

    async def _lose(self, commits: bool) -> None:
        async with self.chair.care.owner() as connection:
            await connection.execute("update public.lost set commits = $1", commits)

    # --- acts --------------------------------------------------------------------------------------------------------

    def act(self, act: Act) -> None:
        login, what, body = act
        if isinstance(body, dict) and body.get("ending") == "transferred":
            body = {**body, "called_at": self.do(self.chair.stage.now()).astimezone(dt.UTC).isoformat()}
        answer = self.post(login, what.format(patient=self.chair.patient), body)
        assert answer.status == 200 or what not in ("stop", "consent-withdrawal"), "STOP works from any state"

    @rule(act=st.sampled_from(ACTS["before"]))
    @when("before")
    def before(self, act: Act) -> None:
        self.act(act)

    @rule(act=st.sampled_from(ACTS["infusing"]))
    @when("infusing")
    def infusing(self, act: Act) -> None:
        self.act(act)

    @rule(act=st.sampled_from(ACTS["after"]))
    @when("after")
    def after(self, act: Act) -> None:
        self.act(act)

    @rule(act=st.sampled_from([act for acts in ACTS.values() for act in acts]))
    def out_of_turn(self, act: Act) -> None:
        """Wherever the session stands."""
        self.act(act)

    @rule(login=st.sampled_from(HERE), second=st.booleans())
    @when("before")
    def start(self, login: str, second: bool) -> None:
        """The session that the patient came for, or the other one of the same patient."""
        chair = self.chair.other(2) if second else self.chair
        if second:
            self.post(NURSE, "check-in", chair.door(), chair)
        plan = "select status from plan_fact join session using (plan) where session.id = $1"
        stood = self.do(chair.rows(plan, chair.id))
        answer = self.post(login, "start", chair=chair)
        assert answer.status >= 400 or stood == [("active",)], "an infusion started under a plan that is held"

    @rule(login=st.sampled_from(HERE))
    @when("before")
    def start_both_at_once(self, login: str) -> None:
        async def both() -> list[Answer]:
            chairs = (self.chair, self.chair.other(2))
            return list(await asyncio.gather(*[chair.ask(login, "start") for chair in chairs]))

        assert all(one.status < 500 for one in self.do(both()))

    @rule(rate=st.sampled_from(("150.0", "120.0", "151.0")), ordered=st.sampled_from((True, True, False)))
    @when("paused")
    def resume(self, rate: str, ordered: bool) -> None:
        if ordered:
            self.post(PRESCRIBER, "decisions", {"about": "resume", "start": True, "reason": "Seen at the bedside"})
            self.post(NURSE, "vitals", CALM.body())
        self.post(NURSE, "resume", {"rate": quantity(rate, "mL/h"), "patient_agrees": True})

    @rule(name=st.sampled_from(sorted(SETS)), login=st.sampled_from(HERE))
    @when("before", "infusing", "paused", "after")
    def measure(self, name: str, login: str) -> None:
        self.post(login, "vitals", CALM.body() | SETS[name])

    @rule(first=st.integers(0, 30), low=st.booleans())
    @when("infusing", "paused", "after")
    def stream(self, first: int, low: bool) -> None:
        """Ten seconds of the monitor; the same numbers come again with other values."""
        now = self.do(self.chair.stage.now()).astimezone(dt.UTC)
        rows = [
            {"seq": first + second, "at": (now - dt.timedelta(seconds=10 - second)).isoformat(), "spo2": 86 if low else 98}
            for second in range(10)
        ]
        answer = self.post("integration.a", "samples", {"device": self.chair.door()["device"], "samples": rows})
        assert answer.status in (200, 409)

    @rule(login=st.sampled_from(HERE), act=st.sampled_from(("acknowledgement", "resolution")))
    @when("infusing", "paused", "after")
    def answer_alerts(self, login: str, act: str) -> None:
        for (alert,) in self.do(self.chair.rows("select id from alert where session = $1 limit 3", self.chair.id)):
            self.post(login, f"/alerts/{alert}/{act}", {"action": "rechecked"} if act == "resolution" else None)

    # --- after -------------------------------------------------------------------------------------------------------

    @rule(volume=st.sampled_from(("0.18", "0.41", "1.00")), witness=st.sampled_from(HERE))
    @when("before", "after", "closed")
    def waste(self, volume: str, witness: str) -> None:
        made = self.post(NURSE, "wastes", {"volume": ml(volume)})
        if made.status == 201:
            self.post(witness, f"/wastes/{made.body['waste']}/witness")

    @rule(how=st.sampled_from(("properly", "properly", "early", "untidily", "unread")), login=st.sampled_from(HERE))
    @when("after")
    def go_home(self, how: str, login: str) -> None:
        """Calm for a while, what is open is closed, what is due is said; or not."""
        if how == "untidily":
            self.do(self.chair.rest(125))
        else:
            self.rest(14 if how == "early" else 125)
        signer = PRESCRIBER if how == "properly" else login
        asked = self.post(signer, "discharge-evaluations")
        if asked.status == 201:
            shown = "0" * 64 if how == "unread" else asked.body["shown"]
            signature = {"meaning": "discharged", "licence": "US-NY", "shown": shown}
            self.post(signer, "discharge", {"signature": signature})

    def rest(self, minutes: int) -> None:
        self.do(self.chair.rest(minutes))
        for (alert,) in self.do(self.chair.rows("select id from alert where status = 'open'")):
            self.post(PRESCRIBER, f"/alerts/{alert}/resolution", {"action": "rechecked"})
        self.do(self.chair.well())

    @rule(far=st.sampled_from(FAR[:3]))
    @when("closed")
    def the_next_patient_comes(self, far: str) -> None:
        self.leave()
        self.next_patient(far)

    # --- what nobody does --------------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from((1, 6, 16, 31)))
    def time_passes(self, minutes: int) -> None:
        self.do(self.chair.care.advance(minutes * 60))

    @rule(seconds=st.sampled_from((1, 40, 90)))
    @when("before", "infusing", "paused", "after")
    def the_clock_is_set_back(self, seconds: int) -> None:
        """What is recorded next was recorded before what was recorded last."""
        self.do(self.chair.care.advance(120))
        self.post(NURSE, "vitals", CALM.body())
        self.do(self.chair.care.advance(-seconds))
        Played.met["clock steps"] += 1

    @rule(
        what=st.sampled_from(("consent-withdrawn", "risk-high", "plan-held", "plan-released", "plan-released")),
        copies=st.sampled_from((1, 3)),
    )
    def others_say(self, what: str, copies: int) -> None:
        """Another service's event comes, as often as Kafka likes, whenever it does."""
        chair = self.chair
        if what.startswith("plan"):
            plan = self.do(chair.rows("select plan from session where id = $1", chair.id))[0][0]
            kind = treatment_planning.PLAN_HELD if what == "plan-held" else treatment_planning.PLAN_RELEASED
            source, data = f"/treatment_planning/plans/{plan}", {"plan": plan, "version": 1}
        else:
            case = self.do(chair.rows("select care_case from session where id = $1", chair.id))[0][0]
            kind = consultation.RISK_FLAGGED if what == "risk-high" else consultation.CONSENT_WITHDRAWN
            source = f"/consultation/patients/{chair.patient}"
            data = {"level": "HIGH", "assessed_at": self.do(chair.stage.now())} if what == "risk-high" else {"case": case}
        self.told[source] += 1
        self.do(say(chair, kind, source, self.told[source], copies, **data))
        Played.met["events"] += 1

    @rule(now=st.sampled_from((*[False] * 19, True)))
    def the_process_dies(self, now: bool) -> None:
        """Seldom: each death takes seconds."""
        if not now:
            return
        self.do(self.chair.care.running["session_logging"].kill())
        self.do(self.chair.care.spawn("session_logging"))
        Played.met["deaths"] += 1

    # --- what must never be ------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_that_must_never_be(self) -> None:
        if self.one is not None:
            found = {(sentence, one) for sentence, ids in self.do(forbidden(self.chair)).items() for one in ids}
            # What one sequence has done stays in the rows; the next is asked for its own.
            mine, Played.found = found - Played.found, found
            assert mine == set()
            stands = self.do(self.chair.rows("select state from session where id = $1", self.chair.id))
            self.stands = STANDS[stands[0][0]]


@pytest.mark.timeout(3000)
def test_no_sequence_reaches_a_state_that_must_never_be(servers: Servers, tmp_path: Path, timings: Timings) -> None:
    """In CI the same sequences each time, so that they are known to get far; ``make faults`` plays many others."""
    short = timings == SHORT
    few = settings(
        max_examples=2 if short else 20,
        stateful_step_count=STEPS,
        derandomize=short,
        deadline=None,
        database=None,
        # Each step takes real time, and the steps that failed are printed: they are not made fewer.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with played(servers, tmp_path):
        for Played.far in FAR:
            run_state_machine_as_test(AtTheChair, settings=few)
        met = Played.run(everything_met())
        assert all(met.values()), met


async def everything_met() -> dict[str, int]:
    """What the sequences have to have met, to say anything, and how often they did."""
    chair, met = Played.first, dict(Played.met)
    for what, query in MET.items():
        met[what] = (await chair.rows(f"select count(*) from {query}"))[0][0]
    return met
