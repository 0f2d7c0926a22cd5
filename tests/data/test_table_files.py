"""Tables in every form that they come in hold the same rows."""

import gzip
import json
from pathlib import Path

import polars as pl
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrec.data.ledger import Ledger
from genrec.data.table_files import find_raw_files, open_table, read_records, scan_delimited
from genrec.errors import ArtifactError

ROWS = [("u1", "i1", "5", 'a "quoted", text'), ("u2", "i2", "6", "two\nlines"), ("ü", "i3", "7", "")]
NAMES = ("user_id", "item_id", "time", "note")
FRAME = pl.DataFrame(ROWS, schema=NAMES, orient="row")


def read(location: str | Path, columns=NAMES, role: str = "events") -> tuple[list[tuple], Ledger]:
    ledger = Ledger("events")
    rows = open_table(str(location), role).read(list(columns), ledger)
    assert len(rows.frame) == ledger.kept
    return rows.frame.cast(pl.String).rows(), ledger


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def pack(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


CSV = FRAME.write_csv().encode()
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in FRAME.to_dicts()).encode()
FORMS = {
    "a.csv": CSV,
    "b.csv": b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n").replace(b"two\r\nlines", b"two\nlines"),
    "c.csv": FRAME.write_csv(separator=";").encode(),
    "d.csv.gz": gzip.compress(CSV),
    "e.csv.zst": pack(CSV),
    "f.tsv": FRAME.write_csv(separator="\t").encode(),
    "g.jsonl": JSONL,
    "h.jsonl.gz": gzip.compress(JSONL),
    "i.jsonl.zst": pack(JSONL),
    "[j].csv": CSV,
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_text_holds_the_same_rows(tmp_path, name):
    rows, ledger = read(write(tmp_path / name, FORMS[name]))
    assert rows == [(*row[:3], row[3] or None) for row in ROWS] and ledger.dropped == {}


def test_parquet_and_what_datasets_saved_hold_the_same_rows(tmp_path):
    from datasets import Dataset, DatasetDict

    FRAME.write_parquet(tmp_path / "a.parquet")
    data = Dataset.from_dict(FRAME.to_dict(as_series=False))
    data.save_to_disk(str(tmp_path / "saved"))
    DatasetDict({"a": data, "b": data}).save_to_disk(str(tmp_path / "two"))
    assert read(tmp_path / "a.parquet")[0] == read(tmp_path / "saved")[0] == ROWS
    assert any(path.suffix == ".arrow" for path in find_raw_files(str(tmp_path / "saved"), "events"))
    with pytest.raises(ArtifactError, match="has the splits a, b; name one"):
        read(tmp_path / "two")
    write(tmp_path / "hub" / "train.parquet", (tmp_path / "a.parquet").read_bytes())
    assert read(f"hf:{tmp_path / 'hub'}")[0] == ROWS


def test_a_folder_of_parts_is_one_table_in_the_order_of_names(tmp_path):
    write(tmp_path / "p" / "part-1.csv", b"time,user_id\n3,u3\n")
    write(tmp_path / "p" / "part-0.csv.gz", gzip.compress(b"user_id,time\nu1,1\nu2,2\n"))
    write(tmp_path / "p" / "_SUCCESS", b"")
    rows, ledger = read(tmp_path / "p", ("user_id", "time"))
    assert rows == [("u1", "1"), ("u2", "2"), ("u3", "3")] and ledger.read == 3
    write(tmp_path / "p" / "part-2.csv", b"user_id,when\nu4,4\n")
    with pytest.raises(ArtifactError, match=r"different columns \(not in both: time, when\)"):
        read(tmp_path / "p", ("user_id",))
    write(tmp_path / "q" / "a.csv", CSV)
    write(tmp_path / "q" / "b.jsonl", JSONL)
    with pytest.raises(ArtifactError, match=r"files of 2 kinds \(csv, jsonl\)"):
        read(tmp_path / "q")


def test_atomic_files_lose_their_types_and_of_a_folder_each_role_takes_its_own(tmp_path):
    write(tmp_path / "x.inter", b"user_id:token\titem_id:token\ttimestamp:float\nu\ti\t1.0\n")
    write(tmp_path / "x.item", b'item_id:token\tclass:token_seq\ni\t"War Drama\n')
    assert open_table(str(tmp_path), "events").columns == ("user_id", "item_id", "timestamp")
    items = open_table(str(tmp_path), "items")
    assert items.columns == ("item_id", "class") and items.sequences == {"class"}
    assert read(tmp_path, ("class",), "items")[0] == [('"War Drama',)]


def test_lines_that_cannot_be_used_are_counted_and_change_no_other(tmp_path):
    lines = [b"a,b", b"1,2", b"3,4,5", b'6,"open', b"7,\xff", b"", b'8,"two', b'lines"', b"9"]
    rows, ledger = read(write(tmp_path / "a.csv", b"\n".join(lines)), ("a", "b"))
    assert rows == [("1", "2"), ("8", "two\nlines"), ("9", None)]
    assert ledger.first_lines == {
        "with more fields than the header": [3],
        "with a quote that is not closed": [4],
        "not in UTF-8": [5],
    }
    assert ledger.read == 6


@settings(deadline=None)  # a machine may be busy
@given(st.lists(st.tuples(*[st.text("ab \"',\n", max_size=5)] * 3), min_size=1, max_size=6))
def test_line_by_line_reads_what_the_quick_way_reads(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("both") / "a.csv"
    pl.DataFrame(rows, schema=["a", "b", "c"], orient="row").write_csv(path, quote_style="always")
    names, wanted = ("a", "b", "c"), ["a", "b", "c"]
    quick = scan_delimited(path, names, ",", '"', wanted)
    slow, _ = read_records(path, names, ",", '"', wanted, Ledger("events"))
    assert quick is not None and quick.rows() == slow.drop("line").rows()


@pytest.mark.parametrize(
    "name, content", [("a.csv.gz", gzip.compress(CSV)), ("a.jsonl.zst", pack(JSONL))], ids=["gzip", "zstd"]
)
def test_half_a_packed_file_is_refused(tmp_path, name, content):
    with pytest.raises(ArtifactError, match="damaged or cut short|Truncated"):
        read(write(tmp_path / name, content[: len(content) // 2]))


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.csv", b"", "is empty; a table begins with a line that names its columns"),
        ("a.jsonl", b"[1]\n", "has no JSON object"),
        ("a.xlsx", b"x", "ends in none of .csv"),
        ("a.csv", b"user_id,user_id\n1,2\n", "2 columns named 'user_id'"),
    ],
)
def test_what_is_no_table_is_refused_in_words(tmp_path, name, content, said):
    with pytest.raises(ArtifactError, match=said):
        read(write(tmp_path / name, content), ("user_id",))
    with pytest.raises(ArtifactError, match="is not there"):
        read(tmp_path / "nowhere.csv")
