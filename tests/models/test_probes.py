"""What the data say before anything is trained."""

from dataclasses import replace

import pytest

from genrec.models.knn import fit_knn
from genrec.models.probes import probe_history, score_rows
from tests.small_shop import small_shop


def test_the_gain_of_longer_histories_is_that_of_item_knn():
    data = replace(small_shop(), max_history=1)
    probe = probe_history(data, "valid", seed=0)
    knn = fit_knn(data.sequences, data.seen, data.train_count)
    one, two = (score_rows(knn, replace(data, max_history=kept).examples("valid")) for kept in (1, 2))
    assert (probe["kept"], probe["longer"], probe["cut"]) == (1, 2, 1.0)
    assert probe["gain"]["mean"] == pytest.approx((two - one).mean(), abs=1e-6)
    assert probe_history(replace(data, max_history=9), "valid", seed=0)["gain"] is None
