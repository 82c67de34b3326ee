"""Images of tasks: where they are, how they are fetched, and which are kept for a while."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urljoin

from urllib3.exceptions import HTTPError

from clickcut.errors import printable
from clickcut_label_studio.errors import KeyRefusedError, LabelStudioError, TaskError
from clickcut_label_studio.settings import BackendSettings
from clickcut_label_studio.studio import LabelStudio, read_limited
from clickcut_label_studio.urls import bare, place_of

DOWNLOAD_SECONDS = 80.0
"""For a whole image, however slowly it arrives."""
MAX_DOWNLOADS = 8
"""At once."""
MAX_REDIRECTS = 4


class Images:
    """Fetches image files of tasks; each only once within `idle_seconds`.

    Args:
        studio: where they are.
        settings: limits, and hosts that are allowed.
    """

    def __init__(self, studio: LabelStudio, settings: BackendSettings) -> None:
        self._studio = studio
        self._settings = settings
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._loading: dict[str, asyncio.Future[bytes]] = {}
        self._threads = ThreadPoolExecutor(MAX_DOWNLOADS, "image")

    async def get(self, value: object, task: int) -> bytes:
        """The image file of a task.

        Args:
            value: of the task's data.
            task: its id.

        Raises:
            TaskError: the value is no image that may be fetched.
            LabelStudioError: it is not there, or Label Studio is not.
            ImageError: it is too large.
        """
        url = image_url(self._studio, value, task, self._settings.image_hosts)
        self.forget_idle()
        if url in self._kept:
            _, data = self._kept.pop(url)
            self._kept[url] = time.monotonic(), data
            return data
        if url not in self._loading:
            loop = asyncio.get_running_loop()
            self._loading[url] = loop.run_in_executor(self._threads, self._fetch, url)
            self._loading[url].add_done_callback(lambda done: self._loaded(url, done))
        return await asyncio.shield(self._loading[url])

    def _loaded(self, url: str, done: asyncio.Future[bytes]) -> None:
        del self._loading[url]
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[url] = time.monotonic(), done.result()
        while sum(len(data) for _, data in self._kept.values()) > self._settings.max_cached_bytes:
            self._kept.popitem(last=False)

    def forget_idle(self) -> None:
        """Forget the files that were not used for a while."""
        oldest = time.monotonic() - self._settings.idle_seconds
        while self._kept and next(iter(self._kept.values()))[0] < oldest:
            self._kept.popitem(last=False)

    def close(self) -> None:
        """Wait for no download."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, url: str) -> bytes:
        """Fetch a file.

        Label Studio may redirect to the storage that holds it; the key goes to Label Studio only.
        """
        own, hosts = self._studio.own, self._settings.image_hosts
        end = time.monotonic() + DOWNLOAD_SECONDS
        for _ in range(MAX_REDIRECTS):
            is_studio = own.holds(url)
            response = self._studio.send("GET", url, is_studio)
            try:
                place = response.get_redirect_location()
                if not place:
                    _check(response.status, str(response.headers.get("content-type", "")), url)
                    return read_limited(response, self._settings.max_image_bytes, bare(url), end)
            except HTTPError as error:
                raise LabelStudioError(f"the image {bare(url)} broke off ({error})") from error
            finally:
                response.close()
            following = urljoin(url, str(place))
            if place_of(following) is None or not (is_studio or own.allows(following, hosts)):
                raise LabelStudioError(
                    f"{bare(url)} redirects to {bare(following)}, which is not allowed"
                )
            url = following
        raise LabelStudioError(f"{bare(url)} is redirected more than {MAX_REDIRECTS} times")


def _check(status: int, kind: str, url: str) -> None:
    """See that an answer is a file.

    Raises:
        LabelStudioError: it is not.
    """
    if status in (401, 403):
        raise KeyRefusedError(
            f"the image {bare(url)} is refused (HTTP {status}); may the user of the key see the "
            "project, and does Label Studio serve local files?"
        )
    if status >= 400:  # 500 as well: Label Studio fails on uploads that were deleted
        raise LabelStudioError(f"the image {bare(url)} is gone or cannot be read (HTTP {status})")
    if kind.startswith("text/html"):
        raise LabelStudioError(f"{bare(url)} is a web page, not an image")


def image_url(studio: LabelStudio, value: object, task: int, hosts: tuple[str, ...]) -> str:
    """Where the image of a task is.

    Args:
        studio: that has the task.
        value: of the task's data: a path on Label Studio, a URL, or a URI of cloud storage.
        task: its id.
        hosts: other than Label Studio's that are allowed.

    Raises:
        TaskError: it is none of these, or on a host that is not allowed.
    """
    if not isinstance(value, str) or not value or len(value) > 8192:
        raise TaskError(f"task {task}: its image is not a URL but {printable(repr(value), 80)}")
    if value.startswith("/"):
        below = bool(studio.own.path) and value.startswith(f"{studio.own.path}/")
        return (studio.own.root if below else studio.url) + quote(value, safe=_PATH)
    scheme, separator, _ = value.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme.lower()):
        raise TaskError(
            f"task {task}: its image {printable(repr(value), 80)} is neither a URL nor a path on "
            "Label Studio"
        )
    if scheme.lower() not in ("http", "https"):
        encoded = base64.urlsafe_b64encode(value.encode("utf-8", "replace")).decode()
        return f"{studio.url}/tasks/{task}/resolve/?fileuri={encoded}"
    if not studio.own.allows(value, hosts):
        place = place_of(value)
        host = place.netloc if place else value
        raise TaskError(
            f"task {task}: its image is at {printable(host, 100)}, not at {studio.url}; allow "
            "that with --image-host"
        )
    return value


_PATH = "/%?&=#:+,;@!$'()*~[]"
"""What stays as it is in a path; spaces and letters outside of ASCII are escaped."""
