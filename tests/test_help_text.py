"""--help lists every knob at once, with the values at hand; --show-config says where each value came from."""

import subprocess
import sys

import pytest
import yaml

from genrec.commandline import parse, stage_program
from genrec.help_text import help_text, show_config
from tests import ROOT, parse_flags

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.py", "data/*.py", "rq/**/*.py")
    for path in ROOT.glob(pattern)
    if "run_script(" in path.read_text()
)


def help_of(section, *argv):
    """The help of a stage's command."""
    return help_text(stage_program("genrec", "", section), None, {})


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_teaches_without_heavy_imports(script):
    """--help lists the script's knobs and imports neither torch nor transformers, so that it answers at once."""
    code = (
        "import os, runpy, sys; sys.path[0] = os.path.dirname(sys.argv[1]); sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'faiss', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ROOT / script)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout or "--baseline" in done.stdout


def test_help_names_the_values_a_knob_takes_and_the_short_flags(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    data, evaluation, rl = map(help_of, ("data", "evaluation", "rl"))
    words = " ".join(evaluation.split())
    assert "(amazon18 | amazon23 | movielens | minionerec | toy | table; default amazon18)" in " ".join(data.split())
    assert "--category is --data.dataset" in words and "--dataset is" not in data
    assert "| ensemble; default popular,last_item,sft)" in words and "default {'ranking': 1.0}" in " ".join(rl.split())
    assert "also --train_batch_size" in " ".join(rl.split()) and "None" not in data + evaluation + rl


@pytest.mark.parametrize("columns", [60, 100])
def test_help_wraps_to_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    long = [line for line in help_of("sft").splitlines() if len(line) > columns and " " in line.strip()]
    assert not long


def test_help_shows_the_values_of_the_files_of_this_call(capsys):
    with pytest.raises(SystemExit) as end:
        parse(stage_program("genrec sft", "", "sft"), ["--help", "--config", "tiny"])
    assert not end.value.code
    text = " ".join(capsys.readouterr().out.split())
    assert "peak rate (cosine, warm-up) (default 0.0005; tiny.yaml: 0.005)" in text


def test_the_resolved_configuration_is_yaml_that_means_the_same(tmp_path):
    command = parse_flags(["--config", "tiny", "--run.seed", "7", "--sft.lora.r", "4"])
    text = show_config(command)
    assert "  seed: 7  # --run.seed" in text and "  batch_size: 8  # tiny.yaml" in text and "# quickstart.yaml" in text
    path = tmp_path / "resolved.yaml"
    path.write_text(text)
    assert parse_flags(["--config", str(path)]).config == command.config
    assert yaml.safe_load(text)["sft"]["lora"]["r"] == 4


@pytest.mark.parametrize("command", ["run", "sft", "advise", "compare", "iterate"])
def test_every_kind_of_command_has_help(command):
    done = subprocess.run([sys.executable, "-m", "genrec", command, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "--config" in done.stdout, done.stderr
