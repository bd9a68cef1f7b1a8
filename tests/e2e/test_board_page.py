"""The staff board in a real browser: signing in, what happens as it happens, acknowledging, and a connection that is cut."""

import re
import signal
from pathlib import Path
from uuid import UUID

import pytest
from playwright.async_api import Page, expect

from schemas.events.session_logging import GATE_EVALUATED, Overridden
from services.cli.demo.patient import Vitals
from tests.support.browser import Chromium
from tests.support.chair import Chair
from tests.support.room import say
from tests.support.stage import Shown as Clinic

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400), pytest.mark.xdist_group("pages")]

RED, AMBER = Vitals(5, 181, 100, 88, 16, 98), Vitals(6, 140, 84, 84, 26, 98)
SLOW = Vitals(7, 132, 80, 50, 16, 98)


async def signed_in(page: Page, board: str, login: str) -> None:
    """As a person does it: by the button, and by picking oneself at the issuer."""
    await page.goto(f"{board}/board")
    await page.get_by_role("button", name="Sign in").click()
    await page.locator(f'button[value="{login}"]').click()
    await expect(page.get_by_role("status").first).to_contain_text("Live, behind by")


async def test_a_nurse_sees_what_happens_acknowledges_and_misses_nothing_while_the_board_is_gone(
    clinic: Clinic, chromium: Chromium, tmp_path: Path
) -> None:
    care, story, session = clinic
    board = f"http://127.0.0.1:{care.ports['staff_dashboard']}"
    name = "<img src=x onerror=alert(1)>Marlow"
    async with care.owner("consultation") as connection:
        # It would be markup, were it not shown as text.
        await connection.execute("update patient set family_name = $1 where id = $2", name, story.patient)
    tab = await chromium.tab(reduced_motion="no-preference")
    page = tab.page
    seen = await page.goto(f"{board}/board")
    assert seen is not None
    assert "frame-ancestors 'none'" in seen.headers["content-security-policy"]
    await signed_in(page, board, "nurse.a")
    assert page.url == f"{board}/board", "code and state have left the address bar"
    assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""], "in memory only"
    await page.evaluate("window.stayed = true")
    await expect(page.get_by_text("A secondary display, not a primary alarm")).to_be_visible()
    await expect(page.get_by_text("clinic clock moved by")).to_be_visible()
    room = page.get_by_role("region", name="In the room").get_by_role("listitem")
    for text in (f"{name}, {story.person['given_name']}", "born 1983-06-09", "Infusing", "41.0", "150.0 mL/h"):
        await expect(room).to_contain_text(text)
    row = page.get_by_role("region", name="Today's sessions").get_by_role("row").filter(has_text="Marlow")
    await expect(row).to_contain_text("10:30")
    assert await page.locator("img").count() == 0

    # What a prescriber has overridden stands beside the patient, with who has.
    chair = Chair(care, story.stage, story.patient, story.sessions)
    by = [Overridden(rule="K-S-FASTING", by=UUID(care.id("prescriber.a")))]
    await say(chair, GATE_EVALUATED, "/session_logging/sessions/beside", 1, session=UUID(chair.id), overrides=by)
    doctor = await care.value("clinic", "select display_name from staff where id = $1", care.id("prescriber.a"))
    for where in (room, row):
        await expect(where).to_contain_text(f"Overridden: fasting ({doctor})")

    # Grave: told by text, symbol, colour and place; it flashes, and is spoken.
    (await care.call("nurse.a", "session_logging", "POST", f"{session}/vitals", RED.body())).ok()
    alerts = page.get_by_role("region", name="Alerts").get_by_role("listitem")
    alert = alerts.filter(has_text="Systolic pressure high")
    await expect(alert).to_contain_text("▲ RED")
    await expect(alert).to_contain_text(re.compile(r"Answer in \d"))
    await expect(alert).to_have_class(re.compile("flash"))
    flash = await alert.evaluate("node => getComputedStyle(node).animation")
    period = re.search(r"([\d.]+)s.*flash", flash)
    assert period, flash
    assert 1.4 <= 1 / float(period[1]) <= 2.8
    await expect(page.get_by_role("alert")).to_contain_text("RED: Systolic pressure high")
    await expect(room.locator(".signal").filter(has_text="BP").locator("b")).to_have_text("181/100")
    for width in (1280, 800):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        await page.screenshot(path=tmp_path / f"board-{width}.png", full_page=True)

    # Taken over by the keyboard alone; the service that owns it has it in its rows.
    await alert.get_by_role("button", name="Acknowledge").press("Enter")
    await expect(alert).to_contain_text(re.compile(r"Acknowledged: .*\(nurse\).*no prescriber yet"))
    red = "from alert where family = 'sbp_high' and tier = 'RED'"
    assert await care.value("session_logging", f"select nurse_by {red}") == care.id("nurse.a")
    (await care.call("nurse.a", "session_logging", "POST", f"{session}/pause", {"reason": "alert"})).ok()
    await expect(room).to_contain_text("PAUSED since")

    # The board's service is gone, and the room goes on: nothing is shown as current any more.
    stopped = care.running["staff_dashboard"]
    stopped.popen.terminate()
    assert await stopped.ended() == 0
    (await care.call("nurse.a", "session_logging", "POST", f"{session}/vitals", AMBER.body())).ok()
    resolution = f"/alerts/{await care.value('session_logging', f'select id {red}')}/resolution"
    (await care.call("prescriber.a", "session_logging", "POST", resolution, {"action": "rechecked"})).ok()
    state = page.get_by_role("status").first
    await expect(state).to_contain_text("DISCONNECTED", timeout=30_000)
    pressure = room.locator(".signal").filter(has_text="BP")
    await expect(pressure.locator("b")).to_have_text("?")
    await expect(pressure).to_contain_text("last 181/100")
    await expect(alert).to_be_visible()

    await care.spawn("staff_dashboard")
    await expect(state).to_contain_text("Live, behind by", timeout=30_000)
    await expect(alert).to_have_count(0)
    await expect(alerts.filter(has_text="Breathing fast")).to_contain_text("◆ AMBER")
    await expect(pressure.locator("b")).to_have_text("140/84")
    assert await page.evaluate("window.stayed"), "it went on by itself"


