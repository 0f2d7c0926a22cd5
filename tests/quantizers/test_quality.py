"""quality.json by hand on six items."""

import numpy as np
import pytest

from genrec.data.catalog import Catalog
from genrec.quantizers import quality
from genrec.quantizers.residual import Quantized
from genrec.sids import make_index

CODES = np.array([[0, 0], [0, 1], [0, 1], [1, 0], [1, 1], [1, 2]])


def catalog():
    words = ["Shop,Bolts", "Shop,Bolts", "Shop,Tape", "Shop,Tape", "Shop,Tape", "Shop"]
    return Catalog(
        item_id=np.arange(6).astype(str),
        title=np.array(["t"] * 6),
        text=np.array([""] * 6),
        brand=np.array(["A", "A", "A", "B", "B", ""]),
        categories=np.array(words),
    )


def test_collisions_count_items_beyond_the_first():
    assert quality.count_collisions(CODES) == {"items": 1, "share": 0.166667, "sharing": 2, "largest": 2}


def test_usage_of_one_level():
    row = quality.measure_usage(np.array([0, 0, 0, 1]), 4)
    assert (row["codes"], row["used"], row["largest"], row["smallest"], row["imbalance"]) == (4, 2, 3, 0, 3.0)
    assert row["perplexity"] == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))), abs=0.01)
    assert quality.measure_usage(np.arange(8) % 4, 4)["perplexity"] == 4


def test_categories_skip_the_shops_own_name():
    assert quality.take_first_varied(catalog().categories).tolist() == ["Bolts", "Bolts", "Tape", "Tape", "Tape", ""]
    assert quality.take_first_varied(np.array(["Action,War", "Drama", "Comedy"])).tolist() == [
        "Action",
        "Drama",
        "Comedy",
    ]
    assert quality.take_first_varied(np.array(["", ""])).tolist() == ["", ""]


def test_purity_is_the_share_in_the_majority():
    rows = quality.measure_purity(CODES, quality.take_first_varied(catalog().categories), seed=0)
    assert [row["share"] for row in rows] == [0.8, 0.8]  # bolts 2 of 3 and tape 2 of 2; then one tape among (0, 1)
    assert quality.measure_purity(CODES, np.array([""] * 6), seed=0) == []


def test_shared_prefixes_of_pairs_and_their_chance():
    pairs = np.array([[0, 1], [1, 2], [3, 0], [4, 5]])
    rows = quality.measure_shared_prefixes(CODES, pairs)
    assert [row["share"] for row in rows] == [0.75, 0.25]
    # lefts 0 0 1 1, rights 0 0 0 1: (2 * 3 + 2 * 1) / 16
    assert rows[0]["chance"] == 0.5


def test_next_pairs_stay_within_a_user_and_within_training():
    item, offset = np.array([1, 2, 2, 3, 4, 5]), np.array([0, 4, 6])
    seen = np.array([True, True, True, True, True, False])
    assert quality.find_next_pairs(item, offset, seen).tolist() == [[1, 2], [2, 3]]


def test_neighbours_by_hand():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], dtype=np.float32)
    quality_pairs = quality.find_neighbour_pairs(vectors, seed=0)
    assert len(quality_pairs) == 12 and (quality_pairs[:, 0] != quality_pairs[:, 1]).all()


def test_reconstruction_by_hand():
    vectors = np.array([[-3.0], [-1.0], [1.0], [3.0]], dtype=np.float32)
    books = (np.array([[-2.0], [2.0]], np.float32), np.array([[-1.0], [1.0]], np.float32))
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    found = quality.measure_reconstruction(Quantized(vectors, codes, books, vectors), codes)
    assert found == {"error": [0.2, 0.0], "explained": [0.8, 0.2]}


def test_a_collapsed_level_is_warned_about():
    index = make_index(np.array([[0, i] for i in range(40)]), (40, 40))
    measured = {
        "items": 40,
        "levels": [quality.measure_usage(index.codes[:, level], 40) for level in range(2)],
        "collisions": {"after": quality.count_collisions(index.codes)},
    }
    found = quality.list_warnings(measured)
    assert len(found) == 1 and "level 1 uses only 1 of 40 codes" in found[0]


def test_the_plot_is_written(tmp_path):
    index = make_index(CODES, (4, 4), allow_collisions=True)
    vectors = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    measured = quality.measure_quality(index, CODES, catalog(), vectors, np.array([[0, 1]]), seed=0)
    quality.plot_quality(measured, index, tmp_path / "q.png")
    assert (tmp_path / "q.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("rows", "said"), [([], ["not known"]), ([{"codes": 1, "share": 0.5, "chance": 0.1}], ["0.50"])]
)
def test_a_panel_without_labels_says_so(rows, said):
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    quality.plot_shares(axis, "same brand", rows)
    assert [text.get_text() for text in axis.texts] == said
    assert (axis.get_legend() is None) == (not rows)
