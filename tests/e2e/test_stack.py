"""`telemed up` as an operator meets it: real processes, real ports, and nothing left afterwards."""

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import pytest

from services.cli.stack.kafka import KafkaBroker, default_cache
from services.cli.stack.ports import HOST, free_ports, is_open
from services.cli.stack.postgres import PostgresServer
from services.cli.stack.settings import StackSettings
from tests.e2e.stack_service.app import SERVICE

T = TypeVar("T")
PORTS = ("POSTGRES_PORT", "KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "SMTP_PORT", "MAIL_PORT", "ISSUER_PORT", "SERVICE")
PARTS = ("stack_note", "kafka", "issuer", "mail", "postgres")
_STARTS_S = 60.0


def eventually(condition: Callable[[], T], *, within_s: float = _STARTS_S) -> T:
    """The first true value of ``condition``; a deadline for liveness, not for speed."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "this did not come true in time"
        time.sleep(0.05)  # another process makes it true: asked again until the deadline, and no fact is assumed after a pause
    return found


def fetch(url: str, body: str | None = None) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("POST" if body else "GET", parts.path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def get(url: str, body: str | None = None) -> Any:
    status, text = fetch(url, body)
    assert status == 200, text
    return json.loads(text)


class Stack:
    """One stack in a folder and on ports of its own, driven by its command line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TELEMED_") or name == "TELEMED_CACHE"
        }
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.environment |= {f"TELEMED_STACK_{name}": str(port) for name, port in self.ports.items() if name != "SERVICE"}
        self.environment |= {
            "TELEMED_HOME": str(home),
            "TELEMED_SERVICES": "tests.e2e.stack_service",
            "STACK_NOTE_PORT": str(self.ports["SERVICE"]),
        }
        self.running: list[subprocess.Popen[str]] = []

    @property
    def service(self) -> str:
        return f"http://{HOST}:{self.ports['SERVICE']}"

    @property
    def mail(self) -> str:
        return f"http://{HOST}:{self.ports['MAIL_PORT']}"

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def up(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `telemed up` and wait until it says that everything is ready."""
        process = self.launch(*arguments)
        self.wait_for(process, lambda: self.phase(process) == "ready")
        return process

    def wait_for(self, process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
        """Wait for something that needs this supervisor alive."""
        eventually(lambda: process.poll() is not None or condition())
        assert process.poll() is None, self.output(process)

    def launch(self, *arguments: str) -> "subprocess.Popen[str]":
        with (self.home.parent / f"up-{len(self.running)}.txt").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.cli.main", "up", *arguments],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.running.append(process)
        return process

    def output(self, process: "subprocess.Popen[str]") -> str:
        return (self.home.parent / f"up-{self.running.index(process)}.txt").read_text()

    def record(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.home / "running.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def phase(self, supervisor: "subprocess.Popen[str]") -> str:
        """How far this supervisor is; a record that an earlier one left does not count."""
        record = self.record()
        return str(record["phase"]) if record.get("pid") == supervisor.pid else ""

    def processes(self) -> list[psutil.Process]:
        """The parts that the record names and all that they started."""
        found: list[psutil.Process] = []
        for part in self.record().get("parts", []):
            try:
                process = psutil.Process(part["pid"])
                found += [process, *process.children(recursive=True)] if part["pid"] else []
            except psutil.NoSuchProcess:
                continue
        return found

    def pids(self) -> dict[str, int]:
        return {part["name"]: part["pid"] for part in self.record().get("parts", [])}

    def assert_nothing_left(self, processes: list[psutil.Process] | None = None) -> None:
        for process in processes or []:
            eventually(lambda one=process: not one.is_running() or one.status() == psutil.STATUS_ZOMBIE, within_s=10)  # type: ignore[misc]
        assert not [name for name, port in self.ports.items() if is_open(port)]
        assert not (self.home / "running.json").exists()
        assert not (self.home / "lock").exists()
        assert not list(self.home.rglob("*.partial*"))

    def end(self) -> None:
        """Whatever a failed test left."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
        if self.record():
            self.call("down")


@pytest.fixture(scope="session", autouse=True)
def _prepared() -> None:
    subprocess.run([sys.executable, "-m", "services.cli.main", "stack", "prepare"], check=True, timeout=110)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "home")
    yield stack
    stack.end()


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """The error of a command that was refused: exit code 2 and exactly one line."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.fullmatch(r"telemed: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


def test_up_is_ready_survives_and_leaves_nothing(stack: Stack) -> None:
    first = stack.up()
    everything = stack.processes()
    assert tuple(stack.pids()) == PARTS
    for url in (stack.service, stack.mail, f"{HOST}:{stack.ports['KAFKA_PORT']}"):
        assert url in stack.output(first)

    status = stack.call("status")
    assert status.returncode == 0, status.stdout
    assert all(re.search(rf"^{name} +ready ", status.stdout, re.MULTILINE) for name in PARTS), status.stdout

    # The service works as its own role, and was told no more than that.
    answer = get(stack.service + "/notes", "written before the restart")
    assert answer == {"notes": ["written before the restart"], "role": SERVICE.role}
    told = get(stack.service + "/environment")
    assert told["smtp"] == f"smtp://{HOST}:{stack.ports['SMTP_PORT']}"
    assert "TELEMED_DATABASE_PASSWORD_FILE" in told["names"]
    assert "TELEMED_DATABASE_PASSWORD" not in told["names"]

    # No secret in any argument, environment, output, record or log; all of them readable by their owner only.
    secrets = [path for path in stack.home.rglob("*.password") if path.is_file()]
    assert {path.name for path in secrets} == {"postgres.password", f"{SERVICE.role}.password"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets)
    seen = stack.output(first) + json.dumps(stack.record()) + status.stdout
    seen += "".join(" ".join(process.cmdline()) + json.dumps(process.environ()) for process in everything)
    seen += "".join(path.read_text(errors="replace") for path in stack.home.rglob("*.log"))
    assert not [path for path in secrets if path.read_text().strip() in seen]

    # `down` from elsewhere.
    down = stack.call("down")
    assert (down.returncode, down.stdout, down.stderr) == (0, "stopped\n", "")
    assert first.wait(10) == 0
    stack.assert_nothing_left(everything)
    assert stack.call("status").returncode == 1

    # Again on the same data; Ctrl-C this time.
    second = stack.up()
    assert get(stack.service + "/notes")["notes"] == ["written before the restart"]
    everything = stack.processes()
    second.send_signal(signal.SIGINT)
    assert second.wait(60) == 0
    stack.assert_nothing_left(everything)


def test_mail_is_shown_once_per_delivery_and_a_dead_part_starts_again(stack: Stack) -> None:
    up = stack.up()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "clinic@localhost", "a@localhost", "<script>alert(1)</script>"
    message["Message-ID"] = "<one@localhost>"
    message.set_content("Tomorrow at ten & not later.")
    with smtplib.SMTP(HOST, stack.ports["SMTP_PORT"], timeout=10) as client:
        client.send_message(message)
        client.send_message(message)
    listed = get(stack.mail + "/messages.json")["messages"]
    assert [item["message_id"] for item in listed] == ["<one@localhost>"] * 2
    assert listed[0]["envelope_to"] == ["a@localhost"]
    assert "ten & not later" in listed[0]["text"]
    for page in ("/", f"/messages/{listed[0]['id']}"):
        _, text = fetch(stack.mail + page)
        assert "&lt;script&gt;" in text
        assert "<script" not in text
    assert fetch(stack.mail + "/messages/..%2F..%2Flock")[0] == 404

    before = stack.pids()
    for name in ("stack_note", "kafka", "postgres"):
        os.kill(before[name], signal.SIGKILL)
    killed = {"stack_note", "kafka", "postgres"}

    def back() -> bool:
        return {p["name"] for p in stack.record()["parts"] if p["restarts"] and p["state"] == "ready"} == killed

    stack.wait_for(up, back)
    assert {name for name, pid in stack.pids().items() if pid != before[name]} == killed
    status = stack.call("status")
    assert status.returncode == 0, status.stdout
    assert status.stdout.count("was ended by SIGKILL") == 3
    assert "stack_note was ended by SIGKILL" in stack.output(up)
    assert get(stack.service + "/notes")["role"] == SERVICE.role

    # What it wrote to its log is found under its name, also with a hyphen.
    assert "database system is ready" in stack.call("logs", "postgres").stdout
    assert stack.call("logs", "stack-note").returncode == 0
    assert "stack_note" in one_line(stack.call("logs", "nothing"))


def test_a_killed_supervisor_does_not_block_the_next(stack: Stack) -> None:
    killed = stack.up()
    orphans = stack.processes()
    before = stack.pids()
    killed.kill()
    killed.wait()
    assert all(psutil.pid_exists(pid) for pid in before.values()), "the parts should have outlived their supervisor"
    status = stack.call("status")
    assert status.returncode == 1
    assert "is dead" in status.stdout

    second = stack.up()
    assert not set(before.values()) & set(stack.pids().values())
    assert not [process for process in orphans if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert get(stack.service + "/notes")["notes"] == []

    # The other way out: `down` alone ends what a killed supervisor left.
    orphans = stack.processes()
    second.kill()
    second.wait()
    assert stack.call("down").returncode == 0
    stack.assert_nothing_left(orphans)


@pytest.mark.parametrize("phase", ["starting the servers", "starting the services"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_while_it_starts(stack: Stack, phase: str, number: signal.Signals) -> None:
    up = stack.launch()
    part = "postgres" if phase == "starting the servers" else "stack_note"
    stack.wait_for(up, lambda: stack.phase(up) == phase and stack.pids().get(part, 0) > 0)
    everything = stack.processes()
    up.send_signal(number)
    up.wait(60)
    if number == signal.SIGKILL:
        assert stack.call("down").returncode == 0
    else:
        assert up.returncode == 130, stack.output(up)
    stack.assert_nothing_left(everything)


def test_detached_second_up_refused_and_fresh(stack: Stack) -> None:
    detached = stack.call("up", "--detach")
    assert detached.returncode == 0, detached.stderr
    assert stack.service in detached.stdout
    supervisor = stack.record()["pid"]

    for arguments in (["up", "--detach"], ["up", "--fresh"]):
        refused = one_line(stack.call(*arguments))
        assert f"another `telemed up` (process {supervisor})" in refused
        assert str(stack.home) in refused
    assert get(stack.service + "/notes", "to be deleted")["notes"] == ["to be deleted"]
    assert stack.call("down").returncode == 0
    stack.assert_nothing_left()

    assert stack.call("up", "--detach", "--fresh").returncode == 0
    assert get(stack.service + "/notes")["notes"] == []
    # Its audit begins anew, too: nothing was taken away from it.
    assert json.loads(stack.call("pages", "list", "--json").stdout) == []
    everything = stack.processes()
    assert stack.call("down").returncode == 0
    stack.assert_nothing_left(everything)


@pytest.mark.parametrize("part", PORTS)
def test_port_in_use(stack: Stack, part: str) -> None:
    with socket.create_server((HOST, stack.ports[part])):
        error = one_line(stack.call("up"))
    assert f"port {stack.ports[part]} " in error
    assert f"(process {os.getpid()})" in error
    stack.assert_nothing_left()


def test_no_network_on_the_first_run(stack: Stack, tmp_path: Path) -> None:
    nowhere = f"http://{HOST}:{free_ports(1)[0]}/maven2"
    error = one_line(stack.call("up", TELEMED_CACHE=str(tmp_path / "empty"), TELEMED_MAVEN_URL=nowhere))
    assert "could not fetch" in error
    assert nowhere in error
    assert "kafka_2.13-4.4.0" in error
    stack.assert_nothing_left()
    assert not [path for path in (tmp_path / "empty").rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_jar_that_is_not_the_locked_one(stack: Stack, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(default_cache(), cache, copy_function=os.link)
    jar = next(cache.rglob("kafka-clients-*.jar"))
    content = bytearray(jar.read_bytes())
    content[len(content) // 2] ^= 1
    jar.unlink()  # the other name of the file stays as it was
    jar.write_bytes(content)
    error = one_line(stack.call("up", TELEMED_CACHE=str(cache)))
    assert jar.name in error
    assert "sha256" in error
    stack.assert_nothing_left()


@pytest.mark.parametrize("what", ["memory", "disk"])
def test_too_little_room(stack: Stack, what: str) -> None:
    error = one_line(stack.call("up", **{f"TELEMED_STACK_MIN_{what.upper()}_MB": "999999999"}))
    assert f"too little {what}" in error
    assert "999999999 MB needed" in error
    stack.assert_nothing_left()


def test_too_little_room_for_the_download(stack: Stack, tmp_path: Path) -> None:
    """The folder of what is downloaded may lie on a smaller disk than the data."""
    free = {folder: shutil.disk_usage(folder).free // 2**20 for folder in (tmp_path, Path("/dev/shm"))}  # noqa: S108
    small, large = sorted(free, key=lambda folder: free[folder])
    assert free[large] - free[small] > 100, "two file systems with the same room"
    with tempfile.TemporaryDirectory(dir=large) as home:
        needed = str((free[small] + free[large]) // 2)
        cache = {"TELEMED_CACHE": str(small / "none" / "yet"), "TELEMED_STACK_MIN_DISK_MB": needed}
        error = one_line(stack.call("up", TELEMED_HOME=home, **cache))
    assert f"MB free at {small}, {needed} MB needed" in error
    stack.assert_nothing_left()


@pytest.mark.parametrize(
    ("marker", "version", "says"),
    [
        ("postgres/PG_VERSION", "17", "written by PostgreSQL 17"),
        ("kafka/KAFKA_VERSION", "3.9.1", "written by Kafka 3.9.1"),
    ],
)
def test_data_of_another_major_version(stack: Stack, marker: str, version: str, says: str) -> None:
    path = stack.home / "data" / marker
    path.parent.mkdir(parents=True)
    path.write_text(version + "\n")
    error = one_line(stack.call("up"))
    assert says in error
    stack.assert_nothing_left()
    assert path.read_text() == version + "\n"


def test_unwritable_directory(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    inside = str(tmp_path / "file" / "home")
    assert inside in one_line(stack.call("up", TELEMED_HOME=inside))
    assert inside in one_line(stack.call("up", TELEMED_CACHE=inside))
    stack.assert_nothing_left()


def test_wrong_settings(stack: Stack) -> None:
    assert "TELEMED_STACK_SMTP_PORT" in one_line(stack.call("up", TELEMED_STACK_SMTP_PORT="many"))
    stack.assert_nothing_left()


def test_a_service_that_does_not_start(stack: Stack) -> None:
    error = one_line(stack.call("up", STACK_NOTE_FAILS="1"))
    assert "stack_note" in error
    assert "this service was told to fail" in error
    stack.assert_nothing_left()
    error = one_line(stack.call("up", STACK_NOTE_NEVER_READY="1", TELEMED_STACK_START_TIMEOUT_S="3"))
    assert "stack_note is not ready after 3 s" in error
    stack.assert_nothing_left()


def test_servers_of_others_are_used_instead(stack: Stack, tmp_path: Path) -> None:
    async def start() -> tuple[PostgresServer, KafkaBroker]:
        return (
            await PostgresServer.start(tmp_path / "theirs" / "postgres"),
            await KafkaBroker.start(tmp_path / "theirs" / "kafka", default_cache()),
        )

    async def stop() -> None:
        await kafka.stop()
        await postgres.stop()

    postgres, kafka = asyncio.run(start())
    try:
        stack.environment |= {
            "TELEMED_DATABASE_URL": f"postgresql://postgres@{HOST}:{postgres.port}/postgres",
            "TELEMED_DATABASE_PASSWORD_FILE": str(tmp_path / "theirs" / "postgres.password"),
            "TELEMED_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "TELEMED_SMTP_URL": f"smtp://{HOST}:1",
            "TELEMED_OIDC_ISSUER": "https://sign-in.clinic.example",
        }
        up = stack.up()
        assert set(stack.pids()) == {"stack_note"}
        assert get(stack.service + "/notes", "theirs")["role"] == SERVICE.role
        told = get(stack.service + "/environment")
        assert told["smtp"] == f"smtp://{HOST}:1"
        assert told["issuer"] == "https://sign-in.clinic.example"
        everything = stack.processes()
        up.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0
        stack.assert_nothing_left(everything)
        assert postgres.alive
        assert kafka.alive
    finally:
        asyncio.run(stop())
    error = one_line(stack.call("up"))
    assert "the database cannot be migrated" in error
    stack.assert_nothing_left()


def test_ports_are_below_the_range_of_client_sockets() -> None:
    settings = StackSettings()
    for name, value in settings:
        if name.endswith("_port"):
            assert value < 32768, name
