"""How long the prompts of a search were read, for whoever watches: the rest of a search is its tree.

with watch_prompts() as seconds: search(...)     of this thread: [their sum], [] where no prompt was read
with reading_prompts(wait): ...                  in a search; `wait` ends what a device still computes
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

watched: ContextVar[list[float] | None] = ContextVar("watched", default=None)


@contextmanager
def watch_prompts() -> Iterator[list[float]]:
    seconds: list[float] = []
    token = watched.set(seconds)
    try:
        yield seconds
    finally:
        watched.reset(token)


@contextmanager
def reading_prompts(wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Within: the pass over the prompts. Unwatched it costs nothing, and no device is waited for."""
    seconds = watched.get()
    if seconds is None:
        yield
        return
    begin = time.perf_counter()
    yield
    if wait is not None:
        wait()
    seconds[:] = [sum(seconds) + time.perf_counter() - begin]
