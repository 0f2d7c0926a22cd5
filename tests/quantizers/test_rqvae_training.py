"""The learned quantizers: where they start, that they learn, that a killed run ends with the same bytes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genrec.errors import ArtifactError
from genrec.quantizers import rqkmeans, rqvae_training
from genrec.quantizers.residual import sum_codebooks
from genrec.quantizers.rqvae import RqvaeShape
from genrec.quantizers.rqvae_training import (
    RqvaeSettings,
    best_path,
    has_fewer_collisions,
    has_lower_loss,
    load_quantizer,
    train_quantizer,
)
from genrec.runtime.epochs import CHECKPOINT, HEADER
from genrec.runtime.tensor_file import read_state

SHAPE = RqvaeShape(widths=(12,), latent=6, hidden=(16,), num_levels=3, codebook_size=8, residual=False)
SETTINGS = RqvaeSettings(
    num_epochs=6,
    batch_size=64,
    learning_rate=1e-2,
    beta=0.25,
    quantization_weight=1.0,
    ema=True,
    ema_decay=0.9,
    restart_dead=True,
    sinkhorn_eps=0.0,
    layerwise=False,
    eval_step=2,
    early_stop=0,
    best_by="loss",
    seed=1,
)


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(10, 12))[rng.integers(10, size=200)] + 0.3 * rng.normal(size=(200, 12))).astype(np.float32)


def error(quantized):
    found = quantized.reconstruct(sum_codebooks(quantized.codes, quantized.codebooks))
    return ((quantized.inputs - found) ** 2).sum() / ((quantized.inputs - quantized.inputs.mean(0)) ** 2).sum()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"ema": False},
        {"sinkhorn_eps": 0.05},
        {"layerwise": True},
        {"restart_dead": False},
        {"best_by": "collision"},
    ],
)
def test_training_learns_in_every_configuration(vectors, tmp_path, change):
    settings = replace(SETTINGS, num_epochs=30, **change)
    quantized, _ = train_quantizer(vectors, SHAPE, settings, tmp_path)
    assert quantized.codes.shape == (200, 3)
    assert error(quantized) < 0.7
    assert {path.name for path in tmp_path.iterdir()} == {
        CHECKPOINT,
        "best_collision.safetensors",
        "best_loss.safetensors",
    }


def test_rqkmeans_plus_begins_at_the_codebooks_it_was_given(vectors, tmp_path):
    start = rqkmeans.fit_rqkmeans(vectors, 3, 8, iters=20, seed=0)
    shape = replace(SHAPE, latent=12, residual=True)
    rows = torch.from_numpy(vectors)
    model = rqvae_training.make_quantizer(rows, shape, SETTINGS, start.codebooks)
    quantized = rqvae_training.quantize(model, rows)
    assert (quantized.codes == start.codes).all()
    assert error(quantized) == pytest.approx(error(start), rel=1e-4)


def test_rqkmeans_plus_lowers_the_error(vectors, tmp_path):
    start = rqkmeans.fit_rqkmeans(vectors, 3, 8, iters=20, seed=0)
    shape = replace(SHAPE, latent=12, residual=True)
    settings = replace(SETTINGS, num_epochs=60, learning_rate=1e-3, ema_decay=0.99, restart_dead=False)
    quantized, _ = train_quantizer(vectors, shape, settings, tmp_path, start.codebooks)
    assert error(quantized) < error(start)


def test_a_run_killed_between_epochs_ends_with_the_same_bytes(vectors, tmp_path, monkeypatch):
    whole, _ = train_quantizer(vectors, SHAPE, SETTINGS, tmp_path / "whole")
    train = rqvae_training.train_epoch

    def die_in_epoch_3(*arguments):
        if arguments[-1] == 3:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(rqvae_training, "train_epoch", die_in_epoch_3)
    with pytest.raises(KeyboardInterrupt):
        train_quantizer(vectors, SHAPE, SETTINGS, tmp_path / "killed")
    monkeypatch.setattr(rqvae_training, "train_epoch", train)
    resumed, _ = train_quantizer(vectors, SHAPE, SETTINGS, tmp_path / "killed")
    assert (resumed.codes == whole.codes).all()
    for name in (CHECKPOINT, "best_collision.safetensors", "best_loss.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_rate_that_diverges_ends_in_one_line_with_the_epoch(vectors, tmp_path):
    with pytest.raises(ArtifactError, match=r"quantizer: .* after epoch \d; nothing of it was published"):
        train_quantizer(vectors, SHAPE, replace(SETTINGS, learning_rate=1e30, ema=False), tmp_path)
    assert not best_path(tmp_path, "loss").exists()


def test_the_best_are_judged_as_the_rules_say():
    assert has_lower_loss({"loss": 1.0, "collision": 0.5}, None)
    assert has_lower_loss({"loss": 0.9, "collision": 0.5}, {"loss": 1.0, "collision": 0.1})
    assert not has_lower_loss({"loss": 0.9995, "collision": 0.0}, {"loss": 1.0, "collision": 0.1})  # has settled
    assert not has_lower_loss({"collision": 0.0}, None)  # given codebooks, before their first epoch
    assert has_fewer_collisions({"collision": 0.1, "loss": 2.0}, {"collision": 0.1})
    assert has_fewer_collisions({"collision": 0.1, "loss": 1.0}, {"collision": 0.1, "loss": 2.0})
    assert not has_fewer_collisions({"collision": 0.1}, {"collision": 0.1, "loss": 2.0})


def test_a_saved_model_is_the_model(vectors, tmp_path):
    quantized, model = train_quantizer(vectors, SHAPE, SETTINGS, tmp_path)
    again = rqvae_training.quantize(load_quantizer(best_path(tmp_path, "loss")), torch.from_numpy(vectors))
    assert (again.codes == quantized.codes).all()
    assert bool(model.started.all())


def test_early_stop_stops(vectors, tmp_path):
    settings = replace(
        SETTINGS, num_epochs=500, learning_rate=1e-9, ema=False, eval_step=1, early_stop=2, restart_dead=False
    )
    train_quantizer(vectors, SHAPE, settings, tmp_path)
    _, header = read_state(tmp_path / CHECKPOINT, HEADER)
    assert header["progress"]["epoch"] < 50


def test_several_inputs_are_projected_and_weigh_alike(tmp_path):
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(size=(100, 4)), 100 * rng.normal(size=(100, 40))
    rows = np.concatenate([narrow, wide], axis=1).astype(np.float32)
    shape = replace(SHAPE, widths=(4, 40))
    quantized, model = train_quantizer(rows, shape, replace(SETTINGS, num_epochs=30), tmp_path)
    assert model.scale[:4].unique().numel() == 1 and float(model.scale[4] / model.scale[0]) == pytest.approx(
        100, rel=0.2
    )
    assert quantized.latent.shape == (100, 6)


def test_dead_codes_come_back(vectors):
    model = rqvae_training.make_quantizer(torch.from_numpy(vectors), SHAPE, SETTINGS, None)
    rows = torch.from_numpy(vectors)
    rqvae_training.start_levels(model, rows, 3, seed=0)
    with torch.no_grad():
        model.codebooks[0, 1:] = 1e6  # only code 0 can be chosen
    used = torch.zeros(3, 8)
    used[:, 0] = 200
    rqvae_training.restart_dead_codes(model, rows, used, torch.Generator().manual_seed(0))
    assert len(np.unique(rqvae_training.quantize(model, rows).codes[:, 0])) > 4


def test_identical_vectors_and_one_code_are_quantized(tmp_path):
    same = np.ones((50, 12), np.float32)
    assert train_quantizer(same, SHAPE, SETTINGS, tmp_path / "a")[0].codes.shape == (50, 3)
    one = replace(SHAPE, num_levels=1, codebook_size=1)
    assert not train_quantizer(same, one, SETTINGS, tmp_path / "b")[0].codes.any()
