"""`genrec plan`: a table for a size, and what is asked wrongly in one line."""

import pytest

from genrec.stages import plan


def test_a_size_is_answered_by_a_table(capsys):
    plan.main(["--users", "1e8", "--items", "1e7", "--events", "1e9", "--model_parameters", "7e9", "--rates"])
    said = capsys.readouterr().out
    for words in ("needs 77 GiB", "machines of 16 cores and 64 GiB", "CPU s a text", "another size that was run"):
        assert words in said


def test_the_size_of_shards_is_said_where_workers_are(capsys):
    plan.main(["--events", "1e7", "--workers", "8"])
    said = capsys.readouterr().out
    assert "data.shard_size" in said and "preparation by 8 workers, 10 simulated turns, 5% of them 3 times" in said
    assert said.rstrip().endswith("--data.shard_size 256")
    plan.main(["--events", "1e7"])
    assert "simulated" not in capsys.readouterr().out


ABOVE = "users: a number must be at most 1e+15"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--users", "0"], "users"),
        (["--hours", ".nan"], "hours"),
        (["--users", "1e17"], ABOVE),
        (["--slow", "0.5"], "--slow 0.5 would do nothing with --workers 0, which simulates nothing; add --workers 8"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(capsys, words, said):
    with pytest.raises(SystemExit):
        plan.main(words)
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
