"""What a service is, as seen by everything that starts, migrates, documents or supervises one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.registry import REGISTRY, Registry
from services.runtime.messaging.inbox import Subscription
from services.runtime.messaging.ladders import Ladder
from services.runtime.messaging.paging import OnCall, no_roster
from services.runtime.messaging.timers import TimerHandler
from services.runtime.settings import role_of

if TYPE_CHECKING:
    from aiohttp import web

    from services.runtime.serve import Runtime

__all__ = ["Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """One service, wired in its ``app.py`` and found there as ``SERVICE``.

    Attributes:
        name: snake_case; also its PostgreSQL schema and the middle of its topic.
        package: what ``python -m`` runs.
        migrations: folder of its own ``NNNN_{pre,post}_what.sql`` files.
        port: where it listens unless ``TELEMED_HTTP_PORT`` says otherwise.
        subscriptions: what it listens to.
        timers: handler per timer kind.
        ladders: who is paged, in which order, per page code.
        on_call: who is on call for a role, by the service's own copy of the roster.
        registry: the event types that are known to it.
        routes: adds its HTTP routes to the application, given the running runtime.
    """

    name: str
    package: str
    migrations: Path
    port: int
    subscriptions: tuple[Subscription, ...] = ()
    timers: Mapping[str, TimerHandler] = field(default_factory=dict)
    ladders: Mapping[str, Ladder] = field(default_factory=dict)
    on_call: OnCall = no_roster
    registry: Registry = REGISTRY
    routes: Callable[["web.Application", "Runtime"], None] | None = None

    @property
    def schema(self) -> str:
        """Its PostgreSQL schema: the service's name."""
        return self.name

    @property
    def role(self) -> str:
        """Its PostgreSQL role, without DDL and without rights in any other schema."""
        return role_of(self.name)

    def topic(self, prefix: str) -> str:
        """Its one event topic, e.g. ``telemed.follow-up.events``."""
        return f"{prefix}.{self.name.replace('_', '-')}.events"
