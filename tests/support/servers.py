"""The real servers that a test session shares: PostgreSQL, Kafka, SMTP. Each test gets its own database and topics."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from services.cli.stack.kafka import KafkaBroker, default_cache
from services.cli.stack.keys import write_private_key
from services.cli.stack.ports import free_ports
from services.cli.stack.postgres import PostgresServer
from services.cli.stack.process import Child
from services.runtime.migrations import migrate
from tests.support.ledger.app import SERVICE
from tests.support.program import Launch, start

__all__ = ["LEDGER_PASSWORD", "TEMPLATE", "MailSink", "Servers"]

LEDGER_PASSWORD = "ledger-password"
TEMPLATE = "telemed_template"


@dataclass
class MailSink:
    """A real SMTP server that keeps every message it takes, as often as it comes."""

    child: Child
    folder: Path
    smtp_port: int

    @classmethod
    async def start(cls, folder: Path) -> "MailSink":
        """Start it on free ports."""
        smtp_port, http_port = free_ports(2)
        command = [sys.executable, "-m", "services.cli.stack.mail", "--outbox", str(folder / "outbox")]
        child = await Child.start(
            [*command, "--smtp-port", str(smtp_port), "--http-port", str(http_port)], log=folder / "mail.log", env={}
        )
        await _listening(smtp_port)
        return cls(child, folder / "outbox", smtp_port)

    @property
    def url(self) -> str:
        """For ``TELEMED_SMTP_URL``."""
        return f"smtp://127.0.0.1:{self.smtp_port}"

    def raw(self, containing: str) -> list[str]:
        """Every message, in order of arrival, whose bytes hold a text. Raw deliveries, nothing is deduplicated."""
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(self.folder.glob("*.eml"))]
        return [text for text in texts if containing in text]


@dataclass
class Servers:
    """What runs for the whole session.

    Attributes:
        launch: how programs of ours are started.
    """

    folder: Path
    postgres: PostgresServer
    kafka: KafkaBroker
    mail: MailSink
    launch: Launch = start

    @property
    def seal_key(self) -> Path:
        """Key that seals the audit in tests."""
        path = self.folder / "development.pem"
        if not path.exists():
            write_private_key(path)
        return path

    @classmethod
    async def start(cls, folder: Path, launch: Launch = start) -> "Servers":
        """Start all three side by side and make the template database."""
        postgres, kafka, mail = await asyncio.gather(
            PostgresServer.start(folder / "postgres"),
            KafkaBroker.start(folder / "kafka", default_cache()),
            MailSink.start(folder),
        )
        await make_template(postgres)
        return cls(folder, postgres, kafka, mail, launch)

    async def stop(self) -> None:
        """Stop all three."""
        await asyncio.gather(self.kafka.stop(), self.mail.child.stop(), self.postgres.stop())


async def make_template(postgres: PostgresServer) -> None:
    """A migrated database to be cloned for each test (about 30 ms, instead of migrating anew)."""
    connection = await asyncpg.connect(postgres.url())
    try:
        await connection.execute(f"create database {TEMPLATE}")
    finally:
        await connection.close()
    await migrate(postgres.url(TEMPLATE), [SERVICE], passwords={SERVICE.role: LEDGER_PASSWORD})


async def _listening(port: int) -> None:
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise AssertionError(f"nothing listens on {port}")
