"""What the server counts, in Prometheus' text form. Labels are names of ours: routes, models, reasons.

Of several workers behind one port whoever is asked answers for all: the client library keeps each one's figures in a
directory, and adds them up. `genrec_catalog_info` is of the worker that answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Watch:
    """The collectors of one process; with a directory, the figures are those of all that share it."""

    def __init__(self, directory: Path | None = None) -> None:
        own, self.info = CollectorRegistry(), CollectorRegistry()
        self.figures = own
        if directory is not None:
            self.figures = CollectorRegistry()
            MultiProcessCollector(self.figures, str(directory))
        self.requests = Counter("genrec_requests", "Answered requests", ["route", "status"], registry=own)
        self.request_seconds = Histogram(
            "genrec_request_seconds", "From a request's head to its answer", ["route"], buckets=SECONDS, registry=own
        )
        self.queue_length = Gauge(
            "genrec_queue_length",
            "Requests that wait for the decode thread",
            registry=own,
            multiprocess_mode="livesum",
        )
        self.queue_seconds = Histogram("genrec_queue_seconds", "Waiting time", buckets=SECONDS, registry=own)
        self.batch_size = Histogram("genrec_batch_size", "Requests decoded at once", buckets=SIZES, registry=own)
        self.decode_seconds = Histogram("genrec_decode_seconds", "Of a batch", buckets=SECONDS, registry=own)
        self.prompt_seconds = Histogram(
            "genrec_prompt_seconds", "Of a batch, reading its prompts", buckets=SECONDS, registry=own
        )
        self.tree_seconds = Histogram(
            "genrec_tree_seconds", "Of a batch, the search after its prompts", buckets=SECONDS, registry=own
        )
        self.lists = Counter("genrec_lists", "Lists made", ["model", "exact", "cold"], registry=own)
        self.slates = Counter("genrec_slates", "Answers of an experiment", ["outcome"], registry=own)
        self.refused = Counter("genrec_refused", "Requests without an answer", ["reason"], registry=own)
        self.events = Counter("genrec_events", "Events kept", registry=own)
        self.reloads = Counter("genrec_reloads", "Reloads of the catalogue", ["outcome"], registry=own)
        self.version = Info("genrec_catalog", "What is served", registry=self.info)

    def batch(self, size: int, waited: Sequence[float]) -> None:
        self.batch_size.observe(size)
        for seconds in waited:
            self.queue_seconds.observe(seconds)

    def decoded(self, seconds: float, prompts: Sequence[float]) -> None:
        """A batch; prompts are read by language models alone."""
        self.decode_seconds.observe(seconds)
        for reading in prompts:
            self.prompt_seconds.observe(reading)
            self.tree_seconds.observe(seconds - reading)

    def text(self) -> bytes:
        return generate_latest(self.figures) + generate_latest(self.info)
