"""TLS of the server: client certificates, reload, the admin service, metrics."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError
from server.authority import Authority, Pair
from server.harness import DEADLINE, ServerProcess, image_file, server_environment, wait_until

from clickcut.client import Client, UnreachableError
from clickcut.client.channel import tls_credentials
from clickcut.errors import EventError
from clickcut.server.certificates import CertificateError, Certificates, check_pair
from clickcut.server.settings import Settings
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

IMAGE = image_file()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


# ---- the files


def test_a_certificate_is_checked(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    check_pair(*pair)
    other = authority.issue("other")
    expired = authority.issue("expired", days=-1)
    early = authority.issue("early", days=9, begins=5)
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for cert, key, words in (
        (pair.cert, other.key, "belong together"),
        (nonsense, nonsense, "must be PEM"),
        (tmp_path / "missing", pair.key, "No such file"),
        (expired.cert, expired.key, "expired.pem has expired"),
        (early.cert, early.key, "early.pem is not valid yet"),
    ):
        with pytest.raises(CertificateError, match=words) as caught:
            check_pair(cert, key)
        assert str(cert) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_a_chain_and_a_certificate_of_no_authority(authority: Authority, pair: Pair) -> None:
    chain = pair.cert.with_name("chain.pem")
    chain.write_bytes(pair.cert.read_bytes() + authority.path.read_bytes())
    check_pair(chain, pair.key)


def test_authorities_are_checked(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    expired = Authority(tmp_path, "old", days=-1)
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    Certificates(*pair, authority.path)
    for path, words in (
        (expired.path, "have expired"),
        (nonsense, "no CA certificate"),
        (pair.cert, "no certificate of an authority"),
    ):
        with pytest.raises(CertificateError, match=words) as caught:
            Certificates(*pair, path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tls_cert": "cert"}, "both --tls-cert and --tls-key"),
        ({"tls_client_ca": "ca"}, "--tls-client-ca needs TLS"),
        ({"metrics_tls": True, "metrics_port": 0}, "--metrics-tls needs --tls-cert"),
        ({"metrics_tls": True, "tls_cert": "cert", "tls_key": "key"}, "needs --metrics-port"),
        ({"admin_client_ca": "ca"}, "needs an --admin-address"),
        ({"admin_client_ca": "ca", "admin_address": "unix:x"}, "HOST:PORT"),
        ({"admin_client_ca": "ca", "admin_address": "127.0.0.1:0"}, "needs --tls-cert"),
        ({"admin_address": "0.0.0.0:0", "tls_cert": "cert", "tls_key": "key"}, "admin-client-ca"),
        ({"tls_cert": "cert", "tls_key": "key", "tls_client_ca": "no"}, "no: no such file"),
    ],
)
def test_settings_that_do_not_belong_together(
    authority: Authority, pair: Pair, given: dict[str, Any], words: str
) -> None:
    files = {"cert": pair.cert, "key": pair.key, "ca": authority.path}
    with pytest.raises(ValidationError, match=words):
        Settings(**{k: files.get(v, v) for k, v in given.items()})


def test_client_certificates_are_checked(authority: Authority, pair: Pair) -> None:
    client, other = authority.issue("client"), authority.issue("other")
    assert tls_credentials() is None
    assert tls_credentials(ca=authority.path, cert=client.cert, key=client.key)
    with pytest.raises(EventError, match="both --cert and --key"):
        tls_credentials(cert=client.cert)
    with pytest.raises(EventError, match="belong together"):
        tls_credentials(cert=client.cert, key=other.key)
    with pytest.raises(EventError, match="cannot be read"):
        tls_credentials(cert=client.cert, key=Path("missing"))


# ---- a server


@pytest.mark.slow
def test_a_certificate_that_has_expired_ends_the_start(bundle: Path, authority: Authority) -> None:
    cert, key = authority.issue("expired", days=-1)
    words = "serve", "--model", bundle, "--address", "127.0.0.1:0"
    ended = run(*words, "--tls-cert", cert, "--tls-key", key)
    assert ended.returncode == 2
    assert "has expired" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


@pytest.mark.slow
def test_clients_need_a_certificate(
    bundle: Path, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    ours = authority.issue("client")
    stranger = Authority(tmp_path, "stranger").issue("client")
    photo = tmp_path / "photo.png"
    photo.write_bytes(IMAGE)
    with ServerProcess(
        bundle,
        tls_cert=pair.cert,
        tls_key=pair.key,
        tls_client_ca=authority.path,
        health_address="127.0.0.1:0",
    ) as server:
        assert is_serving(server.line("health").split()[1])  # probes have no certificate
        assert "(mTLS)" in server.line("address")
        trusted = tls_credentials(ca=authority.path, cert=ours.cert, key=ours.key)
        with (
            Client(server.address, credentials=trusted) as client,
            client.open(IMAGE) as session,
        ):
            assert session.click(80, 60).any()
        for cert, key in ((None, None), stranger):
            refused = tls_credentials(ca=authority.path, cert=cert, key=key)
            with (
                Client(server.address, credentials=refused, retry_seconds=0) as client,
                pytest.raises(UnreachableError, match="client certificate"),
            ):
                client.models()
        to_it = ("--server", server.address, "--ca", authority.path)
        with_certificate = (*to_it, "--cert", ours.cert, "--key", ours.key)
        assert "toy" in run("models", "list", *with_certificate).stdout
        mask = tmp_path / "mask.png"
        run("segment", photo, "--click", "80,60", "--out", mask, *with_certificate)
        assert mask.is_file()


def is_serving(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service="clickcut.v1.Clickcut")
        reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE)
        stub = clickcut_pb2_grpc.ClickcutStub(channel)
        with pytest.raises(grpc.RpcError) as caught:  # and nothing else is there
            stub.ListModels(pb.ListModelsRequest(), timeout=DEADLINE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clickcut", *map(str, words)],
        capture_output=True,
        text=True,
        env=server_environment(),
        timeout=4 * DEADLINE,
        check=False,
    )


def serial_at(address: str, context: ssl.SSLContext) -> str:
    """The serial number of the certificate that a new connection is shown."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        found = secure.getpeercert()
    assert found is not None
    return str(found["serialNumber"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGHUP", "files"])
def test_certificates_are_reloaded(
    bundle: Path, authority: Authority, tmp_path: Path, how: str
) -> None:
    live = Pair(tmp_path / "live.pem", tmp_path / "live.key")

    def install(pair: Pair) -> None:
        for source, target in zip(pair, live, strict=True):
            partial = target.with_suffix(".partial")
            shutil.copy(source, partial)
            partial.replace(target)

    install(authority.issue("first"))
    context = ssl.create_default_context(cafile=authority.path)
    with ServerProcess(
        bundle, tls_cert=live.cert, tls_key=live.key, metrics_port=0, metrics_tls=True
    ) as server:
        url = server.line("metrics").split()[1]
        assert url.startswith("https://")
        with urllib.request.urlopen(url, timeout=DEADLINE, context=context) as answer:
            assert b"clickcut_sessions" in answer.read()
        with pytest.raises(OSError, match=r"."):
            urllib.request.urlopen(url.replace("https", "http"), timeout=DEADLINE)
        metrics = url.split("/")[2]
        trusted = grpc.ssl_channel_credentials(authority.path.read_bytes())
        with (
            Client(server.address, credentials=trusted) as client,
            client.open(IMAGE) as session,
        ):
            session.click(80, 60)

            def reload(words: str, pair: Pair | None = None) -> None:
                before = len(server.errors)
                if pair is not None:
                    install(pair)
                if how == "SIGHUP":
                    server.hang_up()
                wait_until(lambda: any(words in text for text in server.errors[before:]), words)

            shown = serial_at(server.address, context)
            reload("the old ones remain in use", authority.issue("late", days=-1))
            assert serial_at(server.address, context) == shown
            assert serial_at(metrics, context) == shown
            reload("certificates reloaded", authority.issue("second"))
            assert serial_at(server.address, context) != shown
            assert serial_at(metrics, context) == serial_at(server.address, context)
            session_id = session.id
            assert session.click(20, 20, positive=False) is not None
            assert session.id == session_id
            assert not any("Traceback" in text for text in server.errors), server.errors


@pytest.mark.slow
def test_the_admin_service_with_certificates(
    bundle: Path, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    """It may be reached from elsewhere, by those whom its own authority knows."""
    operators = Authority(tmp_path, "operators")
    operator, annotator = operators.issue("operator"), authority.issue("annotator")
    with ServerProcess(
        bundle,
        tls_cert=pair.cert,
        tls_key=pair.key,
        tls_client_ca=authority.path,
        admin_address="0.0.0.0:0",
        admin_client_ca=operators.path,
    ) as server:
        port = server.line("admin").rpartition(":")[2]
        to_it = ("models", "reload", f"127.0.0.1:{port}", "--ca", authority.path)
        done = run(*to_it, "--cert", operator.cert, "--key", operator.key)
        assert done.returncode == 0, done.stderr
        assert "kept" in done.stdout
        for words in ((), ("--cert", annotator.cert, "--key", annotator.key)):
            refused = run(*to_it, *words)
            assert refused.returncode == 2
            assert "client certificate" in refused.stderr
