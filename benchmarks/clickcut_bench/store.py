"""`clickcut bench store`: what keeping sessions in a store costs.

The stores alone: a commit of one event and of many at once, an image, a session loaded. Then clicks
through real servers, one for each store and one without, in turns, the same click on each: a busy
machine disturbs all alike.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from clickcut.client import Client
from clickcut.commands.demo import packaged_photograph, running_server
from clickcut.errors import StoreError
from clickcut.image_file.write import write_picture
from clickcut.store import Append, Create, Drop, Limits, Opening, Store, Write, open_store
from clickcut.v1 import clickcut_pb2 as pb
from clickcut_bench.latency import percentiles
from clickcut_eval.machine import describe

LIMITS = Limits(
    seconds=3600.0,
    max_bytes=2**30,
    max_image_bytes=2**30,
    max_session_bytes=2**26,
    timeout=10.0,
)
TOGETHER = 20
"""Events that are committed together: those of as many clients that click at the same moment."""

EVENTS = 50
"""Events of the session that is loaded."""

IMAGE_BYTES = 2**20


def measure_store(store: Store, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of what a server asks of a store; leaves nothing behind but one image."""
    data = os.urandom(1000)
    digest = hashlib.sha256(data).hexdigest()
    store.put_image("bench", digest, data)
    click = pb.SessionRequest(sequence=1, click=pb.Click(x=190, y=330)).SerializeToString()
    ids = [secrets.token_urlsafe(18) for _ in range(TOGETHER)]
    commit(store, [Create(Opening(i, "bench", digest, "model", b"")) for i in ids])
    at = 0

    def append(sessions: Sequence[str]) -> None:
        nonlocal at
        commit(store, [Append(i, 1, at, click) for i in sessions])
        at += 1

    results = {f"commit of {TOGETHER} events": spent(lambda: append(ids), EVENTS)}
    results["load of 50 events"] = spent(lambda: store.load(ids[0], "bench"), repeats)
    commit(store, [Drop(i) for i in ids[1:]])
    results["commit of one event"] = spent(lambda: append(ids[:1]), repeats)
    commit(store, [Drop(ids[0])])

    def put() -> None:
        image = os.urandom(IMAGE_BYTES)
        store.put_image("bench", hashlib.sha256(image).hexdigest(), image)

    results["image of 1 MiB"] = spent(put, max(5, repeats // 10))
    return results


def commit(store: Store, writes: Sequence[Write]) -> None:
    """Commit writes that must succeed."""
    for error in store.commit(writes):
        if error is not None:
            raise error


def spent(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Percentiles of the time of `work`, milliseconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - began))
    return percentiles(times)


def measure_clicks(stores: Sequence[str], repeats: int, folder: Path) -> dict[str, Any]:
    """Milliseconds of clicks at 500x375 through servers, end to end on the client.

    The first click of each is not counted.
    """
    import cv2

    pixels, _ = packaged_photograph()
    path = folder / "photograph.png"
    small = cv2.resize(pixels, (500, 375), interpolation=cv2.INTER_AREA)
    write_picture(path, np.asarray(small, np.uint8))
    clicks = np.random.default_rng(0).integers(0, (500, 375), (repeats, 2)).tolist()
    times: dict[str, list[float]] = {store: [] for store in stores}
    with ExitStack() as at_end:
        sessions = {}
        for store in stores:
            address = at_end.enter_context(running_server("--store", store))
            client = at_end.enter_context(Client(address))
            sessions[store] = at_end.enter_context(client.open(path))
        for k, (x, y) in enumerate(clicks):
            first = k % len(stores)  # none is always the first after the reset of the others
            for store in (*stores[first:], *stores[:first]):
                session = sessions[store]
                began = time.perf_counter()
                session.click(x, y, positive=k % 3 != 2)
                times[store].append(1e3 * (time.perf_counter() - began))
                if k % 10 == 9:
                    session.reset()
    return {store: percentiles(found[1:]) for store, found in times.items()}


def names_of(stores: Sequence[str]) -> list[str]:
    """Return a name for each store: its kind, numbered from the second of a kind on.

    Paths and passwords do not belong into results.
    """
    kinds = [url.partition(":")[0] for url in stores]
    counts = [kinds[: at + 1].count(kind) for at, kind in enumerate(kinds)]
    return [f"{kind} {n}" if n > 1 else kind for kind, n in zip(kinds, counts, strict=True)]


def show(document: dict[str, Any]) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine = document["machine"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores; {document['repeats']} repeats")
    for title, rows in (
        *((f"store {name}", rows) for name, rows in document["stores"].items()),
        ("a click through a server, end to end", document["clicks"]),
    ):
        table = Table("ms", "p50", "p95", "p99", title=title)
        for name, row in rows.items():
            table.add_row(name, *(f"{row[p]:.2f}" for p in ("p50", "p95", "p99")))
        console.print(table)


def run(stores: Sequence[str], repeats: int, folder: Path, json_path: Path | None) -> None:
    """Measure; print tables; write JSON when a path is given.

    Args:
        stores: as of `clickcut serve --store`; `memory` is measured as well.
        repeats: commits and clicks of each.
        folder: for a photograph.
        json_path: where to write the numbers.

    Raises:
        StoreError: a store cannot be used.
    """
    names = {"memory": "memory"} | dict(zip(stores, names_of(stores), strict=True))
    document: dict[str, Any] = {"machine": describe(), "repeats": repeats, "stores": {}}
    for url in stores:
        store = open_store(url, LIMITS)
        if store is None:
            raise StoreError("give stores other than memory, which is measured anyway")
        try:
            document["stores"][names[url]] = measure_store(store, repeats)
        finally:
            store.close()
    clicks = measure_clicks(["memory", *stores], repeats, folder)
    document["clicks"] = {names[url]: row for url, row in clicks.items()}
    show(document)
    if json_path:
        json_path.write_text(json.dumps(document, indent=1))
