"""Who may talk to the page: a host that is ours, an origin that is the page itself, a token."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clickcut_page.settings import PageSettings

COOKIE = "clickcut-token"

HEADERS = (
    (b"content-security-policy",
     b"default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; "
     b"object-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)  # fmt: skip


class Guard:
    """ASGI middleware that refuses what does not come from the page itself.

    Args:
        app: what is guarded.
        settings: token and names.
    """

    def __init__(self, app: ASGIApp, settings: PageSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer it with a refusal."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal:
            await self._refuse(refusal, scope, receive, send)
            return
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if self._settings.token and scope["type"] == "http" and self._is_token(given):
            response = RedirectResponse(scope["path"], 303)
            response.set_cookie(COOKIE, given, httponly=True, samesite="strict", path="/")
            await response(scope, receive, send)
            return
        if self._settings.token and not self._is_token(_cookie(headers)):
            await self._refuse(
                (401, "open the page by the whole address that was printed, token included"),
                scope, receive, send,
            )  # fmt: skip
            return
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._settings.accepts_host(host):
            return 421, f"this page is not served as {host!r}; allow that with --allow-host"
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and origin is None and scope["type"] == "websocket":
            return 403, "a WebSocket must name its origin"
        if origin is not None and not self._is_own(origin, host):
            return 403, f"requests from {origin!r} are not taken"
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether an origin is the page: at the request's host, or at a name that is allowed."""
        try:
            place = urlsplit(origin).netloc.lower()
        except ValueError:
            return False
        return bool(place) and (place == host.lower() or place in self._settings.allowed_hosts)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._settings.token.encode())

    async def _refuse(
        self, refusal: tuple[int, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        status, text = refusal
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": text[:120]})
            return
        await PlainTextResponse(text, status)(scope, receive, send)


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _with_headers(send: Send) -> Send:
    async def sending(message: object) -> None:
        if isinstance(message, dict) and message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)  # type: ignore[arg-type]

    return sending
