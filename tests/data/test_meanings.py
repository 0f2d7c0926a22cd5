"""What codes stand for, counted by hand."""

import numpy as np

from genrec.data.catalog import Catalog
from genrec.data.meanings import describe_codes
from genrec.sids import make_index


def test_words_and_categories_are_those_that_stand_out():
    titles = ["red hinge set", "blue hinge set", "red ladder set", "blue ladder set"]
    paths = ["Home,Bath, Tub", "Home,Bath, Tub", "Home,Attic", "Home,Attic"]
    columns = [np.array(values, dtype=object) for values in (list("abcd"), titles, [""] * 4, [""] * 4, paths)]
    index = make_index(np.array([[0, 0], [0, 1], [1, 0], [1, -1]]), (2, 2))
    frame = describe_codes(Catalog(*columns), index, 1)
    assert frame.to_dicts() == [
        {"level": 1, "code": "<a_0>", "items": 2, "words": "hinge", "categories": "Bath, Tub"},
        {"level": 2, "code": "<b_1>", "items": 1, "words": "blue, hinge", "categories": "Bath, Tub"},
    ]
    assert describe_codes(Catalog(*columns), index, 3)["code"].to_list() == ["<a_1>"]
