"""What SFT starts from: texts about users that belong to this run, and a model that knows its SIDs."""

import json

import pytest

from genrec.data.given_texts import read_training_preferences
from genrec.data.prepared import Prepared


def shop(texts, sequences):
    events, train = sequences
    return Prepared(texts.catalog, events, {"train": train, "valid": train.take([]), "test": train.take([])}, 50)


def record(history, target, split="train", user="b", text="Likes brass."):
    return {"user": user, "split": split, "user_preference": text,
            "context": {"history_items": history, "target_item": target}}  # fmt: skip


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_about_users_find_their_training_target_and_no_other_split(texts, sequences, tmp_path, name):
    events, train = sequences
    items = events.item[2:7].tolist()  # of user b
    rows = [
        record(items[:2], items[2]),
        record([f"Brass valve number {items[1]}"], items[2], text="By the shop's ids."),  # the history may be cut
        record(items[:3], items[3], split="test", text="Secret."),
        record(items[:1], items[4], text="No such history."),
    ]
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(lines if name.endswith("l") else f"[{','.join(lines.splitlines())}]")
    found, line = read_training_preferences(tmp_path / name, "", shop(texts, sequences))
    assert list(zip(found.user, found.end, found.text, strict=True)) == [
        (1, 4, "By the shop's ids."),
        (1, 4, "Likes brass."),
    ]
    assert "4 rows, 3 of split train, 2 of them training rows here" in line
