"""The leaderboard says what artifacts say: rows of a run, none twice, and a page that is made of its entries."""

import json
import subprocess
import sys

import pytest

from benchmarks.leaderboard import ENTRIES, PAGE, PLACE, count_parameters, join_entries, read_entries, read_rows, render
from genrec.errors import ArtifactError
from tests import ROOT
from tests.small_model import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")[0]


def test_the_page_is_what_its_entries_make():
    entries = read_entries(PLACE)
    assert entries and (PLACE / PAGE).read_text() == render(entries)


def test_rows_are_those_of_the_table(run):
    rows = {row["model"]: row for row in read_rows(run, "typed")}
    results = json.loads((run / "evaluation/results.json").read_text())["models"]
    assert rows.keys() == {"item_knn"}  # the lists of the others are shorter than 10
    for name, row in rows.items():
        assert row["ndcg@10"] == results[name]["metrics"]["ndcg@10"] and row["command"] == "typed"
        assert "seen items left out" in row["protocol"]
    assert count_parameters(run, "item_knn") == 0 and count_parameters(run, "sft") > 1000


def test_a_row_that_is_added_again_replaces_itself(run):
    rows = read_rows(run, "typed")
    assert join_entries(rows, rows) == join_entries(rows, [])
    assert len(join_entries(rows, read_rows(run, "another"))) == 2 * len(rows)
    best = join_entries([], rows)
    assert [row["ndcg@10"]["mean"] for row in best] == sorted((r["ndcg@10"]["mean"] for r in rows), reverse=True)


def test_a_directory_without_rows_is_one_line(tmp_path):
    with pytest.raises(ArtifactError, match="no test rows scored at 10; run: genrec evaluate"):
        read_rows(tmp_path, "typed")


@pytest.mark.slow
def test_the_command_writes_both_files(run, tmp_path):
    words = ["benchmarks/leaderboard.py", "--place", tmp_path, "add", run, "--command", "typed"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / PAGE).read_text() == render(read_entries(tmp_path)) and (tmp_path / ENTRIES).exists()
