"""What is wrong with a file: every offender by name, in one error."""

from __future__ import annotations

from clickcut.errors import ClickcutError


class FormatError(ClickcutError):
    """An annotation file cannot be read or written; the message names every offender.

    Args:
        source: the file, or what was to be written.
        faults: one line each, "where: what is wrong".

    Attributes:
        faults: as given.
    """

    def __init__(self, source: str, faults: list[str]) -> None:
        self.faults = faults
        if len(faults) == 1:
            text = f"{source}: {faults[0]}"
        else:
            text = "\n  ".join((f"{source}: {len(faults)} faults", *faults))
        super().__init__(text)


class Faults:
    """Collects what is wrong, so that a user can mend a file in one go.

    Args:
        source: the file.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Note a fault; `where` may be empty for the file as a whole."""
        self._lines.append(f"{where}: {what}" if where else what)

    def check(self) -> None:
        """Raise what was noted.

        Raises:
            FormatError: there was something.
        """
        if self._lines:
            raise FormatError(self.source, self._lines)
