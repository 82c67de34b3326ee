"""Every kind of image that somebody may send, through `Session`, `UploadImage` and `Segment`."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from server.harness import (
    DEADLINE,
    RawStream,
    ServerProcess,
    encode,
    image_file,
    picture,
    wait_until,
)

from clickcut.encoding import from_rle, to_rle
from clickcut.images import digest_of
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

MIB = 2**20
PIXELS = picture(80, 60)


def file_of(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)  # type: ignore[arg-type]
    return out.getvalue()


PHOTO = Image.fromarray(PIXELS)


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    return file_of(PHOTO, "JPEG", exif=exif)


def sixteen_bit() -> bytes:
    return encode(PIXELS[:, :, 0].astype(np.uint16) * np.uint16(256))


GOOD = {
    "jpeg": (file_of(PHOTO, "JPEG"), (80, 60)),
    "png": (file_of(PHOTO, "PNG"), (80, 60)),
    "webp": (file_of(PHOTO, "WEBP"), (80, 60)),
    "bmp": (file_of(PHOTO, "BMP"), (80, 60)),
    "tiff": (file_of(PHOTO, "TIFF"), (80, 60)),
    "grey": (file_of(PHOTO.convert("L"), "JPEG"), (80, 60)),
    "palette": (file_of(PHOTO.convert("P"), "PNG"), (80, 60)),
    "rgba": (file_of(PHOTO.convert("RGBA"), "PNG"), (80, 60)),
    "16 bit": (sixteen_bit(), (80, 60)),
    "exif rotated": (rotated(), (60, 80)),
    "1 x 1": (file_of(Image.new("RGB", (1, 1)), "PNG"), (1, 1)),
    "20 x 3000": (image_file(20, 3000), (20, 3000)),
    "3000 x 20": (image_file(3000, 20), (3000, 20)),
    "one colour": (file_of(Image.new("RGB", (50, 40), "red"), "PNG"), (50, 40)),
}


@pytest.mark.parametrize(("data", "size"), GOOD.values(), ids=GOOD.keys())
def test_a_good_image_can_be_clicked_on(raw: RawStream, data: bytes, size: tuple[int, int]) -> None:
    reply = raw.ask(open=pb.Open(image=data))
    assert (reply.image.width, reply.image.height) == size
    x, y = size[0] // 2, size[1] // 2
    result = raw.ask(click=pb.Click(x=x, y=y)).result
    mask = from_rle(result.rle.counts, result.rle.height, result.rle.width)
    assert mask.shape == size[::-1]
    assert mask[y, x]
    assert not raw.ask(click=pb.Click(x=0, y=0, negative=True)).HasField("error")


def huge_png() -> bytes:
    """A whole file whose header says 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes = b"") -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND"))
    )


def animated() -> bytes:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    return file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])


