"""The long loads of benchmarks/serve.py in seconds: reloads under load, and memory under mixed requests."""

import os
import re
import subprocess
import sys

import pytest

from tests import ROOT


def load_server(*flags):
    command = [sys.executable, str(ROOT / "benchmarks" / "serve.py"), "--requests", "40", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_a_process_reloads_under_load_without_a_failure_or_a_list_of_another_version(served_run, other_run):
    done = load_server("--run", served_run[0], "--other", other_run, "--reload_every", 1.5, "--seconds", 7)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = re.search(r"(\d+) reloads, 0 failed; answered (\S+) by \w+, (\S+) by \w+; 0 unlike", done.stdout)
    assert found and int(found.group(1)) >= 3, done.stdout


@pytest.mark.slow
def test_equal_runs_are_no_test_of_a_reload(served_run):
    done = load_server("--run", served_run[0], "--other", served_run[0], "--seconds", 1)
    assert done.returncode == 1 and "are one version; name another run by --other" in done.stderr


@pytest.mark.slow
def test_memory_is_read_under_a_mix_that_is_answered(served_run):
    done = load_server("--run", served_run[0], "--model", "sft", "--minutes", 0.1)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert re.search(r"memory \d+\.\d MiB after the first, \d+\.\d MiB after the last", done.stdout)
