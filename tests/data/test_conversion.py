"""MiniOneRec's layout: what other tools read, and what our own importer finds again."""

import ast
import json
from dataclasses import replace

import numpy as np
import pytest

from genrec.config import Convert, Data
from genrec.data import minionerec
from genrec.data.conversion import file_stem, guard_formula, quote_text, write_conversion
from genrec.data.prepared import Prepared
from genrec.sids import make_index, read_index_json
from tests.data.awkward import AWKWARD, STEM, make_awkward_shop, read_csv
from tests.data.raw import real
from tests.small_shop import small_config


@pytest.mark.parametrize("text", [*AWKWARD, "\x00\x07\x0b\x1f\x7f\x85\u2028\ufeff", "'", "", "\r\n\f\b"])
def test_a_printed_string_means_the_same_in_json_and_python(text):
    assert json.loads(quote_text(text)) == ast.literal_eval(quote_text(text)) == text


def test_every_level_of_a_sid_is_written(tmp_path):
    shop = make_awkward_shop()
    numbers = np.arange(len(shop.catalog))
    index = make_index(np.stack([numbers // 8, numbers // 4 % 2, numbers // 2 % 2, numbers % 2], axis=1), (3, 2, 2, 2))
    for name in ("small.index.json", "small.item.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "out").mkdir()
    config = small_config(tmp_path)
    write_conversion(shop, index, tmp_path, config.data, config.convert, tmp_path / "out")
    row = read_csv(tmp_path / "out" / "test" / f"{STEM}.csv")[0]
    assert row["item_sid"].count("<") == 4 and "<d_" in row["item_sid"]


def test_published_files_imported_and_exported_again_have_the_published_rows(tmp_path):
    raw, name = real("minionerec_industrial") / "Amazon", "Industrial_and_Scientific"
    data = Data(source="minionerec", raw_dir=raw, st_year=2016)
    made = minionerec.read_publication(data)
    prepared = Prepared(made.catalog, made.sequences, made.splits, max_history=10)
    index = read_index_json(raw / "index" / f"{name}.index.json")
    write_conversion(prepared, index, raw / "index", data, Convert(), tmp_path)
    for split in ("valid", "test"):
        published, ours = (read_csv(root / split / f"{file_stem(data)}.csv") for root in (raw, tmp_path))
        assert len(ours) == len(published)
        for one, other in zip(published, ours, strict=True):
            for column in ("history_item_id", "history_item_sid"):
                assert ast.literal_eval(one[column]) == json.loads(other[column])
            assert (one["item_id"], one["item_sid"]) == (other["item_id"], other["item_sid"])
    info = (tmp_path / "info" / f"{file_stem(data)}.txt").read_text().splitlines()
    assert [line.split("\t")[0::2] for line in info] == [
        line.split("\t")[0::2] for line in (raw / "info" / f"{file_stem(data)}.txt").read_text().splitlines()
    ]


@pytest.mark.parametrize("guard", [False, True])
def test_formulas_are_written_as_they_are_or_with_a_mark_by_knob(tmp_path, guard):
    shop = make_awkward_shop()
    titles, users = shop.catalog.title.copy(), shop.sequences.user_id.astype(object)
    titles[:], users[:] = '=HYPERLINK("x")', "@user"
    shop = replace(
        shop, catalog=replace(shop.catalog, title=titles), sequences=replace(shop.sequences, user_id=users.astype(str))
    )
    numbers = np.arange(len(shop.catalog))
    index = make_index(np.stack([numbers // 8, numbers // 4 % 2, numbers % 4], axis=1), (3, 2, 4))
    for name in ("small.index.json", "small.item.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "out").mkdir()
    data = small_config(tmp_path).data
    write_conversion(shop, index, tmp_path, data, Convert(guard_formulas=guard), tmp_path / "out")
    row, mark = read_csv(tmp_path / "out" / "test" / f"{STEM}.csv")[0], "'" * guard
    assert (row["user_id"], row["item_title"]) == (f"{mark}@user", f'{mark}=HYPERLINK("x")')
    assert json.loads(row["history_item_title"])[0] == '=HYPERLINK("x")'  # a list begins with [, so it stays


def test_only_what_a_spreadsheet_would_run_is_marked():
    assert [guard_formula(text) for text in ("=1", "+1", "-1", "@a", "\t=1")] == ["'=1", "'+1", "'-1", "'@a", "'\t=1"]
    assert [guard_formula(text) for text in ("a=1", "", "1-2", " =1")] == ["a=1", "", "1-2", " =1"]
