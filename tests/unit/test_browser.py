"""Which browser the tests take, and what they say when there is none."""

from pathlib import Path

import pytest

from tests.support import browser


def test_the_browser_that_is_named_is_taken_and_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    chrome = tmp_path / "google-chrome"
    chrome.write_text("#!/bin/sh\n")
    chrome.chmod(0o755)
    assert browser.found({"PATH": str(tmp_path)}) == str(chrome)
    assert browser.found({"PATH": "/nowhere", "CHROME": str(chrome)}) == str(chrome)
    with pytest.raises(browser.NoBrowser, match="CHROME=/nowhere/chrome"):
        browser.found({"PATH": str(tmp_path), "CHROME": "/nowhere/chrome"})


def test_a_machine_without_one_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError("no network")

    monkeypatch.setattr(browser, "found", lambda: None)
    monkeypatch.setattr(browser, "_ways", lambda: (("a way", fails, lambda: None), ("another", lambda: None, lambda: None)))
    with pytest.raises(browser.NoBrowser, match=r"a way: OSError; another: .*CHROME=/path/to/chrome"):
        browser.obtained()
