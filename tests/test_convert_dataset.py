"""The export in MiniOneRec's layout: read by other tools' ways of reading, and by our own importer."""

import ast
import json

import pytest

from genrec import stage
from genrec.commandline import Command
from genrec.config import Config
from genrec.data import minionerec
from genrec.data.conversion import COLUMNS
from genrec.data.prepared import Prepared
from genrec.data.sequences import SPLITS, cut_examples
from genrec.errors import ArtifactError
from genrec.pipeline import artifact_dir
from genrec.sids import read_index_json
from genrec.stages import convert as convert_dataset
from tests.data.awkward import STEM, make_awkward_shop, read_csv
from tests.small_shop import run_stage, small_config, small_shop, write_data, write_sids


@pytest.fixture
def shop() -> Prepared:
    return make_awkward_shop()


@pytest.fixture
def config(tmp_path, shop) -> Config:
    config = small_config(tmp_path / "run")
    write_data(config, shop)
    write_sids(config, shop)
    run_stage("convert", config, convert_dataset.build)
    return config


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_holds_its_example_in_three_equal_histories(config, shop, split):
    rows, wanted = read_csv(config.run.dir / "convert" / split / f"{STEM}.csv"), shop.examples(split)
    index = read_index_json(artifact_dir(config, "sids") / "small.index.json")
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


def test_info_has_a_line_an_item_whatever_its_title(config, shop):
    lines = (config.run.dir / "convert" / "info" / f"{STEM}.txt").read_text(encoding="utf-8").splitlines()
    fields = [line.split("\t") for line in lines]
    assert [int(number) for _, _, number in fields] == list(range(len(shop.catalog)))
    assert fields[0][1] == "tab here" and fields[1][1] == "two lines"


def test_our_importer_finds_the_same_rows_again(config, shop):
    data = config.data.model_copy(update={"source": "minionerec", "raw_dir": config.run.dir / "convert"})
    again = minionerec.read_publication(data)
    for split in SPLITS:
        before, after = (
            shop.examples(split),
            cut_examples(again.sequences, again.splits[split], config.data.max_history),
        )
        assert (before.history == after.history).all() and (before.target == after.target).all()


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
