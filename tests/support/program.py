"""Programs of ours as processes: ``python -m MODULE``, or the same without the second of processor time that its imports take.

A forked one is a process of its own like any other, with its own environment, log, signals and end; only what it imports was
imported once, by a server that forks a copy of itself for each.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

__all__ = ["Launch", "Program", "fork", "start"]

_ROOT = Path(__file__).parents[2]
_SERVICES = sorted(path.parent.name for path in _ROOT.glob("services/*/__main__.py"))
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["__main__", __name__, "tests.support.ledger.app", *(f"services.{name}.app" for name in _SERVICES)]
)


class Program(Protocol):
    """What ``subprocess.Popen`` offers, as far as it is used here."""

    @property
    def pid(self) -> int:
        """Of the process."""

    @property
    def returncode(self) -> int | None:
        """None while it lives; negative: the signal that ended it."""

    def poll(self) -> int | None:
        """The same, looked at now."""

    def wait(self) -> int:
        """Wait for its end."""

    def send_signal(self, sig: int) -> None:
        """Nothing if it has ended."""

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL."""


Launch = Callable[[Sequence[str], Path, Mapping[str, str]], Program]
"""Starts a module with arguments and an environment; it writes to a log."""


def start(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Program:
    """``python -m ARGUMENTS``, which writes to a log."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
        )


def fork(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Program:
    """The same, forked from what has imported our services."""
    return _Forked(arguments, log, environment)


class _Forked:
    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        log.touch()
        self._process = _FORKS.Process(target=_run, args=(list(arguments), str(log), dict(environment)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int:
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    os.chdir(_ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY)):
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.dup2(1, 2)
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
