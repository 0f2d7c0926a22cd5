"""Tables by hand: what folds, what is split, and that no environment colours them."""

from hypothesis import given
from hypothesis import strategies as st

from genrec.tables import render_table

HEAD = ["model", "HR@10", "NDCG@10  [95% interval]"]


def test_words_stand_to_the_left_and_numbers_to_the_right():
    rows = [HEAD, ["popular", "0.1", "0.0349  [0.0242, 0.0474]"], ["sft", "0.25", "-"]]
    assert render_table(rows) == (
        "model    HR@10   NDCG@10  [95% interval]\n"
        "----------------------------------------\n"
        "popular    0.1  0.0349  [0.0242, 0.0474]\n"
        "sft       0.25                         -"
    )


def test_heads_fold_before_anything_else():
    rows = [["a", "dead groups"], ["x", "100.0%"]]
    assert render_table(rows, width=9) == "     dead\na  groups\n---------\nx  100.0%"


def test_words_fold_and_numbers_do_not():
    rows = [["slice", "rows", "why"], ["a slice of many words", "1,234", "as it is said here"]]
    assert render_table(rows, words=("why",), width=40) == (
        "slice               rows  why\n"
        "----------------------------------------\n"
        "a slice of many    1,234  as it is said\n"
        "words                     here"
    )


def test_what_is_too_wide_goes_on_below_beside_the_first_column():
    rows = [["m", *(f"c{n}" for n in range(6))], ["x", *(str(n) * 10 for n in range(6))]]
    first, second = render_table(rows, width=40).split("\n\n")
    assert first.split()[:4] == ["m", "c0", "c1", "c2"] and second.split()[:4] == ["m", "c3", "c4", "c5"]
    assert second.splitlines()[2].split() == ["x", "3" * 10, "4" * 10, "5" * 10]


def test_brackets_are_text_and_wide_letters_count_twice():
    lines = render_table([["名前", "n"], ["[b]映画[/b] :smile:", "[1, 2]"], ["x", "3"]]).splitlines()
    assert lines[2] == "[b]映画[/b] :smile:  [1, 2]" and lines[1] == "-" * 27 and lines[3] == "x" + " " * 25 + "3"


def test_the_environment_changes_nothing(monkeypatch):
    rows = [HEAD, ["x" * 100, "1", "2"]]
    plain = render_table(rows)
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "30", "TERM": "xterm-256color", "TTY_COMPATIBLE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert render_table(rows) == plain and "\x1b" not in plain


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=120)
NUMBERS = st.from_regex(r"\A[0-9]{0,20}\Z")


@given(st.integers(0, 6).flatmap(lambda n: st.lists(st.tuples(WORDS, *[NUMBERS] * n), min_size=1, max_size=4)))
def test_no_line_is_wider_than_the_screen_and_no_number_is_lost(rows):
    from rich.cells import cell_len

    table = render_table([["name", *(f"c{n}" for n in range(len(rows[0]) - 1))], *map(list, rows)])
    assert all(cell_len(line) <= 80 for line in table.splitlines())
    for row in rows:
        assert all(number in table for number in row[1:])


def test_a_table_that_fits_is_as_wide_as_its_cells():
    rows = [["m", "HR@5", "MRR@20"], ["popular", "0.0334", "0.0281"], ["x", "0.7936", "0.3727"]]
    assert render_table(rows).splitlines()[2] == "popular  0.0334  0.0281"
    assert render_table([["m", "n"], ["x", "1"]]).splitlines() == ["m  n", "----", "x  1"]
    columns = [["a" * n, "b" * n] for n in (20, 20, 20, 14)]  # 80 with three gaps
    lines = render_table([list(row) for row in zip(*columns, strict=True)]).splitlines()
    assert len(lines) == 3 and lines[2] == "  ".join(body for _, body in columns)
