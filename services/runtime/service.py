"""What a service is, as seen by everything that starts, migrates, documents or supervises one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.events import REGISTRY
from schemas.registry import Registry
from services.runtime.edge.assets import Page
from services.runtime.edge.principal import Authenticate
from services.runtime.edge.route import Route
from services.runtime.messaging.inbox import Subscription
from services.runtime.messaging.ladders import Ladder
from services.runtime.messaging.paging import OnCall, no_roster
from services.runtime.messaging.timers import TimerHandler
from services.runtime.settings import ServiceSettings, role_of

__all__ = ["Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """One service, wired in its ``app.py`` and found there as ``SERVICE``.

    Attributes:
        name: snake_case; also its PostgreSQL schema and the middle of its topic.
        package: what ``python -m`` runs.
        migrations: folder of its own ``NNNN_{pre,post}_what.sql`` files.
        libraries: the same of libraries that keep tables in its schema, by their names; applied before its own.
        port: where it listens unless ``TELEMED_HTTP_PORT`` says otherwise.
        append_only: tables of its own that its role may insert into and read, and never change: the clinical record.
        subscriptions: what it listens to.
        timers: handler per timer kind.
        ladders: makes, once at start, who is paged in which order, per page code. It may read signed figures; a
            ``SettingsError`` keeps the process from starting.
        on_call: who is on call for a role, by the service's own copy of the roster.
        registry: the event types that are known to it.
        routes: its HTTP routes, declared.
        pages: files of its package that it shows in a browser.
        authenticate: from its settings to what verifies a bearer token; by default the OpenID Connect provider that they name.
    """

    name: str
    package: str
    migrations: Path
    port: int
    libraries: Mapping[str, Path] = field(default_factory=dict)
    append_only: tuple[str, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    timers: Mapping[str, TimerHandler] = field(default_factory=dict)
    ladders: Callable[[], Mapping[str, Ladder]] = dict
    on_call: OnCall = no_roster
    registry: Registry = REGISTRY
    routes: tuple[Route, ...] = ()
    pages: tuple[Page, ...] = ()
    authenticate: Callable[[ServiceSettings], Authenticate] | None = None

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
