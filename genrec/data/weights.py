"""How much each training target counts in the loss: rare items more (balance), recent events more (half-life).

    weight(event) = count(item)^-balance * 2^(-age / half_life)      scaled to mean 1 over the training targets

A weighted loss has the mean of rows drawn with these weights, and no row is lost to the draw.

T events, N items
"""

from __future__ import annotations

import numpy as np

from genrec.data.prepared import Prepared


def target_weights(data: Prepared, balance: float, half_life: float) -> np.ndarray:
    """(T,) weight of each event as a target; ones when both knobs are 0.

    age is the time to the newest training target as a share of the time from the oldest to the newest; half_life is
    in the same unit, 0 is without end.
    """
    sequences, ends = data.sequences, data.splits["train"].end
    weight = np.maximum(data.train_count, 1.0)[sequences.item] ** -balance
    if half_life:
        newest, oldest = sequences.time[ends].max(), sequences.time[ends].min()
        age = np.clip((newest - sequences.time) / max(newest - oldest, 1), 0, 1)
        weight *= 2.0 ** (-age / half_life)
    return weight / weight[ends].mean()
