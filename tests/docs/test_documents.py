"""The form of the documents: length of lines."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 120
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
)


def prose(text: str) -> list[tuple[int, str]]:
    """Numbered lines that can be broken: no tables, no code, no line that is one long link."""
    lines, fenced = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.lstrip().startswith(("|", "    ", "![")):
            lines.append((number, line))
    return lines


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_lines_are_at_most_120_characters(document: Path) -> None:
    too_long = [
        f"{document.name}:{n}" for n, line in prose(document.read_text()) if len(line) > LONGEST
    ]
    assert not too_long
