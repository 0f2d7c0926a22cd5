"""Tasks of a job by shards: functions from files to files, which may be carried out anywhere, in any order, and twice.

A task writes whatever it makes whole, and its record last; a task whose record is there is not carried out again. What
it returns is small and plain, so that nothing but words passes between workers and whoever gives them work.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genrec.artifacts import read_json, write_json

KIB = 1024
MIB = 2**20


class Task(NamedTuple):
    """A function, what it is told, and where its record lies."""

    function: Callable[..., dict[str, Any]]
    told: tuple[Any, ...]
    record: Path


class Spent(NamedTuple):
    """What a step took."""

    step: str
    tasks: int
    seconds: float  # of CPU, of all tasks
    peak: int  # bytes, the largest process that carried one out


Workers = Callable[[Sequence[Task]], Iterator[tuple[int, dict[str, Any]]]]  # (place, record), as they are finished


def carry_out(task: Task) -> dict[str, Any]:
    """One task; its record."""
    start = time.process_time()
    said = task.function(*task.told)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    record = {"said": said, "seconds": time.process_time() - start, "peak": peak}
    write_json(task.record, record)
    return record


def in_turn(tasks: Sequence[Task]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Workers: this process."""
    yield from ((place, carry_out(task)) for place, task in enumerate(tasks))


def finish_tasks(step: str, tasks: Sequence[Task], workers: Workers, spent: list[Spent]) -> list[dict[str, Any]]:
    """What each task said, in the order of the tasks."""
    from tqdm import tqdm

    records = {place: read_json(task.record) for place, task in enumerate(tasks) if task.record.is_file()}
    waiting = [place for place in range(len(tasks)) if place not in records]
    with tqdm(total=len(tasks), initial=len(records), desc=step, unit="task", disable=None, leave=False) as bar:
        for place, record in workers([tasks[place] for place in waiting]):
            records[waiting[place]] = record
            bar.update()
    seconds, peak = sum(record["seconds"] for record in records.values()), max(r["peak"] for r in records.values())
    spent.append(Spent(step, len(tasks), seconds, peak))
    return [records[place]["said"] for place in range(len(tasks))]


def say_spent(spent: Sequence[Spent], workers: int) -> list[str]:
    """What the steps took, for the screen."""
    steps: dict[str, float] = {}
    for step in spent:
        steps[step.step] = steps.get(step.step, 0.0) + step.seconds
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps.items())
    peak = max(step.peak for step in spent) / MIB
    tasks = sum(step.tasks for step in spent)
    words = f"{tasks:,} task{'s' * (tasks != 1)} by {workers} worker{'s' * (workers > 1)}"
    return [f"{words}, the largest {peak:,.0f} MiB; CPU s: {parts}"]
