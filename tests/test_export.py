"""An export answers as its run does, says what small numbers cost, and keeps the contract of a stage."""

import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import pytest

import genrec
from genrec import stage
from genrec.artifacts import MANIFEST, read_json, read_manifest, write_json
from genrec.commandline import Command
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.metrics import Recommendations
from genrec.models import onnx_export
from genrec.models.exported import GRAPHS
from genrec.stages import export, push
from tests import ROOT
from tests.small_model import DECODING, write_run
from tests.small_shop import small_config

HISTORIES = [["B001", "B002", "B003"], ["B007"], ["B010", "B004"], []]


def config_of(run, **knobs):
    return small_config(run, evaluation={"normalization": "trie", **DECODING}, export={"max_loss": 1, **knobs})


def make(run, **knobs):
    command = Command(config_of(run, **knobs))
    settled = command._replace(config=export.settle(command))
    stage.run("export", settled, export.build, export.fingerprint_model)
    return run / "export"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory, _ = write_run(tmp_path_factory.mktemp("runs") / "run")
    make(directory)
    return directory


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def assert_same_lists(ours, theirs):
    assert ours.drop("score").equals(theirs.drop("score"))
    assert np.allclose(ours["score"], theirs["score"], atol=1e-4)


def test_the_float32_graph_gives_the_lists_of_the_run(run):
    assert_same_lists(
        genrec.load(run, backend="onnx").recommend(HISTORIES, k=8), genrec.load(run, "rl").recommend(HISTORIES, k=8)
    )
    users = ["u3", "u4"]
    assert_same_lists(
        genrec.load(run, backend="onnx").recommend(users=users, k=5, deny=["B005"]),
        genrec.load(run, "rl").recommend(users=users, k=5, deny=["B005"]),
    )


def test_the_directory_alone_answers_as_the_model_does(run):
    own, alone = genrec.load(run / "rl"), genrec.load(run / "export")
    assert alone.model == "rl"
    assert_same_lists(alone.recommend(HISTORIES, k=12), own.recommend(HISTORIES, k=12))


def test_exact_ranking_and_explain_read_the_graph_too(run):
    torch_, onnx = (genrec.load(place, ranking="exact") for place in (run / "rl", run / "export"))
    assert_same_lists(onnx.recommend(HISTORIES, k=15), torch_.recommend(HISTORIES, k=15))
    explained = [shop.explain(["B001", "B002"], "B003") for shop in (torch_, onnx)]
    assert np.allclose(explained[0]["probability"], explained[1]["probability"], atol=1e-5)
    with pytest.raises(ConfigError, match="explain needs backend torch, ranking exact or a frontier"):
        genrec.load(run / "export").explain(["B001"], "B003")


def test_a_frontier_over_the_graph_proves_the_same_lists(run):
    settings = {"decoding": "frontier", "frontier_budget": 1000, "num_beams": 8}
    torch_, onnx = (genrec.load(run, backend=name, **settings).recommend(HISTORIES, k=8) for name in ("torch", "onnx"))
    assert_same_lists(onnx, torch_)
    assert onnx["exact"].all()


def test_allowed_items_alone_are_listed(run):
    allow = ["B002", "B005", "B006", "B011"]
    lists = [
        genrec.load(run, backend=name, num_beams=17).recommend(HISTORIES, k=8, allow=allow)
        for name in ("torch", "onnx")
    ]
    assert_same_lists(lists[1], lists[0])


@pytest.mark.parametrize("backend", [*GRAPHS, "torch"])
def test_every_backend_answers(run, backend):
    lists = genrec.load(run / "export", backend=backend).recommend(HISTORIES[:3], k=5)
    assert lists.group_by("user").len()["len"].to_list() == [5, 5, 5] and lists["score"].is_finite().all()


def test_the_manifest_says_what_each_costs(run):
    manifest = read_manifest(run / "export")
    assert set(manifest.inputs) == {"data", "sids", "rl"} and manifest.statistics["model"] == "rl"
    found, rows = manifest.statistics["backends"], manifest.statistics["rows"]
    assert list(found) == ["onnx", "onnx-int8", "onnx-int4", "bfloat16"] and rows == 60
    for name, costs in found.items():
        assert costs["published"] and costs["speed"] > 0 and 0 <= costs["top10_overlap"] <= 1, name
        assert costs["metric"] == "ndcg@8" and set(costs["change"]) == {"mean", "low", "high"}
        files = read_json(run / "export" / "export.json")["files"][name]
        assert costs["bytes"] == sum(files.values()) == sum((run / "export" / file).stat().st_size for file in files)
    assert found["onnx"]["top10_overlap"] == 1 and found["onnx"]["change"]["mean"] == 0
    assert 0.4 < found["bfloat16"]["share_of_float32"] < 0.7


