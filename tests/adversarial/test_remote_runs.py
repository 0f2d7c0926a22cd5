"""A second machine with nothing but the configuration and the URL: its commands, and what they print."""

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from genrec.artifacts import read_manifest
from genrec.objects import open_store
from tests.adversarial.shop import Shop


class Machine(Shop):
    """A run directory of one machine, and the URL that it shares."""

    @property
    def run(self) -> Path:
        return self.home / "run"

    def flags(self, *more: str) -> list[str]:
        return [*super().flags(*more), "--run.remote", os.environ["SHARED_URL"]]


@pytest.fixture
def machines(shop, tmp_path, monkeypatch):
    """(the one that has made a run and sent what its table rests on, an empty one)."""
    monkeypatch.setenv("SHARED_URL", f"memory://{uuid.uuid4().hex}/runs/small")
    first, second = Machine(shop.home), Machine(tmp_path / "other")
    first.call("evaluate").check(0, "sft: sent to memory://.*/sft: .* files")
    second.home.mkdir()
    shutil.copy(first.preset, second.preset)
    return first, second


def names_in(run):
    return {path.parent.relative_to(run).as_posix() for path in run.rglob("manifest.json")}


def test_a_second_machine_evaluates_what_the_first_one_made(machines):
    first, second = machines
    done = second.call("evaluate", "--models", "popular,sft")
    done.check(0, "evaluation: sft: up to date")
    assert names_in(second.run) == {"data", "sids/rqkmeans", "sft", "evaluation/popular", "evaluation/sft"}
    for name in names_in(second.run):
        assert read_manifest(second.run / name) == read_manifest(first.run / name)
    done = second.call("evaluate", "--models", "sft", "--num_beams", "12")
    done.check(0, "evaluation: sft.num_beams-12: done in")
    first.call("evaluate", "--models", "sft", "--num_beams", "12").check(0, "sft.num_beams-12: up to date")


def test_a_second_machine_recommends_as_the_first_one_does(machines, monkeypatch):
    first, second = machines
    words = ("recommend", "--user", "u3", "--k", "3")
    wanted = first.call(*words)
    wanted.check(0, "u3")
    found = second.call(*words)
    found.check(0, "sft: fetched from")
    assert lines_of_list(found.out) == lines_of_list(wanted.out)
    assert names_in(second.run) == {"data", "sids/rqkmeans", "sft", "evaluation/sft"}, "the first sent no rl"
    first.call("rl").check(0, "rl: sent to")
    second.call(*words).check(0, "rl: fetched from")
    monkeypatch.setattr(type(open_store(os.environ["SHARED_URL"]).files), "get_file", None)
    assert second.call(*words).code == 0, "nothing is fetched twice"


def lines_of_list(out):
    return [line for line in out.splitlines() if "fetched from" not in line and not line.startswith("run: ")]


def test_without_a_file_the_data_settings_are_those_of_the_run_at_the_url(machines):
    _, second = machines
    flags = ["--run.dir", str(second.run), "--run.remote", os.environ["SHARED_URL"]]
    bare = replace(second)
    bare.__class__ = Bare
    bare.call("evaluate", *flags, "--models", "popular,last_item").check(0, "evaluation: last_item: done in")


class Bare(Shop):
    def flags(self, *more: str) -> list[str]:
        return list(more)


def test_an_analysis_of_the_second_machine_is_that_of_the_first(machines):
    first, second = machines
    first.call("analyze").check(0, "analysis: up to date\nanalysis: sent to")
    second.call("analyze").check(0, "analysis: fetched from .*\nanalysis: up to date")
    for name in ("analysis/sft",):
        assert read_manifest(second.run / name) == read_manifest(first.run / name)


def test_analysis_and_rl_made_on_the_second_machine_are_those_of_the_first(machines):
    first, second = machines
    second.call("rl").check(0, "sft: fetched from .*(\n.*)*rl: done in .*\nrl: sent to")
    assert read_manifest(second.run / "rl").fingerprint == read_manifest(first.run / "rl").fingerprint
    second.call("analyze").check(0, "sequential: fetched from(.*\n)*.*analysis: done in")
    first.call("rl").check(0, "rl: up to date")


def test_the_loop_begins_from_what_is_at_the_url(machines, monkeypatch):
    _, second = machines
    monkeypatch.setattr("genrec.stages.iterate.run_loop", lambda command: None)
    second.call("iterate", "--dry-run").check(0, "")
    assert not second.run.exists()
    second.call("iterate").check(0, "sft: fetched from")
    assert names_in(second.run) == {"data", "sids/rqkmeans", "sft"}


def test_a_server_fetches_the_models_that_it_answers_by(machines, monkeypatch):
    _, second = machines
    served = []
    monkeypatch.setattr("genrec.stages.serve.require_extra", lambda: None)
    monkeypatch.setattr("genrec.stages.serve.run_server", lambda plan: served.append(names_in(second.run)))
    second.call("serve", "--also", "sasrec").check(0, "sequential: fetched from")
    assert served == [{"data", "sids/rqkmeans", "sft", "sequential", "evaluation/sft", "evaluation/sasrec"}]


@pytest.mark.parametrize("command", ["recommend --user u3", "evaluate", "export"])
def test_a_mistyped_url_is_one_line_and_leaves_no_trace(machines, monkeypatch, command):
    _, second = machines
    monkeypatch.setenv("SHARED_URL", "memory://nowhere/runs/smal")
    second.call(*command.split()).check(1, "memory://nowhere/runs/smal holds no run: there is no memory://nowhere/runs")
    assert not second.run.exists()


def test_the_pipeline_on_a_second_machine_makes_what_is_missing_alone(machines, monkeypatch):
    """`genrec run` calls its stages as processes, which here are calls: a memory of one process is the store."""
    _, second = machines
    monkeypatch.setattr("genrec.stages.run.call", lambda command, flags, *_: call_stage(command, flags))
    done = second.call("run", "--yes", "--skip", "embeddings,rl,convert,analysis", "--to", "evaluation")
    done.check(0, "Elsewhere: genrec recommend --run.dir DIR --run.remote memory://.* --user u0\n$")
    assert names_in(second.run) >= {"data", "sids/rqkmeans", "sequential", "sft", "evaluation/sft"}


def call_stage(command, flags):
    from tests.adversarial.shop import call

    outcome = call(command, *flags)
    print(outcome.out)
    assert outcome.code == 0 and ": done in" not in outcome.out, outcome
