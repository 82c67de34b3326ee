"""Thousands of damaged messages to every RPC: refused as the client's fault, and nothing more."""

from __future__ import annotations

import json
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from server.fault_run import FaultRun
from server.harness import DEADLINE, RawStream, ServerProcess, encode, image_file

from clickcut.images import digest_of
from clickcut.v1 import admin_pb2
from clickcut.v1 import clickcut_pb2 as pb

pytestmark = pytest.mark.slow

FEW, MANY = 10_000, 100_000
IMAGE = image_file(40, 30)
CLICK = pb.Click(x=20, y=15)
OUTPUT = pb.Output(
    mask=pb.Output.MASK_FORMAT_PNG,
    changed_only=True,
    polygons=True,
    polygon_tolerance=1,
    valid_polygons=True,
    probability=True,
    clicks=True,
    objects=True,
)
OPEN = pb.SessionRequest(open=pb.Open(image=IMAGE, output=OUTPUT))
RLE = pb.InitialMask(rle=pb.Rle(height=30, width=40, counts=b"`]1"))
WINDOW = pb.Window(low=10, high=200)
PARAMETERS = pb.Parameters(cut_lambda=1, cut_sigma=2, seed_radius=3, cut=True, threshold=0.4)

SESSION = [
    OPEN,
    pb.SessionRequest(open=pb.Open(image_digest=digest_of(IMAGE), model="toy@1")),
    pb.SessionRequest(open=pb.Open(session_id="x" * 24)),
    pb.SessionRequest(sequence=1, click=CLICK, output=OUTPUT),
    pb.SessionRequest(stroke=pb.Stroke(coordinates=[1, 2, 30, 20, 5, 7])),
    pb.SessionRequest(initial_mask=RLE),
    pb.SessionRequest(initial_mask=pb.InitialMask(png=encode(np.eye(30, 40, dtype=np.uint8)))),
    pb.SessionRequest(box=pb.Box(x0=3, y0=4, x1=30, y1=20)),
    pb.SessionRequest(move_click=pb.MoveClick(index=0, x=9, y=9)),
    pb.SessionRequest(remove_click=pb.RemoveClick(index=0)),
    pb.SessionRequest(edit_object=pb.EditObject(index=0, exclude_finished=True)),
    pb.SessionRequest(next_object=pb.NextObject(exclude_finished=True)),
    pb.SessionRequest(set_parameters=pb.SetParameters(parameters=PARAMETERS)),
    pb.SessionRequest(undo=pb.Undo()),
    pb.SessionRequest(redo=pb.Redo()),
    pb.SessionRequest(reset=pb.Reset()),
    pb.SessionRequest(next_object=pb.NextObject()),
    pb.SessionRequest(show=pb.Show(), output=OUTPUT),
    pb.SessionRequest(close=pb.Close()),
]
ADMIN = "/clickcut.v1.Admin"
CORPUS = {
    "/clickcut.v1.Clickcut/Session": SESSION,
    "/clickcut.v1.Clickcut/Segment": [
        pb.SegmentRequest(
            image=IMAGE, clicks=[CLICK] * 3, parameters=PARAMETERS, initial_mask=RLE, output=OUTPUT
        ),
        pb.SegmentRequest(image=IMAGE, box=pb.Box(x0=3, y0=4, x1=30, y1=20), window=WINDOW),
        pb.SegmentRequest(image_digest=digest_of(IMAGE), clicks=[CLICK], model="toy"),
    ],
    "/clickcut.v1.Clickcut/UploadImage": [
        pb.UploadImageRequest(chunk=IMAGE, digest=digest_of(IMAGE)),
        pb.UploadImageRequest(chunk=IMAGE[:200], window=WINDOW),
    ],
    "/clickcut.v1.Clickcut/ListModels": [pb.ListModelsRequest()],
    f"{ADMIN}/ReloadModels": [admin_pb2.ReloadModelsRequest()],
    "/grpc.health.v1.Health/Watch": [health_pb2.HealthCheckRequest(service="")],
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


Made = tuple[str, list[bytes]]
"""A method, and the messages of a call."""


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
        if method.endswith("/Watch"):  # it goes on until the client ends it
            next(call)
            call.cancel()
            return grpc.StatusCode.OK
        for reply in call:
            if method.endswith("/Session"):
                code = pb.SessionReply.FromString(reply).error.code
                assert code not in (2, 13), pb.SessionReply.FromString(reply).error.message
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


WEIGHTS = {"Session": 60, "Segment": 30, "ReloadModels": 1}
"""Of methods, 10 for those that are not named; a reload takes long."""


def batched(calls: Iterator[Made], size: int) -> Iterator[list[Made]]:
    while batch := list(islice(calls, size)):
        yield batch


def send_all(server: ServerProcess, count: int, seed: int) -> Counter[grpc.StatusCode]:
    """Send at least `count` messages, several calls at once; how the calls ended."""
    rng = random.Random(seed)
    methods = sorted(CORPUS)
    weights = [WEIGHTS.get(m.rpartition("/")[2], 10) for m in methods]

    def calls() -> Iterator[Made]:
        sent = 0
        while sent < count:
            method = rng.choices(methods, weights)[0]
            messages = conversation(method, rng)
            sent += len(messages)
            yield method, messages

    admin = server.line("admin").split()[1]
    with (
        grpc.insecure_channel(server.address) as channel,
        grpc.insecure_channel(admin) as beside,
        ThreadPoolExecutor(6) as pool,
    ):

        def call(method: str, messages: list[bytes]) -> grpc.StatusCode:
            return code_of(beside if method.startswith(ADMIN) else channel, method, messages)

        codes: Counter[grpc.StatusCode] = Counter()
        for batch in batched(calls(), 500):  # the pool would take all calls at once
            codes.update(pool.map(lambda made: call(*made), batch))
            if codes.total() % 5000 == 0:
                print(codes.total(), "calls", flush=True)
        return codes


@pytest.mark.timeout(7200)
def test_damaged_messages_are_the_clients_fault(
    bundle: Path, tmp_path: Path, fault_run: FaultRun
) -> None:
    count = -(-MANY // fault_run.parts) if fault_run.is_full else FEW
    began = time.monotonic()
    with ServerProcess(
        bundle, store=f"sqlite:{tmp_path}/s.db", admin_address="127.0.0.1:0", max_sessions=64
    ) as server:
        codes = send_all(server, count, fault_run.seed)
        taken = {"messages": count, "seed": fault_run.seed, "calls": codes.total()}
        taken |= {"seconds": round(time.monotonic() - began)}
        print(json.dumps(taken | {code.name: number for code, number in codes.items()}))
        assert codes[grpc.StatusCode.OK] > count / 50  # many are sound enough to be answered
        assert codes[grpc.StatusCode.INVALID_ARGUMENT] > count / 10
        faults = {"UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "CANCELLED"}
        assert not faults & {code.name for code in codes}, codes
        with RawStream(server.address) as raw:
            raw.ask(OPEN)
            assert raw.ask(click=CLICK).num_clicks == 1
        server.terminate()
        assert server.join() == 0
        log = "\n".join(server.errors)
        assert "Traceback" not in log, log
        assert log.count("is not one of the contract") >= 1
        repeated = [line for line in server.errors if "is not one of the contract" in line]
        assert len(repeated) <= 5 + count / 1000  # a line per host and minute


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
