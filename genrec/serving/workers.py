"""Several processes behind one port: uvicorn's supervisor starts, watches, restarts and stops them.

run_workers(config, bound, group, announce)    until SIGTERM; the kernel deals connections out to who accepts them
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from prometheus_client.multiprocess import mark_process_dead
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from genrec.errors import ArtifactError, ConfigError, first_line
from genrec.serving.version_file import WorkerGroup

log = logging.getLogger("genrec.serving")

FAILURE = "failure"  # of the group's directory: why the first workers could not start


class WorkerConfig(Config):
    """uvicorn's settings; `prepare` is called in every process before it serves."""

    def __init__(self, *given: Any, prepare: Callable[[], None], **named: Any):
        self.prepare = prepare
        super().__init__(*given, **named)

    def configure_logging(self) -> None:
        """uvicorn calls this in the supervisor, and in each worker before it takes the signals over."""
        self.prepare()


class Workers(Multiprocess):
    """uvicorn's supervisor, which also says when all answer and lets go of what a worker that ended leaves."""

    def __init__(self, config: Config, sockets: list[Any], group: WorkerGroup, announce: Callable[[], None]):
        super().__init__(config, sockets)
        self.group, self.announce, self.announced = group, announce, False

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for gone in before - {process.pid for process in self.processes}:
            if gone is not None:
                self.group.forget(gone)
                mark_process_dead(gone, str(self.group.figures))
        if not self.announced and not self.should_exit.is_set() and all(each.is_ready() for each in self.processes):
            self.announced = True
            self.announce()


def run_workers(config: Config, bound: Any, group: WorkerGroup, announce: Callable[[], None]) -> None:
    """Until SIGTERM or Ctrl-C; ArtifactError where the first workers cannot start."""
    group.figures.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(group.figures)  # the workers' client looks there when it is imported
    Workers(config, [bound], group, announce).run()
    failure = group.directory / FAILURE
    if failure.exists():
        raise ArtifactError(failure.read_text())


def end_worker(group: WorkerGroup, error: Exception) -> NoReturn:
    """A worker that cannot start. Of the first ones the whole server ends; a later one is started again."""
    ours = isinstance(error, ArtifactError | ConfigError)
    said = str(error) if ours else f"a worker failed: {type(error).__name__}: {first_line(error)}"
    again = group.read() is not None
    if again or not ours:
        log.error("a worker cannot start: %s", said, exc_info=None if ours else error)
    if again:
        sys.exit(1)
    (group.directory / FAILURE).write_text(said)
    sys.exit(STARTUP_FAILURE)
