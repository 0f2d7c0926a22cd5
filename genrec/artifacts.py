"""What lies on disk: the one table of file names, manifests, and writes that are whole or not there.

An artifact is a directory with a manifest.json, written last. Its fingerprint is a hash over its files, so two runs
that made the same bytes made the same artifact.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from genrec.errors import ArtifactError, first_line
from genrec.verify import sha256, verify_files

Record = TypeVar("Record")  # a dataclass

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
REPLACED = ".replaced"  # behind an artifact's name: it stands there for the moment in which another takes its place

# File names, said once. {dataset} is data.dataset of the config.
CATALOG = "catalog.parquet"
SEQUENCES = "sequences.npz"
SPLITS = "splits.npz"
UPDATED = "updated.npz"  # in the data of an updated run: which train rows and items were learned before
REPORT = "report.json"
EMBEDDINGS = "{dataset}.emb.npy"
INDEX_JSON = "{dataset}.index.json"
ITEM_JSON = "{dataset}.item.json"
CODES = "codes.npy"
CODEBOOKS = "codebooks.npz"
CONSTRAINED = "constrained.npz"  # codebooks that rqkmeans_plus starts from
CONSTRAINED_QUALITY = "constrained.json"  # what these codebooks were worth, before rqkmeans_plus went on from them
FACTORS = "factors.npy"
GROWN = "grown.json"
ALLOWED = "allowed.npy"  # (N,) bool: items that may be recommended
NEW_VECTORS = "new_vectors.npy"  # (M, D) text vectors of items that were added
QUANTIZER = "quantizer"  # directory of the learned quantizers' weights
QUALITY = "quality.json"
QUALITY_PLOT = "quality.png"
SID_INDEX = "sid_index.npz"
CARD = "genrec.json"  # in a model directory: what the model was trained on
ITEMS = "items.parquet"  # in a model directory: the shop's ids, titles, and how often each item was taken
COMPANIONS = "companions.npz"  # in a model directory whose prompts name companions: who was bought with whom
MODEL_README = "README.md"  # in a model directory: its card for people
EXPORT = "export.json"  # in an export: what it was made from, and the files of each backend
GGUF = "model.gguf"  # in an export: the weights for other programs
HEAD = "head.npy"  # in an export: (V, d) float32, the rows of the output layer
TRAINING = "training.json"  # in a model directory: how training went; written when the weights are there
RESULTS = "results.json"
EVAL_RESULTS = "eval_results.jsonl"
RECOMMENDATIONS = "recommendations.npz"
PER_EXAMPLE = "per_example.npz"
SUMMARY = "summary.txt"
BADCASE_REPORT = "badcase_report.json"
BADCASE_PAGE = "report.html"
VISUALIZATIONS = "visualizations"
SUMMARY_REPORT = "summary_report.txt"
OPTIMIZED_CONFIG = "optimized_config.json"  # what the analysis advises, an overlay
ROUNDS = "rounds"  # of a run: one run a round of the loop, <n>/, and what came of them in rounds.{json,txt}
ROUND_CONFIG = "config.json"  # in a round: its whole configuration
UPDATE_CONFIG = "config.json"  # in an updated run: its whole configuration
ANEW_CONFIG = "anew.json"  # in an updated run: that of a run trained anew on the same rows
UPDATE_TABLE = "update.txt"  # in an updated run: drift, and what the update was worth
UPDATE_RESULTS = "update.json"  # the same numbers


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself."""

    stage: str
    format_version: int
    fingerprint: str
    config: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, dict[str, Any]]
    statistics: dict[str, Any]
    packages: dict[str, str]
    git_commit: str
    seconds: float

    @property
    def made(self) -> dict[str, dict[str, Any]]:
        """What it was made with, as genrec/guard.py holds it against what is asked."""
        return {"config": self.config, "inputs": self.inputs}


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a finished artifact, or None where there is none."""
    path = directory / MANIFEST
    return parse_manifest(read_bytes(path), path, directory) if path.exists() else None


def parse_manifest(content: bytes, path: Path | str, artifact: Path | str) -> Manifest:
    """The content of a manifest that lies at `path`, checked."""
    way_on = f"remove {artifact} and run its stage again"
    manifest = parse_record(content, path, Manifest, way_on)
    for name, entry in manifest.files.items():
        if not (is_inside(name) and isinstance(entry.get("sha256"), str) and isinstance(entry.get("bytes"), int)):
            fault = f"'{name}' must be a path below it, with sha256 and bytes (found {entry!r:.80})"
            raise ArtifactError(f"{path} is no Manifest: files: {fault}; {way_on}")
    if manifest.format_version != FORMAT_VERSION:
        raise ArtifactError(
            f"{artifact} has format {manifest.format_version}, this code reads {FORMAT_VERSION}; "
            "run its stage again with --clean"
        )
    return manifest


def is_inside(name: str) -> bool:
    """Whether a relative path stays below where it starts."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def require(directory: Path, command: str) -> Manifest:
    """The manifest of an artifact that a stage needs, or an error that names the command to run first."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise ArtifactError(f"{directory} is not there yet; run first: {command} (with your other flags)")
    verify_files(directory, manifest.files, command)
    return manifest


def describe_files(directory: Path) -> dict[str, dict[str, Any]]:
    """name -> sha256 and bytes (of .npy also shape, dtype) of every file, but for the manifest and hidden ones."""
    paths = (p for p in sorted(directory.rglob("*")) if p.is_file() and p.name != MANIFEST)
    return {
        str(p.relative_to(directory)): _describe(p)
        for p in paths
        if not any(part.startswith(".") for part in p.relative_to(directory).parts)
    }


def _describe(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        entry |= {"shape": list(array.shape), "dtype": str(array.dtype)}
    return entry


def sample_fingerprint(path: Path) -> str:
    """Of a file that may be large: its size, and a hash over its first and last MiB."""
    size, end = path.stat().st_size, 1 << 20
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(end))
        file.seek(max(end, size - end))
        digest.update(file.read(end))
    return f"{size} bytes {digest.hexdigest()[:16]}"


def fingerprint_of(files: dict[str, dict[str, Any]]) -> str:
    """Hash over names and contents of an artifact's files."""
    text = json.dumps({name: entry["sha256"] for name, entry in sorted(files.items())})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def directory_fingerprint(directory: Path) -> str:
    """Of a finished artifact, its manifest's; of any other model directory, a hash over its files."""
    if not directory.is_dir():
        raise ArtifactError(f"{directory} is not a directory")
    manifest = read_manifest(directory)
    return manifest.fingerprint if manifest else fingerprint_of(describe_files(directory))


