"""The command that writes what an analysis advises."""

import json
import subprocess
import sys

import pytest

from genrec import stage
from genrec.advice.plan import (
    describe_choices,
)
from genrec.commandline import Command
from genrec.stages import advise as advise_command
from tests import ROOT
from tests.advice.reports import pattern, report, written
from tests.small_shop import small_config


def call(*arguments: str, tmp_path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "optimization_strategies.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)


def test_the_command_writes_overlay_and_evidence(tmp_path):
    (tmp_path / "badcase_report.json").write_text(json.dumps(written(report(cold_item=pattern(0.3, 0.0)))))
    paths = ("--badcase_report", "badcase_report.json", "--output_config", "optimized_config.json")
    done = call(*paths, "--auto_recommend", tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cold item in 30.0% of 100 bad cases" in done.stdout and "description_to_sid: 0.0 -> 1.0" in done.stdout
    overlay = json.loads((tmp_path / "optimized_config.json").read_text())
    assert overlay["sft"]["tasks"]["description_to_sid"] == 1.0
    evidence = json.loads((tmp_path / "optimized_config.evidence.json").read_text())
    assert evidence["first_stage"] == "sft" and evidence["strategies"]["cold_start"]["advised"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--badcase_report", "r.json", "--strategies", "long_tale"],
            "unknown strategy 'long_tale'; there are: long_tail",
        ),
        (["--badcase_report", "r.json"], "no terminal to ask on; pass --auto_recommend"),
        (["--badcase_report", "none.json", "--auto_recommend"], "none.json cannot be read"),
        (["--badcase_report", "bad.json", "--auto_recommend"], "is not valid JSON"),
        (["--badcase_report", "list.json", "--auto_recommend"], "is not a report of `python analyze_badcase.py`"),
    ],
)
def test_misuse_is_one_line_with_the_way_on(arguments, message, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(written(report())))
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    done = call(*arguments, tmp_path=tmp_path)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_the_menu_takes_numbers_names_or_nothing_and_asks_again(monkeypatch, capsys):
    planted = report(cold_item=pattern(0.3, 0.0))
    answers = iter(["12", "4, long_tail", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert advise_command.ask_for_strategies(planted) == ["sid_quality", "long_tail"]
    shown = capsys.readouterr().out
    assert "'12' is neither a number from 1 to 11" in shown and "2. cold_start (advised)" in shown
    assert advise_command.ask_for_strategies(planted) == ["cold_start"]
    assert describe_choices(planted).count("not advised") == 10


def test_a_run_that_was_moved_or_fetched_is_named_where_it_lies(tmp_path, monkeypatch):
    analysed = {"run": {"dir": "outputs/elsewhere", "seed": 7}}
    source = tmp_path / "moved/analysis/sft/badcase_report.json"
    monkeypatch.chdir(tmp_path)
    assert advise_command.place_of_report(source, analysed) is analysed, "it lies in no run"
    stage.run("data", Command(small_config(tmp_path / "moved")), lambda config, directory: {})
    assert advise_command.place_of_report(source, analysed)["run"] == {"dir": "moved", "seed": 7}
    here = {"run": {"dir": str(tmp_path / "moved")}}
    assert advise_command.place_of_report(source, here) is here
