"""The two backends of constrained RQ-Kmeans beside each other: inertia, sizes, time; and the large run.

    python benchmarks/balanced_kmeans.py                          # 3,700 and 20,000 rows, both backends
    python benchmarks/balanced_kmeans.py --sizes 300 --codes 12   # the smallest run
    python benchmarks/balanced_kmeans.py --large 1000000          # rows x 384, 256 codes, 3 levels, ours alone

Times are CPU seconds of this process, so they can be
compared on a machine that others use too; wall seconds stand beside them.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import peak, timed

WIDTH, CODES, LEVELS = 384, 256, 3


def blobs(rows: int, centres: int = 64, noise: float = 0.7, seed: int = 0) -> np.ndarray:
    """(rows, WIDTH) unit vectors around `centres` directions of unequal weight."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, WIDTH)).astype(np.float32)
    found = rng.standard_normal((rows, WIDTH), dtype=np.float32)
    found *= noise
    found += middle[rng.choice(centres, rows, p=rng.dirichlet(np.ones(centres)))]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def inertia(rows: np.ndarray, centroids: np.ndarray, codes: np.ndarray) -> float:
    return float(
        sum(((rows[i : i + 65536] - centroids[codes[i : i + 65536]]) ** 2).sum() for i in range(0, len(rows), 65536))
    )


def compare(rows: np.ndarray, num_codes: int, name: str) -> None:
    """One line a backend; inertia and time also relative to those of `balanced`."""
    from genrec.quantizers.balanced import BACKENDS

    first = None
    for backend, cluster in BACKENDS.items():
        (centroids, codes), cpu, wall = timed(partial(cluster, rows, num_codes, seed=0, iters=30))
        sizes, error = np.bincount(codes, minlength=num_codes), inertia(rows, centroids, codes)
        first = first or (error, cpu)
        print(
            f"| {name} | {len(rows):,} x {num_codes} | {backend} | {error:.1f} | {error / first[0]:.4f} "
            f"| {sizes.min()}..{sizes.max()} | {cpu:.2f} ({wall:.2f}) | {cpu / first[1]:.2f} |",
            flush=True,
        )


def large(rows: int) -> None:
    from genrec.quantizers import residual
    from genrec.quantizers.balanced import balanced_kmeans

    vectors = blobs(rows)
    quantized, cpu, wall = timed(
        lambda: residual.fit_levels(vectors, LEVELS, CODES, partial(balanced_kmeans, iters=30), seed=0)
    )
    for level in range(LEVELS):
        sizes = np.bincount(quantized.codes[:, level], minlength=CODES)
        print(f"level {level + 1}: sizes {sizes.min()}..{sizes.max()}, n/K {rows / CODES:.1f}")
    what, gib = f"{rows:,} x {WIDTH}, {CODES} codes, {LEVELS} levels", peak() / 1024
    print(f"{what}: {wall:.0f} s wall, {cpu:.0f} s CPU, peak {gib:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[3700, 20000], help="synthetic sizes for both")
    parser.add_argument("--codes", type=int, default=CODES, help="codes of the comparison (default %(default)s)")
    parser.add_argument("--vectors", type=Path, help="an .emb.npy to compare on as well")
    parser.add_argument("--large", type=int, default=0, help="rows of the run of ours alone")
    asked = parser.parse_args()
    if asked.large:
        large(asked.large)
        return
    print("| data | rows x codes | backend | inertia | ratio | sizes | CPU s (wall) | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    if asked.vectors:
        compare(np.load(asked.vectors, allow_pickle=False), asked.codes, asked.vectors.stem)
    for size in asked.sizes:
        compare(blobs(size), asked.codes, "64 blobs")


if __name__ == "__main__":
    main()
