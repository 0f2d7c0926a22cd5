"""A small image encoder for posters where no CLIP is at hand: it learns which film's text belongs to which poster.

n posters, S side, D width of the texts, d width

Symmetric InfoNCE between a convolution's vector of the poster and a projection of the film's frozen text vector
(the objective of CLIP, arXiv 2103.00020), so the vectors say of a poster what the text says of the film. No user and no
rating is read. A minute on a CPU; vectors are cached with those of other encoders.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from genrec.artifacts import sha256
from genrec.launch import note
from UR4Rec.data.features import Vectors, content_key, keep, read_cached
from UR4Rec.data.posters import open_image

SIDE = 64  # pixels that a poster is read at
WIDTH = 128
CHANNELS = (16, 32, 64, 128)
TEMPERATURE, LEARNING_RATE, BATCH, NUM_EPOCHS, SEED = 0.07, 1e-3, 128, 10, 42


class PosterEncoder(nn.Module):
    """(n, 3, S, S) in 0..1 -> (n, d) of length 1."""

    def __init__(self, text_width: int):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *CHANNELS), CHANNELS, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], WIDTH))
        self.text = nn.Linear(text_width, WIDTH)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.layers(pixels), dim=-1)

    def loss(self, pixels: Tensor, text: Tensor) -> Tensor:
        """(n, 3, S, S), (n, D) -> (): each poster finds its text among the batch's, and each text its poster."""
        scores = self(pixels) @ F.normalize(self.text(text), dim=-1).T / TEMPERATURE
        own = torch.arange(len(scores))
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def own_poster_vectors(posters: dict[int, Path], rows: int, text: Vectors, cache: Path | str | None) -> Vectors:
    """{item id: file}, texts (rows, D) -> (rows, d); an item without a poster is a row that is not there."""
    settings = SIDE, WIDTH, CHANNELS, TEMPERATURE, LEARNING_RATE, BATCH, NUM_EPOCHS, SEED
    told = [[item, sha256(path), text.vector[item].tolist()] for item, path in posters.items()]
    key = content_key("own posters", settings, told)
    if (vectors := read_cached(cache, key, rows)) is not None:
        return vectors
    pixels = torch.stack([read_pixels(path, SIDE) for path in posters.values()])
    encoder = train_encoder(pixels, torch.from_numpy(text.vector[list(posters)]))
    vector, present = np.zeros((rows, WIDTH), dtype=np.float32), np.zeros(rows, dtype=bool)
    with torch.no_grad():
        vector[list(posters)] = torch.cat([encoder(part) for part in pixels.split(BATCH)]).numpy()
    present[list(posters)] = True
    return keep(cache, key, Vectors(vector, present))


def train_encoder(pixels: Tensor, text: Tensor) -> PosterEncoder:
    """(n, 3, S, S), (n, D); the same posters and texts give the same encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        encoder = PosterEncoder(text.shape[1])
        optimizer = torch.optim.AdamW(encoder.parameters(), LEARNING_RATE)
        loader = DataLoader(TensorDataset(pixels, text), BATCH, shuffle=True)
        losses: list[float] = []
        for _ in range(NUM_EPOCHS):
            losses = []
            for batch in loader:
                optimizer.zero_grad()
                loss = encoder.loss(*batch)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    note("posters", f"a small encoder read {len(pixels):,} of them beside their texts, loss {np.mean(losses):.3f}")
    return encoder.eval()


def read_pixels(path: Path, side: int) -> Tensor:
    """(3, S, S) float32, RGB in 0..1."""
    poster = open_image(path)  # first, because it says so where Pillow is not installed
    from PIL import Image

    pixels = np.array(poster.resize((side, side), Image.Resampling.BICUBIC))  # (S, S, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
