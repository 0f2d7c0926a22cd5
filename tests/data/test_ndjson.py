import gzip
import json
import zlib
from pathlib import Path

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


def gzip_of(records):
    return gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode())


@pytest.mark.parametrize(
    "content",
    [
        gzip_of(GOOD) + b"\x00" * 512,  # as tapes and block devices leave it; `gzip -t` passes
        gzip_of(GOOD[:100]) + gzip_of(GOOD[100:]),
        gzip_of(GOOD[:100]) + b"\x00" * 8 + gzip_of(GOOD[100:]),
    ],
)
def test_what_gzip_takes_is_taken(tmp_path, content):
    path = tmp_path / "r.json.gz"
    path.write_bytes(content)
    events, ledger = read(path, 0.0)
    assert len(events) == 300 and ledger.dropped == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip_of(GOOD) + b"rubbish", "damaged or cut short"),
        (gzip_of(GOOD)[:-8] + b"abcdefgh", "damaged or cut short"),
        (b"\x1f\x8b", "damaged or cut short"),
        (zlib.compress(json.dumps(GOOD[0]).encode()), "lines .* cannot be used"),
        (b"\x28\xb5\x2f\xfd rubbish", "damaged or cut short"),
        (b"\x00" * 100, "1 of 1 lines .* cannot be used"),
        (json.dumps(GOOD[0]).encode("utf-16"), "1 of 1 lines .* cannot be used"),
        (json.dumps(GOOD, indent=1).encode(), "lines .* cannot be used"),
        (json.dumps(GOOD).encode(), "1 of 1 lines .*not a JSON object"),
    ],
)
def test_what_is_no_file_of_json_lines_is_one_clear_error(tmp_path, content, said):
    path = tmp_path / "r.json.gz"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=said) as failure:
        read(path, 0.01)
    assert str(path) in str(failure.value) and "\n" not in str(failure.value)


def test_a_file_that_is_none_is_one_clear_error(tmp_path):
    (tmp_path / "shop_5.json").mkdir()
    with pytest.raises(ArtifactError, match="r.json cannot be read: No such file"):
        read(tmp_path / "r.json")
    with pytest.raises(ArtifactError, match="shop_5.json cannot be read: Is a directory"):
        read(tmp_path / "shop_5.json")
    with pytest.raises(ArtifactError, match="shop_5.json must be a file of JSON lines, and is a folder"):
        amazon.find_raw_files(Data(dataset="shop", raw_dir=tmp_path), EDITION)


@pytest.mark.parametrize("name", ["shop [ab]", "shop *", "shop ?", "shop {a,b}", "~", "%41", "s3:", "a\\b"])
def test_a_name_is_no_pattern(tmp_path, monkeypatch, name):
    for folder, rows in (("shop a", GOOD[:7]), ("shop b", GOOD[:8]), (name, GOOD[:5])):
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder / "r [1].json", rows)
    write_lines(tmp_path / name / "r 1.json", GOOD[:6])
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name / "r [1].json", Path(name) / "r [1].json"):
        assert len(read(path)[0]) == 5


def test_a_byte_order_mark_opens_the_file_and_no_other_line(tmp_path):
    path, line = tmp_path / "r.json", json.dumps(GOOD[0]).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\xef\xbb\xbf" + line + b"\r\n" + line)
    _, ledger = read(path)
    assert (ledger.kept, ledger.first_lines) == (2, {"not valid JSON": [2]})


def test_a_line_separator_within_a_string_ends_no_line(tmp_path):
    path = tmp_path / "r.json"
    line = json.dumps({**GOOD[0], "reviewerID": "a\u2028b\x85c"}, ensure_ascii=False)
    for bad in ("", "{\n"):
        path.write_text(f"{line}\n{bad}{line}\n", encoding="utf-8")
        assert rows(read(path)[0]) == [("a\u2028b\x85c", "I0", 1_400_000_000)] * 2


BOTH_WAYS = [[], ['{"broken'], [{"reviewerID": None}]]  # polars refuses the file of the second, not that of the third


@pytest.mark.parametrize("bad", BOTH_WAYS)
@pytest.mark.parametrize(
    ("user", "read_as"),
    [
        (5, "5"), (59.0, "59"), (1.5, "1.5"), (-0.0, "-0"), (1e22, "10000000000000000000000"), (1e-7, "0.0000001"),
        (123456789012345678901234567890, "123456789012345678901234567890"), ("007", "007"), ("1.50", "1.50"),
        ("true", "true"), ("[]", "[]"), ("null", "null"), (" ", " "),
        (True, None), ([5], None), ({"a": 1}, None), (None, None), ("", None), ("\x00", None), ("a\ud800", None),
    ],
)  # fmt: skip
def test_an_identifier_is_read_alike_on_both_ways(tmp_path, bad, user, read_as):
    events, ledger = read(write_lines(tmp_path / "r.json", [GOOD[1], {**GOOD[0], "reviewerID": user}, *bad]))
    assert rows(events)[1:] == ([(read_as, "I0", 1_400_000_000)] if read_as else [])
    assert sum(ledger.dropped.values()) == len(bad) + (read_as is None)


@pytest.mark.parametrize("bad", BOTH_WAYS)
def test_of_a_key_that_repeats_the_first_counts_on_both_ways(tmp_path, bad):
    many = ", ".join(f'"k{n}": {n}' for n in range(50))
    line = f'{{"reviewerID": "a", "asin": "b", "unixReviewTime": 5, {many}, "asin": "c", "unixReviewTime": "x"}}'
    assert rows(read(write_lines(tmp_path / "r.json", [line, *bad]))[0]) == [("a", "b", 5)]
