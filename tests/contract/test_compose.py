"""docker-compose.yml and Dockerfile say what the code says. No container engine is needed to find that out."""

import copy
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic_settings import BaseSettings

from services.cli import settings_table
from services.cli.catalogue import load_services
from services.cli.main import cli
from services.cli.operate.access import OperatorSettings
from services.cli.stack.jars import KAFKA_VERSION
from services.cli.stack.livekit import LIVEKIT_VERSION, WEBHOOK
from services.cli.stack.postgres import MAJOR, MAX_CONNECTIONS
from services.cli.stack.settings import StackSettings
from services.follow_up.settings import MessageSettings
from services.runtime import serve
from services.runtime.service import Service
from services.runtime.settings import (
    DatabaseSettings,
    KafkaSettings,
    ServiceSettings,
    Settings,
    SettingsError,
    load,
    load_service,
)
from services.session_logging.settings import SampleSettings
from services.staff_dashboard.settings import BoardSettings
from services.video_visits.settings import LiveKitSettings

ROOT = Path(__file__).parents[2]
PARTS = {"postgres", "kafka", "mailpit", "livekit"}
JOBS = {"migrate": ["migrate"], "topics": ["topics", "ensure"]}
_HEALTH_PATH = "/readyz"

Document = dict[str, Any]


def compose_file() -> Document:
    document: Document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


def variables(*sections: type[BaseSettings]) -> set[str]:
    """Every environment variable that these settings read, the form for secret files included."""
    found: set[str] = set()
    for section in sections:
        prefix = str(section.model_config.get("env_prefix", ""))
        names = {(prefix + name).upper() for name in section.model_fields}
        found |= names | {name + "_FILE" for name in names}
    return found


OWN: dict[str, type[Settings]] = {
    "follow-up": MessageSettings,
    "session-logging": SampleSettings,
    "staff-dashboard": BoardSettings,
    "video-visits": LiveKitSettings,
}
"""Settings of one service alone."""
SERVICE_READS = variables(*get_type_hints(ServiceSettings).values())
JOBS_READ = variables(DatabaseSettings, KafkaSettings, OperatorSettings)


