"""Every attack of the list is tried by some test, and the list holds what tests claim to try."""

import importlib
from collections import defaultdict
from pathlib import Path

from tests.support.attacks import ATTACKS

TESTS = Path(__file__).parents[1]


def tried() -> dict[int, list[str]]:
    """Tests by the number of an attack."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted((TESTS / "integration").glob("test_*.py")):
        if "attack(" not in path.read_text(encoding="utf-8"):
            continue
        module = importlib.import_module(f"tests.integration.{path.stem}")
        for name, test in vars(module).items():
            if name.startswith("test_"):
                for mark in getattr(test, "pytestmark", ()):
                    for number in mark.args if mark.name == "attack" else ():
                        found[number].append(f"{path.name}::{name}")
    return found


def test_every_attack_is_tried_and_no_other_is_claimed() -> None:
    assert set(tried()) == set(ATTACKS)


def test_no_attack_stands_in_the_list_twice() -> None:
    assert len(set(ATTACKS.values())) == len(ATTACKS)
