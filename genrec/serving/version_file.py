"""The version that several workers of one server follow, in a directory that they share.

group = WorkerGroup(directory)               of the supervisor, one for all
group.join(catalogue)                        the first worker's version becomes that of all
group.lead(version)                          after a reload or a rollback here: the others follow
await group.follow(catalogue)                for ever: take what another worker leads to

`version.json` is replaced as a whole under a lock, and every worker polls it; `worker-<pid>.json` is what each serves.
A version is found again by the place that links led to when it was loaded, so a worker that starts anew takes what the
others serve, and not what lies behind the link by now.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genrec.errors import ArtifactError
from genrec.serving.catalogue import Catalogue, Unchanged, Version

VERSION = "version.json"
WORKER = "worker-{}.json"
POLL = 0.2  # seconds between two looks at the file
PATIENCE = 120.0  # seconds that a reload waits for the other workers' reports

log = logging.getLogger("genrec.serving")


@dataclass(frozen=True)
class Agreed:
    """What all workers are to serve. `turn` counts the changes."""

    turn: int
    version: str
    place: str


class WorkerGroup:
    """One worker's view of the directory."""

    def __init__(self, directory: Path):
        self.directory, self.worker, self.turn = directory, os.getpid(), 0

    @property
    def figures(self) -> Path:
        """Where Prometheus' client keeps each worker's figures."""
        return self.directory / "figures"

    def read(self) -> Agreed | None:
        """None before the first worker has loaded."""
        try:
            return Agreed(**json.loads((self.directory / VERSION).read_text()))
        except FileNotFoundError:
            return None

    def origin(self) -> Path | None:
        """Where a worker that starts finds what the others serve; None: it is among the first."""
        agreed = self.read()
        return None if agreed is None else Path(agreed.place)

    def join(self, catalogue: Catalogue) -> bool:
        """Whether this worker is the first, whose version becomes that of all; ArtifactError where they differ."""
        version = catalogue.current
        with self.locked():
            agreed = self.read()
            if is_first := agreed is None:
                agreed = self.write(describe(1, version))
        if agreed.version != version.name:
            raise ArtifactError(f"{version.origin} holds version {version.name}, the workers serve {agreed.version}")
        self.turn = agreed.turn
        self.report(catalogue)
        return is_first

    def lead(self, version: Version) -> None:
        """From now on all serve this version, which this worker serves already."""
        with self.locked():
            agreed = self.read()
            self.turn = self.write(describe(1 if agreed is None else agreed.turn + 1, version)).turn

    def write(self, agreed: Agreed) -> Agreed:
        replace_file(self.directory / VERSION, asdict(agreed))
        return agreed

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One worker at a time; the kernel releases it however that worker ends."""
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # What each serves

    def report(self, catalogue: Catalogue) -> None:
        status = catalogue.status()
        own = {
            "worker": self.worker,
            "turn": self.turn,
            "version": catalogue.current.name,
            "previous": status["previous"] and status["previous"]["version"],
            "last_error": status["last_error"],
        }
        replace_file(self.directory / WORKER.format(self.worker), own)

    def reports(self) -> list[dict[str, Any]]:
        """Of the workers that are there, by number."""
        found = []
        for path in self.directory.glob(WORKER.format("*")):
            with contextlib.suppress(FileNotFoundError):  # that worker has just ended
                found.append(json.loads(path.read_text()))
        return sorted(found, key=lambda each: each["worker"])

    def forget(self, worker: int) -> None:
        """By the supervisor, of a worker that ended."""
        (self.directory / WORKER.format(worker)).unlink(missing_ok=True)

    # Following

    async def follow(self, catalogue: Catalogue) -> None:
        while has_supervisor():
            await self.catch_up(catalogue)
            await asyncio.sleep(POLL)
        log.error("the supervisor of worker %d is gone; the worker ends", self.worker)
        signal.raise_signal(signal.SIGTERM)  # uvicorn drains; the port is free for a server that starts anew

    async def catch_up(self, catalogue: Catalogue) -> None:
        """Take what another worker leads to; where that fails the old version goes on, and the report says why."""
        agreed = await asyncio.to_thread(self.read)
        if agreed is None or agreed.turn <= self.turn or catalogue.loading:
            return
        try:
            await catalogue.take(agreed.version, Path(agreed.place))
        except Unchanged as error:
            log.error("worker %d does not follow to version %s: %s", self.worker, agreed.version, error)
        self.turn = max(self.turn, agreed.turn)
        self.report(catalogue)

    async def wait_for_all(self) -> None:
        """Until every worker has followed, or tried to, as far as this one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            reports = await asyncio.to_thread(self.reports)
            if all(each["turn"] >= self.turn for each in reports):
                return
            await asyncio.sleep(POLL / 4)


def describe(turn: int, version: Version) -> Agreed:
    return Agreed(turn, version.name, str(version.origin))


def replace_file(path: Path, content: dict[str, Any]) -> None:
    """Whole for whoever reads; nothing here outlives the server, so nothing is flushed."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content))
    os.replace(beside, path)


def has_supervisor() -> bool:
    """One that was killed can stop nobody."""
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()
