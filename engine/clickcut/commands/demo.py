"""`clickcut demo`: a session on the packaged photograph, through a real server and client.

Writes an overlay per step and a contact sheet, prints latency by stage and IoU after each step.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickcut.client import Client, Session
from clickcut.commands.child import child
from clickcut.errors import BackendError, ImageError
from clickcut.image_file.write import write_picture
from clickcut.images import decode
from clickcut.overlay import contact_sheet, draw_overlay

ASSETS = resources.files("clickcut") / "assets"

STEPS: tuple[tuple[str, int, int], ...] = (
    ("positive", 190, 330),
    ("positive", 228, 100),
    ("positive", 400, 430),
    ("undo", 0, 0),
    ("negative", 400, 430),
    ("negative", 12, 430),
)
"""Steps of the demo: kind of event, x, y; the third click is a mistake, which is undone."""


def packaged_photograph() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the photograph (H, W, 3) uint8 RGB and the object on it, (H, W) bool."""
    pixels = decode((ASSETS / "astronaut.jpg").read_bytes())
    return pixels, decode((ASSETS / "astronaut_mask.png").read_bytes())[..., 0] > 127


@contextmanager
def running_server(
    *options: str,
    timeout: float = 300.0,
    command: Sequence[str] = ("serve", "--address", "127.0.0.1:0"),
) -> Iterator[str]:
    """Run a server process on a free loopback port; yield its address, stop it at the end.

    Args:
        options: further arguments of `clickcut serve`.
        timeout: seconds that it may take to start.
        command: another command that prints the address and then "serving".

    Raises:
        BackendError: it stopped or did not serve in time; the message holds its output.
    """
    lines: queue.Queue[str | None] = queue.Queue()
    with child([*command, *options]) as process:

        def drain() -> None:
            with process.stdout or contextlib.nullcontext(()) as output:
                for line in output:
                    lines.put(line)
            lines.put(None)

        reader = threading.Thread(target=drain, daemon=True)
        reader.start()
        yield _wait_until_serving(lines, time.monotonic() + timeout)
    reader.join()


def _wait_until_serving(lines: queue.Queue[str | None], deadline: float) -> str:
    address: str | None = None
    heard: list[str] = []
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left)
        except queue.Empty:
            break
        if line is None:
            raise BackendError("the server stopped:\n" + "".join(heard))
        heard.append(line)
        # Other lines may name addresses too, such as that of a store in Redis.
        if found := re.match(r"address\s+(127\.0\.0\.1:\d+)", line):
            address = found[1]
        if address and re.search(r"\bserving\b", line, re.IGNORECASE):
            return address
    raise BackendError("the server did not start in time:\n" + "".join(heard))


def _perform(session: Session, kind: str, x: int, y: int) -> NDArray[np.bool_]:
    if kind == "undo":
        return session.undo()
    return session.click(x, y, positive=kind == "positive")


def run(out: Path) -> None:
    """Run the demo and write its pictures.

    Args:
        out: folder for `step_1.png`, ..., `contact_sheet.png`; created if needed.

    Raises:
        BackendError: the server cannot start.
        ImageError: the folder cannot be written to.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{out}: cannot be created ({error.strerror})") from error
    pixels, ground_truth = packaged_photograph()
    console.print("Starting the server on loopback ...")
    table = Table("step", "maps", "network", "cut", "encode", "server", "end to end", "IoU")
    table.title = "Milliseconds by stage"
    pictures: list[tuple[str, NDArray[np.uint8]]] = []
    clicks: list[tuple[int, int, bool]] = []
    with running_server() as address, Client(address) as client:
        console.print(f"It serves at {address} with the model '{client.models()[0].name}'.")
        with client.open((ASSETS / "astronaut.jpg").read_bytes()) as session:
            for number, (kind, x, y) in enumerate(STEPS, 1):
                began = time.perf_counter()
                mask = _perform(session, kind, x, y)
                spent = 1e3 * (time.perf_counter() - began)
                clicks = clicks[:-1] if kind == "undo" else [*clicks, (x, y, kind == "positive")]
                iou = (mask & ground_truth).sum() / (mask | ground_truth).sum()
                name = "undo" if kind == "undo" else f"{kind} ({x}, {y})"
                t = session.timings
                stages = (t.get(s, 0.0) for s in ("maps", "network", "cut", "encode", "total"))
                table.add_row(name, *(f"{ms:.1f}" for ms in stages), f"{spent:.1f}", f"{iou:.3f}")
                picture = draw_overlay(pixels, mask, clicks)
                pictures.append((f"{number}. {name}: IoU {iou:.3f}", picture))
                write_picture(out / f"step_{number}.png", picture)
    sheet = contact_sheet(pictures, columns=3)
    write_picture(out / "contact_sheet.png", sheet)
    console.print(table)
    console.print(f"The server has stopped. Open {out / 'contact_sheet.png'}")
