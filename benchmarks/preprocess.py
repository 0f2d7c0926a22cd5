"""Is our preprocessing faster than a json.loads loop, does it fit into memory, and is a plain table read as fast?

Makes a synthetic reviews file (Amazon-2018 lines, gzip) once under --dir, then runs read + window + 5-core + split both
ways in turn, each in a process of its own, and prints the ratio of the medians and the peak memory.

    python benchmarks/preprocess.py                          # 1 million lines, side by side
    python benchmarks/preprocess.py --rows 10000000 --only ours --repeat 1
    python benchmarks/preprocess.py --rows 10000000 --only table --repeat 1    # the same events as a CSV, beside ours
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import in_turn, medians, peak, timed

CHUNK = 200_000
START, END = (2013, 10), (2018, 11)
K = 5
MEMORY_LIMIT_GB = 4.0
WORDS = "good bad fits well broke after one week would buy again exactly as described works great for the price".split()


def main() -> None:
    options = parse_options()
    if options.run == "make":
        print(json.dumps(make_file(options.file, options.rows)))
        return
    if options.run == "make_table":
        print(json.dumps(make_table(options.file)))
        return
    if options.run:
        print(json.dumps(measure(options.run, options.file)))
        return
    path = options.dir / f"reviews_{options.rows}_5.json.gz"
    if not path.exists():
        in_own_process("make", path, "--rows", str(options.rows))  # its memory would count as its children's peak
    print(f"{options.rows:,} reviews, {path.stat().st_size / 1e6:,.0f} MB gzip", flush=True)
    if options.only == "table":
        in_own_process("make_table", path)
    ways = {"both": ["ours", "loop"], "table": ["ours", "table"]}.get(options.only, [options.only])
    report(in_turn({way: partial(run_and_tell, way, path) for way in ways}, options.repeat))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="reviews in the file")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each way; the median counts")
    parser.add_argument("--only", choices=["both", "ours", "loop", "table"], default="both", help="which way to run")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where the file is made and kept")
    parser.add_argument("--run", choices=["ours", "loop", "table", "make", "make_table"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_and_tell(way: str, path: Path) -> dict[str, float]:
    found = in_own_process(way, path)
    print(f"  {way}: {found}", flush=True)
    return found


def in_own_process(way: str, path: Path, *flags: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--run", way, "--file", str(path), *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(way: str, path: Path) -> dict[str, float]:
    """Seconds after the imports, peak memory, and the counts that both ways must agree on."""
    work = {"ours": ours, "loop": loop, "table": table}[way]
    import genrec.data.amazon  # noqa: F401  imports are not what is compared

    counts, _, seconds = timed(lambda: work(path))
    return {"seconds": round(seconds, 2), "peak_gb": round(peak() * 1024 / 1e6, 2), **counts}


def ours(path: Path) -> dict[str, int]:
    """The project's own functions, item records aside."""
    from genrec.config import Data
    from genrec.data import amazon

    data = Data(st_year=START[0], st_month=START[1], ed_year=END[0], ed_month=END[1])
    events, _ = amazon.read_reviews(path, amazon.EDITIONS["amazon18"], data.max_bad_share)
    return cut(events, data)


def table(path: Path) -> dict[str, int]:
    """The same of a plain table."""
    from genrec.config import Data
    from genrec.data.table import read_events
    from genrec.data.table_columns import assign_columns
    from genrec.data.table_files import open_table

    data = Data(source="table", st_year=START[0], st_month=START[1], ed_year=END[0], ed_month=END[1])
    events_table = open_table(str(table_beside(path)), "events")
    return cut(read_events(events_table, assign_columns(events_table, "events", {}), data)[0], data)


def table_beside(path: Path) -> Path:
    return path.with_name(path.name.replace(".json.gz", ".csv"))


def make_table(path: Path) -> dict[str, int]:
    """user_id, item_id, timestamp, rating of the reviews, as CSV."""
    import polars as pl

    names = {"reviewerID": "user_id", "asin": "item_id", "unixReviewTime": "timestamp", "overall": "rating"}
    schema = dict.fromkeys(("reviewerID", "asin"), pl.String) | {"unixReviewTime": pl.Int64, "overall": pl.Float64}
    if not (target := table_beside(path)).exists():
        frame = pl.scan_ndjson(path, schema=schema).rename(names)
        frame.sink_csv(beside := target.with_name(target.name + ".part"))
        beside.rename(target)
    return {"bytes": target.stat().st_size}


