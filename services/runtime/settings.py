"""Typed settings, read once from the environment and from secret files.

Every variable is called ``TELEMED_<SECTION>_<FIELD>``. A secret may instead be given as a file, by the same name with
``_FILE`` at its end (the convention of container platforms), so that it never stands in a process listing; giving both
is an error. ``TELEMED_ENV`` unset means production: development keys, clock moves and failpoints are refused there.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_type_hints
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

__all__ = [
    "AuditSettings",
    "DatabaseSettings",
    "Environment",
    "HttpSettings",
    "KafkaSettings",
    "MessagingSettings",
    "OidcSettings",
    "ProcessSettings",
    "ServiceSettings",
    "Settings",
    "SettingsError",
    "SmtpSettings",
    "load",
    "load_service",
    "role_of",
    "sealer_role",
]


class SettingsError(Exception):
    """One or more settings are missing or wrong. Each problem names its variable and rule, never a value."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Environment(StrEnum):
    """Where this process runs. Only the local stack sets ``local``."""

    PRODUCTION = "production"
    LOCAL = "local"


class Settings(BaseSettings):
    """Base of every section: read from the environment, a secret also from a file."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls)


class _SecretFiles(EnvSettingsSource):
    """Reads ``<VARIABLE>_FILE``: the value is the file's text without the last line break."""

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        prefix = str(self.settings_cls.model_config.get("env_prefix", ""))
        for name, field in self.settings_cls.model_fields.items():
            variable = (prefix + name).upper()
            path = os.environ.get(variable + "_FILE")
            # Fields that are themselves paths (``ca_file``) are ordinary settings.
            if not path or field.annotation in (Path, Path | None):
                continue
            if variable in os.environ:
                raise SettingsError(f"{variable} and {variable}_FILE are both set: keep one")
            try:
                found[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except OSError as error:
                raise SettingsError(f"{variable}_FILE cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise SettingsError(f"{variable}_FILE is not UTF-8 text") from None
        return found


class DatabaseSettings(Settings):
    """PostgreSQL. ``url`` names the role of the process; the password may come apart from it."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_DATABASE_")

    url: SecretStr = Field(description="`postgresql://role@host:port/database`")
    password: SecretStr | None = Field(default=None, description="of that role, when it does not stand in the URL")
    http_connections: int = Field(default=8, ge=1, description="pool of the routes")
    consumer_connections: int = Field(default=4, ge=1, description="pool of consumers and parked events")
    timer_connections: int = Field(default=3, ge=1, description="pool of timers, pages and gauges")
    acquire_timeout_s: float = Field(default=1.0, gt=0, description="wait for a connection, then 503")
    command_timeout_s: float = Field(default=10.0, gt=0, description="longest statement")

    def dsn(self, *, user: str | None = None, password: str | None = None) -> str:
        """The connection URL with its password; with ``user``, the same server and database as another role."""
        parts = urlsplit(self.url.get_secret_value())
        name = user or parts.username or ""
        secret = password or (parts.password if user is None else None) or ""
        if user is None and self.password is not None:
            secret = self.password.get_secret_value()
        login = quote(name, safe="") + (":" + quote(secret, safe="") if secret else "")
        host = parts.hostname or ""
        if ":" in host:
            host = f"[{host}]"
        netloc = f"{login}@{host}" if login else host
        if parts.port:
            netloc += f":{parts.port}"
        return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


class KafkaSettings(Settings):
    """Apache Kafka: where it is, how to be trusted by it, and the shape of our topics."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_KAFKA_")

    bootstrap: str = Field(description="`host:port`, several separated by commas")
    security_protocol: str = Field(
        default="PLAINTEXT", pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$", description="by the name that Kafka gives it"
    )
    sasl_mechanism: str | None = Field(
        default=None, pattern="^(PLAIN|SCRAM-SHA-256|SCRAM-SHA-512)$", description="`PLAIN` or one of the two `SCRAM-SHA-`"
    )
    username: str | None = Field(default=None, description="SASL")
    password: SecretStr | None = Field(default=None, description="SASL")
    ca_file: Path | None = Field(default=None, description="authority that signs the brokers; the system's when unset")
    cert_file: Path | None = Field(default=None, description="our client certificate")
    key_file: Path | None = Field(default=None, description="its key")
    topic_prefix: str = Field(default="telemed", pattern="^[a-z0-9][a-z0-9-]*$", description="first word of every topic")
    partitions: int = Field(default=12, ge=1, le=1000, description="of every topic; never changed afterwards")
    replication: int = Field(default=1, ge=1, description="copies of a new topic; 3 in production")
    min_insync_replicas: int = Field(default=1, ge=1, description="copies that acknowledge a write; 2 in production")
    retention_days: int = Field(default=30, ge=1, description="of a new topic")
    session_timeout_s: float = Field(default=10.0, gt=0, description="a consumer silent for so long is replaced")
    max_poll_interval_s: float = Field(
        default=300.0, gt=0, description="a consumer that has been busy with one batch for so long is replaced"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (self.sasl_mechanism and self.username and self.password):
            raise ValueError("a SASL security protocol needs sasl_mechanism, username and password")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("a client certificate needs both cert_file and key_file")
        if self.min_insync_replicas > self.replication:
            raise ValueError("min_insync_replicas is larger than replication")
        return self


class SmtpSettings(Settings):
    """The mail server: ``smtp://user@host:port`` or ``smtps://``; ``sender`` is the From address."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_SMTP_")

    url: str = Field(description="`smtp://user@host:port` or `smtps://`")
    password: SecretStr | None = Field(default=None, description="of that user")
    sender: str = Field(default="telemed@localhost", description="the From address")
    operator: str = Field(default="operator@localhost", description="paged when nobody is on call for a role")
    pager_domain: str = Field(
        default="pager.localhost",
        pattern="^[A-Za-z0-9.-]+$",
        description="mail domain of the pagers on the roster: pager `nurse-1` is called at `nurse-1@` this domain",
    )
    timeout_s: float = Field(default=10.0, gt=0, description="of one message")


class HttpSettings(Settings):
    """Where this service listens."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_HTTP_")

    host: str = Field(default="127.0.0.1", description="address to listen at")
    port: int = Field(ge=0, le=65535, description="port to listen at; 0 takes a free one")
    board_origin: str = Field(
        default="",
        pattern="^(https?://[a-z0-9.-]+(:[0-9]+)?)?$",
        description="the one origin whose pages may call us, e.g. `https://board.example.org`",
    )
    trusted_proxies: str = Field(
        default="",
        pattern="^[0-9a-fA-F.:/,]*$",
        description="networks of our own proxies (`10.0.0.0/8,...`), whose `X-Forwarded-For` is believed",
    )
    connections: int = Field(default=2000, ge=10, description="open at once; one more closes the longest-waiting one")
    head_timeout_s: float = Field(default=8.0, gt=0, description="for a request's headers to arrive")
    body_timeout_s: float = Field(default=8.0, gt=0, description="for a request's body to arrive")
    keep_alive_s: float = Field(default=15.0, gt=0, description="an idle connection is kept for")


class OidcSettings(Settings):
    """Who vouches for the people and programs that call us: any OpenID Connect provider."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_OIDC_")

    issuer: str = Field(
        default="", description="URL of the provider, exactly as it stands in `iss`; needed by routes for people"
    )
    audience: str = Field(default="telemed", min_length=1, description="what `aud` must name")
    jwks_url: str = Field(default="", description="where its keys are; empty: as its discovery document says")
    algorithms: tuple[Literal["EdDSA", "ES256", "RS256", "PS256"], ...] = Field(
        default=("EdDSA", "ES256", "RS256"), min_length=1, description="signature algorithms that are taken, as a JSON list"
    )
    person_claim: str = Field(default="person", description="claim with the id of the staff member or patient in our records")
    roles_claim: str = Field(default="roles", description="claim with a list of roles")
    leeway_s: int = Field(default=30, ge=0, le=60, description="how far clocks may differ")
    unknown_key_s: float = Field(
        default=60.0, gt=0, description="keys are asked for at most this often because of an unknown `kid`"
    )
    refresh_s: float = Field(default=300.0, gt=0, description="keys older than this are asked for anew")
    stale_s: float = Field(default=3600.0, gt=0, description="keys older than this are not used: then nobody is let in")
    timeout_s: float = Field(default=5.0, gt=0, description="of one question to the provider")


class AuditSettings(Settings):
    """How audit rows are sealed."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_AUDIT_")

    key_file: Path | None = Field(default=None, description="Ed25519 key (PEM) that signs the seals; required in production")
    heads_file: Path | None = Field(
        default=None, description="append-only file of this service's seals; keep it where the database's owner cannot write"
    )
    publish_s: float = Field(default=60.0, gt=0, description="the newest seal goes out as an event at most this often")


