"""Parse the clicks, boxes and windows of command-line options."""

from __future__ import annotations

import typer

Click = tuple[float, float, bool]
"""x, y and whether positive."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


def parse_click(text: str) -> Click:
    """Return x, y and whether positive of X,Y or X,Y,+ or X,Y,-.

    Raises:
        typer.BadParameter: another form.
    """
    x, _, rest = text.partition(",")
    y, _, sign = rest.partition(",")
    try:
        place = float(x), float(y)
    except ValueError:
        place = None
    if place is None or sign.strip() not in ("", "+", "-"):
        raise typer.BadParameter(f"a click is X,Y or X,Y,- and not {text!r}", param_hint="--click")
    return (*place, sign.strip() != "-")


def parse_box(text: str) -> Box:
    """Return the four numbers of X0,Y0,X1,Y1.

    Raises:
        typer.BadParameter: another form.
    """
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"a box is X0,Y0,X1,Y1 and not {text!r}", param_hint="--box"
        ) from None
    return x0, y0, x1, y1


def parse_window(text: str) -> tuple[float, float] | None:
    """Return the two numbers of LOW,HIGH; None for "".

    Raises:
        typer.BadParameter: another form.
    """
    if not text:
        return None
    low, _, high = text.partition(",")
    try:
        return float(low), float(high)
    except ValueError:
        raise typer.BadParameter(
            f"a window is LOW,HIGH and not {text!r}", param_hint="--window"
        ) from None
