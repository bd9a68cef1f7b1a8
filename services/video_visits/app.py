"""Wiring of visits: the only place that does it."""

from pathlib import Path

from services.directory import LIBRARY as DIRECTORY
from services.directory.paging import GLASS
from services.runtime.edge.break_glass import BREAK_GLASS
from services.runtime.service import Service
from services.runtime.settings import Environment, ProcessSettings, load
from services.therapies.rulebook import Rulebook
from services.video_visits.commands import INTERRUPTED, NO_SHOW, Visits
from services.video_visits.http import routes
from services.video_visits.paging import on_call
from services.video_visits.subscriptions import subscriptions
from services.video_visits.timers import VisitDue

__all__ = ["SERVICE"]

_VISITS = Visits(Rulebook(production=lambda: load(ProcessSettings).env is Environment.PRODUCTION))

SERVICE = Service(
    name="video_visits",
    package="services.video_visits",
    migrations=Path(__file__).parent / "migrations",
    libraries=DIRECTORY,
    port=7006,
    append_only=("platform_call",),
    subscriptions=subscriptions(_VISITS),
    timers={NO_SHOW: VisitDue(_VISITS), INTERRUPTED: VisitDue(_VISITS)},
    ladders=lambda: GLASS,
    on_call=on_call,
    routes=(*routes(_VISITS), BREAK_GLASS),
)
