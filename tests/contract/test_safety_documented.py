"""The page about clinical safety is whole, and names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clinical_safety.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    there = {path.name for path in files}
    functions = [name for path in files for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))]
    named = re.findall(r"`(test_[\w.]+)`", PAGE)
    assert len(named) > 50
    wanting = [
        name
        for name in named
        if name not in there and not any(one.startswith(name.removesuffix("...").rstrip("_")) for one in functions)
    ]
    assert wanting == []


def test_every_sentence_has_its_row_and_what_is_not_done() -> None:
    table = PAGE[PAGE.index("| # |") :].partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")] for line in table[2:]]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 21)]
    assert [row[0] for row in rows if len(row) != 4 or not all(row)] == []
    # Words that stand twice in a cell were put there by hand twice.
    twice = [row[0] for row in rows for said in [re.split(r" ?[;:] ", row[2])] if len({*said}) < len(said)]
    assert twice == []
