"""Harm is excluded by an interval, or it is not."""

import pytest

from genrec.errors import ConfigError
from genrec.experiments.statistics.differences import Sample, compare_samples
from genrec.experiments.statistics.guardrails import Guardrail, judge_guardrail, parse_guardrail


def change(relative, users=10**6):
    return compare_samples(Sample(users, 10.0, 100.0), Sample(users, 10.0 * (1 + relative), 100.0), alpha=0.1)


def test_both_directions_are_read():
    assert parse_guardrail("revenue:-2%") == Guardrail("revenue", -1, 0.02)
    assert parse_guardrail("returns/orders:+.5%") == Guardrail("returns/orders", 1, 0.005)
    assert str(parse_guardrail("revenue:-2%")) == "revenue:-2%"
    for wrong in ("revenue", "revenue:2%", "revenue:-2", "revenue:-0%", ":-2%", "revenue:-200%"):
        with pytest.raises(ConfigError, match="a guardrail is METRIC:-2%"):
            parse_guardrail(wrong)


@pytest.mark.parametrize(
    "text, relative, verdict",
    [
        ("m:-2%", 0.0, "holds"),
        ("m:-2%", 0.05, "holds"),  # better is no harm
        ("m:-2%", -0.01, "holds"),
        ("m:-2%", -0.02, "not shown"),
        ("m:-2%", -0.05, "violated"),
        ("m:+2%", 0.05, "violated"),
        ("m:+2%", -0.05, "holds"),
    ],
)
def test_a_guardrail_is_judged_by_the_whole_interval(text, relative, verdict):
    assert judge_guardrail(parse_guardrail(text), change(relative)) == verdict


def test_few_users_show_nothing():
    assert judge_guardrail(parse_guardrail("m:-2%"), change(0.0, users=100)) == "not shown"