class MessagingSettings(Settings):
    """Timings of the messaging kernel. They run on real time; the clinic clock never touches them."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_MESSAGING_")

    relay_interval_ms: float = Field(default=10.0, gt=0, description="at most one relay run per this time")
    relay_batch: int = Field(default=1000, ge=1, description="events of one lane in one relay run")
    poll_s: float = Field(default=1.0, gt=0, description="a poll is the truth; wake-ups are only hints")
    send_timeout_s: float = Field(default=15.0, gt=0, description="three brokers stall 8-12 s when one dies")
    heartbeat_s: float = Field(default=5.0, gt=0, description="how often an emptied lane says so on its partition")
    stale_after_s: float = Field(default=60.0, gt=0, description="facts older than this hold a gate")
    offset_commit_s: float = Field(default=0.5, gt=0, description="offsets are a hint: committed at most this often")
    poll_records: int = Field(default=2000, ge=1, description="records of one poll")
    gap_alarm_s: float = Field(default=30.0, gt=0, description="a gap older than this pages")
    watchdog_s: float = Field(default=30.0, gt=0, description="lag without progress for this long rebuilds the consumer")
    park_first_retry_s: float = Field(default=5.0, gt=0, description="of a parked event; then four times longer each time")
    park_max_retry_s: float = Field(default=3600.0, gt=0, description="longest wait between two tries")
    park_attempts: int = Field(default=12, ge=1, description="then the event is dead: announced, and a human is paged")
    lease_s: float = Field(default=60.0, gt=0, description="how long an outside call may stay unanswered for")
    timer_batch: int = Field(default=100, ge=1, description="timers of one transaction")
    loop_stall_ms: float = Field(default=250.0, gt=0, description="an event loop later than this alarms")
    drain_s: float = Field(default=10.0, gt=0, description="after SIGTERM; then the process ends anyway")


class ProcessSettings(Settings):
    """What kind of deployment this process belongs to, and the faults it is asked to inject (never in production)."""

    model_config = SettingsConfigDict(env_prefix="TELEMED_")

    env: Environment = Field(default=Environment.PRODUCTION, description="only the local stack sets `local`")
    failpoints: str = Field(default="", description="faults to inject, for tests; refused in production")
    failpoint_log: Path | None = Field(default=None, description="where a failpoint that fired is written down")

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        if self.env is Environment.PRODUCTION and self.failpoints:
            raise ValueError("failpoints are refused in production")
        return self


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Everything a service process reads from its environment."""

    process: ProcessSettings
    database: DatabaseSettings
    kafka: KafkaSettings
    smtp: SmtpSettings
    http: HttpSettings
    messaging: MessagingSettings
    oidc: OidcSettings
    audit: AuditSettings


