"""What the benchmarks share: seconds of a call, sides in turn, memory of this process, tables, paired differences."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from genrec.evaluation.report import Estimate, Report

T = TypeVar("T")


class Timed(NamedTuple):
    result: Any
    cpu: float  # seconds of this process, which other work on the machine does not lengthen
    wall: float


def timed(work: Callable[[], Any]) -> Timed:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Timed(result, time.process_time() - cpu, time.perf_counter() - wall)


def in_turn(sides: dict[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each side returns, all sides in every round, so that what else the machine does falls on all alike."""
    found: dict[str, list[T]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, work in sides.items():
            found[side].append(work())
    return found


def medians(found: dict[str, list[float]]) -> dict[str, float]:
    return {side: statistics.median(values) for side, values in found.items()}


def peak_growth(work: Callable[[], T]) -> tuple[T, float]:
    """What the call returns, and by how many MiB its peak rises above what this process held before (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before = resident("VmRSS")
    result = work()
    return result, resident("VmHWM") - before


def resident(field: str) -> float:
    """MiB, from Linux's account of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def peak() -> float:
    """MiB this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sides_table(unit: str, speed: dict[str, float], memory: dict[str, float], against: str) -> str:
    """Markdown: each side's speed in `unit` and MiB, and both relative to one of the sides."""
    lines = [f"| side | {unit} | times {against} | MiB | share of {against} |", "|---|---|---|---|---|"]
    for side, rate in speed.items():
        times, share = rate / speed[against], memory[side] / memory[against]
        lines.append(f"| {side:6} | {rate:9.2f} | {times:5.2f} | {memory[side]:6.0f} | {share:5.2f} |")
    return "\n".join(lines)


def paired(base: list[Report], made: list[Report], metrics: tuple[str, ...]) -> dict[str, Estimate]:
    """Mean of made - base user by user over all seeds, a report each; intervals draw users with all their seeds."""
    import numpy as np

    from genrec.evaluation.report import estimate_ratios

    both = list(zip(base, made, strict=True))
    assert all(one.rows.fingerprint == other.rows.fingerprint for one, other in both), "runs of different rows"
    user = np.concatenate([one.user for one in base])
    columns = [np.concatenate([other.scores[m] - one.scores[m] for one, other in both]) for m in metrics]
    change = np.stack(columns, axis=1)  # (E of all seeds, metrics)
    return dict(zip(metrics, estimate_ratios(user, change, np.ones_like(change), seed=0), strict=True))
