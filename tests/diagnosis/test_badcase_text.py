"""Sentences and cells of the report, worked by hand."""

from genrec.diagnosis.badcase_text import describe_report, format_interval, format_lift, sort_by_weight
from tests.diagnosis.small_cases import HIT, KINDS, make_cases, report_of


def pattern(finding: str, share: float, excess: float | None = None, hits: float | None = 0.1) -> dict:
    content = {"finding": finding, "count": 4, "share": {"mean": share}, "why": "unknown"}
    if excess is None:
        return content
    lift = {"mean": 2.0, "low": 1.5, "high": None if hits == 0 else 2.5}
    return content | {"share_among_hits": {"mean": hits}, "excess": {"mean": excess}, "lift": lift}


def test_causes_come_first_by_excess_then_descriptions_then_the_rest_and_the_unmeasured():
    patterns = {
        "unmeasured": {"finding": "not measured", "why": "unknown"},
        "no difference": pattern("no difference shown", 0.9, 0.0),
        "description": pattern("describes the miss", 0.7),
        "small cause": pattern("more often among misses", 0.5, 0.1),
        "large cause": pattern("more often among misses", 0.3, 0.2),
    }
    order = ["large cause", "small cause", "description", "no difference", "unmeasured"]
    assert [name for name, _ in sort_by_weight(patterns)] == order


def test_a_lift_is_a_number_with_its_interval_or_says_why_there_is_none():
    assert format_lift(pattern("more often among misses", 0.4, 0.2)) == "2.00x  [1.50, 2.50]"
    assert format_lift(pattern("more often among misses", 0.4, 0.4, hits=0.0)) == "no hit has it"
    assert format_lift(pattern("describes the miss", 0.4)) == "-"
    assert format_lift(pattern("nothing to compare with", 0.4, None)) == "-"


def test_an_interval_of_no_rows_is_a_dash():
    assert format_interval({"mean": None, "low": None, "high": None}, "{:.1%}") == "-"
    assert format_interval({"mean": 0.5, "low": 0.25, "high": 0.75}, "{:.0%}") == "50%  [25%, 75%]"


def test_the_summary_says_how_many_of_how_many():
    text = " ".join(describe_report(report_of(make_cases(KINDS["near miss"][0], HIT))).split())
    assert text.startswith("sft on test: the truth is missing from the first 2 in 1 of 2 rows, failure rate 50.0%")
    assert "Semantic IDs: 1 collisions (1 before they were resolved)" in text and "30% of nearest neighbours" in text
