"""The data and sids artifacts in MiniOneRec's layout, for other tools; nothing in the pipeline reads it back.

    {train,valid,test}/<stem>.csv   user_id, history_item_title, item_title, history_item_id, item_id,
                                    history_item_sid, item_sid; the three histories are printed lists
    info/<stem>.txt                 sid TAB title TAB item number
    index/<dataset>.index.json  index/<dataset>.item.json

Texts are written as they are; a spreadsheet takes a field that begins with = + - @ for a formula, unless
`convert.guard_formulas` is set.

A printed list is JSON that is also a Python literal: strings, escaped only where both languages agree, and integers.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from genrec.artifacts import INDEX_JSON, ITEM_JSON, whole_path, write_text
from genrec.config import Convert, Data
from genrec.data.prepared import Prepared
from genrec.data.sequences import SPLITS
from genrec.sids import SidIndex

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet's formula can begin with
COLUMNS = (
    "user_id",
    "history_item_title",
    "item_title",
    "history_item_id",
    "item_id",
    "history_item_sid",
    "item_sid",
)


def file_stem(data: Data) -> str:
    """Industrial_and_Scientific_5_2016-10-2018-11: dataset, user core, and the window where there is one."""
    window = [data.st_year, data.st_month, data.ed_year, data.ed_month]
    months = "-".join(str(number) for number in window if number is not None)
    return f"{data.dataset}_{data.user_k}" + (f"_{months}" if months else "")


def write_conversion(
    prepared: Prepared, index: SidIndex, sids: Path, data: Data, convert: Convert, directory: Path
) -> dict[str, int]:
    """Write the whole layout under `directory`; rows a split. `sids` is the artifact whose JSON files are copied."""
    stem, written = file_stem(data), {}
    for name in SPLITS:
        written[name] = write_rows(directory / name / f"{stem}.csv", prepared, index, name, convert.guard_formulas)
    (directory / "info").mkdir(exist_ok=True)
    write_text(directory / "info" / f"{stem}.txt", "".join(make_info_lines(prepared, index)))
    (directory / "index").mkdir(exist_ok=True)
    for file in (INDEX_JSON, ITEM_JSON):
        shutil.copyfile(
            sids / file.format(dataset=data.dataset), directory / "index" / file.format(dataset=data.dataset)
        )
    return written


def write_rows(path: Path, prepared: Prepared, index: SidIndex, name: str, guard: bool) -> int:
    """One CSV; returns its rows."""
    path.parent.mkdir(exist_ok=True)
    with whole_path(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(make_csv_rows(prepared, index, name, guard))
    return len(prepared.splits[name])


def make_csv_rows(prepared: Prepared, index: SidIndex, name: str, guard: bool) -> Iterator[tuple[object, ...]]:
    """The fields of COLUMNS; every item has a SID, so the three histories always have equal length.

    Only user_id and item_title can begin like a formula: lists begin with [, SIDs with <, numbers are not negative.
    """
    titles = prepared.catalog.title.tolist()
    sids = [index.text(item) for item in range(len(index))]
    printed_title, printed_sid = [quote_text(title) for title in titles], [quote_text(sid) for sid in sids]
    examples = prepared.examples(name)
    users = prepared.sequences.user_id[examples.user].tolist()
    shown = guard_formula if guard else str
    for user, padded, target in zip(users, examples.history.tolist(), examples.target.tolist(), strict=True):
        history = [item for item in padded if item >= 0]
        yield (
            shown(user),
            join_list(printed_title[item] for item in history),
            shown(titles[target]),
            join_list(str(item) for item in history),
            target,
            join_list(printed_sid[item] for item in history),
            sids[target],
        )


def guard_formula(text: str) -> str:
    """A field that a spreadsheet shows as it is: ' before what it would run."""
    return f"'{text}" if text.startswith(FORMULA) else text


def quote_text(text: str) -> str:
    """A string as both JSON and Python read it. Not \\uXXXX: Python would read an emoji's two halves apart."""
    return json.dumps(text, ensure_ascii=False)


def join_list(parts: Iterator[str]) -> str:
    return f"[{', '.join(parts)}]"


def make_info_lines(prepared: Prepared, index: SidIndex) -> Iterator[str]:
    """sid TAB title TAB item number; white space in a title becomes single spaces."""
    for item, title in enumerate(prepared.catalog.title):
        yield f"{index.text(item)}\t{' '.join(str(title).split())}\t{item}\n"
