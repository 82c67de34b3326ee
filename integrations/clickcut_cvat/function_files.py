"""The files of the serverless function, with the settings filled in."""

from __future__ import annotations

import json
import shlex
from importlib import resources
from pathlib import Path

from clickcut.client.channel import Endpoint, tls_credentials
from clickcut.errors import EventError

IMAGE_FOLDER = "/opt/nuclio"
"""Where nuclio copies the function's folder."""

CA_NAME = "ca.pem"


def write_function(
    folder: Path,
    server: str,
    package: str,
    *,
    tls: bool = False,
    ca: Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write the folder that `nuctl deploy --path` takes, all of its files or none.

    Args:
        folder: created if it is not there.
        server: HOST:PORT of the engine, as seen from the function's container.
        package: path of a wheel of clickcut, which is copied, or a requirement for pip.
        tls: use TLS.
        ca: file of CA certificates to trust, PEM; implies TLS. Copied.
        overwrite: replace files that are there.

    Returns:
        The files.

    Raises:
        EventError: an invalid setting, a file that cannot be read or written, or is there already.
    """
    Endpoint(server)  # checks the address
    tls_credentials(tls, ca)  # checks the file
    files: dict[str, bytes] = {"main.py": _packaged("main.py")}
    wanted = package
    if package.endswith(".whl"):
        wheel = Path(package)
        files[wheel.name] = _read(wheel)
        wanted = f"{IMAGE_FOLDER}/{wheel.name}"
    environment = {"SERVER": server, "TLS": "1" if tls or ca else "0", "CA": ""}
    if ca is not None:
        files[CA_NAME] = _read(ca)
        environment["CA"] = f"{IMAGE_FOLDER}/{CA_NAME}"
    install = f"pip install --no-cache-dir {shlex.quote(wanted)}"
    document = _packaged("function.yaml").decode()
    for name, value in (environment | {"INSTALL": install}).items():
        document = document.replace(f"@{name}@", json.dumps(value))  # JSON text is YAML text
    files["function.yaml"] = document.encode()
    return _write(folder, files, overwrite)


def _packaged(name: str) -> bytes:
    return (resources.files("clickcut_cvat") / "nuclio" / name).read_bytes()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EventError(f"{path}: cannot be read ({error.strerror})") from error


def _write(folder: Path, files: dict[str, bytes], overwrite: bool) -> list[Path]:
    there = [name for name in files if (folder / name).exists()]
    if there and not overwrite:
        raise EventError(f"{folder} has {', '.join(there)} already; --overwrite replaces them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = {folder / f".{name}.partial": folder / name for name in files}
        for (path, _), data in zip(partial.items(), files.values(), strict=True):
            path.write_bytes(data)
        for path, target in partial.items():
            path.replace(target)
    except OSError as error:
        raise EventError(f"{folder}: cannot be written ({error.strerror})") from error
    return list(partial.values())
