"""Thousands of damaged messages to every RPC: refused as the client's fault, and nothing more."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from server.harness import DEADLINE, RawStream, ServerProcess, image_file

from clickcut.images import digest_of
from clickcut.v1 import admin_pb2
from clickcut.v1 import clickcut_pb2 as pb

pytestmark = pytest.mark.slow

MESSAGES = 2500
IMAGE = image_file(40, 30)
CLICK = pb.Click(x=20, y=15)
OUTPUT = pb.Output(mask=pb.Output.MASK_FORMAT_PNG, polygons=True, probability=True)
OPEN = pb.SessionRequest(open=pb.Open(image=IMAGE, output=OUTPUT))
RLE = pb.InitialMask(rle=pb.Rle(height=30, width=40, counts=b"`]1"))
PARAMETERS = pb.Parameters(cut_lambda=1, cut_sigma=2, seed_radius=3, cut=True, threshold=0.4)

SESSION = [
    OPEN,
    pb.SessionRequest(open=pb.Open(image_digest=digest_of(IMAGE), model="toy@1")),
    pb.SessionRequest(open=pb.Open(session_id="x" * 24)),
    pb.SessionRequest(sequence=1, click=CLICK, output=OUTPUT),
    pb.SessionRequest(stroke=pb.Stroke(coordinates=[1, 2, 30, 20, 5, 7])),
    pb.SessionRequest(initial_mask=RLE),
    pb.SessionRequest(set_parameters=pb.SetParameters(parameters=PARAMETERS)),
    pb.SessionRequest(undo=pb.Undo()),
    pb.SessionRequest(redo=pb.Redo()),
    pb.SessionRequest(reset=pb.Reset()),
    pb.SessionRequest(next_object=pb.NextObject()),
    pb.SessionRequest(show=pb.Show(), output=OUTPUT),
    pb.SessionRequest(close=pb.Close()),
]
CORPUS = {
    "/clickcut.v1.Clickcut/Session": SESSION,
    "/clickcut.v1.Clickcut/Segment": [
        pb.SegmentRequest(
            image=IMAGE, clicks=[CLICK] * 3, parameters=PARAMETERS, initial_mask=RLE, output=OUTPUT
        ),
        pb.SegmentRequest(image_digest=digest_of(IMAGE), clicks=[CLICK], model="toy"),
    ],
    "/clickcut.v1.Clickcut/UploadImage": [
        pb.UploadImageRequest(chunk=IMAGE, digest=digest_of(IMAGE)),
        pb.UploadImageRequest(chunk=IMAGE[:200]),
    ],
    "/clickcut.v1.Clickcut/ListModels": [pb.ListModelsRequest()],
    "/grpc.health.v1.Health/Check": [health_pb2.HealthCheckRequest(service="clickcut.v1.Clickcut")],
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_by_filename="clickcut/v1/clickcut.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="clickcut.v1.Clickcut"),
        reflection_pb2.ServerReflectionRequest(
            file_containing_extension=reflection_pb2.ExtensionRequest(
                containing_type="clickcut.v1.Open", extension_number=7
            )
        ),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="clickcut.v1.Open"),
    ],
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A message with a few changes, as a broken or hostile client might send it."""
    found = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(7):
            case 0 if found:  # a flipped bit
                found[at % len(found)] ^= 1 << rng.randrange(8)
            case 1:  # cut short
                del found[at:]
            case 2:  # something removed
                del found[at : at + rng.randrange(1, 9)]
            case 3:  # something put in
                found[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4:  # a part twice
                found[at:at] = found[at : at + rng.randrange(1, 60)]
            case 5:  # numbers that are extreme
                extremes = (b"\xff" * 10, b"\xff" * 9 + b"\x01", bytes(8), b"\x7f\xf0" * 4)
                found[at:at] = rng.choice(extremes)
            case _:  # the header bytes of the first fields, which steer the parser
                if found:
                    found[rng.randrange(min(8, len(found)))] = rng.randrange(256)
    return bytes(found)


def conversation(method: str, rng: random.Random) -> list[bytes]:
    """One to five messages for a method, damaged; a session begins with a good `open` mostly."""
    if rng.random() < 0.05:
        return [rng.choice((b"\xff\xff", b"", b"\x0a", rng.randbytes(rng.randrange(1, 40))))]
    messages = [
        mutated(rng.choice(CORPUS[method]).SerializeToString(), rng)
        for _ in range(rng.choice((1, 1, 2, 4)))
    ]
    if method.endswith("/Session") and rng.random() < 0.8:
        messages.insert(0, OPEN.SerializeToString())
    return messages


def code_of(channel: grpc.Channel, method: str, messages: list[bytes]) -> grpc.StatusCode:
    """How a call with these messages ends."""
    call = channel.stream_stream(method)(iter(messages), timeout=DEADLINE)
    try:
        for reply in call:
            if method.endswith("/Session"):
                code = pb.SessionReply.FromString(reply).error.code
                assert code not in (2, 13), pb.SessionReply.FromString(reply).error.message
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def send_all(server: ServerProcess, count: int) -> Counter[grpc.StatusCode]:
    """Send at least `count` messages, several calls at once; how the calls ended."""
    rng = random.Random(1)
    methods = sorted(CORPUS)
    weights = [6 if m.endswith("/Session") else 3 if m.endswith("/Segment") else 1 for m in methods]

    def calls() -> Iterator[tuple[str, list[bytes]]]:
        sent = 0
        while sent < count:
            method = rng.choices(methods, weights)[0]
            messages = conversation(method, rng)
            sent += len(messages)
            yield method, messages

    with grpc.insecure_channel(server.address) as channel, ThreadPoolExecutor(6) as pool:
        return Counter(pool.map(lambda call: code_of(channel, *call), calls()))


def test_damaged_messages_are_the_clients_fault(bundle: Path) -> None:
    with ServerProcess(bundle, metrics_port=0) as server:
        codes = send_all(server, MESSAGES)
        assert codes[grpc.StatusCode.OK] > MESSAGES / 50  # many are sound enough to be answered
        assert codes[grpc.StatusCode.INVALID_ARGUMENT] > MESSAGES / 10
        faults = {"UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "CANCELLED"}
        assert not faults & {code.name for code in codes}, codes
        with RawStream(server.address) as raw:
            raw.ask(OPEN)
            assert raw.ask(click=CLICK).num_clicks == 1
        server.terminate()
        assert server.join() == 0
        log = "\n".join(server.errors)
        assert "Traceback" not in log, log
        assert 1 <= log.count("is not one of the contract") <= 5  # a line per host and minute


def test_the_admin_service_refuses_nonsense(bundle: Path) -> None:
    with (
        ServerProcess(bundle, admin_address="127.0.0.1:0") as server,
        grpc.insecure_channel(server.line("admin").split()[1]) as channel,
    ):
        reload = channel.stream_stream("/clickcut.v1.Admin/ReloadModels")
        with pytest.raises(grpc.RpcError) as refused:
            next(reload(iter([b"\xff\xff"]), timeout=DEADLINE))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        reply = next(reload(iter([b""]), timeout=DEADLINE))
        assert admin_pb2.ReloadModelsReply.FromString(reply).models
        assert not any("Traceback" in line for line in server.errors)


def test_bytes_that_are_not_grpc(bundle: Path) -> None:
    nonsense = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400),  # begins as TLS does
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 600,
        random.Random(2).randbytes(5000),
    ]
    with ServerProcess(bundle) as server:
        for data in nonsense * 5:
            with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
                connection.sendall(data)
        with RawStream(server.address) as raw:
            raw.ask(OPEN)
            assert raw.ask(click=CLICK).num_clicks == 1
        server.terminate()
        assert server.join() == 0
        assert not any("Traceback" in line for line in server.errors)
