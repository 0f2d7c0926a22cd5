"""The console command: every command answers, a typo is told, scripts of the checkout are shells over it."""

import ast
import subprocess
import sys
from importlib import import_module

import pytest

from genrec import __version__
from genrec.cli import is_checkout, purposes
from genrec.pipeline import ADVISE, COMPARE, ITERATE, RUN, STAGES
from genrec.presets import preset_names
from tests import ROOT


def genrec(*words, **rest):
    return subprocess.run([sys.executable, "-m", "genrec", *words], capture_output=True, text=True, cwd=ROOT, **rest)


def test_the_overview_names_every_command_and_a_way_to_begin():
    out = genrec().stdout
    assert all(f"  {name} " in out for name in purposes()) and "genrec run --config quickstart --yes" in out
    assert genrec("--version").stdout == f"genrec {__version__}\n"


def test_presets_are_listed_with_what_they_are():
    out = genrec("presets").stdout
    assert all(f"\n{name} " in out for name in preset_names()) and "The toy shop" in out


def test_a_typo_is_one_line_with_the_nearest_command():
    done = genrec("sftt")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: unknown command 'sftt'; did you mean 'sft'?") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", purposes())
def test_every_command_has_a_module(command):
    assert callable(import_module(f"genrec.stages.{command}").main)


@pytest.mark.parametrize(
    ("script", "command"),
    [(stage.script, stage.command) for stage in STAGES.values()] + [(b, a) for a, b in (ADVISE, COMPARE, ITERATE)],
)
def test_scripts_are_shells_of_a_few_lines(script, command):
    text = (ROOT / script).read_text()
    assert f'run_script(__file__, "{command}"' in text and len(ast.parse(text).body) == 3
    assert is_checkout(ROOT)
    assert RUN[0] in purposes() and (ROOT / RUN[1]).is_file()


def test_a_closed_pipe_is_no_traceback():
    words = f"{sys.executable} -m genrec rl --help | head -1"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "" and done.stdout.count("\n") == 1