def does_not_start(name: str, service: Service, environment: Mapping[str, str]) -> Sequence[str]:
    """What a service's own start says of this environment, in production. Its ladders are left out: they want signed figures,
    which no file of this repository may hold."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for variable in [known for known in os.environ if known.startswith("TELEMED_")]:
            patch.delenv(variable)
        for variable, value in environment.items():
            given = re.sub(r"\$\{\w+:\?[^}]*\}", "https://id.example.org", str(value))
            if given.startswith("/run/secrets/"):
                secret = Path(folder) / Path(given).name
                secret.write_text(_SEAL_KEY if secret.suffix == ".pem" else "a secret", encoding="ascii")
                given = str(secret)
            patch.setenv(variable, given)
        try:
            if name in OWN:
                load(OWN[name])
            runtime = serve.build(replace(service, ladders=dict), load_service())
            serve._authenticate(runtime)
        except SettingsError as error:
            return error.problems
    return ()


_SEAL_KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def complaints(document: Document, services: Sequence[Service]) -> list[str]:
    """Where the document and the code disagree, one sentence each."""
    found: list[str] = []

    def expect(holds: bool, sentence: str) -> None:
        if not holds:
            found.append(sentence)

    stanzas: dict[str, Document] = document["services"]
    expected = {service.name.replace("_", "-"): service for service in services}
    ours = set(stanzas) - PARTS
    expect(set(stanzas) >= PARTS, f"missing: {sorted(PARTS - set(stanzas))}")
    for name in ours ^ (set(expected) | set(JOBS)):
        found.append(f"{name}: in {'the file' if name in ours else 'the code'} only")

    for name in ours:
        stanza = stanzas[name]
        expect(stanza.get("build") == ".", f"{name}: is not built from this repository")
        expect(stanza.get("read_only") is True, f"{name}: root file system is not read-only")
        user = str(stanza.get("user", "root"))
        expect(user.split(":")[0].isdigit() and not user.startswith("0"), f"{name}: runs as root")
        expect(stanza.get("cap_drop") == ["ALL"], f"{name}: keeps capabilities")
        expect("no-new-privileges:true" in stanza.get("security_opt", []), f"{name}: may gain privileges")
        environment: Document = stanza.get("environment", {})
        reads = SERVICE_READS | variables(*filter(None, [OWN.get(name)])) if name in expected else JOBS_READ
        for variable in environment:
            expect(variable in reads, f"{name}: nothing reads {variable}")
        for variable, value in environment.items():
            expect(isinstance(value, str), f"{name}: {variable} must be quoted")
            if variable.endswith("_FILE") and str(value).startswith("/run/secrets/"):
                expect(Path(value).name in stanza.get("secrets", []), f"{name}: is not given the secret of {variable}")
            expect(not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name}: {variable} contains a password")
        expect("TELEMED_ENV" not in environment, f"{name}: TELEMED_ENV must stay unset here, which means production")

    for name, command in JOBS.items():
        job: Document = stanzas.get(name, {})
        given = list(job.get("command", []))
        expect(given[:1] == ["services.cli.main"], f"{name}: does not run the command line")
        expect(given[1 : 1 + len(command)] == command, f"{name}: does not run `telemed {' '.join(command)}`")
        expect(job.get("restart") == "no", f"{name}: is not one-shot")
        environment = job.get("environment", {})
        url = str(environment.get("TELEMED_DATABASE_URL", ""))
        expect(url.startswith("postgresql://telemed_owner@postgres:"), f"{name}: is not the database's owner")
        password = environment.get("TELEMED_DATABASE_PASSWORD_FILE")
        expect(password == "/run/secrets/owner.password", f"{name}: has another role's password")
        expect(environment.get("TELEMED_SECRETS_DIR") == "/run/secrets", f"{name}: does not find the roles' passwords")
    broker = document.get("x-kafka-settings", {}).get("TELEMED_KAFKA_BOOTSTRAP")
    expect(stanzas.get("topics", {}).get("environment", {}).get("TELEMED_KAFKA_BOOTSTRAP") == broker, "topics: no Kafka")
    secrets_of_migrate = set(stanzas.get("migrate", {}).get("secrets", []))

    for name in set(expected) & ours:
        service, stanza = expected[name], stanzas[name]
        environment = stanza.get("environment", {})
        port, secret = str(service.port), f"{service.role}.password"
        expect(stanza.get("command") == [service.package], f"{name}: does not run {service.package}")
        expect(environment.get("TELEMED_HTTP_PORT") == port, f"{name}: listens on another port than {port}")
        expect(environment.get("TELEMED_HTTP_HOST") == "0.0.0.0", f"{name}: cannot be reached from outside")  # noqa: S104
        expect(f"127.0.0.1:{port}:{port}" in stanza.get("ports", []), f"{name}: port {port} is not published on loopback")
        url = str(environment.get("TELEMED_DATABASE_URL", ""))
        expect(url.startswith(f"postgresql://{service.role}@postgres:"), f"{name}: is not its own database role")
        password = environment.get("TELEMED_DATABASE_PASSWORD_FILE")
        expect(password == f"/run/secrets/{secret}", f"{name}: has another role's password")
        expect(secret in secrets_of_migrate, f"migrate: is not given {secret}, so the role would get no password")
        probe = " ".join(map(str, stanza.get("healthcheck", {}).get("test", [])))
        expect(f"http://127.0.0.1:{port}{_HEALTH_PATH}'" in probe, f"{name}: health is not asked at :{port}{_HEALTH_PATH}")
        expect(stanza.get("stop_grace_period") == "20s", f"{name}: stop_grace_period is not 20s")
        board = expected["staff-dashboard"].port
        origin = environment.get("TELEMED_HTTP_BOARD_ORIGIN")
        expect(origin == f"http://127.0.0.1:{board}", f"{name}: the board's page may not call it")
        heads = environment.get("TELEMED_AUDIT_HEADS_FILE")
        expect(heads == f"/var/lib/telemed-audit/{service.name}.heads", f"{name}: keeps its seals where they do not last")
        expect("audit:/var/lib/telemed-audit" in stanza.get("volumes", []), f"{name}: its seals go with the container")
        waits_for = {other: state.get("condition") for other, state in stanza.get("depends_on", {}).items()}
        for other in JOBS:
            expect(waits_for.get(other) == "service_completed_successfully", f"{name}: does not wait for {other}")

    for name, stanza in stanzas.items():
        for secret in stanza.get("secrets", []):
            expect(secret in document.get("secrets", {}), f"{name}: secret {secret} is not defined")
        if name not in JOBS:
            expect("healthcheck" in stanza, f"{name}: has no health check")
    for name, origin in document.get("secrets", {}).items():
        expect(set(origin) == {"file"}, f"secret {name}: is not a file")

    images = {name: stanzas.get(name, {}).get("image", "") for name in PARTS}
    expect(images["postgres"] == f"postgres:{MAJOR}", "postgres: another major version than the local stack's")
    expect(images["kafka"] == f"apache/kafka:{KAFKA_VERSION}", "kafka: another version than the local stack's")
    expect(":" in images["mailpit"] and not images["mailpit"].endswith(":latest"), "mailpit: version is not pinned")
    expect(images["livekit"] == f"livekit/livekit-server:v{LIVEKIT_VERSION}", "livekit: another version than the local stack's")
    told = yaml.safe_load(stanzas.get("livekit", {}).get("environment", {}).get("LIVEKIT_CONFIG", "{}"))
    called = expected["video-visits"].port
    webhook = {"api_key": "telemed", "urls": [f"http://video-visits:{called}{WEBHOOK}"]}
    expect(told.get("webhook") == webhook, "livekit: does not call video-visits")
    visits: Document = stanzas.get("video-visits", {}).get("environment", {})
    expect(visits.get("TELEMED_LIVEKIT_API_KEY") == webhook["api_key"], "video-visits: expects another key of livekit")
    expect(visits.get("TELEMED_LIVEKIT_URL") == f"ws://127.0.0.1:{told.get('port')}", "video-visits: sends people elsewhere")
    connections = f"max_connections={MAX_CONNECTIONS}"
    expect(connections in stanzas.get("postgres", {}).get("command", []), f"postgres: not {connections}")
    return found


def example() -> tuple[Document, tuple[Service, ...]]:
    """The file with one more service, written as the file's own head says."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    head, rest = text.split("name: telemed", 1)
    lines = [line.removeprefix("# ") for line in head.splitlines() if line.startswith("#     ")]
    stanza = "\n".join(line[2:] for line in lines[lines.index("    follow-up:") :])
    document: Document = yaml.safe_load(
        ("name: telemed" + rest)
        .replace("  # --- services ---", stanza)
        .replace("services:\n  postgres", "services:\n  postgres")
    )
    document["secrets"]["telemed_follow_up.password"] = {"file": "./somewhere"}
    document["services"]["migrate"]["secrets"].append("telemed_follow_up.password")
    service = Service(name="follow_up", package="services.follow_up", migrations=ROOT, port=7004)
    return document, (*load_services(), service)


