"""Texts on disk: each item's own at its place, longest first, whatever the slices they came in."""

import numpy as np
import pytest

from genrec.embeddings.sorted_texts import lay_texts, read_piece
from genrec.errors import ArtifactError

TEXTS = ["glue", "a\nb \u2028 c", "", "glue", "Büroklammer 5 mm", 'a "quoted" \ud800 one', "tape"]


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 0, 4]])
def test_every_text_comes_back_with_its_item_longest_first(tmp_path, sizes):
    ends = np.cumsum([0, *sizes])
    laid = lay_texts(lambda: (TEXTS[a:b] for a, b in zip(ends, ends[1:], strict=False)), tmp_path / "texts")
    items, texts = read_piece(laid.piece((0, 7)))
    assert texts == sorted(TEXTS, key=len, reverse=True) == [TEXTS[item] for item in items]
    assert items.tolist() == [4, 5, 1, 0, 3, 6, 2] == laid.order.tolist()  # equal lengths in the order of items
    assert laid.characters == sum(map(len, TEXTS)) and laid.digest == lay_texts(lambda: [TEXTS], tmp_path / "b").digest
    assert read_piece(laid.piece((2, 4)))[1] == [TEXTS[1], "glue"]


def test_another_text_or_order_has_another_digest(tmp_path):
    digests = {lay_texts(lambda texts=texts: [texts], tmp_path / "x").digest for texts in (TEXTS, TEXTS[::-1], ["a"])}
    assert len(digests) == 3


def test_a_file_that_was_cut_is_one_line(tmp_path):
    laid = lay_texts(lambda: [TEXTS], tmp_path / "texts")
    content = laid.path.read_bytes()
    laid.path.write_bytes(content[: laid.starts[6]])
    with pytest.raises(ArtifactError, match="texts is truncated: 1 of 2 texts from byte"):
        read_piece(laid.piece((5, 7)))
    laid.path.write_bytes(content[:-4])
    with pytest.raises(ArtifactError, match="texts cannot be read: .*; run the same command again"):
        read_piece(laid.piece((5, 7)))
