"""A line of a file means the same whatever stands in the other lines, and by whichever way it is read."""

import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec.data import amazon, ndjson

EDITION = amazon.EDITIONS["amazon18"]
ROW = {"reviewerID": "U1", "asin": "I1", "unixReviewTime": 1_400_000_000, "overall": 5.0}
RECORD = {"asin": "I1", "title": "T", "description": ["d"], "brand": "B", "category": ["c"]}

texts = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.one_of(
    st.integers(-(10**40), 10**40),
    st.integers(-9, 9),
    st.floats(allow_nan=True),
    st.floats(-1000, 1000, width=16),
    st.sampled_from([1_400_000_000, 1_400_000_000.0, 1.4e9, 59.0, -0.0, 1e17, 1e18, 1e22]),
)
looks_like_another = st.sampled_from(
    '5|-0|007|1.50|1e5|true|false|null|[]|{}|[1]|{"a": 1}|1_0|\x00|a\x00| 5 |\u2028|\x85|\ufeff|\u0665'.split("|")
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts, looks_like_another, st.just("1400000000"))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2))


def spell(pairs: list[tuple[str, object]], escape: bool) -> bytes:
    """An object, in which a key may repeat, as a line."""
    parts = (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=escape)}" for key, value in pairs)
    return ("{" + ", ".join(parts) + "}").encode()


def spelled(row: dict) -> st.SearchStrategy[bytes]:
    """Records near `row`: fields of any kind, missing, repeated, beside others, in any order."""
    fields = st.sampled_from([*row, "other"])
    usual = st.sampled_from(list(row.items()))
    pairs = st.lists(st.one_of(usual, st.tuples(fields, values)), max_size=3)
    orders = pairs.flatmap(lambda changed: st.permutations([*changed, *row.items()]))
    return st.builds(spell, orders, st.booleans())


strange = st.sampled_from(
    [
        b"", b" ", b"\t\r", b"\x0b", b"{", b"null", b"[1, 2]", b"5", b'"x"', b"{}", b"hello", b'{"a": 1}{"a": 2}',
        b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"asin": "\\ud800"}', b'{"reviewerID": "U", "asin": "\\ud83dA"}',
        b"{'a': 1}",
        b'{"other": ' + b"[" * 1_010 + b"]" * 1_010 + b"}", b'{"other": ' + b"[" * 9_000 + b"]" * 9_000 + b"}",
        b'{"other": 1e400}', b'{"other": NaN}', b'{"other": "\x01"}', b'{"other": "\xe9"}', b'{"other": 01}',
        b'{"asin": "\xed\xa0\x80"}', b'{"other": "\\u00"}', b'{"other": 1} trailing', b'{"other": 1},',
    ]
)  # fmt: skip
lines_of = {
    "reviews": st.one_of(spelled(ROW), st.just(spell(list(ROW.items()), True)), strange),
    "items": st.one_of(spelled(RECORD), st.just(spell(list(RECORD.items()), True)), strange),
}
SHORT = settings(
    database=None, max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def meaning(parse, line: bytes) -> dict | str | None:
    """What a line says by itself; None of a blank one."""
    if not line or line.isspace():
        return None
    with ndjson.deep_nesting():
        return ndjson.parse_line(line, parse)


def expected(parse, lines: list[bytes], schema) -> tuple[list[tuple], dict[str, list[int]]]:
    """The rows and the numbers of the bad lines by reason, from each line alone."""
    rows, bad = [], {}
    for number, line in enumerate(lines, start=1):
        said = meaning(parse, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        if isinstance(said, str):
            bad.setdefault(said, []).append(number)
        elif said is not None:
            rows.append(said)
    return pl.DataFrame(rows, schema=schema, orient="row").rows(), bad


@contextmanager
def written(lines: list[bytes], packed: bool) -> Iterator[Path]:
    """A file of these lines, whose name is a pattern."""
    content = b"\n".join(lines)
    with tempfile.TemporaryDirectory(prefix="a [b] ") as directory:
        path = Path(directory) / "x?*.json"
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
        yield path


@SHORT
@given(st.lists(lines_of["reviews"], max_size=5), st.booleans())
def test_reviews_mean_the_same_in_any_company(lines, packed):
    with written(lines, packed) as path:
        events, ledger = amazon.read_reviews(path, EDITION, 1.0)
    rows, bad = expected(partial(amazon.parse_review, edition=EDITION), lines, schema=list(ROW))
    rows = [(row[0], row[1], int(row[2])) for row in rows]
    users, items = (ids.gather(codes) for ids, codes in ((events.user_id, events.user), (events.item_id, events.item)))
    assert list(zip(users, items, events.time.tolist(), strict=True)) == rows
    assert ledger.first_lines == bad and ledger.kept == len(rows)
    assert ledger.read == len(rows) + sum(map(len, bad.values()))


@SHORT
@given(st.lists(lines_of["items"], max_size=5), st.booleans())
def test_items_mean_the_same_in_any_company(lines, packed):
    strings = pl.List(pl.String)
    schema = {"asin": pl.String, "title": pl.String, "description": strings, "brand": pl.String, "category": strings}
    parse = partial(amazon.parse_item, edition=EDITION)
    with written(lines, packed) as path:
        frame, ledger = ndjson.read_ndjson(path, schema, amazon.sound_items(EDITION), parse, "items")
    rows, bad = expected(parse, lines, schema)
    read = frame.with_columns(pl.col("description", "category").fill_null([])).rows()
    assert read == rows and ledger.first_lines == bad


@SHORT
@given(st.randoms(use_true_random=False), strange)
def test_lines_in_any_order_with_any_bad_line_are_the_same_rows(random, bad):
    lines = [spell(list({**ROW, "reviewerID": user}.items()), True) for user in ("U1", 59.0, "007", 5, "true", None)]
    random.shuffle(lines)
    with written([*lines, bad], False) as path:
        events, ledger = amazon.read_reviews(path, EDITION, 1.0)
    assert sorted(events.user_id.gather(events.user)) == ["007", "5", "59", "U1", "true"]
    assert ledger.dropped["without reviewerID"] >= 1
