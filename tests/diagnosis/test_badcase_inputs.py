"""Which predictions an analysis reads, and which it refuses."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from genrec.artifacts import RECOMMENDATIONS, RESULTS, write_json
from genrec.config import Analysis
from genrec.data.prepared import Prepared
from genrec.diagnosis.badcase_inputs import exact_dir, fingerprint_inputs, read_cases, require_predictions
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import ListSettings, Recommendations
from genrec.evaluation.predictions import write_predictions
from genrec.evaluation.report import ScoredRows
from tests.small_shop import small_shop


def write_model(directory: Path, rows: Prepared, split: str = "test") -> Path:
    """A model that recommends item 0 first and 1 second for every row of a split."""
    examples = rows.examples(split)
    items = np.tile(np.array([0, 1], dtype=np.int32), (len(examples), 1))
    directory.mkdir(parents=True)
    lists = Recommendations(items, np.tile(np.array([1, 0], dtype=np.float32), (len(examples), 1)))
    write_predictions(directory, examples, lists, rows.catalog, rows.sequences)
    results = {"model": directory.name, "metrics": {}, "beyond_accuracy": {}}
    write_json(directory / RESULTS, results | describe(len(rows.catalog), length=10))
    return directory


def describe(num_items: int, length: int = 50) -> dict:
    """What is read of results.json."""
    rows = ScoredRows("f00d", "test", 60, 60, 60, num_items)
    return {"rows": asdict(rows), "lists": asdict(ListSettings(length))}


def test_a_model_is_found_in_the_evaluation_or_by_its_directory(tmp_path):
    inside, outside = (
        write_model(tmp_path / "evaluation/sft", small_shop()),
        write_model(tmp_path / "x/sft", small_shop()),
    )
    assert require_predictions(tmp_path / "evaluation", "sft") == inside
    assert require_predictions(tmp_path / "evaluation", str(outside)) == outside


def test_the_exact_twin_is_read_where_it_lies_beside_and_a_given_one_before_it(tmp_path):
    beams = write_model(tmp_path / "evaluation/sft", small_shop())
    assert exact_dir(beams, None) is None
    twin = write_model(tmp_path / "evaluation/sft_exact", small_shop())
    assert exact_dir(beams, None) == twin
    assert (
        exact_dir(beams, tmp_path / "other" / RECOMMENDATIONS)
        == exact_dir(beams, tmp_path / "other")
        == tmp_path / "other"
    )


def test_cases_are_the_rows_with_their_ranks_and_the_knobs_of_the_analysis(tmp_path):
    shop, knobs = small_shop(), Analysis(top_k=1)
    directory = write_model(tmp_path / "evaluation/sft", shop)
    results = describe(len(shop.catalog), length=2)
    read = read_cases(directory, results, shop, None, knobs, None)
    target = shop.examples("test").target
    assert read.rank.tolist() == np.select([target == 0, target == 1], [1, 2], 0).tolist()
    assert read.miss.tolist() == (target != 0).tolist() and read.codes is None and read.exact is None


def test_rows_of_another_shop_are_refused_with_their_number(tmp_path):
    directory = write_model(tmp_path / "evaluation/sft", small_shop(seed=1))
    with pytest.raises(ArtifactError, match=r"\d+ of its 60 rows are not in this run's test split"):
        read_cases(directory, describe(20), small_shop(), None, Analysis(), None)
    with pytest.raises(ArtifactError, match="ranks 21 items where this run has 20"):
        read_cases(directory, describe(21), small_shop(seed=1), None, Analysis(), None)


def test_a_cut_off_beyond_the_lists_is_refused_with_both_values(tmp_path):
    write_model(tmp_path / "evaluation/sft", small_shop())
    with pytest.raises(ArtifactError, match=r"analysis.top_k 20 .* hold 10 items; pass --analysis.top_k 10 or less"):
        fingerprint_inputs(tmp_path / "evaluation", Analysis(model="sft", top_k=20))


def test_near_misses_end_where_the_lists_end(tmp_path):
    shop = small_shop()
    directory = write_model(tmp_path / "evaluation/sft", shop)
    cases = read_cases(directory, describe(20, length=20), shop, None, Analysis(), None)
    assert cases.limits.near_miss == 20 and cases.just_below is not None
    assert read_cases(directory, describe(20, length=10), shop, None, Analysis(), None).just_below is None


def test_fingerprints_follow_the_lists(tmp_path):
    directory = write_model(tmp_path / "evaluation/sft", small_shop())
    knobs = Analysis(model="sft")
    before = fingerprint_inputs(tmp_path / "evaluation", knobs)
    assert set(before) == {"predictions"} and fingerprint_inputs(tmp_path / "none", knobs) == {}
    (directory / RECOMMENDATIONS).write_bytes(b"other lists")
    assert fingerprint_inputs(tmp_path / "evaluation", knobs) != before