def share_by_umask(directory: Path) -> None:
    """Every file as readable as the umask says; some libraries write theirs for the owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o666 & ~umask)


def flush(directory: Path) -> None:
    """Hand every file of a directory to the disk, so that a rename after it publishes whole files only."""
    for path in [*directory.rglob("*"), directory]:
        flush_path(path)


def flush_path(path: Path) -> None:
    """Hand one directory's entries, or one file's content, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Within: write the path that is given; a rename at the end makes `path` whole, a failure leaves it as it was.

    The content is on the disk before the rename. The rename itself may be lost with the power, which leaves what was
    there before, whole too: so the directory is not flushed, which would take thrice the time of a small write.
    """
    beside = path.with_name(path.name + ".tmp")
    yield beside
    flush_path(beside)
    os.replace(beside, path)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """The same, the file open."""
    with whole_path(path) as beside, beside.open("wb") as file:
        yield file


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Within: fill the directory that is given; one that is there already is replaced."""
    beside = path.with_name(path.name + ".tmp")
    remove_directories(beside)
    beside.mkdir(parents=True)
    yield beside
    flush(beside)
    remove_directories(path)
    os.replace(beside, path)
    flush_path(path.parent)


def swap_directory(new: Path, place: Path, replaced: Path) -> None:
    """A whole directory takes its place; what stood there is moved to `replaced` for the moment, then removed.

    A kill between the two renames leaves `new` and `replaced`.
    """
    share_by_umask(new)
    flush(new)
    if place.exists():
        os.replace(place, replaced)
    os.replace(new, place)
    flush_path(place.parent)


