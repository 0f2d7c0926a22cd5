"""MiniOneRec's item.json, out and back, and what is not one."""

import numpy as np
import pytest

from genrec.data.catalog import Catalog
from genrec.data.item_json import read_item_json, write_item_json
from genrec.embeddings.item_encoder import item_texts
from genrec.errors import ArtifactError


def test_item_json_goes_out_and_comes_back(tmp_path):
    texts = {name: np.array(["x", 'y "quoted"'], dtype=object) for name in ("title", "text", "brand", "categories")}
    catalog = Catalog(item_id=np.array(["0", "1"], dtype=object), **texts)
    write_item_json(catalog, tmp_path / "a.item.json")
    assert item_texts(read_item_json(tmp_path / "a.item.json")) == item_texts(catalog)


def test_descriptions_written_as_lists_are_read_as_text(tmp_path):
    (tmp_path / "a.item.json").write_text('{"0": {"title": "T", "description": "[\'one\', \'two\']", "brand": null}}')
    assert item_texts(read_item_json(tmp_path / "a.item.json")) == ["T. one two"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"0": ["T"]}', r"item '0' must be an object with a title; found \[\"T\"\]"),
        ('{"0": {"title": "T"}, "1": "T"}', "item '1' must be an object with a title; found \"T\""),
        ('{"0": {"title": "T"}, "2": {"title": "T"}}', r"'0'\.\.'1' to their texts; found '2'"),
        ("[1, 2]", r"must map the items .* found \[1, 2\]"),
        ("7", "must map the items .* found 7"),
        ("{}", "must map the items .* found {}"),
        ("{", "cannot be read"),
    ],
)
def test_an_item_json_of_another_shape_is_one_clear_line(tmp_path, content, said):
    (tmp_path / "a.item.json").write_text(content)
    with pytest.raises(ArtifactError, match=said) as failure:
        read_item_json(tmp_path / "a.item.json")
    assert "a.item.json" in str(failure.value) and "\n" not in str(failure.value)


def test_fields_of_other_kinds_are_texts_and_never_a_traceback(tmp_path):
    deep, half = "[" * 5_000, "\\ud800"
    content = '{"0": {"title": 5, "description": ["a", 1], "brand": true, "categories": {"k": null}}, '
    content += f'"1": {{"title": "{half}x", "description": "{deep}]", "brand": "[", "categories": "[1, b]"}}}}'
    (tmp_path / "a.item.json").write_text(content)
    catalog = read_item_json(tmp_path / "a.item.json")
    assert (
        catalog.title.tolist() == ["5", "\ufffdx"] and catalog.text[0] == "a, 1" and catalog.categories[1] == "[1, b]"
    )


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path):
    (tmp_path / "a.item.json").mkdir()
    with pytest.raises(ArtifactError, match="a.item.json cannot be read: Is a directory"):
        read_item_json(tmp_path / "a.item.json")
