"""SASRec on the shared transformer, for histories that are padded with 0 on the left.

B histories, T positions, V ids (0 = padding, 1..V-1 items), C candidates, d width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrec.models.backbone import Backbone, BackboneShape

IMPOSSIBLE = -1e9  # score of the padding id; finite, so that no difference of scores is NaN


class SASRec(nn.Module):
    """Self-attentive sequential recommendation (arXiv 1808.09781), scored by cosine / temperature + item bias."""

    def __init__(
        self,
        num_items: int,
        hidden_dim: int = 256,
        num_blocks: int = 2,
        num_heads: int = 4,
        max_seq_len: int = 50,
        dropout: float = 0.3,
        temperature: float = 0.07,
    ):
        """`num_items` counts ids, the padding 0 included: len(item_metadata) + 1."""
        super().__init__()
        self.num_items, self.max_seq_len, self.temperature = num_items, max_seq_len, temperature
        self.scale = hidden_dim**0.5  # token vectors of std 0.02 would vanish beside the residuals
        self.item = nn.Embedding(num_items, hidden_dim)
        self.position = nn.Embedding(max_seq_len, hidden_dim)  # counted from the end: the last item is always the last
        self.bias = nn.Parameter(torch.zeros(num_items))
        self.drop = nn.Dropout(dropout)
        self.backbone = Backbone(BackboneShape(hidden_dim, num_blocks, num_heads, dropout))
        for table in (self.item, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, items: Tensor) -> Tensor:
        """Ids (B, T), left-padded with 0, T <= max_seq_len -> state after each item (B, T, d)."""
        check_ids(items, self.num_items)
        if items.shape[1] > self.max_seq_len:
            raise ValueError(f"histories of {items.shape[1]} positions, this SASRec has {self.max_seq_len}")
        x = self.item(items) * self.scale + self.position.weight[-items.shape[1] :]
        return self.backbone(self.drop(x), items > 0)

    def score(self, states: Tensor) -> Tensor:
        """States (..., d) -> scores of every id (..., V), the padding impossible."""
        cosine = F.normalize(states, dim=-1) @ F.normalize(self.item.weight, dim=-1).T
        return without_padding(cosine / self.temperature + self.bias)


def without_padding(scores: Tensor) -> Tensor:
    """(..., V) with the score of id 0 made impossible."""
    return torch.cat([torch.full_like(scores[..., :1], IMPOSSIBLE), scores[..., 1:]], dim=-1)


def check_ids(items: Tensor, num_items: int) -> None:
    """An id outside 0..num_items-1 is an error: clamping it would make it another item."""
    low, high = int(items.min()), int(items.max())
    if low < 0 or high >= num_items:
        raise ValueError(f"item ids reach from {low} to {high}, the model knows 0..{num_items - 1}")
