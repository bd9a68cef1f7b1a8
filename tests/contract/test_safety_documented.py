"""The page about clinical safety names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "clinical_safety.md").read_text(encoding="utf-8")
    files = list((ROOT / "tests").rglob("test_*.py"))
    there = {path.name for path in files}
    functions = [name for path in files for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))]
    named = re.findall(r"`(test_[\w.]+)`", page)
    assert len(named) > 50
    wanting = [
        name
        for name in named
        if name not in there and not any(one.startswith(name.removesuffix("...").rstrip("_")) for one in functions)
    ]
    assert wanting == []
