"""The seed's files: a small shop whose every line is known."""

import json

from genrec.data.export import INTER_HEADER, write_inter_files
from tests.small_shop import small_shop


def test_each_row_is_a_line_and_ids_are_numbered(tmp_path):
    shop = small_shop(num_users=4, num_items=7)
    write_inter_files(shop, tmp_path / "out", "small", published=False)
    for name in ("train", "valid", "test"):
        lines = (tmp_path / "out" / f"small.{name}.inter").read_text().splitlines()
        rows = shop.examples(name)
        assert lines[0] == INTER_HEADER and len(lines) == len(rows) + 1
        user, history, target = lines[1].split("\t")
        known = rows.history[0][rows.history[0] >= 0].tolist()
        assert (int(user), [int(item) for item in history.split()], int(target)) == (
            rows.user[0], known, rows.target[0],
        )  # fmt: skip
    users = json.loads((tmp_path / "out/small.inter.json").read_text())
    assert users["1"] == shop.sequences.item[shop.sequences.offset[1] : shop.sequences.offset[2]].tolist()
    assert (tmp_path / "out/small.item2id").read_text().splitlines()[2] == "B002\t2"


def test_the_published_item_json_has_no_categories(tmp_path):
    for published in (False, True):
        write_inter_files(small_shop(num_users=4), tmp_path, "small", published)
        items = json.loads((tmp_path / "small.item.json").read_text())
        assert items["1"]["categories"] == ("" if published else "Shop,Tools")
