"""Pictures of bad cases: what can be checked without eyes."""

import pytest

from genrec.diagnosis.badcase_report import (
    summarize_sid_quality,
)
from genrec.diagnosis.plots import BADCASE_PLOTS, escape_label, is_hit_group
from tests.diagnosis.small_cases import HIT, make_cases, make_many, report_of


def test_every_picture_is_drawn_where_nothing_is_known(tmp_path):
    report = report_of(make_cases(HIT, HIT, category=None, codes=None)) | {"sid_quality": summarize_sid_quality(None)}
    for name, plot in BADCASE_PLOTS.items():
        plot(report, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name


def test_the_same_report_is_the_same_picture(tmp_path):
    report = report_of(make_many(0.6, 0.4, num_rows=40))
    for name, plot in BADCASE_PLOTS.items():
        plot(report, tmp_path / "one.png")
        plot(report, tmp_path / "two.png")
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes(), name


@pytest.mark.parametrize(
    ("group", "top_k", "inside"), [("6-10", 10, True), ("11-20", 10, False), ("1", 1, True), ("not listed", 50, False)]
)
def test_a_group_of_ranks_is_a_hit_when_its_last_rank_is_inside(group, top_k, inside):
    assert is_hit_group(group, top_k) == inside


def test_a_shop_s_own_words_are_no_formula():
    assert escape_label("under $5 & $_{x") == r"under \$5 & \$_{x" and len(escape_label("x" * 99)) == 40
