"""What a check found, and how checks are run: none of them ends the examination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from clickcut.errors import ClickcutError, printable

Status = Literal["ok", "warning", "error"]

Check = Callable[[], Iterable["Finding"]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name, e.g. "memory".
        status: "error": something does not work; "warning": it works, badly or not for long.
        message: what was found, one line.
        advice: what to do; "" if nothing.
        data: the same for programs, of types that JSON has.
    """

    check: str
    status: Status
    message: str
    advice: str = ""
    data: dict[str, object] = field(default_factory=dict)


def examine(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """Run checks and yield their findings as they come; an exception is a finding as well.

    Args:
        checks: each with its name.
    """
    for name, check in checks:
        try:
            yield from check()
        except ClickcutError as error:  # its message says what to do
            yield Finding(name, "error", "cannot be used", str(error))
        except Exception as error:  # a broken package may raise anything
            kind = type(error).__name__
            first = printable(str(error).partition("\n")[0], 300)
            yield Finding(
                name,
                "error",
                f"{kind}: {first}",
                "install clickcut and its dependencies again: pip install --force-reinstall "
                "'clickcut[cpu]'; if it stays, report it with the output of clickcut doctor --json",
            )
