"""A TCP proxy of ours on loopback: passes, delays, holds back one direction, resets, loses connections without a word."""

import asyncio
import socket
import struct
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from services.cli.stack.ports import HOST, free_ports

__all__ = ["ANSWERS", "REQUESTS", "Proxy", "proxy_to"]

REQUESTS, ANSWERS = "requests", "answers"
"""Directions: from client to server, and back."""


@dataclass(eq=False, slots=True)
class _Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    gates: dict[str, asyncio.Event]
    lost: bool = False


@dataclass(slots=True)
class Proxy:
    """See the module. Bytes that are held back are delivered by ``resume``, as a network that was down delivers them late."""

    port: int
    target: int
    delay_s: float = 0.0
    held: set[str] = field(default_factory=set)
    accepted: int = 0
    swallowed: int = 0
    """Bytes that came while their direction was held or their connection lost: that the fault bit."""
    _links: set[_Link] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _writers: "weakref.WeakSet[asyncio.StreamWriter]" = field(default_factory=weakref.WeakSet)
    _closed: bool = False

    def hold(self, *directions: str) -> None:
        """Let nothing through in these directions, on old connections and on new ones; no side is told."""
        self.held |= set(directions)
        for link in self._links:
            for direction in directions:
                link.gates[direction].clear()

    def resume(self) -> None:
        """Everything passes again, what was held back first; lost connections stay lost."""
        self.held.clear()
        for link in self._links:
            if not link.lost:
                for gate in link.gates.values():
                    gate.set()

    def lose(self) -> int:
        """The connections of now are dead without a FIN, for ever: each side waits. New ones pass. Returns how many."""
        for link in self._links:
            link.lost = True
            for gate in link.gates.values():
                gate.clear()
        return len(self._links)

    def reset(self) -> None:
        """Cut every connection with a RST."""
        for link in list(self._links):
            _abort(link.client, link.server)

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._closed:  # accepted before the listener went, served after
            _abort(client)
            return
        self.accepted += 1
        self._tasks.add(task)
        self._writers.add(client)
        try:
            server_reader, server = await asyncio.open_connection(HOST, self.target)
            self._writers.add(server)
            await self._pass(client_reader, client, server_reader, server)
        except (OSError, asyncio.CancelledError):
            pass  # only ``close`` cancels; StreamReaderProtocol of Python 3.11 logs a callback error for a cancelled task
        finally:
            _abort(client)
            self._tasks.discard(task)

    async def _pass(
        self,
        client_reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        link = _Link(client, server, {REQUESTS: asyncio.Event(), ANSWERS: asyncio.Event()})
        for direction in {REQUESTS, ANSWERS} - self.held:
            link.gates[direction].set()
        self._links.add(link)
        pipes = [
            asyncio.create_task(self._pipe(link, REQUESTS, client_reader, server)),
            asyncio.create_task(self._pipe(link, ANSWERS, server_reader, client)),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Nothing is awaited here: a second cancellation, by ``close``, would leave the connections open.
            for pipe in pipes:
                pipe.cancel()
            _abort(client, server)
            self._links.discard(link)

    async def _pipe(self, link: _Link, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gate = link.gates[direction]
        with suppress(OSError):
            while data := await reader.read(65_536):
                if not gate.is_set():
                    self.swallowed += len(data)
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await gate.wait()
                writer.write(data)
                await writer.drain()
        if not gate.is_set():
            await gate.wait()  # a lost connection tells nobody that the other side went away

    async def close(self) -> None:
        """End every connection."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


def _abort(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        connection: socket.socket | None = writer.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@asynccontextmanager
async def proxy_to(target: int, *, port: int = 0) -> AsyncIterator[Proxy]:
    """A proxy in front of a port of loopback."""
    proxy = Proxy(port or free_ports(1)[0], target)
    server = await asyncio.start_server(proxy._serve, HOST, proxy.port)
    try:
        yield proxy
    finally:
        # What was accepted in this turn of the loop is attached to the server in the next one, and leaks if that is closed.
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        await asyncio.sleep(0)
        server.close()
        await proxy.close()
        await server.wait_closed()
