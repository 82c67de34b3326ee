"""Settings of access: addresses, TLS and tokens; and the check that they fit together."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "CLICKCUT_"


class AccessSettings(BaseSettings):
    """Addresses, TLS and tokens of a server."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    address: str = Field(
        "127.0.0.1:50051",
        description="Address to listen on, HOST:PORT; host 0.0.0.0 for all interfaces, port 0 for "
        "a free one.",
    )
    tls_cert: Path | None = Field(
        None, description="Certificate chain (PEM); together with --tls-key it enables TLS."
    )
    tls_key: Path | None = Field(None, description="Private key of the certificate (PEM).")
    tls_client_ca: Path | None = Field(
        None,
        description="CA certificates (PEM); clients must present a certificate that one of them "
        "signed (mTLS).",
    )
    tokens: Path | None = Field(
        None,
        description="Token file: names and hashes of the tokens that clients may use, and their "
        "limits; see `clickcut token`. SIGHUP reloads it. Default: no token is needed.",
    )
    token_lines: str | None = Field(
        None,
        description="Contents of a token file, in place of --tokens; its lines are separated by "
        "line breaks or semicolons.",
    )
    plaintext_tokens: bool = Field(
        False,
        description="Accept tokens without TLS on an address other than loopback, for example "
        "behind a proxy that terminates TLS. Anyone who can read the traffic can read the tokens.",
    )
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port for Prometheus metrics. Default: none."
    )
    metrics_tls: bool = Field(
        False, description="Serve the metrics over TLS, with --tls-cert and --tls-key."
    )
    health_address: str | None = Field(
        None,
        description="Address that answers only health checks, HOST:PORT or unix:PATH, without TLS "
        "or client certificates, for probes. Default: none; the main address answers health checks "
        "as well.",
    )
    admin_address: str | None = Field(
        None,
        description="Address of the admin service, which reloads models: a loopback HOST:PORT or "
        "unix:PATH; with --admin-client-ca any HOST:PORT. Default: none, only SIGHUP.",
    )
    admin_client_ca: Path | None = Field(
        None,
        description="CA certificates (PEM); clients of the admin service must present a "
        "certificate that one of them signed. The service then uses TLS, with --tls-cert and "
        "--tls-key.",
    )

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"an address is HOST:PORT with a port up to 65535, not {value!r}")
        return value

    @field_validator("admin_address", "health_address")
    @classmethod
    def _check_side_address(cls, value: str | None) -> str | None:
        if value is None or value.startswith("unix:"):
            return value
        return cls._check_address(value)

    @property
    def host(self) -> str:
        """The host of the address."""
        return self.address.rpartition(":")[0]

    @model_validator(mode="after")
    def _check_access(self) -> AccessSettings:
        _check_tls(self)
        _check_tokens(self)
        _check_admin(self)
        _check_ports(self)
        return self


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
        if _is_loopback(_host_of(settings.address)):
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
    if address is None or address.startswith("unix:") or _is_loopback(_host_of(address)):
        return
    raise ValueError(
        f"anyone who can reach the admin service may use it, so it must be local: a loopback "
        f"address such as 127.0.0.1:50052, or unix:PATH, not {address!r}; or give "
        "--admin-client-ca (mTLS)"
    )


def _check_ports(settings: AccessSettings) -> None:
    """Check that no two services listen on the same port of a host."""
    metrics = settings.metrics_port
    services = {
        "--address": settings.address,
        "--health-address": settings.health_address,
        "--admin-address": settings.admin_address,
        "--metrics-port": None if metrics is None else f"{settings.host}:{metrics}",
    }
    taken: dict[str, str] = {}
    for option, address in services.items():
        if address is None or (not address.startswith("unix:") and address.endswith(":0")):
            continue
        if address in taken:
            raise ValueError(
                f"{option} and {taken[address]} are both {address}: give each its own port"
            )
        taken[address] = option


def _host_of(address: str) -> str:
    """Return the host of HOST:PORT."""
    return address.rpartition(":")[0].strip("[]")


def _is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
