"""Wiring of treatment planning: the only place that does it."""

from pathlib import Path

from services.directory import LIBRARY as DIRECTORY
from services.directory.paging import GLASS
from services.runtime.edge.break_glass import BREAK_GLASS
from services.runtime.service import Service
from services.runtime.settings import Environment, ProcessSettings, load
from services.therapies.rulebook import Rulebook
from services.treatment_planning.commands import Plans
from services.treatment_planning.http import routes
from services.treatment_planning.paging import on_call
from services.treatment_planning.subscriptions import SUBSCRIPTIONS

__all__ = ["SERVICE"]

_RULEBOOK = Rulebook(production=lambda: load(ProcessSettings).env is Environment.PRODUCTION)

SERVICE = Service(
    name="treatment_planning",
    package="services.treatment_planning",
    migrations=Path(__file__).parent / "migrations",
    libraries=DIRECTORY,
    port=7003,
    append_only=("plan_version", "plan_act"),
    subscriptions=SUBSCRIPTIONS,
    ladders=lambda: GLASS,
    on_call=on_call,
    routes=(*routes(Plans(_RULEBOOK)), BREAK_GLASS),
)
