"""A link that delays and throttles: a TCP proxy on loopback.

Each direction of a connection is a line of a given rate, followed by a delay. What TCP would do on
such a link (slow start, losses) is not imitated: a connection is as good as one that has been open
for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

_PIECE = 4096
"""Bytes that are sent over the line at once."""


class SlowLink:
    """A proxy to a server, for use in `running_link`.

    Args:
        address: of the server, HOST:PORT.
        round_trip_ms: delay there and back.
        megabits: per second, in each direction; 0: unlimited.

    Attributes:
        received: bytes that have come from the server.
        sent: bytes that have gone to it.
    """

    def __init__(self, address: str, round_trip_ms: float, megabits: float) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._delay = 0.5e-3 * round_trip_ms
        self._rate = 1e6 * megabits / 8
        self.received = self.sent = 0

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client."""
        try:
            there, back = await asyncio.open_connection(self._host, int(self._port))
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(
                self._carry(reader, back, to_server=True),
                self._carry(there, writer, to_server=False),
            )
        except (OSError, asyncio.CancelledError):
            pass  # one end is gone, or the link stops: both are closed
        finally:
            for end in (writer, back):
                end.close()

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, to_server: bool
    ) -> None:
        """Carry one direction to its end."""
        clock = asyncio.get_running_loop().time
        coming: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(_deliver(coming, target))
        free = clock()
        try:
            while data := await source.read(_PIECE):
                free = max(free, clock()) + (len(data) / self._rate if self._rate else 0.0)
                if to_server:
                    self.sent += len(data)
                else:
                    self.received += len(data)
                coming.put_nowait((free + self._delay, data))
                await asyncio.sleep(free - clock())
            coming.put_nowait((free + self._delay, b""))
            await delivery
        finally:
            delivery.cancel()


async def _deliver(
    coming: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter
) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due, data = await coming.get()
        await asyncio.sleep(due - clock())
        if not data:
            target.write_eof()
            return
        target.write(data)
        await target.drain()


@contextlib.contextmanager
def running_link(link: SlowLink) -> Iterator[str]:
    """Run a link on a free port of loopback, in a thread; yield its address."""
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(link.connect, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, name="clickcut-link", daemon=True)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result()
        try:
            host, port = server.sockets[0].getsockname()[:2]
            yield f"{host}:{port}"
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
