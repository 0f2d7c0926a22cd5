"""Tables as they lie on disk -> rows. One file or a folder of parts: CSV, TSV, JSON lines, Parquet, RecBole's atomic
files, or what the package datasets saved or knows by name (`hf:NAME[:CONFIG[:SPLIT]]`); text may be gzip or zstd.

    open_table(location, role)    Table: its columns, and a way to read some of them
    find_parts(location, role)    the files, for fingerprints

Of delimited text every value is a string, an empty one is null; Parquet and datasets bring their own types. polars
reads text the quick way; a file that it refuses is read line by line, and each line that cannot be used is counted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from genrec.config import HUB, expand_home
from genrec.data.ledger import Ledger
from genrec.data.ndjson import (
    BYTE_ORDER_MARK,
    OTHER_ENCODING,
    damaged_file_error,
    number_lines,
    open_unpacked,
    parse_line,
    read_ndjson,
)
from genrec.errors import ArtifactError, first_line
from genrec.launch import note

PACKED = (".gz", ".zst")
KINDS = {
    **{".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".inter": "inter", ".item": "item", ".parquet": "parquet"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"},
}
DELIMITERS = ",;\t|"  # of a .csv: the one that its header has most of
OTHER_ROLE = {"events": "item", "items": "inter"}  # the atomic file that is not of this role
OPEN = "unexpected end"  # csv of a quote that is not closed
MOST_LINES = 200  # that one quoted value may run over
SNIFFED = 1000  # JSON lines whose keys are the columns
SAVED = ("state.json", "dataset_dict.json")  # in a directory that save_to_disk wrote

Locate = Callable[[Sequence[int]], list[int]]  # row numbers from 0, ascending -> their lines in the file from 1


class Rows(NamedTuple):
    frame: pl.DataFrame
    locate: Locate


class Table(NamedTuple):
    """A table before it is read."""

    name: str  # what messages call it
    columns: tuple[str, ...]
    read: Callable[[list[str], Ledger], Rows]  # some of the columns; lines that cannot be used are counted
    sequences: frozenset[str] = frozenset()  # columns of words with a space between (token_seq)


class Part(NamedTuple):
    path: Path
    kind: str


def open_table(location: str, role: str) -> Table:
    """`role` is 'events' or 'items', the knob of `data` that names the location."""
    if location.startswith(HUB):
        return open_dataset(location, load_named(location))
    path = expand_home(Path(location))
    if is_saved(path):
        return open_dataset(location, load_saved(path))
    parts = find_parts(location, role)
    tables = [OPENERS[part.kind](part.path) for part in parts]
    return tables[0] if len(tables) == 1 else join_parts(location, tables)


def find_raw_files(location: str, role: str) -> list[Path]:
    """The files behind a location, of those that are there."""
    if location.startswith(HUB):
        return list_dataset_files(load_named(location))
    path = expand_home(Path(location))
    if is_saved(path):
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [part.path for part in find_parts(location, role)] if path.exists() else []


def is_dataset(location: str) -> bool:
    """What the package datasets reads, all at once."""
    return location.startswith(HUB) or is_saved(expand_home(Path(location)))


def is_saved(path: Path) -> bool:
    return any((path / name).is_file() for name in SAVED)


def find_parts(location: str, role: str) -> list[Part]:
    """The file, or the files of a folder by name; of one kind, hidden ones (. and _) aside."""
    path = expand_home(Path(location))
    if not path.exists():
        raise ArtifactError(f"data.{role} {location} is not there; it names a file, a folder of parts, or hf:NAME")
    if path.is_file():
        if kind := kind_of(path):
            return [Part(path, kind)]
        raise ArtifactError(f"data.{role} {location} ends in none of {', '.join(KINDS)} (.gz, .zst behind them too)")
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not is_hidden(file, path)]
    parts = [Part(file, kind) for file in files if (kind := kind_of(file)) and kind != OTHER_ROLE[role]]
    kinds = sorted({part.kind for part in parts})
    if len(kinds) != 1:
        held = (
            f"files of {len(kinds)} kinds ({', '.join(kinds)})" if kinds else f"no file that ends in {', '.join(KINDS)}"
        )
        raise ArtifactError(f"data.{role} {location} is a folder with {held}; name a folder of parts of one kind")
    return parts


def is_hidden(file: Path, folder: Path) -> bool:
    return any(name[0] in "._" for name in file.relative_to(folder).parts)


def kind_of(path: Path) -> str:
    """By the name alone; '' of a file that is no table."""
    name = path.name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return KINDS.get(Path(name).suffix, "")


def join_parts(location: str, tables: list[Table]) -> Table:
    """Parts of one set of columns, one behind the other; a line's number says nothing without its part."""
    first = tables[0]
    for table in tables[1:]:
        if set(table.columns) != set(first.columns):
            differ = ", ".join(sorted(set(table.columns) ^ set(first.columns)))
            raise ArtifactError(
                f"{table.name} and {first.name} are parts of {location} with different columns (not in both: {differ});"
                " name the file, or put what belongs together into a folder of its own"
            )

    def read(columns: list[str], ledger: Ledger) -> Rows:
        frames = []
        for table in tables:
            own = Ledger(ledger.name)
            frames.append(table.read(columns, own).frame)
            ledger.read += own.read
            for reason, rows in own.dropped.items():
                ledger.drop(reason, rows)
        return Rows(join_frames(location, frames), lambda rows: [])

    return Table(f"{location} ({len(tables)} parts)", first.columns, read, first.sequences)


