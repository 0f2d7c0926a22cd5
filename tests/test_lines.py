"""Lines on the screen: under a pseudo-terminal of 80 columns, read as a terminal shows them."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from genrec.lines import HeldBack, Milestones
from tests import ROOT

WIDTH = 80


def run_on_terminal(code: str, *arguments: str) -> list[str]:
    """What stands on the screen once `python -c code` has ended, a line a row; stdout and stderr are one terminal."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    words = [sys.executable, "-c", code, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower, env=environment, cwd=ROOT)
    os.close(follower)
    written = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not block:
            break
        written += block
    process.wait()
    os.close(leader)
    return show(written.decode())


def show(written: str) -> list[str]:
    """The rows of an endless screen: carriage return, newline, up, and the erasing of a line's rest."""
    rows, row, column = [""], 0, 0
    place = 0
    while place < len(written):
        letter = written[place]
        if written.startswith("\x1b[A", place):
            row, place = row - 1, place + 3
            continue
        if written.startswith("\x1b[K", place):
            rows[row], place = rows[row][:column], place + 3
            continue
        if letter == "\r":
            column = 0
        elif letter == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        else:
            rows[row] = rows[row].ljust(column)[:column] + letter + rows[row][column + 1 :]
            column += 1
        place += 1
    return [each.rstrip() for each in rows]


def test_the_screen_of_these_tests_by_hand():
    assert show("ab\rc\r\nxyz\r\x1b[Knew\x1b[A\rX") == ["Xb", "new"]


EPOCHS = """
import time
from pathlib import Path
import sys, torch
from genrec.launch import note
from genrec.runtime.epochs import LearnerState, fit, highest

class Learner:
    def train_epoch(self, epoch, save):
        note("train", f"a line within epoch {epoch + 1}")
        time.sleep(0.12)  # tqdm draws ten times a second
        return {"loss": 1.0}
    def state(self):
        return LearnerState({"model.weight": torch.zeros(1)}, {})

fit(Learner(), lambda: {"ndcg@10": 0.5}, 4, 0, Path(sys.argv[1]), name="sequential: sasrec", bests={"best": highest("ndcg@10")})
note("sequential", "done")
"""  # noqa: E501

TRAINER = """
import sys, time
from types import SimpleNamespace
from genrec.errors import fail
from genrec.launch import hold_back_notes
hold_back_notes()
from genrec.training.screen import {screen}

shown = {screen}({arguments})
args = SimpleNamespace(disable_tqdm=False, eval_strategy="steps")
state = lambda step: SimpleNamespace(global_step=step, max_steps=4, epoch=step / 4, is_world_process_zero=True)
shown.on_train_begin(args, state(0), None)
for step in range(1, 4):
    time.sleep(0.12)
    shown.on_step_end(args, state(step), None)
    shown.on_log(args, state(step), None, logs={{"loss": 2.0, "learning_rate": 1e-3, "reward": 0.5}})
    shown.on_log(args, state(step), None, logs={{"eval_ndcg@10": 0.25, "eval_hr@10": 0.5}})
shown.close()
fail("stopped")
"""

EVALUATION = """
import time
from tqdm import tqdm
from genrec.errors import fail
from genrec.launch import note
with tqdm(total=3, desc="evaluation: sft", unit="row") as bar:
    for row in range(3):
        time.sleep(0.12)
        bar.update()
        note("evaluation", f"a line after row {row + 1}")
    fail("the disk is full")
"""

PIPELINE = """
import subprocess, sys
from genrec.lines import relay_line
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], stdout=subprocess.PIPE, text=True)
for line in child.stdout:
    relay_line(line)
child.wait()
relay_line("pipeline: on\\n")
"""


def test_lines_of_the_epoch_loop_stand_above_its_bar(tmp_path):
    rows = run_on_terminal(EPOCHS, str(tmp_path))
    assert rows[:4] == [f"train: a line within epoch {n}" for n in (1, 2, 3, 4)]
    assert rows[4].startswith("sequential: sasrec: 100%|") and rows[4].endswith("ndcg@10 0.5000, best 1]")
    assert rows[5:] == ["sequential: done", ""] and all(len(row) <= WIDTH for row in rows)


@pytest.mark.parametrize(
    ("screen", "arguments", "text"),
    [
        ("SftScreen", "5000", "sft: step {}/4: loss 2.000"),
        pytest.param("RlScreen", "", "rl: step {}/4: reward 0.500", marks=pytest.mark.slow),
    ],
)
def test_validations_of_the_trainer_stand_above_its_bar_and_an_error_below(screen, arguments, text):
    rows = run_on_terminal(TRAINER.format(screen=screen, arguments=arguments))
    assert rows[:3] == [f"{text.format(step)}; valid NDCG@10 0.2500, HR@10 0.5000" for step in (1, 2, 3)]
    assert rows[3].startswith(f"{text[: text.index(':')]}:  75%|") and rows[4:] == ["error: stopped", ""]


def test_lines_of_an_evaluation_stand_above_its_bar_and_its_error_too():
    rows = run_on_terminal(EVALUATION)
    assert rows[:3] == [f"evaluation: a line after row {n}" for n in (1, 2, 3)]
    assert rows[3] == "error: the disk is full" and rows[4].startswith("evaluation: sft: 100%|") and rows[5:] == [""]


def test_the_pipeline_takes_lines_of_a_stage_off_the_bar_that_the_stage_draws(tmp_path):
    rows = run_on_terminal(PIPELINE, str(tmp_path), EPOCHS)
    said = [row for row in rows if row and "|" not in row]
    assert said == [*(f"train: a line within epoch {n}" for n in (1, 2, 3, 4)), "sequential: done", "pipeline: on"]


def test_the_epoch_loop_says_a_handful_where_there_is_no_terminal(tmp_path):
    code = EPOCHS.replace("0.12", "0").replace(", 4, 0,", ", 60, 0,")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    said = [line for line in done.stdout.splitlines() if line.startswith("sequential: sasrec")]
    assert [line.split(":")[2] for line in said] == [f" epoch {n}/60" for n in (12, 24, 36, 48, 60)]
    assert said[0] == "sequential: sasrec: epoch 12/60: loss 1.0000, ndcg@10 0.5000, best after epoch 1"


def test_milestones_are_spread_over_the_whole_length():
    def reached(length, done=0):
        milestones = Milestones(length, done)
        return [step for step in range(done + 1, length + 1) if milestones.reached(step)]

    assert reached(3) == [1, 2, 3] and reached(10) == [2, 4, 6, 8, 10] and reached(100, done=50) == [60, 80, 100]


def test_held_back_messages_come_when_they_are_asked_for(caplog):
    held = HeldBack("tests.kernels", "Failed to load")
    held.logger.addFilter(held)
    held.logger.warning("Failed to load %s", "x")
    held.logger.warning("something else")
    assert caplog.messages == ["something else"]
    held.release()
    assert caplog.messages == ["something else", "Failed to load x"] and held not in held.logger.filters
