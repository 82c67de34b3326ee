"""`clickcut bench link`: what a reply takes over a slow link, by the form of its mask.

Sessions of recorded clicks are played over a link of a given delay and rate, once for each form:
run lengths or PNG, the whole mask or the rectangle that changed. Every form must give the same
masks.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from clickcut.client import Client
from clickcut.client.channel import Endpoint
from clickcut.commands.demo import running_server
from clickcut.encoding import from_png, from_rle
from clickcut.errors import ServerError
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc
from clickcut_bench.load.numbers import percentiles
from clickcut_bench.load.sequences import Sequence as ClickSequence
from clickcut_bench.load.sequences import photographs, record
from clickcut_bench.slow_link import SlowLink, running_link
from clickcut_eval.machine import describe

FORMS = {
    "RLE, what changed": pb.Output(mask=pb.Output.MASK_FORMAT_RLE, changed_only=True),
    "RLE, whole": pb.Output(mask=pb.Output.MASK_FORMAT_RLE),
    "PNG, what changed": pb.Output(mask=pb.Output.MASK_FORMAT_PNG, changed_only=True),
    "PNG, whole": pb.Output(mask=pb.Output.MASK_FORMAT_PNG),
}
"""The first one is that of clickcut's clients."""

SIZES = {"500x375": (500, 375), "12 MP": (4000, 3000)}


@dataclass(frozen=True)
class Answer:
    """A click over the link.

    Attributes:
        first: whether it was the first click of its session.
        reply_bytes: of its reply, as a message.
        client_ms: from the request to the reply.
        server_ms: of these on the server.
    """

    first: bool
    reply_bytes: int
    client_ms: float
    server_ms: float


def play(address: str, digest: str, sequence: ClickSequence, form: pb.Output) -> Iterator[Answer]:
    """Play a session over a link.

    Args:
        address: of the link.
        digest: of the photograph, which the server holds.
        sequence: what is clicked.
        form: of the replies.

    Raises:
        ServerError: a mask is not the one of the sequence.
    """
    requests: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
    with Endpoint(address).channel() as channel:
        stub: Any = clickcut_pb2_grpc.ClickcutStub(channel)
        replies = stub.Session(iter(requests.get, None), wait_for_ready=True)
        try:
            requests.put(pb.SessionRequest(open=pb.Open(image_digest=digest, output=form)))
            image = next(replies).image
            mask = np.zeros((image.height, image.width), np.bool_)
            for number, (x, y, positive) in enumerate(sequence.clicks):
                click = pb.Click(x=x, y=y, negative=not positive)
                began = time.perf_counter()
                requests.put(pb.SessionRequest(sequence=number + 1, click=click))
                reply = next(replies)
                spent = 1e3 * (time.perf_counter() - began)
                show(mask, reply.result)
                if not np.array_equal(mask, sequence.masks[number]):
                    raise ServerError("a mask that came over the link is not that of the server")
                yield Answer(number == 0, reply.ByteSize(), spent, reply.timings.total)
        finally:
            requests.put(None)
            replies.cancel()


def show(mask: NDArray[np.bool_], result: pb.Result) -> None:
    """Bring a mask (H, W) bool up to date with a result, in place."""
    box = result.rectangle
    part = mask[box.y : box.y + box.height, box.x : box.x + box.width]
    kind = result.WhichOneof("mask")
    if kind == "rle":
        part[...] = from_rle(result.rle.counts, box.height, box.width)
    elif kind == "png":
        part[...] = from_png(result.png, box.height, box.width)


def summarise(answers: Sequence[Answer]) -> dict[str, Any]:
    """Percentiles of first and later clicks."""
    found = {}
    for name, first in (("first click", True), ("later clicks", False)):
        chosen = [a for a in answers if a.first == first]
        found[name] = {
            "reply bytes": percentiles([float(a.reply_bytes) for a in chosen]),
            "client ms": percentiles([a.client_ms for a in chosen]),
            "beside the server, ms": percentiles([a.client_ms - a.server_ms for a in chosen]),
        }
    return found


def run(
    data: str,
    images: int,
    clicks: int,
    round_trip_ms: float,
    megabits: float,
    json_path: Path | None,
    sizes: dict[str, tuple[int, int]] | None = None,
    server_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure; print a table; write JSON when a path is given.

    Args:
        data: as of `clickcut_bench.photographs.targets`; "" for the packaged photograph and
            objects that are generated.
        images: number of photographs.
        clicks: of a session at most.
        round_trip_ms: of the link.
        megabits: of the link, per second.
        json_path: of the numbers.
        sizes: names and sizes of the photographs; None: `SIZES`.
        server_options: of `clickcut serve`.
    """
    document: dict[str, Any] = {
        "machine": describe(),
        "round trip ms": round_trip_ms,
        "megabits per second": megabits,
        "sizes": {},
    }
    with running_server(*server_options) as address, Client(address) as client:
        link = SlowLink(address, round_trip_ms, megabits)
        with running_link(link) as slow:
            for size, pixels in (sizes or SIZES).items():
                answers: dict[str, list[Answer]] = {name: [] for name in FORMS}
                shown = photographs(data, pixels, images)
                for photograph in track(shown, size, transient=True):
                    sequence = record(client, photograph, clicks)
                    if sequence is None:
                        continue
                    digest = client.upload(sequence.file)
                    for name, form in FORMS.items():
                        answers[name] += play(slow, digest, sequence, form)
                document["sizes"][size] = {k: summarise(v) for k, v in answers.items()}
    show_table(document)
    if json_path:
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    return document


def show_table(document: dict[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    title = (
        f"Clicks over a link of {document['round trip ms']:g} ms there and back and "
        f"{document['megabits per second']:g} Mbit/s: p50 / p95"
    )
    table = Table("photograph", "click", "mask", "reply, bytes", "ms", "of it link", title=title)
    for column in table.columns[3:]:
        column.justify = "right"
    for size, forms in document["sizes"].items():
        for kind in ("first click", "later clicks"):
            for name, found in forms.items():
                row = found[kind]
                if not row["client ms"]["n"]:
                    continue
                table.add_row(
                    size,
                    kind,
                    name,
                    *(
                        f"{row[key]['p50']:{digits}} / {row[key]['p95']:{digits}}"
                        for key, digits in (
                            ("reply bytes", ",.0f"),
                            ("client ms", ".0f"),
                            ("beside the server, ms", ".0f"),
                        )
                    ),
                )
    Console().print(table)
