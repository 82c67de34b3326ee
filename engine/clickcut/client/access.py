"""How to be let in by a server: TLS, a certificate of the client, a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from clickcut.client.channel import (
    Endpoint,
    check_token,
    plaintext_or_default,
    read_file,
    tls_credentials,
    token_or_default,
)
from clickcut.errors import EventError

_MAX_TOKEN_FILE = 4096


@dataclass(frozen=True, slots=True)
class Access:
    """What a client shows to a server.

    Attributes:
        credentials: for TLS; None for plain text.
        token: sent with every call; None for that of the environment, "" for none.
        plaintext_token: whether to send it without TLS to another machine as well; None for what
            the environment says.
    """

    credentials: grpc.ChannelCredentials | None = None
    token: str | None = field(default=None, repr=False)
    plaintext_token: bool | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `Client` and `AsyncClient`."""
        return {
            "credentials": self.credentials,
            "token": self.token,
            "plaintext_token": self.plaintext_token,
        }

    @staticmethod
    def of(
        tls: bool = False,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        token_file: Path | None = None,
        plaintext_token: bool | None = None,
    ) -> Access:
        """Return the access that command-line options ask for.

        Args:
            tls: see `tls_credentials`.
            ca: see `tls_credentials`.
            cert: see `tls_credentials`.
            key: see `tls_credentials`.
            token_file: holds the token; None for that of the environment.
            plaintext_token: as in `Access`.

        Raises:
            EventError: a file cannot be read or is not what it should be.
        """
        token = None if token_file is None else _read_token(token_file)
        return Access(tls_credentials(tls, ca, cert, key), token, plaintext_token)

    def endpoint(self, address: str) -> Endpoint:
        """Return a server at an address.

        Raises:
            EventError: not an address, or the token would be sent in plain text.
        """
        return Endpoint(
            address,
            self.credentials,
            token=token_or_default(self.token),
            plaintext_token=plaintext_or_default(self.plaintext_token),
        )


def _read_token(path: Path) -> str:
    text = read_file(path)[: _MAX_TOKEN_FILE + 1].decode("utf-8", "replace").strip()
    if not text:
        raise EventError(f"{path}: holds no token")
    try:
        check_token(text)
    except EventError as error:
        raise EventError(f"{path}: {error}") from None
    return text
