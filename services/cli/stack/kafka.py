"""A real Apache Kafka broker (KRaft: broker and controller in one process), small enough to start in every test run.

What keeps it small and quick: a heap of 128 MB with a small buffer for the log cleaner (whose default alone is 128 MB), the
serial collector, the first compiler only, an archive of the loaded classes, and a copied formatted folder.
"""

import asyncio
import base64
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.cli.stack.errors import StackError
from services.cli.stack.jars import KAFKA_VERSION, Report, fetch, lock_digest, verify
from services.cli.stack.java import find_java
from services.cli.stack.ports import HOST, free_ports, is_open, require_free
from services.cli.stack.process import Born, Child, Identity, end_processes, last_line

__all__ = ["KafkaBroker", "KafkaFiles", "default_cache", "prepare"]

_MEMORY = ("-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
)
_VERSION_FILE = "KAFKA_VERSION"
_TRAINING = "training.pid"
_START_S = 90.0


def default_cache() -> Path:
    """Where downloads are kept: ``$TELEMED_CACHE``, else ``~/.cache/telemed``."""
    return Path(os.environ.get("TELEMED_CACHE") or Path.home() / ".cache" / "telemed")


@dataclass(frozen=True, slots=True)
class KafkaFiles:
    """Everything a broker needs that is made once and then only read."""

    java: Path
    jars: tuple[Path, ...]
    classes: Path | None
    """Archive of loaded classes; None only while it is being made."""
    template: Path
    """A formatted, empty metadata folder."""

    def command(self, *jvm: str) -> list[str]:
        """How to start Java on the jars. The class path is spelled out: the class archive holds for exactly this list."""
        sharing = ["-Xshare:auto", f"-XX:SharedArchiveFile={self.classes}"] if self.classes else []
        path = os.pathsep.join(str(jar) for jar in self.jars)
        # Without -UsePerfData every broker leaves a file in the system's temporary folder when it is killed.
        return [str(self.java), *_MEMORY, *_LOGGING, "-XX:-UsePerfData", *sharing, *jvm, "-cp", path]


async def prepare(cache: Path, report: Report = lambda _text, _part: None) -> KafkaFiles:
    """Fetch, verify and make what brokers need; quick when it is there already, safe when two processes do it at once.

    Args:
        cache: kept between runs; nothing in it is data.
        report: told what goes on.

    Raises:
        StackError: no network, no Java, a jar that is not the locked one, no room, or not writable.
    """
    folder = await asyncio.to_thread(_cache_folder, cache)
    java = await asyncio.to_thread(find_java)
    try:
        async with _only_one(folder):
            return await _prepare(folder, java, report)
    except OSError as error:
        raise StackError(f"{error.filename or folder} cannot be used as a cache: {error.strerror}") from None


def _cache_folder(cache: Path) -> Path:
    return cache.expanduser().absolute() / f"kafka-{KAFKA_VERSION}-{lock_digest()}"


@contextlib.asynccontextmanager
async def _only_one(folder: Path) -> AsyncIterator[None]:
    def acquire() -> int:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)

    descriptor = await asyncio.to_thread(acquire)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


async def _prepare(folder: Path, java: Path, report: Report) -> KafkaFiles:
    await asyncio.to_thread(_clear_leftovers, folder)
    jars = folder / "jars"
    if not await asyncio.to_thread(jars.exists):
        stop = threading.Event()
        try:
            await asyncio.to_thread(fetch, jars, report, stop)
        finally:
            stop.set()
    report("verifying the jars of Apache Kafka", None)
    try:
        verified = tuple(await asyncio.to_thread(verify, jars))
    except StackError as error:
        raise StackError(f"{error}; remove {jars} to fetch it anew") from None
    template = folder / "formatted"
    bare = KafkaFiles(java, verified, None, template)
    if not await asyncio.to_thread(template.exists):
        report("formatting a folder for Apache Kafka", None)
        await asyncio.to_thread(_format, bare)
    classes = folder / f"classes-{await asyncio.to_thread(_fingerprint, java)}.jsa"
    if not await asyncio.to_thread(classes.exists):
        await _archive_classes(bare, classes, report)
    return KafkaFiles(java, verified, classes, template)


