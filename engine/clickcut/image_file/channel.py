"""Messages over a socket between the process that asks for pixels and the one that decodes."""

from __future__ import annotations

import socket
import struct
import time

SIZE = struct.Struct("<I")
_MAX_MESSAGE = 2**16


def send(connection: socket.socket, message: bytes) -> None:
    """Send a short message, its size first."""
    connection.sendall(SIZE.pack(len(message)) + message)


def receive(connection: socket.socket, deadline: float | None = None) -> bytes:
    """Receive a short message.

    Args:
        connection: of both.
        deadline: of `time.monotonic`; None to wait as long as it takes.

    Raises:
        TimeoutError: it did not come in time.
        EOFError: the other side has gone.
    """
    (size,) = SIZE.unpack(receive_exactly(connection, SIZE.size, deadline))
    if size > _MAX_MESSAGE:
        raise EOFError(f"a message of {size} bytes")
    return bytes(receive_exactly(connection, size, deadline))


def receive_exactly(
    connection: socket.socket, size: int, deadline: float | None = None
) -> bytearray:
    """Receive so many bytes; errors as in `receive`."""
    data = bytearray(size)
    fill(connection, memoryview(data), deadline)
    return data


def fill(connection: socket.socket, view: memoryview, deadline: float | None = None) -> None:
    """Receive into a buffer until it is full; errors as in `receive`."""
    while view:
        wait_until(connection, deadline)
        got = connection.recv_into(view)
        if not got:
            raise EOFError("the other side has gone")
        view = view[got:]


def wait_until(connection: socket.socket, deadline: float | None) -> None:
    """Let the next operation wait until the deadline and no longer.

    Raises:
        TimeoutError: it has passed.
    """
    if deadline is None:
        connection.settimeout(None)
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
