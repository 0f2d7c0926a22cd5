"""The table of an update: each model against the run as it was, on the same rows."""

import json

import pytest

from genrec.errors import ArtifactError
from genrec.evaluation.update_table import Measured, compare_models, compared_to_json, describe_compared
from tests.evaluation.scores import make_report


def test_each_model_stands_against_the_first_with_what_it_cost():
    models = [
        Measured("as it was", make_report(0, users=300)),
        Measured("updated", make_report(2, lift=0.05, users=300), 12.4),
    ]
    found = compare_models("newest", models, seed=0)
    ndcg, _ = found.differences[0]
    assert ndcg.metric == "ndcg@10" and ndcg.difference.low > 0
    text = describe_compared([found])
    assert text.startswith(f"The newest rows, {ndcg.rows:,}; differences of NDCG are from 'as it was'")
    assert f"{ndcg.optimized:.4f}" in text and f"[{ndcg.difference.low:+.4f}" in text and " 12\n" in f"{text}\n"
    told = json.loads(json.dumps(compared_to_json([found])))["newest"]
    assert told["first"] == "as it was" and told["models"]["updated"]["training_seconds"] == 12.4
    assert told["models"]["updated"]["differences"][0]["difference"]["mean"] == pytest.approx(
        ndcg.difference.mean, abs=1e-6
    )


def test_other_rows_are_refused():
    with pytest.raises(ArtifactError, match="the two runs answer different questions: as it was has"):
        compare_models(
            "newest", [Measured("as it was", make_report(users=30)), Measured("b", make_report(users=40))], 0
        )
