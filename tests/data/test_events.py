"""Events as numbers: codes are dense, and lead back to the shop's own ids."""

import numpy as np
import polars as pl

from genrec.data.events import encode_events, encode_ids


def test_codes_are_dense_and_lead_back():
    ids = ["b", "a", "b", "c", "a"]
    codes, names = encode_ids(pl.Series(ids))
    assert sorted(set(codes.tolist())) == [0, 1, 2] and codes.dtype == np.int32
    assert [names[code] for code in codes.tolist()] == ids


def test_an_unknown_rating_is_nan_and_taking_rows_keeps_the_id_tables():
    users, items = pl.Series(["u", "v", "u"]), pl.Series(["x", "y", "z"])
    events = encode_events(users, items, pl.Series([1, 2, 3]), pl.Series([5.0, None, 1.0]))
    assert np.isnan(events.rating).tolist() == [False, True, False]
    kept = events.take(np.array([True, False, True]))
    assert len(kept) == 2 and kept.time.tolist() == [1, 3]
    assert [kept.item_id[code] for code in kept.item.tolist()] == ["x", "z"] and len(kept.item_id) == 3
