"""Every benchmark answers --help, and its smallest run ends well (the numbers of such a run mean nothing)."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests import ROOT
from tests.small_shop import small_config, small_shop, write_data, write_sids

SHARED = {"http_load", "measuring", "shapes"}  # what benchmarks share
PROGRAMS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in SHARED)
WITHOUT_HELP = {"recbole_sasrec"}  # runs under a Python of its own, called by sequential.py

# name -> flags of its smallest run; {config} is the file of {run}, which has data and SIDs; {home} has its events and
# items as tables; {out} a new directory
SMALLEST = {
    "ab": "--experiments 10 --users 2000",
    "balanced_kmeans": "--sizes 300 --codes 12",
    "export": "--width 64 --layers 1 --requests 2 --rounds 1",
    "many_items": "compare {out} --rows 2000 --train_rows 600",
    "canonical": "--dataset Toy --events {home}/events.csv --items {home}/items.csv --work {out} --seeds 0 "
    "--preset config/tiny.yaml -- --sft.num_epochs 1 --rl.sample_size 64 --sequential.num_epochs 1",
    "continual": "--toy --work {out} --slices 1 -- --sft.num_epochs 1",
    "decode": "--shape quickstart --requests 2 --batch 2 --generate_batch 1 --rounds 1",
    "fast_adaptation": "--run {run} --seeds 1 --num_epochs 1",
    "frontier": "--items 300 --requests 2 --batch 2 --rounds 1",
    "planted_faults": "--work {out} --faults few_beams --users 120 --epochs 1",
    "movielens_1m": "--output_dir {out} --users 50 --films 60 --ratings 1500",
    "preprocess": "--rows 2000 --repeat 1 --dir {out}",
    "rl": "--shape quickstart --prompts 2 --rounds 1 --sides trie",
    "sequential": "features --steps 1",
    "serve": "--run {run} --model item_knn --seconds 0.3 --clients 1 2 --shares 0.5 --requests 20",
    "sft": "--config {config} --targets 32 --targets_a_step 16 --rounds 1 --sides plain",
    "tencentgr_data": "--users 60 --items 80 --rounds 1",
}
NO_SMALLEST = {
    "cold_items": "reads a trained run; tests/test_cold_items.py has one of lists by hand",
    "gpu": "run by gpu.sh, whose test is below",
    "leaderboard": "reads finished runs; tests/test_leaderboard.py gives it one",
    "random_twin": "writes a model as large as the one it is a twin of",
    "recbole_sasrec": "needs recbole in an environment of its own",
    "same_results": "compares two runs; tests/test_same_results.py does",
    "sid_methods": "runs every quantizer to its end; tests/rq runs each",
    "tencentgr_ablations": "trains dozens of models; tests/tencentgr trains one",
    "ur4rec": "trains for an hour; tests/ur4rec trains one",
    "ur4rec_data": "downloads MovieLens where it is not at hand",
}


def run(name, flags):
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=alone)


def test_every_benchmark_has_a_smallest_run_or_says_why_not():
    assert sorted([*SMALLEST, *NO_SMALLEST]) == PROGRAMS


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in WITHOUT_HELP])
def test_help(name):
    done = run(name, ["--help"])
    assert done.returncode == 0 and "--" in done.stdout, done.stderr[-2000:]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The configuration file of a run with data and SIDs."""
    home = tmp_path_factory.mktemp("shop")
    scratch = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32}
    config = small_config(home / "run", sft={"scratch": scratch, "train_from_scratch": True})
    data = small_shop()
    write_data(config, data)
    write_sids(config, data)
    path = home / "config.yaml"
    path.write_text(config.model_dump_json())
    events = data.sequences
    user = np.repeat(np.arange(len(events)), np.diff(events.offset))
    place = np.arange(len(user)) - events.offset[user]
    rows = [f"u{u},i{i},{p}" for u, i, p in zip(user, events.item, place, strict=True)]
    (home / "events.csv").write_text("\n".join(["user_id,item_id,position", *rows]))
    titles = [f'i{number},"{title}"' for number, title in enumerate(data.catalog.title)]
    (home / "items.csv").write_text("\n".join(["item_id,title", *titles]))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_smallest_run(name, shop, tmp_path):
    done = run(
        name, SMALLEST[name].format(config=shop, run=shop.parent / "run", home=shop.parent, out=tmp_path).split()
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr[-3000:]


@pytest.mark.slow
def test_the_script_for_one_card_prints_a_table_of_all_its_parts():
    alone = os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--device", "cpu", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr[-3000:]
    table = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert {row[0] for row in table} == {"| part", "| sft", "| rl", "| decoding", "| parity", "| server"}
    assert all("100.0% of 4 lists" in row[-1] for row in table if row[0] == "| parity")
    assert all("0 failed" in row[-1] for row in table if row[0] == "| server")
