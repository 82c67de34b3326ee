"""Check that the settings of TLS, tokens and the admin service belong together."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Protocol


class AccessSettings(Protocol):
    """The settings that say who may come in; see `clickcut.server.settings.Settings`."""

    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def tls_cert(self) -> Path | None: ...  # noqa: D102
    @property
    def tls_key(self) -> Path | None: ...  # noqa: D102
    @property
    def tls_client_ca(self) -> Path | None: ...  # noqa: D102
    @property
    def tokens(self) -> Path | None: ...  # noqa: D102
    @property
    def token_lines(self) -> str | None: ...  # noqa: D102
    @property
    def plaintext_tokens(self) -> bool: ...  # noqa: D102
    @property
    def metrics_port(self) -> int | None: ...  # noqa: D102
    @property
    def metrics_tls(self) -> bool: ...  # noqa: D102
    @property
    def admin_address(self) -> str | None: ...  # noqa: D102
    @property
    def admin_client_ca(self) -> Path | None: ...  # noqa: D102


def check_access(settings: AccessSettings) -> None:
    """Check settings that depend on each other.

    Raises:
        ValueError: two contradict each other, or one needs another.
    """
    _check_tls(settings)
    _check_tokens(settings)
    _check_admin(settings)


def _check_tls(settings: AccessSettings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ValueError("TLS needs both --tls-cert and --tls-key")
    if settings.tls_client_ca is not None and settings.tls_cert is None:
        raise ValueError("--tls-client-ca needs TLS: give --tls-cert and --tls-key as well")
    if settings.metrics_tls and settings.tls_cert is None:
        raise ValueError("--metrics-tls needs --tls-cert and --tls-key")
    if settings.metrics_tls and settings.metrics_port is None:
        raise ValueError("--metrics-tls needs --metrics-port")
    files = settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.admin_client_ca
    for path in files:
        if path is not None and not path.is_file():
            raise ValueError(f"{path}: no such file")


def _check_tokens(settings: AccessSettings) -> None:
    if settings.tokens is not None and settings.token_lines is not None:
        raise ValueError("give --tokens or --token-lines, not both")
    if settings.tokens is None and settings.token_lines is None:
        if settings.plaintext_tokens:
            raise ValueError("--plaintext-tokens has no effect without --tokens or --token-lines")
        return
    if settings.tls_cert is None and not settings.plaintext_tokens:
        if is_loopback(host_of(settings.address)):
            return
        raise ValueError(
            f"clients would send their tokens to {settings.address} in plain text: give --tls-cert "
            "and --tls-key, or listen on a loopback address behind a proxy, or allow it with "
            "--plaintext-tokens"
        )


def _check_admin(settings: AccessSettings) -> None:
    address = settings.admin_address
    if settings.admin_client_ca is not None:
        if address is None or address.startswith("unix:"):
            raise ValueError("--admin-client-ca needs an --admin-address of the form HOST:PORT")
        if settings.tls_cert is None:
            raise ValueError("--admin-client-ca needs --tls-cert and --tls-key")
        return
    if address is None or address.startswith("unix:") or is_loopback(host_of(address)):
        return
    raise ValueError(
        f"anyone who can reach the admin service may use it, so it must be local: a loopback "
        f"address such as 127.0.0.1:50052, or unix:PATH, not {address!r}; or give "
        "--admin-client-ca (mTLS)"
    )


def host_of(address: str) -> str:
    """Return the host of HOST:PORT."""
    return address.rpartition(":")[0].strip("[]")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
