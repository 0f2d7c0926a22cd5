"""How large shards should be where workers are slow or lost: a preparation by shards, simulated by discrete events.

Small shards cost an overhead each; large ones leave everybody waiting for the slowest, and lose more with a worker. A
step begins when the one before it has ended, as in genrec/data/shards. Who is slow, and who is lost when, is drawn by
seed: a worker's losses are a Poisson process.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

SIZES = (64, 128, 256, 512, 1024, 2048, 4096)  # MiB of text
SEEDS = 10
PARSE, ROUNDS = 0.6, 20  # share of the work in the first step, and steps that share the rest
NEAR = 1.05  # times the least: the largest size so near is taken, since it has the fewest files


class Worker(NamedTuple):
    """One that computes, and when it is lost."""

    slowness: float  # times as long as others
    losses: Sequence[float]  # seconds from the beginning, ascending
    back: float  # seconds from a loss until another one takes its place


class Job(NamedTuple):
    """A preparation."""

    cpu_seconds: float
    mib: float  # of text
    overhead: float  # seconds a task, whatever its size


class Fate(NamedTuple):
    """What workers are like."""

    workers: int
    slow: float  # share of slow ones
    slowness: float  # of these
    hours: float  # of work between two losses of a worker, on average
    back: float  # seconds


class Outcome(NamedTuple):
    """Of one size, over all seeds."""

    size: int  # MiB
    tasks: int  # of a step
    usual: float  # seconds, the median
    worst: float
    lost: float  # worker seconds of tasks that had to be done again, on average


def choose_shard_size(job: Job, fate: Fate, seed: int) -> tuple[int, list[Outcome]]:
    """(the size, what came of each): by the worst of all seeds."""
    outcomes = [simulate_size(job, fate, size, seed) for size in SIZES]
    least = min(outcome.worst for outcome in outcomes)
    return max(outcome.size for outcome in outcomes if outcome.worst <= NEAR * least), outcomes


def simulate_size(job: Job, fate: Fate, size: int, seed: int) -> Outcome:
    tasks = max(1, -(-int(job.mib) // size))
    turns = [simulate_job(job, tasks, draw_workers(job, fate, seed + turn)) for turn in range(SEEDS)]
    ends, lost = zip(*turns, strict=True)
    return Outcome(size, tasks, median(ends), max(ends), sum(lost) / len(lost))


def draw_workers(job: Job, fate: Fate, seed: int) -> list[Worker]:
    draw = np.random.default_rng(seed)
    most = 4 * fate.slowness * (job.cpu_seconds / fate.workers + 3600)  # seconds, beyond which nobody looks
    workers = []
    for _ in range(fate.workers):
        times = np.cumsum(draw.exponential(fate.hours * 3600, 1 + int(4 * most / (fate.hours * 3600))))
        slowness = fate.slowness if draw.random() < fate.slow else 1.0
        workers.append(Worker(slowness, times[times < most].tolist(), fate.back))
    return workers


def simulate_job(job: Job, tasks: int, workers: Sequence[Worker]) -> tuple[float, float]:
    """(seconds until all steps are done, worker seconds lost)"""
    clock, lost = 0.0, 0.0
    for share in (PARSE, *[(1 - PARSE) / ROUNDS] * ROUNDS):
        clock, more = simulate_step(job.overhead + share * job.cpu_seconds / tasks, tasks, workers, clock)
        lost += more
    return clock, lost


def simulate_step(seconds: float, tasks: int, workers: Sequence[Worker], start: float) -> tuple[float, float]:
    """(when the last of equal tasks is done, worker seconds lost). Whoever is free takes the next one."""
    free = [(start, number) for number in range(len(workers))]  # (when, who)
    heapq.heapify(free)
    waiting: deque[float] = deque([start] * tasks)  # when each may be begun
    end, lost = start, 0.0
    while waiting:
        now, number = heapq.heappop(free)
        worker = workers[number]
        ready = waiting.popleft()
        begin = max(now, ready)
        done = begin + seconds * worker.slowness
        place = bisect_left(worker.losses, begin)
        loss = worker.losses[place] if place < len(worker.losses) else done
        if loss >= done:
            end = max(end, done)
            heapq.heappush(free, (done, number))
        else:
            lost += loss - begin
            waiting.append(loss)
            heapq.heappush(free, (loss + worker.back, number))
    return end, lost
