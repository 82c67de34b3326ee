"""The routes of CVAT's server that an agent uses, on loopback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

DATE = "2026-01-01T00:00:00Z"
TASK = {
    "id": 7,
    "name": "photographs",
    "size": 1,
    "data_chunk_size": 72,
    "data_original_chunk_type": "imageset",
    "data_compressed_chunk_type": "imageset",
    "mode": "annotation",
    "organization": None,
    "organization_id": None,
    "project_id": None,
    "jobs": {"count": 1, "completed": 0, "validation": 0, "url": ""},
    "labels": {"url": ""},
    "updated_date": DATE,
    "created_date": DATE,
}
FUNCTION = {
    "id": 3,
    "name": "clickcut",
    "provider": "native",
    "kind": "interactor",
    "min_pos_points": 1,
    "min_neg_points": 0,
    "startswith_box": False,
    "startswith_box_optional": False,
}


class CvatStub:
    """A server with one task of one frame, and requests for an agent.

    Args:
        frame: the image file.
        requests: `ar_params` of the requests, in order.

    Attributes:
        url: where it is.
        created: bodies of requests to create a function.
        answers: by id of the request, "complete" or "fail" and the body.
        frames_sent: how often the frame was fetched.
    """

    def __init__(self, frame: bytes, requests: Sequence[dict[str, Any]]) -> None:
        self.frame, self.requests = frame, list(requests)
        self.created: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[str, dict[str, Any]]] = {}
        self.frames_sent = 0
        self._given = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                self._answer(json.loads(body or b"{}"))

            def _answer(self, body: dict[str, Any]) -> None:
                status, found = stub.answer(self.command, self.path, body)
                data = found if isinstance(found, bytes) else json.dumps(found).encode()
                kind = "image/png" if isinstance(found, bytes) else "application/json"
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                if self.path.startswith("/api/auth/login"):
                    for name in ("sessionid", "csrftoken"):
                        self.send_header("Set-Cookie", f"{name}=x; Path=/")
                self.end_headers()
                self.wfile.write(data)

        return Handler

    def answer(self, method: str, target: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and body of a reply; bytes are an image."""
        path = unquote(target.partition("?")[0]).rstrip("/")
        match method, path:
            case _, "/api/server/about":
                about = {"name": "CVAT", "description": "", "version": "2.80.0"}
                return 200, about | {"logo_url": "", "subtitle": ""}
            case _, "/api/auth/login" | "/api/auth/logout":
                return 200, {"key": "x"}
            case "POST", "/api/functions":
                self.created.append(body)
                return 201, FUNCTION | body
            case "GET", "/api/functions/3":
                return 200, FUNCTION
            case "POST", "/api/functions/queues/function:3/requests/acquire":
                return 200, {"ar_assignment": self._next(body["request_category"])}
            case "GET", "/api/tasks/7":
                return 200, TASK
            case "GET", "/api/labels":
                return 200, {"count": 0, "next": None, "previous": None, "results": []}
            case "GET", "/api/tasks/7/data/meta":
                frame = {"name": "a.png", "width": 160, "height": 120, "related_files": 0}
                meta = {"size": 1, "start_frame": 0, "stop_frame": 0, "frames": [frame]}
                return 200, meta | {
                    "chunk_size": 72,
                    "image_quality": 70,
                    "deleted_frames": [],
                    "chunks_updated_date": DATE,
                }
            case "GET", "/api/tasks/7/data":
                self.frames_sent += 1
                return 200, self.frame
        if found := re.fullmatch(r"/api/functions/queues/function:3/requests/(\w+)/(\w+)", path):
            self.answers[found[1]] = found[2], body
            return 200, {}
        return 404, {"detail": f"{method} {target}"}

    def _next(self, category: str) -> dict[str, Any] | None:
        if category != "interactive" or self._given == len(self.requests):
            return None
        self._given += 1
        return {"ar_id": f"r{self._given}", "ar_params": self.requests[self._given - 1]}

    @contextmanager
    def serving(self) -> Iterator[CvatStub]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def interact(positive: list[list[float]], negative: Sequence[list[float]] = ()) -> dict[str, Any]:
    """Parameters of a request as the browser causes it."""
    return {
        "type": "interact",
        "task": 7,
        "frame": 0,
        "pos_points": positive,
        "neg_points": list(negative),
        "obj_bbox": [],
    }
