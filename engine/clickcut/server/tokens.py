"""The tokens that a server accepts: who calls, and with which limits.

A token comes in the metadata of a call, `authorization: Bearer TOKEN` (RFC 6750). It is hashed and
compared with every entry, in a time that depends on neither; a missing token costs the same work
and gets the same answer as a wrong one.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clickcut.errors import AuthenticationError
from clickcut.server.settings import Settings
from clickcut.server.token_file import (
    Token,
    TokenFileError,
    TokenLimits,
    hash_of,
    parse_tokens,
    read_tokens,
)

_log = logging.getLogger(__name__)

_KEY, _SCHEME = "authorization", "bearer"
_UNLIMITED = TokenLimits()

Metadata = Iterable[tuple[str, str | bytes]]
"""Metadata of a call, as gRPC gives it."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a call presented.

    Attributes:
        owner: name of the token; "" on a server without tokens.
        hash: SHA-256 of it.
    """

    owner: str = ""
    hash: bytes = b""


class Tokens:
    """The tokens of a server. Used from one thread, but for `limits_of`.

    Args:
        read: reads them; None for a server without tokens, which serves everybody.

    Raises:
        TokenFileError: they cannot be used.
    """

    def __init__(self, read: Callable[[], Sequence[Token]] | None) -> None:
        self._read = read
        self._tokens: Sequence[Token] = read() if read is not None else ()
        self._limits = {token.name: token.limits for token in self._tokens}
        self.on_change: list[Callable[[], None]] = []

    @staticmethod
    def of(settings: Settings) -> Tokens:
        """Return the tokens that settings name.

        Raises:
            TokenFileError: they cannot be used.
        """
        path, lines = settings.tokens, settings.token_lines
        if path is not None:
            return Tokens(lambda: read_tokens(path))
        if lines is not None:
            return Tokens(lambda: parse_tokens(lines.replace(";", "\n"), "--token-lines"))
        return Tokens(None)

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def required(self) -> bool:
        """Whether calls need a token."""
        return self._read is not None

    def identify(self, metadata: Metadata | None) -> Credential:
        """Return whose token a call presents.

        Raises:
            AuthenticationError: none, or not a valid one.
        """
        if not self.required:
            return Credential()
        presented = hash_of(_bearer(metadata or ()))
        owner = self._owner_of(presented)
        if owner is None:
            raise AuthenticationError(
                "this server needs a valid token: set CLICKCUT_TOKEN, or give the client one "
                "(token=..., --token-file); other clients send the metadata "
                "'authorization: Bearer TOKEN'",
                reason="token",
            )
        return Credential(owner, presented)

    def accepts(self, credential: Credential) -> bool:
        """Return whether a token that was accepted still is."""
        return not self.required or self._owner_of(credential.hash) == credential.owner

    def limits_of(self, owner: str) -> TokenLimits:
        """Return the limits of a token."""
        return self._limits.get(owner, _UNLIMITED)

    def reload(self) -> None:
        """Read the tokens again; the old ones stay when they cannot be used, which is logged."""
        if self._read is None:
            return
        try:
            tokens = self._read()
        except TokenFileError as error:
            _log.warning("tokens not reloaded, the old ones remain in use: %s", error)
            return
        self._tokens = tokens
        self._limits = {token.name: token.limits for token in tokens}
        _log.info("tokens reloaded: %d", len(tokens))
        for tell in self.on_change:
            tell()

    def _owner_of(self, presented: bytes) -> str | None:
        """Compare with all entries, without a shortcut for one that is equal."""
        owner = None
        for token in self._tokens:
            for known in token.hashes:
                if hmac.compare_digest(known, presented):
                    owner = token.name
        return owner


def _bearer(metadata: Metadata) -> str:
    """Return the token of a call; "" when there is none, or when there are several."""
    values = [value for key, value in metadata if key == _KEY]
    if len(values) != 1 or not isinstance(values[0], str):
        return ""
    scheme, _, token = values[0].partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else ""
