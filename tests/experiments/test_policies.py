"""Another policy's table joined with sampled answers: the estimates of its own probabilities are the log's mean."""

import numpy as np
import polars as pl
import pytest

from genrec.errors import ArtifactError
from genrec.experiments.log import read_slates
from genrec.experiments.outcomes import Metric, Outcomes
from genrec.experiments.policies import Policy, join_answers, judge_policy
from tests.experiments.logs import answer, write_log

CLICKS = Metric("clicks")


@pytest.fixture
def slates(tmp_path):
    sampled = [answer(n, f"u{n}", "sft", propensities=[0.5, 0.25, 1.0]) for n in range(300)]
    return read_slates(write_log(tmp_path, [*sampled, answer(300, "u300", "sft")])).frame


ROWS = {"user": ["u0", "u1", "u1"], "request": ["r0", "r1", "r1"], "item": ["a", "a", "b"], "clicks": [1, 2, 4]}
OUTCOMES = Outcomes("outcomes.csv", pl.DataFrame(ROWS))


def table(propensity, **more):
    rows = {"request": [f"r{n}" for n in range(300)], "propensity": np.full(300, propensity)}
    return Outcomes("policy.csv", pl.DataFrame(rows | more))


def test_lists_have_the_product_of_their_places_and_firsts_the_first(slates):
    whole = join_answers(Policy(table(0.125)), slates, OUTCOMES, CLICKS)
    assert whole.logged == pytest.approx(np.full(300, 0.125)) and whole.reward[:3].tolist() == [1, 6, 0]
    first = join_answers(Policy(table(0.5), "first"), slates, OUTCOMES, CLICKS)
    assert first.logged == pytest.approx(np.full(300, 0.5)) and first.reward[:3].tolist() == [1, 2, 0]


def test_the_logs_own_policy_earns_what_it_earned(slates):
    found = judge_policy(Policy(table(0.125)), slates, OUTCOMES, CLICKS, 0.05)
    assert found.estimates["IPS"].value == pytest.approx(7 / 300) and found.overlap.answers == 300
    guessed = table(0.125, predicted=np.zeros(300), predicted_policy=np.zeros(300))
    assert judge_policy(Policy(guessed), slates, OUTCOMES, CLICKS, 0.05).estimates["DR"].value == pytest.approx(7 / 300)
    assert judge_policy(None, slates, OUTCOMES, CLICKS, 0.05) is None


def test_a_refusal_is_a_sentence_of_the_report(slates):
    assert "the weights have mean 0.080" in judge_policy(Policy(table(0.01)), slates, OUTCOMES, CLICKS, 0.05)


def test_tables_that_do_not_fit_are_refused(slates):
    strangers = Outcomes("policy.csv", pl.DataFrame({"request": ["x"], "propensity": [0.5]}))
    some = Outcomes("policy.csv", table(0.1).frame.head(299))
    for policy, message in (
        (some, r"lacks 1 of 300 sampled answers \(request r299\)"),
        (strangers, r"has no request that was sampled \(300 logged answers"),
        (table(1.5), "request r0 has propensity 1.5, which is outside 0..1"),
        (table(0.5, predicted=np.zeros(300)), "has predicted alone; predicted and predicted_policy go together"),
        (Outcomes("policy.csv", pl.DataFrame({"request": ["r0"], "propensty": [0.5]})), "did you mean 'propensty'"),
    ):
        with pytest.raises(ArtifactError, match=message):
            judge_policy(Policy(policy), slates, OUTCOMES, CLICKS, 0.05)
