"""Options that several benchmarks take, and the parsing of their values."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Also draw them to this PNG.")]


def _name_new_option(value: str | None) -> None:
    if value:
        raise typer.BadParameter(f"write --data grabcut:{value}", param_hint="--data")


Data = Annotated[
    str,
    typer.Option(
        metavar="KIND:FOLDER[:SPLIT,...]",
        help="Photographs with masks, as for `clickcut eval run`. Default: the packaged one.",
    ),
]
Generated = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="KIND:FOLDER[:SPLIT,...]",
        help="Photographs with masks, as for `clickcut eval run`. Default: the packaged one and "
        "generated objects.",
    ),
]
OldImages = Annotated[str | None, typer.Option("--images", hidden=True, callback=_name_new_option)]


def parse_size(text: str) -> tuple[int, int] | None:
    """Parse WIDTHxHEIGHT; None for nothing."""
    if not text:
        return None
    words = text.split("x")
    if len(words) != 2 or not all(w.isdecimal() and 16 <= int(w) <= 10_000 for w in words):
        raise typer.BadParameter(
            f"WIDTHxHEIGHT, 16 to 10000 each, not {text!r}", param_hint="--size"
        )
    return int(words[0]), int(words[1])


def parse_server(text: str) -> tuple[str, str]:
    """Parse [NAME=]HOST:PORT."""
    name, equals, address = text.rpartition("=")
    return (name if equals else address), address


def parse_words(option: str, text: str) -> list[str]:
    """Split text as a shell does."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}", param_hint=option) from error


def parse_numbers(option: str, text: str) -> list[int]:
    """Parse comma-separated positive whole numbers."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and 0 < int(word) <= 4096 for word in words):
        raise typer.BadParameter(
            f"whole numbers from 1 to 4096 and not {text!r}", param_hint=option
        )
    return [int(word) for word in words]
