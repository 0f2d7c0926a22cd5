"""Load on a server and what it costs: closed and open loops of a client that needs little; CPU and memory of processes.

load = await closed_loop("closed, 8", url, asks, 8, seconds)      so many clients, each asks again when it is answered
load = await open_loop("open", url, asks, rate, seconds, chance)  arrivals at random, whether or not others are answered
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

TICKS = os.sysconf("SC_CLK_TCK")
HEAD = (
    "| load             |    req/s |  p50 ms |  p90 ms |  p99 ms |    503 | failed | CPU ms | cores |    MiB |\n"
    "|------------------|----------|---------|---------|---------|--------|--------|--------|-------|--------|"
)


@dataclass(frozen=True, eq=False)
class Ask:
    """A request, and the status that is right for it."""

    body: bytes
    path: str = "/recommend"
    status: int = 200


Reader = Callable[[Ask, bytes], None]  # of right answers


@dataclass
class Load:
    """What came of one load."""

    name: str
    seconds: float = 0.0
    cpu: float = math.nan  # seconds of the server; no number of one elsewhere
    memory: float = math.nan  # MiB of the server, after the load
    latency: list[float] = field(default_factory=list)  # seconds, of the rightly answered
    status: Counter[int] = field(default_factory=Counter)  # 0: no answer at all
    failed: int = 0  # neither the right status nor 503

    @property
    def rate(self) -> float:
        return len(self.latency) / self.seconds

    def record(self, ask: Ask, status: int, begin: float) -> None:
        self.status[status] += 1
        if status == ask.status:
            self.latency.append(time.perf_counter() - begin)
        elif status != 503:
            self.failed += 1

    def row(self) -> str:
        p50, p90, p99 = np.percentile(self.latency or [np.nan], (50, 90, 99)) * 1000
        cpu = self.cpu / max(len(self.latency), 1) * 1000
        return (
            f"| {self.name:16} | {self.rate:8.1f} | {p50:7.1f} | {p90:7.1f} | {p99:7.1f} | {self.status[503]:6,} | "
            f"{self.failed:6,} | {cpu:6.2f} | {self.cpu / self.seconds:5.2f} | {self.memory:6.1f} |"
        )


async def closed_loop(
    name: str, url: str, asks: Sequence[Ask], clients: int, seconds: float, read: Reader | None = None
) -> Load:
    begin = time.perf_counter()
    load, own = Load(name), cycle(asks)

    async def client() -> None:
        connection = Connection(url)
        while (moment := time.perf_counter()) < begin + seconds:
            ask = next(own)
            status, content = await connection.ask(ask)
            load.record(ask, status, moment)
            if read is not None and status == ask.status:
                read(ask, content)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.perf_counter() - begin
    return load


async def open_loop(
    name: str, url: str, asks: Sequence[Ask], rate: float, seconds: float, chance: random.Random
) -> Load:
    """Poisson arrivals; connections are used again, and there are as many as are needed."""
    begin = moment = time.perf_counter()
    load, own, free, tasks = Load(name), cycle(asks), [], []

    async def answered(arrival: float) -> None:
        connection, ask = free.pop() if free else Connection(url), next(own)
        status, _ = await connection.ask(ask)
        load.record(ask, status, arrival)
        free.append(connection)

    while (moment := moment + chance.expovariate(rate)) < begin + seconds:
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        tasks.append(asyncio.create_task(answered(moment)))
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    load.seconds = time.perf_counter() - begin
    return load


class Connection:
    """HTTP/1.1, kept alive: it takes little of the server's cores."""

    def __init__(self, url: str):
        self.address = urlsplit(url)
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, ask: Ask) -> tuple[int, bytes]:
        """(status, content) of a POST; status 0 where the connection broke."""
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection(self.address.hostname, self.address.port)
            reader, writer = self.streams
            head = f"POST {ask.path} HTTP/1.1\r\nhost: {self.address.netloc}\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(ask.body)}\r\n\r\n".encode() + ask.body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            return int(answer[9:12]), await reader.readexactly(int(length.group(1)) if length else 0)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0, b""

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


# What Linux says of processes


def family_of(pid: int) -> list[int]:
    """A process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family_of(int(child)))]


def cpu_of(pid: int | None) -> float:
    """Seconds of user and system time; no number of a server elsewhere."""
    if pid is None:
        return math.nan
    stats = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in family_of(pid)]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


def resident_of(pid: int | None) -> float:
    """MiB; no number of a server elsewhere."""
    if pid is None:
        return math.nan
    status = "".join(Path(f"/proc/{each}/status").read_text() for each in family_of(pid))
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
