"""Do two runs hold the same results? Weights, codes and lists bit for bit, JSON key by key; what differs is listed.

    OMP_NUM_THREADS=1 genrec run --config tiny --yes --run.dir outputs/before       # at one commit
    OMP_NUM_THREADS=1 genrec run --config tiny --yes --run.dir outputs/after        # at another
    python benchmarks/same_results.py outputs/before outputs/after

Manifests, logs, pictures and pages are left out: they hold times, paths and commits. Exit 1 where arrays differ.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from genrec.artifacts import MANIFEST, read_json

LEFT_OUT = {".log", ".html", ".png", ".lock", ".txt"}
SHOWN = 6  # keys of a JSON file that are shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a run directory")
    parser.add_argument("after", type=Path, help="another")
    options = parser.parse_args()
    before, after = list_files(options.before), list_files(options.after)
    for name in sorted(before.keys() ^ after.keys()):
        print(f"{name}: only in {options.before if name in before else options.after}")
    common = sorted(before.keys() & after.keys())
    different = {
        name: describe_difference(before[name], after[name]) for name in common if differs(before, after, name)
    }
    for name, (_, text) in different.items():
        print(f"{name}: {text}")
    print(f"{len(common) - len(different)} files with the same bytes")
    sys.exit(any(changed for changed, _ in different.values()))


def list_files(run: Path) -> dict[str, Path]:
    files = (path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix not in LEFT_OUT)
    return {
        path.relative_to(run).as_posix(): path
        for path in files
        if path.name != MANIFEST and not any(part.startswith(".") for part in path.relative_to(run).parts)
    }


def differs(before: dict[str, Path], after: dict[str, Path], name: str) -> bool:
    return before[name].read_bytes() != after[name].read_bytes()


def describe_difference(before: Path, after: Path) -> tuple[bool, str]:
    """(whether results differ, in words) of two files whose bytes differ."""
    if before.suffix in (".safetensors", ".npz"):
        left, right = load(before), load(after)
        changed = [
            name for name in sorted(left.keys() | right.keys()) if not same_array(left.get(name), right.get(name))
        ]
        return bool(changed), f"differs in {', '.join(changed[:SHOWN])}" if changed else "the same arrays"
    if before.suffix == ".json":
        keys = list(compare(read_json(before), read_json(after)))
        return False, f"{len(keys)} keys: {'; '.join(keys[:SHOWN])}"
    return True, f"{before.stat().st_size:,} and {after.stat().st_size:,} bytes"


def load(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    from safetensors.numpy import load_file

    return load_file(path)


def same_array(left: np.ndarray | None, right: np.ndarray | None) -> bool:
    return left is not None and right is not None and left.dtype == right.dtype and np.array_equal(left, right)


def compare(left: Any, right: Any, path: str = "") -> Any:
    """Every key whose value differs, with both values in short."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from compare(left.get(key), right.get(key), f"{path}.{key}" if path else key)
    elif left != right:
        yield f"{path}: {left!r:.60} -> {right!r:.60}"


if __name__ == "__main__":
    main()
