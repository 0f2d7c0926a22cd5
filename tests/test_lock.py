"""One writer a directory, however the writer ends."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from genrec import lock
from genrec.errors import ArtifactError
from genrec.lock import only_writer

HOLD = """
import sys, time
from pathlib import Path
from genrec.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(target):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_told_who_holds_it(tmp_path):
    first = holder(tmp_path / "sft")
    try:
        with pytest.raises(ArtifactError, match=f"process {first.pid} on {socket.gethostname()}"):
            with only_writer(tmp_path / "sft"):
                pass
        with only_writer(tmp_path / "rl"):
            pass
    finally:
        first.kill()
        first.wait()


def test_the_kernel_releases_it_when_its_process_is_killed(tmp_path):
    first = holder(tmp_path / "sft")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with only_writer(tmp_path / "sft"):
        pass


def test_a_file_system_without_locks_says_so(tmp_path, monkeypatch):
    import errno

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("genrec.lock.fcntl.flock", refuse)
    with pytest.raises(ArtifactError, match="has no file locks .No locks available.*another disk"):
        with only_writer(tmp_path / "sft"):
            pass


def test_a_directory_has_one_lock_however_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    with only_writer(Path(".")):
        for name in (tmp_path / "run", tmp_path / "link"):
            with pytest.raises(ArtifactError, match="is being written by process"), only_writer(name):
                pass


def test_a_call_that_fails_leaves_no_trace(tmp_path):
    with pytest.raises(ValueError), only_writer(tmp_path / "outputs" / "typo" / "sft"):
        raise ValueError
    assert not any(tmp_path.iterdir())


def test_a_call_that_fails_leaves_what_others_made(tmp_path):
    (tmp_path / "outputs").mkdir()
    with pytest.raises(ValueError), only_writer(tmp_path / "outputs" / "typo" / "sft"):
        (tmp_path / "outputs/typo/thesis.txt").write_text("mine")
        raise ValueError
    assert [path.name for path in (tmp_path / "outputs/typo").iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError), only_writer(tmp_path / "outputs" / "sft"):
        raise ValueError
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["typo"]


def test_the_refused_second_leaves_the_lock_of_the_first(tmp_path):
    first = holder(tmp_path / "run" / "sft")
    try:
        for _ in range(2):
            with pytest.raises(ArtifactError, match=f"process {first.pid} on"), only_writer(tmp_path / "run" / "sft"):
                pass
    finally:
        first.kill()
        first.wait()


def test_a_lock_that_its_holder_removed_locks_nothing(tmp_path, monkeypatch):
    """We opened the file, its holder removes it and lets go: what we lock then is no file that others would open."""
    target, path = tmp_path / "run" / "sft", tmp_path / "run" / ".sft.lock"
    take, calls = lock.take, []

    def slow_take(file, *places):
        calls.append(file)
        if len(calls) == 1:
            path.unlink()
            path.parent.rmdir()
        take(file, *places)

    monkeypatch.setattr(lock, "take", slow_take)
    with only_writer(target):
        assert len(calls) == 2 and lock.stands_at(path, calls[1])


CONTEND = """
import os, sys
from pathlib import Path
from genrec.errors import ArtifactError
from genrec.lock import only_writer
target, inside = Path(sys.argv[1]), Path(sys.argv[2])
entered = 0
while entered < 150:
    try:
        with only_writer(target):
            file = os.open(inside, os.O_CREAT | os.O_EXCL)  # fails where another one is within
            os.close(file)
            os.unlink(inside)
            entered += 1
            if entered % 3:
                raise InterruptedError
    except (ArtifactError, InterruptedError):
        pass
"""


def test_two_are_never_within_however_often_the_lock_is_removed(tmp_path):
    words = [sys.executable, "-c", CONTEND, str(tmp_path / "runs" / "run" / "sft"), str(tmp_path / "inside")]
    several = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[1] for process in several]
    assert [process.returncode for process in several] == [0, 0, 0], said