def test_loading_and_answering_import_neither_torch_nor_transformers(run):
    code = (
        "import sys, genrec; shop = genrec.load(sys.argv[1], backend='onnx-int8'); "
        "print(len(shop.recommend([['B001', 'B002']], k=5))); "
        "print([name for name in ('torch', 'transformers', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, run / "export"], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split("\n")[:2] == ["5", "[]"], done.stderr


SERVE_WITHOUT_TORCH = """
import importlib.util, sys
from starlette.testclient import TestClient
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "torch" else find(name, *more)
from genrec.stages import serve
serve.run_server = lambda plan: setattr(serve, "app", serve.build_app(plan))
serve.main(["--export", sys.argv[1], "--events", sys.argv[2]])
with TestClient(serve.app, base_url="http://localhost") as client:
    answer = client.post("/recommend", json={"history": ["B001", "B002"], "k": 5}).json()
print(len(answer["items"]), answer["exact"], [name for name in ("torch", "transformers") if name in sys.modules])
"""


def test_an_export_is_served_without_torch(run, tmp_path):
    command = [sys.executable, "-c", SERVE_WITHOUT_TORCH, run / "export", tmp_path / "events.sqlite"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    said = done.stdout.splitlines()
    assert said[-1] == "5 False []", done.stdout + done.stderr
    assert "torch, which proves lists, is not installed: they come from beams, and are not proven" in said[-2]


def test_what_is_there_is_up_to_date_and_other_settings_are_refused(run, capsys):
    before = (run / "export" / MANIFEST).read_bytes()
    make(run)
    assert "export: up to date" in "".join(capsys.readouterr())
    assert (run / "export" / MANIFEST).read_bytes() == before
    with pytest.raises(
        ArtifactError, match=r"export.rows is 500 there, 10 asked\..* or `.*export --clean` \(with your"
    ):
        make(run, rows=10)
    with pytest.raises(ArtifactError, match=r"export.model is 'rl' there, 'sft' asked"):
        make(run, model="sft")


def test_killed_after_the_graph_it_goes_on_to_the_same_artifact(copy, run, monkeypatch):
    shutil.rmtree(copy / "export")

    def kill(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(onnx_export, "write_int8", kill)
        make(copy)
    assert (copy / "export.partial" / GRAPHS["onnx"]).exists() and not (copy / "export").exists()
    monkeypatch.setattr(onnx_export, "write_graph", kill)  # what is finished is not made again
    make(copy)
    assert read_manifest(copy / "export").files == read_manifest(run / "export").files


def test_an_export_is_pushed_with_the_table_of_its_run(run, tmp_path, monkeypatch):
    push.main([str(run / "export"), "--output", str(tmp_path / "pushed")])
    said = (tmp_path / "pushed" / "README.md").read_text()
    assert "| **this model** |" in said and 'genrec.load(".", backend="onnx")' in said
    assert "by one of the backends onnx, onnx-int8, onnx-int4, torch." in said
    both = [
        genrec.load(place, backend="onnx-int8").recommend(HISTORIES, k=5)
        for place in (run / "export", tmp_path / "pushed")
    ]
    assert both[0].equals(both[1])


class Silent:
    """A backend that lists nothing."""

    def recommend(self, examples, k):
        return Recommendations(
            np.full((len(examples), k), -1, np.int32), np.full((len(examples), k), -np.inf, np.float32)
        )


def test_what_loses_too_much_is_not_published(copy, run, monkeypatch, capsys):
    shutil.rmtree(copy / "export")

    def write_graph(model, directory, fingerprint):
        for end in ("", ".data"):
            shutil.copy(run / "export" / f"step.onnx{end}", directory)

    load_side = export.load_side
    monkeypatch.setattr(onnx_export, "write_graph", write_graph)
    monkeypatch.setattr(export, "load_side", lambda *of: Silent() if of[2] == "bfloat16" else load_side(*of))
    make(copy, max_loss=0.1, backends=["onnx", "bfloat16"])
    assert "not published: it loses more than 10%" in "".join(capsys.readouterr())
    assert list(read_json(copy / "export/export.json")["files"]) == ["onnx"]
    assert not (copy / "export/model.safetensors").exists()
    assert not read_manifest(copy / "export").statistics["backends"]["bfloat16"]["published"]
    with pytest.raises(ConfigError, match="has no weights for backend torch; it has onnx"):
        genrec.load(copy / "export", backend="torch")
    shutil.rmtree(copy / "export")
    with pytest.raises(ArtifactError, match="every backend loses more than 10%"):
        make(copy, max_loss=0.1, backends=["bfloat16"])


def test_a_graph_that_answers_otherwise_is_an_error(copy, run, monkeypatch):
    shutil.rmtree(copy / "export")
    monkeypatch.setattr(onnx_export, "write_graph", lambda *of: None)
    load_side = export.load_side
    monkeypatch.setattr(export, "load_side", lambda *of: Silent() if of[2] == "onnx" else load_side(*of))
    with pytest.raises(ArtifactError, match="shares 0.0% of its lists with the model, 99% are needed"):
        make(copy, backends=["onnx"])


def flip_a_bit(directory):
    path = directory / "step.onnx.data"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "backend", "said"),
    [
        (
            lambda d: (d / "step_int8.onnx.data").unlink(),
            "onnx-int8",
            "lacks step_int8.onnx.data, which backend onnx-int8",
        ),
        (lambda d: (d / "step.onnx").write_bytes(b"torn"), "onnx", "step.onnx has 4 bytes, export.json says"),
        (flip_a_bit, "onnx", "step.onnx.data .*sha256"),
        (lambda d: (d / "export.json").write_text("{}"), "onnx", "is no Export: .*make the export anew"),
        (lambda d: (d / "tokenizer.json").write_text("{}"), "onnx", "tokenizer.json is not of this model"),
    ],
)
def test_spoilt_files_are_named(copy, spoil, backend, said):
    spoil(copy / "export")
    with pytest.raises(ArtifactError, match=said):
        genrec.load(copy / "export", backend=backend)


def test_a_graph_of_another_model_is_refused(copy, run):
    record = read_json(copy / "export/export.json")
    write_json(copy / "export/export.json", record | {"model": "another"})
    with pytest.raises(ArtifactError, match="was made from model .*, export.json is of another"):
        genrec.load(copy / "export")


def test_what_is_not_there_is_named_with_the_way_on(run, tmp_path):
    with pytest.raises(ConfigError, match="no backend 'onnx_int8'; did you mean 'onnx-int8'"):
        genrec.load(run, backend="onnx_int8")
    with pytest.raises(ArtifactError, match="rl is no export: it has no export.json; make one"):
        genrec.load(run / "rl", backend="onnx")
    with pytest.raises(ConfigError, match="was made of rl, found model 'sft'"):
        genrec.load(run, "sft", backend="onnx")
    with pytest.raises(ConfigError, match="dtype bfloat16 is for backend torch"):
        genrec.load(run, backend="onnx", dtype="bfloat16")
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    with pytest.raises(ArtifactError, match="export is not there yet; run first: .*export"):
        genrec.load(tmp_path / "run", backend="onnx")


def test_without_torch_only_exports_answer(run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more))
    for place in (run, run / "rl"):
        with pytest.raises(ConfigError, match="computed by torch, which is not installed; name a backend of an export"):
            genrec.load(place)
    assert len(genrec.load(run, "item_knn").recommend(HISTORIES[:1], k=3)) == 3


