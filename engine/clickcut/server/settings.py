"""Settings of the server: by flag of `clickcut serve`, by environment, or by keyword."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_PREFIX = "CLICKCUT_"
MIB = 2**20


class Settings(BaseSettings):
    """What may be set. The descriptions are the help texts of `clickcut serve`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    address: str = Field(
        "127.0.0.1:50051",
        description="Where to listen, HOST:PORT; host 0.0.0.0 for every interface, port 0 for a "
        "free one.",
    )
    model: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Model to serve: a name from `clickcut models` or the path of a bundle. Give "
        "it several times for several models; the first is the default. Without it: all bundled.",
    )
    threads: int = Field(0, ge=0, description="Threads per prediction; 0 for one per core.")
    workers: int = Field(0, ge=0, description="Requests computed at once; 0 for one per core.")
    queue: int = Field(
        64, ge=0, description="Requests that may wait for a worker; further ones are refused."
    )
    cut_solver: Literal["grid", "pymaxflow"] = Field(
        "grid", description="Solver of the graph cut; both give the same mask."
    )
    max_message_mib: int = Field(
        64, ge=1, le=1024, description="Largest message, MiB; larger images come in chunks."
    )
    max_image_mib: int = Field(128, ge=1, le=1024, description="Largest encoded image file, MiB.")
    max_image_megapixels: float = Field(
        100.0, gt=0, le=1000, description="Largest image, million pixels."
    )
    image_memory_mib: int = Field(
        2048, ge=1, description="Memory for decoded images, MiB; those not in use give way."
    )
    session_memory_mib: int = Field(
        2048, ge=1, description="Memory for sessions, MiB; beyond it new ones are refused."
    )
    upload_memory_mib: int = Field(
        512, ge=1, description="Memory for uploads that are on their way, MiB."
    )
    max_sessions: int = Field(1000, ge=1, description="Open sessions at most.")
    idle_seconds: float = Field(
        1800.0, gt=0, description="A session without a request for so long is dropped."
    )
    resume_seconds: float = Field(
        600.0, gt=0, description="A session whose stream broke is kept for so long."
    )
    upload_seconds: float = Field(
        60.0, gt=0, description="An upload that sends nothing for so long is ended."
    )
    drain_seconds: float = Field(
        10.0, ge=0, description="After SIGTERM, open sessions may go on for so long."
    )
    tls_cert: Path | None = Field(None, description="Certificate chain, PEM; with --tls-key: TLS.")
    tls_key: Path | None = Field(None, description="Private key of the certificate, PEM.")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port for Prometheus metrics; none without it."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )

    @field_validator("model", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """The environment gives one string; names are separated by blanks."""
        return value.split() if isinstance(value, str) else value

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"an address is HOST:PORT with a port up to 65535, not {value!r}")
        return value

    @property
    def host(self) -> str:
        """The host of the address."""
        return self.address.rpartition(":")[0]

    @model_validator(mode="after")
    def _check_tls(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both --tls-cert and --tls-key")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise ValueError(f"{path}: no such file")
        return self
