"""Run the tests that failed in the last run of pytest once more, if they are few.

    make test || make test-failed-again

Exit code 0: each of them passes now; they are named as disturbed. Otherwise 1: more than
`MAX_FAILED` had failed, or the run had not reached its end (an error in collection, a crash, an
interrupt), or one of them failed again, was skipped or was not found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

MAX_FAILED = 3
CACHE = Path(".pytest_cache/v")
ENDED_WITH_FAILURES = 1
"""Exit code of pytest after all tests were run and some failed."""


def main() -> int:
    """Return the exit code."""
    status, failed = read("clickcut/exit_status"), sorted(read("cache/lastfailed") or ())
    if status != ENDED_WITH_FAILURES or not failed:
        print("tests are not run again: the last run did not reach its end, or no test failed")
        return 1
    if len(failed) > MAX_FAILED:
        print(f"tests are not run again: {len(failed)} failed, and at most {MAX_FAILED} may")
        return 1
    print(f"{len(failed)} failed and are run again:", *failed, sep="\n  ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "--last-failed", f"--junit-xml={report}"]
        code = subprocess.run(command, check=False).returncode
        passed = passes(report)
    if code or passed != len(failed):
        print(f"failed again: pytest ended with {code}, {passed} of {len(failed)} tests passed")
        return 1
    print("disturbed, passed only the second time:", *failed, sep="\n  ")
    return 0


def read(key: str) -> object:
    """Return a value of pytest's cache; None if there is none."""
    try:
        return json.loads((CACHE / key).read_text())
    except FileNotFoundError:
        return None


def passes(report: Path) -> int:
    """Return the number of tests in a report that passed."""
    if not report.is_file():
        return 0
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return sum(not {"failure", "error", "skipped"} & {part.tag for part in case} for case in cases)


if __name__ == "__main__":
    sys.exit(main())
