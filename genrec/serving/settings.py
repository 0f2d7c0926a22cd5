"""The knobs of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from genrec.config import Section, comma_list, knob
from genrec.serving.events import is_url


class ServeOptions(Section):
    """What is served, to whom, and how much at once."""

    host: str = knob("127.0.0.1", "address to listen on; beyond this machine it takes an API key")
    port: int = knob(8000, "port to listen on; 0 takes a free one", ge=0, le=65535)
    model: str | None = knob(
        None, "of a run: the family (sft, rl, sasrec, item_knn, ...); or a model directory, or a hub's name"
    )
    export: Path | None = knob(None, "an export by itself, as genrec export made it; without torch by beams")
    backend: Literal["torch", "onnx", "onnx-int8", "onnx-int4"] | None = knob(
        None, "what computes: torch, or a graph that genrec export made, which needs no torch"
    )
    also: list[str] = knob([], "further families of the run, for requests that name one: a,b")
    workers: int = knob(1, "processes behind the port, each with the models, a queue and a decode thread", ge=1, le=256)
    max_batch: int = knob(16, "requests that are decoded at once", ge=1, le=1024)
    batch_wait_ms: float = knob(0.0, "wait so long for a batch to fill; 0 takes what is queued", ge=0, le=1000)
    queue_size: int = knob(128, "requests that may wait; more are answered 503", ge=1, le=100_000)
    deadline: float = knob(10.0, "seconds that a request may take; what is later is not computed", gt=0, le=600)
    max_k: int = knob(100, "items a list at most", ge=1, le=10_000)
    max_body: int = knob(2**20, "bytes of a request's body at most", ge=1024)
    body_timeout: float = knob(10.0, "seconds that a request's body may take to arrive", gt=0, le=600)
    rate_limit: int = knob(0, "requests a second of one address at most; 0 any number", ge=0)
    max_connections: int = knob(2000, "connections at once; more are answered 503", ge=1)
    events: str | None = knob(
        None,
        "what users did since: an SQLite file (of a run RUN/events.sqlite, else ./ of it), or postgresql://HOST/DB",
    )
    experiments: Path | None = knob(None, "YAML of an experiment, whose arms answer its users; with --slates")
    slates: Path | None = knob(None, "directory that logs the answers of --experiments, for genrec ab")
    user_key: Path | None = knob(None, "file with a key by which --slates hashes users; genrec ab takes the same")
    api_key_file: Path | None = knob(None, "file of API keys, one a line; else the variable GENREC_API_KEY")
    open: bool = knob(False, "listen beyond this machine without an API key")
    access_log: bool = knob(True, "a line a request on stderr, without ids and keys")
    drain: float = knob(30.0, "seconds that SIGTERM leaves to the requests under way", ge=0, le=3600)

    @field_validator("events")
    @classmethod
    def know_scheme(cls, place: str | None) -> str | None:
        """A mistyped URL would be a file of that name."""
        if place is not None and "://" in place and not is_url(place):
            raise ValueError("events are kept in a file, or in PostgreSQL by postgresql://HOST/DATABASE")
        return place

    split_also = field_validator("also", mode="before")(comma_list)
