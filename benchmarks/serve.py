"""A server under load, next to what its engine does alone.

    python benchmarks/serve.py --run outputs/quickstart
    python benchmarks/serve.py --run outputs/quickstart --decoding beam --seconds 20
    python benchmarks/serve.py --run outputs/quickstart --workers 2
    python benchmarks/serve.py --run outputs/quickstart --url http://127.0.0.1:8000    of a server that runs, as by Ray
    python benchmarks/serve.py --run A --other B --reload_every 5 --seconds 60         reloads under load
    python benchmarks/serve.py --run outputs/quickstart --minutes 10                   memory under load

Starts `genrec serve` on a free port of this machine and asks it for k = 10 after the histories of the run's users:
closed loop (so many clients, each asks again when it has its answer), then open loop (requests arrive at random, at
shares of what the closed loop reached, whether or not others are answered; latency counts from the moment of arrival).
Prints requests/s, latencies of the accepted ones, how many were refused (503) or failed, the server's CPU milliseconds
a request and its memory, of all its processes (nan with --url). The engine alone: full batches in this
process, one after another.

--other B has the served place, a link, turned over between A and B before each reload, and every list held against the
one that the version it names gives. --minutes mixes lists with users, events, explanations, batches and what is
refused, and prints the memory each minute. Both end with status 1 where a request failed, or an answer was not that of
its version.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.http_load import HEAD, Ask, Connection, Load, closed_loop, cpu_of, open_loop, resident_of
from benchmarks.measuring import timed

if TYPE_CHECKING:
    from genrec.recommender import Ranked, Recommender

ROOT = Path(__file__).resolve().parent.parent
K = 10
NEWEST = 50  # items of a history that are sent
Turn = Callable[[int], None]  # lets the served link lead to the run of a number
NEAR = 1e-3  # by which a score may differ with the batch
CLIENTS = 8  # of the loads with reloads and over minutes
VISITORS = 100  # whose events grow over minutes


def main() -> None:
    options = parse()
    histories = read_histories(options)
    engine_speed(options, histories)
    asks = [Ask(json.dumps({"history": history, "k": K}).encode()) for history in histories]
    with tempfile.TemporaryDirectory() as place:
        if options.other:
            failures = load_while_reloading(options, histories, asks, Path(place))
        elif options.minutes:
            failures = load_for_minutes(options, histories, asks, Path(place))
        else:
            with server(options, options.run, Path(place)) as (pid, url):
                failures = asyncio.run(measure(options, asks, pid, url))
    raise SystemExit(bool(failures and (options.other or options.minutes)))


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
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32, 128], help="closed loops")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.5, 0.7, 0.9, 2.0], help="open loops, of capacity")
    parser.add_argument("--other", type=Path, help="a run of the same items, served in turn with --run; no other load")
    parser.add_argument("--reload_every", type=float, help="seconds, with --other (5)")
    parser.add_argument("--minutes", type=float, help="of mixed requests, the memory after each; no other load")
    parser.add_argument("--requests", type=int, default=512, help="of the engine alone; distinct bodies")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.url and (options.other or options.minutes):
        parser.error("--other and --minutes start their own server; leave out --url")
    if options.reload_every and not options.other:
        parser.error("--reload_every turns between --run and another run; name that by --other")
    options.reload_every = options.reload_every or 5.0
    return options


def read_histories(options: argparse.Namespace) -> list[list[str]]:
    """The newest items of users of the run, drawn by seed."""
    from genrec.store import RunStore

    data = RunStore(options.run).prepared()
    offset, item, ids = data.sequences.offset, data.sequences.item, data.catalog.item_id
    users = np.random.default_rng(options.seed).integers(0, len(offset) - 1, options.requests)
    return [ids[item[max(offset[u], offset[u + 1] - NEWEST) : offset[u + 1]]].tolist() for u in users]


def load_shop(options: argparse.Namespace, run: Path) -> Recommender:
    import genrec

    return genrec.load(run, options.model, batch_size=options.max_batch, decoding=options.decoding)


def list_all(shop: Recommender, histories: list[list[str]], max_batch: int) -> Callable[[], list[Ranked]]:
    """Full batches, the question read beforehand, as the decode thread has them."""
    from genrec.serving.catalogue import NONE, split

    rows, family = shop.read_histories(histories), shop.widen(K, NONE)
    blocks = [rows.take(start, min(start + max_batch, len(rows))) for start in range(0, len(rows), max_batch)]
    return lambda: [shop.rank_block(family, block, K, split(block), NONE) for block in blocks]


def engine_speed(options: argparse.Namespace, histories: list[list[str]]) -> None:
    shop = load_shop(options, options.run)
    decode = list_all(shop, histories, options.max_batch)
    decode()
    found = timed(decode)
    lists = len(histories)
    print(f"{shop.model}, {len(shop.catalog):,} items, {options.decoding}, k = {K}, batches of {options.max_batch}")
    print(f"engine alone: {lists / found.wall:.1f} lists/s, {found.cpu / lists * 1000:.2f} CPU ms a list\n", flush=True)


@contextmanager
def server(options: argparse.Namespace, run: Path, place: Path) -> Iterator[tuple[int | None, str]]:
    """(process id, None of a server elsewhere; address); its events go below `place`."""
    if options.url:
        yield None, options.url
        return
    flags = {
        **{"run.dir": run, "port": 0, "access_log": False, "events": place / "events.sqlite"},
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


async def measure(options: argparse.Namespace, asks: list[Ask], pid: int | None, url: str) -> int:
    """Closed and open loops; how many requests failed."""
    await closed_loop("warm-up", url, asks, 4, min(2.0, options.seconds))
    print(HEAD)
    loads = [
        await watched(pid, closed_loop(f"closed, {clients}", url, asks, clients, options.seconds))
        for clients in options.clients
    ]
    capacity = max((load.rate for load in loads), default=0.0)
    chance = random.Random(options.seed)
    for share in options.shares:
        load = open_loop(f"open, {share:.0%}", url, asks, share * capacity, options.seconds, chance)
        loads.append(await watched(pid, load))
    return sum(load.failed for load in loads)


async def watched(pid: int | None, work: Awaitable[Load]) -> Load:
    """A load with the server's CPU seconds and its memory after it; its line is printed."""
    before = cpu_of(pid)
    load = await work
    load.cpu, load.memory = cpu_of(pid) - before, resident_of(pid)
    print(load.row(), flush=True)
    return load


