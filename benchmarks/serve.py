"""A server under load, next to what its engine does alone.

    python benchmarks/serve.py --run outputs/quickstart
    python benchmarks/serve.py --run outputs/quickstart --decoding beam --seconds 20
    python benchmarks/serve.py --run outputs/quickstart --workers 2 --reload_every 5
    python benchmarks/serve.py --run outputs/quickstart --url http://127.0.0.1:8000    of a server that runs, as by Ray

Starts `genrec serve` on a free port of this machine and asks it for k = 10 after the histories of the run's users:
closed loop (so many clients, each asks again when it has its answer), then open loop (requests arrive at random, at
shares of what the closed loop reached, whether or not others are answered; latency counts from the moment of arrival).
Prints requests/s, latencies of the accepted ones, how many were refused (503) or failed, the server's CPU milliseconds
a request and its memory, of all its processes (nan with --url). The engine alone: full batches in this
process, one after another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import timed

ROOT = Path(__file__).resolve().parent.parent
K = 10
NEWEST = 50  # items of a history that are sent
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """What came of one load."""

    name: str
    seconds: float = 0.0
    cpu: float = 0.0  # seconds of the server
    latency: list[float] = field(default_factory=list)  # seconds, of the answered
    status: Counter[int] = field(default_factory=Counter)  # 0: no answer at all

    @property
    def rate(self) -> float:
        return len(self.latency) / self.seconds

    def row(self) -> str:
        p50, p90, p99 = np.percentile(self.latency or [np.nan], (50, 90, 99)) * 1000
        failed = sum(self.status.values()) - self.status[200] - self.status[503]
        cpu = self.cpu / max(len(self.latency), 1) * 1000
        return (
            f"| {self.name:16} | {self.rate:8.1f} | {p50:7.1f} | {p90:7.1f} | {p99:7.1f} | {self.status[503]:6,} | "
            f"{failed:6,} | {cpu:6.2f} | {self.cpu / self.seconds:5.2f} |"
        )


HEAD = (
    "| load             |    req/s |  p50 ms |  p90 ms |  p99 ms |    503 | failed | CPU ms | cores |\n"
    "|------------------|----------|---------|---------|---------|--------|--------|--------|-------|"
)


def main() -> None:
    options = parse()
    histories = read_histories(options)
    engine_speed(options, histories)
    bodies = [json.dumps({"history": history, "k": K}).encode() for history in histories]
    with server(options) as (pid, url):
        asyncio.run(measure(options, bodies, pid, url))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("outputs/quickstart"), help="a run with its data")
    parser.add_argument("--model", help="a family of the run; rl where RL helped, else sft")
    parser.add_argument("--decoding", choices=["frontier", "beam"], default="frontier")
    parser.add_argument("--workers", type=int, default=1, help="processes behind the port")
    parser.add_argument("--url", help="of a server that runs and is left as it is, in place of one that is started")
    parser.add_argument("--max_batch", type=int, default=16)
    parser.add_argument("--queue_size", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32], help="closed loops")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.5, 0.7, 0.9, 2.0], help="open loops, of capacity")
    parser.add_argument("--reload_every", type=float, default=0.0, help="seconds, in one more closed loop; 0 none")
    parser.add_argument("--requests", type=int, default=512, help="of the engine alone; distinct bodies")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_histories(options: argparse.Namespace) -> list[list[str]]:
    """The newest items of users of the run, drawn by seed."""
    from genrec.store import RunStore

    data = RunStore(options.run).prepared()
    offset, item, ids = data.sequences.offset, data.sequences.item, data.catalog.item_id
    users = np.random.default_rng(options.seed).integers(0, len(offset) - 1, options.requests)
    return [ids[item[max(offset[u], offset[u + 1] - NEWEST) : offset[u + 1]]].tolist() for u in users]


def engine_speed(options: argparse.Namespace, histories: list[list[str]]) -> None:
    """Full batches, the question read beforehand, as the decode thread has them."""
    import genrec
    from genrec.serving.catalogue import NONE, split

    shop = genrec.load(options.run, options.model, batch_size=options.max_batch, decoding=options.decoding)
    rows, family = shop.read_histories(histories), shop.widen(K, NONE)

    def decode() -> None:
        for start in range(0, len(rows), options.max_batch):
            block = rows.take(start, min(start + options.max_batch, len(rows)))
            shop.rank_block(family, block, K, split(block), NONE)

    decode()
    found = timed(decode)
    lists = len(rows)
    print(f"{shop.model}, {len(shop.catalog):,} items, {options.decoding}, k = {K}, batches of {options.max_batch}")
    print(f"engine alone: {lists / found.wall:.1f} lists/s, {found.cpu / lists * 1000:.2f} CPU ms a list\n", flush=True)


@contextmanager
def server(options: argparse.Namespace) -> Iterator[tuple[int | None, str]]:
    """(process id, None of a server elsewhere; address)"""
    if options.url:
        yield None, options.url
        return
    events = tempfile.TemporaryDirectory()
    flags = {
        **{"run.dir": options.run, "port": 0, "access_log": False, "events": Path(events.name) / "events.sqlite"},
        **{"max_batch": options.max_batch, "queue_size": options.queue_size, "workers": options.workers},
        "evaluation.decoding": options.decoding,
    }
    flags |= {"model": options.model} if options.model else {}
    words = [sys.executable, "-m", "genrec", "serve", *(f"--{name}={value}" for name, value in flags.items())]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
    assert process.stdout is not None
    try:
        found = (re.search(r"http://\S+:\d+", line) for line in process.stdout)
        address = next((match.group() for match in found if match), None)
        if address is None:
            raise SystemExit("error: the server ended before it answered; its own message says why")
        yield process.pid, address
    finally:
        process.terminate()
        process.communicate(timeout=60)
        events.cleanup()


async def measure(options: argparse.Namespace, bodies: list[bytes], pid: int | None, url: str) -> None:
    await closed_loop("warm-up", url, bodies, 4, min(2.0, options.seconds))
    print(HEAD)
    capacity = 0.0
    for clients in options.clients:
        load = await watched(pid, lambda n=clients: closed_loop(f"closed, {n}", url, bodies, n, options.seconds))
        capacity = max(capacity, load.rate)
    if options.reload_every:
        await watched(pid, lambda: reloaded_loop(options, url, bodies))
    chance = random.Random(options.seed)
    for share in options.shares:
        name, rate = f"open, {share:.0%}", share * capacity
        await watched(pid, lambda n=name, r=rate: open_loop(n, url, bodies, r, options.seconds, chance))
    if pid is not None:
        print(f"\nserver's memory {resident_of(pid):.0f} MiB")


async def watched(pid: int | None, work: Callable[[], Awaitable[Load]]) -> Load:
    """A load with the server's CPU seconds; its line is printed."""
    before, begin = cpu_of(pid), time.perf_counter()
    load = await work()
    load.cpu, load.seconds = cpu_of(pid) - before, time.perf_counter() - begin
    print(load.row(), flush=True)
    return load


