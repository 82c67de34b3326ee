"""A real Label Studio as a process, its REST API, and its labelling window."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import urllib3
from server.harness import DEADLINE, wait_until

EXECUTABLE_VARIABLE = "CLICKCUT_LABEL_STUDIO"
"""Environment variable with the path of the executable `label-studio`."""
START_SECONDS = 1500.0
"""The first start creates the data base, which takes minutes on a small machine."""
EMAIL, PASSWORD = "admin@example.com", "clickcut-1"


def executable() -> Path | None:
    """Of Label Studio; None where it is not installed."""
    found = os.environ.get(EXECUTABLE_VARIABLE) or shutil.which("label-studio")
    return Path(found) if found else None


class StudioProcess:
    """Label Studio on SQLite, reachable from this machine only.

    Args:
        path: of its executable.
        folder: for its data; `files` in it may be served as local files.

    Attributes:
        url: of it.
        token: legacy token of its administrator.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.token = secrets.token_hex(20)
        self.files = folder / "files"
        self.files.mkdir()
        self._path = path
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "log.txt").open("w")
        words = ["start", "--no-browser", "--internal-host", "127.0.0.1", "-p", str(port)]
        words += ["--username", EMAIL, "--password", PASSWORD, "--user-token", self.token]
        environment = os.environ | {
            "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
            "LOCAL_FILES_SERVING_ENABLED": "true",
            "LOCAL_FILES_DOCUMENT_ROOT": str(folder),
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "USE_DEFAULT_BANNED_SUBNETS": "false",
        }
        self.process = subprocess.Popen(
            [path, *words, "--enable-legacy-api-token"],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        self._pool = urllib3.PoolManager(retries=False, timeout=DEADLINE)
        try:
            wait_until(self._is_up, "Label Studio is up", START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"Label Studio ended: {self._log.name}"
        try:
            return self._pool.request("GET", f"{self.url}/health", timeout=2.0).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def ask(self, method: str, path: str, document: object = None, **options: Any) -> bytes:
        """Call the REST API; the answer must be a success."""
        headers = {"authorization": f"Token {self.token}"}
        if document is not None:
            options["body"] = json.dumps(document)
            headers["content-type"] = "application/json"
        answer = self._pool.request(method, f"{self.url}{path}", headers=headers, **options)
        assert 200 <= answer.status < 300, (method, path, answer.status, answer.data[:500])
        return answer.data

    def json(self, method: str, path: str, document: object = None, **options: Any) -> Any:
        """Call the REST API; its answer."""
        return json.loads(self.ask(method, path, document, **options))

    def upload(self, project: int, name: str, data: bytes) -> dict[str, Any]:
        """Upload an image; the task that comes of it."""
        before = {task["id"] for task in self.tasks(project)}
        self.json("POST", f"/api/projects/{project}/import", fields={"file": (name, data)})
        [task] = [task for task in self.tasks(project) if task["id"] not in before]
        return task

    def tasks(self, project: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("GET", f"/api/tasks?project={project}")["tasks"]
        return found

    def backend(self, project: int) -> dict[str, Any]:
        """The backend that is registered in a project."""
        [found] = self.json("GET", f"/api/ml?project={project}")
        assert isinstance(found, dict)
        return found

    def click(self, project: int, task: int, regions: list[dict[str, Any]]) -> dict[str, Any]:
        """What an annotator's browser is answered for smart clicks."""
        path = f"/api/ml/{self.backend(project)['id']}/interactive-annotating"
        found: dict[str, Any] = self.json(
            "POST", path, {"task": task, "context": {"result": regions}}
        )
        return found

    def python(self, code: str, data: bytes) -> bytes:
        """Run Python with what Label Studio brings, such as its converter."""
        interpreter = self._path.resolve().parent / "python"
        return subprocess.run(
            [interpreter, "-c", code], input=data, capture_output=True, check=True, timeout=DEADLINE
        ).stdout

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def __enter__(self) -> StudioProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class LabellingWindow:
    """A window of a browser in which a task is labelled with the keypoint tool.

    Args:
        page: of Playwright.
        studio: to log in to.
    """

    def __init__(self, page: Any, studio: StudioProcess) -> None:
        self.page = page
        self._studio = studio
        page.set_default_timeout(4000 * DEADLINE)  # on a busy machine, this page takes minutes
        page.goto(f"{studio.url}/user/login/", wait_until="commit")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda url: "/user/login" not in url, wait_until="commit")

    def open(self, project: int, task: int) -> None:
        """Open a task, with Auto-Annotation on and the smart tool in hand."""
        url = f"{self._studio.url}/projects/{project}/data?task={task}"
        self.page.goto(url, wait_until="commit")
        self.page.wait_for_selector("canvas")
        self.page.click("text=Auto-Annotation")
        self.page.wait_for_selector("text=Auto-Accept Suggestions")
        self.page.click(".lsf-tool_smart")  # keys do nothing while the switch has the focus

    def click(
        self, key: str, x: float, y: float, size: int, positive: bool = True
    ) -> list[dict[str, Any]]:
        """Choose a label by its key, click on a pixel of an image of `size` columns, and wait.

        Returns:
            The clicks that were sent.
        """
        page = self.page
        page.keyboard.press(key)
        page.wait_for_selector(".lsf-label_selected")
        box = page.locator("canvas").first.bounding_box()
        scale = box["width"] / size
        with page.expect_response(lambda r: "interactive-annotating" in r.url) as answered:
            if not positive:
                page.keyboard.down("Alt")
            page.mouse.click(box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale)
            if not positive:
                page.keyboard.up("Alt")
        assert "data" in answered.value.json(), answered.value.text()
        page.wait_for_selector(self._button("accept-suggestions"))
        page.wait_for_timeout(1000)  # it is drawn
        sent: list[dict[str, Any]] = answered.value.request.post_data_json["context"]["result"]
        return sent

    def accept(self) -> None:
        """Take the suggestion."""
        self.page.click(self._button("accept-suggestions"))
        self.page.wait_for_selector(self._button("accept-suggestions"), state="detached")

    def submit(self) -> None:
        """Save the annotation."""
        with self.page.expect_response(lambda r: "/annotations" in r.url) as answered:
            self.page.click(self._button("submit"))
        assert answered.value.ok

    @staticmethod
    def _button(name: str) -> str:
        return f"[data-testid=bottombar-{name}-button]"
