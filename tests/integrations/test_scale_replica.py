"""A replica without Ray's processes: calls in the shape that Ray Serve gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from server.harness import image_file, random_clicks, write_bundle

pytest.importorskip("ray", reason="Ray Serve is not installed (extra scale)")

from clickcut.backends import load_predictor
from clickcut.encoding import from_rle
from clickcut.errors import ClickcutError
from clickcut.grpc_status import ERROR_KEY
from clickcut.images import prepare
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb

# Ray warns when it is imported.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

CLICKS = random_clicks(3, 4, 160, 120)
SETTINGS = {"threads": 1, "workers": 1, "memory_mib": 16_384}


class Context:
    """What is used of Ray Serve's context."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self.metadata = list(metadata)
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.trailing: list[tuple[str, str]] = []

    def peer(self) -> str:
        return "ipv4:10.0.0.7:51234"

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self.metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        self.trailing = trailing_metadata


class Requests:
    """Ray Serve's stream of requests.

    Args:
        messages: of the client.
        cancelled: whether the client is gone after them.
    """

    def __init__(self, *messages: Message, cancelled: bool = False) -> None:
        self._messages: Iterator[Message] = iter(messages)
        self._cancelled = cancelled

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        try:
            return next(self._messages)
        except StopIteration:
            raise StopAsyncIteration from None

    def is_cancelled(self) -> bool:
        return self._cancelled


async def started(models: dict[str, Any], **settings: Any) -> Any:
    from clickcut_scale.replica import Replica

    replica = Replica(SETTINGS | settings)
    await replica.reconfigure(models)
    return replica


async def session(replica: Any, context: Context, *requests: pb.SessionRequest) -> list[Any]:
    return [r.SerializeToString() async for r in replica.Session(Requests(*requests), context)]


def opening(model: str = "") -> pb.SessionRequest:
    return pb.SessionRequest(open=pb.Open(image=image_file(), model=model))


def clicks() -> list[pb.SessionRequest]:
    return [
        pb.SessionRequest(sequence=k, click=pb.Click(x=x, y=y, negative=not positive))
        for k, (x, y, positive) in enumerate(CLICKS, 1)
    ]


def mask_of(reply: bytes) -> Any:
    rle = pb.SessionReply.FromString(reply).result.rle
    return from_rle(rle.counts, rle.height, rle.width)


def test_a_session_has_the_masks_of_the_engine(bundle: Path) -> None:
    wanted = ClickSession(prepare(image_file()), load_predictor(bundle, 1))

    async def run() -> list[Any]:
        replica = await started({"model": [str(bundle)]})
        return await session(replica, Context(), opening(), *clicks())

    replies = asyncio.run(run())
    assert len(replies) == 1 + len(CLICKS)
    for click, reply in zip(CLICKS, replies[1:], strict=True):
        wanted.click(*click)
        np.testing.assert_array_equal(mask_of(reply), wanted.mask)


def test_a_refused_stream_ends_with_status_and_class_of_the_error(bundle: Path) -> None:
    from clickcut_scale.ray_internals import ResponseStatus

    context = Context()

    async def run() -> list[Any]:
        replica = await started({"model": [str(bundle)]})
        return await session(replica, context, opening("absent"))

    (end,) = asyncio.run(run())
    assert isinstance(end, ResponseStatus)  # the proxy sends no message for it
    assert end.code == context.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "absent" in context.details
    assert dict(context.trailing)[ERROR_KEY] == "EventError"


