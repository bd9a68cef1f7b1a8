"""The session monitoring record as it is printed, in a real browser: under its own policy, and on A4."""

import pytest
from playwright.async_api import expect

from tests.support.browser import Chromium
from tests.support.stage import Shown as Clinic

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]


async def test_the_record_is_read_and_printed_without_a_script(clinic: Clinic, chromium: Chromium) -> None:
    care, _, session = clinic
    tab = await chromium.tab(extra_http_headers=care.bearer("nurse.a"))
    page = tab.page
    address = f"{care.running['session_logging'].url}{session}/monitoring-record/page"
    seen = await page.goto(address)
    assert seen is not None
    assert (seen.status, seen.headers["content-type"]) == (200, "text/html; charset=utf-8")
    await expect(page.get_by_role("heading", name="Session monitoring record")).to_be_visible()
    await expect(page.get_by_text("NOT SIGNED. Missing:")).to_be_visible()
    await expect(page.get_by_role("img", name="Vitals of the session")).to_be_visible()
    await expect(page.get_by_role("row").filter(has_text="rate: 150.0 mL/h").first).to_be_visible()
    # Its style holds: the policy lets it in, and nothing is wider than the paper.
    state = page.get_by_text("NOT SIGNED. Missing:")
    assert await state.evaluate("node => getComputedStyle(node).borderTopWidth") == "2px"
    await page.emulate_media(media="print")
    await page.set_viewport_size({"width": 703, "height": 1000})  # 186 mm
    assert await page.evaluate("document.documentElement.scrollWidth") <= 703
    paper = await page.pdf(prefer_css_page_size=True)
    assert paper.startswith(b"%PDF-")
    assert b"/MediaBox [0 0 594" in paper or b"/MediaBox [0 0 595" in paper, "A4 is 595 points wide"