async def test_what_is_refused_is_told_in_words_and_a_sign_in_from_elsewhere_is_not_taken(
    clinic: Clinic, chromium: Chromium
) -> None:
    care, _, session = clinic
    board = f"http://127.0.0.1:{care.ports['staff_dashboard']}"
    page = (await chromium.tab()).page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{board}/board")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator('button[value="nurse.b"]')).to_be_visible()
    await page.goto(f"{board}/board?code=of-somebody-else&state=not-begun-here&iss={care.provider.url}")
    await expect(page.get_by_text("That sign-in did not work")).to_be_visible()
    assert page.url == f"{board}/board"
    assert not [url for url in asked if url.endswith("/token")], "the code is not even tried"
    await signed_in(page, board, "nurse.b")
    (await care.call("nurse.a", "session_logging", "POST", f"{session}/vitals", SLOW.body())).ok()
    alert = page.get_by_role("region", name="Alerts").get_by_role("listitem").filter(has_text="Heart rate low")
    await expect(alert).to_contain_text("◆ AMBER")
    await expect(alert).not_to_have_class(re.compile("flash"))
    # The board's service stands still: the page hears nothing, while the alert is resolved. Its owner says so.
    identifier = await care.value("session_logging", "select id from alert where family = 'heart_rate_low' and status = 'open'")
    care.running["staff_dashboard"].send(signal.SIGSTOP)
    try:
        await page.context.set_offline(True)
        await alert.get_by_role("button", name="Acknowledge").click()
        await expect(alert.get_by_role("status")).to_contain_text("NOT acknowledged")
        resolution = {"action": "rechecked"}
        (await care.call("nurse.a", "session_logging", "POST", f"/alerts/{identifier}/resolution", resolution)).ok()
        await page.context.set_offline(False)
        await alert.get_by_role("button", name="Acknowledge").click()
        await expect(alert.get_by_role("status")).to_have_text("It was resolved already.")
    finally:
        care.running["staff_dashboard"].send(signal.SIGCONT)
    assert await care.value("session_logging", "select nurse_by from alert where id = $1", identifier) is None
    await expect(alert).to_have_count(0)
