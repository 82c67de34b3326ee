"""The token file: who may use a server, and how much of it.

One line for each token, `#` begins a comment:

    # name   SHA-256 of the token                      limits
    alice    sha256:9f86d081884c7d659a2feaa0c55ad0...  sessions=20 requests=4
    studio   sha256:60303ae22b998861bce3b28f33eec1...  images=500 megapixels-per-minute=2000

The tokens themselves are not in it. They are random, 256 bits, so a plain SHA-256 protects them: no
dictionary holds one. Two hashes separated by a comma are both valid, while a token is replaced.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clickcut.errors import ClickcutError, printable

MAX_TOKENS = 1000
"""Each call is compared with all of them."""

MAX_FILE_BYTES = 2**20

_PREFIX = "clickcut_"
"""Of a token, so that scanners for leaked secrets recognise one."""
_TOKEN_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_MAX_LIMIT = 1_000_000


class TokenFileError(ClickcutError):
    """The token file cannot be used."""


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """How much of a server a token may use; None: what the server's settings allow.

    Attributes:
        sessions: open at once.
        images: held at once.
        requests: that wait or run at once.
        megapixels_per_minute: of images that are decoded.
        store_mib: of its sessions in the store.
        store_image_mib: of its images in the store.
    """

    sessions: int | None = None
    images: int | None = None
    requests: int | None = None
    megapixels_per_minute: float | None = None
    store_mib: float | None = None
    store_image_mib: float | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A line of the file.

    Attributes:
        name: whose token it is; sessions and images belong to this name.
        hashes: SHA-256 of each token that is valid for it.
        limits: of all that use it together.
    """

    name: str
    hashes: tuple[bytes, ...]
    limits: TokenLimits = TokenLimits()


def hash_of(token: str) -> bytes:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_token(name: str) -> tuple[str, str]:
    """Make a token.

    Returns:
        The token, and the line for the file.

    Raises:
        TokenFileError: the name cannot be used.
    """
    _check_name(name)
    token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    return token, f"{name} sha256:{hash_of(token).hex()}"


def read_tokens(path: Path) -> list[Token]:
    """Read a token file.

    Raises:
        TokenFileError: it cannot be read, other users may read or write it, it is not UTF-8, empty
            or not of this form.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise TokenFileError(f"{path}: not a regular file")
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                raise TokenFileError(
                    f"{path}: every user of this machine may read or write it; run chmod 600 {path}"
                )
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenFileError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_FILE_BYTES:
        raise TokenFileError(f"{path}: larger than {MAX_FILE_BYTES} bytes, so not a token file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TokenFileError(f"{path}: not UTF-8 (byte {error.start})") from error
    return parse_tokens(text, str(path))


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else the open waits for who writes to a pipe


def parse_tokens(text: str, source: str) -> list[Token]:
    """Return the tokens of the text of a token file.

    Args:
        text: of the file.
        source: what to call it in errors.

    Raises:
        TokenFileError: empty, a line is not of this form, or a name or hash occurs twice.
    """
    found: dict[str, int] = {}
    hashes: dict[bytes, str] = {}
    tokens: list[Token] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"{source}, line {number}"
        token = _token(words, where)
        if token.name in found:
            raise TokenFileError(
                f"{where}: the name {token.name} is in line {found[token.name]} already; give each "
                "token a name of its own"
            )
        for known in token.hashes:
            if known in hashes:
                raise TokenFileError(f"{where}: {hashes[known]} has the same token already")
            hashes[known] = token.name
        found[token.name] = number
        tokens.append(token)
    if not tokens:
        raise TokenFileError(
            f"{source}: holds no token, so no client could use the server; make one with "
            "`clickcut token new NAME`"
        )
    if len(hashes) > MAX_TOKENS:
        raise TokenFileError(f"{source}: {len(hashes)} tokens, more than {MAX_TOKENS}")
    return tokens


def _token(words: list[str], where: str) -> Token:
    name, *rest = words
    _check_name(name, f"{where}: ")
    if not rest:
        raise TokenFileError(f"{where}: has no hash; a line is NAME sha256:HASH [LIMIT=NUMBER]...")
    hashes = []
    for text in rest[0].split(","):
        match = _HASH.fullmatch(text)
        if not match:
            raise TokenFileError(
                f"{where}: a hash is sha256: and 64 lower-case hex digits, as `clickcut token new` "
                "prints it (the token itself does not belong here)"
            )
        hashes.append(bytes.fromhex(match[1]))
    return Token(name, tuple(hashes), _limits(rest[1:], where))


def _check_name(name: str, where: str = "") -> None:
    if not _NAME.fullmatch(name):
        raise TokenFileError(
            f"{where}a name is 1 to 64 letters, digits and ._@+-, the first a letter or digit, "
            f"not {printable(name, 80)!r}"
        )


def _limits(words: list[str], where: str) -> TokenLimits:
    given: dict[str, float] = {}
    for word in words:
        name, _, value = word.partition("=")
        field = name.replace("-", "_")
        if field not in _LIMITS or "_" in name:
            known = ", ".join(name.replace("_", "-") for name in _LIMITS)
            raise TokenFileError(
                f"{where}: unknown limit {printable(name, 80)!r}; there are {known}"
            )
        if field in given:
            raise TokenFileError(f"{where}: {name} is given twice")
        given[field] = _number(value, name, _LIMITS[field], where)
    return TokenLimits(**given)  # type: ignore[arg-type]


_LIMITS: dict[str, Callable[[str], float]] = {
    "sessions": int,
    "images": int,
    "requests": int,
    "megapixels_per_minute": float,
    "store_mib": float,
    "store_image_mib": float,
}


def _number(text: str, name: str, kind: Callable[[str], float], where: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MAX_LIMIT:
        numbers = "a whole number" if kind is int else "a number"
        raise TokenFileError(
            f"{where}: {name} is {numbers} above 0, at most {_MAX_LIMIT}, not "
            f"{printable(text, 80)!r}"
        )
    return value
