"""What semantic IDs may know of users: purchases of training, and the valid pairs that `alpha: auto` is chosen on.

N items, F factors, P pairs, E valid examples
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from genrec.config import Sids
from genrec.data.sequences import Sequences, Split, cut_examples, mark_seen_in_training
from genrec.quantizers import quality


@dataclass(frozen=True)
class Purchases:
    pairs: np.ndarray  # (P, 2) consecutive items in training
    factors: np.ndarray | None  # (N, F) collaborative vectors, when sids.alpha asks for them
    valid: np.ndarray  # (E, 2) last history item and target of valid examples: only alpha: auto looks at them


def collect_purchases(sequences: Sequences, splits: Mapping[str, Split], knobs: Sids, num_items: int) -> Purchases:
    from genrec.quantizers.fused import compute_item_factors

    seen = mark_seen_in_training(sequences, splits)
    fused = knobs.alpha == "auto" or knobs.alpha > 0
    factors = compute_item_factors(sequences.item, sequences.offset, seen, num_items, knobs.factors) if fused else None
    valid = cut_examples(sequences, splits["valid"], max_history=1)
    has_history = valid.history[:, -1] >= 0
    return Purchases(
        pairs=quality.find_next_pairs(sequences.item, sequences.offset, seen),
        factors=factors,
        valid=np.stack([valid.history[has_history, -1], valid.target[has_history]], axis=1),
    )
