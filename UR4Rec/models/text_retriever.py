"""The text retriever: items whose description fits the descriptions of what was liked, and what is said of the user.

V ids (0 = padding), S texts of users, D frozen width, d width
"""

from __future__ import annotations

from torch import Tensor, nn

from UR4Rec.models.retriever import Frozen, HistoryExpert, ItemTower, PreferenceExpert, Retriever


class TextRetriever(Retriever):
    """Descriptions (V, D) and, where given, texts of users (S, D); both weigh the same, without a router."""

    def __init__(
        self,
        num_items: int,
        text: Frozen,
        preferences: Tensor | None = None,
        dim: int = 256,
        max_seq_len: int = 50,
        dropout: float = 0.3,
    ):
        super().__init__(num_items, dim, text_experts(num_items, text, preferences, dim, max_seq_len, dropout))


def text_experts(
    num_items: int, text: Frozen | None, preferences: Tensor | None, dim: int, max_seq_len: int, dropout: float
) -> dict[str, nn.Module]:
    """The experts that read: preference (of the user's text against descriptions) and description (of the history)."""
    experts: dict[str, nn.Module] = {}
    if text is not None and preferences is not None:
        experts["preference"] = PreferenceExpert(ItemTower(num_items, text, dim), preferences, dim, dropout)
    if text is not None:
        experts["description"] = HistoryExpert(ItemTower(num_items, text, dim), dim, max_seq_len, dropout)
    return experts
