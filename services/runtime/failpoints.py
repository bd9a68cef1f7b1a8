"""Named places where a test makes a process fail: ``TELEMED_FAILPOINTS="relay.after_send=kill@3;consumer.handle=raise:abc"``.

Each entry is ``name=action[:argument][@nth]``; without ``@nth`` it fires every time, with it only the nth time. Actions:
``kill`` (SIGKILL to ourselves), ``stop`` (SIGSTOP), ``raise`` (only for the detail given as argument, if any), ``delay``
(seconds, the loop goes on), ``block`` (seconds, the loop stands still). Every firing is written to
``TELEMED_FAILPOINT_LOG`` first, so that a fault test can prove that its fault bit. Refused in production.
"""

import asyncio
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FailpointError", "Failpoints"]


class FailpointError(Exception):
    """Raised by a ``raise`` failpoint."""


@dataclass(slots=True)
class _Point:
    action: str
    argument: str
    nth: int | None
    hits: int = 0


@dataclass(slots=True)
class Failpoints:
    """The failpoints of one process. Empty, as it always is in production, a hit costs one dictionary look-up."""

    log: Path | None = None
    _points: dict[str, _Point] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, log: Path | None = None) -> "Failpoints":
        """Read the environment's form.

        Raises:
            ValueError: on an entry that is not ``name=action[:argument][@nth]``.
        """
        points = cls(log)
        for entry in filter(None, text.split(";")):
            name, separator, rest = entry.partition("=")
            rest, _, nth = rest.partition("@")
            action, _, argument = rest.partition(":")
            if not separator or action not in ("kill", "stop", "raise", "delay", "block"):
                raise ValueError(f"not a failpoint: {entry}")
            points._points[name] = _Point(action, argument, int(nth) if nth else None)
        return points

    def check(self, name: str, detail: str = "") -> None:
        """Fire the failpoint if it is set; for places that cannot await."""
        point = self._due(name, detail)
        if point is not None:
            self._fire(name, point)

    async def hit(self, name: str, detail: str = "") -> None:
        """Fire the failpoint if it is set."""
        point = self._due(name, detail)
        if point is None:
            return
        if point.action == "delay":
            self._record(name)
            await asyncio.sleep(float(point.argument))
        else:
            self._fire(name, point)

    def _due(self, name: str, detail: str) -> _Point | None:
        point = self._points.get(name)
        if point is None or (point.action == "raise" and point.argument and point.argument != detail):
            return None
        point.hits += 1
        return point if point.nth is None or point.hits == point.nth else None

    def _fire(self, name: str, point: _Point) -> None:
        self._record(name)
        if point.action == "raise":
            raise FailpointError(name)
        if point.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif point.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            time.sleep(float(point.argument))

    def _record(self, name: str) -> None:
        if self.log is not None:
            with self.log.open("a", encoding="ascii") as file:
                file.write(f"{os.getpid()} {name}\n")
                file.flush()
                os.fsync(file.fileno())