def test_calls_that_are_no_session(bundle: Path) -> None:
    from grpc_health.v1 import health_pb2

    async def run() -> None:
        replica = await started({"model": [str(bundle)]})
        chunks = Requests(pb.UploadImageRequest(chunk=image_file(seed=4)))
        uploaded = pb.UploadImageReply.FromString(
            (await replica.UploadImage(chunks, Context())).SerializeToString()
        )
        request = pb.SegmentRequest(image_digest=uploaded.image.digest)
        request.clicks.add(x=5, y=5)
        reply = (await replica.Segment(request, Context())).SerializeToString()
        assert pb.SegmentReply.FromString(reply).image.width == 160
        listed = (await replica.ListModels(pb.ListModelsRequest(), Context())).SerializeToString()
        assert [m.name for m in pb.ListModelsReply.FromString(listed).models] == ["toy"]
        check = health_pb2.HealthCheckRequest()
        health = (await replica.Check(check, Context())).SerializeToString()
        answer = health_pb2.HealthCheckResponse.FromString(health)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        context = Context()
        refused = await replica.UploadImage(Requests(pb.UploadImageRequest(chunk=b"x")), context)
        assert refused.SerializeToString() == b""
        assert context.code == grpc.StatusCode.INVALID_ARGUMENT
        assert dict(context.trailing)[ERROR_KEY] == "ImageError"
        replica.check_health()

    asyncio.run(run())


def test_a_session_outlives_its_stream(bundle: Path) -> None:
    async def run() -> None:
        replica = await started({"model": [str(bundle)]})
        first, second, *_ = clicks()
        replies: list[pb.SessionReply] = []

        async def leave() -> None:
            gone = Requests(opening(), first, cancelled=True)
            async for reply in replica.Session(gone, Context()):
                replies.append(pb.SessionReply.FromString(reply.SerializeToString()))

        with pytest.raises(asyncio.CancelledError):
            await leave()
        resume = pb.SessionRequest(open=pb.Open(session_id=replies[0].session_id))
        again, more = await session(replica, Context(), resume, second)
        assert pb.SessionReply.FromString(again).applied_sequence == 1
        assert pb.SessionReply.FromString(more).num_clicks == 2

    asyncio.run(run())


def test_tokens_are_checked(bundle: Path, tmp_path: Path) -> None:
    import hashlib

    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice sha256:{hashlib.sha256(b'secret').hexdigest()}\n")
    tokens.chmod(0o600)

    async def run() -> None:
        replica = await started({"model": [str(bundle)]}, tokens=str(tokens))
        context = Context()
        await replica.ListModels(pb.ListModelsRequest(), context)
        assert context.code == grpc.StatusCode.UNAUTHENTICATED
        context = Context(("authorization", "Bearer secret"))
        reply = await replica.ListModels(pb.ListModelsRequest(), context)
        assert context.code is None
        assert pb.ListModelsReply.FromString(reply.SerializeToString()).models

    asyncio.run(run())


def test_models_are_replaced_and_a_wrong_change_changes_nothing(tmp_path: Path) -> None:
    async def names(replica: Any) -> list[str]:
        reply = await replica.ListModels(pb.ListModelsRequest(), Context())
        listed = pb.ListModelsReply.FromString(reply.SerializeToString()).models
        return [f"{model.name}@{model.version}" for model in listed]

    async def run() -> None:
        first = write_bundle(tmp_path / "a.onnx")
        second = write_bundle(tmp_path / "b.onnx", version="2")
        broken = tmp_path / "c.onnx"
        broken.write_bytes(b"not a model")
        replica = await started({"model": [str(first)]})
        await replica.reconfigure({"model": [str(second)]})
        assert await names(replica) == ["toy@2"]
        await replica.reconfigure({"model": [str(broken)]})
        await replica.reconfigure({"no_such": 1})
        assert await names(replica) == ["toy@2"]
        write_bundle(tmp_path / "b.onnx", version="3")
        await replica.reconfigure({"model": [str(second)], "revision": 2})
        assert await names(replica) == ["toy@3"]

    asyncio.run(run())


def test_a_replica_does_not_start_with_a_wrong_model(tmp_path: Path) -> None:
    broken = tmp_path / "c.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ClickcutError, match=r"c\.onnx"):
        asyncio.run(started({"model": [str(broken)]}))


def test_a_replica_whose_watch_has_ended_is_replaced(bundle: Path) -> None:
    async def run() -> None:
        replica = await started({"model": [str(bundle)]})
        replica._background[0].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="has ended"):
            replica.check_health()

    asyncio.run(run())
