"""How much each training target counts in the loss: rare items more (balance), recent events more (half-life), events
of one type more than those of another (data.event_weights).

    weight(event) = type(event) * count(item)^-balance * 2^(-age / half_life)

scaled to mean 1 over the training targets.

An event type of weight 0 stands in histories and is no target at all, of training as little as of valid and test.

A weighted loss has the mean of rows drawn with these weights, and no row is lost to the draw.

T events, N items
"""

from __future__ import annotations

import numpy as np

from genrec.data.prepared import Prepared
from genrec.errors import ConfigError


def target_weights(data: Prepared, balance: float, half_life: float) -> np.ndarray:
    """(T,) weight of each event as a target; ones when both knobs are 0.

    age is the time to the newest training target as a share of the time from the oldest to the newest; half_life is
    in the same unit, 0 is without end.
    """
    sequences, ends = data.sequences, data.splits["train"].end
    if half_life and sequences.is_order:
        raise ConfigError(
            f"half_life {half_life:g} weighs events by their time, and this data has order numbers within each user, "
            "which no two users can be compared by; leave half_life at 0, or prepare the data with times"
        )
    weight = np.maximum(data.train_count, 1.0)[sequences.item] ** -balance
    if sequences.weight is not None:
        weight *= sequences.weight
    if half_life:
        newest, oldest = sequences.time[ends].max(), sequences.time[ends].min()
        age = np.clip((newest - sequences.time) / max(newest - oldest, 1), 0, 1)
        weight *= 2.0 ** (-age / half_life)
    return weight / weight[ends].mean()
