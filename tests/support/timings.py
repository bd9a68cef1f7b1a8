"""How long faults last: short in CI, full in ``make faults`` (``TELEMED_FAULT_TIMINGS=full``)."""

import os
from dataclasses import dataclass

__all__ = ["FULL", "SHORT", "Timings", "chosen"]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, and how much is thrown at it.

    Attributes:
        broker_down_s: a broker that is gone.
        stopped_s: a process that stands still (SIGSTOP).
        cut_s: a network that swallows everything.
        transaction_s: a transaction that is left open.
        rounds: of a fault that is repeated inside a test.
        slow_clients: that do not finish what they ask, of each kind.
    """

    broker_down_s: float
    stopped_s: float
    cut_s: float
    transaction_s: float
    rounds: int
    slow_clients: int


SHORT = Timings(broker_down_s=15, stopped_s=8, cut_s=5, transaction_s=4, rounds=3, slow_clients=500)
FULL = Timings(broker_down_s=300, stopped_s=40, cut_s=60, transaction_s=300, rounds=20, slow_clients=2000)


def chosen() -> Timings:
    """What the environment asks for."""
    return FULL if os.environ.get("TELEMED_FAULT_TIMINGS") == "full" else SHORT
