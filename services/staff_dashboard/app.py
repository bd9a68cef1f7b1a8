"""Wiring of the board: the only place that does it."""

from pathlib import Path

from services.directory import LIBRARY as DIRECTORY
from services.runtime.service import Service
from services.runtime.settings import KafkaSettings, load
from services.staff_dashboard.commands import Board
from services.staff_dashboard.http import routes
from services.staff_dashboard.paging import on_call
from services.staff_dashboard.subscriptions import BOARD, OWNERS, subscriptions

__all__ = ["SERVICE"]

SERVICE = Service(
    name="staff_dashboard",
    package="services.staff_dashboard",
    migrations=Path(__file__).parent / "migrations",
    libraries=DIRECTORY,
    port=7007,
    subscriptions=subscriptions(),
    on_call=on_call,
    routes=routes(Board(BOARD, OWNERS, lambda: load(KafkaSettings))),
)
