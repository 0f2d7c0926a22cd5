"""What tasks hand on: rows of Arrow in groups, each read without the others, and columns of numpy, mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from genrec.artifacts import save_array, whole_path

COMPRESSION = "zstd"


def write_groups(path: Path, columns: dict[str, np.ndarray | pl.Series], group: np.ndarray, groups: int) -> None:
    """Rows by `group` (T,) 0..groups-1, in their order within each."""
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=groups)).tolist()
    schema = pa.schema([(name, arrow_type(values)) for name, values in columns.items()])
    options = pa.ipc.IpcWriteOptions(compression=COMPRESSION)
    with whole_path(path) as beside, pa.ipc.new_file(str(beside), schema, options=options) as writer:
        for start, stop in zip([0, *ends[:-1]], ends, strict=True):
            taken = [to_arrow(values, order[start:stop]) for values in columns.values()]
            writer.write_batch(pa.record_batch(taken, schema=schema))


def arrow_type(values: np.ndarray | pl.Series) -> pa.DataType:
    return pa.large_string() if isinstance(values, pl.Series) else pa.from_numpy_dtype(values.dtype)


def to_arrow(values: np.ndarray | pl.Series, rows: np.ndarray) -> pa.Array:
    if isinstance(values, pl.Series):
        return values.gather(rows).to_arrow().cast(pa.large_string())
    return pa.array(values[rows])


def read_group(paths: Sequence[Path], group: int) -> list[pa.RecordBatch]:
    """The same group of several files."""
    batches = []
    for path in paths:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            batches.append(file.get_batch(group))
    return batches


def join_column(batches: list[pa.RecordBatch], name: str) -> np.ndarray:
    return np.concatenate([batch.column(name).to_numpy(zero_copy_only=False) for batch in batches])


def write_texts(path: Path, texts: pl.Series) -> None:
    table = pa.table({"text": texts.to_arrow().cast(pa.large_string())})
    options = pa.ipc.IpcWriteOptions(compression=COMPRESSION)
    with whole_path(path) as beside, pa.ipc.new_file(str(beside), table.schema, options=options) as writer:
        writer.write_table(table)


def read_texts(path: Path) -> pl.Series:
    with pa.ipc.open_file(str(path)) as file:
        return pl.Series(pl.from_arrow(file.read_all()["text"]), dtype=pl.String)


def write_columns(place: Path, **columns: np.ndarray) -> None:
    """A directory of one file a column."""
    place.mkdir(parents=True, exist_ok=True)
    for name, values in columns.items():
        save_array(place / f"{name}.npy", np.asarray(values))


def map_column(place: Path, name: str) -> np.ndarray:
    return np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def has_column(place: Path, name: str) -> bool:
    return (place / f"{name}.npy").is_file()
