"""Tables in memory: a frame of polars, pandas, Arrow or datasets -> a polars frame, and the shop of two of them."""

from __future__ import annotations

from typing import Any

import polars as pl

from genrec.config import Data
from genrec.data.events import Shop
from genrec.data.table import read_tables
from genrec.data.table_files import open_frame
from genrec.errors import ArtifactError, first_line


def read_frames(events: Any, items: Any | None, data: Data) -> tuple[Shop, Data]:
    """The shop that files with these rows would give, and the configuration with what the frames decide."""
    items_table = None if items is None else open_frame("items", to_polars(items, "items"))
    return read_tables(open_frame("events", to_polars(events, "events")), items_table, data)


FRAMES = {("pandas", "DataFrame"), ("pyarrow", "Table"), ("datasets", "Dataset")}  # (package, class)


def is_frame(value: Any) -> bool:
    """Whether `to_polars` takes it; no package is imported to tell."""
    known = (type(value).__module__.partition(".")[0], type(value).__name__) in FRAMES
    return known or isinstance(value, pl.DataFrame | pl.LazyFrame)


def to_polars(frame: Any, name: str) -> pl.DataFrame:
    """The same columns; a frame of another library is told by its class, so that none is imported for it."""
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    library = type(frame).__module__.partition(".")[0] if is_frame(frame) else ""
    try:
        if library == "pandas":
            check_index(frame, name)
            return pl.from_pandas(frame.rename(columns=str))
        if library == "pyarrow":
            return pl.DataFrame(pl.from_arrow(frame))
        if library == "datasets":
            return frame.to_polars()
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"the frame of {name} cannot be taken over: {first_line(error)}") from None
    kinds = "a DataFrame of polars or pandas, an Arrow table or a Dataset"
    raise ArtifactError(f"{name} must be {kinds}, found {type(frame).__name__}; files are named by data.{name}")


def check_index(frame: Any, name: str) -> None:
    """A pandas index with a name is a column that would be lost."""
    if named := [str(each) for each in frame.index.names if each is not None]:
        raise ArtifactError(
            f"the frame of {name} has {', '.join(named)} in its index, with columns "
            f"{', '.join(map(str, frame.columns))}; reset_index() makes columns of an index"
        )
