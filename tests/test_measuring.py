"""What the benchmarks measure with."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.measuring import in_turn, medians, paired, sides_table
from tests import ROOT


def test_every_side_runs_in_every_round():
    order = []
    sides = {name: lambda name=name: order.append(name) or len(order) for name in ("a", "b")}
    found = in_turn(sides, 3)
    assert order == ["a", "b"] * 3 and found == {"a": [1, 3, 5], "b": [2, 4, 6]} and medians(found) == {"a": 3, "b": 4}


ALLOCATE = """
import numpy as np
from benchmarks.measuring import peak_growth, timed
before = np.ones(40 << 17)  # 40 MiB
spent, grown = peak_growth(lambda: timed(lambda: np.ones(80 << 17).sum()))
assert spent.result == 80 << 17 and 79 < grown < 100 and spent.wall > 0 and before.any(), (spent, grown)
"""


def test_what_the_call_allocates_is_seen_and_what_stood_before_is_not():
    """In a process of its own: one that has lived long gives memory back while it is measured."""
    done = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_table_is_relative_to_one_side():
    lines = sides_table("x/s", {"new": 6.0, "old": 2.0}, {"new": 5.0, "old": 10.0}, against="old").splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")]
    assert cells[1:-1] == ["new", "6.00", "3.00", "5", "0.50"]


class Run:
    """A report of four rows, two of each user."""

    user = np.array([0, 0, 1, 1])

    class rows:
        fingerprint = "same"

    def __init__(self, scores):
        self.scores = {"hit": np.array(scores)}


def test_differences_are_paired_by_row_over_all_seeds():
    base = [Run([0.0, 0.0, 1.0, 1.0]), Run([0.0, 1.0, 0.0, 1.0])]
    made = [Run([1.0, 0.0, 1.0, 1.0]), Run([1.0, 1.0, 0.0, 1.0])]
    found = paired(base, made, ("hit",))["hit"]
    assert found.mean == pytest.approx(2 / 8) and found.low == 0 and found.high == pytest.approx(0.5)
    other = Run([0.0] * 4)
    other.rows = type("rows", (), {"fingerprint": "other"})
    with pytest.raises(AssertionError, match="different rows"):
        paired(base, [other, other], ("hit",))
