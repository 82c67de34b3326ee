"""Messages over a socket between the calling process and the decoding one."""

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
        connection: to the other process.
        deadline: on the clock of `time.monotonic`; None for no deadline.

    Raises:
        TimeoutError: it did not arrive in time.
        EOFError: the other side has closed the connection.
    """
    (size,) = SIZE.unpack(receive_exactly(connection, SIZE.size, deadline))
    if size > _MAX_MESSAGE:
        raise EOFError(f"a message of {size} bytes")
    return bytes(receive_exactly(connection, size, deadline))


def receive_exactly(
    connection: socket.socket, size: int, deadline: float | None = None
) -> bytearray:
    """Receive `size` bytes; errors as in `receive`."""
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
    """Set the timeout of the next operation to the deadline.

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
