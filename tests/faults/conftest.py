"""Seeds and timings of fault tests.

``TELEMED_FAULT_SEEDS=N`` runs every test N times, each with a fresh seed; ``TELEMED_FAULT_SEED=S`` repeats one. The seed
stands in the test's name.
"""

import os
import secrets

import pytest

from tests.support.timings import Timings, chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A fresh seed for each run of a test that asks for one."""
    if "seed" in metafunc.fixturenames:
        given = os.environ.get("TELEMED_FAULT_SEED")
        count = int(os.environ.get("TELEMED_FAULT_SEEDS", "1"))
        seeds = [int(given)] if given else [secrets.randbits(32) for _ in range(count)]
        metafunc.parametrize("seed", seeds, ids=[f"seed{number}" for number in seeds])


@pytest.fixture
def timings() -> Timings:
    """Short or full."""
    return chosen()
