"""Pieces of a file are all of it, once, and a line keeps its number."""

import gzip

import polars as pl
import pytest

from genrec.data.shards.pieces import cut_file, lifted, shift_lines


def read_pieces(pieces, beside):
    """(text, line ends) of each."""
    read = []
    for piece in pieces:
        with lifted(piece, beside) as (path, ends):
            read.append((path.read_bytes().decode(), ends))
    return read


@pytest.mark.parametrize("size", [1, 7, 30, 64, 65, 10_000])
def test_lines_are_cut_between_objects_and_none_is_lost(tmp_path, size):
    path = tmp_path / "a.jsonl"
    lines = ['{"n": 1}', "", "no object", '{"n": "\\n"}', "  {", '{"n": 22222}', "[", '{"n": 3}']
    path.write_text("\n".join(lines) + "\n")
    pieces = cut_file(path, "jsonl", size)
    read = read_pieces(pieces, tmp_path)
    assert "".join(text for text, _ in read) == path.read_text()
    assert all(text.startswith("{") for text, _ in read) and len(pieces) <= 4
    shifts = shift_lines(pieces, [ends for _, ends in read])
    numbered = {
        shift + number: line
        for (text, _), shift in zip(read, shifts, strict=True)
        for number, line in enumerate(text.splitlines(), start=1)
    }
    if len(pieces) > 1:
        assert numbered == dict(enumerate(lines, start=1))


@pytest.mark.parametrize("size", [9, 20, 33])
def test_every_piece_of_a_table_has_its_header(tmp_path, size):
    path = tmp_path / "a.csv"
    rows = [f"u{n},i{n % 3}" for n in range(12)]
    path.write_text("\n".join(["user,item", *rows]))  # the last line without an end
    pieces = cut_file(path, "csv", size)
    read = read_pieces(pieces, tmp_path)
    assert len(pieces) > 2 and all(text.startswith("user,item\n") for text, _ in read)
    found = {}
    for (text, _), shift in zip(read, shift_lines(pieces, [ends for _, ends in read]), strict=True):
        found |= {shift + number: row for number, row in enumerate(text.splitlines()[1:], start=2)}
    assert found == dict(enumerate(rows, start=2))


def test_what_is_packed_or_quoted_is_one_piece(tmp_path):
    text = 'user,item\n"u\n1",i1\n' + "u2,i2\n" * 50
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.inter").write_text(text)  # a kind without quotes
    assert len(cut_file(tmp_path / "a.csv", "csv", 20)) == 1 == len(cut_file(tmp_path / "a.csv.gz", "csv", 20))
    assert len(cut_file(tmp_path / "a.inter", "inter", 20)) > 5


def test_parquet_is_cut_by_rows(tmp_path):
    pl.DataFrame({"n": range(10)}).write_parquet(tmp_path / "a.parquet")
    pieces = cut_file(tmp_path / "a.parquet", "parquet", 700)
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])] and pieces[-1].stop == 10
    assert 1 < len(pieces) <= 10 and shift_lines(pieces, [0] * len(pieces)) == [piece.start for piece in pieces]
    pl.DataFrame({"n": []}).write_parquet(tmp_path / "none.parquet")
    assert len(cut_file(tmp_path / "none.parquet", "parquet", 10**6)) == 1
