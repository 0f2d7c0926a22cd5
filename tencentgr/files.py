"""The competition's files: their names, where they lie, and how each is read.

seq.jsonl            a line a user: [[user, item, user_features, item_features, action, time], ...]
seq_offsets.pkl      where each line begins, list or {number: byte}
indexer.pkl          {"u": {user: id}, "i": {creative: id}, "f": {feature: {value: id}}}, ids from 1
item_feat_dict.json  {"item id": {feature: value}}
creative_emb/        emb_81_32.pkl {creative: float32 (32,)}, or emb_82_1024/*.json lines {"anonymous_cid", "emb"}
semantic_id_dict.json  {"creative": [code, ...]}, written by train_rqvae.py
predict_seq.jsonl, predict_seq_offsets.pkl, predict_set.jsonl   queries and candidates
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from genrec.artifacts import read_json
from genrec.errors import ArtifactError
from tencentgr import safe_pickle

SEQ, SEQ_OFFSETS = "seq.jsonl", "seq_offsets.pkl"
PREDICT_SEQ, PREDICT_SEQ_OFFSETS, PREDICT_SET = "predict_seq.jsonl", "predict_seq_offsets.pkl", "predict_set.jsonl"
INDEXER, ITEM_FEATURES, EMBEDDINGS = "indexer.pkl", "item_feat_dict.json", "creative_emb"
SEMANTIC = "semantic_id_dict.json"

LONGEST_NAME = 256  # characters of a user's or a creative's id
LARGEST = 1e15  # of a vector's numbers: squares of larger ones, summed, leave float32
MOST_CODES = 2**24  # of a level of semantic IDs; each is a row of an embedding table

# Widths that the competition's embeddings have; a file name carries its own.
WIDTHS = {"81": 32, "82": 1024, "83": 3584, "84": 4096, "85": 3584, "86": 3584}


def read_indexer(data_dir: Path) -> dict[str, dict]:
    """indexer.pkl with its numbering checked: ids of users, items and each feature's values are 1..size."""
    path = data_dir / INDEXER
    indexer = safe_pickle.load(path)
    if not isinstance(indexer, dict) or not {"u", "i", "f"} <= set(indexer) or not isinstance(indexer["f"], dict):
        raise ArtifactError(f"{path} must hold a dict with the keys 'u', 'i' and 'f', and a dict by feature at 'f'")
    for name, ids in [("u", indexer["u"]), ("i", indexer["i"]), *indexer["f"].items()]:
        if not isinstance(ids, dict):
            raise ArtifactError(f"{path} must hold a dict of ids at {name!a}, found {type(ids).__name__}")
        if not are_whole(ids.values()) or sorted(ids.values()) != list(range(1, len(ids) + 1)):
            raise ArtifactError(f"{path}: the ids of {name!a} are not 1..{len(ids)}")
    check_names(path, indexer["i"])
    return indexer


def are_whole(values: Iterable[Any]) -> bool:
    return safe_pickle.WHOLE.issuperset(map(type, values))


def check_names(path: Path, names: Iterable[Any]) -> None:
    """Names become an array that is as wide as the longest one and drops NULs at the end."""
    for name in names:
        if not is_name(name):
            text = str(name)
            raise ArtifactError(
                f"{path}: the name {text[:40]!a} of {len(text):,} characters; up to {LONGEST_NAME} are read, and no NUL"
            )


def is_name(value: Any) -> bool:
    """Whether an id can stand in an array of names and in a UTF-8 file."""
    text = str(value)
    return len(text) <= LONGEST_NAME and "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def names_by_id(ids: dict[Any, int]) -> np.ndarray:
    """{name: id} -> (size + 1,) str by id; '' at 0."""
    names = np.empty(len(ids) + 1, dtype=object)
    names[0] = ""
    for name, number in ids.items():
        names[number] = str(name)
    return names.astype(np.str_)


def read_offsets(path: Path) -> np.ndarray:
    """(lines,) int64 byte offsets, from a list or a dict by line number."""
    offsets = safe_pickle.load(path)
    if isinstance(offsets, dict) and are_whole(offsets):
        offsets = [offsets[key] for key in sorted(offsets)]
    if isinstance(offsets, np.ndarray):
        offsets = list(offsets)
    if not isinstance(offsets, list) or not are_whole(offsets):
        raise ArtifactError(f"{path} must hold a list of byte offsets, or a dict of them by line number")
    if offsets and not 0 <= min(offsets) <= max(offsets) < 2**63:
        raise ArtifactError(f"{path}: the offsets run from {min(offsets)} to {max(offsets)}, expected 0 to 2^63 - 1")
    return np.array(offsets, dtype=np.int64)


def read_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(1-based number, byte offset, line) of every line that is not blank."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.isspace():
                yield number, offset, line
            offset += len(line)