def join_frames(location: str, frames: list[pl.DataFrame]) -> pl.DataFrame:
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"the parts of {location} have columns of different kinds: {first_line(error)}") from None


# Delimited text


def open_delimited(path: Path, delimiter: str | None, quote: str | None = '"', typed: bool = False) -> Table:
    """The header, and the rest for later. `typed`: names go on with :token, :float, :token_seq."""
    line = next(iter(split_lines(path)), (1, ""))[1]
    if not line.strip():
        raise ArtifactError(f"{path} is empty; a table begins with a line that names its columns")
    delimiter = delimiter or max(DELIMITERS, key=line.count)
    names = [name.strip() for name in split_fields(line, delimiter, quote)]
    kinds = {name.partition(":")[0]: name.partition(":")[2] for name in names} if typed else {}
    plain = tuple(name.partition(":")[0] if typed else name for name in names)
    read = partial(read_delimited, path, plain, delimiter, quote)
    return Table(str(path), plain, read, frozenset(name for name, kind in kinds.items() if kind == "token_seq"))


def read_delimited(
    path: Path, names: tuple[str, ...], delimiter: str, quote: str | None, columns: list[str], ledger: Ledger
) -> Rows:
    """Some columns of every line, as strings. A line with none of them is blank: it is no row, and is not counted."""
    for name in columns:
        if names.count(name) > 1:
            raise ArtifactError(f"{path} has {names.count(name)} columns named '{name}'; rename all but one")
    frame = scan_delimited(path, names, delimiter, quote, columns)
    if frame is None:
        frame, lines = read_records(path, names, delimiter, quote, columns, ledger)
    else:
        frame = frame.with_row_index("line")
        lines = None
    blank = frame.select(pl.all_horizontal(pl.col(columns).is_null())).to_series()
    frame = frame.filter(~blank)
    ledger.read += len(frame)
    numbers = frame["line"]

    def locate(rows: Sequence[int]) -> list[int]:
        wanted = numbers.gather(list(rows)).to_list()
        return wanted if lines else number_records(path, delimiter, quote, wanted)

    return Rows(frame.drop("line"), locate)


def scan_delimited(
    path: Path, names: tuple[str, ...], delimiter: str, quote: str | None, columns: list[str]
) -> pl.DataFrame | None:
    """What polars makes of the file; None where it refuses a line. Columns by place, since names may come twice."""
    try:
        lazy = pl.scan_csv(path, infer_schema=False, separator=delimiter, quote_char=quote, glob=False)
        places = lazy.collect_schema().names()
        if len(places) != len(names):
            return None
        wanted = [pl.col(places[names.index(name)]).alias(name) for name in columns]
        frame = lazy.select(wanted).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError):
        return None
    return frame.with_columns(pl.col(name).replace("", None) for name in columns)


