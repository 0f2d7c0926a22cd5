"""Two runs are the same where arrays are, whatever the bytes of their files; a changed weight is named."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests import ROOT


def write_run(directory, weight, seconds):
    (directory / "sft").mkdir(parents=True)
    np.savez_compressed(directory / "sft/model.npz", weight=weight, other=np.zeros(2))
    (directory / "sft/manifest.json").write_text(json.dumps({"seconds": seconds}))
    (directory / "sft/training.json").write_text(json.dumps({"steps": 3, "seconds": seconds}))
    (directory / "sft/codes.bin").write_bytes(b"same")
    return directory


@pytest.mark.parametrize(("changed", "code", "said"), [(0, 0, "seconds: 1 -> 2"), (1e-9, 1, "differs in weight")])
def test_arrays_decide_and_keys_are_shown(tmp_path, changed, code, said):
    before = write_run(tmp_path / "before", np.ones(3), 1)
    after = write_run(tmp_path / "after", np.ones(3) + changed, 2)
    command = [sys.executable, "benchmarks/same_results.py", str(before), str(after)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == code and said in done.stdout and "manifest" not in done.stdout, done.stderr
