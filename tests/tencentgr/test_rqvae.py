"""Semantic IDs: several embeddings of different width, resumed runs, creatives that come later, the command itself."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from genrec.errors import ArtifactError
from genrec.quantizers import rqvae_training
from genrec.quantizers.rqvae_training import load_quantizer, quantize
from tencentgr import files, rqvae, safe_pickle
from tencentgr.dataset import load_data
from tencentgr.entries import locate_source
from tencentgr.options import RqvaeOptions
from tests import ROOT
from tests.tencentgr.conftest import ANN, write_by_hand

QUICK = {"num_levels": 3, "codebook_size": 8, "batch_size": 32, "num_epochs": 12, "learning_rate": 1e-2, "seed": 0}


def quick(data_dir: Path, output_dir: Path, *mm_emb_id: str, **other) -> RqvaeOptions:
    places = {"data_dir": data_dir, "output_dir": output_dir, "device": "cpu"}
    return RqvaeOptions(mm_emb_id=list(mm_emb_id or ("81", "82")), **places, **QUICK | other)


@pytest.fixture(scope="module")
def trained(sample, tmp_path_factory):
    out = tmp_path_factory.mktemp("rqvae")
    rqvae.train(quick(sample, out))
    return out


def codes_of(directory) -> dict[str, list[int]]:
    return json.loads((directory / files.SEMANTIC).read_text())


def test_every_creative_with_a_vector_has_an_id(world, sample, trained):
    codes = codes_of(trained)
    named = {name for mm_id in ("81", "82") for name, _ in files.read_embedding(sample, mm_id)}
    assert set(codes) == named and set(codes) <= {str(creative) for creative in world.creative}
    assert all(len(row) == 3 and all(0 <= code < 8 for code in row) for row in codes.values())
    assert (trained / files.SEMANTIC).read_text() == json.dumps(codes, indent=2)


def test_ids_follow_the_topics(world, trained):
    """Items that share a first code are of one topic far more often than any two items are."""
    codes = codes_of(trained)
    rows = [(codes[str(c)][0], world.topic[i]) for i, c in enumerate(world.creative) if str(c) in codes]
    first, topic = (np.array(column) for column in zip(*rows, strict=True))
    pairs = np.triu(np.ones((len(rows), len(rows)), dtype=bool), 1)
    same = topic[:, None] == topic
    assert same[(first[:, None] == first) & pairs].mean() > 2 * same[pairs].mean()


def test_the_model_gives_the_ids_that_were_written_each_time(sample, trained):
    names, vectors = rqvae.vectors_of_items(rqvae.source_of(quick(sample, trained)))
    model = load_quantizer(trained / rqvae.MODEL)
    codes = codes_of(trained)
    for _ in range(2):
        actual = quantize(model, torch.from_numpy(vectors)).codes
        assert actual.tolist() == [codes[name] for name in names]


def test_each_embedding_is_projected_from_its_own_width(trained):
    model = load_quantizer(trained / rqvae.MODEL)
    assert model.shape.widths == (8, 12)
    assert [layer.in_features for layer in model.encoder[0].projections] == [8, 12]


def test_the_export_is_the_bare_state_dict(trained):
    weights = torch.load(trained / rqvae.EXPORT, weights_only=True)
    wanted = load_quantizer(trained / rqvae.MODEL).state_dict()
    assert set(weights) == set(wanted) and all(torch.equal(weights[name], wanted[name]) for name in wanted)


def test_a_stopped_run_goes_on_to_the_same_ids(sample, trained, tmp_path, monkeypatch):
    honest = rqvae_training.train_epoch

    def stop(model, optimizer, rows, training, epoch):
        if epoch == 7:
            raise KeyboardInterrupt
        return honest(model, optimizer, rows, training, epoch)

    monkeypatch.setattr(rqvae_training, "train_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        rqvae.train(quick(sample, tmp_path))
    assert not (tmp_path / rqvae.CARD).exists()
    with pytest.raises(ArtifactError, match="learning_rate is 0.01 there, 0.5 asked"):
        rqvae.train(quick(sample, tmp_path, learning_rate=0.5))
    ran = []
    monkeypatch.setattr(rqvae_training, "train_epoch", lambda *given: ran.append(given[-1]) or honest(*given))
    rqvae.train(quick(sample, tmp_path))
    assert ran[0] == 5 and codes_of(tmp_path) == codes_of(trained)
    assert not (tmp_path / rqvae.PARTIAL).exists()


def test_a_finished_run_is_up_to_date_or_refused(sample, trained, capsys):
    rqvae.train(quick(sample, trained))
    assert "up to date" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="num_epochs is 12 there, 13 asked.*--output_dir"):
        rqvae.train(quick(sample, trained, num_epochs=13))


def test_new_creatives_get_ids_and_old_ones_keep_theirs(tmp_path, capsys):
    rng = np.random.default_rng(0)
    write_by_hand(tmp_path, [ANN])
    vectors = {creative: rng.standard_normal(2).astype(np.float32) for creative in (501, 502, 503, 504)}
    path = tmp_path / files.EMBEDDINGS / "emb_81_2.pkl"
    safe_pickle.dump(vectors, path)
    small = quick(tmp_path, tmp_path, "81", num_levels=2, codebook_size=2)
    rqvae.train(small)
    before = (tmp_path / files.SEMANTIC).read_text()
    safe_pickle.dump(vectors | {777: vectors[503], 778: vectors[501] + 1e-4}, path)
    rqvae.add(small)
    assert "not read with --add, which takes the RQ-VAE as it was trained: --num_levels, " in capsys.readouterr().out
    codes = codes_of(tmp_path)
    assert (tmp_path / files.SEMANTIC).read_text().startswith(before.rstrip("\n}") + ",")
    assert codes["777"] == codes["503"] and codes["778"] == codes["501"]
    assert list(codes)[4:] == ["777", "778"]
    rqvae.train(small)  # up to date: new creatives change no codebook
    assert codes_of(tmp_path) == codes
    with pytest.raises(ArtifactError, match="--mm_emb_id is 82, the RQ-VAE .* was trained on 81"):
        rqvae.add(quick(tmp_path, tmp_path, "82"))


def test_other_vectors_are_noticed(tmp_path):
    write_by_hand(tmp_path, [ANN])
    small = quick(tmp_path, tmp_path, "81", num_levels=1, codebook_size=2, num_epochs=1)
    rqvae.train(small)
    path = tmp_path / files.EMBEDDINGS / "emb_81_2.pkl"
    safe_pickle.dump(safe_pickle.load(path) | {501: np.array([9, 9], np.float32)}, path)
    with pytest.raises(ArtifactError, match="with other settings: vectors is now .*, it was made from .* Ways on"):
        rqvae.train(small)


def test_levels_that_explain_nothing_are_named_with_their_share(capsys):
    rqvae.warn_of_idle_levels([0.5, 0.0066, 0.02, 0.0016])
    said = capsys.readouterr().out
    assert "below 1% of the vectors' variance is explained by level 2 0.66%, level 4 0.16%; train longer" in said
    assert "pass --num_levels 2" in said
    rqvae.warn_of_idle_levels([0.5, 0.02])
    assert not capsys.readouterr().out


def test_more_codes_than_items_is_refused(sample, tmp_path):
    with pytest.raises(ArtifactError, match=r"--codebook_size 4096 is more than the \d+ items with vectors"):
        rqvae.train(quick(sample, tmp_path, codebook_size=4096))


def test_the_command_as_printed_and_the_ids_as_a_feature(sample, tmp_path):
    """The seed's flags; what is written goes into the data directory and becomes a feature."""
    flags = "--mm_emb_id 81 82 83 --num_quantizers 4 --codebook_size 16 --batch_size 1024 --num_epochs 2 --lr 1e-3"
    words = [sys.executable, "train_rqvae.py", "--data_dir", str(sample), "--output_dir", str(tmp_path), *flags.split()]
    words += ["--device", "cpu", "--commitment_cost", "0.25", "--cache_dir", str(tmp_path / "cache")]
    done = subprocess.run(words, cwd=ROOT / "tencentgr", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "codes used" in done.stdout and "WARNING: only 80 items" in done.stdout
    (sample / files.SEMANTIC).write_text((tmp_path / files.SEMANTIC).read_text())
    try:
        data = load_data(locate_source(sample, ["81"]))
    finally:
        (sample / files.SEMANTIC).unlink()
    assert len(data.schema.semantic) == 4 and data.items.semantic.shape == (81, 4)
    codes = codes_of(tmp_path)
    for row in range(1, 81):
        wanted = [code + 1 for code in codes.get(data.creative_id[row], [-1] * 4)]
        assert data.items.semantic[row].tolist() == wanted
