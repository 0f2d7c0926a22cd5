"""Bad cases whose class is known get that class."""

from dataclasses import replace

import numpy as np
import pytest

from genrec.diagnosis.causes import CAUSES, Cases, number_categories
from genrec.diagnosis.lift import diagnose_cases
from genrec.evaluation.metrics import Recommendations
from tests.diagnosis.small_cases import (
    CODES,
    HIT,
    KINDS,
    make_cases,
    make_catalog,
    report_of,
)


def causes_of(all_cases: Cases) -> set[str]:
    found = diagnose_cases(all_cases, seed=0)
    return {name for name, finding in found.items() if finding is not None and finding.rows[0]}


@pytest.mark.parametrize("name", KINDS)
def test_a_case_of_known_class_gets_that_class(name):
    row, expected = KINDS[name]
    assert causes_of(make_cases(row, HIT)) == expected


def test_an_item_that_shares_its_sid_is_a_collision_and_right_at_every_level():
    codes = CODES.copy()
    codes[6] = codes[7]
    assert causes_of(make_cases(([4, 5, 6], 7, [6, 5]), HIT, codes=codes)) == {"sid_collision"}


def test_a_fourth_level_is_wrong_deeper():
    codes = np.concatenate([CODES // 2 * 0, CODES], axis=1)
    assert "wrong_deeper" in causes_of(make_cases(([4, 5, 6], 7, [6, 5]), HIT, codes=codes))


def test_beam_loss_needs_an_exact_ranking_and_is_not_measured_without_one():
    row = ([4, 5, 6], 7, [6, 5])
    assert diagnose_cases(make_cases(row, HIT), 0)["beam_loss"] is None
    exact = Recommendations(np.array([[6, 7, 5, 4], [7, 6, 5, 4]]), np.zeros((2, 4), np.float32))
    all_cases = make_cases(row, HIT, exact=exact)
    assert diagnose_cases(all_cases, 0)["beam_loss"].rows.tolist() == [True, False]
    report = report_of(make_cases(row, HIT))
    assert report["failure_patterns"]["beam_loss"]["finding"] == "not measured"
    assert "count" not in report["failure_patterns"]["beam_loss"]


def test_what_the_run_does_not_know_is_not_measured_and_never_zero():
    found = diagnose_cases(make_cases(KINDS["near miss"][0], HIT, category=None, codes=None), 0)
    unmeasured = {name for name, finding in found.items() if finding is None}
    assert unmeasured == {name for name, cause in CAUSES.items() if cause.needs not in ("", "just_below")}
    assert (
        diagnose_cases(make_cases(KINDS["near miss"][0], HIT, category=None), 0)["recent_preference_ignored"]
        is not None
    )


def test_categories_are_numbered_at_the_level_that_tells_items_apart_and_the_unknown_is_minus_one():
    paths = np.array(["Shop,Tools", "Shop", "Shop,Toys", "Shop,Tools"], dtype=object)
    catalog = replace(make_catalog(), categories=paths)
    assert number_categories(catalog).tolist() == [0, -1, 1, 0]
    assert number_categories(replace(catalog, categories=np.array(["Shop"] * 4, dtype=object))) is None
