"""Many requests, one decode thread: a batch is what waits when the thread is free.

batcher.start()                            the thread
tickets = batcher.submit(tasks, seconds)   in the event loop; QueueFull, or a ticket a task
await tickets[0].future                    its result, or the error of its computation
batcher.forget(tickets)                    nobody waits any more: what has not begun is not computed
batcher.stop()                             no further task; ends when what waits is answered
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from genrec.models.reading_time import watch_prompts
from genrec.serving.metrics import Watch


class QueueFull(RuntimeError):
    """Too many wait; `seconds` says when there should be room."""

    def __init__(self, seconds: int):
        super().__init__(f"the queue is full; come again in {seconds} s")
        self.seconds = seconds


class TooLate(RuntimeError):
    """The deadline passed before the computation began."""


class Closed(RuntimeError):
    """The server is about to end."""


class Task(Protocol):
    """What the thread computes. Tasks of one group are computed together, by `run` of any of them."""

    @property
    def group(self) -> Hashable: ...

    def run(self, tasks: Sequence[Any]) -> Sequence[Any]: ...


@dataclass(eq=False)
class Ticket:
    task: Task
    deadline: float  # time.monotonic()
    future: asyncio.Future
    queued: float = field(default_factory=time.monotonic)


Outcome = tuple[Ticket, Any, BaseException | None]


class Batcher:
    """The queue and its thread."""

    def __init__(self, max_batch: int, wait: float, queue_size: int, watch: Watch):
        self.max_batch, self.wait, self.queue_size, self.watch = max_batch, wait, queue_size, watch
        self.waiting: deque[Ticket] = deque()
        self.changed = threading.Condition()
        self.closing = False
        self.pace = 0.0  # seconds a task, of the batches before
        self.thread = threading.Thread(target=self.work, name="decode", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify()
        self.thread.join()

    # In the event loop

    def submit(self, tasks: Sequence[Task], seconds: float) -> list[Ticket]:
        """All of them or, with QueueFull, none."""
        loop, deadline = asyncio.get_running_loop(), time.monotonic() + seconds
        with self.changed:
            if self.closing:
                raise Closed("the server is about to end")
            if len(self.waiting) + len(tasks) > self.queue_size:
                raise QueueFull(self.expect_wait())
            tickets = [Ticket(task, deadline, loop.create_future()) for task in tasks]
            self.waiting.extend(tickets)
            self.watch.queue_length.set(len(self.waiting))
            self.changed.notify()
        return tickets

    def expect_wait(self) -> int:
        """Whole seconds until what waits now is computed, at the pace of the batches before."""
        return max(1, math.ceil(self.pace * len(self.waiting)))

    def forget(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            ticket.future.cancel()
        gone = {ticket for ticket in tickets if ticket.future.cancelled()}
        if gone:
            with self.changed:
                self.waiting = deque(ticket for ticket in self.waiting if ticket not in gone)
                self.watch.queue_length.set(len(self.waiting))

    # In the decode thread

    def work(self) -> None:
        while tickets := self.take():
            begin = time.monotonic()
            for group in split_groups(tickets):
                self.decode(group)
            self.pace = 0.8 * self.pace + 0.2 * (time.monotonic() - begin) / len(tickets)

    def take(self) -> list[Ticket]:
        """The next batch, waited for; none when the queue is closed and empty."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closing)
            if self.wait and not self.closing:
                self.changed.wait_for(lambda: len(self.waiting) >= self.max_batch or self.closing, self.wait)
                self.changed.wait_for(lambda: self.waiting or self.closing)  # those there may have been forgotten
            taken = [self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))]
            self.watch.queue_length.set(len(self.waiting))
            return taken

    def decode(self, tickets: list[Ticket]) -> None:
        now = time.monotonic()
        late = [ticket for ticket in tickets if ticket.deadline <= now]
        live = [ticket for ticket in tickets if ticket.deadline > now and not ticket.future.cancelled()]
        outcomes: list[Outcome] = [(ticket, None, TooLate("the deadline passed in the queue")) for ticket in late]
        if live:
            self.watch.batch(len(live), [now - ticket.queued for ticket in live])
            with watch_prompts() as prompts:
                outcomes += compute(live)
            self.watch.decoded(time.monotonic() - now, prompts)
        for loop in {ticket.future.get_loop() for ticket in tickets}:
            own = [outcome for outcome in outcomes if outcome[0].future.get_loop() is loop]
            call_soon(loop, settle, own)


def split_groups(tickets: Sequence[Ticket]) -> list[list[Ticket]]:
    groups: dict[Hashable, list[Ticket]] = {}
    for ticket in tickets:
        groups.setdefault(ticket.task.group, []).append(ticket)
    return list(groups.values())


def compute(tickets: list[Ticket]) -> list[Outcome]:
    """An error is the answer of each; the thread lives on."""
    try:
        results = tickets[0].task.run([ticket.task for ticket in tickets])
    except Exception as error:
        return [(ticket, None, error) for ticket in tickets]
    return [(ticket, result, None) for ticket, result in zip(tickets, results, strict=True)]


def call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[list[Outcome]], None], own: list[Outcome]) -> None:
    try:
        loop.call_soon_threadsafe(function, own)
    except RuntimeError:  # the loop was closed, so nobody waits
        return


def settle(outcomes: list[Outcome]) -> None:
    for ticket, result, error in outcomes:
        if ticket.future.done():
            continue
        if error is None:
            ticket.future.set_result(result)
        else:
            ticket.future.set_exception(error)
