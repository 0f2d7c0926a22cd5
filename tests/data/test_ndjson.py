import gzip
import json

import polars as pl
import pytest

from genrec.config import Data
from genrec.data import amazon, ndjson
from genrec.errors import ArtifactError
from tests.data.raw import review, write_lines

EDITION = amazon.EDITIONS["amazon18"]
GOOD = [review(f"U{n % 7}", f"I{n % 3}", 1_400_000_000 + n) for n in range(300)]


def read(path, max_bad_share=1.0):
    return amazon.read_reviews(path, EDITION, max_bad_share)


def rows(events):
    return list(zip(events.user_id.gather(events.user), events.item_id.gather(events.item), events.time, strict=True))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"reviewerID": "U1", "asin": "I', "not valid JSON"),
        ("hello", "not valid JSON"),
        ('{"a": 1}{"a": 2}', "not valid JSON"),
        ("[1, 2]", "not a JSON object"),
        ("null", "not a JSON object"),
        ({"asin": "I1", "unixReviewTime": 1}, "without reviewerID"),
        ({"reviewerID": "", "asin": "I1", "unixReviewTime": 1}, "without reviewerID"),
        ({"reviewerID": "U1", "asin": ["I1"], "unixReviewTime": "no"}, "without asin"),
        ({"reviewerID": "U1", "asin": "I1"}, "without unixReviewTime"),
        ({"reviewerID": "U1", "asin": "I1", "unixReviewTime": "soon"}, "with a bad unixReviewTime"),
        ({"reviewerID": "U1", "asin": "I1", "unixReviewTime": True}, "with a bad unixReviewTime"),
        ({"reviewerID": "U1", "asin": "I1", "unixReviewTime": -5}, "with a bad unixReviewTime"),
        ({"reviewerID": "U1", "asin": "I1", "unixReviewTime": 1_400_000_000_000}, "with a bad unixReviewTime"),
        ({"reviewerID": "U1", "asin": "I1", "unixReviewTime": 5, "overall": "good"}, "with a bad overall"),
    ],
)
def test_a_bad_line_is_counted_with_its_number_and_the_others_stay(tmp_path, bad, reason):
    path = write_lines(tmp_path / "r.json", [*GOOD[:100], bad, "", *GOOD[100:], bad])
    events, ledger = read(path)
    assert (ledger.read, ledger.kept, ledger.dropped) == (302, 300, {reason: 2})
    assert ledger.first_lines == {reason: [101, 303]}  # the blank line has a number, but is no row
    assert rows(events) == [(r["reviewerID"], r["asin"], r["unixReviewTime"]) for r in GOOD]


def test_both_paths_read_the_same(tmp_path):
    path = write_lines(tmp_path / "r.json.gz", GOOD)
    schema = {"reviewerID": pl.String, "asin": pl.String, "unixReviewTime": pl.Int64, "overall": pl.Float64}

    def parse(record):
        return amazon.parse_review(record, EDITION)

    fast, _ = ndjson.read_ndjson(path, schema, pl.lit(True), parse, "reviews")
    slow, _ = ndjson.read_line_by_line(path, schema, parse, "reviews")
    assert fast.equals(slow) and len(fast) == len(GOOD)


def test_bytes_that_are_not_text_are_one_bad_line(tmp_path):
    path = tmp_path / "r.json"
    good = json.dumps(GOOD[0]).encode()
    path.write_bytes(good + b'\n{"reviewerID": "\xff\xfe", "asin": "I", "unixReviewTime": 1}\n' + good)
    _, ledger = read(path)
    assert (ledger.kept, ledger.dropped) == (2, {"not valid JSON": 1})


def test_numbers_in_quotes_count_as_numbers(tmp_path):
    path = write_lines(tmp_path / "r.json", [{**GOOD[0], "unixReviewTime": "1400000000", "overall": "4.0"}])
    events, ledger = read(path)
    assert (events.time.tolist(), events.rating.tolist(), ledger.dropped) == ([1_400_000_000], [4.0], {})


def test_more_bad_lines_than_allowed_stop_the_stage(tmp_path):
    path = write_lines(tmp_path / "r.json", [*GOOD[:97], "x", "x", "x"])
    read(path, max_bad_share=0.03)
    with pytest.raises(ArtifactError, match=r"3 of 100 lines \(3.0%\).*line 98, 99, 100.*max_bad_share"):
        read(path, max_bad_share=0.02)


@pytest.mark.parametrize("cut", [4, 9, 300])
def test_a_truncated_gzip_is_one_clear_error(tmp_path, cut):
    whole = gzip.compress("".join(json.dumps(r) + "\n" for r in GOOD).encode())
    path = tmp_path / "r.json.gz"
    path.write_bytes(whole[:-cut])
    with pytest.raises(ArtifactError, match="damaged or cut short"):
        read(path)
    with pytest.raises(ArtifactError, match="damaged or cut short"):
        list(ndjson.number_lines(path))


def test_an_empty_file_has_no_rows(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(b"")
    events, ledger = read(path, Data().max_bad_share)
    assert len(events) == 0 and ledger.read == 0
