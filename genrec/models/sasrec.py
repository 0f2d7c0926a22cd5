"""SASRec (arXiv 1808.09781): a causal transformer over item ids that scores the whole catalogue for the next item.

B sequences or examples, T positions, H history, V ids, d width, k cut-off

Ids begin at `first_id`, and what is below is padding. On the right, where a causal model never looks, padding needs no
mask and cannot matter; on the left a mask hides it, and positions count from the end, so the last item's is the last.
Item vectors are shared between input and output: score(i) = <state, item_i> + bias_i, or cosine / temperature + bias_i.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.nn import functional as F

from genrec.artifacts import read_record, write_json
from genrec.data.lists import drop_impossible, pad_lists
from genrec.data.sequences import Examples
from genrec.errors import ArtifactError, first_line
from genrec.evaluation.metrics import Recommendations
from genrec.models.backbone import Backbone, BackboneShape
from genrec.runtime.device import pick_device
from genrec.runtime.tensor_file import load_weights, read_tensors

WEIGHTS, SHAPE = "model.safetensors", "config.json"
BATCH = 512  # examples scored at once
IMPOSSIBLE = -1e9  # score of a padding id; finite, so that no difference of scores is NaN


@dataclass(frozen=True)
class SasRecShape:
    num_items: int
    hidden_size: int
    num_layers: int
    num_heads: int
    dropout: float
    max_length: int
    cosine: bool
    temperature: float
    padding: Literal["right", "left"] = "right"
    first_id: int = 0  # the first item's; what is below is padding

    @property
    def num_ids(self) -> int:
        """V, rows of the item table."""
        return self.first_id + self.num_items


class SasRec(nn.Module):
    def __init__(self, shape: SasRecShape):
        super().__init__()
        self.shape = shape
        self.item = nn.Embedding(shape.num_ids, shape.hidden_size)
        self.position = nn.Embedding(shape.max_length, shape.hidden_size)
        self.bias = nn.Parameter(torch.zeros(shape.num_ids))
        self.drop = nn.Dropout(shape.dropout)
        self.backbone = Backbone(BackboneShape(shape.hidden_size, shape.num_layers, shape.num_heads, shape.dropout))
        for table in (self.item, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, items: Tensor) -> Tensor:
        """Ids (B, T), padded as the shape says, T <= max_length -> state after each item (B, T, d).

        Vectors of std 0.02 would vanish beside the residuals, so they are taken times sqrt(d).
        """
        vectors = self.item(items.clamp(min=0)) * self.shape.hidden_size**0.5
        real = items >= self.shape.first_id if self.shape.padding == "left" else None
        return self.backbone(self.drop(vectors + self.position(self.positions(items.shape[1]))), real)

    def positions(self, length: int) -> Tensor:
        """(T,) rows of the position table: from its begin, or up to its end where padding stands on the left."""
        begin = self.shape.max_length - length if self.shape.padding == "left" else 0
        if length > self.shape.max_length:
            raise ValueError(f"histories of {length} positions, this SASRec has {self.shape.max_length}")
        return torch.arange(begin, begin + length, device=self.bias.device)

    def score(self, states: Tensor) -> Tensor:
        """States (..., d) -> scores of every id (..., V), padding ids impossible."""
        if not self.shape.cosine:
            return without_padding(states @ self.item.weight.T + self.bias, self.shape.first_id)
        cosine = F.normalize(states, dim=-1) @ F.normalize(self.item.weight, dim=-1).T
        return without_padding(cosine / self.shape.temperature + self.bias, self.shape.first_id)

    def score_each(self, states: Tensor, items: Tensor) -> Tensor:
        """States (P, d) and items (n,) -> the score of each item after each state, (P, n)."""
        vectors = self.item(items)
        if not self.shape.cosine:
            return states @ vectors.T + self.bias[items]
        cosine = F.normalize(states, dim=-1) @ F.normalize(vectors, dim=-1).T
        return cosine / self.shape.temperature + self.bias[items]

    def score_some(self, states: Tensor, items: Tensor) -> Tensor:
        """States (P, d) and one item each (P,) -> scores (P,)."""
        vectors = self.item(items)
        if not self.shape.cosine:
            return (states * vectors).sum(dim=-1) + self.bias[items]
        return F.cosine_similarity(states, vectors, dim=-1) / self.shape.temperature + self.bias[items]


def without_padding(scores: Tensor, first_id: int) -> Tensor:
    """(..., V) with the scores of ids below `first_id` made impossible."""
    if not first_id:
        return scores
    return torch.cat([torch.full_like(scores[..., :first_id], IMPOSSIBLE), scores[..., first_id:]], dim=-1)


class SasRecRecommender:
    """A trained SasRec, padded on the right and with ids from 0, behind the face all families share."""

    def __init__(self, model: SasRec):
        self.model = model

    @torch.no_grad()
    def recommend(self, examples: Examples, k: int) -> Recommendations:
        self.model.eval()
        rows = np.arange(len(examples))
        batches = [self.recommend_batch(examples.take(rows[begin : begin + BATCH]), k) for begin in rows[::BATCH]]
        item, score = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        return Recommendations(item, score)

    @torch.no_grad()
    def score_items(self, history: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Histories (B, H) left-padded and items (B, G) -> the score of each item next, (B, G)."""
        self.model.eval()
        items, last = to_right_padded(history[:, -self.model.shape.max_length :])
        device = self.model.bias.device
        states = self.model(torch.from_numpy(items).to(device))[
            torch.arange(len(items)), torch.from_numpy(last)
        ]  # (B, d)
        scores = self.model.score(states)  # (B, N)
        return scores.gather(1, torch.from_numpy(item).long().to(device)).float().cpu().numpy()

    @torch.no_grad()
    def score_all(self, examples: Examples) -> Tensor:
        """(B, N) scores of every item next, -inf for those that may not be listed."""
        self.model.eval()
        items, last = to_right_padded(examples.history[:, -self.model.shape.max_length :])
        device = self.model.bias.device
        states = self.model(torch.from_numpy(items).to(device))  # (B, H, d)
        scores = self.model.score(states[torch.arange(len(items)), torch.from_numpy(last).to(device)])  # (B, N)
        if not bool(torch.isfinite(scores).all()):
            raise ArtifactError("SASRec gives scores that are no finite numbers; train it anew with --clean")
        if examples.excluded is not None:
            row, item = (torch.from_numpy(numbers).long().to(device) for numbers in examples.excluded.pairs())
            scores[row, item] = -torch.inf
        return scores

    @torch.no_grad()
    def score_windows(self, item: np.ndarray) -> Tensor:
        """Items (B, T), padded on the right with -1 -> (B, T, N) scores of every item after each of them."""
        self.model.eval()
        return self.model.score(self.model(torch.from_numpy(item).long().to(self.model.bias.device)))

    def recommend_batch(self, examples: Examples, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(B, k) items and scores; -1 and -inf where a small catalogue, or what is left of it, has no more items."""
        scores = self.score_all(examples)
        best = scores.float().topk(min(k, scores.shape[1]), dim=1)
        score = best.values.cpu().numpy()
        return pad_lists(drop_impossible(best.indices.cpu().numpy().astype(np.int32), score), score, k)


def to_right_padded(history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, H) left-padded -> (B, H) right-padded int64, and the place of each last item (B,); 0 where there is none."""
    length = (history >= 0).sum(axis=1)
    source = np.arange(history.shape[1]) + history.shape[1] - length[:, None]  # (B, H)
    inside = source < history.shape[1]
    moved = np.take_along_axis(history, np.minimum(source, history.shape[1] - 1), axis=1)
    return np.where(inside, moved, -1).astype(np.int64), np.maximum(length - 1, 0)


def save_sasrec(model: SasRec, directory: Path) -> None:
    write_json(directory / SHAPE, asdict(model.shape))
    save_model(model, str(directory / WEIGHTS))


def load_sasrec(directory: Path, device: str) -> SasRecRecommender:
    path = directory / SHAPE
    if not path.exists():
        raise ArtifactError(
            f"no SASRec in {directory}; add '{directory.name}' to sequential.models and run `genrec sequential`"
        )
    try:
        model = SasRec(read_record(path, SasRecShape, "train it anew"))
    except ArtifactError:
        raise
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is not the shape of a SASRec ({first_line(error)}); train it anew") from None
    load_weights(model, read_tensors(directory / WEIGHTS, SHAPE)[0], directory / WEIGHTS)
    return SasRecRecommender(model.to(pick_device(device)))
