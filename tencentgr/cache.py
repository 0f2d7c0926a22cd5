"""Converted files beside the raw ones: each entry is built once, and again when a file it was made from changes.

    cache/<entry>/{*.npy, entry.json}    entry.json, written last, says what the entry was made from
    cache/<entry>.partial/               what a killed process left; never read, removed by the next one

One process builds at a time (a lock on cache/.lock, which a killed process gives up); the others wait and then read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrec.artifacts import describe_files, read_json, remove_directories, sample_fingerprint, write_json
from genrec.errors import ArtifactError
from genrec.verify import verify_files

VERSION = 4  # of what conversion writes; raise it when an array changes its meaning
CARD = "entry.json"

Build = Callable[[Path], dict[str, Any]]  # writes .npy files into a directory, returns what to report


@dataclass(frozen=True)
class CacheEntry:
    """A finished entry of the cache."""

    directory: Path
    report: dict[str, Any]

    def __getitem__(self, name: str) -> np.ndarray:
        """An array of the entry, mapped from disk."""
        return np.load(self.directory / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def read_or_build(cache_dir: Path, name: str, inputs: dict[str, str], build: Build) -> CacheEntry:
    """The entry `name`, built unless it is there and was made from `inputs` ({file: stamp})."""
    wanted = {"version": VERSION, "inputs": inputs}
    directory = cache_dir / name
    if (entry := read_entry(directory, wanted)) is not None:
        return entry
    with building(cache_dir):
        if (entry := read_entry(directory, wanted)) is None:  # nobody built it while we waited
            write_entry(directory, wanted, build)
            entry = read_entry(directory, wanted)
    return entry


def read_entry(directory: Path, wanted: dict[str, Any]) -> CacheEntry | None:
    if not (directory / CARD).exists():
        return None
    try:
        card = read_json(directory / CARD)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; remove {directory}, it is made again") from None
    if not isinstance(card, dict) or {key: card.get(key) for key in wanted} != wanted:
        return None
    check_files(directory, card)
    return CacheEntry(directory, card["report"])


def check_files(directory: Path, card: dict[str, Any]) -> None:
    """The arrays are those that were written, by their hashes."""
    if not isinstance(card.get("files"), dict) or not isinstance(card.get("report"), dict):
        raise ArtifactError(f"{directory / CARD} lacks files and report; remove {directory}, it is made again")
    try:
        verify_files(directory, card["files"], "")
    except (ArtifactError, KeyError, TypeError) as error:
        fault = str(error).rpartition("; ")[0] or f"{directory / CARD} cannot be read"
        raise ArtifactError(f"{fault}; remove {directory}, it is made again from the raw files") from None


def write_entry(directory: Path, wanted: dict[str, Any], build: Build) -> None:
    partial = directory.with_name(directory.name + ".partial")
    remove_directories(partial)
    partial.mkdir()
    report = build(partial)
    write_json(partial / CARD, {**wanted, "report": report, "files": describe_files(partial)})
    remove_directories(directory)
    try:
        os.replace(partial, directory)
    except OSError as error:
        raise ArtifactError(f"cannot write {directory} ({error.strerror}); remove it, it is made again") from None


@contextmanager
def building(cache_dir: Path) -> Iterator[None]:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        lock = (cache_dir / ".lock").open("w")
    except OSError as error:
        raise ArtifactError(f"cannot write {cache_dir} ({error.strerror}); pass --cache_dir ANOTHER") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stamp_files(data_dir: Path, paths: list[Path]) -> dict[str, str]:
    """{path: size, time of change and a hash over both ends} of files."""
    return {str(path.relative_to(data_dir)): stamp_file(path) for path in paths}


def stamp_file(path: Path) -> str:
    if not path.is_file():
        raise ArtifactError(f"{path} is {'a directory, not a file' if path.is_dir() else 'missing'}")
    return f"{sample_fingerprint(path)} changed {path.stat().st_mtime_ns}"