BAD = {
    "empty": (b"", "empty"),
    "text": (b"this is no image at all", "not an image"),
    "pdf": (b"%PDF-1.7\n" + b"x" * 500, "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "truncated jpeg": (file_of(PHOTO, "JPEG")[:700], "truncated or damaged"),
    "truncated png": (file_of(PHOTO, "PNG")[:2000], "truncated or damaged"),
    "header only": (file_of(PHOTO, "JPEG")[:20], ""),
    "animated": (animated(), "animated"),
    "100,000 x 100,000": (huge_png(), "100000 x 100000"),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_image_is_refused_by_name(
    server: ServerProcess, raw: RawStream, data: bytes, words: str
) -> None:
    raw.send(pb.SessionRequest(open=pb.Open(image=data)))
    end = raw.status()
    assert end.code() == grpc.StatusCode.INVALID_ARGUMENT, end.details()
    assert words in end.details()
    assert ("clickcut-error", "ImageError") in end.trailing_metadata()
    with pytest.raises(grpc.RpcError) as raised:
        stub(server).Segment(pb.SegmentRequest(image=data), timeout=DEADLINE)
    assert raised.value.details() == end.details()


def test_a_message_over_the_limit_ends_the_stream_only(
    server: ServerProcess, raw: RawStream
) -> None:
    session_id = raw.ask(open=pb.Open(image=image_file())).session_id
    raw.ask(click=pb.Click(x=80, y=60))
    raw.send(pb.SessionRequest(initial_mask=pb.InitialMask(png=b"x" * (9 * MIB))))
    end = raw.status()
    assert end.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in end.details()
    with RawStream(server.address) as second:
        assert second.ask(open=pb.Open(session_id=session_id)).num_clicks == 1


def test_bytes_that_are_no_message(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_stream("/clickcut.v1.Clickcut/Session")
        with pytest.raises(grpc.RpcError) as raised:
            next(call(iter([b"\xff\xff\xff nonsense"]), timeout=DEADLINE))
    assert raised.value.code() in (
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNKNOWN,
    )


# ---- upload


_channels: dict[str, grpc.Channel] = {}


def stub(server: ServerProcess) -> clickcut_pb2_grpc.ClickcutStub:
    if server.address not in _channels:
        _channels[server.address] = grpc.insecure_channel(server.address)
    return clickcut_pb2_grpc.ClickcutStub(_channels[server.address])


@pytest.fixture(scope="module", autouse=True)
def _close_channels() -> Iterator[None]:
    yield
    for channel in _channels.values():
        channel.close()
    _channels.clear()


def chunks(data: bytes, size: int = MIB) -> list[pb.UploadImageRequest]:
    return [pb.UploadImageRequest(chunk=data[k : k + size]) for k in range(0, len(data), size)]


def test_an_upload_is_known_afterwards(server: ServerProcess, raw: RawStream) -> None:
    data = image_file(300, 200, seed=5)
    reply = stub(server).UploadImage(iter(chunks(data, 1000)), timeout=DEADLINE)
    assert not reply.already_known
    assert (reply.image.width, reply.image.digest) == (300, digest_of(data))
    assert raw.ask(open=pb.Open(image_digest=digest_of(data))).image.width == 300
    asking = pb.UploadImageRequest(digest=digest_of(data))
    again = stub(server).UploadImage(iter([asking]), timeout=DEADLINE)
    assert again.already_known
    assert again.image == reply.image


def test_a_large_image_is_uploaded_and_is_too_large_for_a_message(
    server: ServerProcess, raw: RawStream
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1800, 2000, 3), np.uint8)
    data = encode(noise, ".bmp")
    assert len(data) > 8 * MIB
    reply = stub(server).UploadImage(iter(chunks(data)), timeout=DEADLINE)
    assert reply.image.width == 2000
    raw.send(pb.SessionRequest(open=pb.Open(image=data)))
    assert raw.status().code() == grpc.StatusCode.RESOURCE_EXHAUSTED


BAD_UPLOADS = {
    "nothing": ([], "INVALID_ARGUMENT", "empty"),
    "no image": (chunks(b"hello"), "INVALID_ARGUMENT", "not an image"),
    "a large chunk": ([pb.UploadImageRequest(chunk=b"x" * (MIB + 1))], "INVALID_ARGUMENT", "chunk"),
    "another digest": (
        [pb.UploadImageRequest(digest="0" * 64), *chunks(image_file(30, 20))],
        "INVALID_ARGUMENT",
        "damaged in transit",
    ),
    "no digest": ([pb.UploadImageRequest(digest="zz")], "INVALID_ARGUMENT", "64 lower-case"),
    "over the limit": (chunks(b"x" * (25 * MIB)), "INVALID_ARGUMENT", "the maximum"),
}


@pytest.mark.parametrize(
    ("requests", "code", "words"), BAD_UPLOADS.values(), ids=BAD_UPLOADS.keys()
)
def test_a_bad_upload_is_refused(
    server: ServerProcess, requests: list[pb.UploadImageRequest], code: str, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub(server).UploadImage(iter(requests), timeout=DEADLINE)
    assert raised.value.code().name == code
    assert words in raised.value.details()


@pytest.mark.slow
def test_an_upload_that_stalls_is_ended(bundle: object) -> None:
    with ServerProcess(bundle, upload_seconds=0.2) as slow:  # type: ignore[arg-type]

        def stalling() -> Iterator[pb.UploadImageRequest]:
            yield pb.UploadImageRequest(chunk=b"x")
            wait_until(call_done, "the upload ends")

        done: list[grpc.Future] = []

        def call_done() -> bool:
            return bool(done) and done[0].done()

        with grpc.insecure_channel(slow.address) as channel:
            upload = clickcut_pb2_grpc.ClickcutStub(channel).UploadImage
            done.append(upload.future(stalling(), timeout=DEADLINE))
            error = done[0].exception()
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "sent nothing for 0.2 s" in error.details()


# ---- Segment


def session_mask(raw: RawStream, clicks: list[pb.Click]) -> NDArray[np.bool_]:
    raw.ask(open=pb.Open(image=image_file()))
    for click in clicks:
        result = raw.ask(click=click).result
    return from_rle(result.rle.counts, result.rle.height, result.rle.width)


CLICKS = [pb.Click(x=80, y=60), pb.Click(x=20, y=30, negative=True), pb.Click(x=100, y=90)]


def test_segment_gives_the_mask_of_a_session(server: ServerProcess, raw: RawStream) -> None:
    reply = stub(server).Segment(
        pb.SegmentRequest(image=image_file(), clicks=CLICKS), timeout=DEADLINE
    )
    mask = from_rle(reply.result.rle.counts, reply.result.rle.height, reply.result.rle.width)
    np.testing.assert_array_equal(mask, session_mask(raw, CLICKS))
    assert reply.image.model == "toy"
    assert reply.timings.network > 0
    known = pb.SegmentRequest(image_digest=reply.image.digest, clicks=CLICKS)
    assert stub(server).Segment(known, timeout=DEADLINE).result == reply.result


def test_segment_starts_from_a_mask(server: ServerProcess) -> None:
    mask = np.zeros((120, 160), np.bool_)
    mask[30:90, 40:110] = True
    initial = pb.InitialMask(rle=pb.Rle(height=120, width=160, counts=to_rle(mask)))
    request = pb.SegmentRequest(image=image_file(), initial_mask=initial)
    reply = stub(server).Segment(request, timeout=DEADLINE)
    assert reply.result.area == mask.sum()
    request.clicks.extend(CLICKS[:1])
    assert stub(server).Segment(request, timeout=DEADLINE).result.area != 0


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (pb.SegmentRequest(), "INVALID_ARGUMENT", "needs an image"),
        (pb.SegmentRequest(image_digest="0" * 64), "NOT_FOUND", "send the image"),
        (
            pb.SegmentRequest(image=image_file(), clicks=[pb.Click(x=-5)]),
            "INVALID_ARGUMENT",
            "outside",
        ),
        (pb.SegmentRequest(image=image_file(), model="x"), "INVALID_ARGUMENT", "no model"),
    ],
)
def test_a_segment_request_that_is_refused(
    server: ServerProcess, request_: pb.SegmentRequest, code: str, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub(server).Segment(request_, timeout=DEADLINE)
    assert raised.value.code().name == code
    assert words in raised.value.details()


@pytest.mark.parametrize(("low", "high"), [(2, 1), (1, 1), (float("nan"), 1), (0, float("inf"))])
def test_an_impossible_window_is_refused(raw: RawStream, low: float, high: float) -> None:
    window = pb.Window(low=low, high=high)
    raw.send(pb.SessionRequest(open=pb.Open(image=image_file(), window=window)))
    end = raw.status()
    assert end.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "a window goes from a low" in end.details()


# ---- images that take long


def slow_jpeg() -> bytes:
    """A progressive JPEG that passes 12 megapixels 900 times."""
    pixels = np.zeros((3000, 4000), np.uint8)
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    data: bytes = cv2.imencode(".jpg", pixels, options)[1].tobytes()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 900 + data[-2:]


def decoders_of(server: ServerProcess) -> list[int]:
    """Ids of the decoding processes of a server that are running."""
    found = []
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread or a process that has just ended
            found += [
                int(pid)
                for pid in (task / "children").read_text().split()
                if b"image_file.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
    return found


linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks into /proc")


def worked(pid: int) -> int:
    """Ticks of the processor's clock that a process has used."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


@pytest.mark.slow
@linux
def test_decoding_ends_when_the_client_has_gone_and_others_are_served(bundle: Path) -> None:
    data, tiff = slow_jpeg(), encode(picture(), ".tiff")
    with ServerProcess(bundle, decode_seconds=300) as server:
        with RawStream(server.address) as stream:
            assert stream.ask(pb.SessionRequest(open=pb.Open(image=tiff))).image.width == 160
        (decoder,) = decoders_of(server)
        before = worked(decoder)
        with RawStream(server.address) as stream:
            stream.send(pb.SessionRequest(open=pb.Open(image=data)))
            wait_until(lambda: worked(decoder) > before + 10, "decoding")
            with RawStream(server.address) as other:  # meanwhile
                assert other.ask(pb.SessionRequest(open=pb.Open(image=image_file()))).image.width
            assert decoders_of(server) == [decoder]
        wait_until(lambda: not decoders_of(server), "decoding stopped")
        with RawStream(server.address) as stream:
            other_tiff = encode(picture(seed=1), ".tiff")
            assert stream.ask(pb.SessionRequest(open=pb.Open(image=other_tiff))).image.width == 160
        assert decoders_of(server) != [decoder]


@pytest.mark.slow
@linux
def test_an_image_that_takes_too_long_is_refused(bundle: Path) -> None:
    with ServerProcess(bundle, decode_seconds=0.5) as server, RawStream(server.address) as stream:
        stream.send(pb.SessionRequest(open=pb.Open(image=slow_jpeg())))
        end = stream.status()
        assert end.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "takes longer than 0.5 s" in end.details()
        assert not decoders_of(server)
