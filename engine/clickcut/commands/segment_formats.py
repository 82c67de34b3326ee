"""`clickcut segment --format`: masks of one image, or of a folder, in an annotation format.

Another package writes the formats; it is found by the entry-point group `clickcut.segment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickcut.errors import BackendError, EventError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = "clickcut.segment"
"""Entry-point group with one entry, `formats`: the function that `run` calls."""

Click = tuple[float, float, bool]
Segment = Callable[[Path, Sequence[Click]], "NDArray[np.bool_]"]
"""The mask (H, W) bool of an image file and clicks: x, y and whether positive."""


def run(
    path: Path, table: Path | None, clicks: Sequence[Click], segment: Segment, **options: Any
) -> int:
    """Segment an image with `clicks`, or the images of a folder with the clicks of a table.

    Args:
        path: of the image or folder.
        table: CSV file of clicks.
        clicks: of the image.
        segment: what makes a mask.
        options: handed on: `format_name`, `out`, `tolerance`, `label`, `overwrite`.

    Returns:
        The exit code.

    Raises:
        EventError: a folder without a table, or the other way round.
        BackendError: nothing that writes formats is installed.
    """
    if path.is_dir() != (table is not None):
        raise EventError("a folder of images needs --clicks FILE.csv, and only a folder does")
    if options["out"] is None:
        raise EventError("say where to write: --out FOLDER")
    point = next(iter(entry_points(group=GROUP, name="formats")), None)
    if point is None:
        raise BackendError("no package that writes formats is installed; reinstall clickcut")
    write: Callable[..., int] = point.load()
    return write(path, table, clicks, segment, **options)


@contextmanager
def segmenter(
    server: str, credentials: Any, model: str, cut: bool, box: Any, ends: Any
) -> Iterator[Segment]:
    """What makes masks: a server, or a model in this process, loaded once.

    Args:
        server: HOST:PORT; "" for this process.
        credentials: of the server, for TLS.
        model: its name.
        cut: whether the graph cut runs.
        box: around the object: x0, y0, x1, y1; None without.
        ends: sample values that are shown black and white; None for those of the image.
    """
    if server:
        from clickcut.client import Client

        with Client(server, credentials=credentials) as client:
            yield lambda path, clicks: client.segment(
                path, clicks, box=box, model=model, parameters={"cut": cut}, window=ends
            )
        return
    from clickcut.backends import load_predictor
    from clickcut.bundle.repository import find_models
    from clickcut.client.picture import Picture, window_from
    from clickcut.images import prepare
    from clickcut.session import ClickSession

    predictor = load_predictor(find_models([model] if model else [])[0])
    parameters = predictor.metadata.parameters.changed(cut=cut)

    def segment(path: Path, clicks: Sequence[Click]) -> NDArray[np.bool_]:
        image = prepare(Picture.of(path).data, window=window_from(ends) if ends else None)
        session = ClickSession(image, predictor, parameters)
        if box is not None:
            session.box(*box)
        for x, y, positive in clicks:
            session.click(x, y, positive)
        return session.mask

    yield segment
