"""The small parts of the local stack, each on its own."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiosmtpd.smtp import Envelope

from services.cli.catalogue import load_services
from services.cli.stack import jars, java, kafka, livekit, postgres
from services.cli.stack.errors import StackError
from services.cli.stack.kafka import KafkaFiles
from services.cli.stack.mail import Outbox
from services.cli.stack.ports import HOST, free_ports, is_open, require_free
from services.cli.stack.process import Child, Identity, end_processes, last_line
from services.cli.stack.settings import StackSettings
from services.cli.stack.state import Home, PartRecord, Record
from services.cli.stack.supervisor import Supervisor

# Children to be ended by the tests; their sleep is only so that one that is forgotten ends by itself.
_SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
_STUBBORN = [
    sys.executable,
    "-uc",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)",
]


def _wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # another process writes the log: asked again until the deadline, and no fact is assumed after a pause


def test_an_error_is_one_line() -> None:
    assert str(StackError("two\n  lines\tbecome   one")) == "two lines become one"


# --- processes ---


@pytest.mark.asyncio
async def test_a_process_is_recognised_by_number_and_start(tmp_path: Path) -> None:
    told: list[tuple[Identity, signal.Signals]] = []
    child = await Child.start(
        _SLEEPER, log=tmp_path / "log", env={}, born=lambda identity, number: told.append((identity, number))
    )
    assert told == [(child.identity, signal.SIGTERM)]
    assert child.identity.process() is not None
    # The number was given to another process since: not ours, so neither found nor ended.
    stranger = Identity(child.pid, child.identity.created - 1)
    assert stranger.process() is None
    assert await asyncio.to_thread(end_processes, [(stranger, signal.SIGKILL)]) == 0
    assert child.returncode is None
    assert await asyncio.to_thread(end_processes, [(child.identity, signal.SIGTERM)]) == 1
    assert await child.wait(10)
    assert child.returncode == -signal.SIGTERM


@pytest.mark.asyncio
async def test_a_deaf_process_is_killed(tmp_path: Path) -> None:
    first = await Child.start(_STUBBORN, log=tmp_path / "first", env={})
    second = await Child.start(_STUBBORN, log=tmp_path / "second", env={})
    await asyncio.to_thread(_wait_for, tmp_path / "first", "deaf")
    await asyncio.to_thread(_wait_for, tmp_path / "second", "deaf")
    assert not await first.stop(timeout_s=0.2)
    assert first.returncode == -signal.SIGKILL
    assert await asyncio.to_thread(end_processes, [(second.identity, signal.SIGTERM)], timeout_s=0.2) == 1
    assert await second.wait(10)
    assert second.returncode == -signal.SIGKILL


def test_a_dead_process_that_nobody_reaped_counts_as_gone() -> None:
    process = subprocess.Popen(_SLEEPER)
    identity = Identity.of(process.pid)
    assert identity is not None
    process.kill()
    assert identity.wait_gone(10)
    assert Path(f"/proc/{process.pid}").exists() or sys.platform != "linux"
    process.wait()


@pytest.mark.asyncio
async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, told = threading.Event(), []
    start = Child._start

    def slow(*arguments: object) -> Child:
        gate.wait(20)
        return start(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Child, "_start", slow)
    task = asyncio.create_task(
        Child.start(_SLEEPER, log=tmp_path / "log", env={}, born=lambda identity, _: told.append(identity))
    )
    await asyncio.sleep(0)
    task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [identity.process() for identity in told] == [None]


def test_last_line_prefers_what_explains(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"FATAL: the reason\x1b[0m\nshutting down\n\n")
    assert last_line(log, "FATAL") == "FATAL: the reason [0m"
    assert last_line(log) == "shutting down"
    assert last_line(tmp_path / "none") == "nothing in its log"


@pytest.mark.asyncio
async def test_a_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.cli.stack.process._LOG_BYTES", 10)
    log = tmp_path / "log"
    log.write_text("more than ten bytes")
    child = await Child.start([sys.executable, "-c", "print('new')"], log=log, env={})
    assert await child.wait(20)
    assert log.read_text() == "new\n"
    assert (tmp_path / "log.1").read_text() == "more than ten bytes"


# --- ports ---


def test_free_ports_differ_and_lie_below_client_sockets() -> None:
    found = free_ports(50)
    assert len(set(found)) == 50
    assert all(1024 < port < 32768 for port in found)


def test_a_taken_port_is_named_with_its_holder() -> None:
    port = free_ports(1)[0]
    assert not is_open(port)
    with socket.create_server((HOST, port)):
        assert is_open(port)
        with pytest.raises(StackError, match=rf"port {port} for Kafka is in use by .+ \(process {os.getpid()}\)"):
            require_free(port, "Kafka")
    require_free(port, "Kafka")


def test_one_offset_moves_every_port() -> None:
    settings = StackSettings(port_offset=100)
    assert settings.port(settings.kafka_port) == StackSettings().kafka_port + 100


# --- jars and Java ---


def test_the_lock_names_the_broker_and_its_log() -> None:
    lock = jars.read_lock()
    assert f"kafka_2.13-{jars.KAFKA_VERSION}.jar" in lock
    assert any(name.startswith("slf4j-simple-") for name in lock)
    assert all(len(digest) == 64 for digest in lock.values())


def test_only_locked_jars_are_used(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    for name in ("a.jar", "b.jar"):
        (tmp_path / name).write_text(name)
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.jar", "b.jar")}
    lock.write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    assert jars.verify(tmp_path, lock) == [tmp_path / "a.jar", tmp_path / "b.jar"]
    (tmp_path / "b.jar").write_text("b.jar ")
    with pytest.raises(StackError, match=r"b\.jar is refused: its sha256 is"):
        jars.verify(tmp_path, lock)
    (tmp_path / "b.jar").unlink()
    with pytest.raises(StackError, match=r"b\.jar is missing"):
        jars.verify(tmp_path, lock)


@pytest.mark.parametrize(
    ("said", "usable"),
    [
        ('openjdk version "25.0.2" 2026-01-20 LTS', True),
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "21-ea"', True),
        ('java version "1.8.0_401"', False),
        ('openjdk version "11.0.2"', False),
        ("not a java at all", False),
    ],
)
def test_java_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, usable: bool) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if usable:
        assert java.find_java() == program
        monkeypatch.delenv("JAVA_HOME")
        monkeypatch.setenv("PATH", str(program.parent) + os.pathsep + os.defpath)
        assert java.find_java() == program
    else:
        with pytest.raises(StackError, match="Kafka needs Java 17 or newer"):
            java.find_java()


def test_no_java_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="there is no java on the path"):
        java.find_java()


def test_the_class_path_is_spelled_out() -> None:
    folder = Path("/cache")
    files = KafkaFiles(Path("/java"), (folder / "a.jar", folder / "b.jar"), folder / "classes.jsa", folder / "formatted")
    command = files.command("-Dx=y")
    assert command[command.index("-cp") + 1] == "/cache/a.jar:/cache/b.jar"
    assert "-XX:SharedArchiveFile=/cache/classes.jsa" in command
    assert "-Dx=y" in command


def test_what_a_killed_preparation_left_is_ended_and_removed(tmp_path: Path) -> None:
    (tmp_path / "training-abc").mkdir()
    (tmp_path / "jars").mkdir()
    orphan = subprocess.Popen(_SLEEPER)
    identity = Identity.of(orphan.pid)
    assert identity is not None
    (tmp_path / "training.pid").write_text(f"{identity.pid} {identity.created!r}")
    kafka._clear_leftovers(tmp_path)
    assert orphan.wait(10) == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["jars"]


# --- servers' folders ---


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("five years of work")
    with pytest.raises(StackError, match="neither empty nor a PostgreSQL data directory"):
        postgres._prepare(tmp_path, None)
    files = KafkaFiles(Path("java"), (), None, tmp_path / "formatted")
    with pytest.raises(StackError, match="neither empty nor a Kafka data directory"):
        kafka._make_folder(files, tmp_path, 1, "cluster", {})
    assert (tmp_path / "thesis.txt").read_text() == "five years of work"


def test_data_without_its_password_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text(f"{postgres.MAJOR}\n")
    with pytest.raises(StackError, match=r"password file .*data\.password is gone"):
        postgres._prepare(data, None)


def test_root_without_setpriv_is_told_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(StackError, match="PostgreSQL does not run as root"):
        postgres._without_root()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres._without_root() == []


# --- the folder of a stack ---


def test_one_supervisor_per_folder(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.lock():
        home.write(Record(pid=4711, created=1.0))
        with pytest.raises(StackError, match=r"another `telemed up` \(process 4711\) is at work"), Home(home.folder).lock():
            pass
        home.forget()
    assert not (home.folder / "lock").exists()
    with home.lock():
        pass


def test_the_record_survives_writing_and_reading(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.read() is None
    part = PartRecord("kafka", "127.0.0.1:1", "log", pid=2, created=3.5, ends_by=int(signal.SIGINT), restarts=1)
    record = Record(pid=1, created=2.5, phase="ready", parts=[part, PartRecord("never started", "", "")])
    home.write(record)
    assert home.read() == record
    assert record.left_over() == [(Identity(2, 3.5), signal.SIGINT)]
    home.forget()
    assert home.read() is None


def test_a_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path)
    path = home.secret("role.password")
    secret = path.read_text()
    assert len(secret.strip()) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert home.secret("role.password").read_text() == secret
    assert home.secret("other.password").read_text() != secret
    assert len(list(path.parent.iterdir())) == 2


# --- mail ---


def _envelope(content: bytes, *to: str) -> Envelope:
    envelope = Envelope()
    envelope.mail_from, envelope.rcpt_tos, envelope.content = "clinic@localhost", list(to), content
    return envelope


@pytest.mark.asyncio
async def test_the_outbox_keeps_every_copy_and_any_content(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    twice = b"Message-ID: <1@x>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nhello\r\n"
    odd = b"Content-Type: text/plain; charset=no-such-thing\r\n\r\n\xff\xfe"
    for content in (twice, twice, odd, b"\x00\xff no mail at all"):
        answer = await outbox.handle_DATA(None, None, _envelope(content, "a@localhost", "b@localhost"))  # type: ignore[arg-type]
        assert answer == "250 kept"
    found = outbox.messages()
    assert [item["message_id"] for item in found] == ["<1@x>", "<1@x>", "", ""]
    assert found[0]["subject"] == "Grüße"
    assert all(item["envelope_to"] == ["a@localhost", "b@localhost"] for item in found)
    assert outbox.find(found[2]["id"]) == found[2]
    assert outbox.find("../" + found[2]["id"]) is None


@pytest.mark.asyncio
async def test_mail_that_cannot_be_kept_is_not_accepted(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "gone")
    answer = await outbox.handle_DATA(None, None, _envelope(b"x", "a@localhost"))  # type: ignore[arg-type]
    assert answer.startswith("451 ")


def test_mails_and_pages_lead_to_the_ports_of_this_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMED_DATABASE_URL", "postgresql://owner@127.0.0.1/telemed")
    services = {service.name: service for service in load_services()}
    settings = StackSettings(port_offset=2000)
    supervisor = Supervisor(Home(tmp_path), tmp_path, settings, list(services.values()), lambda *_: None, print)

    def told(name: str) -> dict[str, str]:
        return supervisor._service_environment(services[name], settings.port(services[name].port))

    assert told("follow_up")["TELEMED_MESSAGES_LINK_URL"] == f"http://{HOST}:9004/link"
    assert told("staff_dashboard")["TELEMED_BOARD_SESSION_LOGGING"] == f"http://{HOST}:9005"
    assert told("session_logging")["TELEMED_HTTP_BOARD_ORIGIN"] == f"http://{HOST}:9007"
    monkeypatch.setenv("TELEMED_MESSAGES_LINK_URL", "https://clinic.example/link")
    assert told("follow_up")["TELEMED_MESSAGES_LINK_URL"] == "https://clinic.example/link"


# --- video ---


def test_a_video_server_is_the_one_built_here_else_one_on_the_path_else_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert livekit.find(tmp_path / "cache") is None
    with pytest.raises(StackError, match=r"there is no go on the path .* install Go 1\.26"):
        livekit.build(tmp_path / "cache", lambda *_: None)
    assert not (tmp_path / "cache").exists()
    program = tmp_path / "bin" / "livekit-server"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert livekit.find(tmp_path / "cache") == program
    built = tmp_path / "cache" / "livekit" / livekit.LIVEKIT_VERSION / "livekit-server"
    built.parent.mkdir(parents=True)
    built.touch()
    assert livekit.find(tmp_path / "cache") == livekit.build(tmp_path / "cache", lambda *_: None) == built


def test_a_go_that_cannot_build_it_is_quoted_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'go: downloading' >&2; echo 'requires go >= 1.26.0' >&2; exit 1\n")
    go.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    with pytest.raises(StackError, match=r"cannot be built: requires go >= 1\.26\.0"):
        livekit.build(tmp_path / "cache", lambda *_: None)
    assert [path for path in (tmp_path / "cache").rglob("*") if not path.is_dir() or path.name.startswith("build-")] == []


def test_what_a_video_server_is_told_is_for_its_owner_only_and_for_loopback(tmp_path: Path) -> None:
    path = tmp_path / "livekit.json"
    for _ in range(2):
        livekit.configuration(path, port=1, udp_port=2, secret="s", webhook="http://127.0.0.1:3/webhooks/livekit")
    told = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert (told["bind_addresses"], told["rtc"]["node_ip"], told["rtc"]["tcp_port"]) == ([HOST], HOST, 0)