def cut(events, data) -> dict[str, int]:
    """Window, 5-core, split."""
    from genrec.data.filters import k_core, mark_inside
    from genrec.data.splits import build_sequences, split_targets
    from genrec.data.ties import draw_tie_order

    events = events.take(mark_inside(events.time, data))
    events = events.take(k_core(events.user, events.item, K, K).keep)
    sequences, item_ids, tie_order = build_sequences(events, draw_tie_order("file", len(events), seed=0))
    rows = split_targets(sequences, "chronological", tie_order)
    return counts_of(len(sequences), len(item_ids), [len(rows[name]) for name in ("train", "valid", "test")])


def loop(path: Path) -> dict[str, int]:
    """The plain way: json.loads on each line, dictionaries, Counters."""
    from genrec.data.filters import month_start

    start, end = month_start(*START), month_start(*END)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = (json.loads(line) for line in file)
        rows = [(r["reviewerID"], r["asin"], r["unixReviewTime"]) for r in records]
    rows = [row for row in rows if start <= row[2] <= end]
    while True:
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        left = [row for row in rows if users[row[0]] >= K and items[row[1]] >= K]
        if len(left) == len(rows):
            break
        rows = left
    return split_by_dictionaries(rows)


def split_by_dictionaries(rows: list[tuple[str, str, int]]) -> dict[str, int]:
    """Histories of up to 10 as pointers (user, place), targets sorted by time, 8:1:1."""
    by_user, item_number = defaultdict(list), {}
    for user, item, seconds in rows:
        by_user[user].append((seconds, item))
    targets = []
    for number, events in enumerate(by_user.values()):
        events.sort(key=lambda event: event[0])
        numbers = [item_number.setdefault(item, len(item_number)) for _, item in events]
        targets += [(events[i][0], number, i, numbers[i]) for i in range(1, len(events))]
    targets.sort(key=lambda target: target[0])
    first, second = int(0.8 * len(targets)), int(0.9 * len(targets))
    return counts_of(len(by_user), len(item_number), [first, second - first, len(targets) - second])


def counts_of(users: int, items: int, rows: list[int]) -> dict[str, int]:
    return {"users": users, "items": items, **dict(zip(("train", "valid", "test"), rows, strict=True))}


def report(runs: dict[str, list[dict[str, float]]]) -> None:
    seconds = medians({way: [run["seconds"] for run in done] for way, done in runs.items()})
    counts = {tuple(run[key] for key in ("users", "items", "train", "valid", "test")) for (run, *_) in runs.values()}
    assert len(counts) == 1, f"the two ways disagree: {counts}"
    for way, done in runs.items():
        print(f"{way}: median {seconds[way]:.2f} s of {len(done)}, peak {max(run['peak_gb'] for run in done):.2f} GB")
    if "ours" in runs:
        peak = max(run["peak_gb"] for run in runs["ours"])
        print(f"memory limit {MEMORY_LIMIT_GB} GB: {'held' if peak < MEMORY_LIMIT_GB else 'BROKEN'}")
    if "loop" in seconds and "ours" in seconds:
        print(f"ratio loop / ours: {seconds['loop'] / seconds['ours']:.1f}")
    if "table" in seconds:
        print(f"ratio table / ours: {seconds['table'] / seconds['ours']:.2f} (1.3 at most)")


def make_file(path: Path, rows: int) -> dict[str, int]:
    """Reviews with long tails of users and items and a text of some dozen words, in chunks."""
    import numpy as np

    rng, beside = np.random.default_rng(0), path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    bodies = [" ".join(rng.choice(WORDS, size=int(size))) for size in rng.integers(10, 120, 500)]
    with gzip.open(beside, "wb", compresslevel=1) as file:
        for begin in range(0, rows, CHUNK):
            file.write("".join(lines(rng, min(CHUNK, rows - begin), rows, bodies)).encode())
    beside.rename(path)
    return {"rows": rows}


def lines(rng, count: int, rows: int, bodies: list[str]) -> list[str]:
    """`count` JSON lines; users and items drawn by powers of a uniform number, so that few are frequent."""
    users = (rng.random(count) ** 2 * rows / 16).astype(int).tolist()
    items = (rng.random(count) ** 2 * rows / 40).astype(int).tolist()
    times = rng.integers(1_300_000_000, 1_545_000_000, count).tolist()
    chosen = rng.integers(0, len(bodies), count).tolist()
    return [
        f'{{"overall": {3 + user % 3}.0, "verified": true, "reviewTime": "01 1, 2016", "reviewerID": "A{user:012d}", '
        f'"asin": "B{item:09d}", "style": {{"Size:": " {item % 9}"}}, "reviewerName": "Reader {user % 997}", '
        f'"reviewText": "{bodies[body]}", "summary": "{bodies[body][:30]}", "unixReviewTime": {seconds}}}\n'
        for user, item, seconds, body in zip(users, items, times, chosen, strict=True)
    ]


if __name__ == "__main__":
    main()
