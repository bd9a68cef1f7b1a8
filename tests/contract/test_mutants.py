"""What the mutants remove stands in the code, once each: one whose text was rewritten would no longer be tried."""

from pathlib import Path

import pytest

from tests import mutants, mutants_edge

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", [*mutants.MUTANTS, *mutants_edge.MUTANTS], ids=lambda mutant: mutant.removed)
def test_what_is_removed_stands_there_once(mutant: mutants.Mutant) -> None:
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert all((ROOT / test.partition("::")[0]).exists() for test in mutant.tests)
