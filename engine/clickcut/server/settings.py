"""Settings of the server: by flag of `clickcut serve`, by environment, or by keyword."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from clickcut.server.access_settings import AccessSettings
from clickcut.server.settings_faults import check_limits
from clickcut.store import Limits, check_url

MIB = 2**20


class Settings(AccessSettings):
    """Settings of a server; the descriptions are the help texts of `clickcut serve`."""

    model: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Model to serve: NAME or NAME@VERSION of --models, a name from `clickcut "
        "models`, or the path of a bundle or plan. Repeatable; the first one is the server's "
        "default. Without this option: all of --models, or all bundled models.",
    )
    models: Path | None = Field(
        None,
        description="Folder of models, NAME/VERSION.onnx; SIGHUP reloads changed ones.",
    )
    split: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="A/B test: NAME@VERSION=WEIGHT, repeatable. Sessions that request NAME without "
        "a version get these versions in proportion to the weights. Default: the newest version.",
    )
    backend: Literal[
        "auto", "onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"
    ] = Field(
        "auto",
        description="Back-end that runs the network; auto: CPU for bundles, TensorRT for plans.",
    )
    max_batch: int = Field(
        0,
        ge=0,
        le=256,
        description="Maximum batch size for predictions of several sessions; 1 disables batching; "
        "0 for 8 on a GPU and 1 on the CPU.",
    )
    batch_delay_ms: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Maximum time that a batch waits for more requests (milliseconds); a single "
        "session never waits.",
    )
    threads: int = Field(
        0,
        ge=0,
        description="Threads per prediction; 0 for one per core for a single request, and only one "
        "while there are requests for every core.",
    )
    workers: int = Field(
        0,
        ge=0,
        description="Requests computed in parallel; 0 for one per core, on a GPU at least "
        "--max-batch.",
    )
    queue: int = Field(
        64,
        ge=0,
        description="Maximum number of requests waiting for a worker. When the queue is full, a "
        "new request replaces a waiting one of the client that has the most, or is refused.",
    )
    queue_seconds: float = Field(
        1.0,
        ge=0,
        description="The queue also counts as full when a new request would wait longer than this "
        "for a worker (seconds), as estimated from recent requests, unless fewer than four per "
        "worker are waiting; 0 for no limit.",
    )
    request_seconds: float = Field(
        60.0,
        gt=0,
        description="Stop a request that is not finished after this time (seconds), including the "
        "time in the queue; an event of a session that has begun is always finished.",
    )
    max_clicks: int = Field(
        1000,
        ge=1,
        le=5000,
        description="Maximum number of clicks in a Segment request; sessions allow more.",
    )
    cut_solver: Literal["grid", "pymaxflow"] = Field(
        "grid", description="Solver of the graph cut; both give the same mask."
    )
    max_message_mib: int = Field(
        0,
        ge=0,
        le=1024,
        description="Maximum size of a message (MiB); larger images are uploaded in chunks. 0 for "
        "half of --upload-memory-mib, at most 64.",
    )
    max_image_mib: int = Field(
        128, ge=1, le=1024, description="Maximum size of an image file (MiB)."
    )
    max_image_megapixels: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Maximum size of an image (megapixels); 0 for what fits into "
        "--image-memory-mib at 20 bytes per pixel, at most 100.",
    )
    decode_seconds: float = Field(
        30.0,
        gt=0,
        description="Stop decoding an image after this time (seconds). Baseline JPEG, PNG and "
        "other files with a decoding time bounded by their size are not timed.",
    )
    memory_mib: int = Field(
        0,
        ge=0,
        description="Memory limit of the server (MiB); 0 for the limit of its control group, "
        "RLIMIT_DATA or the machine. The following three are parts of it; an eighth is for "
        "decoding, the rest for models, network and code. Near the limit the server frees memory "
        "and refuses requests.",
    )
    image_memory_mib: int = Field(
        0,
        ge=0,
        description="Memory for decoded images (MiB); unused ones are evicted. 0 for a quarter of "
        "--memory-mib, at most 2048.",
    )
    session_memory_mib: int = Field(
        0,
        ge=0,
        description="Memory for sessions (MiB); beyond it idle ones are evicted and new ones "
        "refused. 0 for a quarter of --memory-mib, at most 2048.",
    )
    upload_memory_mib: int = Field(
        0,
        ge=0,
        description="Memory for uploads and messages in transit (MiB), and as much again for "
        "replies that clients have not read yet. 0 for a sixteenth of --memory-mib, at most 512.",
    )
    warm_sessions: int = Field(
        32,
        ge=1,
        description="Number of most recently used sessions that keep their last cut, which makes "
        "the next one faster; the others take less memory.",
    )
    max_sessions: int = Field(1000, ge=1, description="Maximum number of open sessions.")
    max_sessions_per_host: int = Field(
        0,
        ge=0,
        description="Maximum number of open sessions per client address; 0 for three quarters of "
        "--max-sessions. Behind a proxy all clients share its address.",
    )
    max_pending: int = Field(
        256,
        ge=1,
        description="Maximum number of calls without a first message, and, separately, of health "
        "checks and of reflection calls. Beyond it the oldest call of the busiest client is ended.",
    )
    max_uploads: int = Field(64, ge=1, description="Maximum number of concurrent uploads.")
    open_seconds: float = Field(
        30.0,
        gt=0,
        description="End calls that send no message for this long (seconds).",
    )
    write_seconds: float = Field(
        30.0,
        gt=0,
        description="End streams whose client does not read replies for this long (seconds); "
        "their sessions can be resumed.",
    )
    idle_seconds: float = Field(
        1800.0, gt=0, description="Evict sessions idle longer than this (seconds)."
    )
    spare_seconds: float = Field(
        300.0,
        gt=0,
        description="When there is no room for a new session, evict sessions whose stream broke, "
        "then those idle longer than this (seconds), the longest idle first.",
    )
    resume_seconds: float = Field(
        600.0, gt=0, description="Keep a session whose stream broke for this long (seconds)."
    )
    upload_seconds: float = Field(
        60.0, gt=0, description="End an upload that sends nothing for this long (seconds)."
    )
    drain_seconds: float = Field(
        10.0, ge=0, description="After SIGTERM, let open sessions continue for this long (seconds)."
    )
    stop_seconds: float = Field(
        5.0,
        ge=0,
        description="After --drain-seconds, let running requests finish for this long (seconds); "
        "then exit.",
    )
    store: str = Field(
        "memory",
        description="Where sessions are kept: memory (they end with the server), sqlite:PATH or "
        "redis://HOST:PORT/DB (they survive a restart, and another server can resume them).",
    )
    store_seconds: float = Field(
        86400.0,
        gt=0,
        le=31_536_000,
        description="Keep a session in the store for this long after its last event (seconds).",
    )
    store_mib: int = Field(
        1024,
        ge=1,
        le=1_048_576,
        description="Maximum size of the SQLite file of --store (MiB); in Redis, set maxmemory. A "
        "token has three quarters of it, unless the token file says otherwise.",
    )
    store_image_mib: int = Field(
        1024,
        ge=1,
        le=1_048_576,
        description="Maximum size of all image files in the store (MiB); those that no session "
        "needs are pruned, the least recently used first.",
    )
    store_session_mib: int = Field(
        16,
        ge=1,
        le=1024,
        description="Maximum size of the events of one session in the store (MiB).",
    )
    store_timeout_seconds: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Refuse a request when the store does not answer for this long (seconds).",
    )
    record: Path | None = Field(
        None,
        description="Record finished sessions (image, events, masks) in this folder, to train on "
        "them. Users are not asked: tell them. Default: nothing is recorded.",
    )
    record_mib: int = Field(
        1024,
        ge=1,
        le=1_048_576,
        description="Maximum size of all files in --record (MiB); what does not fit is not "
        "recorded. Nothing is recorded while the disk is nearly full.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum severity of log messages."
    )
    traces: Literal["off", "otlp", "console"] = Field(
        "off",
        description="Export OpenTelemetry traces; otlp: to the collector that "
        "OTEL_EXPORTER_OTLP_ENDPOINT names, over gRPC; console: to stderr, as JSON. Needs "
        "clickcut[tracing].",
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description="Format of the log on stderr; json: one object per line, with the ids of "
        "request and session, including what is otherwise printed to stdout.",
    )

    @field_validator("model", "split", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Split the single string that the environment gives at its spaces."""
        return value.split() if isinstance(value, str) else value

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str) -> str:
        return check_url(value)

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

    @model_validator(mode="after")
    def _check_limits(self) -> Settings:
        check_limits(self)
        return self

    @property
    def store_limits(self) -> Limits:
        """Limits of the store."""
        return Limits(
            seconds=self.store_seconds,
            max_bytes=self.store_mib * MIB,
            max_image_bytes=self.store_image_mib * MIB,
            max_session_bytes=self.store_session_mib * MIB,
            timeout=self.store_timeout_seconds,
        )
