"""Compute the masks of `clickcut segment`, on a server or in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickcut.client import Client
from clickcut.client.access import Access
from clickcut.client.picture import Picture, window_from
from clickcut.commands.prompt_options import Box, Click
from clickcut.images import PreparedImage, prepare

Mask = NDArray[np.bool_]

Segment = Callable[[Path, Sequence[Click]], Mask]
"""Return the mask (H, W) bool of an image file and clicks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """Compute masks, on a server or in this process.

    Attributes:
        server: HOST:PORT; "" for this process.
        access: to the server.
        model: name of the model, or in this process the path of a bundle; "" for the default.
        cut: whether the graph cut runs.
        box: around the object; None without.
        window: sample values mapped to 0 and 255; None for the range of the image.
    """

    server: str
    access: Access
    model: str
    cut: bool
    box: Box | None
    window: tuple[float, float] | None

    def prepared(self, data: bytes) -> PreparedImage:
        """Decode an image file.

        Raises:
            ImageError: it cannot be used.
        """
        return prepare(data, window=window_from(self.window) if self.window else None)

    def mask_of(
        self, data: bytes, image: PreparedImage, clicks: Sequence[Click], initial: Mask | None
    ) -> Mask:
        """Return the mask (H, W) bool of one image.

        Args:
            data: the image file, for the server.
            image: the same, decoded, for this process.
            clicks: in order.
            initial: (H, W) bool, mask to start from; None without.

        Raises:
            ClickcutError: no such model, a click outside the image, or no server.
        """
        if self.server:
            with self._client() as client:
                return self._ask(client, data, clicks, initial)
        return self._selecting()(image, clicks, initial)

    @contextmanager
    def many(self) -> Iterator[Segment]:
        """Connect, or load the model, once for many images."""
        if self.server:
            with self._client() as client:
                yield lambda path, clicks: self._ask(client, path, clicks)
            return
        select = self._selecting()
        yield lambda path, clicks: select(self.prepared(Picture.of(path).data), clicks, None)

    def _client(self) -> Client:
        return Client(self.server, **self.access.arguments)

    def _ask(
        self,
        client: Client,
        image: Path | bytes,
        clicks: Sequence[Click],
        initial: Mask | None = None,
    ) -> Mask:
        return client.segment(
            image,
            clicks,
            box=self.box,
            start_from=initial,
            model=self.model,
            parameters={"cut": self.cut},
            window=self.window,
        )

    def _selecting(self) -> Callable[[PreparedImage, Sequence[Click], Mask | None], Mask]:
        from clickcut.backends import load_predictor
        from clickcut.bundle.repository import find_models
        from clickcut.session import ClickSession
        from clickcut.warm_up import reported

        predictor = load_predictor(find_models([self.model] if self.model else [])[0])
        parameters = predictor.metadata.parameters.changed(cut=self.cut)

        def select(image: PreparedImage, clicks: Sequence[Click], initial: Mask | None) -> Mask:
            session = ClickSession(image, predictor, parameters)
            with reported(lambda line: print(line, file=sys.stderr, flush=True)):
                if initial is not None:
                    session.start_from(initial)
                if self.box is not None:
                    session.box(*self.box)
                for x, y, positive in clicks:
                    session.click(x, y, positive)
            return session.mask

        return select
