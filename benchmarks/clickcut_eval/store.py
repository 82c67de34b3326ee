"""A run directory: what was measured, and a journal with one line per object.

`run.json` says with which protocol, on which objects, with which methods. Data sets and methods may
be added to a directory; what is there already must be the same, so results never mix. A line of
`journal.jsonl` is written when its object is done: an interrupted run loses nothing else.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from clickcut.whole_file import whole_file
from clickcut_eval.errors import RunError
from clickcut_eval.metrics import Outcome
from clickcut_eval.protocol import Protocol
from clickcut_eval.targets import Target

FORMAT = 1

PLACES = ("folder", "files")
"""Keys that may change between sessions; they are left out of `summary.json`."""

Key = tuple[str, str, str]
"""Data set, method, object."""


def fingerprint(targets: Sequence[Target]) -> str:
    """Hash of the objects' names and of the sizes of their photographs, in bytes."""
    lines = (f"{t.name} {t.image.stat().st_size}" for t in targets)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Run:
    """A run directory, open; one process writes at a time.

    Args:
        path: the directory; made when it does not exist.
        protocol: must match the one recorded; None: open for reading only.

    Attributes:
        path: as given.
        configuration: what `run.json` holds.
        outcomes: by data set, method and object; None for an object without pixels.

    Raises:
        RunError: another protocol or format, damaged, in use, cannot be written, or (to read) not
            a run directory.
    """

    def __init__(self, path: Path, protocol: Protocol | None = None) -> None:
        self.path = path
        self._lock: TextIO | None = None
        if protocol is not None:
            try:
                path.mkdir(parents=True, exist_ok=True)
                self._lock = (path / "lock").open("w")
            except OSError as error:
                raise RunError(
                    f"{path}: cannot be written ({error.strerror}); choose another --out"
                ) from error
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._lock.close()
                raise RunError(
                    f"{path}: another run writes into it; wait, or choose another --out"
                ) from error
        self.outcomes: dict[Key, Outcome | None] = {}
        try:
            self.configuration: dict[str, Any] = self._configuration(protocol)
            self._read_journal()
        except RunError:
            self.close()
            raise

    def _configuration(self, protocol: Protocol | None) -> dict[str, Any]:
        file = self.path / "run.json"
        if not file.exists():
            if protocol is None:
                raise RunError(f"{self.path}: not a run directory of `clickcut eval run`")
            if any(p.name != "lock" for p in self.path.iterdir()):
                raise RunError(
                    f"{self.path}: neither empty nor a run directory; choose another --out"
                )
            return {
                "format": FORMAT,
                "protocol": protocol.record(),
                "datasets": {},
                "methods": {},
            }
        try:
            found = json.loads(file.read_text())
            ours = found["format"], found["protocol"], found["datasets"], found["methods"]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{file}: damaged ({error!r}); choose another --out") from error
        if ours[0] != FORMAT:
            raise RunError(f"{file}: format {ours[0]}, this version writes {FORMAT}")
        if protocol is not None and ours[1] != protocol.record():
            raise RunError(
                f"{self.path}: was measured with {ours[1]}, now wanted: {protocol.record()}; "
                "choose another --out"
            )
        return dict(found)

    def add_dataset(
        self, name: str, title: str, target: float, targets: Sequence[Target], folder: Path
    ) -> None:
        """Record which objects a data set has, and where it lies.

        Raises:
            RunError: it is recorded with other objects.
        """
        self._add(
            "datasets",
            name,
            {
                "title": title,
                "target_iou": target,
                "objects": len(targets),
                "fingerprint": fingerprint(targets),
                "folder": str(folder.resolve()),
            },
        )

    def add_method(self, name: str, description: dict[str, Any]) -> None:
        """Record a method, see `methods.describe`.

        Raises:
            RunError: it is recorded with other parameters or files.
        """
        self._add("methods", name, description)

    def _add(self, what: str, name: str, entry: dict[str, Any]) -> None:
        entry = json.loads(json.dumps(entry))
        known = self.configuration[what].get(name)
        changed = [k for k in entry if k not in PLACES and known and known.get(k) != entry[k]]
        if changed:
            raise RunError(
                f"{self.path}: {name} is there already with another {changed[0]}; results of both "
                "are not mixed: choose another --out"
            )
        self.configuration[what][name] = entry

    def save_configuration(self, **facts: Any) -> None:
        """Write `run.json`, with further facts about the run (machine, command)."""
        self.configuration |= facts
        with whole_file(self.path / "run.json") as file:
            file.write(f"{json.dumps(self.configuration, indent=1)}\n".encode())

    def close(self) -> None:
        """Release the lock on the directory."""
        if self._lock is not None:
            self._lock.close()

    def add(self, dataset: str, method: str, name: str, outcome: Outcome | None) -> None:
        """Record the outcome of an object, on disk too."""
        self.outcomes[dataset, method, name] = outcome
        row: dict[str, Any] = {"dataset": dataset, "method": method, "object": name}
        if outcome is not None:
            row |= {
                "category": outcome.category,
                "area": outcome.area,
                "size": outcome.size,
                "ious": outcome.ious,
                "clicks": [[x, y, int(positive)] for x, y, positive in outcome.clicks],
                "seconds": [round(s, 5) for s in outcome.seconds],
                "image_seconds": round(outcome.image_seconds, 5),
            }
        with (self.path / "journal.jsonl").open("a") as journal:
            journal.write(json.dumps(row) + "\n")

    def _read_journal(self) -> None:
        file = self.path / "journal.jsonl"
        if not file.exists():
            return
        data = file.read_bytes()
        # A line without its end was being written when the run was interrupted.
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data) and self._lock is not None:
            file.write_bytes(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                key = row["dataset"], row["method"], row["object"]
                self.outcomes[key] = _outcome(row) if "ious" in row else None
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{file}, line {number}: damaged ({error!r}); remove that line"
                ) from error

    def of(self, dataset: str, method: str) -> list[Outcome]:
        """The outcomes of a method on a data set, by object name, without skipped objects."""
        chosen = [o for (d, m, _), o in self.outcomes.items() if (d, m) == (dataset, method) and o]
        return sorted(chosen, key=lambda o: o.name)


def _outcome(row: dict[str, Any]) -> Outcome:
    width, height = row["size"]
    return Outcome(
        row["object"],
        row["ious"],
        [(x, y, bool(positive)) for x, y, positive in row["clicks"]],
        row["seconds"],
        row["image_seconds"],
        row["category"],
        row["area"],
        (width, height),
    )
