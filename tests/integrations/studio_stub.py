"""A Label Studio to test against: keys, images, projects and backends, as its REST API has them."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LEGACY_KEY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL_KEY = "header.payload.signature"


class StudioStub:
    """Serves on loopback.

    Attributes:
        url: of it.
        images: files by path.
        redirects: locations by path.
        buckets: files by URI of cloud storage.
        projects: as created, by id.
        backends: as registered, by id.
        refuses_backend: what it says when a backend is registered; "" to take it.
        requests: method, path and Authorization of each request.
        access: tokens that were given for the personal key; those before the last have ended.
        release: clear it to hold back images.
    """

    def __init__(self, keyless: bool = False) -> None:
        self.images: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.buckets: dict[str, bytes] = {}
        self.projects: dict[int, dict[str, Any]] = {}
        self.backends: dict[int, dict[str, Any]] = {}
        self.refuses_backend = ""
        self.requests: list[tuple[str, str, str]] = []
        self.access: list[str] = []
        self.release = threading.Event()
        self.release.set()
        self.keyless = keyless
        stub = self

        class Handler(_Handler):
            studio = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def fetched(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(1 for _, asked, _ in self.requests if asked == path)

    def knows(self, authorization: str) -> bool:
        if self.keyless:
            return True
        bearer = f"Bearer {self.access[-1]}" if self.access else ""
        return authorization in (f"Token {LEGACY_KEY}", bearer)

    def __enter__(self) -> StudioStub:
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    studio: StudioStub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        authorization = self.headers.get("authorization", "")
        self.studio.requests.append((self.command, self.path, authorization))
        if self.path == "/api/token/refresh/":
            self._refresh(json.loads(body))
        elif not self.studio.knows(authorization):
            self._json(401, {"detail": "Invalid token."})
        elif self.path.startswith("/api/"):
            self._api(json.loads(body) if body else None)
        else:
            self.studio.release.wait(30)
            self._file()

    def _refresh(self, document: dict[str, str]) -> None:
        if document["refresh"] != PERSONAL_KEY:
            self._json(401, {"detail": "Token is invalid"})
            return
        self.studio.access.append(f"access-{len(self.studio.access)}")
        self._json(200, {"access": self.studio.access[-1]})

    def _api(self, document: Any) -> None:
        studio, place = self.studio, urlsplit(self.path)
        parts = place.path.strip("/").split("/")[1:]
        if parts == ["current-user", "whoami"]:
            self._json(200, {"id": 1, "email": "admin@example.com"})
        elif parts == ["projects"]:
            number = len(studio.projects) + 1
            studio.projects[number] = document
            self._json(201, document | {"id": number})
        elif parts[0] == "projects" and self.command == "DELETE":
            del studio.projects[int(parts[1])]
            self._json(204, None)
        elif parts[0] == "projects" and int(parts[1]) in studio.projects:
            studio.projects[int(parts[1])] |= document or {}
            self._json(200, studio.projects[int(parts[1])])
        elif parts == ["ml"] and self.command == "GET":
            project = int(parse_qs(place.query)["project"][0])
            found = [b for b in studio.backends.values() if b["project"] == project]
            self._json(200, found)
        elif parts[0] == "ml" and studio.refuses_backend:
            message = {"non_field_errors": [studio.refuses_backend]}
            self._json(400, {"detail": "Validation error", "validation_errors": message})
        elif parts[0] == "ml":
            number = int(parts[1]) if parts[1:] else len(studio.backends) + 1
            studio.backends[number] = document | {"id": number}
            self._json(201, studio.backends[number])
        else:
            self._json(404, {"detail": "Not found."})

    def _file(self) -> None:
        studio, place = self.studio, urlsplit(self.path)
        if place.path in studio.redirects:
            self._send(303, b"", location=studio.redirects[place.path])
        elif place.path.endswith("/resolve/"):
            uri = base64.urlsafe_b64decode(parse_qs(place.query)["fileuri"][0]).decode()
            data = studio.buckets.get(uri)
            self._send(200, data) if data else self._send(404, b"")
        elif self.path in studio.images:
            self._send(200, studio.images[self.path])
        elif place.path.startswith("/user/"):
            self._send(200, b"<html>", content_type="text/html; charset=utf-8")
        else:
            self._send(404, b"")

    def _json(self, status: int, document: object) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self._send(status, body, content_type="application/json")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# ---- requests as Label Studio 1.23 sends them


CONFIG = """
<View>
  <KeyPointLabels name="click" toName="image" smart="true" smartOnly="true">
    <Label value="cat" hotkey="1"/><Label value="dog" alias="hound"/>
  </KeyPointLabels>
  <RectangleLabels name="box" toName="image" smart="true"><Label value="cat"/></RectangleLabels>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="mask" toName="image"><Label value="cat"/><Label value="hound"/></BrushLabels>
</View>
"""

POLYGON_CONFIG = CONFIG.replace("BrushLabels", "PolygonLabels").replace('"mask"', '"outline"')
BOTH_CONFIG = CONFIG.replace(
    "</View>",
    '<PolygonLabels name="outline" toName="image"><Label value="cat"/></PolygonLabels></View>',
)

SIZE = (160, 120)
IMAGE = "/data/upload/1/a%20photo.png"


def click(
    x: float, y: float, positive: bool = True, *, id: str, label: str = "cat", **changes: Any
) -> dict[str, Any]:
    """A click on a pixel, as the smart keypoint tool sends it."""
    width, height = changes.get("size", SIZE)
    value = {"x": (x + 0.5) / width * 100, "y": (y + 0.5) / height * 100, "width": 0.28}
    region = {
        "id": id,
        "type": "keypointlabels",
        "from_name": "click",
        "to_name": "image",
        "origin": "manual",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "is_positive": positive,
        "value": value | {"labels": [label], "keypointlabels": [label]},
    }
    return region | {k: v for k, v in changes.items() if k != "size"}


def box(x: float, y: float, width: float, height: float, *, id: str) -> dict[str, Any]:
    """A box of the smart rectangle tool."""
    w, h = SIZE
    value = {
        "x": x / w * 100,
        "y": y / h * 100,
        "width": width / w * 100,
        "height": height / h * 100,
        "rotation": 0,
        "rectanglelabels": ["cat"],
    }
    changes = {"type": "rectanglelabels", "from_name": "box", "value": value}
    return click(0, 0, id=id) | changes


def predict_document(*regions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The body of `/predict`."""
    task = {"id": 7, "data": {"image": "/data/upload/1/a photo.png"}, "project": 2}
    fields = {
        "tasks": [task],
        "project": "2.1795692471",
        "label_config": CONFIG,
        "params": {"login": None, "password": None, "context": {"result": list(regions)}},
    }
    return fields | changes


def with_data(**data: Any) -> list[dict[str, Any]]:
    """Tasks with other data."""
    return [{"id": 7, "data": data, "project": 2}]
