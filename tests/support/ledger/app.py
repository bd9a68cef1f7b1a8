"""Wiring of the ledger: the only place that does it."""

from datetime import timedelta
from pathlib import Path

from services.runtime.edge.assets import Page
from services.runtime.edge.break_glass import BROKEN
from services.runtime.messaging.ladders import Ladder, Rung
from services.runtime.service import Service
from tests.support.ledger.events import REGISTRY
from tests.support.ledger.http import ROUTES
from tests.support.ledger.subscriptions import SUBSCRIPTIONS
from tests.support.ledger.timers import Fire, Notify
from tests.support.tokens import authenticate

__all__ = ["SERVICE"]

SERVICE = Service(
    name="ledger",
    package="tests.support.ledger",
    migrations=Path(__file__).parent / "migrations",
    port=18999,
    subscriptions=SUBSCRIPTIONS,
    timers={"ledger.fire": Fire(), "ledger.notify": Notify()},
    ladders=lambda: {
        "ledger.flagged": Ladder((Rung(timedelta(0), "nurse"), Rung(timedelta(seconds=60), "prescriber"))),
        BROKEN: Ladder((Rung(timedelta(0), "admin"),)),
    },
    registry=REGISTRY,
    routes=ROUTES,
    pages=(Page("/ledger", Path(__file__).parent / "page"),),
    authenticate=lambda _: authenticate,
)
