"""The examples do what they say; the notebook and the own CSV, which train, stand behind --slow."""

import importlib
import os
import re
import sys

import numpy as np
import polars as pl
import pytest

from tests import ROOT
from tests.small_model import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("examples") / "run")[0]


@pytest.fixture
def example(monkeypatch):
    """An example as a module."""
    names = []

    def load(name: str):
        monkeypatch.syspath_prepend(str(ROOT / "examples"))
        names.append(name)
        return importlib.import_module(name)

    yield load
    for name in names:
        sys.modules.pop(name, None)


def test_recommendations_in_python(run, example, capsys):
    example("recommend").main(str(run))
    said = capsys.readouterr().out
    assert said.count("shape: (5, 7)") == 2 and "Item" in said


def test_a_run_behind_fastapi(run, example, monkeypatch):
    from fastapi.testclient import TestClient

    monkeypatch.setenv("RUN", str(run))
    client = TestClient(example("fastapi_app").app)
    answer = client.post("/recommend", json={"history": ["B001", "B002"], "k": 3}).json()
    assert [row["rank"] for row in answer] == [1, 2, 3] and not {"B001", "B002"} & {row["item_id"] for row in answer}
    refused = client.post("/recommend", json={"history": ["B999"]})
    assert refused.status_code == 422 and "B999" in refused.json()["detail"]


VISITED = """
experiments:
  two:
    sampled: 1
    arms: {sft: {share: 0.5, model: sft}, rl: {share: 0.5, model: rl}}
"""


def test_held_out_rows_visit_a_served_experiment_and_the_report_reads_their_clicks(run, tmp_path, example, capsys):
    from genrec import cli
    from genrec.experiments.log import SlateLog, read_slates
    from genrec.serving.experiment import ServedExperiment, read_experiment
    from tests.serving.serving_model import serving

    module = example("ab_visitors")
    (tmp_path / "two.yaml").write_text(VISITED)
    experiments = read_experiment(tmp_path / "two.yaml")
    served = ServedExperiment(experiments, SlateLog(tmp_path / "slates", experiments))
    with serving(run, tmp_path / "e.sqlite", ("rl", "sft"), experiment=served) as (client, _):
        module.main(run, lambda path, body: client.post(path, json=body).json(), tmp_path / "outcomes.csv")
        visitor, history, wanted = next(module.read_visitors(run))
        past = client.get("/history", params={"user": visitor}).json()["items"]
        assert [item["id"] for item in past] == history and wanted not in history, (
            "the server does not know what is next"
        )
    example("ab_policy").main(run, "sft", tmp_path / "slates", tmp_path / "policy.csv", "rl")
    logged = read_slates(tmp_path / "slates").frame.join(pl.read_csv(tmp_path / "policy.csv"), on="request")
    first = logged.filter(pl.col("arm") == "sft").select("propensity", own=pl.col("propensities").list.first())
    assert len(first) and np.allclose(first["propensity"], first["own"], rtol=1e-3), "of the model that was logged"
    assert logged.select(pl.col("predicted", "predicted_policy").is_between(0.01, 1).all()).row(0) == (True, True)
    files = ["--logs", str(tmp_path / "slates"), "--outcomes", str(tmp_path / "outcomes.csv"), "--metric", "clicks"]
    cli.run_command("ab", [*files, "--policy", str(tmp_path / "policy.csv"), "--policy_of", "first"])
    said = capsys.readouterr().out
    assert "SNIPS" in said and re.search(r"\nDR +0", said)
    visitors = len(list(module.read_visitors(run)))
    assert f"experiment two: {visitors:,} users, {2 * visitors:,} answers" in said and "clicks, rl - sft:" in said


def test_an_experiment_with_simulated_users(tmp_path, example, monkeypatch, capsys):
    from genrec import cli

    module = example("ab_test")
    monkeypatch.setattr(module, "USERS", 400)
    module.main(tmp_path)
    words = {"logs": "logs", "outcomes": "outcomes.csv", "before": "before.csv", "policy": "policy.csv"}
    cli.run_command("ab", [word for flag, name in words.items() for word in (f"--{flag}", str(tmp_path / name))])
    said = capsys.readouterr().out
    assert "sample ratio: as dealt out" in said and "SNIPS" in said and "CUPED" in said


@pytest.mark.slow
def test_an_own_csv_becomes_a_recommender(tmp_path, example, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    example("own_csv").main(tmp_path)
    said = capfd.readouterr().out
    assert "A novel, volume 4" in said.rpartition("volume 3")[2]
    example("export_minionerec").main(tmp_path / "outputs/my_shop", "--config", str(tmp_path / "my.yaml"))


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("GENREC_PRESET", "tiny")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "examples/quickstart.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert "image/png" in notebook.cells[-1].outputs[0].data
