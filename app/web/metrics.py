"""Prometheus metrics of one application: requests, latencies, jobs and the process itself."""

from collections.abc import Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from backend.jobs.counts import JobCounts, job_counts
from backend.store.database import Store

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class _Jobs(Collector):
    """Collector that counts jobs and workers in the store at each scrape."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def describe(self) -> list[Metric]:
        """Return no description, so that registering does not query the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; only `quanta_store_up` if the database does not answer."""
        try:
            counts = job_counts(self.store)
        except (DBAPIError, PoolTimeoutError):
            counts = None
        yield GaugeMetricFamily(
            "quanta_store_up", "1 if the database answers.", value=float(counts is not None)
        )
        if counts is not None:
            yield from _job_metrics(counts)


def _job_metrics(counts: JobCounts) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("quanta_jobs", "Jobs by kind and state.", labels=("kind", "state"))
    for names, n in counts.jobs.items():
        jobs.add_metric(names, n)
    units = CounterMetricFamily("quanta_job_units", "Committed units by kind.", labels=("kind",))
    for kind, done in counts.units.items():
        units.add_metric((kind,), done)
    seconds = CounterMetricFamily(
        "quanta_job_unit_seconds", "Seconds that committed units took, by kind.", labels=("kind",)
    )
    for kind, n_seconds in counts.unit_seconds.items():
        seconds.add_metric((kind,), n_seconds)
    yield from (jobs, units, seconds)
    yield GaugeMetricFamily("quanta_jobs_queued", "Jobs without a worker.", value=counts.queued)
    yield GaugeMetricFamily(
        "quanta_workers_live", "Workers whose lease has not run out.", value=counts.live_workers
    )
    if counts.oldest_heartbeat_seconds is not None:
        yield GaugeMetricFamily(
            "quanta_worker_oldest_heartbeat_seconds",
            "Seconds since the oldest heartbeat of a worker that is not given up.",
            value=counts.oldest_heartbeat_seconds,
        )


class Metrics:
    """Metrics of one application; routes are templates, so that ids are not labels."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Jobs(store))
        self._requests = Counter(
            "quanta_http_requests",
            "HTTP requests by route template and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "quanta_http_request_duration_seconds",
            "Seconds from a request's arrival to the end of its response.",
            ("route",),
            buckets=BUCKETS_SECONDS,
            registry=self.registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record a finished request."""
        label = method if method in _METHODS else "other"
        self._requests.labels(label, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        return generate_latest(self.registry)
