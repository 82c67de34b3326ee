"""Tokens: who may come in, what belongs to whom, what one token may use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError
from server.harness import (
    DEADLINE,
    Gate,
    ServerProcess,
    gauge,
    image_file,
    server_environment,
    wait_until,
)
from store.stores import RedisServer

from clickcut.client import AsyncClient, Client
from clickcut.client.protocol import Limits
from clickcut.errors import AuthenticationError, BusyError, EventError, LimitError
from clickcut.images import digest_of
from clickcut.server.quotas import Quotas, StoreShares
from clickcut.server.settings import Settings
from clickcut.server.token_file import (
    TokenFileError,
    TokenLimits,
    hash_of,
    new_token,
    parse_tokens,
    read_tokens,
)
from clickcut.server.tokens import Tokens
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

IMAGE = image_file()
ALICE, BOB, STRANGER = "alice-secret", "bob-secret", "no-one"
HASH = hash_of(ALICE).hex()


def line(name: str, token: str, limits: str = "") -> str:
    return f"{name} sha256:{hash_of(token).hex()} {limits}"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


# ---- the file


def test_a_file_of_tokens(tmp_path: Path) -> None:
    path = write(
        tmp_path / "tokens",
        "# names",
        "",
        f"alice\tsha256:{HASH},{'sha256:' + hash_of('next').hex()}   # replaced next week",
        line(
            "bob@studio.example", BOB, "sessions=20 requests=4 megapixels-per-minute=0.5 images=7"
        ),
    )
    alice, bob = read_tokens(path)
    assert alice.name == "alice"
    assert alice.hashes == (hash_of(ALICE), hash_of("next"))
    assert alice.limits == TokenLimits()
    assert bob.limits == TokenLimits(20, 7, 4, 0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no token"),
        ("# nothing\n\n", "holds no token"),
        ("alice", "line 1: has no hash"),
        (f"alice {HASH}", "sha256:"),
        (f"alice sha256:{HASH.upper()}", "lower-case"),
        (f"alice sha256:{HASH[:-1]}", "64"),
        (f"alice sha256:{HASH},", "64"),
        (f"alice sha256:{HASH}\nalice sha256:{'0' * 64}", "line 2: the name alice is in line 1"),
        (f"alice sha256:{HASH}\nbob sha256:{HASH}", "line 2: alice has the same token"),
        (f"alice sha256:{HASH},sha256:{HASH}", "alice has the same token"),
        (f"../alice sha256:{HASH}", "a name is"),
        (f"{'a' * 65} sha256:{HASH}", "a name is"),
        (f"al\x1bice sha256:{HASH}", "a name is"),
        (f"alice sha256:{HASH} clicks=3", "unknown limit 'clicks'"),
        (f"alice sha256:{HASH} megapixels_per_minute=3", "unknown limit"),
        (f"alice sha256:{HASH} sessions=0", "above 0"),
        (f"alice sha256:{HASH} sessions=2.5", "whole number"),
        (f"alice sha256:{HASH} sessions", "whole number"),
        (f"alice sha256:{HASH} megapixels-per-minute=nan", "above 0"),
        (f"alice sha256:{HASH} megapixels-per-minute=inf", "at most"),
        (f"alice sha256:{HASH} images=1 images=2", "images is given twice"),
        (
            "\n".join(f"n{k} sha256:{k:064x}" for k in range(1001)),
            "1001 tokens, more than 1000",
        ),
    ],
)
def test_what_is_no_token_file(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / "tokens", text)
    with pytest.raises(TokenFileError, match=words) as caught:
        read_tokens(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("mode", "fine"), [(0o600, True), (0o640, True), (0o644, False), (0o602, False)]
)
def test_a_file_that_everybody_may_read(tmp_path: Path, mode: int, fine: bool) -> None:
    path = write(tmp_path / "tokens", line("alice", ALICE))
    path.chmod(mode)
    if fine:
        assert read_tokens(path)
        return
    with pytest.raises(TokenFileError, match="chmod 600"):
        read_tokens(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="No such file"):
        read_tokens(tmp_path / "missing")
    with pytest.raises(TokenFileError, match=r"regular file|directory"):
        read_tokens(tmp_path)
    latin = tmp_path / "latin"
    latin.write_bytes("jürgen".encode("latin-1"))
    latin.chmod(0o600)
    with pytest.raises(TokenFileError, match=r"not UTF-8 \(byte 1\)"):
        read_tokens(latin)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(TokenFileError, match="regular file"):
        read_tokens(tmp_path / "pipe")
    large = tmp_path / "large"
    large.write_bytes(b"#" * (2**20 + 1))
    large.chmod(0o600)
    with pytest.raises(TokenFileError, match="larger than"):
        read_tokens(large)


def test_a_new_token_fits_its_line() -> None:
    token, text = new_token("alice")
    (made,) = parse_tokens(text, "here")
    assert made.hashes == (hash_of(token),)
    assert token not in text
    assert new_token("alice")[0] != token
    with pytest.raises(TokenFileError, match="a name is"):
        new_token("al ice")


# ---- who calls


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ([("authorization", f"Bearer {ALICE}")], "alice"),
        ([("user-agent", "x"), ("authorization", f"bearer  {BOB} ")], "bob"),
        ([("authorization", "Bearer next")], "alice"),
        ([], None),
        (None, None),
        ([("authorization", f"Bearer {STRANGER}")], None),
        ([("authorization", ALICE)], None),
        ([("authorization", f"Basic {ALICE}")], None),
        ([("authorization", "Bearer ")], None),
        ([("authorization", b"Bearer x")], None),
        ([("authorization", "Bearer \udcff\ud800")], None),
        ([("authorization", "Bearer " + "x" * 100_000)], None),
        ([("authorization", f"Bearer {ALICE}"), ("authorization", f"Bearer {BOB}")], None),
    ],
)
def test_whose_call_it_is(metadata: Any, owner: str | None) -> None:
    text = f"{line('alice', ALICE).strip()},sha256:{hash_of('next').hex()}\n{line('bob', BOB)}"
    tokens = Tokens(lambda: parse_tokens(text, "here"))
    if owner is None:
        with pytest.raises(AuthenticationError, match="needs a valid token"):
            tokens.identify(metadata)
        return
    assert tokens.identify(metadata).owner == owner


def test_every_entry_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """No shortcut where one is equal, and none where there is no token."""
    lines = "\n".join(line(f"n{k}", f"secret {k}") for k in range(20))
    tokens = Tokens(lambda: parse_tokens(lines, "here"))
    compared: list[bytes] = []
    real = __import__("hmac").compare_digest
    monkeypatch.setattr(
        "clickcut.server.tokens.hmac.compare_digest",
        lambda a, b: compared.append(a) or real(a, b),
    )
    for token in ("secret 0", "secret 19", "wrong", ""):
        compared.clear()
        with contextlib.suppress(AuthenticationError):
            tokens.identify([("authorization", f"Bearer {token}")] if token else [])
        assert len(compared) == 20, token


def test_without_tokens_all_are_one() -> None:
    tokens = Tokens(None)
    assert not tokens.required
    assert tokens.identify([]).owner == ""
    assert tokens.accepts(tokens.identify(None))


# ---- quotas


def test_requests_at_once() -> None:
    quotas = Quotas(lambda owner: TokenLimits(requests=2 if owner == "alice" else None))
    with contextlib.ExitStack() as open_ones:
        for _ in range(2):
            open_ones.enter_context(quotas.request("alice"))
        with pytest.raises(BusyError, match="2 requests in progress"), quotas.request("alice"):
            pass
        for _ in range(5):
            open_ones.enter_context(quotas.request("bob"))
    with quotas.request("alice"):  # they have been given back
        pass


def test_megapixels_per_minute() -> None:
    clock = [0.0]
    quotas = Quotas(lambda _: TokenLimits(megapixels_per_minute=60.0), lambda: clock[0])
    quotas.take_pixels("alice", 50_000_000)
    quotas.take_pixels("alice", 50_000_000)  # overdraws: 40 more than the minute's 60
    with pytest.raises(BusyError, match="try again in 40 s"):
        quotas.take_pixels("alice", 1)
    quotas.take_pixels("bob", 1)
    clock[0] = 39.0
    with pytest.raises(BusyError, match="try again in 1 s"):
        quotas.take_pixels("alice", 1)
    clock[0] = 41.0
    quotas.take_pixels("alice", 1_000_000)
    clock[0] = 1e6
    quotas.take_pixels("alice", 59_000_000)
    quotas.take_pixels("alice", 2_000_000)  # no more than one minute's is saved up
    with pytest.raises(BusyError):
        quotas.take_pixels("alice", 1)


# ---- the client's side


def test_no_token_over_plain_text_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLICKCUT_TOKEN", raising=False)
    for kind in (Client, AsyncClient):
        kind("engine.example:50051")
        with pytest.raises(EventError, match="plain text") as caught:
            kind("engine.example:50051", token=ALICE)
        assert ALICE not in str(caught.value)
        kind("engine.example:50051", token=ALICE, plaintext_token=True)
        kind("engine.example:50051", token=ALICE, credentials=grpc.ssl_channel_credentials())
        for local in ("localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/run/x.sock"):
            kind(local, token=ALICE)
        with pytest.raises(EventError, match="printable ASCII"):
            kind("localhost:1", token="two words")
        with pytest.raises(EventError, match="printable ASCII"):
            kind("localhost:1", token="line\nbreak")
    monkeypatch.setenv("CLICKCUT_TOKEN", ALICE)
    with pytest.raises(EventError, match="CLICKCUT_TOKEN"):
        Client("engine.example:50051")
    Client("engine.example:50051", token="")


def test_a_token_is_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from clickcut.client.access import Access
    from clickcut.client.channel import Endpoint

    endpoint = Endpoint("localhost:1", token=ALICE)
    assert endpoint.metadata == (("authorization", f"Bearer {ALICE}"),)
    assert ALICE not in repr(endpoint)
    assert ALICE not in repr(Access(token=ALICE))


# ---- a server


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(
        tmp_path_factory.mktemp("tokens") / "tokens", line("alice", ALICE), line("bob", BOB)
    )


@pytest.fixture(scope="module")
def guarded(bundle: Path, token_file: Path) -> Iterator[ServerProcess]:
    with ServerProcess(bundle, tokens=token_file, metrics_port=0) as process:
        yield process


def of(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


class Raw:
    """The methods of the contract, with a token and nothing else of the client."""

    def __init__(self, server: ServerProcess, token: str) -> None:
        self.channel = grpc.insecure_channel(server.address)
        self.stub = clickcut_pb2_grpc.ClickcutStub(self.channel)
        self.metadata = of(token) if token else ()

    def session(self, *requests: pb.SessionRequest) -> tuple[list[pb.SessionReply], grpc.RpcError]:
        """The replies, and how the stream ended."""
        call = self.stub.Session(iter(requests), metadata=self.metadata, timeout=DEADLINE)
        replies = []
        try:
            replies.extend(call)
        except grpc.RpcError as error:
            return replies, error
        return replies, call

    def upload(self, *requests: pb.UploadImageRequest) -> pb.UploadImageReply:
        return self.stub.UploadImage(iter(requests), metadata=self.metadata, timeout=DEADLINE)

    def segment(self, **source: Any) -> pb.SegmentReply:
        request = pb.SegmentRequest(clicks=[pb.Click(x=80, y=60)], **source)
        return self.stub.Segment(request, metadata=self.metadata, timeout=DEADLINE)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


def outcome(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, tuple[Any, ...]]:
    """All that a client is told, but for the id of its request."""
    trailing = tuple((k, v) for k, v in error.trailing_metadata() if k != "x-request-id")
    return error.code(), error.details(), trailing


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", STRANGER, ALICE[:-1], ALICE + "x"])
def test_every_method_asks_for_a_token(guarded: ServerProcess, token: str) -> None:
    with Raw(guarded, token) as raw:
        ends = [raw.session(pb.SessionRequest(open=pb.Open(image=IMAGE)))[1]]
        for call in (
            lambda: raw.segment(image=IMAGE),
            lambda: raw.upload(pb.UploadImageRequest(chunk=IMAGE)),
            lambda: raw.stub.ListModels(
                pb.ListModelsRequest(), metadata=raw.metadata, timeout=DEADLINE
            ),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            ends.append(caught.value)
    assert {outcome(end) for end in ends} == {outcome(ends[0])}
    assert ends[0].code() is grpc.StatusCode.UNAUTHENTICATED
    assert "CLICKCUT_TOKEN" in ends[0].details()


@pytest.mark.slow
def test_health_and_metrics_need_none(guarded: ServerProcess) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        request = health_pb2.HealthCheckRequest()
        reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    wait_until(lambda: gauge(guarded, "clickcut_unfinished") == 0, "nothing is computed")


@pytest.mark.slow
def test_strangers_are_logged_once_and_counted(bundle: Path, token_file: Path) -> None:
    with ServerProcess(bundle, tokens=token_file, metrics_port=0) as server:
        for token in ("", STRANGER, ALICE + "x"):
            with (
                Client(server.address, token=token) as client,
                pytest.raises(AuthenticationError, match="valid token"),
            ):
                client.models()
        assert gauge(server, 'clickcut_refusals_total{reason="token"}') == 3
        server.terminate()
        server.join()
    text = "\n".join(server.errors)
    lines = [line for line in server.errors if "no valid token" in line]
    assert len(lines) == 1, text
    assert "127.0.0.1: /clickcut.v1.Clickcut/ListModels: refused, no valid token" in lines[0]
    assert STRANGER not in text
    assert ALICE not in text


@pytest.mark.slow
def test_the_clients_send_their_token(
    guarded: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(guarded.address, token=ALICE) as client:
        with client.open(IMAGE) as session:
            mask = session.click(80, 60)
        assert (client.segment(IMAGE, [(80, 60)]) == mask).all()
        assert client.upload(IMAGE) == digest_of(IMAGE)
        assert client.models()

    async def async_mask() -> Any:
        async with AsyncClient(guarded.address, token=BOB) as client:
            await client.upload(IMAGE)
            async with await client.open(IMAGE) as session:
                return await session.click(80, 60)

    assert (asyncio.run(async_mask()) == mask).all()
    monkeypatch.setenv("CLICKCUT_TOKEN", f"{ALICE}\n")  # as `$(cat file)` may leave it
    with Client(guarded.address) as client:
        assert client.models()


# ---- what belongs to whom


@pytest.mark.slow
def test_the_session_of_another_token_does_not_exist(guarded: ServerProcess) -> None:
    click = pb.SessionRequest(sequence=1, click=pb.Click(x=80, y=60))
    with Raw(guarded, ALICE) as alice, Raw(guarded, BOB) as bob:
        replies, _ = alice.session(pb.SessionRequest(open=pb.Open(image=IMAGE)), click)
        resume = pb.SessionRequest(open=pb.Open(session_id=replies[0].session_id))
        nothing = pb.SessionRequest(open=pb.Open(session_id="x" * 24))
        told, stolen = bob.session(resume, click)
        assert not told
        assert stolen.code() is grpc.StatusCode.NOT_FOUND
        assert outcome(stolen) == outcome(bob.session(nothing)[1])
        again, ended = alice.session(resume)  # and it was not taken over
        assert ended.code() is grpc.StatusCode.OK
        assert again[0].applied_sequence == 1
        assert again[0].num_clicks == 1


@pytest.mark.slow
def test_an_image_is_known_to_the_token_that_sent_it(guarded: ServerProcess) -> None:
    data = image_file(seed=77)
    digest = digest_of(data)
    named = pb.UploadImageRequest(digest=digest)
    with Raw(guarded, ALICE) as alice, Raw(guarded, BOB) as bob:
        assert not alice.upload(named, pb.UploadImageRequest(chunk=data)).already_known
        assert alice.upload(named).already_known
        for source in ({"image_digest": digest}, {"image_digest": "0" * 64}):
            with pytest.raises(grpc.RpcError) as caught:
                bob.segment(**source)
            text = caught.value.details().replace(digest, "0" * 64)
            assert (caught.value.code(), text) == (
                grpc.StatusCode.NOT_FOUND,
                f"no image with digest {'0' * 64} is held: send the image",
            )
        _, ended = bob.session(pb.SessionRequest(open=pb.Open(image_digest=digest)))
        assert ended.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError) as caught:  # naming it is not sending it
            bob.upload(named)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        images = gauge(guarded, "clickcut_images")
        assert not bob.upload(named, pb.UploadImageRequest(chunk=data)).already_known
        assert gauge(guarded, "clickcut_images") == images + 1  # it was decoded again
        assert bob.upload(named).already_known
        assert bob.segment(image_digest=digest).timings.decode == 0
        data = image_file(seed=78)
        assert alice.segment(image=data).timings.decode > 0
        assert bob.segment(image=data).timings.decode > 0
        assert bob.segment(image=data).timings.decode == 0


# ---- reload


@pytest.mark.slow
def test_tokens_are_reloaded(bundle: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", line("alice", ALICE), line("bob", BOB))
    with (
        ServerProcess(bundle, tokens=path) as server,
        Client(server.address, token=ALICE) as alice,
        Client(server.address, token=BOB) as bob,
    ):
        kept, revoked = alice.open(IMAGE), bob.open(IMAGE)
        kept.click(80, 60)
        revoked.click(80, 60)

        def reload(words: str) -> None:
            before = len(server.errors)
            server.hang_up()
            wait_until(lambda: any(words in text for text in server.errors[before:]), words)

        path.chmod(0o644)
        reload("tokens not reloaded, the old ones remain in use")
        write(path, "# nothing")
        reload("tokens not reloaded, the old ones remain in use")
        assert revoked.click(20, 20, positive=False) is not None
        write(path, line("alice", ALICE), line("carol", "carol-secret"))
        reload("tokens reloaded: 2")
        session_id = kept.id
        kept.click(30, 30, positive=False)
        assert kept.id == session_id  # on the same stream
        with pytest.raises(AuthenticationError):
            revoked.click(30, 30)
        with Client(server.address, token="carol-secret") as carol:
            assert carol.models()
        write(path, line("alice", ALICE), line("bob", BOB))
        reload("tokens reloaded: 2")
        assert revoked.click(30, 30) is not None  # where it was: nothing is lost
        assert revoked.num_clicks == 3

        # Another token under the same name: sessions stay, the old token is no longer let in.
        resume = pb.SessionRequest(open=pb.Open(session_id=session_id))
        write(path, line("alice", "next"))
        reload("tokens reloaded: 1")
        with Raw(server, ALICE) as old, Raw(server, "next") as new:
            assert old.session(resume)[1].code() is grpc.StatusCode.UNAUTHENTICATED
            replies, ended = new.session(resume)
            assert ended.code() is grpc.StatusCode.OK
            assert replies[0].num_clicks == 2


# ---- limits


@pytest.mark.slow
def test_limits_of_a_token(bundle: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "tokens",
        line("alice", ALICE, "sessions=2 images=2 megapixels-per-minute=0.1"),
        line("bob", BOB),
    )
    gate = Gate(tmp_path)
    with (
        ServerProcess(bundle, tokens=path, prelude=gate.prelude, metrics_port=0) as server,
        Client(server.address, token=ALICE) as alice,
        Client(server.address, token=BOB) as bob,
    ):
        with contextlib.ExitStack() as stack:
            images = [image_file(seed=seed) for seed in range(5)]  # 0.0192 megapixels each
            large = image_file(1000, 500, seed=9)
            for data in images[:2]:
                stack.enter_context(alice.open(data))
            with pytest.raises(LimitError, match="2 sessions open"):
                alice.open(images[0])
            with pytest.raises(LimitError, match="2 images in use"):
                alice.upload(images[2])
            for data in images:
                stack.enter_context(bob.open(data))
        for data in images[2:]:  # those that are not in use give way
            alice.upload(data)
        assert gauge(server, "clickcut_images") == 2 + len(images)
        alice.upload(large)  # the sixth: overdraws its minute, and the five after it
        with pytest.raises(BusyError, match="megapixels per minute"):
            alice.upload(image_file(seed=10))
        bob.upload(image_file(seed=10))
        alice.segment(large, [(80, 60)])  # held: nothing is decoded
        assert gauge(server, 'clickcut_refusals_total{reason="sessions of a token"}') >= 1


def repeat(work: Callable[[], object]) -> None:
    """Do something until it is refused, 30 times at most."""
    for _ in range(30):
        work()


def test_the_share_of_the_store() -> None:
    limits = {"alice": TokenLimits(store_mib=0.5, store_image_mib=2.0)}
    settings = Settings(store_mib=100, store_image_mib=40)
    shares = StoreShares(lambda owner: limits.get(owner, TokenLimits()), settings.store_limits)
    assert (shares.sessions("alice"), shares.images("alice")) == (2**19, 2 * 2**20)
    assert (shares.sessions("bob"), shares.images("bob")) == (75 * 2**20, 30 * 2**20)
    assert (shares.sessions(""), shares.images("")) == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_token_cannot_fill_the_store(bundle: Path, tmp_path: Path, kind: str) -> None:
    data = image_file()
    room = 2.5 * len(data) / 2**20
    limits = f"store-mib=0.01 store-image-mib={room:.6f}"
    path = write(tmp_path / "tokens", line("alice", ALICE, limits), line("bob", BOB))
    with contextlib.ExitStack() as stack:
        if kind == "redis":
            store = stack.enter_context(RedisServer(tmp_path)).url
        else:
            store = f"sqlite:{tmp_path}/sessions.db"
        server = stack.enter_context(
            ServerProcess(bundle, tokens=path, store=store, metrics_port=0)
        )
        alice = stack.enter_context(Client(server.address, token=ALICE))
        bob = stack.enter_context(Client(server.address, token=BOB))
        first = stack.enter_context(alice.open(data))
        points = [(x % 160, x % 120) for x in range(100)]
        with pytest.raises(LimitError, match="`store-mib`"):
            repeat(lambda: first.stroke(points))
        assert first.num_clicks > 3
        made = first.num_clicks
        assert len(first.objects()) == 1, "it can still be shown"
        assert first.num_clicks == made
        second_image, third_image = image_file(seed=1), image_file(seed=2)
        with pytest.raises(LimitError, match="`store-mib`"):
            repeat(lambda: stack.enter_context(alice.open(second_image)))
        with pytest.raises(LimitError, match="`store-image-mib`"):
            alice.upload(third_image)
        of_bob = stack.enter_context(bob.open(data))
        of_bob.stroke(points)
        for image in (second_image, third_image):
            stack.enter_context(bob.open(image)).click(80, 60)
        first.close()
        again = stack.enter_context(alice.open(data))
        again.click(80, 60)
        refused = 'clickcut_refusals_total{reason="stored sessions of a token"}'
        assert gauge(server, refused) >= 2


@pytest.mark.slow
def test_requests_of_a_token_at_once(bundle: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", line("alice", ALICE, "requests=1"), line("bob", BOB))
    gate = Gate(tmp_path)
    with (
        ServerProcess(bundle, tokens=path, prelude=gate.prelude) as server,
        Client(server.address, token=ALICE) as alice,
        Client(server.address, token=ALICE, retry_seconds=0.1) as hasty,
        Client(server.address, token=BOB) as bob,
        alice.open(IMAGE) as one,
        alice.open(IMAGE) as other,
        bob.open(IMAGE) as of_bob,
    ):
        gate.close()
        running = threading.Thread(target=one.click, args=(80, 60))
        running.start()
        gate.wait()
        patient = other._conversation._limits
        other._conversation._limits = Limits(timeout=DEADLINE, retry_seconds=0.1)
        with pytest.raises(BusyError, match="1 requests in progress"):
            other.click(80, 60)
        other._conversation._limits = patient
        with pytest.raises(BusyError, match="1 requests in progress"):
            hasty.upload(image_file(seed=3))
        waiting = threading.Thread(target=of_bob.click, args=(80, 60))
        waiting.start()
        gate.open()
        running.join(DEADLINE)
        waiting.join(DEADLINE)
        assert one.num_clicks == 1
        assert of_bob.num_clicks == 1
        assert other.click(80, 60) is not None


# ---- settings and commands


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clickcut", *map(str, words)],
        capture_output=True,
        text=True,
        env=server_environment() | environment,
        timeout=4 * DEADLINE,
        check=False,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tokens": "missing"}, "missing: cannot be read"),
        ({"tokens": "open"}, "chmod 600"),
        ({"tokens": "empty"}, "holds no token"),
        ({"token_lines": "alice 123"}, "--token-lines, line 1: a hash is"),
        ({"token_lines": f"a sha256:{HASH};a sha256:{'0' * 64}"}, "line 2: the name a"),
        ({"token_lines": ""}, "holds no token"),
        ({"tokens": "fine", "token_lines": "x"}, "not both"),
        ({"tokens": "fine", "address": "0.0.0.0:0"}, "--plaintext-tokens"),
        ({"plaintext_tokens": True}, "no effect"),
    ],
)
def test_bad_settings_of_tokens(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    write(tmp_path / "fine", line("alice", ALICE))
    write(tmp_path / "open", line("alice", ALICE)).chmod(0o644)
    write(tmp_path / "empty", "")
    if "tokens" in given:
        given = given | {"tokens": tmp_path / given["tokens"]}
    with pytest.raises((ValidationError, TokenFileError), match=words):
        Tokens.of(Settings(**given))


def test_tokens_where_they_are_safe(tmp_path: Path) -> None:
    tokens = write(tmp_path / "fine", line("alice", ALICE))
    for address in ("127.0.0.1:0", "localhost:0", "[::1]:0"):
        assert len(Tokens.of(Settings(tokens=tokens, address=address))) == 1
    assert Settings(tokens=tokens, address="0.0.0.0:0", plaintext_tokens=True)


@pytest.mark.slow
def test_a_bad_token_file_at_start(bundle: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", line("alice", ALICE))
    path.chmod(0o644)
    for words in (("--tokens", path), ("--tokens", path, "--token-lines", "x")):
        ended = run("serve", "--model", bundle, "--address", "127.0.0.1:0", *words)
        assert ended.returncode == 2
        assert len(ended.stderr.splitlines()) == 1, ended.stderr


@pytest.mark.slow
def test_the_command_line_with_tokens(bundle: Path, tmp_path: Path) -> None:
    made = run("token", "new", "alice")
    assert made.returncode == 0
    token, text = (made.stdout.splitlines()[k].split(maxsplit=1)[1] for k in (0, 1))
    photo = tmp_path / "photo.png"
    photo.write_bytes(IMAGE)
    secret = write(tmp_path / "secret", token)
    with ServerProcess(
        bundle, prelude=f"import os; os.environ['CLICKCUT_TOKEN_LINES'] = '{text}'"
    ) as server:
        to_it = ("--server", server.address)
        commands = (
            ("models", "list", *to_it),
            ("segment", photo, "--click", "80,60", "--out", tmp_path / "mask.png", *to_it),
        )
        for words in commands:
            refused = run(*words)
            assert refused.returncode == 2
            assert "needs a valid token" in refused.stderr
            assert len(refused.stderr.splitlines()) == 1
        for ended in (
            run(*commands[0], CLICKCUT_TOKEN_FILE=str(secret)),
            run(*commands[1], CLICKCUT_TOKEN=token),
        ):
            assert ended.returncode == 0, ended.stderr
        assert (tmp_path / "mask.png").is_file()
        empty = run(*commands[0], "--token-file", write(tmp_path / "none", ""))
        assert empty.returncode == 2
        assert "holds no token" in empty.stderr
