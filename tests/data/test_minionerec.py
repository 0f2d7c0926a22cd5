import ast
import csv
import json

import pytest

from genrec.config import Data
from genrec.data import minionerec
from genrec.data.sequences import cut_examples
from genrec.errors import ArtifactError
from tests.data.raw import real

COLUMNS = ["user_id", "history_item_title", "item_title", "history_item_id", "item_id", "history_item_sid", "item_sid"]


def write_published(directory, rows, num_items=9):
    """{split: [(user, history text, target)]} in the published layout."""
    for split, part in rows.items():
        (directory / split).mkdir(parents=True, exist_ok=True)
        with (directory / split / "shop_5_2016-10-2018-11.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows([user, "['a, b']", "t", history, target, "[]", ""] for user, history, target in part)
    (directory / "index").mkdir()
    texts = {
        str(n): {"title": f"T{n}", "description": "['one', 'two']", "brand": "", "categories": ""}
        for n in range(num_items)
    }
    (directory / "index" / "shop.item.json").write_text(json.dumps(texts))
    index = {str(n): ["<a_1>", f"<b_{n}>"] for n in range(num_items)}
    (directory / "index" / "shop.index.json").write_text(json.dumps(index))
    return Data(source="minionerec", dataset="shop", raw_dir=directory)


def read_back(made, split, max_history=10):
    rows = cut_examples(made.sequences, made.splits[split], max_history)
    users = [made.sequences.user_id[user].split("#")[0] for user in rows.user]
    histories = [[item for item in history if item >= 0] for history in rows.history.tolist()]
    return list(zip(users, histories, rows.target.tolist(), strict=True))


def test_rows_are_chained_and_found_again(tmp_path):
    rows = {
        "train": [("A1", "[0]", 1), ("A1", "[0, 1]", 2), ("A2", "[5, 5]", 6), ("A1", "[4, 4]", 8)],
        "valid": [("A1", "[0, 1, 2]", 3), ("A1", "[4, 4, 8]", 7)],
        "test": [("A2", "[5, 5, 6]", 0)],
    }
    made = minionerec.read_publication(write_published(tmp_path, rows))
    for split, part in rows.items():
        assert read_back(made, split) == [(user, json.loads(history), target) for user, history, target in part]
    assert made.sequences.user_id.tolist() == ["A1", "A1#2", "A2"]
    assert made.sequences.item.tolist() == [0, 1, 2, 3, 4, 4, 8, 7, 5, 5, 6, 0]
    assert made.report["rows_in_a_segment_of_their_own"] == {"train": 1, "valid": 0, "test": 0}
    assert made.catalog.text[0] == "one two"


def test_bad_rows_are_counted_and_code_is_never_run(tmp_path):
    good = [("A1", "[0]", 1)]
    bad = [("A1", "[__import__('os')]", 1), ("A1", "[99]", 1), ("", "[0]", 1), ("A1", "[]", 1), ("A1", "[1]", "x")]
    data = write_published(tmp_path, {"train": good + bad, "valid": good, "test": good})
    with pytest.raises(ArtifactError, match="5 of 6 lines"):
        minionerec.read_publication(data)
    made = minionerec.read_publication(data.model_copy(update={"max_bad_share": 1.0}))
    assert made.report["read"]["train"]["dropped"] == {
        "without a readable history or target": 2,
        "with an item that item.json does not have": 1,
        "without a user or history": 2,
    }


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ArtifactError, match="train"):
        minionerec.read_publication(Data(source="minionerec", dataset="shop", raw_dir=tmp_path))


def test_every_published_row_is_found_again_in_order():
    data = Data(source="minionerec", dataset="Industrial_and_Scientific", raw_dir=real("minionerec_industrial"))
    made = minionerec.read_publication(data)
    assert len(made.catalog) == 3686
    assert made.report["rows"] == {"train": 33019, "valid": 4532, "test": 4533}
    assert made.report["rows_in_a_segment_of_their_own"] == {"train": 58, "valid": 0, "test": 0}
    for split, path in minionerec.find_files(data).items():
        if split not in made.splits:
            continue
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                (r["user_id"], ast.literal_eval(r["history_item_id"]), int(r["item_id"])) for r in csv.DictReader(file)
            ]
        assert read_back(made, split) == rows


def test_the_complete_industrial_export_is_one_chain_a_user():
    data = Data(source="minionerec", dataset="Industrial_and_Scientific", raw_dir=real("industrial_2013_2018"))
    made = minionerec.read_publication(data)
    assert (len(made.sequences), len(made.catalog), len(made.sequences.item)) == (6300, 3106, 43123)
    assert made.report["rows"] == {"train": 29458, "valid": 3682, "test": 3683}
    assert made.report["rows_in_a_segment_of_their_own"] == {"train": 0, "valid": 0, "test": 0}
