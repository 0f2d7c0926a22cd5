"""The queue: batches of what waits, its bound, deadlines, cancelling, errors, and the end."""

import asyncio
import threading
import time
from dataclasses import dataclass, field

import pytest

from genrec.serving.batching import Batcher, Closed, QueueFull, TooLate
from genrec.serving.metrics import Watch


@dataclass(frozen=True, eq=False)
class Add:
    """Numbers that are doubled, a batch at a time; the first batch waits for `gate`."""

    value: int
    batches: list = field(default_factory=list)
    gate: threading.Event | None = None
    kind: str = "a"

    @property
    def group(self):
        return self.kind

    def run(self, tasks):
        if self.gate is not None:
            self.gate.wait(5)
        if self.value < 0:
            raise ValueError("a negative number")
        self.batches.append([task.value for task in tasks])
        return [2 * task.value for task in tasks]


def run(scenario, **settings):
    """The scenario with a batcher whose thread runs."""
    batcher = Batcher(**{"max_batch": 4, "wait": 0.0, "queue_size": 8, "watch": Watch()} | settings)
    batcher.start()

    async def whole():
        try:
            return await asyncio.wait_for(scenario(batcher), 10)
        finally:
            await asyncio.to_thread(batcher.stop)

    return asyncio.run(whole())


async def block(batcher, batches):
    """A task that holds the thread, begun, and the gate that lets it go on."""
    gate = threading.Event()
    ticket = batcher.submit([Add(0, batches, gate)], 5)[0]
    while batcher.waiting:
        await asyncio.sleep(0.001)
    return ticket, gate


def test_a_batch_is_what_waited_and_no_longer_than_allowed():
    batches = []

    async def scenario(batcher):
        first, gate = await block(batcher, batches)
        tickets = batcher.submit([Add(n, batches) for n in range(1, 7)], 5)
        gate.set()
        return [await ticket.future for ticket in [first, *tickets]]

    assert run(scenario) == [0, 2, 4, 6, 8, 10, 12]
    assert batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_tasks_of_another_group_are_computed_apart():
    batches = []

    async def scenario(batcher):
        _, gate = await block(batcher, batches)
        tasks = [Add(n, batches, kind="ab"[n % 2]) for n in range(1, 5)]
        tickets = batcher.submit(tasks, 5)
        gate.set()
        return [await ticket.future for ticket in tickets]

    assert run(scenario) == [2, 4, 6, 8]
    assert batches == [[0], [1, 3], [2, 4]]


def test_a_full_queue_takes_all_of_a_request_or_none():
    batches = []

    async def scenario(batcher):
        _, gate = await block(batcher, batches)
        batcher.submit([Add(n, batches) for n in range(7)], 5)
        with pytest.raises(QueueFull) as refused:
            batcher.submit([Add(8, batches), Add(9, batches)], 5)
        last = batcher.submit([Add(7, batches)], 5)[0]
        gate.set()
        return refused.value.seconds, await last.future

    seconds, last = run(scenario)
    assert seconds >= 1 and last == 14 and sum(map(len, batches)) == 9


def test_late_and_forgotten_work_is_not_computed():
    batches = []

    async def scenario(batcher):
        _, gate = await block(batcher, batches)
        late = batcher.submit([Add(1, batches)], 0.01)[0]
        forgotten = batcher.submit([Add(2, batches)], 5)
        kept = batcher.submit([Add(3, batches)], 5)[0]
        batcher.forget(forgotten)
        assert len(batcher.waiting) == 2
        await asyncio.sleep(0.03)
        gate.set()
        with pytest.raises(TooLate):
            await late.future
        return await kept.future

    assert run(scenario) == 6 and batches == [[0], [3]]


def test_an_error_is_the_answer_of_its_group_and_the_thread_lives_on():
    async def scenario(batcher):
        bad = batcher.submit([Add(-1)], 5)[0]
        with pytest.raises(ValueError, match="a negative number"):
            await bad.future
        return await batcher.submit([Add(4)], 5)[0].future

    assert run(scenario) == 8


def test_the_wait_lets_a_batch_fill():
    batches = []

    async def scenario(batcher):
        tickets = []
        for n in range(3):
            tickets += batcher.submit([Add(n, batches)], 5)
            await asyncio.sleep(0.01)
        return [await ticket.future for ticket in tickets]

    assert run(scenario, wait=0.5, max_batch=3) == [0, 2, 4] and batches == [[0, 1, 2]]


def test_stopping_answers_what_waits_and_takes_nothing_more():
    batches = []

    async def scenario(batcher):
        first, gate = await block(batcher, batches)
        rest = batcher.submit([Add(n, batches) for n in range(1, 6)], 5)
        stopping = asyncio.create_task(asyncio.to_thread(batcher.stop))
        while not batcher.closing:
            await asyncio.sleep(0.001)
        with pytest.raises(Closed):
            batcher.submit([Add(9, batches)], 5)
        gate.set()
        await stopping
        return [await ticket.future for ticket in [first, *rest]]

    assert run(scenario) == [0, 2, 4, 6, 8, 10]


def test_a_queue_counts_what_it_did():
    watch = Watch()

    async def scenario(batcher):
        return await batcher.submit([Add(1)], 5)[0].future

    begin = time.time()
    run(scenario, watch=watch)
    text = watch.text().decode()
    assert "genrec_batch_size_sum 1.0" in text and "genrec_decode_seconds_count 1.0" in text and time.time() > begin
