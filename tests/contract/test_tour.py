"""docs/tour.md points at lines that say what it quotes; every service has its page."""

import re
from pathlib import Path

from services.cli.catalogue import SERVICES

ROOT = Path(__file__).parents[2]
_HOP = re.compile(r"\[(?P<path>[^\]:]+):(?P<line>\d+)\]\(\.\./(?P<link>[^)#]+)#L(?P<anchor>\d+)\) `(?P<code>[^`]+)`")


def test_every_hop_of_the_tour_stands_where_it_says() -> None:
    hops = list(_HOP.finditer((ROOT / "docs" / "tour.md").read_text(encoding="utf-8")))
    assert len(hops) >= 6
    for hop in hops:
        assert (hop["path"], hop["line"]) == (hop["link"], hop["anchor"])
        lines = (ROOT / hop["path"]).read_text(encoding="utf-8").splitlines()
        stands = [number for number, line in enumerate(lines, 1) if hop["code"] in line]
        assert int(hop["line"]) in stands, f"{hop['path']}: {hop['code']!r} stands on line {stands}, not {hop['line']}"


def test_every_service_has_a_page_of_its_own() -> None:
    for package in SERVICES:
        text = (ROOT / package.replace(".", "/") / "README.md").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60, package
        for word in ("owns", "listens to", "emits", "pages"):
            assert f"| {word} |" in text, (package, word)
