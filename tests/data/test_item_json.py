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
