"""What speaks for a strategy, and by how much."""

import pytest

from genrec.advice.evidence import weigh_pattern
from genrec.advice.plan import (
    evidence_to_json,
    make_plan,
)
from genrec.advice.strategies import make_advice, recommend_strategies
from tests.advice.reports import pattern, report


@pytest.mark.parametrize(("share", "applies"), [(0.21, True), (0.19, False)])
def test_the_threshold_is_the_seeds(share, applies):
    assert ("long_tail" in recommend_strategies(report(long_tail=pattern(share, 0.1)))) == applies


def test_a_big_group_that_hits_share_is_not_a_cause():
    planted = report(long_tail=pattern(0.6, 0.58, "no difference shown"))
    assert recommend_strategies(planted) == []
    assert "not shown to be a cause" in make_advice(planted, "long_tail").evidence.reason


def test_without_any_hit_the_threshold_decides_and_the_reason_says_so():
    alone = pattern(0.6, 0.0, "nothing to compare with")
    alone["share_among_hits"]["mean"] = None
    evidence = weigh_pattern(report(long_tail=alone), "long_tail")
    assert evidence.applies and "no hits to compare with" in evidence.reason


def test_the_expected_gain_is_the_share_of_rows_that_the_cause_explains():
    tail = report(long_tail=pattern(0.4, 0.1))  # 20% of the rows are missed
    assert make_advice(tail, "long_tail").evidence.reach == pytest.approx((0.4 - 0.1) * 0.2)
    assert make_advice(tail, "hyperparameter").evidence.reach == pytest.approx(0.05 * 0.2)
    shared = report(collisions=7, sid_collision=pattern(0.3, 0.2))
    assert make_advice(shared, "sid_quality").evidence.reach == pytest.approx(0.3 * 0.2)
    assert evidence_to_json(tail, make_plan(tail, ["long_tail"]))["strategies"]["long_tail"]["hr_gain_at_most"] == 0.06
