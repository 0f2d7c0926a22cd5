"""What is served: exact neighbours by the training similarity, the competition's files, cold users and items."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from genrec.errors import ArtifactError
from tencentgr import files
from tencentgr.checkpoints import load_model, make_card, save_best
from tencentgr.dataset import SequenceDataset, all_rows, collate, load_candidates, load_data, load_queries
from tencentgr.entries import locate_source
from tencentgr.inference import infer, search, write_binary
from tencentgr.model import TencentGR, TencentGRShape, item_rows
from tencentgr.options import parse_strict
from tests import ROOT

KINDS = ("dot", "cosine", "scaled", "bilinear")


def read_binary(path, dtype):
    """(rows, columns), as the header says."""
    content = path.read_bytes()
    rows, columns = np.frombuffer(content[:8], dtype=np.uint32)
    return np.frombuffer(content[8:], dtype=dtype).reshape(rows, columns)


@pytest.fixture(scope="module")
def served(sample, tmp_path_factory):
    """A model with random weights of every size, and what it recommends."""
    out = tmp_path_factory.mktemp("served")
    data = load_data(locate_source(sample))
    torch.manual_seed(0)
    network = TencentGR(
        TencentGRShape(hidden_size=16, num_layers=1, max_history=20, similarity=KINDS, adaptive=True), data.schema
    )
    with torch.no_grad():
        for parameter in network.similarity.parameters():
            parameter.add_(torch.rand_like(parameter))
    save_best(out, network, make_card(network, {}, epoch=1))
    infer(asked(sample, out))
    return out


def asked(sample: Path, out: Path, *more: str):
    model = ["--inference_only", "--state_dict_path", str(out / "best_model.pt"), "--device", "cpu"]
    places = ["--data_dir", str(sample), "--result_dir", str(out / "results")]
    return parse_strict([*model, *places, "--filter_seen", "False", *more])


def results(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results/result.jsonl").read_text().splitlines()]


def test_the_lists_are_the_best_by_the_training_score(sample, served):
    """Every user against every candidate through Similarity.forward, the function training uses, and a sort."""
    model, _ = load_model(served / "best_model.pt", None, None)
    queries, (candidates, _) = load_queries(locate_source(sample)), load_candidates(locate_source(sample))
    rows = SequenceDataset(queries, all_rows(queries), 20, query=True)
    batch = collate(rows.__getitems__(list(range(len(rows)))))
    with torch.no_grad():
        model.use(queries.items, queries.users)
        states = model.encode(batch, model.item_vectors(item_rows(batch))[0])[:, -1]
        vectors = model.use(candidates.table, queries.users).item_vectors(torch.arange(1, len(candidates.table)))[0]
        scores = torch.stack([model.similarity(state.expand_as(vectors), vectors) for state in states])
    top = scores.topk(10, dim=1)
    for row, (actual, best) in enumerate(zip(results(served), top.values, strict=True)):
        numbers = [candidates.creative_id.tolist().index(name) for name in actual["creative_ids"]]
        assert scores[row, numbers].numpy() == pytest.approx(best.numpy(), abs=1e-4)
        assert len(set(numbers)) == 10


def test_every_query_is_answered_also_cold_ones(sample, served):
    lines = (sample / files.PREDICT_SEQ).read_text().splitlines()
    names = {str(json.loads(line)[0][0]) for line in lines}
    assert {entry["user_id"] for entry in results(served)} == names and len(results(served)) == len(lines)
    assert any(not name.isdigit() for name in names)  # the sample has users that training never saw
    allowed = {json.loads(line)["creative_id"] for line in (sample / files.PREDICT_SET).read_text().splitlines()}
    assert all(set(entry["creative_ids"]) <= {str(name) for name in allowed} for entry in results(served))


def test_the_files_of_the_search_program(served):
    queries = read_binary(served / "results/query.fbin", np.float32)
    items = read_binary(served / "results/embedding.fbin", np.float32)
    ids = read_binary(served / "results/id.u64bin", np.uint64)
    neighbours = read_binary(served / "results/id100.u64bin", np.uint64)
    names = json.loads((served / "results/retrive_id2creative_id.json").read_text())
    assert queries.shape[1] == items.shape[1] == 32 and ids.shape == (len(items), 1)  # widened to twice the width
    assert neighbours.shape == (len(queries), min(100, len(items))) and set(names) == {str(n) for n in ids[:, 0]}
    for entry, row in zip(results(served), neighbours, strict=True):
        assert entry["creative_ids"] == [names[str(number)] for number in row[:10]]


def test_binary_files_have_the_published_header(tmp_path):
    write_binary(tmp_path / "x.fbin", np.array([[1.5, 2.0, 3.0]], dtype=np.float32))
    assert (tmp_path / "x.fbin").read_bytes()[:12] == b"\1\0\0\0\3\0\0\0\0\0\xc0\x3f"
    assert read_binary(tmp_path / "x.fbin", np.float32).tolist() == [[1.5, 2.0, 3.0]]


def test_search_is_exact_and_fills_up_short_lists():
    random = np.random.default_rng(0)
    queries, items = random.normal(size=(5, 4)).astype(np.float32), random.normal(size=(7, 4)).astype(np.float32)
    actual = search(queries, items, 9)
    assert (actual[:, :7] == np.argsort(-(queries @ items.T), axis=1)).all() and (actual[:, 7:] == -1).all()


def test_without_query_files_training_users_are_served(sample, served, tmp_path):
    shutil.copytree(sample, tmp_path / "data", ignore=shutil.ignore_patterns("predict_*", "cache"))
    shutil.copy(served / "best_model.pt", tmp_path)
    infer(asked(tmp_path / "data", tmp_path))
    assert len(results(tmp_path)) == len(load_data(locate_source(sample)).sequences)


def test_a_model_that_is_not_there_is_named(sample, tmp_path):
    with pytest.raises(ArtifactError, match="no model .*best_model.pt; training writes"):
        infer(asked(sample, tmp_path))


def python_first() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_the_printed_commands_from_nothing(tmp_path):
    """run.sh makes its sample and trains; then inference, with the very words of the README."""
    ours = shutil.ignore_patterns("data", "logs", "tb_logs", "results", "__pycache__")
    shutil.copytree(ROOT / "tencentgr", tmp_path / "tencentgr", ignore=ours)
    (tmp_path / "genrec").symlink_to(ROOT / "genrec")
    here = {"cwd": tmp_path / "tencentgr", "env": python_first(), "capture_output": True, "text": True}
    done = subprocess.run(["bash", "run.sh", "--num_epochs", "1", "--hidden_units", "16"], **here)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "writing a sample" in done.stdout and (tmp_path / "tencentgr/tb_logs").exists()
    command = "main.py --inference_only --state_dict_path ./logs/best_model.pt"
    done = subprocess.run([sys.executable, *command.split()], **here)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "tencentgr/results/result.jsonl").exists()


def test_the_environment_check_passes():
    done = subprocess.run([sys.executable, "test.py"], cwd=ROOT / "tencentgr", env=python_first(), capture_output=True)
    assert done.returncode == 0 and b"7 of 7 passed" in done.stdout, done.stdout.decode()
