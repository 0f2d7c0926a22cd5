"""A model's card for people: what the hub reads of it, the table of its run, and lines that work as they stand."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from genrec.artifacts import read_json, read_manifest
from genrec.models.readme import describe_teacher, find_licence, rows_of_run
from genrec.runtime.training_record import TrainingRecord
from genrec.stages.push import export
from tests.small_model import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")[0]


def test_the_front_matter_is_what_the_hub_reads(run):
    text = (run / "sft" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "transformers" and front["datasets"] == ["small"] and "genrec" in front["tags"]
    assert "license" not in front and "Trained from random weights; whoever publishes it names a licence" in text
    assert "4 x 5 codes, one path for each of 17 items" in text.replace("\n", " ")
    assert "fingerprint `abc`" in text and "ndcg@10 0.5000 on valid rows" in text
    assert "saved before it was scored" in text


def test_the_copy_has_the_table_of_its_run_with_intervals_and_baselines(run, tmp_path):
    export(run, tmp_path / "copy", "shop/model")
    text = (tmp_path / "copy" / "README.md").read_text()
    for row, name in (("rl", "**this model**"), ("item_knn", "item_knn")):
        hr, ndcg = (read_json(run / "evaluation" / row / "results.json")["metrics"][m] for m in ("hr@5", "ndcg@5"))
        assert "hr@10" not in read_json(run / "evaluation" / "rl" / "results.json")["metrics"]  # 8 beams
        line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        cells = (f"{m['mean']:.4f} [{m['low']:.4f}, {m['high']:.4f}]" for m in (hr, ndcg))
        assert line == f"| {name} | {' | '.join(cells)} |"
    assert "60 of 60 test rows, ranked against all 17 items; lists leave out" in text.replace("\n", " ")


def test_a_table_of_other_weights_is_not_shown(run):
    fingerprint = read_manifest(run / "rl").fingerprint
    assert [row["model"] for row in rows_of_run(run, "rl", fingerprint)] == ["item_knn", "rl"]
    assert rows_of_run(run, "rl", "another") == [] and rows_of_run(run / "sft", "sft", fingerprint) == []


@pytest.mark.slow
def test_its_lines_run_as_they_stand(run, tmp_path):
    """Inside the directory of a run, and of a copy that names itself."""
    export(run, tmp_path / "copy", str(tmp_path / "copy"))
    for home, directory in ((run / "sft", run / "sft"), (tmp_path, tmp_path / "copy")):
        blocks = re.findall(r"```python\n(.*?)```", (directory / "README.md").read_text(), re.S)
        assert len(blocks) == 2
        done = subprocess.run(
            [sys.executable, "-c", "".join(blocks)], cwd=home, capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0 and "item_id" in done.stdout, done.stderr


def test_the_licence_of_a_base_is_what_its_own_card_says(tmp_path):
    assert find_licence(str(tmp_path)) == find_licence("Qwen/unheard") == ""
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\ntags: [a]\n---\n# A base\n")
    assert find_licence(str(tmp_path)) == "apache-2.0"
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    assert find_licence(str(tmp_path)) == ""


def test_a_teacher_is_named_where_there_was_one():
    record = TrainingRecord("steps", 10, 5, "ndcg@10", 0.1, [])
    assert describe_teacher(record) == ""
    taught = {"teacher": {"sasrec": 2.0, "item_knn": 1.0}, "teacher_weight": 0.7}
    told = " The targets are 70% the probabilities of sasrec (weight 2) and item_knn (weight 1), the rest is the item"
    assert describe_teacher(replace(record, statistics=taught)) == f"{told} that came."
