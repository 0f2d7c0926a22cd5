"""The sequence transformer that SASRec, TencentGR and UR4Rec share: vectors of a sequence in, states out.

B sequences, T positions, d width, h heads

Causal, so a sequence padded on the right needs no mask; one padded on the left hides its padding by `real`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class BackboneShape:
    hidden_size: int
    num_layers: int
    num_heads: int
    dropout: float
    norm_first: bool = True  # pre-norm; False normalises after each residual sum (the published SASRec)
    rotary: bool = False  # rotate queries and keys by position (arXiv 2104.09864); no position embeddings outside
    gradient_checkpointing: bool = False  # less memory, more time

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads or (self.rotary and self.hidden_size // self.num_heads % 2):
            kind = "an even multiple" if self.rotary else "a multiple"
            raise ValueError(f"hidden_size {self.hidden_size} is not {kind} of num_heads {self.num_heads}")


class Block(nn.Module):
    """Causal attention and feed-forward, each with a residual."""

    def __init__(self, shape: BackboneShape):
        super().__init__()
        d = shape.hidden_size
        self.num_heads, self.dropout, self.norm_first, self.rotary = (
            shape.num_heads,
            shape.dropout,
            shape.norm_first,
            shape.rotary,
        )
        self.attention_norm, self.feed_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query_key_value, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.feed = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Dropout(shape.dropout), nn.Linear(4 * d, d))
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """(B, T, d) -> (B, T, d); `visible` (B, 1, T, T) bool stands in for the plain causal mask."""
        if self.norm_first:
            x = x + self.drop(self.attend(self.attention_norm(x), visible))
            return x + self.drop(self.feed(self.feed_norm(x)))
        x = self.attention_norm(x + self.drop(self.attend(x, visible)))
        return self.feed_norm(x + self.drop(self.feed(x)))

    def attend(self, x: Tensor, visible: Tensor | None) -> Tensor:
        B, T, d = x.shape
        parts = self.query_key_value(x).view(B, T, 3, self.num_heads, d // self.num_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, h, T, d / h)
        if self.rotary:
            query, key = rotate(query), rotate(key)
        mixed = F.scaled_dot_product_attention(
            query, key, value, visible, self.dropout if self.training else 0.0, is_causal=visible is None
        )
        return self.out(mixed.transpose(1, 2).reshape(B, T, d))


class Backbone(nn.Module):
    def __init__(self, shape: BackboneShape):
        super().__init__()
        self.shape = shape
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.num_layers))
        self.norm = nn.LayerNorm(shape.hidden_size) if shape.norm_first else nn.Identity()

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Vectors (B, T, d) -> states (B, T, d). `real` (B, T) bool: positions that are no padding; only needed when
        padding stands left of items. What comes out at a padded position means nothing."""
        visible = None if real is None else causal(real)
        for block in self.blocks:
            if self.shape.gradient_checkpointing and self.training:
                x = checkpoint(block, x, visible, use_reentrant=False)
            else:
                x = block(x, visible)
        return self.norm(x)


def causal(real: Tensor) -> Tensor:
    """(B, T) -> (B, 1, T, T): a position sees itself and the real ones before it."""
    T = real.shape[1]
    before = torch.ones(T, T, dtype=torch.bool, device=real.device).tril()
    itself = torch.eye(T, dtype=torch.bool, device=real.device)  # so that no softmax is over nothing
    return ((before & real[:, None, :]) | itself)[:, None]


def rotate(x: Tensor) -> Tensor:
    """(B, h, T, w) with each pair of channels turned by an angle that grows with the position."""
    T, half = x.shape[-2], x.shape[-1] // 2
    speed = ROTARY_BASE ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(T, device=x.device)[:, None] * speed  # (T, w / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
