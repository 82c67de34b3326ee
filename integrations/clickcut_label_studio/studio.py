"""Label Studio's REST API and files: its two kinds of keys, and where a key may be sent."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from clickcut.errors import ImageError, printable
from clickcut_label_studio.errors import (
    KeyRefusedError,
    LabelStudioError,
    LabelStudioUnreachableError,
)
from clickcut_label_studio.urls import ODD, Own, bare

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
ACCESS_SECONDS = 240.0
"""A Bearer token is valid for 300 s."""
MAX_DOCUMENT_BYTES = 16 * 2**20
CHUNK = 2**18


class LabelStudio:
    """A connection to Label Studio; may be used by several threads.

    Args:
        url: of Label Studio, with the path where it has one.
        api_key: a personal access token (has two dots) or a legacy token.

    Attributes:
        url: without a slash at the end.
        own: which URLs are Label Studio's.

    Raises:
        LabelStudioError: the URL is none.
    """

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        try:
            self.own = Own(url)
        except ValueError:
            raise LabelStudioError(
                f"{printable(url, 200)!r} is not the URL of a Label Studio; give one like "
                "http://localhost:8080"
            ) from None
        if not api_key or ODD.search(api_key) or not api_key.isascii():
            raise LabelStudioError("the key is empty, or holds characters that no key has")
        self._key = api_key
        self._lock = threading.Lock()
        self._access, self._access_until = "", 0.0
        self._pool = urllib3.PoolManager(
            maxsize=8, retries=False, timeout=urllib3.Timeout(CONNECT_SECONDS, READ_SECONDS)
        )

    def check(self) -> None:
        """See that this is a Label Studio that takes the key.

        Raises:
            LabelStudioError: it is not.
        """
        found = self.call("GET", "/api/current-user/whoami")
        if not isinstance(found, dict) or "id" not in found:
            raise LabelStudioError(f"{self.url} answers, but not as Label Studio does")

    def call(self, method: str, path: str, document: object = None) -> Any:
        """Call the REST API; the answer's JSON, None where it has no content.

        Raises:
            LabelStudioError: it is not reachable, refuses, or answers with something else.
        """
        body = None if document is None else json.dumps(document).encode()
        data = self._read(self.send(method, self.url + path, True, body), path)
        if not data:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._foreign() from error

    # ---- keys

    def send(
        self, method: str, url: str, with_key: bool, body: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; the answer's body is not read yet, and redirects are not followed.

        Args:
            method: of HTTP.
            url: Label Studio's, or another one without the key.
            with_key: whether to send the key.
            body: JSON.

        Raises:
            LabelStudioError: there is no answer.
        """
        headers = {"accept-encoding": "identity", "user-agent": "clickcut"}
        if body is not None:
            headers["content-type"] = "application/json"
        response = self._request(method, url, headers | self._key_header(with_key), body)
        if response.status == 401 and with_key and self._access:
            response.close()
            self._access_until = 0.0  # revoked or ended early: once more with another
            response = self._request(method, url, headers | self._key_header(True), body)
        return response

    def _request(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(
                method, url, headers=headers, body=body, preload_content=False, redirect=False,
                decode_content=False,
            )  # fmt: skip
        except HTTPError as error:
            if self.own.holds(url):
                raise self._unreachable(error) from error
            raise LabelStudioError(f"{bare(url)} does not answer ({_why(error)})") from error

    def _read(self, response: urllib3.BaseHTTPResponse, path: str) -> bytes:
        """The body of an answer to a call of the REST API.

        Raises:
            LabelStudioError: it is a refusal, too large, or broke off.
        """
        try:
            data = read_limited(response, MAX_DOCUMENT_BYTES, self.url + path)
        except HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            response.release_conn()
        if response.status >= 400:
            raise self._refused(response.status, path, data)
        return data

    def _key_header(self, wanted: bool) -> dict[str, str]:
        if not wanted:
            return {}
        if self._key.count(".") != 2:
            return {"authorization": f"Token {self._key}"}
        with self._lock:
            if time.monotonic() >= self._access_until:
                self._access = self._refreshed()
                self._access_until = time.monotonic() + ACCESS_SECONDS
            return {"authorization": f"Bearer {self._access}"}

    def _refreshed(self) -> str:
        """A Bearer token for the personal access token."""
        path = "/api/token/refresh/"
        headers = {"content-type": "application/json", "user-agent": "clickcut"}
        body = json.dumps({"refresh": self._key}).encode()
        data = self._read(self._request("POST", self.url + path, headers, body), path)
        try:
            access = json.loads(data)["access"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._foreign() from error
        if not isinstance(access, str) or ODD.search(access) or not access.isascii():
            raise LabelStudioError(f"{self.url} gave a token that cannot be used")
        return access

    # ---- what went wrong

    def _foreign(self) -> LabelStudioError:
        return LabelStudioError(
            f"{self.url} answers, but not as Label Studio does; is the URL right?"
        )

    def _refused(self, status: int, path: str, data: bytes) -> LabelStudioError:
        said = _said(data)
        if status == 401:
            return KeyRefusedError(
                f"Label Studio at {self.url} refuses the key ({said or 'HTTP 401'}); take a "
                "personal access token from its page Account & Settings"
            )
        if status == 403:
            return KeyRefusedError(f"Label Studio does not let this user do that ({said})")
        if status == 404:
            return LabelStudioError(
                f"{self.url}{path} is not there (HTTP 404); is this the URL of Label Studio?"
            )
        if status in (502, 503, 504):
            return LabelStudioUnreachableError(
                f"Label Studio does not answer at {self.url} (HTTP {status})"
            )
        return LabelStudioError(f"Label Studio refuses {path} (HTTP {status}): {said}")

    def _unreachable(self, error: HTTPError) -> LabelStudioUnreachableError:
        return LabelStudioUnreachableError(
            f"Label Studio does not answer at {self.url} ({_why(error)})"
        )

    # ---- hosts


def read_limited(
    response: urllib3.BaseHTTPResponse, max_bytes: int, where: str, end: float | None = None
) -> bytes:
    """The body of an answer.

    Args:
        response: not read yet.
        max_bytes: that it may have.
        where: it comes from, for messages.
        end: time of the monotonic clock by which it must be here.

    Raises:
        ImageError: it is larger.
        LabelStudioError: it takes longer.
    """
    parts, received = [], 0
    for part in response.stream(CHUNK, decode_content=False):
        received += len(part)
        if received > max_bytes:
            raise ImageError(f"{where} has more than {max_bytes:,} bytes")
        if end is not None and time.monotonic() > end:
            raise LabelStudioError(f"{where} arrives too slowly")
        parts.append(part)
    return b"".join(parts)


def _why(error: HTTPError) -> str:
    text = str(error)
    for pattern, meaning in _REASONS:
        if re.search(pattern, text, re.I):
            return meaning
    return printable(text, 200)


_REASONS = (
    (r"refused", "connection refused"),
    (r"name or service|getaddrinfo|resolve|name resolution", "no such host"),
    (r"connect timeout|connection to .* timed out", "no answer"),
    (r"read timed out", "it took too long"),
    (r"certificate|ssl", "TLS failed"),
)


def _said(data: bytes) -> str:
    """What an answer of the REST API says is wrong, in one line."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    if isinstance(found, dict) and isinstance(found.get("validation_errors"), dict):
        found = found["validation_errors"]
    elif isinstance(found, dict):
        found = found.get("detail", found)
    lines = _texts(found)
    return printable(" ".join(" ".join(lines).split()), 500)


def _texts(found: object) -> list[str]:
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        return [text for item in found[:10] for text in _texts(item)]
    return [found] if isinstance(found, str) else []