def test_the_file_agrees_with_the_code() -> None:
    assert complaints(compose_file(), load_services()) == []


def test_the_example_in_the_file_agrees_with_the_code() -> None:
    assert complaints(*example()) == []


def _set(*path: str, to: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *parents, last = path
        for parent in parents:
            document = document[parent]
        if to is None:
            del document[last]
        else:
            document[last] = to

    return change


_SERVICE = ("services", "follow-up")
_ENVIRONMENT = (*_SERVICE, "environment")
_OTHERS_URL = "postgresql://telemed_owner@postgres:5432/telemed"
_OPEN_URL = "postgresql://telemed_follow_up:secret@postgres:5432/telemed"
_OTHER_PATH = ["CMD", "probe", "http://127.0.0.1:7004/health'"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_set(*_SERVICE, to=None), "follow-up: in the code only"),
        (_set("services", "surplus", to={}), "surplus: in the file only"),
        (_set("services", "topics", to=None), "topics: in the code only"),
        (_set("services", "kafka", to=None), "missing: ['kafka']"),
        (_set(*_SERVICE, "command", to=["services.clinic"]), "does not run services.follow_up"),
        (_set(*_ENVIRONMENT, "TELEMED_HTTP_PORT", to="7005"), "another port than 7004"),
        (_set(*_ENVIRONMENT, "TELEMED_HTTP_PORT", to=7004), "must be quoted"),
        (_set(*_ENVIRONMENT, "TELEMED_KAFKA_BOOTSTRAPS", to="x"), "nothing reads TELEMED_KAFKA_BOOTSTRAPS"),
        (_set(*_ENVIRONMENT, "TELEMED_ENV", to="local"), "TELEMED_ENV must stay unset"),
        (_set(*_ENVIRONMENT, "TELEMED_DATABASE_URL", to=_OTHERS_URL), "its own database role"),
        (_set(*_ENVIRONMENT, "TELEMED_DATABASE_URL", to=_OPEN_URL), "contains a password"),
        (_set(*_SERVICE, "secrets", to=[]), "is not given the secret"),
        (_set(*_SERVICE, "ports", to=["7004:7004"]), "not published on loopback"),
        (_set(*_SERVICE, "healthcheck", "test", to=_OTHER_PATH), "health is not asked"),
        (_set(*_SERVICE, "stop_grace_period", to="5s"), "stop_grace_period is not 20s"),
        (_set(*_SERVICE, "read_only", to=False), "not read-only"),
        (_set(*_SERVICE, "user", to="0:0"), "runs as root"),
        (_set(*_SERVICE, "cap_drop", to=None), "keeps capabilities"),
        (_set(*_SERVICE, "depends_on", "topics", to=None), "does not wait for topics"),
        (_set("services", "migrate", "secrets", to=["owner.password"]), "the role would get no password"),
        (_set("services", "migrate", "command", to=["services.cli.main", "up"]), "does not run `telemed migrate`"),
        (_set("services", "migrate", "restart", to="always"), "is not one-shot"),
        (_set("services", "postgres", "image", to="postgres:17"), "another major version"),
        (_set("services", "postgres", "healthcheck", to=None), "postgres: has no health check"),
        (_set("services", "kafka", "image", to="apache/kafka:4.3.0"), "kafka: another version"),
        (_set("services", "livekit", "image", to="livekit/livekit-server:latest"), "livekit: another version"),
        (_set("services", "livekit", "environment", "LIVEKIT_CONFIG", to="port: 7880"), "does not call video-visits"),
        (_set("services", "video-visits", "environment", "TELEMED_LIVEKIT_API_KEY", to="x"), "another key of livekit"),
        (_set("services", "video-visits", "environment", "TELEMED_LIVEKIT_URL", to="ws://127.0.0.1:1"), "elsewhere"),
        (_set("secrets", "owner.password", to={"environment": "PASSWORD"}), "is not a file"),
    ],
)  # fmt: skip
def test_the_checker_finds_each_disagreement(change: Callable[[Document], None], complaint: str) -> None:
    document, services = example()
    document = copy.deepcopy(document)  # without the anchors' sharing, so that a change stays where it is made
    document = yaml.safe_load(yaml.dump(document, Dumper=_NoAliases))
    change(document)
    assert any(complaint in found for found in complaints(document, services)), complaints(document, services)


