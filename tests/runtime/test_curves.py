"""Curves of our own loops: what is recorded can be read back, and steps that are done anew are recorded once."""

import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from genrec.config import Run
from genrec.errors import ArtifactError
from genrec.runtime import curves
from genrec.runtime.curves import TRACKERS, describe_dashboard, open_curves, scalar_log
from tests import ROOT


def values_of(directory, name: str) -> list[tuple[int, float]]:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_a_loop_that_goes_on_records_each_step_once(tmp_path):
    pytest.importorskip("tensorboard")
    record = open_curves("tensorboard", tmp_path, "run")
    for step in (1, 2, 3):
        record({"loss": float(step)}, step)
    record = open_curves("tensorboard", tmp_path, "run", last_step=1)
    for step in (2, 3):
        record({"loss": 10.0 * step}, step)
    assert values_of(tmp_path, "loss") == [(1, 1.0), (2, 20.0), (3, 30.0)]


def test_loops_side_by_side_have_a_directory_each(tmp_path):
    pytest.importorskip("tensorboard")
    scalar_log("tensorboard", tmp_path, "joint")({"loss": 0.5}, 1)
    assert values_of(tmp_path / "tensorboard/joint", "loss") == [(1, 0.5)]


def test_none_writes_nothing(tmp_path):
    open_curves("none", tmp_path / "curves", "run")({"loss": 1.0}, 1)
    assert not (tmp_path / "curves").exists()


def test_an_unknown_tracker_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ArtifactError, match="no tracker 'wandb'; known: none, swanlab, tensorboard"):
        open_curves("wandb", tmp_path, "run")


@contextmanager
def dashboard(tracker: str, directory, port: int):
    """The printed command, started on a port of its own; its address as soon as it answers."""
    line = describe_dashboard(tracker, directory)
    program, *arguments = shlex.split(re.search("`(.*)`", line).group(1))
    command = [str(Path(sys.executable).with_name(program)), *arguments, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def fetch(address: str, seconds: float = 60) -> str:
    """A page of a server that is just starting."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


RECORD = """
import sys
from pathlib import Path
from genrec.runtime.curves import open_curves
record = open_curves(sys.argv[1], Path(sys.argv[2]), "run-sft")
for step in (1, 2, 3):
    record({"loss/train": 1 / step}, step)
"""


@pytest.mark.parametrize(
    ("tracker", "page", "sign"),
    [("swanlab", "/api/v1/project", "run-sft"), ("tensorboard", "/data/plugin/scalars/tags", "loss/train")],
)
def test_the_printed_command_shows_the_curves_without_an_account(tmp_path, tracker, page, sign):
    for package in TRACKERS[tracker].packages:
        pytest.importorskip(package)
    directory = tmp_path / "a run" / "logs"
    done = subprocess.run([sys.executable, "-c", RECORD, tracker, str(directory)], capture_output=True, text=True)
    assert done.returncode == 0 and describe_dashboard(tracker, directory)[8:] in done.stdout, done.stderr
    with dashboard(tracker, directory, free_port()) as address:
        assert "<html" in fetch(address).lower()
        assert sign in fetch(address + page)


@pytest.mark.parametrize("missing", ["swanlab", "swanboard"])
def test_a_tracker_that_could_show_nothing_is_refused_with_the_pip_command(monkeypatch, missing):
    monkeypatch.setattr(curves, "installed", lambda package: None if package == missing else "1")
    with pytest.raises(ArtifactError, match=rf"needs {missing}, .*pip install 'swanlab\[dashboard\]', or .*none"):
        curves.check_installed("swanlab")
    curves.check_installed("none")


def test_the_pip_command_installs_what_is_pinned():
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    assert all(any(pin.startswith(f"{tracker.requirement}==") for pin in pins) for tracker in TRACKERS.values())


def test_a_training_ends_with_the_command_and_without_a_tracker_with_nothing(tmp_path, capsys):
    curves.note_dashboard("sft", Run(dir=tmp_path, tracker="none"))
    assert capsys.readouterr().out == ""
    curves.note_dashboard("sft", Run(dir=tmp_path, tracker="tensorboard"))
    assert f"sft: curves: `tensorboard --logdir {tmp_path}/logs/tensorboard` shows" in capsys.readouterr().out