def foreign_files(directory: Path) -> Iterator[Path]:
    """What lies in a finished artifact without being listed; hidden files are this program's own notes."""
    manifest = read_manifest(directory)
    if manifest is None:
        return
    own = {*manifest.files, MANIFEST}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        directory_itself = path.is_dir() and not path.is_symlink()
        if not (directory_itself or name.as_posix() in own or any(part.startswith(".") for part in name.parts)):
            yield path


def share_directory(original: Path, target: Path) -> None:
    """The same files in a second place: hard links, or copies where the file system has none. Whole or not there."""
    with whole_directory(target) as beside:
        shutil.copytree(original, beside, copy_function=link_file, dirs_exist_ok=True)


def link_file(original: str, target: str) -> None:
    try:
        os.link(original, target)
    except OSError:
        shutil.copy2(original, target)


def remove_directories(*paths: Path) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with whole_path(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")  # file names may hold any bytes


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_json_entries(path: Path, entries: Iterable[tuple[str, Any]]) -> None:
    """One JSON object, an entry a line: an indented one is written a tenth as fast, by Python and not by C."""
    with whole_path(path) as beside, beside.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("{")
        for number, (key, value) in enumerate(entries):
            file.write(f"{',' if number else ''}\n{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
        file.write("\n}\n")


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    with whole_path(path) as beside, beside.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_json(path: Path) -> Any:
    return parse_json(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from None


def parse_json(content: bytes, path: Path | str) -> Any:
    """Of a file in UTF-8; json itself would take other encodings for it, too."""
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: it is not valid JSON ({error})") from None


def read_record(path: Path, kind: type[Record], way_on: str) -> Record:
    """The JSON file of one dataclass: its fields and no others, each of its kind, or ArtifactError."""
    return parse_record(read_bytes(path), path, kind, way_on)


def parse_record(content: bytes, path: Path | str, kind: type[Record], way_on: str) -> Record:
    try:
        fields = parse_json(content, path)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; {way_on}") from None
    if isinstance(fields, dict) and (more := set(fields) - kind.__annotations__.keys()):
        raise ArtifactError(f"{path} has '{min(more)}', which no {kind.__name__} has; {way_on}")
    try:
        return TypeAdapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        fault = f"{key}: {first['msg']} (found {first['input']!r:.80})"
        raise ArtifactError(f"{path} is no {kind.__name__}: {fault}; {way_on}") from None


def read_json_lines(path: Path) -> list[Any]:
    """A record a line; blank lines are passed over."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    return [read_json_line(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]


def read_json_line(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: line {number} is not valid JSON ({error})") from None


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """npz with fixed zip dates (numpy's own), whole or not at all."""
    save: Callable[..., None] = np.savez_compressed  # its other keywords are names of arrays here
    with whole_file(path) as file:
        save(file, **arrays)


def save_array(path: Path, array: np.ndarray) -> None:
    """npy, whole or not there."""
    with whole_file(path) as file:
        np.save(PlainWriter(file), array)


class PlainWriter:
    """Of a file, `write` alone: given a real file, numpy writes past Python and a full disk loses its error number."""

    def __init__(self, file: BinaryIO):
        self.file = file

    def write(self, data: bytes, /) -> int:
        return self.file.write(data)


def load_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Every array of an npz, by name; ArtifactError where one of `names` is not among them."""
    try:
        if not zipfile.is_zipfile(path) and path.is_file():
            raise ArtifactError(f"{path} cannot be read: it is no npz file, or only the beginning of one")
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None
    if missing := [name for name in names if name not in arrays]:
        raise ArtifactError(f"{path} lacks the array '{missing[0]}'; it holds {', '.join(arrays) or 'none'}")
    return arrays