# Says the default aloud, so that nobody takes it for safe elsewhere.
_WORDS_ONLY = {"TELEMED_KAFKA_SECURITY_PROTOCOL"}


def with_environment(document: Document, name: str, environment: Document) -> Document:
    """The file, with another environment for one container."""
    stanzas = document["services"]
    return {**document, "services": {**stanzas, name: {**stanzas[name], "environment": environment}}}


def test_every_service_starts_with_what_it_is_given_and_no_variable_can_go_missing_unnoticed() -> None:
    document, services = compose_file(), load_services()
    named = {service.name.replace("_", "-"): service for service in services}
    unnoticed = set()
    for name in {*named, *JOBS}:
        environment = document["services"][name]["environment"]
        service = named.get(name)
        assert not service or does_not_start(name, service, environment) == ()
        for variable in environment:
            rest = {one: value for one, value in environment.items() if one != variable}
            found = complaints(with_environment(document, name, rest), services)
            if not found and not (service and does_not_start(name, service, rest)):
                unnoticed.add(variable)
    assert unnoticed == _WORDS_ONLY


def test_a_variable_of_one_service_alone_is_known_to_that_one_only() -> None:
    document, more = compose_file(), {"TELEMED_BOARD_CLIENT_ID": "board"}
    found = {
        name: complaints(with_environment(document, name, document["services"][name]["environment"] | more), load_services())
        for name in ("staff-dashboard", "clinic")
    }
    assert found == {"staff-dashboard": [], "clinic": ["clinic: nothing reads TELEMED_BOARD_CLIENT_ID"]}


def test_every_settings_class_of_a_service_is_known_here() -> None:
    of_all = {*get_type_hints(ServiceSettings).values(), OperatorSettings, StackSettings}
    assert set(settings_table.SECTIONS.values()) - of_all == set(OWN.values())


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def test_the_runtime_serves_the_health_path() -> None:
    routes = re.findall(r'add_get\("([^"]+)"', Path(serve.__file__).read_text(encoding="utf-8"))
    assert _HEALTH_PATH in routes


@pytest.mark.parametrize("command", JOBS.values(), ids=" ".join)
def test_the_jobs_exist_with_their_options(command: list[str]) -> None:
    stanza = compose_file()["services"][command[0]]
    words = stanza["command"][1:]
    found: Any = cli
    for word in command:
        found = found.commands[word]
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_image_needs_only_the_runtime_requirements() -> None:
    """The command line works where the local stack's own packages are missing, as in the image."""
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE))
    normal = {re.sub(r"[-_.]+", "-", name.lower()) for name in pinned}
    absent = sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if not any(re.sub(r"[-_.]+", "-", owner.lower()) in normal for owner in owners)
        and module not in ("services", "schemas", "tests", "pip", "setuptools", "_distutils_hack")
    )
    assert {"psutil", "jgo", "aiosmtpd"} <= set(absent)
    block = f"import sys; sys.modules.update(dict.fromkeys({absent!r}))"
    code = f"{block}; import services.cli.main as m; m.cli.main(['migrate', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_image_is_pinned_not_root_and_complete() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(stages) == 2
    assert len(set(stages)) == 1
    last = text.rsplit("FROM ", 1)[1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "--require-hashes" in text
    assert 'ENTRYPOINT ["python", "-m"]' in last
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*", "everything is left out unless it is named"
    copied = {source for source in re.findall(r"^COPY (\S+) ", text, re.MULTILINE) if not source.startswith("--")}
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
