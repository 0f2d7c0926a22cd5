"""The multimodal retriever: text and image of an item become one vector, and like is sought by like.

V ids (0 = padding), D and Di frozen widths of text and image, d width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from UR4Rec.models.retriever import Frozen, HistoryExpert, Retriever


class MultimodalTower(nn.Module):
    """vector_i = g_i W_text text_i + (1 - g_i) W_image image_i + correction_i, with a learned gate g_i in (0, 1).

    Where an item lacks one of the two, the other stands alone (g = 0 or 1); it is unknown where it lacks both.
    """

    def __init__(self, num_items: int, text: Frozen, image: Frozen, dim: int):
        super().__init__()
        self.text = nn.Linear(text.vector.shape[1], dim, bias=False)
        self.image = nn.Linear(image.vector.shape[1], dim, bias=False)
        self.gate = nn.Linear(2 * dim, 1)
        self.correction = nn.Embedding(num_items, dim)
        nn.init.zeros_(self.correction.weight)
        for name, frozen in (("text", text), ("image", image)):
            self.register_buffer(f"frozen_{name}", frozen.vector)
            self.register_buffer(f"has_{name}", frozen.present)
        self.register_buffer("present", text.present | image.present)

    def forward(self) -> Tensor:
        """(V, d)"""
        text = self.text(self.frozen_text) * self.has_text[:, None]
        image = self.image(self.frozen_image) * self.has_image[:, None]
        gate = self.gate(torch.cat([text, image], dim=-1)).sigmoid()  # (V, 1)
        gate = torch.where(self.has_image[:, None], gate, 1.0)
        gate = torch.where(self.has_text[:, None], gate, 0.0)
        return gate * text + (1 - gate) * image + self.correction.weight


class MultimodalRetriever(Retriever):
    """One expert over fused item vectors."""

    def __init__(
        self,
        num_items: int,
        text: Frozen,
        image: Frozen,
        dim: int = 256,
        max_seq_len: int = 50,
        dropout: float = 0.3,
    ):
        tower = MultimodalTower(num_items, text, image, dim)
        super().__init__(num_items, dim, {"multimodal": HistoryExpert(tower, dim, max_seq_len, dropout)})