# Reloads


@dataclass
class VersionLists:
    """What each version lists, and how often an answer was that."""

    wanted: dict[str, dict[Ask, tuple[np.ndarray, np.ndarray]]]  # version -> request -> (K,) items, (K,) scores
    answered: Counter[str] = field(default_factory=Counter)  # by version
    unlike: int = 0

    def read(self, ask: Ask, content: bytes) -> None:
        answer = json.loads(content)
        self.answered[answer["version"]] += 1
        listed = {each["item"]: each["score"] for each in answer["items"]}
        lists = self.wanted.get(answer["version"])
        self.unlike += lists is None or not is_list(listed, *lists[ask])


def is_list(listed: dict[int, float], items: np.ndarray, scores: np.ndarray) -> bool:
    """Equal scores place by place, and of each item; items of almost equal score may have changed places."""
    if len(listed) != (items >= 0).sum() or not np.allclose(list(listed.values()), scores[: len(listed)], atol=NEAR):
        return False
    own = dict(zip(items.tolist(), scores.tolist(), strict=True))
    last = scores[len(listed) - 1]
    return all(abs(own.get(item, last) - score) < NEAR for item, score in listed.items())


def load_while_reloading(
    options: argparse.Namespace, histories: list[list[str]], asks: list[Ask], directory: Path
) -> int:
    """A closed loop while the served link is turned over and reloaded; requests that failed or were another's list."""
    runs = [options.run.resolve(), options.other.resolve()]
    lists = VersionLists(dict(list_version(options, run, histories, asks) for run in runs))
    if len(lists.wanted) == 1:
        raise SystemExit(f"error: {options.run} and {options.other} are one version; name another run by --other")
    link = directory / "current"

    def turn(number: int) -> None:
        point(link, runs[number % 2])

    turn(0)
    with server(options, link, directory) as (pid, url):
        load, statuses = asyncio.run(loop_and_reload(options, asks, lists, pid, url, turn))
    failed = sum(status != 200 for status in statuses)
    answered = ", ".join(f"{count:,} by {version}" for version, count in lists.answered.items())
    print(
        f"\n{len(statuses)} reloads, {failed} failed; answered {answered}; {lists.unlike:,} unlike their version's list"
    )
    return load.failed + failed + lists.unlike


