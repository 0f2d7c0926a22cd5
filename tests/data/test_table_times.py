"""Times in any form are seconds, and one form it is."""

from datetime import UTC, datetime

import polars as pl
import pytest

from genrec.data.table_times import read_times
from genrec.errors import ArtifactError

NOON = datetime(2020, 1, 31, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())
DAY = int(datetime(2020, 1, 31, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    "value, seconds, form",
    [
        (SECONDS, SECONDS, "seconds"),
        (str(SECONDS), SECONDS, "seconds"),
        (f"{SECONDS}.0", SECONDS, "seconds"),
        (SECONDS + 0.5, SECONDS, "seconds"),
        (SECONDS * 1000, SECONDS, "milliseconds"),
        (f"{SECONDS}999", SECONDS, "milliseconds"),
        (SECONDS * 10**6, SECONDS, "microseconds"),
        (SECONDS * 10**9, SECONDS, "nanoseconds"),
        ("2020-01-31", DAY, "times without a zone"),
        ("2020/01/31", DAY, "times without a zone"),
        ("20200131", DAY, "days as numbers"),
        ("2020-01-31T12:00:00", SECONDS, "times without a zone"),
        ("2020-01-31 12:00", SECONDS, "times without a zone"),
        ("2020-01-31 12:00:00.25", SECONDS, "times without a zone"),
        ("2020-01-31T12:00:00Z", SECONDS, "times with a zone"),
        ("2020-01-31 12:00:00 UTC", SECONDS, "times with a zone"),
        ("2020-01-31T14:00:00+02:00", SECONDS, "times with a zone"),
        ("2020-01-31T14:00:00+02", SECONDS, "times with a zone"),
        ("2020-01-31T07:30:00-0430", SECONDS, "times with a zone"),
        (NOON.replace(tzinfo=None), SECONDS, "times without a zone"),
        (NOON, SECONDS, "times with a zone"),
        (NOON.date(), DAY, "times without a zone"),
        (3, 3, "order numbers"),
        ("0", 0, "order numbers"),
    ],
)
def test_each_form_is_recognised_and_said(value, seconds, form):
    times = read_times(pl.Series([value, value]), "column 'when'", 0.01)
    assert (times.seconds.to_list(), times.form) == ([seconds, seconds], form)
    assert times.is_order == (form == "order numbers")


def test_mixed_forms_are_refused_with_their_counts():
    values = pl.Series([str(SECONDS)] * 9 + [str(SECONDS * 1000)])
    with pytest.raises(ArtifactError, match="column 'when' mixes forms of time: 9 seconds, 1 milliseconds"):
        read_times(values, "column 'when'", 0.01)
    with pytest.raises(ArtifactError, match="2 times without a zone, 1 times with a zone"):
        read_times(pl.Series(["2020-01-31", "2020-01-31", "2020-01-31T12:00:00Z"]), "column 'when'", 0.01)


def test_a_few_of_another_form_are_bad_values():
    times = read_times(pl.Series([str(SECONDS)] * 99 + ["7"]), "column 'when'", 0.01)
    assert times.form == "seconds" and times.seconds.null_count() == 1 and times.seconds[99] is None


def test_what_is_finer_than_a_second_is_kept_for_the_order():
    times = read_times(pl.Series([SECONDS * 1000 + 7, SECONDS * 1000 + 3]), "column 'when'", 0.01)
    assert times.fine is not None and times.fine.arg_sort().to_list() == [1, 0]
    assert read_times(pl.Series([SECONDS * 1000]), "column 'when'", 0.01).fine is None


@pytest.mark.parametrize("values", [["soon", "later"], [True, False], [-5, -6], [5e15 + 0.0, 7e10]])
def test_a_column_without_times_is_refused(values):
    with pytest.raises(ArtifactError, match="column 'when' (holds no time|mixes forms)"):
        read_times(pl.Series(values), "column 'when'", 0.01)