def read_records(
    path: Path, names: tuple[str, ...], delimiter: str, quote: str | None, columns: list[str], ledger: Ledger
) -> tuple[pl.DataFrame, bool]:
    """The same line by line: what cannot be used is counted with its line; `line` is that of each row."""
    places = [names.index(name) for name in columns]
    rows: list[list[Any]] = []
    for number, fields in split_records(path, delimiter, quote, len(names)):
        if isinstance(fields, str):
            reason = fields
        elif len(fields) > len(names):
            reason = "with more fields than the header"
        else:
            padded = [*fields, *[""] * (len(names) - len(fields))]
            rows.append([*(padded[place] or None for place in places), number])
            continue
        ledger.read += 1
        ledger.drop(reason, 1, [number])
    schema = {**dict.fromkeys(columns, pl.String), "line": pl.UInt32}
    return pl.DataFrame(rows, schema=schema, orient="row"), True


def split_records(path: Path, delimiter: str, quote: str | None, width: int) -> Iterator[tuple[int, list[str] | str]]:
    """(line, fields, or why there are none) of each record behind the header; a quoted value may run over lines."""
    waiting: list[tuple[int, str]] = []
    lines = iter(split_lines(path))
    next(lines, None)
    while True:
        number, line = waiting.pop(0) if waiting else next(lines, (0, ""))
        if not number:
            return
        if not line.strip():
            continue
        if not line.isprintable() and holds_surrogates(line):
            yield number, OTHER_ENCODING
            continue
        fields = split_fields(line, delimiter, quote)
        if is_open(line, delimiter, quote):
            while len(waiting) < MOST_LINES and (more := next(lines, None)):
                waiting.append(more)
            fields, used = close_quote(line, waiting, delimiter, quote, width)
            if not used:
                yield number, "with a quote that is not closed"
                continue
            del waiting[:used]
        yield number, fields


def close_quote(
    line: str, following: list[tuple[int, str]], delimiter: str, quote: str | None, width: int
) -> tuple[list[str], int]:
    """(fields, lines used) with as many of the following lines as close the quote; 0 where none does.

    A closing quote ends its value, and of at most `width` values; else it is the opening one of a later line.
    """
    text = line
    for used, (_, more) in enumerate(following, start=1):
        text = f"{text}\n{more}"
        if holds_surrogates(more):
            break
        if not (fault := find_fault(text, delimiter, quote)):
            fields = split_fields(text, delimiter, quote)
            return (fields, used) if len(fields) <= width else ([], 0)
        if OPEN not in fault:
            break
    return [], 0


def is_open(text: str, delimiter: str, quote: str | None) -> bool:
    """A quoted value that begins here ends in no line of the text."""
    return OPEN in find_fault(text, delimiter, quote)


def find_fault(text: str, delimiter: str, quote: str | None) -> str:
    """What the strict reading of a record stumbles over, in the words of csv; '' where nothing."""
    if quote is None or quote not in text:
        return ""
    try:
        list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote, strict=True))
    except csv.Error as error:
        return str(error)
    return ""


def split_fields(text: str, delimiter: str, quote: str | None) -> list[str]:
    if quote is None or quote not in text:
        return text.split(delimiter)
    csv.field_size_limit(2**31 - 1)
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote), [])


