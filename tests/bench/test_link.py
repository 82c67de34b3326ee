"""`clickcut bench link`: a link that delays and throttles, and replies over it."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from server.harness import ServerProcess, reserved_address

from clickcut.client import Client
from clickcut.errors import ServerError
from clickcut_bench.link import FORMS, Answer, play, run, summarise
from clickcut_bench.load.sequences import photographs, record
from clickcut_bench.slow_link import SlowLink, running_link


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def exchange(address: str, data: bytes) -> tuple[bytes, float]:
    """What comes back, and the seconds until all of it has."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        began = time.perf_counter()
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts), time.perf_counter() - began


def test_a_link_delays(echo: str) -> None:
    link = SlowLink(echo, 80.0, 0.0)
    with running_link(link) as slow:
        back, seconds = exchange(slow, b"x")
    assert back == b"x"
    assert seconds >= 0.08
    assert (link.sent, link.received) == (1, 1)


def test_a_link_throttles_and_changes_nothing(echo: str) -> None:
    data = np.random.default_rng(0).bytes(100_000)
    link = SlowLink(echo, 0.0, 8.0)  # a megabyte per second
    with running_link(link) as slow:
        back, seconds = exchange(slow, data)
    assert back == data
    assert seconds >= 0.1
    assert link.received == len(data)


def test_a_link_to_nowhere_closes() -> None:
    with reserved_address() as address, running_link(SlowLink(address, 0.0, 0.0)) as slow:
        try:
            back, _ = exchange(slow, b"x")
        except OSError:  # it was closed before it had read this
            back = b""
        assert back == b""


def test_numbers() -> None:
    answers = [Answer(True, 900, 90, 30), *(Answer(False, 100 * k, 70 + k, 20) for k in range(5))]
    found = summarise(answers)
    assert found["first click"]["reply bytes"]["p50"] == 900
    assert found["first click"]["beside the server, ms"]["max"] == 60
    assert found["later clicks"]["reply bytes"]["p50"] == 200
    assert found["later clicks"]["client ms"]["n"] == 5


def test_every_form_gives_the_same_masks(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "link.json"
    options = ("--model", str(bundle), "--threads", "1")
    document = run("", 2, 3, 4.0, 50.0, path, {"small": (160, 120)}, options)
    assert json.loads(path.read_text()) == document
    found = document["sizes"]["small"]
    assert set(found) == set(FORMS)
    for row in found.values():
        assert row["first click"]["client ms"]["n"] == 2
        assert row["later clicks"]["beside the server, ms"]["p50"] >= 4.0
    sizes = {name: row["later clicks"]["reply bytes"]["p50"] for name, row in found.items()}
    assert sizes["RLE, what changed"] <= sizes["RLE, whole"]


def test_a_mask_that_differs_is_found(server: ServerProcess) -> None:
    with Client(server.address) as client:
        sequence = record(client, photographs("", (160, 120), 1)[0], 1)
        assert sequence is not None
        digest = client.upload(sequence.file)
    form = FORMS["RLE, whole"]
    assert len(list(play(server.address, digest, sequence, form))) == 1
    wrong = dataclasses.replace(sequence, masks=(~sequence.masks[0],))
    with pytest.raises(ServerError, match="not that of the server"):
        list(play(server.address, digest, wrong, form))
