"""Item-kNN against its formula by hand."""

import pytest

from genrec.models.knn import DECAY, fit_knn
from tests.models.test_popular import COUNT, SEEN, SEQUENCES, asked


def test_knn_equals_the_formula_by_hand():
    listed = fit_knn(SEQUENCES, SEEN, COUNT).recommend(asked([4, 0]), 5)
    # users: 0 of {a b c}, 1 of {a b c} (b twice), 2 of {a}, 4 of {c}
    root3 = 3**-0.5
    scores = {0: DECAY * root3, 1: 1.0 + DECAY * root3, 2: root3, 4: root3, 3: 0.0}
    assert listed.item[0].tolist() == sorted(scores, key=lambda item: -scores[item])
    assert listed.score[0] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-5)


def test_an_item_bought_twice_by_a_user_recommends_itself():
    listed = fit_knn(SEQUENCES, SEEN, COUNT).recommend(asked([1]), 5)
    assert listed.score[0][listed.item[0] == 1] == pytest.approx(1 / 3, abs=1e-5)  # one buyer of three
