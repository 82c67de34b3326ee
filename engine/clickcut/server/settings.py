"""Settings of the server: by flag of `clickcut serve`, by environment, or by keyword."""

from __future__ import annotations

import ipaddress
import re
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
        description="Model to serve: NAME or NAME@VERSION of --models, a name from `clickcut "
        "models`, or the path of a bundle or plan. Give it several times for several models; the "
        "first is the default. Without it: all of --models, or all bundled.",
    )
    models: Path | None = Field(
        None,
        description="Folder of models, NAME/VERSION.onnx; SIGHUP loads what has changed there.",
    )
    split: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="A/B: NAME@VERSION=WEIGHT. Give it for each version that sessions which name "
        "no version are to get, in the proportion of the weights. Without it: the newest.",
    )
    backend: Literal[
        "auto", "onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"
    ] = Field(
        "auto",
        description="What runs the network; auto: the CPU for bundles, TensorRT for plans.",
    )
    max_batch: int = Field(
        0,
        ge=0,
        le=256,
        description="Predictions of several sessions that are merged at most; 1 for none, 0 for 8 "
        "on a GPU and none on the CPU.",
    )
    batch_delay_ms: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="How long a batch that has begun waits to be filled; a session that is alone "
        "never waits.",
    )
    threads: int = Field(0, ge=0, description="Threads per prediction; 0 for one per core.")
    workers: int = Field(
        0,
        ge=0,
        description="Requests computed at once; 0 for one per core, on a GPU at least --max-batch.",
    )
    queue: int = Field(
        64,
        ge=0,
        description="Requests that may wait for a worker. When it is full, a newcomer takes the "
        "place of one of the client that has the most, or is refused.",
    )
    request_seconds: float = Field(
        60.0,
        gt=0,
        description="Stop a request that is not finished after this time, waiting included "
        "(seconds); an event of a session that has begun is always finished.",
    )
    max_clicks: int = Field(
        1000, ge=1, le=5000, description="Clicks of one Segment request; a session takes more."
    )
    cut_solver: Literal["grid", "pymaxflow"] = Field(
        "grid", description="Solver of the graph cut; both give the same mask."
    )
    max_message_mib: int = Field(
        0,
        ge=0,
        le=1024,
        description="Largest message, MiB; larger images come in chunks. 0 for half of "
        "--upload-memory-mib, at most 64.",
    )
    max_image_mib: int = Field(128, ge=1, le=1024, description="Largest encoded image file, MiB.")
    max_image_megapixels: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Largest image, million pixels; 0 for as many as fit into --image-memory-mib "
        "at 20 bytes each, at most 100.",
    )
    decode_seconds: float = Field(
        30.0,
        gt=0,
        description="End decoding an image that takes longer than this (seconds). Baseline JPEG, "
        "PNG and others whose work their size bounds are not timed.",
    )
    memory_mib: int = Field(
        0,
        ge=0,
        description="Memory that the server may use, MiB; 0 for what its control group, its "
        "RLIMIT_DATA and the machine allow. The following three are parts of it, an eighth is for "
        "decoding, the rest for models, network and code. Near the limit the server refuses "
        "requests and frees what can be computed again.",
    )
    image_memory_mib: int = Field(
        0,
        ge=0,
        description="Memory for decoded images, MiB; those not in use give way. 0 for a quarter "
        "of --memory-mib, at most 2048.",
    )
    session_memory_mib: int = Field(
        0,
        ge=0,
        description="Memory for sessions, MiB; beyond it idle ones are evicted and new ones "
        "refused. 0 for a quarter of --memory-mib, at most 2048.",
    )
    upload_memory_mib: int = Field(
        0,
        ge=0,
        description="Memory for uploads and messages that are on their way, MiB, and as much "
        "again for replies that are not read yet. 0 for a sixteenth of --memory-mib, at most 512.",
    )
    warm_sessions: int = Field(
        32,
        ge=1,
        description="Sessions, the latest used, that keep their last cut, which makes the next one "
        "faster; the others take less memory.",
    )
    max_sessions: int = Field(1000, ge=1, description="Open sessions at most.")
    max_sessions_per_host: int = Field(
        0,
        ge=0,
        description="Open sessions of one client address; 0 for three quarters of --max-sessions. "
        "Behind a proxy all clients share its address.",
    )
    max_pending: int = Field(
        256,
        ge=1,
        description="Calls that have not sent their first message, and, counted apart, health "
        "checks and reflection calls. Beyond it the oldest of the client that has the most ends.",
    )
    max_uploads: int = Field(64, ge=1, description="Uploads at once.")
    open_seconds: float = Field(
        30.0,
        gt=0,
        description="End a call whose first message has not arrived after this time (seconds).",
    )
    write_seconds: float = Field(
        30.0,
        gt=0,
        description="End a stream whose client does not read a reply within this time (seconds); "
        "its session can be resumed.",
    )
    idle_seconds: float = Field(
        1800.0, gt=0, description="Evict sessions idle longer than this (seconds)."
    )
    spare_seconds: float = Field(
        300.0,
        gt=0,
        description="When there is no room for a new session, also evict sessions idle longer than "
        "this (seconds), the oldest first; before them those whose stream broke.",
    )
    resume_seconds: float = Field(
        600.0, gt=0, description="Keep a session whose stream broke for this long (seconds)."
    )
    upload_seconds: float = Field(
        60.0, gt=0, description="End an upload that sends nothing for this long (seconds)."
    )
    drain_seconds: float = Field(
        10.0, ge=0, description="After SIGTERM, let open sessions go on for this long (seconds)."
    )
    stop_seconds: float = Field(
        5.0,
        ge=0,
        description="After that, let requests that are being computed finish for this long "
        "(seconds); then the process ends whatever runs.",
    )
    tls_cert: Path | None = Field(None, description="Certificate chain, PEM; with --tls-key: TLS.")
    tls_key: Path | None = Field(None, description="Private key of the certificate, PEM.")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port for Prometheus metrics; none without it."
    )
    admin_address: str | None = Field(
        None,
        description="Where to offer the admin service, which loads models again: a loopback "
        "HOST:PORT or unix:PATH. It has no password. Without it: only SIGHUP.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )

    @field_validator("model", "split", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Return the environment gives one string; names are separated by blanks."""
        return value.split() if isinstance(value, str) else value

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"an address is HOST:PORT with a port up to 65535, not {value!r}")
        return value

    @field_validator("admin_address")
    @classmethod
    def _check_admin_address(cls, value: str | None) -> str | None:
        if value is None or value.startswith("unix:"):
            return value
        host = cls._check_address(value).rpartition(":")[0].strip("[]")
        if host != "localhost" and not _is_loopback(host):
            raise ValueError(
                f"the admin service has no password, so it is for this machine alone: a loopback "
                f"address such as 127.0.0.1:50052, or unix:PATH, not {value!r}"
            )
        return value

    @field_validator("split")
    @classmethod
    def _check_split(cls, value: list[str]) -> list[str]:
        weights: dict[str, float] = {}
        for entry in value:
            found = re.fullmatch(r"([^@=]+)@(.+)=([0-9]+(?:\.[0-9]+)?)", entry)
            if not found:
                raise ValueError(f"a split is NAME@VERSION=WEIGHT, not {entry!r}")
            weights[found[1]] = weights.get(found[1], 0.0) + float(found[3])
        for name, total in weights.items():
            if total == 0:
                raise ValueError(f"all weights of {name} are 0; give one a weight")
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
