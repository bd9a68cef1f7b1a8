"""Seeds and timings of fault tests.

``TELEMED_FAULT_SEEDS=N`` runs every test N times, each with a fresh seed; ``TELEMED_FAULT_SEED=S`` repeats one. The seed
stands in the test's name.
"""

import asyncio
import os
import random
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from services.cli.stack.kafka import KafkaBroker, default_cache
from services.cli.stack.ports import HOST, free_ports
from services.cli.stack.postgres import PostgresServer
from tests.support.certificates import Authority
from tests.support.servers import Servers, make_template
from tests.support.timings import Timings, chosen
from tests.support.world import World, make_world


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A fresh seed for each run of a test that asks for one."""
    if "seed" in metafunc.fixturenames:
        given = os.environ.get("TELEMED_FAULT_SEED")
        count = int(os.environ.get("TELEMED_FAULT_SEEDS", "1"))
        # Processes that run tests side by side have to find the same ones.
        chance = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID", secrets.token_hex(8)))
        seeds = [int(given)] if given else [chance.getrandbits(32) for _ in range(count)]
        metafunc.parametrize("seed", seeds, ids=[f"seed{number}" for number in seeds])


@pytest.fixture
def timings() -> Timings:
    """Short or full."""
    return chosen()


@dataclass(frozen=True)
class OwnBroker:
    """A broker that a fault test may stop, kill, or reach through a proxy.

    Attributes:
        behind: its second listener, where clients are told to come back through ``proxy``.
        proxy: port at which a test may listen.
        safe: environment of who comes over its third listener, which asks for TLS on both sides and a password.
    """

    broker: KafkaBroker
    behind: int
    proxy: int
    safe: Mapping[str, str]


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """One for the fault tests, which take turns in tormenting it."""
    port, controller, behind, proxy, safe = free_ports(5)
    folder = tmp_path_factory.mktemp("own-broker")
    authority, password = Authority(folder, "authority"), secrets.token_hex(8)
    ours, theirs = authority.vouch_for("ledger"), authority.vouch_for("broker")
    (folder / "kafka.password").write_text(password, encoding="ascii")
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_ledger="{password}";'
    properties = {
        "listeners": f"PLAINTEXT://{HOST}:{port},BEHIND://{HOST}:{behind},SAFE://{HOST}:{safe},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port},BEHIND://{HOST}:{proxy},SAFE://{HOST}:{safe}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,BEHIND:PLAINTEXT,SAFE:SASL_SSL,CONTROLLER:PLAINTEXT",
        "listener.name.safe.ssl.keystore.type": "PEM",
        "listener.name.safe.ssl.keystore.location": str(theirs),
        "listener.name.safe.ssl.truststore.type": "PEM",
        "listener.name.safe.ssl.truststore.location": str(authority.file),
        "listener.name.safe.ssl.client.auth": "required",
        "listener.name.safe.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.safe.plain.sasl.jaas.config": login,
        # 6 s by default: each killed consumer would cost every test that long.
        "group.min.session.timeout.ms": "1000",
        # How often it looks for producers to forget; only a test that lowers their 24 h ever meets it.
        "producer.id.expiration.check.interval.ms": "500",
    }
    starting = KafkaBroker.start(
        folder / "kafka", default_cache(), port=port, controller_port=controller, properties=properties
    )
    broker = asyncio.run(starting)
    secured = {
        "TELEMED_KAFKA_BOOTSTRAP": f"{HOST}:{safe}",
        "TELEMED_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "TELEMED_KAFKA_SASL_MECHANISM": "PLAIN",
        "TELEMED_KAFKA_USERNAME": "ledger",
        "TELEMED_KAFKA_PASSWORD_FILE": str(folder / "kafka.password"),
        "TELEMED_KAFKA_CA_FILE": str(authority.file),
        "TELEMED_KAFKA_CERT_FILE": str(ours),
        "TELEMED_KAFKA_KEY_FILE": str(ours),
    }
    yield OwnBroker(broker, behind, proxy, secured)
    asyncio.run(broker.stop())


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that these tests may stop, crash and set back."""

    async def start() -> PostgresServer:
        server = await PostgresServer.start(tmp_path_factory.mktemp("own-postgres") / "data")
        await make_template(server)
        return server

    server = asyncio.run(start())
    yield server
    asyncio.run(server.stop())


def apart(made: World) -> World:
    """A world on the own broker: its consumers are missed after 3 s."""
    made.environment["TELEMED_KAFKA_SESSION_TIMEOUT_S"] = "3"
    return made


@pytest_asyncio.fixture
async def world_apart(servers: Servers, own_broker: OwnBroker, tmp_path: Path) -> AsyncIterator[World]:
    """A world on the own broker."""
    made = apart(await make_world(servers, tmp_path, bootstrap=own_broker.broker.bootstrap))
    yield made
    await made.close()
