"""A server from start to stop: what can go wrong at start, health, expiry, limits, draining."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import onnx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from server.harness import (
    DEADLINE,
    Clock,
    Gate,
    RawStream,
    ServerProcess,
    gauge,
    image_file,
    metadata,
    server_environment,
    wait_until,
    write_bundle,
)

from clickcut.client import Client
from clickcut.images import digest_of
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

pytestmark = pytest.mark.slow

NAME = "clickcut.v1.Clickcut"
FREE = "127.0.0.1:0"
Status = health_pb2.HealthCheckResponse
OPEN = pb.SessionRequest(open=pb.Open(image=image_file()))
CLICK = pb.SessionRequest(click=pb.Click(x=80, y=60))


@contextlib.contextmanager
def channel_to(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def health_of(channel: grpc.Channel, service: str = NAME) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE).status)


# ---- start


def run_serve(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clickcut.cli", "serve", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=server_environment() | environment,
        check=False,
    )


def foreign(path: Path) -> Path:
    model = onnx.load(write_bundle(path))
    del model.metadata_props[:]
    onnx.save(model, path)
    return path


def incomplete(path: Path) -> Path:
    model = onnx.load(write_bundle(path))
    lacking = metadata("toy")
    del lacking["channels"]
    model.metadata_props[0].value = json.dumps(lacking)
    onnx.save(model, path)
    return path


def corrupt(path: Path) -> Path:
    data = bytearray(write_bundle(path).read_bytes())
    data[: len(data) // 2] = b"\0" * (len(data) // 2)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (foreign, "not a clickcut bundle"),
        (incomplete, "channels"),
        (corrupt, "not a model that can be loaded"),
        (lambda path: path, "no such file"),
    ],
    ids=["foreign", "incomplete", "corrupt", "missing"],
)
def test_a_bad_bundle_at_start(tmp_path: Path, make: object, words: str) -> None:
    path = make(tmp_path / "model.onnx")  # type: ignore[operator]
    ended = run_serve("--model", path, "--address", FREE)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert str(path) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--address", "localhost:99999"), "--address"),
        (("--address", "50051"), "HOST:PORT"),
        (("--workers", "many"), "--workers"),
        (("--cut-solver", "magic"), "--cut-solver"),
        (("--tls-cert", "x.pem"), "--tls-key"),
    ],
)
def test_a_bad_setting_is_named(bundle: Path, flags: tuple[str, ...], words: str) -> None:
    ended = run_serve("--model", bundle, *flags)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--store sqlite:s.db --store-mib 8", "--store-session-mib 16 is more than --store-mib 8"),
        ("--store sqlite:s.db --store-session-mib 64 --store-mib 32", "--store-mib 32"),
        ("--store sqlite:s.db --store-image-mib 64", "--max-image-mib 128"),
        ("--store sqlite:s.db --store-seconds 900", "--idle-seconds 1800"),
        ("--store sqlite:s.db --store-seconds 60 --idle-seconds 60", "--resume-seconds 600"),
        ("--max-sessions 10 --max-sessions-per-host 11", "--max-sessions 10"),
        ("--queue-seconds 70", "--request-seconds 60"),
        ("--upload-memory-mib 16 --max-message-mib 32", "--upload-memory-mib 16"),
        ("--memory-mib 1000 --image-memory-mib 500 --session-memory-mib 501", "1001 together"),
        ("--memory-mib 1000 --upload-memory-mib 501", "1002 together"),
        ("--max-image-megapixels 50 --image-memory-mib 100", "--image-memory-mib 100"),
        ("--health-address 127.0.0.1:50051", "--health-address and --address"),
        ("--metrics-port 50052 --admin-address 127.0.0.1:50052", "--metrics-port and --admin"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: str, words: str) -> None:
    ended = run_serve("--model", "missing.onnx", *flags.split())
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("clickcut serve: ")
    assert words in line


def test_settings_come_from_the_environment(bundle: Path) -> None:
    ended = run_serve("--address", FREE, CLICKCUT_MODEL=str(bundle), CLICKCUT_WORKERS="none")
    assert ended.returncode == 2
    assert "--workers" in ended.stderr


def test_a_port_in_use(bundle: Path, server: ServerProcess) -> None:
    ended = run_serve("--model", bundle, "--address", server.address)
    assert ended.returncode == 2
    assert "another server" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_model_twice(bundle: Path) -> None:
    ended = run_serve("--model", bundle, "--model", bundle, "--address", FREE)
    assert ended.returncode == 2
    assert "two models" in ended.stderr


def test_it_says_what_it_serves(server: ServerProcess) -> None:
    said = {line.split()[0] for line in server.lines}
    assert {"address", "model", "compute", "cut", "sessions", "images", "serving"} <= said
    assert server.line("address").split()[1].startswith("127.0.0.1:")  # loopback by default


def test_two_models_and_the_other_solver(bundle: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other.onnx", "other")
    with ServerProcess(other, cut_solver="pymaxflow") as first, Client(first.address) as client:
        one = client.segment(image_file(), [(80, 60)])
        assert [m.name for m in client.models()] == ["other"]
    words = ["--model", str(bundle)]
    with (
        ServerProcess(other, prelude=f"import sys; sys.argv += {words}") as second,
        Client(second.address) as client,
    ):
        assert [m.name for m in client.models()] == ["other", "toy"]
        session = client.open(image_file(), model="toy")
        assert session.model == "toy"
        assert (session.click(80, 60) == one).all()  # same weights, same minimum


# ---- health and reflection


def test_health_says_serving_only_when_warm(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.close()
    with (
        ServerProcess(bundle, wait=False, prelude=gate.prelude) as server,
        channel_to(server) as channel,
        RawStream(server.address) as raw,
    ):
        gate.wait()
        assert health_of(channel) == health_of(channel, "") == Status.NOT_SERVING
        raw.send(OPEN)
        end = raw.status()
        assert end.code() == grpc.StatusCode.UNAVAILABLE
        assert "warming up" in end.details()
        request = health_pb2.HealthCheckRequest(service=NAME)
        watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=DEADLINE)
        assert next(watch).status == Status.NOT_SERVING
        gate.open()
        assert next(watch).status == Status.SERVING
        watch.cancel()
        with RawStream(server.address) as second:
            assert second.ask(OPEN).session_id


def test_told_to_stop_while_warming_up(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.close()
    with ServerProcess(bundle, wait=False, prelude=gate.prelude) as server:
        gate.wait()
        server.terminate()
        assert server.join() == 0
        assert "serving" not in server.lines


def test_reflection_lists_the_services(server: ServerProcess) -> None:
    with channel_to(server) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asking = reflection_pb2.ServerReflectionRequest(list_services="")
        reply = next(stub.ServerReflectionInfo(iter([asking]), timeout=DEADLINE))
        names = {service.name for service in reply.list_services_response.service}
        assert {NAME, "grpc.health.v1.Health"} <= names
        asking = reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME)
        reply = next(stub.ServerReflectionInfo(iter([asking]), timeout=DEADLINE))
        assert reply.file_descriptor_response.file_descriptor_proto


# ---- stop


def test_sigterm_lets_a_running_request_finish(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with ServerProcess(bundle, prelude=gate.prelude, drain_seconds=0) as server:
        with RawStream(server.address) as raw:
            raw.ask(OPEN)
            gate.close()
            raw.send(CLICK)
            gate.wait()
            server.terminate()
            server.wait_for("draining")
            gate.open()
            assert raw.receive().num_clicks == 1
            end = raw.status()
            assert end.code() == grpc.StatusCode.UNAVAILABLE
            assert "shutting down" in end.details()
        assert server.join() == 0


def test_draining_refuses_new_sessions_and_keeps_open_ones(bundle: Path) -> None:
    with ServerProcess(bundle, drain_seconds=DEADLINE) as server:
        with RawStream(server.address) as raw, channel_to(server) as channel:
            raw.ask(OPEN)
            server.terminate()
            server.wait_for("draining")
            assert health_of(channel) == Status.NOT_SERVING
            with RawStream(server.address) as second:
                second.send(OPEN)
                assert second.status().code() == grpc.StatusCode.UNAVAILABLE
            assert raw.ask(CLICK).num_clicks == 1
            raw.ask(close=pb.Close())
        assert server.join() == 0  # long before the time is up


def test_told_twice_it_stops_at_once(bundle: Path) -> None:
    with (
        ServerProcess(bundle, drain_seconds=10 * DEADLINE) as server,
        RawStream(server.address) as raw,
    ):
        raw.ask(OPEN)
        server.terminate()
        server.wait_for("draining")
        server.terminate()
        assert server.join() == 0


def test_work_that_does_not_end_is_cut_off(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    flags = {"prelude": gate.prelude, "drain_seconds": 0.2, "stop_seconds": 0.2}
    with ServerProcess(bundle, **flags) as server:  # type: ignore[arg-type]
        with RawStream(server.address) as raw:
            raw.ask(OPEN)
            gate.close()
            raw.send(CLICK)
            gate.wait()
            server.terminate()
            assert server.join() == 0  # the gate stays closed
        assert "stopped" in server.lines
        assert any("cut off a request of ipv4:127.0.0.1" in line for line in server.errors)
        assert not any("Traceback" in line for line in server.errors), "\n".join(server.errors)


# ---- expiry and limits


def test_an_unused_session_is_dropped_and_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    flags = {"idle_seconds": 0.4, "metrics_port": 0, "prelude": clock.prelude}
    with ServerProcess(bundle, **flags) as server:  # type: ignore[arg-type]
        with RawStream(server.address) as raw:
            session_id = raw.ask(OPEN).session_id
            raw.ask(CLICK)
            assert gauge(server, "clickcut_session_bytes") > 0
            clock.advance(0.5)
            end = raw.status()  # comes by itself
            assert end.code() == grpc.StatusCode.NOT_FOUND
            assert "0.4 s" in end.details()
        assert gauge(server, "clickcut_sessions") == 0
        assert gauge(server, "clickcut_session_bytes") == 0
        with RawStream(server.address) as raw:
            raw.send(pb.SessionRequest(open=pb.Open(session_id=session_id)))
            assert raw.status().code() == grpc.StatusCode.NOT_FOUND


def test_showing_keeps_a_session_alive(bundle: Path, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    with (
        ServerProcess(bundle, idle_seconds=1.0, prelude=clock.prelude) as server,
        RawStream(server.address) as raw,
    ):
        raw.ask(OPEN)
        for _ in range(3):
            with RawStream(server.address) as idle:
                idle.ask(OPEN)
                for _ in range(2):
                    clock.advance(0.6)
                    assert not raw.ask(show=pb.Show()).HasField("error")
                assert idle.status().code() == grpc.StatusCode.NOT_FOUND  # the server has looked
        assert raw.ask(CLICK).num_clicks == 1


def test_a_client_that_vanishes_does_not_leak(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    flags = {"resume_seconds": 0.5, "metrics_port": 0, "prelude": gate.prelude}
    with ServerProcess(bundle, **flags) as server:  # type: ignore[arg-type]
        code = (
            "from clickcut.client import Client; import sys\n"
            f"s = Client({server.address!r}).open(sys.stdin.buffer.read())\n"
            "print(s.id, flush=True); s.click(80, 60)"
        )
        gate.close()
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(image_file())
            client.stdin.close()
            assert client.stdout.readline().strip()
            gate.wait()  # its click is being computed
            client.kill()
        gate.open()
        for name in ("clickcut_sessions", "clickcut_unfinished", "clickcut_session_bytes"):
            wait_until(lambda name=name: gauge(server, name) == 0, f"{name} is 0 again")
        with RawStream(server.address) as raw:  # and the server is well
            raw.ask(OPEN)
            assert raw.ask(CLICK).num_clicks == 1
        assert not any("Traceback" in line for line in server.errors)


def test_a_killed_client_leaves_a_session_to_resume(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with ServerProcess(bundle, prelude=gate.prelude) as server:
        with RawStream(server.address) as raw:
            session_id = raw.ask(OPEN).session_id
            gate.close()
            raw.send(pb.SessionRequest(sequence=1, click=pb.Click(x=80, y=60)))
            gate.wait()
            raw.call.cancel()  # in the middle of the computation
        with RawStream(server.address) as second:
            second.send(pb.SessionRequest(open=pb.Open(session_id=session_id)))
            gate.open()
            resumed = second.receive()  # after the click, which was finished
            assert (resumed.applied_sequence, resumed.num_clicks) == (1, 1)
            assert resumed.result.area > 0


def test_sessions_at_capacity(bundle: Path) -> None:
    with ServerProcess(bundle, max_sessions=2) as server, contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(RawStream(server.address)) for _ in range(3))
        first.ask(OPEN)
        second.ask(OPEN)
        third.send(OPEN)
        end = third.status()
        assert end.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--max-sessions" in end.details()
        first.ask(close=pb.Close())
        fourth = stack.enter_context(RawStream(server.address))
        assert fourth.ask(OPEN).session_id
        assert second.ask(CLICK).num_clicks == 1


def test_sessions_fill_their_memory(bundle: Path) -> None:
    large = pb.SessionRequest(open=pb.Open(image=image_file(900, 700)))
    with (
        ServerProcess(bundle, session_memory_mib=1) as server,
        RawStream(server.address) as first,
        RawStream(server.address) as second,
    ):
        assert 2**19 < first.ask(large).memory_bytes < 2**20
        second.send(large)
        end = second.status()
        assert end.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--session-memory-mib" in end.details()
        assert first.ask(CLICK).num_clicks == 1


def test_images_not_in_use_give_way_and_others_do_not(bundle: Path) -> None:
    files = [image_file(500, 500, seed) for seed in range(20)]  # 0.75 MB each, 5 MB in use
    with (
        ServerProcess(
            bundle, image_memory_mib=12, max_image_megapixels=1, metrics_port=0
        ) as server,
        channel_to(server) as channel,
        RawStream(server.address) as raw,
    ):
        raw.ask(open=pb.Open(image=files[0]))
        upload = clickcut_pb2_grpc.ClickcutStub(channel).UploadImage
        for data in files[1:]:
            upload(iter([pb.UploadImageRequest(chunk=data)]), timeout=DEADLINE)
            assert gauge(server, "clickcut_image_bytes") <= 12 * 2**20
        asking = pb.UploadImageRequest(digest=digest_of(files[0]))
        assert upload(iter([asking]), timeout=DEADLINE).already_known  # in use
        with RawStream(server.address) as second, RawStream(server.address) as third:
            second.ask(open=pb.Open(image=files[1]))
            third.send(pb.SessionRequest(open=pb.Open(image=files[2])))
            end = third.status()
            assert end.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "--image-memory-mib" in end.details()
            assert raw.ask(CLICK).num_clicks == 1


# ---- TLS and metrics


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_tls(bundle: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    with ServerProcess(bundle, tls_key=key, tls_cert=certificate) as server:
        assert "(TLS)" in server.line("address")
        trust = grpc.ssl_channel_credentials(certificate.read_bytes())
        with Client(server.address, credentials=trust) as client:
            assert client.models()[0].name == "toy"
            for _ in range(5):  # without TLS
                with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as plain:
                    plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                    with contextlib.suppress(ConnectionResetError):
                        while plain.recv(4096):
                            pass  # until the server ends it
            assert client.models()
        assert not server.errors


def test_a_bad_certificate(bundle: Path, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    ended = run_serve("--model", bundle, "--tls-key", nonsense, "--tls-cert", nonsense)
    assert ended.returncode == 2
    assert "certificate" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_key_of_another_certificate(bundle: Path, tmp_path: Path) -> None:
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    for name in ("one", "two"):
        files = ["-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"]
        subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    ended = run_serve(
        "--model", bundle, "--tls-key", tmp_path / "two.key", "--tls-cert", tmp_path / "one.pem"
    )
    assert ended.returncode == 2
    assert "one.pem" in ended.stderr
    assert "two.key" in ended.stderr
    assert "belong together" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_metrics_port_in_use(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_serve("--model", bundle, "--address", FREE, "--metrics-port", port)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "--metrics-port" in ended.stderr


def threads_of(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_silent_connections_to_the_metrics(bundle: Path) -> None:
    with ServerProcess(bundle, metrics_port=0) as server, contextlib.ExitStack() as stack:
        port = int(server.line("metrics").split()[1].split("/")[2].rpartition(":")[2])
        gauge(server, "clickcut_sessions")
        before = threads_of(server)
        for k in range(200):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
            silent.sendall(b"GET / HTTP/1.1\r\n"[: k % 8])
        assert gauge(server, "clickcut_sessions") == 0
        assert threads_of(server) < before + 20
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as other:
            other.sendall(b"POST / HTTP/1.1\r\n\r\n")
            assert b"405" in other.recv(100)
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as other:
            with contextlib.suppress(ConnectionError):  # answered before all was sent
                other.sendall(b"x" * 100_000)
            assert b"400" in other.recv(100)
        assert not any("Traceback" in line for line in server.errors)


def test_metrics_count(bundle: Path) -> None:
    with ServerProcess(bundle, metrics_port=0) as server, RawStream(server.address) as raw:
        raw.ask(OPEN)
        raw.ask(CLICK)
        raw.ask(click=pb.Click(x=-99))
        assert gauge(server, 'clickcut_requests_total{kind="click"}') == 1
        assert gauge(server, 'clickcut_errors_total{error="EventError"}') == 1
        assert gauge(server, 'clickcut_stage_seconds_count{stage="network"}') == 1
        assert gauge(server, "clickcut_sessions") == 1
        assert gauge(server, "clickcut_images") == 1
