"""SASRec in the form that UR4Rec asks for: ids 1..N, padded with 0 on the left, scored by cosine / temperature + bias.

B histories, T positions, V ids (0 = padding)
"""

from __future__ import annotations

from torch import Tensor

from genrec.models.sasrec import SasRec, SasRecShape

FIRST_ID = 1  # 0 is padding
TEMPERATURE = 0.07


def build_sasrec(
    num_ids: int, hidden_size: int, num_layers: int, num_heads: int, max_history: int, dropout: float
) -> SasRec:
    """`num_ids` is V, the padding 0 included: len(item_metadata) + 1."""
    return SasRec(
        SasRecShape(
            num_items=num_ids - FIRST_ID,
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout=dropout,
            max_length=max_history,
            cosine=True,
            temperature=TEMPERATURE,
            padding="left",
            first_id=FIRST_ID,
        )
    )


def check_ids(items: Tensor, num_ids: int) -> None:
    """Ids (B, T); one outside 0..V-1 is an error: clamping it would make it another item."""
    low, high = int(items.min()), int(items.max())
    if low < 0 or high >= num_ids:
        raise ValueError(f"item ids reach from {low} to {high}, the model knows 0..{num_ids - 1}")
