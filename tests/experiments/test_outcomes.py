"""Log and outcomes become one row a user; what cannot be read is named in one line."""

import polars as pl
import pytest

from genrec.errors import ArtifactError, ConfigError
from genrec.experiments.assignment import hash_user
from genrec.experiments.log import read_slates
from genrec.experiments.outcomes import (
    Metric,
    Outcomes,
    add_before,
    add_outcomes,
    describe_users,
    parse_metric,
    read_outcomes,
)
from tests.experiments.logs import answer, write_log

SLATES = [
    answer(0, "u0", "sft"),
    answer(1, "u1", "rl"),
    answer(2, "u0", "sft"),
    answer(3, "u2", "rl", items=["a"], scores=[1]),
]


@pytest.fixture
def users(tmp_path):
    return describe_users(read_slates(write_log(tmp_path, SLATES)).frame)


def table(**columns):
    return Outcomes("outcomes.csv", pl.DataFrame(columns))


def test_a_user_is_one_row_of_sums(users):
    frame = add_outcomes(users, table(user=["u0", "u0", "u2"], clicks=[1.0, 2.0, 4.5]), ["clicks"]).frame
    assert frame.select("user", "arm", "requests", "shown", "clicks").rows() == [
        ("u0", "sft", 2.0, 6.0, 3.0),
        ("u1", "rl", 1.0, 3.0, 0.0),
        ("u2", "rl", 1.0, 1.0, 4.5),
    ]


def test_rows_of_strangers_and_from_before_are_counted_and_left_out(users):
    rows = table(user=["u0", "u0", "u9"], clicks=[1, 2, 3], time=[999.0, 1000.0, 2000.0])
    found = add_outcomes(users, rows, ["clicks"])
    assert found.frame["clicks"].to_list() == [2.0, 0.0, 0.0]
    assert found.notes == [
        "1 rows of outcomes.csv are of users who were shown nothing",
        "1 rows of outcomes.csv are older than their user's first answer",
    ]
    times = pl.from_epoch(pl.Series([999, 1000]), time_unit="s")
    found = add_outcomes(users, table(user=["u0", "u0"], clicks=[1, 2], time=times), ["clicks"])
    assert found.frame["clicks"].to_list() == [2.0, 0.0, 0.0]


def test_outcomes_of_nobody_in_the_log_are_refused(users):
    with pytest.raises(
        ArtifactError, match=r"none of the 1 users of outcomes.csv was shown anything .*'u0'.*'x'.*--user_key"
    ):
        add_outcomes(users, table(user=["x"], clicks=[1]), ["clicks"])
    with pytest.raises(ArtifactError, match="none of the users of outcomes.csv is in the log"):
        add_before(users, table(user=["x"], clicks=[1]), ["clicks"])


def test_a_column_that_is_missing_is_named_with_the_nearest(users):
    with pytest.raises(ArtifactError, match=r"no column 'click'; did you mean 'clicks'\? \(it has user, clicks\)"):
        add_outcomes(users, table(user=["u0"], clicks=[1]), ["click"])


@pytest.mark.parametrize("value", ["abc", "", "nan", "inf", None])
def test_what_is_no_finite_number_is_named_by_its_row(users, value):
    with pytest.raises(ArtifactError, match="row 2 has clicks .*, where a finite number is needed"):
        add_outcomes(users, table(user=["u0", "u1"], clicks=["1", value]), ["clicks"])


def test_users_in_several_arms_are_left_out_or_too_many(tmp_path):
    slates = [answer(number, f"u{number}", "sft") for number in range(200)] + [answer(200, "u0", "rl")]
    found = describe_users(read_slates(write_log(tmp_path / "few", slates)).frame)
    assert len(found.frame) == 199 and found.notes == ["1 users were in several arms and are left out"]
    slates += [answer(201 + number, f"u{number}", "rl") for number in range(5)]
    with pytest.raises(ArtifactError, match="5 of 200 users are in several arms, more than 1%"):
        describe_users(read_slates(write_log(tmp_path / "many", slates)).frame)


def test_ids_stay_texts_and_are_hashed_as_in_the_log(tmp_path):
    path = tmp_path / "outcomes.csv"
    path.write_text("user,clicks\n007,1\n")
    assert read_outcomes(path).frame["user"].to_list() == ["007"]
    assert read_outcomes(path, "key").frame["user"].to_list() == [hash_user("007", "key")]
    path.with_suffix(".jsonl").write_text('{"user": 7, "clicks": 2}\n')
    assert read_outcomes(path.with_suffix(".jsonl")).frame["user"].to_list() == ["7"]


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="ends in none of .csv"):
        read_outcomes(tmp_path / "outcomes.xlsx")
    with pytest.raises(ArtifactError, match="cannot be read: No such file"):
        read_outcomes(tmp_path / "outcomes.csv")
    (tmp_path / "outcomes.parquet").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="outcomes.parquet cannot be read"):
        read_outcomes(tmp_path / "outcomes.parquet")
    (tmp_path / "outcomes.csv").write_text("customer,clicks\n1,2\n")
    with pytest.raises(ArtifactError, match="has no column 'user'.*it has customer, clicks"):
        read_outcomes(tmp_path / "outcomes.csv")


def test_metrics_are_columns_or_ratios():
    assert parse_metric("clicks") == Metric("clicks") and str(parse_metric("clicks/shown")) == "clicks/shown"
    for wrong in ("a/b/c", "/b", "a/"):
        with pytest.raises(ConfigError, match="a metric is a column, or a ratio"):
            parse_metric(wrong)
