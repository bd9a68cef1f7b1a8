"""Wiring of the board: the only place that does it."""

from pathlib import Path
from urllib.parse import urlsplit

from services.directory import LIBRARY as DIRECTORY
from services.runtime.edge.assets import Page
from services.runtime.service import Service
from services.runtime.settings import KafkaSettings, OidcSettings, load
from services.staff_dashboard.commands import Board
from services.staff_dashboard.http import routes
from services.staff_dashboard.paging import on_call
from services.staff_dashboard.settings import BoardSettings
from services.staff_dashboard.subscriptions import BOARD, OWNERS, subscriptions

__all__ = ["SERVICE"]


def _called() -> tuple[str, ...]:
    """Whom the page calls: the provider where people sign in, and the services that own what it shows."""
    issuer = urlsplit(load(OidcSettings).issuer)
    return (f"{issuer.scheme}://{issuer.netloc}", *load(BoardSettings).model_dump(exclude={"client_id"}).values())


SERVICE = Service(
    name="staff_dashboard",
    package="services.staff_dashboard",
    migrations=Path(__file__).parent / "migrations",
    libraries=DIRECTORY,
    port=7007,
    subscriptions=subscriptions(),
    on_call=on_call,
    routes=routes(Board(BOARD, OWNERS, lambda: load(KafkaSettings))),
    pages=(Page("/board", Path(__file__).parent / "page", calls=_called),),
)
