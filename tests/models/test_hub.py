"""Models by name: what is sent is what is fetched, data alone; and one line where the hub cannot be reached."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest

import genrec
from genrec.errors import ArtifactError
from genrec.models.hub import FILES, is_hub_name
from genrec.stages import push
from tests.small_model import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for the hub: a directory a repository."""

    class Api:
        def create_repo(self, repo, private, exist_ok):
            assert exist_ok
            (tmp_path / "hub" / repo).mkdir(parents=True)
            return f"https://hub/{repo}"

        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id, dirs_exist_ok=True)

    def snapshot_download(name, allow_patterns):
        if not (tmp_path / "hub" / name).is_dir():
            raise OSError("404: no such repository")
        target = tmp_path / "cache" / name
        target.mkdir(parents=True)
        for path in (tmp_path / "hub" / name).iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, target)
        return str(target)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return tmp_path / "hub"


def test_a_pushed_model_answers_by_its_name_as_it_did_in_its_run(run, hub, capsys):
    push.main([str(run[0] / "sft"), "shop/model"])
    assert "https://hub/shop/model; load it by genrec.load('shop/model')" in capsys.readouterr().out
    names = {path.name for path in (hub / "shop/model").iterdir()}
    assert {
        "model.safetensors",
        "tokenizer.json",
        "genrec.json",
        "sid_index.npz",
        "items.parquet",
        "README.md",
    } <= names
    assert "manifest.json" not in names and '"shop/model"' in (hub / "shop/model/README.md").read_text()
    (hub / "shop/model" / "modeling.py").write_text("raise SystemExit")
    rows = [["B001", "B002"], []]
    there = genrec.load("shop/model", num_beams=8)
    assert there.recommend(rows, k=4).equals(genrec.load(run[0], "sft").recommend(rows, k=4))
    assert not list(there.place.glob("*.py"))


def test_code_and_pickles_are_never_fetched():
    for name in ("modeling.py", "pytorch_model.bin", "model.pkl", "weights.pt"):
        assert not any(fnmatch(name, pattern) for pattern in FILES)


def test_what_the_hub_lacks_is_said_in_one_line(hub, run):
    with pytest.raises(ArtifactError, match="'shop/none' is neither a directory here nor a model .*404"):
        genrec.load("shop/none")
    with pytest.raises(ArtifactError, match="elsewhere is not there; name a run"):
        genrec.load("elsewhere")
    assert is_hub_name("a/b") and not is_hub_name("a/b/c") and not is_hub_name("a")


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda d: (d / "items.parquet").unlink(), "lacks items.parquet, which its genrec.json lists"),
        (lambda d: (d / "sid_index.npz").unlink(), "lacks sid_index.npz"),
        (lambda d: (d / "items.parquet").write_bytes(b"x"), "items.parquet is not of this model: sha256"),
        (lambda d: (d / "tokenizer.json").unlink(), "lacks tokenizer.json"),
        (lambda d: (d / "model.safetensors").unlink(), "lacks model.safetensors"),
        (lambda d: (d / "config.json").unlink(), "lacks config.json"),
        (lambda d: (d / "genrec.json").unlink(), "is not a model of this project: it has no genrec.json"),
        (lambda d: (d / "genrec.json").write_text('{"sids": "a", "x": 1}'), "genrec.json has 'x'"),
    ],
)
def test_a_missing_or_foreign_part_is_named_in_one_line(run, tmp_path, spoil, words):
    directory = tmp_path / "model"
    shutil.copytree(run[0] / "sft", directory)
    spoil(directory)
    with pytest.raises(ArtifactError, match=words) as error:
        genrec.load(directory)
    assert "\n" not in str(error.value)


def test_a_model_from_before_models_carried_items_says_so(run, tmp_path):
    import json

    directory = Path(tmp_path / "model")
    shutil.copytree(run[0] / "sft", directory)
    card = json.loads((directory / "genrec.json").read_text())
    (directory / "genrec.json").write_text(json.dumps(card | {"files": {}}))
    with pytest.raises(ArtifactError, match="has no items.parquet: .*load the run that it lies in"):
        genrec.load(directory)