def _clear_leftovers(folder: Path) -> None:
    """Remove what a killed preparation left; the lock says that nobody else is at it."""
    record = folder / _TRAINING
    if record.exists():
        pid, created = record.read_text(encoding="ascii").split()
        end_processes([(Identity(int(pid), float(created)), signal.SIGKILL)])
        record.unlink()
    for leftover in (path for kind in ("fetch-*", "format-*", "training-*") for path in folder.glob(kind)):
        shutil.rmtree(leftover, ignore_errors=True)


def _fingerprint(java: Path) -> str:
    """Names this Java: an archive of classes is good for one virtual machine only."""
    machine = java.resolve()
    facts = machine.stat()
    return hashlib.sha256(f"{machine} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:12]


def _format(files: KafkaFiles) -> None:
    with tempfile.TemporaryDirectory(dir=files.template.parent, prefix="format-") as work:
        settings = Path(work) / "server.properties"
        settings.write_text(_text({**_properties(1, 9092, {1: 9093}), "log.dirs": "log"}), encoding="ascii")
        _run([*files.command(), "kafka.tools.StorageTool", "format", "-t", _new_id(), "-c", settings.name], Path(work))
        (Path(work) / "log").rename(files.template)


async def _archive_classes(files: KafkaFiles, target: Path, report: Report) -> None:
    """Let one broker start, note the classes it loads, and keep them in the form the virtual machine maps into memory."""
    report("making a class archive for quick starts (1 of 2)", None)
    record = target.with_name(_TRAINING)

    def born(identity: Identity, _: signal.Signals) -> None:
        record.write_text(f"{identity.pid} {identity.created!r}", encoding="ascii")

    work = await asyncio.to_thread(lambda: Path(tempfile.mkdtemp(dir=target.parent, prefix="training-")))
    try:
        listed, archive = work / "classes.txt", work / "classes.jsa"
        port, controller = free_ports(2)
        broker = await KafkaBroker.from_files(
            files,
            work / "data",
            port=port,
            voters={1: controller},
            cluster_id=_new_id(),
            jvm=(f"-XX:DumpLoadedClassList={listed}",),
            born=born,
        )
        await broker.stop()
        await asyncio.to_thread(record.unlink)
        report("making a class archive for quick starts (2 of 2)", None)
        dump = ("-Xshare:dump", f"-XX:SharedClassListFile={listed}", f"-XX:SharedArchiveFile={archive}")
        await asyncio.to_thread(_run, files.command(*dump), work)
        await asyncio.to_thread(archive.replace, target)
    finally:
        await asyncio.to_thread(shutil.rmtree, work, True)


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise StackError(f"{Path(command[0]).name} failed: {(lines or ['without a word'])[-1][:300]}")


class KafkaBroker:
    """One running node. ``stop()`` or ``kill()`` it and ``restart()`` it on the same data and port as often as needed."""

    def __init__(self, files: KafkaFiles, data: Path, port: int, brokers: int, jvm: tuple[str, ...], born: Born | None) -> None:
        self.data = data
        self.port = port
        self._files = files
        self._brokers = brokers
        self._jvm = jvm
        self._born = born
        self._child: Child | None = None

    @classmethod
    async def start(
        cls,
        data: Path,
        cache: Path,
        *,
        port: int = 0,
        controller_port: int = 0,
        properties: Mapping[str, str] | None = None,
        node_id: int = 1,
        voters: Mapping[int, int] | None = None,
        cluster_id: str = "",
        born: Born | None = None,
    ) -> Self:
        """Start a node on ``data``, formatted first if it is missing or empty, and wait until it is ready.

        Args:
            data: folder of this node.
            cache: see ``prepare``.
            port: for clients, on loopback; 0 chooses a free one.
            controller_port: for controllers; 0 chooses a free one. Unused with ``voters``.
            properties: broker settings on top of ours.
            node_id: number of this node.
            voters: controller port by node id, the same for all nodes of a cluster; default: this node alone.
            cluster_id: the same for all nodes of a cluster (see ``start_cluster``); default: a new one.
            born: told of every process of this node as soon as it exists.

        Raises:
            StackError: naming what is in the way (a port, another version's data, not writable, the broker's own words).
        """
        if port:
            require_free(port, "Kafka")
        spare, spare_controller = free_ports(2)
        quorum = dict(voters or {node_id: controller_port or spare_controller})
        require_free(quorum[node_id], "Kafka's controller")
        return await cls.from_files(
            await prepare(cache),
            data,
            port=port or spare,
            properties=properties,
            node_id=node_id,
            voters=quorum,
            cluster_id=cluster_id or _new_id(),
            born=born,
        )

    @classmethod
    async def start_cluster(
        cls, data: Path, cache: Path, *, nodes: int = 3, properties: Mapping[str, str] | None = None
    ) -> list[Self]:
        """Start several nodes as one cluster below the folder ``data``; everything is replicated ``nodes`` times."""
        await prepare(cache)
        ports = free_ports(2 * nodes)
        voters = dict(enumerate(ports[:nodes], start=1))
        cluster_id = _new_id()
        replicas, in_sync = str(nodes), str(max(1, nodes - 1))
        replicated = {
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            **(properties or {}),
        }
        starts = [
            cls.start(
                data / f"node-{node_id}",
                cache,
                port=ports[nodes + node_id - 1],
                properties=replicated,
                node_id=node_id,
                voters=voters,
                cluster_id=cluster_id,
            )
            for node_id in voters
        ]
        started = await asyncio.gather(*starts, return_exceptions=True)
        brokers = [node for node in started if not isinstance(node, BaseException)]
        for failure in started:
            if isinstance(failure, BaseException):
                await asyncio.gather(*(broker.stop() for broker in brokers))
                raise failure
        return brokers

    @classmethod
    async def from_files(
        cls,
        files: KafkaFiles,
        data: Path,
        *,
        port: int,
        voters: Mapping[int, int],
        cluster_id: str,
        node_id: int = 1,
        properties: Mapping[str, str] | None = None,
        jvm: tuple[str, ...] = (),
        born: Born | None = None,
    ) -> Self:
        """Start a node with prepared files; see ``start``."""
        settings = {**_properties(node_id, port, voters), **(properties or {})}
        data = await asyncio.to_thread(_make_folder, files, data, node_id, cluster_id, settings)
        broker = cls(files, data, port, len(voters), jvm, born)
        await broker.restart()
        return broker

    @property
    def bootstrap(self) -> str:
        """What clients connect to, ``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    @property
    def identity(self) -> Identity:
        """Its process, recognisable later."""
        return self._running().identity

    @property
    def log(self) -> Path:
        """The broker's log."""
        return self.data / "broker.log"

    @property
    def returncode(self) -> int | None:
        """How its process ended (negative: by that signal); None while it runs."""
        return self._running().returncode

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._child is not None and self._child.returncode is None

    async def restart(self, *, wait: bool = True) -> None:
        """Start again on the same data and port; the node must have ended. Without ``wait`` call ``ready()`` later."""
        if self.alive:
            raise StackError("Kafka still runs: stop it first")
        # Relative paths in server.properties: its format would need escapes for some characters of an absolute one.
        self._child = await Child.start(
            [*self._files.command(*self._jvm), "kafka.Kafka", "server.properties"],
            log=self.log,
            env=_environment(),
            cwd=self.data,
            born=self._born,
        )
        if wait:
            try:
                await self.ready()
            except BaseException:
                await self.kill()
                raise

    async def ready(self, *, timeout_s: float = _START_S) -> None:
        """Wait until clients are served: port open, groups have a coordinator, and every partition has a leader.

        An open port alone is not enough: the first group to join would be turned away.
        """
        child = self._running()
        deadline = time.monotonic() + timeout_s
        problem = "its port is closed"
        while time.monotonic() < deadline:
            if child.returncode is not None:
                raise StackError(f"Kafka did not start: {last_line(child.log, 'ERROR', 'Exception', 'Error')}")
            if await asyncio.to_thread(is_open, self.port):
                problem = await self._not_yet()
                if not problem:
                    return
            await asyncio.sleep(0.03)
        raise StackError(f"Kafka is not ready after {timeout_s:.0f} s: {problem}")

    async def _not_yet(self) -> str:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000)
        try:
            await admin.start()  # type: ignore[no-untyped-call, unused-ignore]
            if len((await admin.describe_cluster())["brokers"]) < self._brokers:
                return "not all brokers of the cluster are there"
            await admin.find_coordinator("telemed-readiness")
            for topic in await admin.describe_topics():
                if topic["error_code"] or any(part["leader"] < 0 for part in topic["partitions"]):
                    return f"topic {topic['topic']} has partitions without a leader"
        except (KafkaError, OSError, TimeoutError) as error:
            return f"{type(error).__name__} {error}"
        finally:
            await admin.close()  # type: ignore[no-untyped-call, unused-ignore]
        return ""

    async def stop(self, *, timeout_s: float = 20.0) -> None:
        """Shut it down in order (SIGTERM); killed when it has not ended after ``timeout_s`` seconds."""
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, timeout_s=timeout_s)

    async def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        await self._running().kill()

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal, e.g. SIGSTOP and SIGCONT."""
        self._running().send(number)

    def _running(self) -> Child:
        if self._child is None:
            raise StackError("Kafka was not started")
        return self._child


def _make_folder(files: KafkaFiles, data: Path, node_id: int, cluster_id: str, properties: Mapping[str, str]) -> Path:
    data = data.absolute()
    version = data / _VERSION_FILE
    try:
        if version.exists():
            found = version.read_text(encoding="ascii").strip()
            if found.split(".")[0] != KAFKA_VERSION.split(".")[0]:
                raise StackError(
                    f"{data} was written by Kafka {found}, this is {KAFKA_VERSION}: move it away, or start with --fresh"
                )
        elif data.exists() and any(data.iterdir()):
            raise StackError(f"{data} is neither empty nor a Kafka data directory")
        else:
            for leftover in data.parent.glob(data.name + ".partial-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            partial = data.with_name(f"{data.name}.partial-{os.getpid()}")
            shutil.copytree(files.template, partial / "log")
            identity = {
                "version": "1",
                "cluster.id": cluster_id,
                "node.id": str(node_id),
                "directory.id": _new_id(),
            }
            (partial / "log" / "meta.properties").write_text(_text(identity), encoding="ascii")
            (partial / _VERSION_FILE).write_text(KAFKA_VERSION + "\n", encoding="ascii")
            partial.rename(data)
        settings = data / "server.properties"
        fresh = settings.with_suffix(".new")
        fresh.write_text(_text(properties), encoding="ascii")
        fresh.replace(settings)
    except OSError as error:
        raise StackError(f"{error.filename or data} cannot be used for Kafka: {error.strerror}") from None
    return data


def _properties(node_id: int, port: int, voters: Mapping[int, int]) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": str(node_id),
        "controller.quorum.voters": ",".join(f"{node}@{HOST}:{voter}" for node, voter in voters.items()),
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{voters[node_id]}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "log",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # After a kill the node may register again only when its old session has expired: 2 s to the open port, not 12.
        "broker.session.timeout.ms": "1000",
        "broker.heartbeat.interval.ms": "200",
        "log.cleaner.dedupe.buffer.size": str(2 * 1024 * 1024),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # 50 by default; each is a folder that is opened at every start.
        "offsets.topic.num.partitions": "12",
        "transaction.state.log.num.partitions": "12",
    }


def _text(properties: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def _new_id() -> str:
    """A random id as Kafka writes it: 22 characters, and never starting with a dash (a command line may carry it)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not text.startswith("-"):
            return text


def _environment() -> dict[str, str]:
    # Nothing of ours is its business: no JAVA_TOOL_OPTIONS, no settings, no secrets.
    return {"PATH": os.defpath, "LC_ALL": "C"}
