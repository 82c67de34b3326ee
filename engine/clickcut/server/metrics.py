"""The metrics of the server, for Prometheus."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from clickcut.errors import ClickcutError
from clickcut.server.metrics_http import serve_metrics
from clickcut.timings import STAGES
from clickcut.v1 import clickcut_pb2 as pb

if TYPE_CHECKING:
    from clickcut.bundle import BundleMetadata
    from clickcut.server.image_store import ImageStore
    from clickcut.server.pool import ComputePool
    from clickcut.server.session_store import SessionStore

_BUCKETS = tuple(1e-3 * ms for ms in (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 250, 500, 1000, 5000))


class StoreMetrics:
    """Counters of the store of sessions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._writes = Counter(
            "clickcut_store_writes", "Writes to the store by kind", ["kind"], registry=registry
        )
        self._bytes = Counter(
            "clickcut_store_written_bytes",
            "Bytes of events and images written to the store",
            registry=registry,
        )
        self._errors = Counter(
            "clickcut_store_errors",
            "Reads and writes that the store refused, by error",
            ["error"],
            registry=registry,
        )
        self._restored = Counter(
            "clickcut_store_restored_sessions",
            "Sessions restored from the store",
            registry=registry,
        )
        self._seconds = Histogram(
            "clickcut_store_commit_seconds",
            "Time to commit the writes that waited",
            buckets=_BUCKETS,
            registry=registry,
        )

    def count_write(self, kind: str, nbytes: int) -> None:
        """Count a write that the store has: "create", "append", "drop" or "image"."""
        self._writes.labels(kind).inc()
        self._bytes.inc(nbytes)

    def count_error(self, error: ClickcutError) -> None:
        """Count a failed read or write by the class of its error."""
        self._errors.labels(type(error).__name__).inc()

    def count_restored(self) -> None:
        """Count a session that was restored."""
        self._restored.inc()

    def observe_commit(self, seconds: float) -> None:
        """Record how long a commit took."""
        self._seconds.observe(seconds)


class Metrics:
    """Counters of one server; other servers in the process have their own.

    Attributes:
        store: counters of the store of sessions.
    """

    def __init__(self, pool: ComputePool, images: ImageStore, sessions: SessionStore) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "clickcut_requests", "Answered requests by kind", ["kind"], registry=self._registry
        )
        self._models = Counter(
            "clickcut_model_uses",
            "Sessions and segmentations by model",
            ["name", "version"],
            registry=self._registry,
        )
        self._errors = Counter(
            "clickcut_errors", "Refused requests by error", ["error"], registry=self._registry
        )
        self._refusals = Counter(
            "clickcut_refusals",
            "Requests and streams refused or ended by a limit, by reason",
            ["reason"],
            registry=self._registry,
        )
        self._records = Counter(
            "clickcut_records",
            "Finished sessions for --record, by outcome",
            ["outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "clickcut_stage_seconds",
            "Time of a request by stage",
            ["stage"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        gauges = {
            "clickcut_sessions": ("Open sessions", lambda: len(sessions)),
            "clickcut_session_bytes": ("Memory of sessions", lambda: sessions.nbytes),
            "clickcut_images": ("Decoded images held", lambda: len(images)),
            "clickcut_image_bytes": ("Memory of images", lambda: images.nbytes),
            "clickcut_unfinished": ("Requests that wait or run", lambda: pool.unfinished),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self._registry).set_function(read)
        self.store = StoreMetrics(self._registry)

    def count(self, kind: str, timings: pb.Timings) -> None:
        """Count an answered request."""
        self._requests.labels(kind).inc()
        for stage in STAGES:
            spent = getattr(timings, stage)
            if spent or stage == "total":
                self._seconds.labels(stage).observe(1e-3 * spent)

    def count_model(self, model: BundleMetadata) -> None:
        """Count that a session or a segmentation got this model."""
        self._models.labels(model.name, model.version).inc()

    def count_record(self, outcome: str) -> None:
        """Count a finished session; see `Recorder`."""
        self._records.labels(outcome).inc()

    def count_error(self, error: ClickcutError) -> None:
        """Count a refused request by the class of its error, and by its reason if it has one."""
        self._errors.labels(type(error).__name__).inc()
        if error.reason:
            self._refusals.labels(error.reason).inc()

    async def serve(
        self, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.Server, int]:
        """Serve the metrics over HTTP; return the server and its port.

        Args:
            host: to listen on.
            port: 0 for a free one.
            tls: for HTTPS; None for plain text.

        Raises:
            OSError: the address cannot be used.
        """
        server = await serve_metrics(self._registry, host, port, tls)
        return server, int(server.sockets[0].getsockname()[1])
