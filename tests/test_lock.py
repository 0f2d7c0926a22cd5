"""One writer a directory, however the writer ends."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

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