def test_a_model_directory_is_exported_in_the_run_it_fits(copy, run, monkeypatch):
    shutil.rmtree(copy / "export")
    shutil.copytree(copy / "sft", copy.parent / "given", ignore=shutil.ignore_patterns(MANIFEST))
    make(copy, model=str(copy.parent / "given"), backends=["bfloat16"])
    manifest = read_manifest(copy / "export")
    assert set(manifest.inputs) == {"data", "sids", "model"} and manifest.statistics["model"] == "sft"
    assert list(manifest.statistics["backends"]) == ["bfloat16"]
    assert export.settle(Command(config_of(copy, model=str(copy / "sft")))).export.model == "sft"


def test_gguf_holds_the_model_for_other_programs(copy):
    pytest.importorskip("gguf", reason="needs `pip install --no-deps gguf`")
    shutil.rmtree(copy / "export")
    place = make(copy, backends=["gguf"])
    measured = read_manifest(place).statistics["backends"]["gguf"]
    assert measured["top10_overlap"] > 0.95 and measured["published"]
    assert {path.name for path in place.glob("model.*")} == {"model.gguf"} and not list(place.glob("*.onnx"))
    assert "no backend here answers from it" in (place / "README.md").read_text()
    with pytest.raises(ConfigError, match="no backend 'gguf'"):
        genrec.load(copy, backend="gguf")
