"""Several runs: means over seeds by hand, what differs, and the commands that show them."""

import json
import math

import pytest

from genrec import cli
from genrec.artifacts import MANIFEST, Manifest
from genrec.commandline import Command
from genrec.evaluation.runs import average_seeds, choose_rows, list_differences, read_run
from genrec.evaluation.runs_page import render_runs
from genrec.stages import evaluate
from tests.small_shop import small_config, small_shop, write_data


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on the same rows, of other histories."""
    home = tmp_path_factory.mktemp("runs")
    for name, length in (("a", 6), ("b", 3)):
        config = small_config(home / name, evaluation={"models": ["popular", "last_item"]})
        config.data.max_history = length
        write_data(config, small_shop())
        evaluate.evaluate(Command(config))
    return home


def test_means_over_seeds_are_those_of_a_table():
    """Student's t of 3 values: 4.3027 at two degrees of freedom."""
    mean = average_seeds([1.0, 2.0, 3.0])
    assert (mean.mean, mean.deviation, mean.seeds) == (2.0, 1.0, 3)
    assert (mean.low, mean.high) == pytest.approx((2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    assert math.isnan(average_seeds([0.5]).low) and average_seeds([0.5]).mean == 0.5
    assert average_seeds([0.1] * 40).low == pytest.approx(0.1)


def test_a_run_is_what_its_manifests_say_and_only_what_differs_is_named(runs):
    one, other = read_run(runs / "a"), read_run(runs / "b")
    assert list(one.rows) == ["last_item", "popular"] and one.dataset == "small"
    assert list_differences([one, other]) == {"data.max_history": [6, 3]}
    assert choose_rows(one, []) == ["last_item"] and choose_rows(one, ["sft", "popular"]) == ["popular"]


def test_other_raw_files_differ_and_of_several_sids_those_of_the_model_count(tmp_path):
    def write(place, stage, fingerprint, inputs, **config):
        (tmp_path / place).mkdir(parents=True)
        manifest = Manifest(stage, 1, fingerprint, config, inputs, {}, {}, {}, "", 0.0)
        (tmp_path / place / MANIFEST).write_text(json.dumps(vars(manifest)))

    for name, content in (("a", "1 bytes x"), ("b", "2 bytes y"), ("c", "1 bytes x")):
        write(f"{name}/data", "data", "d", {"events": content, "items": "1 bytes z"})
    for name in ("a", "c"):
        write(f"{name}/sids/rqkmeans", "sids", "s1", {"data": "d"}, **{"sids.method": "rqkmeans"})
        write(f"{name}/sft", "sft", "m", {"data": "d", "sids": "s1"})
    write("c/sids/rqkmeans_plus", "sids", "s2", {"data": "d"}, **{"sids.method": "rqkmeans_plus"})
    a, b, c = (read_run(tmp_path / name) for name in "abc")
    assert list_differences([a, c]) == {}
    assert list(list_differences([a, b])) == ["content of the raw files"]


def test_the_command_shows_runs_and_what_is_none(runs, capsys, monkeypatch):
    (runs / "notes.txt").write_text("mine")
    cli.run_command("runs", [*map(str, sorted(runs.iterdir()))])
    said = capsys.readouterr().out
    assert "data.max_history" in said and "notes.txt" in said.partition("no runs: ")[2]
    assert len([line for line in said.splitlines() if "last_item" in line]) == 2
    monkeypatch.chdir(runs)
    with pytest.raises(SystemExit):
        cli.run_command("runs", [])
    assert "there is no run below outputs/; name run directories, or make one: genrec run" in capsys.readouterr().err


def test_the_page_holds_pairs_and_differences_and_fetches_nothing(runs, tmp_path):
    page = render_runs([read_run(runs / "a"), read_run(runs / "b")], ["last_item", "popular"], seed=0)
    assert page.count("<tr>") >= 4 + 6 and "data.max_history" in page and "default-src 'none'" in page
    assert "http:" not in page and "https:" not in page


def test_any_number_of_models_is_compared_with_the_first(runs, tmp_path, capsys):
    names = [str(runs / where) for where in ("a/evaluation/popular", "a/evaluation/last_item", "b/evaluation/popular")]
    cli.run_command("compare", [*names, "--output_dir", str(tmp_path)])
    assert "60 rows, 2 tests, none corrected" in capsys.readouterr().out
    content = json.loads((tmp_path / "comparison.json").read_text())
    pair = tmp_path / "pair"
    cli.run_command("compare", ["--baseline", names[0], "--optimized", names[1], "--output_dir", str(pair)])
    assert content[0] == json.loads((pair / "comparison.json").read_text())
    with pytest.raises(SystemExit):
        cli.run_command("compare", [names[0]])
    assert "it takes two models" in capsys.readouterr().err
