"""Waiting for a server that is not there yet."""

from __future__ import annotations

import threading

import pytest
from server.harness import Line, ServerProcess

from clickcut.client import Client, UnreachableError
from clickcut.client.waiting import wait_until_serving
from clickcut.errors import UsageError


def test_a_server_that_comes_later(server: ServerProcess) -> None:
    with Line(server.port) as line:
        line.cut()
        with Client(line.address, retry_seconds=0.1) as client:
            with pytest.raises(UnreachableError):
                client.models()
            timer = threading.Timer(1.0, line.mend)
            timer.start()
            assert wait_until_serving(client, 60)[0].name == "toy"
            timer.join()


def test_a_server_that_does_not_come() -> None:
    with Client("127.0.0.1:9", retry_seconds=0.1) as client, pytest.raises(UnreachableError):
        wait_until_serving(client, 0.5)


def test_a_client_that_is_closed_is_not_waited_for(server: ServerProcess) -> None:
    client = Client(server.address)
    client.close()
    with pytest.raises(UsageError, match="the client is closed"):
        wait_until_serving(client, 600)
