"""What is sent by a one-time link, over HTTP: once, again, something else, and while a suicide screen is owed."""

import datetime as dt
from pathlib import Path
from uuid import UUID

import pytest

from services.follow_up.domain.links import birth_hash, link_hash
from tests.support.care import Answer, Care, care
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio

TOKEN, SALT, PATIENT = "a-token-of-the-tests", b"salt-of-16-bytes", UUID("018f0000-0000-7000-8000-00000000aa01")
BIRTH = {"birth_date": "1983-06-09"}
PHQ9 = {**BIRTH, "instrument": "phq9", "answers": [1, 1, 0, 0, 0, 0, 0, 0, 1]}
GAD7 = {**BIRTH, "instrument": "gad7", "answers": [0] * 7}
HIGH = {**BIRTH, "q1": True, "q2": True, "q3": False, "q4": True, "q5": False, "q6": False}


async def sent(made: Care, path: str, body: object) -> Answer:
    return await made.call(None, "follow_up", "POST", f"/link/{path}", body, headers={"Authorization": f"Link {TOKEN}"})


async def test_answers_count_once_and_a_link_holds_until_its_screen_is_complete(servers: Servers, tmp_path: Path) -> None:
    async with care(servers, tmp_path) as made:
        await made.spawn("follow_up")
        async with made.owner("follow_up") as connection:
            await connection.execute(
                """insert into contact (patient, email, email_agreed, birth_salt, birth_hash, entered_by, entered_at, version)
                   values ($1, 'z@example.org', true, $2, $3, 'tests', clinic_now(), 1)""",
                PATIENT,
                SALT,
                birth_hash(dt.date(1983, 6, 9), SALT),
            )
            await connection.execute(
                """insert into link
                       (token_hash, id, patient, instruments, made_at, expires_at, tries, answered, status, version)
                   values ($1, $2, $2, '{phq9,gad7}', clinic_now(), clinic_now() + interval '7 days', 0, '{}', 'open', 1)""",
                link_hash(TOKEN),
                PATIENT,
            )
        first = (await sent(made, "answers", PHQ9)).ok()
        assert first["screen_now"] is True
        again = await sent(made, "answers", PHQ9)
        assert (again.status, again.body) == (201, first), "who did not hear it sends the same again"
        others = await sent(made, "answers", {**PHQ9, "answers": [0] * 9})
        assert (others.status, others.code) == (409, "not-asked")
        assert (await sent(made, "answers", GAD7)).ok()["screen_now"] is True, "the screen is still owed"
        assert await made.value("follow_up", "select status from link") == "open"
        assert (await sent(made, "suicide-screen", {**HIGH, "q4": None})).ok()["level"] == "INCOMPLETE"
        assert await made.value("follow_up", "select status from link") == "open"
        assert (await sent(made, "suicide-screen", HIGH)).ok()["level"] == "HIGH"
        assert await made.value("follow_up", "select status from link") == "used"

        # Used up it opens nothing, but what was sent by it is taken again: a suicide answer is never refused for that.
        assert (await sent(made, "opening", BIRTH)).status == 401
        assert (await sent(made, "answers", GAD7)).ok()["screen_now"] is False
        assert (await sent(made, "suicide-screen", HIGH)).ok()["level"] == "HIGH"
        wrong = await sent(made, "suicide-screen", {**HIGH, "birth_date": "1983-06-10"})
        assert (wrong.status, wrong.code) == (403, "birth-date-wrong")
        kept = await made.rows("follow_up", "select instrument, count(*) from assessment group by 1 order by 1")
        assert [tuple(row) for row in kept] == [("C-SSRS-SINCE-LAST", 3), ("gad7", 1), ("phq9", 1)]
        await made.advance(7 * 86400)
        assert (await sent(made, "suicide-screen", HIGH)).status == 401
