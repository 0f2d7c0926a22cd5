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


GOOD = [("A1", "[0]", 1)]


def csv_shop(tmp_path, **files):
    """A publication in which files are written anew: {split: bytes to bytes}."""
    data = write_published(tmp_path, {"train": [*GOOD, ("A2", "[2]", 3)], "valid": GOOD, "test": GOOD})
    for split, change in files.items():
        path = tmp_path / split / "shop_5_2016-10-2018-11.csv"
        path.write_bytes(change(path.read_bytes()))
    return data.model_copy(update={"max_bad_share": 0.5})


def train_ledger(data):
    return minionerec.read_publication(data).report["read"]["train"]


def test_a_field_of_any_length_is_read(tmp_path):
    made = train_ledger(csv_shop(tmp_path, train=lambda text: text.replace(b"t,", b"x" * 300_000 + b",", 1)))
    assert made["kept"] == 2 and made["dropped"] == {}


def test_a_byte_order_mark_is_no_letter_of_a_column(tmp_path):
    assert train_ledger(csv_shop(tmp_path, train=lambda text: b"\xef\xbb\xbf" + text))["kept"] == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"A3,caf\xe9,t,[0],1,[],", "with a byte that is not UTF-8"),
        (b"A\xff,x,t,[0],1,[],", "with a byte that is not UTF-8"),
        (b"A3,x,t,[0],1", "with another number of fields than columns"),
        (b"A3,x,y,t,[0],1,[],", "with another number of fields than columns"),
        (b"A3,x,t,[0],1_0,[],", "without a readable history or target"),
        (b"A3,x,t,[0],,[],", "without a readable history or target"),
        (b"A3,x,t," + b"[" * 100_000 + b",1,[],", "without a readable history or target"),
        (b'A3,x,t,"[0, null]",1,[],', "with an item that item.json does not have"),
        (b"A3,x,t,[0],true,[],", "with an item that item.json does not have"),
        (b"A3,x,t,[0],1e0,[],", "with an item that item.json does not have"),
        (b"A3,x,t,{},1,[],", "without a user or history"),
    ],
)
def test_a_line_that_cannot_be_used_is_counted_and_the_others_stay(tmp_path, line, reason):
    made = train_ledger(csv_shop(tmp_path, train=lambda text: text + line + b"\r\n"))
    assert (made["read"], made["kept"], made["dropped"], made["first_lines"]) == (3, 2, {reason: 1}, {reason: [4]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text + b'A3,"x,t,[0],1,[],', r"after line 3 comes what is no CSV \(unexpected end of data\)"),
        (lambda text: text + b'A3,"x"y,t,[0],1,[],', "after line 3 comes what is no CSV"),
        (lambda text: text + b"A3,x\ry,t,[0],1,[],\r\n" * 2, "cannot be used|no CSV"),
        (lambda text: b"", "lacks the column history_item_id; it has \\[\\]"),
        (lambda text: text.decode().encode("utf-16"), "lacks the column"),
        (lambda text: b"\x00" * 100, "lacks the column"),
        (lambda text: text.replace(b"user_id", b"user"), "lacks the column user_id; it has"),
        (lambda text: text.splitlines(keepends=True)[0], "holds no usable row"),
    ],
)
def test_a_file_that_is_no_csv_of_rows_is_one_line(tmp_path, change, said):
    with pytest.raises(ArtifactError, match=said) as failure:
        minionerec.read_publication(csv_shop(tmp_path, train=change))
    assert "shop_5_2016-10-2018-11.csv" in str(failure.value) and "\n" not in str(failure.value)


def test_users_whose_names_look_like_segments_stay_apart(tmp_path):
    rows = {"train": [("A1", "[0]", 1), ("A1", "[4]", 5), ("A1#2", "[7]", 8)], "valid": GOOD, "test": GOOD}
    made = minionerec.read_publication(write_published(tmp_path, rows))
    assert [row[1:] for row in read_back(made, "train")] == [([0], 1), ([4], 5), ([7], 8)]