S = TypeVar("S", bound=BaseSettings)


def load(kind: type[S]) -> S:
    """Read one section from the environment.

    Raises:
        SettingsError: naming every wrong variable and its rule, without any value.
    """
    try:
        return kind()
    except ValidationError as error:
        raise SettingsError(*_problems(kind, error)) from None


def load_service() -> ServiceSettings:
    """Read all sections of a service process; one error names the problems of all of them."""
    sections: dict[str, BaseSettings] = {}
    problems: list[str] = []
    kinds = get_type_hints(ServiceSettings)
    for name, kind in kinds.items():
        try:
            sections[name] = load(kind)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(*problems)
    return ServiceSettings(**sections)  # type: ignore[arg-type]


def _problems(kind: type[BaseSettings], error: ValidationError) -> list[str]:
    prefix = str(kind.model_config.get("env_prefix", ""))
    return [
        f"{(prefix + '_'.join(str(part) for part in problem['loc'])).upper().rstrip('_')}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def sealer_role(service_role: str) -> str:
    """The PostgreSQL role that may write seals over a service's audit rows, e.g. ``telemed_follow_up_sealer``."""
    return f"{service_role}_sealer"


def role_of(service: str) -> str:
    """The PostgreSQL role of a service, e.g. ``telemed_follow_up``."""
    return f"telemed_{service}"
