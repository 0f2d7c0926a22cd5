"""Processes that are stopped, or whose reader leaves: one line, the right exit code, and nothing half done."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests import ROOT
from tests.adversarial.shop import PRESET

GENREC = [sys.executable, "-m", "genrec"]
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    "words", ["--help", "presets", "sft --help", "run --help", "advise --help", "prepare --config tiny --dry-run"]
)
def test_a_reader_that_leaves(tmp_path, words):
    """`genrec sft --help | head -0`"""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*GENREC, *words.split()], stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_closed_output(tmp_path):
    """`genrec presets >&-`"""
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m genrec presets >&-"], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


SLOW_IMPORT = "import time; print('importing', flush=True); time.sleep(60)"


def begin(tmp_path, command, blocked):
    """A stage that waits in the import of a library."""
    (tmp_path / "libraries" / blocked).mkdir(parents=True)
    (tmp_path / "libraries" / blocked / "__init__.py").write_text(SLOW_IMPORT)
    (tmp_path / "small.yaml").write_text(PRESET)
    environment = ALONE | {"PYTHONPATH": f"{tmp_path / 'libraries'}{os.pathsep}{ROOT}"}
    words = [*GENREC, command, "--config", "small.yaml", "--run.dir", "run", "--data.raw_dir", "raw"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, **pipes)
    assert process.stdout.readline() == "importing\n"
    return process


@pytest.mark.parametrize("number, code, says", [
    (signal.SIGINT, 130, "error: stopped; the same command goes on from here\n"),
    (signal.SIGTERM, 143, "error: stopped by SIGTERM; the same command goes on from here\n"),
])  # fmt: skip
@pytest.mark.parametrize("command, library", [("prepare", "polars"), ("evaluate", "numpy")])
def test_a_signal_during_imports(tmp_path, number, code, says, command, library):
    process = begin(tmp_path, command, library)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (code, says)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_work_and_the_same_command_again(tmp_path, number, code):
    (tmp_path / "small.yaml").write_text(PRESET)
    words = [*GENREC, "prepare", "--config", "small.yaml", "--run.dir", "run", "--data.raw_dir", "raw"]
    process = subprocess.Popen(words, cwd=tmp_path, env=ALONE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "run/data.partial/.begun.json").exists():
        time.sleep(0.001)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    if process.returncode:  # else it was quicker than we
        assert process.returncode == code and said.count("error: ") == 1 and "Traceback" not in said
    assert subprocess.run(words, cwd=tmp_path, env=ALONE).returncode == 0
    assert not (tmp_path / "run/data.partial").exists()
