"""Semantic IDs of more items than memory takes: time, peak memory, and inertia beside what is learned from all.

    python benchmarks/many_items.py stage DIR --rows 1e7 --train_rows 3e4 --num_levels 4     # genrec sids, in a process
    python benchmarks/many_items.py compare DIR --rows 2e5 --train_rows 2e4                  # against all in memory

Rows are those of balanced_kmeans.py, blobs of 384 numbers, written a block at a time; DIR is removed by hand.
"""

import argparse
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
from balanced_kmeans import WIDTH, inertia
from measuring import timed

BLOCK = 262_144


def write_rows(path: Path, rows: int, centres: int = 64, noise: float = 0.7) -> None:
    """(rows, WIDTH) unit vectors around `centres` directions of unequal weight, as .npy."""
    rng = np.random.default_rng(0)
    middle, share = rng.normal(size=(centres, WIDTH)).astype(np.float32), rng.dirichlet(np.ones(centres))
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, WIDTH))
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        found = noise * rng.standard_normal((count, WIDTH), dtype=np.float32)
        found += middle[rng.choice(centres, count, p=share)]
        np.load(path, mmap_mode="r+")[start : start + count] = found / np.linalg.norm(found, axis=1, keepdims=True)


def write_run(directory: Path, rows: int) -> None:
    """A run with so many items, one user, and their vectors."""
    from genrec import artifacts, stage
    from genrec.commandline import Command
    from genrec.config_checks import validate
    from genrec.data.catalog import Catalog, save_catalog
    from genrec.data.sequences import Sequences, Split, save_sequences, save_splits

    config = validate({"run": {"dir": str(directory)}, "data": {"dataset": "many", "source": "toy"}})

    def build_data(_, place: Path) -> dict:
        names = [f"item {number}" for number in range(rows)]
        brands, kinds = [f"brand {n}" for n in range(1000)], [f"Shop,kind {n}" for n in range(30)]
        columns = [
            names,
            names,
            [""] * rows,
            [brands[n % 1000] for n in range(rows)],
            [kinds[n % 30] for n in range(rows)],
        ]
        save_catalog(Catalog(*(np.array(column, dtype=object) for column in columns)), place / artifacts.CATALOG)
        item, user = np.arange(9, dtype=np.int32), np.zeros(1, np.int32)
        times, offset = np.arange(9, dtype=np.int64), np.array([0, 9])
        save_sequences(Sequences(item, times, offset, np.array(["u"])), place / artifacts.SEQUENCES)
        ends = {"train": np.arange(1, 7), "valid": np.array([7]), "test": np.array([8])}
        splits = {name: Split(np.repeat(user, len(end)), end) for name, end in ends.items()}
        save_splits(splits, place / artifacts.SPLITS)
        return {}

    def build_vectors(_, place: Path) -> dict:
        write_rows(place / "many.emb.npy", rows)
        return {}

    for name, build in (("data", build_data), ("embeddings", build_vectors)):
        stage.run(name, Command(config, clean=False, dry_run=False), build)


def run_stage(directory: Path, asked: argparse.Namespace) -> None:
    """The command in a process of its own; its anonymous memory, which is never given back to a file, and all of it."""
    knobs = [
        "--method",
        asked.method,
        "--train_rows",
        str(int(asked.train_rows)),
        "--num_levels",
        str(asked.num_levels),
    ]
    words = ["--data.source", "toy", "--data.dataset", "many", "--run.dir", str(directory), *knobs]
    process = Popen([sys.executable, "-m", "genrec", "sids", *words], stdout=PIPE, text=True)
    for line in process.stdout or ():
        print(line, end="", flush=True)
    from resource import RUSAGE_CHILDREN, getrusage

    process.wait()
    used = getrusage(RUSAGE_CHILDREN)
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    print(f"{int(asked.rows):,} x {WIDTH}, {asked.num_levels} levels: {cpu:.0f} s CPU, peak {peak:.2f} GiB resident")


def compare(directory: Path, asked: argparse.Namespace) -> None:
    from genrec.config import Sids
    from genrec.data.shards.work import in_turn
    from genrec.data.vectors import open_vectors
    from genrec.quantizers.build import BY_SHARDS, METHODS
    from genrec.quantizers.by_shards import Job
    from genrec.quantizers.residual import sum_codebooks

    directory.mkdir(parents=True, exist_ok=True)
    write_rows(directory / "rows.npy", int(asked.rows))
    rows = np.load(directory / "rows.npy")
    knobs = Sids(method=asked.method, train_rows=int(asked.train_rows), num_levels=asked.num_levels)
    job = Job(open_vectors(directory / "rows.npy", len(rows)), knobs, 42, "cpu", directory / "by-shards", in_turn)
    ways = {
        "shards": lambda: BY_SHARDS[asked.method](job),
        "whole": lambda: METHODS[asked.method](rows, knobs, 42, "cpu", directory),
    }
    for way, quantize in ways.items():
        found, cpu, _ = timed(quantize)
        total = sum_codebooks(found.codes, found.codebooks)
        sizes = [f"{c.min()}..{c.max()}" for c in map(np.bincount, found.codes.T)]
        error = inertia(rows, total, np.arange(len(rows)))
        print(
            f"{asked.method}, {len(rows):,} rows, {way}: inertia {error:.0f}, {cpu:.0f} s CPU, sizes {sizes}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stage", "compare"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--train_rows", type=float, default=1e5)
    parser.add_argument("--num_levels", type=int, default=3)
    parser.add_argument("--method", default="rqkmeans_constrained")
    asked = parser.parse_args()
    if asked.what == "compare":
        compare(asked.directory, asked)
        return
    write_run(asked.directory, int(asked.rows))
    run_stage(asked.directory, asked)


if __name__ == "__main__":
    main()
