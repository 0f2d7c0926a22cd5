"""The export in MiniOneRec's layout: read by other tools' ways of reading, and by our own importer."""

import ast
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genrec import stage
from genrec.commandline import Command
from genrec.config import Config, Data
from genrec.data import minionerec
from genrec.data.conversion import COLUMNS, file_stem, quote_text, write_conversion
from genrec.data.prepared import Prepared
from genrec.data.sequences import SPLITS, examples
from genrec.errors import ArtifactError
from genrec.sids import make_index, read_index_json
from genrec.stages import convert as convert_dataset
from tests.data.raw import real
from tests.small_shop import run_stage, small_config, small_shop, write_data, write_sids

AWKWARD = [
    "tab\there",
    "two\nlines",
    "quote ' and \" both",
    "back\\slash \\n \\u0041",
    "emoji \U0001f600 é ☃",
    "[1, 2], null, NaN",
]
STEM = "small_5_1996-10-2018-11"


@pytest.fixture
def shop() -> Prepared:
    shop = small_shop()
    title = shop.catalog.title.copy()
    title[: len(AWKWARD)] = AWKWARD
    return replace(shop, catalog=replace(shop.catalog, title=title))


@pytest.fixture
def config(tmp_path, shop) -> Config:
    config = small_config(tmp_path / "run")
    write_data(config, shop)
    write_sids(config, shop)
    run_stage("convert", config, convert_dataset.build)
    return config


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_holds_its_example_in_three_equal_histories(config, shop, split):
    rows, wanted = read_csv(config.run.dir / "convert" / split / f"{STEM}.csv"), shop.examples(split)
    index = read_index_json(config.run.dir / "sids" / "small.index.json")
    assert len(rows) == len(wanted) and tuple(rows[0]) == COLUMNS
    for number, row in enumerate(rows):
        history = wanted.history[number][wanted.history[number] >= 0].tolist()
        target = int(wanted.target[number])
        for read in (ast.literal_eval, json.loads):
            assert read(row["history_item_id"]) == history
            assert read(row["history_item_title"]) == shop.catalog.title[history].tolist()
            assert read(row["history_item_sid"]) == [index.text(item) for item in history]
        assert int(row["item_id"]) == target and row["item_title"] == shop.catalog.title[target]
        assert row["item_sid"] == index.text(target)
        assert row["user_id"] == shop.sequences.user_id[wanted.user[number]]


@pytest.mark.parametrize("text", [*AWKWARD, "\x00\x07\x0b\x1f\x7f\x85\u2028\ufeff", "'", "", "\r\n\f\b"])
def test_a_printed_string_means_the_same_in_json_and_python(text):
    assert json.loads(quote_text(text)) == ast.literal_eval(quote_text(text)) == text


def test_info_has_a_line_an_item_whatever_its_title(config, shop):
    lines = (config.run.dir / "convert" / "info" / f"{STEM}.txt").read_text(encoding="utf-8").splitlines()
    fields = [line.split("\t") for line in lines]
    assert [int(number) for _, _, number in fields] == list(range(len(shop.catalog)))
    assert fields[0][1] == "tab here" and fields[1][1] == "two lines"


def test_every_level_of_a_sid_is_written(tmp_path, shop):
    numbers = np.arange(len(shop.catalog))
    index = make_index(np.stack([numbers // 8, numbers // 4 % 2, numbers // 2 % 2, numbers % 2], axis=1), (3, 2, 2, 2))
    for name in ("small.index.json", "small.item.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "out").mkdir()
    write_conversion(shop, index, tmp_path, small_config(tmp_path).data, tmp_path / "out")
    row = read_csv(tmp_path / "out" / "test" / f"{STEM}.csv")[0]
    assert row["item_sid"].count("<") == 4 and "<d_" in row["item_sid"]


def test_our_importer_finds_the_same_rows_again(config, shop):
    data = config.data.model_copy(update={"source": "minionerec", "raw_dir": config.run.dir / "convert"})
    again = minionerec.read_publication(data)
    for split in SPLITS:
        before, after = shop.examples(split), examples(again.sequences, again.splits[split], config.data.max_history)
        assert (before.history == after.history).all() and (before.target == after.target).all()


def test_published_files_imported_and_exported_again_have_the_published_rows(tmp_path):
    raw, name = real("minionerec_industrial") / "Amazon", "Industrial_and_Scientific"
    data = Data(source="minionerec", raw_dir=raw, st_year=2016)
    made = minionerec.read_publication(data)
    prepared = Prepared(made.catalog, made.sequences, made.splits, max_history=10)
    write_conversion(prepared, read_index_json(raw / "index" / f"{name}.index.json"), raw / "index", data, tmp_path)
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


def test_sids_of_another_catalogue_are_refused(tmp_path, shop):
    config = small_config(tmp_path / "run")
    write_data(config, shop)
    write_sids(config, small_shop(num_items=15))
    with pytest.raises(ArtifactError, match="has 15 items, the catalogue 20"):
        run_stage("convert", config, convert_dataset.build)


def test_output_path_gets_a_copy_each_time_it_is_asked_for(config, tmp_path):
    asked = config.model_copy(update={"convert": config.convert.model_copy(update={"output_path": tmp_path / "copy"})})
    run_stage("convert", asked, convert_dataset.build)  # up to date
    convert_dataset.copy_files(Command(asked, clean=False, dry_run=False))
    names = sorted(
        str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*.*") if path.is_file()
    )
    assert names == [
        "index/small.index.json",
        "index/small.item.json",
        f"info/{STEM}.txt",
        *(f"{split}/{STEM}.csv" for split in ("test", "train", "valid")),
    ]
    assert stage.read_manifest(tmp_path / "copy") is None
