"""Connections: how many, and how long each may take to say what it wants.

aiohttp 3.14 cuts a silent or half-sent head only after its keep-alive time, never ends an unread answer, closes nothing when
too many are open, and logs malformed requests with the client's own bytes. All of that is bounded here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from services.runtime import log
from services.runtime.edge import problems
from services.runtime.edge.problems import Problem

__all__ = ["Limits", "Runner"]

_log = log.get_logger()


@dataclass(slots=True)
class Limits:
    """Bounds of one process.

    Attributes:
        connections: open at once; one more closes the connection that has waited longest without a complete request.
        head_s: from the first moment of waiting for a request to the end of its headers, for bytes that began to arrive and
            for a new connection that stays silent.
        keep_alive_s: an idle connection between two requests.
        linger_s, linger_bytes: reading on, after an answer, what the client still sends.
        answer_s: a client that does not read its answer.
    """

    connections: int
    head_s: float
    keep_alive_s: float
    linger_s: float = 1.0
    linger_bytes: int = 4 * 1024 * 1024
    answer_s: float = 30.0
    waiting: dict["_Connection", None] = field(default_factory=dict)
    open: set["_Connection"] = field(default_factory=set)


class _Connection(RequestHandler):
    """One client connection."""

    __slots__ = ("_head_timer", "_limits", "_over", "_unread")

    def __init__(self, manager: web.Server, limits: Limits, **options: Any) -> None:
        super().__init__(manager, **options)
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread = 0
        self._over: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        limits = self._limits
        if len(limits.open) >= limits.connections:
            # Whoever waits longest with nothing asked goes first: idle clients come back, a flood makes room for itself.
            oldest = next(iter(limits.waiting), None)
            if oldest is None:
                transport.abort()  # type: ignore[attr-defined]
                return
            oldest.force_close()
            limits.open.discard(oldest)
            limits.waiting.pop(oldest, None)
        limits.open.add(self)
        limits.waiting[self] = None
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._limits.open.discard(self)
        self._limits.waiting.pop(self, None)
        self._stop_head_timer()
        self._end_linger()
        if self.transport is not None or self._task_handler is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._over is not None:
            self._unread -= len(data)
            if self._unread < 0:
                self._end_linger()
            return
        super().data_received(data)
        if self._messages or self._request_in_progress:
            self._stop_head_timer()
            if self._complete():
                self._limits.waiting.pop(self, None)
        elif data and self._head_timer is None:
            self._start_head_timer()

    def _complete(self) -> bool:
        """Whether a request is all here, its body too: from then on it is us for whom somebody waits."""
        if self._messages:
            return bool(self._messages[-1][1].is_eof())
        return self._current_request is None or self._current_request.content.is_eof()

    def _start_head_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._limits.head_s, self._head_too_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_late(self) -> None:
        self._head_timer = None
        if not self._messages and not self._request_in_progress:
            self.force_close()

    async def finish_response(self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None) -> Any:
        try:
            async with asyncio.timeout(self._limits.answer_s):
                finished = await super().finish_response(request, resp, start_time)
        except TimeoutError:
            self.force_close()
            return resp, True
        if self in self._limits.open:
            self._limits.waiting[self] = None
            if self._over is not None:
                await self._linger(self._over)
        return finished

    async def _linger(self, over: "asyncio.Future[None]") -> None:
        """After the last answer to a client that may still be writing: end our side, and read on until it ends its own.

        Closing with bytes unread would reset the connection, and the reset may overtake the answer (RFC 9112, 9.6).
        """
        if self.transport is None:
            return
        self.transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_s):
                await over

    def _end_linger(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        # Neither the message nor the exception's text is used: both hold the client's bytes.
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("the answer has begun, or nobody is there to read it")
        if status == 400:
            # Nothing that follows can be read as requests any more: it is only taken off the wire.
            self._unread, self._over = self._limits.linger_bytes, self._loop.create_future()
        kind = problems.MALFORMED_REQUEST if status == 400 else problems.INTERNAL
        _log.warning(kind.code, error_class=type(exc).__name__)
        answer = problems.response(Problem(kind, close=True))
        answer.headers.update({"Server": "telemed", "Cache-Control": "no-store"})
        return answer

    def log_exception(self, *args: Any, **more: Any) -> None:
        _log.error("connection-failed", error_class=type(more.get("exc_info")).__name__)


class _Server(web.Server):
    def __init__(self, handler: Callable[[BaseRequest], Awaitable[web.StreamResponse]], limits: Limits, **options: Any) -> None:
        super().__init__(handler, **options)
        self._limits = limits

    def __call__(self) -> RequestHandler:
        return _Connection(self, self._limits, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """aiohttp's runner with our connections."""

    __slots__ = ("_limits",)

    def __init__(self, application: web.Application, limits: Limits) -> None:
        super().__init__(application, access_log=None, shutdown_timeout=8, handle_signals=False)
        self._limits = limits

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        limits = self._limits
        return _Server(
            plain.request_handler,
            limits,
            request_factory=plain.request_factory,
            access_log=None,
            keepalive_timeout=limits.keep_alive_s,
            lingering_time=limits.linger_s,
            # A compressed body is refused, so it is never blown up either.
            auto_decompress=False,
        )
