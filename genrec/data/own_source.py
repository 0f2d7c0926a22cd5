"""A source of data of one's own: `data.source: module:function`, an entry point of genrec.sources.

    function(data) -> events, or (events, items)

`data` is the section `data` of the configuration; frames are DataFrames of polars or pandas, Arrow tables or Datasets,
with the columns that a table has (docs/your-data.md). What data.events and data.items name is the function's to read,
and is fingerprinted: a changed file is another shop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genrec.config import Data, expand_home
from genrec.data.events import Shop
from genrec.data.frames import is_frame, read_frames
from genrec.errors import ArtifactError, ConfigError
from genrec.plugins import SOURCE, call_plugin, load_plugin

ROLES = ("events", "items")


def read_shop(data: Data) -> tuple[Shop, Data]:
    """The shop, and the configuration with what the frames decide; errors begin with the function's name."""
    given = call_plugin(data.source, load_plugin(data.source, SOURCE), data)
    events, items = take_frames(data.source, given)
    try:
        return read_frames(events, items, data)
    except (ArtifactError, ConfigError) as error:
        raise type(error)(f"data source {data.source}: {error}") from None


def take_frames(name: str, given: Any) -> tuple[Any, Any | None]:
    """(events, items or None)"""
    events, items = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    for role, frame in (("events", events), ("items", items)):
        if not is_frame(frame) and (role == "events" or frame is not None):
            inside = f"{type(frame).__name__} as {role}" if isinstance(given, tuple) else type(given).__name__
            raise ArtifactError(
                f"data source {name} gave {inside}; it must give a frame of events, or (events, items), each a "
                "DataFrame of polars or pandas, an Arrow table or a Dataset"
            )
    return events, items


def find_raw_files(data: Data) -> dict[str, Path]:
    """role, or role and name -> file, of what data.events and data.items name, as far as these are files."""
    named = {role: expand_home(Path(place)) for role in ROLES if (place := getattr(data, role))}
    files = {role: path for role, path in named.items() if path.is_file()}
    for role, folder in named.items():
        if folder.is_dir():
            parts = sorted(path for path in folder.rglob("*") if path.is_file())
            files |= {f"{role}/{path.relative_to(folder)}": path for path in parts}
    return files
