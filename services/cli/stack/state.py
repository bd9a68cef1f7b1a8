"""The folder of one stack: its layout, the lock that makes it one, and the record of what runs."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from services.cli.stack.errors import StackError
from services.cli.stack.keys import write_private_key
from services.cli.stack.process import Identity, end_processes
from services.runtime.audit.seal import DEVELOPMENT

__all__ = ["Home", "PartRecord", "Record"]


@dataclass(slots=True)
class PartRecord:
    """One part of the stack as ``telemed status`` shows it."""

    name: str
    address: str
    """Where people or clients find it."""
    log: str
    health: str = ""
    """URL that answers 200 when it is ready; empty for servers that speak no HTTP."""
    port: int = 0
    state: str = "not started"
    pid: int = 0
    created: float = 0.0
    ends_by: int = int(signal.SIGTERM)
    restarts: int = 0
    last_end: str = ""


@dataclass(slots=True)
class Record:
    """What a running supervisor says about itself, in the order in which the parts are to be ended."""

    pid: int
    created: float
    phase: str = "starting"
    parts: list[PartRecord] = field(default_factory=list)

    @property
    def supervisor(self) -> Identity:
        """The process that wrote this."""
        return Identity(self.pid, self.created)

    def left_over(self) -> list[tuple[Identity, signal.Signals]]:
        """Every process that was started, in the order in which they are to be ended."""
        return [(Identity(part.pid, part.created), signal.Signals(part.ends_by)) for part in self.parts if part.pid]


class Home:
    """``$TELEMED_HOME``: data, secrets, logs, and who is at work here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.data = self.folder / "data"
        self.logs = self.folder / "logs"
        self.issuer_keys = self.folder / "issuer"
        self.audit = self.folder / "audit"
        # They belong to the database: what begins anew has none.
        self.heads = self.data / "audit"
        self._lock = self.folder / "lock"
        self._record = self.folder / "running.json"
        self._writing = threading.Lock()

    def secret(self, name: str) -> Path:
        """A file with a random secret, made at first use, readable by its owner only."""
        path = self.data / "secrets" / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            partial = path.with_name(f"{name}.{os.getpid()}")
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
            try:
                os.link(partial, path)  # appears whole, and never replaces one that is in use
            finally:
                partial.unlink()
        return path

    def seal_key(self) -> Path:
        """The key that seals the audit of this stack's services, made at first use; production refuses its like by name."""
        path = self.audit / f"{DEVELOPMENT}.pem"
        if not path.exists():
            write_private_key(path)
        return path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this folder for one supervisor. The lock ends with the process, however it ends.

        Raises:
            StackError: when another one holds it, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = self._acquire()
        except OSError as error:
            raise StackError(f"{error.filename or self.folder} cannot be written: {error.strerror}") from None
        try:
            yield
        finally:
            self._lock.unlink(missing_ok=True)
            os.close(descriptor)

    def _acquire(self) -> int:
        while True:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The holder before us removed the file as it left: then we hold a file that nobody else will find.
                if os.fstat(descriptor).st_ino == self._lock.stat().st_ino:
                    return descriptor
            except FileNotFoundError:
                pass
            except OSError as error:
                os.close(descriptor)
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                record = self.read()
                who = f" (process {record.pid})" if record else ""
                raise StackError(f"another `telemed up`{who} is at work in {self.folder}: `telemed down` stops it") from None
            os.close(descriptor)

    def read(self) -> Record | None:
        """The record of the supervisor that is at work here, or was when it died."""
        try:
            found = json.loads(self._record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        parts = [PartRecord(**part) for part in found.pop("parts")]
        return Record(**found, parts=parts)

    def write(self, record: Record) -> None:
        """Replace the record as a whole; may be called from several threads."""
        with self._writing:
            partial = self._record.with_suffix(".new")
            partial.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
            partial.replace(self._record)

    def forget(self) -> None:
        """Nothing runs here any more."""
        self._record.unlink(missing_ok=True)

    def end_leftovers(self) -> int:
        """End what a killed supervisor left running; the caller holds the lock. Returns how many processes there were."""
        record = self.read()
        if record is None:
            return 0
        ended = end_processes(record.left_over())
        self.forget()
        return ended