def list_version(
    options: argparse.Namespace, run: Path, histories: list[list[str]], asks: list[Ask]
) -> tuple[str, dict[Ask, tuple[np.ndarray, np.ndarray]]]:
    """(name, {request: (items, scores)}) of what a run's server would answer by."""
    from genrec.serving.catalogue import make_version

    version = make_version(run, lambda place: [load_shop(options, place)])
    ranked = list_all(version.first, histories, options.max_batch)()
    items, scores = (np.concatenate([getattr(block, name) for block in ranked]) for name in ("item", "score"))
    return version.name, dict(zip(asks, zip(items, scores, strict=True), strict=True))


async def loop_and_reload(
    options: argparse.Namespace, asks: list[Ask], lists: VersionLists, pid: int | None, url: str, turn: Turn
) -> tuple[Load, list[int]]:
    """(load, statuses of the reloads)"""
    print(HEAD)
    loop, statuses = asyncio.get_running_loop(), []
    end = loop.time() + options.seconds
    load = asyncio.create_task(
        watched(pid, closed_loop(f"closed, {CLIENTS}, reload", url, asks, CLIENTS, options.seconds, lists.read))
    )
    for moment in np.arange(end - options.seconds, end, options.reload_every)[1:]:
        await asyncio.sleep(max(0.0, moment - loop.time()))
        turn(len(statuses) + 1)
        statuses.append(await reload(url))
    return await load, statuses


async def reload(url: str) -> int:
    connection = Connection(url)
    status, content = await connection.ask(Ask(b"", "/catalog/reload"))
    connection.close()
    if status != 200:
        print(f"a reload failed: {status} {content.decode()}")
    return status


def point(link: Path, target: Path) -> None:
    """Turn a link over in one step."""
    beside = link.with_name(link.name + ".new")
    beside.symlink_to(target)
    os.replace(beside, link)


# Minutes


def load_for_minutes(options: argparse.Namespace, histories: list[list[str]], asks: list[Ask], directory: Path) -> int:
    """A closed loop of mixed requests; how many failed."""
    explained = 200 if load_shop(options, options.run).is_language_model else 422
    mixed = [each for number in range(len(asks)) for each in mix(number, histories, asks[number], explained)]
    with server(options, options.run, directory) as (pid, url):
        loads = asyncio.run(loops_of_minutes(options, mixed, pid, url))
    print(f"\nmemory {loads[0].memory:.1f} MiB after the first, {loads[-1].memory:.1f} MiB after the last")
    return sum(load.failed for load in loads)


def mix(number: int, histories: list[list[str]], ask: Ask, explained: int) -> list[Ask]:
    """A list after a history, and in turn something else."""
    history, visitor = histories[number], f"visitor-{number // 5 % VISITORS}"
    questions = [{"history": each, "k": K} for each in histories[number : number + 4]]
    others = [
        write_ask("/events", {"user": visitor, "items": history[-2:]}),
        write_ask("/recommend", {"user": visitor, "k": K}),
        write_ask("/explain", {"history": history[:-1] or history, "item": history[-1]}, explained),
        write_ask("/recommend/batch", {"requests": questions}),
        write_ask("/recommend", {"history": [f"no such title {number}"]}, 422),
    ]
    return [ask, others[number % len(others)]]


def write_ask(path: str, body: dict[str, Any], status: int = 200) -> Ask:
    return Ask(json.dumps(body).encode(), path, status)


async def loops_of_minutes(options: argparse.Namespace, mixed: list[Ask], pid: int | None, url: str) -> list[Load]:
    connection = Connection(url)
    for ask in mixed:
        if ask.path == "/events":  # visitors are known before they ask
            await connection.ask(ask)
    connection.close()
    print(HEAD)
    count = math.ceil(options.minutes)
    seconds = 60 * options.minutes / count
    return [
        await watched(pid, closed_loop(f"minute {number}", url, mixed, CLIENTS, seconds))
        for number in range(1, count + 1)
    ]


if __name__ == "__main__":
    main()