def read_item_features(data_dir: Path) -> dict[str, dict[str, Any]]:
    path = data_dir / ITEM_FEATURES
    features = read_object(path)
    for item, record in features.items():
        if not isinstance(record, dict):
            raise ArtifactError(
                f"{path}: the features of item {item!a} must be an object, found {type(record).__name__}"
            )
    return features


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} must hold a JSON object, found {type(value).__name__}")
    return value


def embedding_source(data_dir: Path, mm_id: str) -> tuple[Path, int]:
    """(pickle or folder, width) of one embedding, by its name emb_<id>_<width>."""
    folder = data_dir / EMBEDDINGS
    if not folder.is_dir():
        raise ArtifactError(f"there is no folder {folder} of embeddings; --mm_emb_id '' goes without")
    matches = {path: re.fullmatch(r"emb_(\w+)_(\d+)(\.pkl)?", path.name) for path in sorted(folder.glob("emb_*"))}
    chosen = [(path, int(match[2])) for path, match in matches.items() if match and match[1] == mm_id]
    if len(chosen) != 1:
        ids = sorted({match[1] for match in matches.values() if match})
        raise ArtifactError(f"{folder} holds {len(chosen)} embeddings with the id {mm_id}; its ids: {ids or 'none'}")
    return chosen[0]


def embedding_files(data_dir: Path, mm_id: str) -> list[Path]:
    path, _ = embedding_source(data_dir, mm_id)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ArtifactError(f"{path} holds no *.json file")
    return files


def read_embedding(data_dir: Path, mm_id: str) -> Iterator[tuple[str, np.ndarray]]:
    """(creative id, (width,) float32) of every creative; a damaged file is an error that names it."""
    _, width = embedding_source(data_dir, mm_id)
    for path in embedding_files(data_dir, mm_id):
        for creative, values in pickled(path) if path.suffix == ".pkl" else json_lines(path):
            try:
                with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, which is refused below
                    vector = np.asarray(values, dtype=np.float32)
            except (TypeError, ValueError, OverflowError):
                raise ArtifactError(f"{path}: the vector of {creative!a} is not {width} numbers") from None
            check_vector(vector, creative, width, path)
            yield str(creative), vector


def check_vector(vector: np.ndarray, creative: Any, width: int, path: Path) -> None:
    if vector.shape != (width,):
        raise ArtifactError(f"{path}: the vector of {creative!a} has shape {vector.shape}, expected ({width},)")
    if not (np.abs(vector) <= LARGEST).all():  # NaN is not
        raise ArtifactError(
            f"{path}: the vector of {creative!a} holds {vector[~(np.abs(vector) <= LARGEST)][0]}; numbers must be "
            f"finite and within {LARGEST:.0e}. Leave the creative out where it has no vector"
        )


def pickled(path: Path) -> Iterator[tuple[Any, Any]]:
    vectors = safe_pickle.load(path)
    if not isinstance(vectors, dict):
        raise ArtifactError(f"{path} must hold a dict of vectors, found {type(vectors).__name__}")
    check_names(path, vectors)
    yield from vectors.items()


def json_lines(path: Path) -> Iterator[tuple[Any, Any]]:
    for number, _, line in read_lines(path):
        try:
            record = json.loads(line)
            yield record["anonymous_cid"], record["emb"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ArtifactError(
                f"{path}, line {number}: not a JSON object with anonymous_cid and emb; the file is cut short or damaged"
            ) from None


def look_up_embedding(vectors: Iterable[tuple[str, np.ndarray]], creatives: np.ndarray, out: np.ndarray) -> int:
    """Fill out (R, width), zeros before, with the vectors of creatives (R,); how many were found."""
    row_of = rows_by_name(creatives)
    filled = 0
    for creative, vector in vectors:
        if (row := row_of.get(creative)) is not None:
            out[row] = vector
            filled += 1
    return filled


def rows_by_name(creatives: np.ndarray) -> dict[str, int]:
    return {name: row for row, name in enumerate(creatives.tolist()) if name}


def read_semantic(path: Path) -> dict[str, list[int]]:
    """semantic_id_dict.json, checked: lists of one length, codes from 0."""
    codes = read_object(path)
    lengths = {len(row) if isinstance(row, list) else -1 for row in codes.values()}
    if len(lengths) != 1 or lengths & {-1, 0}:
        raise ArtifactError(
            f"{path} must give every creative a list of codes of one length, found lengths {sorted(lengths)}"
        )
    for creative, row in codes.items():
        if not all(type(code) is int and 0 <= code < MOST_CODES for code in row):
            raise ArtifactError(
                f"{path}: the codes of {creative!a} are {row}, expected whole numbers from 0 to {MOST_CODES - 1:,}"
            )
    return codes