def split_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(1-based number, line without its end) of a file, packed or not; bytes that are no UTF-8 are surrogates."""
    with open_unpacked(path) as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
            yield number, content.decode("utf-8", "surrogateescape").rstrip("\r\n")


def holds_surrogates(line: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in line)


def number_records(path: Path, delimiter: str, quote: str | None, rows: list[int]) -> list[int]:
    """Rows as polars counts them, blank lines too -> their lines."""
    numbers, wanted, row, text = [], set(rows), 0, ""
    begin = 2
    for number, line in split_lines(path):
        if number == 1:
            continue
        text = f"{text}\n{line}" if text else line
        if is_open(text, delimiter, quote):
            continue
        if row in wanted:
            numbers.append(begin)
        if len(numbers) == len(rows):
            break
        row, text, begin = row + 1, "", number + 1
    return numbers


# JSON lines


def open_json_lines(path: Path) -> Table:
    """The columns are the keys of the first lines."""
    names: dict[str, None] = {}
    for count, (_, line) in enumerate(number_lines(path), start=1):
        if isinstance(record := parse_line(line, dict), dict):
            names |= dict.fromkeys(record)
        if count == SNIFFED:
            break
    if not names:
        raise ArtifactError(f"{path} has no JSON object in its first {SNIFFED:,} lines; a row is one object a line")
    return Table(str(path), tuple(names), partial(read_json_lines, path))


def read_json_lines(path: Path, columns: list[str], ledger: Ledger) -> Rows:
    """Numbers as text; lists and objects as JSON."""
    schema = dict.fromkeys(columns, pl.String)
    numbers = r"^-?\d[\d.]{15,}$"  # of so many digits polars may not print what stands there
    doubtful = rf"\x00|^(?:[\[{{]|true$|false$|{numbers[1:]})"
    sound = pl.all_horizontal(pl.col(name).is_null() | ~pl.col(name).str.contains(doubtful) for name in columns)
    frame, own = read_ndjson(path, schema, sound, partial(pick_values, columns), ledger.name)
    ledger.read += own.read
    for reason, rows in own.dropped.items():
        ledger.drop(reason, rows, own.first_lines.get(reason, []))
    frame = frame.with_columns(pl.col(name).replace("", None) for name in columns)
    lost = sum(own.dropped.values())

    def locate(rows: Sequence[int]) -> list[int]:
        return [] if lost else number_objects(path, rows)

    return Rows(frame, locate)


def pick_values(columns: list[str], record: dict[str, Any]) -> dict[str, str | None]:
    return {name: print_value(record.get(name)) for name in columns}


def print_value(value: Any) -> str | None:
    """Text as it is, lists and objects as JSON, a number as Python prints it; true and false are no values."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def number_objects(path: Path, rows: Sequence[int]) -> list[int]:
    wanted, numbers = set(rows), []
    for row, (number, _) in enumerate(number_lines(path)):
        if row in wanted:
            numbers.append(number)
        if len(numbers) == len(wanted):
            break
    return numbers


# Parquet, frames and datasets


def open_parquet(path: Path) -> Table:
    try:
        names = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged_file_error(path, error) from None

    def read(columns: list[str], ledger: Ledger) -> Rows:
        try:
            frame = pl.scan_parquet(path, glob=False).select(columns).collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise damaged_file_error(path, error) from None
        return take_rows(frame, ledger)

    return Table(str(path), tuple(names), read)


def open_frame(name: str, frame: pl.DataFrame) -> Table:
    return Table(name, tuple(frame.columns), lambda columns, ledger: take_rows(frame.select(columns), ledger))


def take_rows(frame: pl.DataFrame, ledger: Ledger) -> Rows:
    ledger.read += len(frame)
    return Rows(frame, lambda rows: [row + 1 for row in rows])


def open_dataset(location: str, dataset: Any) -> Table:
    """A Dataset of the package datasets."""
    frame = dataset.to_polars()
    assert isinstance(frame, pl.DataFrame), "a whole dataset is one frame"
    return open_frame(location, frame)


def load_saved(path: Path) -> Any:
    """What save_to_disk wrote."""
    from datasets import load_from_disk

    return pick_split(str(path), load_from_disk(str(path)), "")


def load_named(location: str) -> Any:
    """`hf:NAME[:CONFIG[:SPLIT]]`: a name of the hub or a local directory, without code of its own."""
    from datasets import load_dataset

    name, config, split = (location.removeprefix(HUB).split(":") + ["", ""])[:3]
    note("data", f"{location} through the package datasets")
    try:
        return pick_split(location, load_dataset(str(expand_home(Path(name))), config or None), split)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{location} cannot be loaded: {first_line(error)}") from None


def pick_split(location: str, dataset: Any, split: str) -> Any:
    """The one split, or the one that is named; of several none is a guess."""
    if not isinstance(dataset, dict):
        return dataset
    if split in dataset or len(dataset) == 1:
        return dataset[split or next(iter(dataset))]
    names = ", ".join(dataset)
    raise ArtifactError(f"{location} has the splits {names}; name one: hf:NAME:CONFIG:SPLIT (CONFIG may be empty)")


def list_dataset_files(dataset: Any) -> list[Path]:
    return [Path(file["filename"]) for file in dataset.cache_files]


OPENERS: dict[str, Callable[[Path], Table]] = {
    "csv": lambda path: open_delimited(path, None),
    "tsv": lambda path: open_delimited(path, "\t"),
    "inter": lambda path: open_delimited(path, "\t", None, typed=True),
    "item": lambda path: open_delimited(path, "\t", None, typed=True),
    "jsonl": open_json_lines,
    "parquet": open_parquet,
}
