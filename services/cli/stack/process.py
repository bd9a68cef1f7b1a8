"""Child processes that outlive an event loop, and how to recognise them later.

``subprocess.Popen`` and not asyncio's own: those objects belong to one event loop, while servers of a test session are
used from many. ``psutil`` is imported where it is used: operators' commands import this module also where no local stack is
installed.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

__all__ = ["Born", "Child", "Identity", "end_processes", "last_line"]

_POLL_S = 0.02
_LOG_BYTES = 16 * 1024 * 1024

Born = Callable[["Identity", signal.Signals], None]
"""Told of a new process and of the signal that ends it in order, before anybody waits for it: whoever keeps a record can
find it again even if we are killed a moment later."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be mistaken for another one which got the same number later."""

    pid: int
    created: float
    """When the operating system started it, in seconds since 1970."""

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """The process that has this number now, if there is one."""
        import psutil

        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def process(self) -> "psutil.Process | None":
        """The living process, or None when it has ended (also when its number was given to another one since)."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            if process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.NoSuchProcess:
            pass
        return None

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it has ended before."""
        import psutil

        process = self.process()
        try:
            if process is not None:
                process.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        return process is not None

    def wait_gone(self, timeout_s: float) -> bool:
        """Wait until it has ended, whether or not its parent has taken note; False if it still runs after that time."""
        deadline = time.monotonic() + timeout_s
        while self.process() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


class Child:
    """A process that we started: in its own session, so that Ctrl-C reaches only us and we end it in order."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self._popen = popen
        self.log = log
        self.identity = Identity.of(popen.pid) or Identity(popen.pid, 0.0)

    @classmethod
    async def start(
        cls,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
        ends_by: signal.Signals = signal.SIGTERM,
        born: Born | None = None,
    ) -> "Child":
        """Start ``command`` with exactly the environment ``env``; both its outputs are appended to ``log``."""

        def start() -> Child:
            child = cls._start(command, log, env, cwd)
            if born:
                born(child.identity, ends_by)
            return child

        starting = asyncio.ensure_future(asyncio.to_thread(start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be stopped: without this the process would run on, known to nobody.
            await (await starting).kill()
            raise

    @classmethod
    def _start(cls, command: Sequence[str | Path], log: Path, env: Mapping[str, str], cwd: Path | None) -> "Child":
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        return cls(popen, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; then its exit code, or the negative number of the signal that ended it."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        self._popen.send_signal(number)

    async def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; False when it still runs after ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        while self.returncode is None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = 10.0) -> bool:
        """Ask it to end, and kill it when it has not after ``timeout_s`` seconds; True when it ended by itself."""
        self.send(number)
        if await self.wait(timeout_s):
            return True
        await self.kill()
        return False

    async def kill(self) -> None:
        """End it at once (SIGKILL) and wait until it is gone."""
        self.send(signal.SIGKILL)
        while not await self.wait(60):
            pass  # the kernel may take its time over a process that is deep in input or output


def end_processes(processes: Sequence[tuple[Identity, signal.Signals]], *, timeout_s: float = 10.0) -> int:
    """End processes of an earlier run one after the other, in this order, each by its own signal.

    Whoever has not ended after ``timeout_s`` seconds is killed. Returns how many were still there.
    """
    found = 0
    for identity, ends_by in processes:
        if not identity.send(ends_by):
            continue
        found += 1
        if not identity.wait_gone(timeout_s):
            identity.send(signal.SIGKILL)
            identity.wait_gone(timeout_s)
    return found


def last_line(log: Path, *markers: str) -> str:
    """The last line of a log that contains one of ``markers``, else its last line, without control characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 65_536))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return "nothing in its log"
    marked = [line for line in lines if any(marker in line for marker in markers)]
    chosen = (marked or lines or ["nothing in its log"])[-1].strip()
    return "".join(character if character.isprintable() else " " for character in chosen)[:400]
