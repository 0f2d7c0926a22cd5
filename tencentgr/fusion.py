"""How the blocks of an item's or user's features become one vector: side by side, weighed by a gate, crossed.

R rows, d width, F blocks of width d, W width of all blocks and numbers side by side
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """Each block times 2 sigmoid of a linear map of all of them: what a row has says which of its features count."""

    def __init__(self, width: int, num_blocks: int):
        super().__init__()
        self.linear = nn.Linear(width, num_blocks)

    def forward(self, blocks: list[Tensor]) -> list[Tensor]:
        """F blocks (R, d) -> the same weighed."""
        weights = 2 * torch.sigmoid(self.linear(torch.cat(blocks, dim=1)))  # (R, F)
        return [block * weights[:, place, None] for place, block in enumerate(blocks)]


class CrossLayer(nn.Module):
    """x0 * (U V x + b) + x, a layer of DCN-v2 of low rank (Wang et al., WWW 2021)."""

    def __init__(self, width: int, rank: int):
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width)

    def forward(self, first: Tensor, x: Tensor) -> Tensor:
        """What went into the first layer and into this one, (R, W) each -> (R, W)."""
        return first * self.up(self.down(x)) + x
