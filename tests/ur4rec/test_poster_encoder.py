"""The small encoder of posters: it finds which text is whose, the same way each time, and is kept."""

import numpy as np
import pytest
import torch

from tests.ur4rec.small import write_posters
from UR4Rec.data import poster_encoder
from UR4Rec.data.features import Vectors
from UR4Rec.data.poster_encoder import PosterEncoder, own_poster_vectors, read_pixels, train_encoder


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch):
    monkeypatch.setattr(poster_encoder, "SIDE", 16)


def test_a_poster_finds_its_text_after_training(monkeypatch):
    """Eight colours, each with a text of its own: chance is one in eight."""
    monkeypatch.setattr(poster_encoder, "NUM_EPOCHS", 40)
    colours = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    pixels, text = colours[:, :, None, None].expand(8, 3, 16, 16), torch.eye(8)
    before, after = PosterEncoder(8), train_encoder(pixels, text)
    with torch.no_grad():
        assert after.loss(pixels, text) < 0.5 * before.loss(pixels, text)
        found = (after(pixels) @ torch.nn.functional.normalize(after.text(text), dim=-1).T).argmax(dim=1)
    assert (found == torch.arange(8)).float().mean() >= 0.75


def test_the_loss_by_hand():
    """With one poster there is nothing to confuse; alike posters are found by chance, log 2 each way."""
    encoder = PosterEncoder(4)
    pixels, text = torch.rand(1, 3, 16, 16), torch.rand(1, 4)
    assert encoder.loss(pixels, text).item() == 0
    assert encoder.loss(pixels.repeat(2, 1, 1, 1), text.repeat(2, 1)).item() == pytest.approx(np.log(2), rel=1e-5)


def test_vectors_are_made_once_and_of_posters_that_are_there(tmp_path, monkeypatch):
    write_posters(tmp_path / "image", [3, 6, 9])
    posters = {number: tmp_path / "image" / f"{3 * number}.png" for number in (1, 2, 3)}
    text = Vectors(np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32), np.arange(6) > 0)
    state = torch.random.get_rng_state()
    made = own_poster_vectors(posters, 6, text, tmp_path / "cache")
    assert torch.equal(state, torch.random.get_rng_state())  # nobody else's draws are moved
    assert made.present.tolist() == [False, True, True, True, False, False]
    np.testing.assert_allclose(np.linalg.norm(made.vector, axis=1), made.present, atol=1e-5)
    again = own_poster_vectors(posters, 6, text, None)
    np.testing.assert_array_equal(made.vector, again.vector)
    monkeypatch.setattr(poster_encoder, "train_encoder", None)
    kept = own_poster_vectors(posters, 6, text, tmp_path / "cache")
    np.testing.assert_array_equal(made.vector, kept.vector)
    with pytest.raises(TypeError):  # another text: it would have to be trained
        own_poster_vectors(posters, 6, Vectors(text.vector + 1, text.present), tmp_path / "cache")


def test_pixels_are_rgb_in_0_to_1(tmp_path):
    write_posters(tmp_path, [51])
    pixels = read_pixels(tmp_path / "51.png", 4)
    assert pixels.shape == (3, 4, 4)
    torch.testing.assert_close(pixels[:, 0, 0], torch.tensor([51, 100, 200]) / 255)
