"""Wiring of the clinic: the only place that does it."""

import datetime as dt
from pathlib import Path

from services.clinic.commands import CHECK_COVERAGE, UNCOVERED
from services.clinic.http import ROUTES
from services.clinic.paging import on_call
from services.clinic.subscriptions import SUBSCRIPTIONS
from services.clinic.timers import CheckCoverage
from services.runtime.messaging.ladders import Ladder, Rung
from services.runtime.service import Service

__all__ = ["SERVICE"]

SERVICE = Service(
    name="clinic",
    package="services.clinic",
    migrations=Path(__file__).parent / "migrations",
    port=7001,
    subscriptions=SUBSCRIPTIONS,
    timers={CHECK_COVERAGE: CheckCoverage()},
    ladders=lambda: {UNCOVERED: Ladder((Rung(dt.timedelta(0), "admin"), Rung(dt.timedelta(hours=1), "clinic")))},
    on_call=on_call,
    routes=ROUTES,
)
