"""Waiting for a server that is not there yet."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from server.harness import DEADLINE, START_SECONDS, Gate, Line, ServerProcess

from clickcut.client import Client, UnreachableError
from clickcut.client.waiting import wait_until_serving
from clickcut.errors import UnavailableError, UsageError


def test_a_server_that_comes_later(server: ServerProcess) -> None:
    with Line(server.port) as line:
        line.cut()
        with Client(line.address, retry_seconds=0.1) as client:
            with pytest.raises(UnreachableError):
                client.models()
            timer = threading.Timer(1.0, line.mend)
            timer.start()
            assert wait_until_serving(client, DEADLINE)[0].name == "toy"
            timer.join()


def test_a_server_that_does_not_come() -> None:
    with Client("127.0.0.1:9", retry_seconds=0.1) as client, pytest.raises(UnreachableError):
        wait_until_serving(client, 0.5)


def test_a_client_that_is_closed_is_not_waited_for(server: ServerProcess) -> None:
    client = Client(server.address)
    client.close()
    with pytest.raises(UsageError, match="the client is closed"):
        wait_until_serving(client, 600)


def test_a_server_that_is_there_but_not_warm(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.close()
    with (
        ServerProcess(bundle, prelude=gate.prelude, wait=False) as server,
        Client(server.address) as client,
    ):
        assert client.models()
        assert not client.is_serving()
        with pytest.raises(UnavailableError, match="warming up"):
            wait_until_serving(client, 0.1)
        gate.open()
        assert wait_until_serving(client, START_SECONDS)
        assert client.is_serving()
