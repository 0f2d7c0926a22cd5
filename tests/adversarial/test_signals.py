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


NAMED_IMPORTS = """\
import sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {"genrec", *sys.stdlib_module_names}:
            print(name, flush=True)
            time.sleep(0.05)

sys.meta_path.insert(0, Slow())
"""
SIGNALS = {signal.SIGINT: "stopped", signal.SIGTERM: "stopped by SIGTERM"}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize(
    "words, imports",
    [("-m genrec sft --help", n) for n in (1, 4, 20, 60)]
    + [("-m genrec presets", 1), ("sft.py --help", 1), ("data/prepare.py --help", 30), ("rq/rqvae.py --help", 8)]
    + [("UR4Rec/scripts/train.py --help", 1), ("UR4Rec/scripts/train.py --help", 40), ("tencentgr/main.py --help", 2)],
)
def test_a_signal_at_any_of_the_first_imports(tmp_path, number, words, imports):
    """Every library's modules say their name and take their time; the signal comes at the n-th."""
    (tmp_path / "sitecustomize.py").write_text(NAMED_IMPORTS)
    environment = ALONE | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, *words.split()], cwd=ROOT, env=environment, **pipes)
    names = [process.stdout.readline() for _ in range(imports)]
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    line = f"error: {SIGNALS[number]}; the same command goes on from here\n"
    assert all(names) and (process.returncode, said) == (128 + number, line)


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.2, 0.4, 0.6])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_at_some_moment_of_the_imports(tmp_path, number, delay):
    """Counted from the moment that the entry point is reached."""
    begun = "import genrec.cli; print('begun', flush=True); genrec.cli.main(['sft', '--help'])"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", begun], cwd=ROOT, env=ALONE, **pipes)
    assert process.stdout.readline() == "begun\n"
    time.sleep(delay)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    line = f"error: {SIGNALS[number]}; the same command goes on from here\n"
    at_its_end = (-number, "")  # Python has given the signal back to the system
    assert (process.returncode, said) in [(128 + number, line), (0, ""), at_its_end]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_while_python_ends(number):
    ending = "import atexit, time; atexit.register(lambda: (print('ending', flush=True), time.sleep(20))); "
    begun = f"{ending}import genrec.cli; genrec.cli.main(['presets'])"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", begun], cwd=ROOT, env=ALONE, **pipes)
    while process.stdout.readline() not in ("ending\n", ""):
        pass
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (
        128 + number,
        f"error: {SIGNALS[number]}; the same command goes on from here\n",
    )


def test_an_ignored_signal_stays_ignored():
    """`nohup`, or a shell's background job"""
    words = f"trap '' INT TERM; {sys.executable} -c 'import genrec.cli, os, signal; signal.raise_signal(2); "
    words += "signal.raise_signal(15); genrec.cli.exit_on_signals(); signal.raise_signal(2); signal.raise_signal(15)'"
    done = subprocess.run(["sh", "-c", words], cwd=ROOT, env=ALONE, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_before_signals_are_answered_only_the_standard_library_is_imported():
    """The entry points import genrec.cli first."""
    words = "import sys; before = {*sys.modules}; import genrec.cli; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, env=ALONE, capture_output=True, text=True)
    others = {name for name in done.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}
    light = ("cli", "errors", "launch", "lines", "places", "signals")
    assert others == {"genrec"} | {f"genrec.{name}" for name in light}


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