def family_of(pid: int) -> list[int]:
    """A process and those that it started (Linux)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family_of(int(child)))]


def cpu_of(pid: int | None) -> float:
    """Seconds of user and system time; no number of a server elsewhere."""
    if pid is None:
        return float("nan")
    stats = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in family_of(pid)]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


def resident_of(pid: int) -> float:
    status = "".join(Path(f"/proc/{each}/status").read_text() for each in family_of(pid))
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


async def closed_loop(name: str, url: str, bodies: list[bytes], clients: int, seconds: float) -> Load:
    load, own, end = Load(name), cycle(bodies), time.perf_counter() + seconds

    async def client() -> None:
        connection = Connection(url)
        while (begin := time.perf_counter()) < end:
            record(load, await connection.ask(next(own)), begin)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return load


async def reloaded_loop(options: argparse.Namespace, url: str, bodies: list[bytes]) -> Load:
    """A closed loop of 8 while the catalogue is loaded again and again; a reload that fails counts as a failure."""
    connection, statuses = Connection(url), []

    async def reload() -> None:
        while True:
            await asyncio.sleep(options.reload_every)
            statuses.append(await connection.ask(b"", "/catalog/reload"))

    task = asyncio.create_task(reload())
    load = await closed_loop("closed, 8, reload", url, bodies, 8, options.seconds)
    task.cancel()
    load.status.update(status for status in statuses if status != 200)
    return load


async def open_loop(
    name: str, url: str, bodies: list[bytes], rate: float, seconds: float, chance: random.Random
) -> Load:
    """Poisson arrivals; connections are used again, and there are as many as are needed."""
    load, own, free = Load(name), cycle(bodies), []
    begin = time.perf_counter()
    moment, tasks = begin, []

    async def ask(arrival: float) -> None:
        connection = free.pop() if free else Connection(url)
        record(load, await connection.ask(next(own)), arrival)
        free.append(connection)

    while (moment := moment + chance.expovariate(rate)) < begin + seconds:
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(moment)))
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return load


def record(load: Load, status: int, begin: float) -> None:
    load.status[status] += 1
    if status == 200:
        load.latency.append(time.perf_counter() - begin)


class Connection:
    """HTTP/1.1, kept alive: a client that costs little, since it takes the server's cores."""

    def __init__(self, url: str):
        self.address = urlsplit(url)
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: bytes, path: str = "/recommend") -> int:
        """The status of a POST; 0 where the connection broke."""
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection(self.address.hostname, self.address.port)
            reader, writer = self.streams
            head = f"POST {path} HTTP/1.1\r\nhost: {self.address.netloc}\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            await reader.readexactly(int(length.group(1)) if length else 0)
            return int(answer[9:12])
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


if __name__ == "__main__":
    main()
