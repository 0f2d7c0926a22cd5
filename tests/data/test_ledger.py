"""The account of a table: what is kept is what was read less what was dropped."""

import pytest

from genrec.data.ledger import FIRST_LINES, Ledger


def test_rows_are_kept_by_arithmetic_and_reasons_add_up():
    ledger = Ledger("events", read=10)
    ledger.drop("not JSON", 1, [4])
    ledger.drop("not JSON", 2, [7, 8])
    ledger.drop("outside the window", 3)
    ledger.drop("never", 0, [1])
    assert ledger.kept == 4 and ledger.dropped == {"not JSON": 3, "outside the window": 3}
    assert ledger.line() == "events: 10 read, 3 not JSON (line 4, 7, 8), 3 outside the window, 4 kept"
    assert ledger.as_dict() == {
        "read": 10, "kept": 4, "dropped": ledger.dropped, "first_lines": {"not JSON": [4, 7, 8]},
    }  # fmt: skip


def test_the_first_lines_are_kept_and_the_others_said_to_be_there():
    ledger = Ledger("items", read=20)
    ledger.drop("bad", 9, range(1, 10))
    assert ledger.first_lines["bad"] == list(range(1, FIRST_LINES + 1)) and "4, 5, ...)" in ledger.trail()


def test_rows_that_do_not_add_up_are_our_own_mistake():
    Ledger("items", read=3).check(3)
    with pytest.raises(AssertionError, match="2 rows in hand, but 3 read"):
        Ledger("items", read=3).check(2)
