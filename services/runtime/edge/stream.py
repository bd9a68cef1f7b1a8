"""Answers that go on: Server-Sent Events to one client, out of a bounded queue that knows what may be left out.

A client that reads slowly costs a bounded amount of memory and nobody else's time. What it has missed it asks for again, by
the id of the last event that it has.
"""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from services.runtime import log
from services.runtime.database import Database

__all__ = ["Follow", "Frame", "Outlet", "Streams", "body"]

_log = log.get_logger()

_WAITING = 512
"""Events that wait for one client at most."""
_SEND_S = 15.0
"""How long a client may take nothing of what it was sent."""
_ON_THE_WAY = 64 * 1024
"""Bytes that the system keeps for a client; it would keep megabytes of what is no longer true."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event.

    Attributes:
        body: made once by ``body``, for everybody who gets it.
        id: from which this client goes on after it; empty for an event that is no place to go on from.
        key: while it waits, a newer event of the same key takes its place; empty for one that is never left out.
        shown: id of the record that it shows, for the audit.
    """

    body: bytes
    id: str = ""
    key: str = ""
    shown: str = ""

    @property
    def wire(self) -> bytes:
        """As it is sent."""
        return b"id: " + self.id.encode() + b"\n" + self.body if self.id else self.body


def body(kind: str, data: str) -> bytes:
    """Kind and data of an event. The data has one line, as JSON has."""
    return f"event: {kind}\ndata: {data}\n\n".encode()


class Outlet:
    """What waits to be sent to one client, in order."""

    def __init__(self, limit: int = _WAITING) -> None:
        self._limit = limit
        self._waiting: dict[object, Frame] = {}
        self._last: Frame | None = None
        self._changed = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def offer(self, frame: Frame) -> None:
        """Queue an event. Too many end the stream: nothing that may not be left out is left out in silence."""
        if self._last is not None:
            return
        key = frame.key or object()
        # To the end: an id that was sent means that nothing before it is missing.
        self._waiting.pop(key, None)
        self._waiting[key] = frame
        if len(self._waiting) > self._limit:
            self._waiting.clear()
            self.end("overflow")
        self._empty.clear()
        self._changed.set()

    def end(self, reason: str, kind: str = "close") -> None:
        """Send what waits, then one last event that says why."""
        if self._last is None:
            self._last = Frame(_closing(reason, kind))
            self._changed.set()

    async def sent(self) -> None:
        """Returns once nothing waits: for whoever has more than the queue takes."""
        await self._empty.wait()

    async def take(self) -> tuple[Sequence[Frame], bool]:
        """What is to be sent now, and whether it is the last."""
        await self._changed.wait()
        self._changed.clear()
        frames, self._waiting = list(self._waiting.values()), {}
        self._empty.set()
        return ([*frames, self._last], True) if self._last is not None else (frames, False)


Follow = Callable[[Outlet, Database], Awaitable[None]]
"""Feeds one stream, as long as it is there. When it returns or raises, the stream ends."""


class Streams:
    """The streams of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: set[Outlet] = set()
        self._stopping = False

    async def stop(self, _: web.Application) -> None:
        """The process stops: every client is told, and asks the next one."""
        self._stopping = True
        for outlet in self._open:
            outlet.end("stopping")

    async def serve(
        self,
        request: web.Request,
        response: web.StreamResponse,
        follow: Follow,
        expires_at: datetime | None,
        record: Callable[[Sequence[str]], Awaitable[None]],
    ) -> web.StreamResponse:
        """Send until somebody ends it.

        Args:
            expires_at: of the token: a stream does not outlive it.
            record: commits an audit row with ids that this stream has not shown before; awaited before they are sent.
        """
        outlet = Outlet()
        loop = asyncio.get_running_loop()
        await response.prepare(request)
        if request.transport is not None:
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_THE_WAY)
        self._open.add(outlet)
        if self._stopping:
            outlet.end("stopping")
        following = asyncio.ensure_future(self._follow(follow, outlet))
        expiry = None
        if expires_at is not None:
            expiry = loop.call_later(max(0.0, expires_at.timestamp() - time.time()), outlet.end, "token-expired")
        try:
            await self._send(response, outlet, record)
        except TimeoutError:
            # It reads nothing: what the sockets hold is lost with the connection, and asked for again.
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._open.discard(outlet)
            if expiry is not None:
                expiry.cancel()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        response.force_close()
        return response

    async def _follow(self, follow: Follow, outlet: Outlet) -> None:
        try:
            await follow(outlet, self._database)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client asks again; nothing of it is told
            _log.warning("stream-interrupted", error_class=type(error).__name__)
        outlet.end("unavailable")

    async def _send(
        self, response: web.StreamResponse, outlet: Outlet, record: Callable[[Sequence[str]], Awaitable[None]]
    ) -> None:
        known: set[str] = set()
        last = False
        while not last:
            frames, last = await outlet.take()
            new = {frame.shown for frame in frames if frame.shown} - known
            try:
                if new:
                    await record(sorted(new))
            except Exception as error:  # noqa: BLE001 - what cannot be written down is not shown, nor anything behind it
                _log.warning("stream-not-audited", error_class=type(error).__name__)
                frames, last = [Frame(_closing("unavailable"))], True
            known |= new
            if frames:
                async with asyncio.timeout(_SEND_S):
                    await response.write(b"".join(frame.wire for frame in frames))


def _closing(reason: str, kind: str = "close") -> bytes:
    return body(kind, json.dumps({"reason": reason}))
