"""The page of a one-time link in a real browser: from the mail to the rows, with everything that goes wrong on the way."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.support.browser import Chromium
from tests.support.care import Care
from tests.support.stage import Shown as Clinic
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400), pytest.mark.xdist_group("pages")]

RIGHT, WRONG = ("6", "9", "1983"), ("9", "6", "1983")


async def mailed(clinic: Clinic) -> str:
    """The address in a mail that asks the patient for answers."""
    care, story, _ = clinic
    known = len(care.servers.mail.raw(story.person["email"]))
    (await care.call("nurse.a", "follow_up", "POST", f"/patients/{story.patient}/links")).ok()

    async def came() -> bool:
        return len(care.servers.mail.raw(story.person["email"])) > known

    await eventually(came, what="the link is mailed")
    await story.stage.settle()
    text = [mail for mail in await story.stage.mails() if story.person["email"] in mail["to"]][-1]["text"]
    found = re.search(r"http://\S+/link#\S+", text)
    assert found, text
    return found[0]


async def born(page: Page, date: tuple[str, str, str]) -> None:
    """Give a birth date as a keyboard does it."""
    await page.get_by_label("Month").focus()
    for part in date:
        await page.keyboard.press("Control+A")
        await page.keyboard.type(part)
        await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Continue")).to_be_focused()
    await page.keyboard.press("Enter")


async def pick(page: Page, question: str, answer: str) -> None:
    await page.get_by_role("group", name=question).get_by_role("radio", name=answer, exact=True).check()


async def problem(page: Page, heading: str) -> None:
    await expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(heading)


async def heading(page: Page, text: str) -> None:
    await expect(page.get_by_role("heading", level=1)).to_have_text(text)


async def given(care: Care, instrument: str) -> list[Any]:
    rows = await care.rows("follow_up", "select answers from assessment where instrument = $1 order by recorded_at", instrument)
    return [row["answers"] if isinstance(row["answers"], dict) else json.loads(row["answers"]) for row in rows]


async def test_answers_by_a_mailed_link_arrive_once_and_a_suicide_answer_is_followed(
    clinic: Clinic, chromium: Chromium, tmp_path: Path
) -> None:
    care, _, _ = clinic
    before = {name: len(await given(care, name)) for name in ("phq9", "gad7", "C-SSRS-SINCE-LAST")}
    url = await mailed(clinic)
    page = (await chromium.tab(width=360, height=740)).page
    seen = await page.goto(url)
    assert seen is not None
    assert "988" in await seen.text(), "before any script runs"
    await expect(page.get_by_label("Month")).to_be_visible()
    assert page.url == url.partition("#")[0], "the token has left the address bar"
    assert await page.title() == "A few questions"
    kept = "[localStorage.length, sessionStorage.length, document.cookie, history.state]"
    assert await page.evaluate(kept) == [0, 0, "", None]

    await born(page, WRONG)
    await problem(page, "This is not the birth date that the clinic knows")
    await born(page, RIGHT)
    await heading(page, "How have you been?")
    for number in range(2, 9):
        await pick(page, f"{number}.", "Several days")
    await pick(page, "9.", "Several days")
    await expect(page.get_by_text("You do not have to wait for us.")).to_be_visible()
    await page.get_by_role("button", name="Send my answers").click()
    await problem(page, "One question has no answer")
    assert await page.evaluate("document.documentElement.scrollWidth") == 360, "nothing lies outside of a small screen"
    await page.get_by_role("link", name="Question 1").press("Enter")
    await expect(page.get_by_role("group", name="1.").get_by_role("radio").first).to_be_focused()
    await pick(page, "1.", "Nearly every day")

    # The answers reach the clinic and its reply is lost; then there is no network at all. What was typed stays.
    async def reply_lost(route: Route) -> None:
        assert (await route.fetch()).status == 201
        await route.abort()

    await page.route("**/link/answers", reply_lost)
    await page.get_by_role("button", name="Send my answers").click()
    await problem(page, "It could not be sent")
    assert len(await given(care, "phq9")) == before["phq9"] + 1, "the fault bit: they have arrived"
    await page.unroute("**/link/answers")
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Send my answers").click()
    await problem(page, "It could not be sent")
    await expect(page.get_by_role("group", name="1.").get_by_role("radio", name="Nearly every day")).to_be_checked()
    await page.context.set_offline(False)
    await page.get_by_role("button", name="Send my answers").click()

    # No licensed wording is here: a human asks, and the clinic knows that one has to.
    await heading(page, "We would like to speak with you")
    assert (await given(care, "phq9"))[before["phq9"] :] == [{"items": [3, *[1] * 8], "difficulty": None}], "once"
    assert await care.value("follow_up", "select count(*) from task where kind = 'risk-screen' and status = 'open'") == 1
    await page.get_by_role("button", name="Go on with the questions").click()
    await expect(page.get_by_text("Over the last 2 weeks")).to_be_visible()
    for number in range(1, 8):
        await pick(page, f"{number}.", "Not at all")
    await page.get_by_role("button", name="Send my answers").click()
    await heading(page, "We would like to speak with you")
    assert len(await given(care, "gad7")) == before["gad7"] + 1

    # With wording that the clinic brings, the same link asks what is owed; HIGH calls somebody at once.
    wording = tmp_path / "screen.json"
    wording.write_text(json.dumps({"language": "en", "licence": "For tests", "items": [f"Test {n}?" for n in range(1, 7)]}))
    stopped = care.running["follow_up"]
    stopped.popen.terminate()
    assert await stopped.ended() == 0
    await care.spawn("follow_up", TELEMED_MESSAGES_SCREEN_FILE=str(wording))
    await page.reload()
    await heading(page, "Please open the link in your message")
    await page.goto(url)
    await expect(page).to_have_url(url.partition("#")[0])
    await born(page, RIGHT)
    await heading(page, "A few more questions, because of what you answered")
    await expect(page.get_by_role("group", name="Test 4?")).to_have_count(0)
    await pick(page, "Test 1?", "I would rather not say")
    await pick(page, "Test 2?", "Yes")
    for question, answer in (("Test 3?", "No"), ("Test 4?", "Yes"), ("Test 5?", "No"), ("Test 6?", "No")):
        await pick(page, question, answer)
    await page.get_by_role("button", name="Send my answers").click()
    await heading(page, "Please do not stay alone with this")
    screens = (await given(care, "C-SSRS-SINCE-LAST"))[before["C-SSRS-SINCE-LAST"] :]
    assert [screen[f"q{number}"] for screen in screens for number in range(1, 7)] == [None, True, False, True, False, False]
    assert await care.value("follow_up", "select count(*) from page where code = 'screening.risk-high'") == 1

    await page.goto("about:blank")
    await page.goto(url)
    await born(page, RIGHT)
    await heading(page, "This link is not valid any more")


async def test_five_wrong_birth_dates_end_a_link_and_no_text_becomes_markup(clinic: Clinic, chromium: Chromium) -> None:
    care, _, _ = clinic
    url = await mailed(clinic)
    tab = await chromium.tab()
    page = tab.page
    await page.goto(url)
    await page.get_by_role("button", name="Continue").click()
    await problem(page, "Please give your birth date")
    for _ in range(5):
        await born(page, WRONG)
        await problem(page, "This is not the birth date that the clinic knows")
        await page.evaluate("document.querySelector('.problem').remove()")
    await born(page, RIGHT)
    await heading(page, "This link is not valid any more")
    await expect(page.get_by_role("link", name="988").first).to_be_visible()
    assert await care.value("follow_up", "select status from link order by made_at desc limit 1") == "dead"
    assert tab.errors == []
    # The policy holds: a script that tried it could not make markup out of a text, and this test would notice.
    with pytest.raises(Exception, match="TrustedHTML"):
        await page.evaluate("document.body.innerHTML = '<b>x</b>'")

    async def noticed() -> bool:
        return any("TrustedHTML" in error for error in tab.errors)

    await eventually(noticed, what="the violation is noticed")
    chromium.tabs.remove(tab)
