"""Two processes on one run: one wins, the other is refused in a line that names it. Loops that are killed end alike."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from genrec.artifacts import describe_files, read_manifest
from tests.adversarial.shop import Shop, copy_shop

ALONE = os.environ | {"OMP_NUM_THREADS": "1"}
PAIRS = [pytest.param(n, marks=[pytest.mark.slow] if n != 1 else []) for n in range(20)]


def start(shop: Shop, command: str, *more: str) -> subprocess.Popen:
    words = [sys.executable, "-m", "genrec", command, *shop.flags(*more)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, env=ALONE, start_new_session=True, **pipes)


@pytest.mark.parametrize("number", PAIRS)
def test_of_two_processes_one_wins_and_the_other_is_refused(shop, number):
    command = ("sequential", "sids")[number % 2]
    lengths = {"sequential": ("--num_epochs", "250"), "sids": ("--method", "rqvae", "--num_epochs", "300")}
    more = (*lengths[command], "--early_stop", "0")
    pair = [start(shop, command, "--clean", *more, "--run.seed", str(seed)) for seed in (number, number + 100)]
    said = {process.pid: process.communicate(timeout=300)[1] for process in pair}
    codes = {process.pid: process.returncode for process in pair}
    assert sorted(codes.values()) == [0, 1], said
    winner, loser = sorted(codes, key=codes.get)
    lines = [line for line in said[loser].splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and re.search(f"is being written by process {winner} on {socket.gethostname()}", lines[0])
    artifact = shop.run / {"sequential": "sequential", "sids": "sids/rqvae"}[command]
    assert read_manifest(artifact).files == describe_files(artifact)
    assert not list(shop.run.rglob("*.partial")) and not list(shop.run.rglob("*.replaced"))


LOOP = ("--analysis.model", "sasrec", "--evaluation.models", "[sasrec]", "--iterate.rounds", "2")


def contents(artifact: Path) -> dict[str, str]:
    """The hash of every file but for the summary, which names the run's own paths."""
    files = read_manifest(artifact).files
    return {name: entry["sha256"] for name, entry in files.items() if name != "summary.txt"}


def loop_to_end(shop: Shop) -> dict:
    process = start(shop, "iterate", *LOOP)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert not list(shop.run.rglob("*.partial")) and not list(shop.run.rglob("*.tmp"))
    rounds = json.loads((shop.run / "rounds/rounds.json").read_text())["rounds"]
    prints = {
        path.parent.relative_to(shop.run).as_posix(): contents(path.parent)
        for path in shop.run.rglob("manifest.json")
        if not path.parent.name == "analysis" and "analysis" not in path.parent.parts[-2]
    }
    return {"numbers": [(each["valid"], each["test"], each["kept"]) for each in rounds], "prints": prints}


@pytest.mark.slow
def test_a_loop_that_is_killed_twenty_times_ends_as_one_left_alone(finished, tmp_path):
    alone = copy_shop(finished, tmp_path / "alone")
    shutil.rmtree(alone.run / "evaluation")
    begin = time.monotonic()
    expected = loop_to_end(alone)
    length, chance = time.monotonic() - begin, random.Random(0)
    killed = copy_shop(finished, tmp_path / "killed")
    shutil.rmtree(killed.run / "evaluation")
    for _ in range(20):
        process = start(killed, "iterate", *LOOP)
        time.sleep(chance.uniform(0.05, 0.3) * length)
        with suppress(ProcessLookupError):  # it was quicker than we
            os.killpg(process.pid, signal.SIGKILL)  # and the stage that it had begun
        process.communicate()
    assert loop_to_end(killed) == expected
