"""An answer that was logged is read again: after closing, after a kill, beside other writers, in the midst of it."""

import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from genrec.artifacts import write_json
from genrec.errors import ArtifactError
from genrec.experiments import log as module
from genrec.experiments.assignment import Experiments, hash_user
from genrec.experiments.log import EXPERIMENTS, Slate, SlateLog, encode_slate, read_slates

TREE = {"experiments": {"ranker": {"salt": "s", "arms": {"a": {"share": 0.5}, "b": {"share": 0.5}}}}}
HALVES = Experiments.check(TREE, "test")


def slate(number, **changes):
    fields = dict(time=number, request=f"r{number}", user=f"u{number}", experiment="ranker", arm="a", version="1")
    return Slate(**(fields | dict(items=["x", "y"], scores=[2, 1.5]) | changes))


def files(directory, pattern):
    return sorted(directory.glob(pattern))


def test_what_was_appended_is_read_in_the_order_of_time(tmp_path):
    log = SlateLog(tmp_path, HALVES)
    log.append(slate(2, propensities=[0.5, 0.25]))
    log.append(slate(1, teams=["a", "b"]))
    log.close()
    assert not files(tmp_path, "journal-*") and len(files(tmp_path, "part-*")) == 1
    frame = read_slates(tmp_path).frame
    assert frame["request"].to_list() == ["r1", "r2"] and frame["scores"].to_list() == [[2.0, 1.5]] * 2
    assert frame["propensities"].to_list() == [None, [0.5, 0.25]] and frame["teams"].to_list() == [["a", "b"], None]


def test_users_can_be_logged_by_their_hash_alone(tmp_path):
    log = SlateLog(tmp_path, HALVES, user_key="secret")
    log.append(slate(1))
    log.close()
    assert read_slates(tmp_path).frame["user"].to_list() == [hash_user("u1", "secret")]
    assert b"u1" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_journals_become_parts_and_nothing_is_lost_or_doubled(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.005)
    log = SlateLog(tmp_path, HALVES, rows_a_part=10)
    for number in range(60):
        log.append(slate(number))
        time.sleep(0.001)
    log.close()
    assert 2 < len(files(tmp_path, "part-*")) and not files(tmp_path, "journal-*")
    assert read_slates(tmp_path).frame["request"].to_list() == [f"r{number}" for number in range(60)]


KILLED = """
import sys, time
from pathlib import Path
from tests.experiments.test_log import HALVES, SlateLog, slate
log = SlateLog(Path(sys.argv[1]), HALVES)
for number in range(200):
    log.append(slate(number))
time.sleep(1)
print("written", flush=True)
for number in range(200, 100000):
    log.append(slate(number))
time.sleep(60)
"""


def test_a_kill_loses_at_most_the_last_second(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    [journal] = files(tmp_path, "journal-*")
    with journal.open("a") as file:
        file.write('{"time": 5, "requ')
    slates = read_slates(tmp_path)
    assert slates.frame["request"].to_list()[:200] == [f"r{number}" for number in range(200)] and slates.torn == 1
    SlateLog(tmp_path, HALVES).close()  # a new writer makes a part of it
    assert not files(tmp_path, "journal-*") and len(read_slates(tmp_path).frame) == len(slates.frame)


def test_a_living_writer_is_left_alone_and_can_be_read(tmp_path):
    one, other = SlateLog(tmp_path, HALVES), SlateLog(tmp_path, HALVES)
    one.append(slate(1))
    one.flush()
    assert len(files(tmp_path, "journal-*")) == 2 and len(read_slates(tmp_path).frame) == 1
    other.append(slate(2))
    other.close()
    one.close()
    assert read_slates(tmp_path).frame["request"].to_list() == ["r1", "r2"]


TOGETHER = """
import sys
from pathlib import Path
from tests.experiments.test_log import HALVES, SlateLog, slate
sys.stdin.readline()
log = SlateLog(Path(sys.argv[1]), HALVES)
for number in range(50):
    log.append(slate(number, request=f"{sys.argv[2]}-{number}"))
log.close()
"""


def test_processes_that_begin_at_once_share_a_directory(tmp_path):
    commands = [[sys.executable, "-c", TOGETHER, str(tmp_path), str(number)] for number in range(3)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for command in commands]
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(read_slates(tmp_path).frame) == 150


def test_a_kill_between_part_and_removal_counts_once(tmp_path):
    log = SlateLog(tmp_path, HALVES)
    log.append(slate(1))
    log.close()
    [part] = files(tmp_path, "part-*")
    journal = tmp_path / (part.stem.replace("part-", "journal-") + ".jsonl")
    journal.write_text(encode_slate(slate(1), None))
    assert len(read_slates(tmp_path).frame) == 1
    SlateLog(tmp_path, HALVES).close()
    assert not journal.exists() and len(read_slates(tmp_path).frame) == 1


def test_a_log_that_cannot_be_written_says_so_to_the_next_append(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.005)
    log = SlateLog(tmp_path, HALVES)
    monkeypatch.setattr(module.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
    log.append(slate(1))
    log.thread.join(5)
    with pytest.raises(ArtifactError, match="cannot be written: .*No space left"):
        log.append(slate(2))
    with pytest.raises(ArtifactError, match="No space left"):
        log.close()
    log.journal.close()


def test_other_shares_under_one_name_are_refused(tmp_path):
    SlateLog(tmp_path, HALVES).close()
    arms = {"a": {"share": 0.9}, "b": {"share": 0.1}}
    with pytest.raises(ArtifactError, match=r"'ranker' with a 0.5, b 0.5, now it has a 0.9, b 0.1 .* new name"):
        SlateLog(tmp_path, Experiments.check({"experiments": {"ranker": {"salt": "s", "arms": arms}}}, "test"))
    SlateLog(tmp_path, Experiments.check({"experiments": {"ranker_2": {"salt": "s", "arms": arms}}}, "test")).close()
    assert set(module.read_experiments(tmp_path).by_name) == {"ranker", "ranker_2"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"scores": [1.0]}, "a slate of 2 items has 1 scores"),
        ({"propensities": [0.5, 0.0]}, r"must lie in \(0, 1\], found 0.0"),
        ({"scores": [1.0, float("nan")]}, "must be finite"),
        ({"user": "\ud800"}, "no Unicode that a file can hold"),
    ],
)
def test_a_slate_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        slate(1, **changes)


def test_broken_logs_are_refused_in_one_line(tmp_path):
    with pytest.raises(ArtifactError, match="is no log of answers"):
        read_slates(tmp_path)
    write_json(tmp_path / EXPERIMENTS, TREE)
    with pytest.raises(ArtifactError, match="holds no answer yet"):
        read_slates(tmp_path)
    journal = tmp_path / "journal-x-0.jsonl"
    journal.write_text('{"time": 1}\n')
    with pytest.raises(ArtifactError, match="line 1 is no answer"):
        read_slates(tmp_path)
    journal.unlink()
    pl.DataFrame({"time": [1.0]}).write_parquet(tmp_path / "part-x-0.parquet")
    with pytest.raises(ArtifactError, match="part-x-0.parquet is no part of a log"):
        read_slates(tmp_path)
