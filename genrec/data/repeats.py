"""Do users take again what they had before? Measured on a split's targets, it says whether lists may hold seen items.

T events, E examples

Where nobody takes an item twice, what the user had before only stands in the way of other items. Where people buy
again, leaving it out makes each such target unreachable. With p the share of targets that repeat, r the NDCG of those
when lists are whole and g what the others gain by shorter ones, leaving seen items out pays where p < g / (g + r): for
item-kNN about 1% on real purchases (docs/results/seen-items.md). `evaluation.filter_seen: auto` asks the valid targets.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from genrec.data.prepared import Prepared
from genrec.data.sequences import SPLITS, Examples, Sequences, Split

REPEATS_ALLOWED = 0.01  # share of valid targets; below it seen items are left out


def mark_repeats(sequences: Sequences) -> np.ndarray:
    """(T,) bool: events of an item that the same user had at an earlier event."""
    owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offset))
    order = np.lexsort((sequences.item, owner))  # stable: each user's events of one item stay in order
    same = (owner[order][1:] == owner[order][:-1]) & (sequences.item[order][1:] == sequences.item[order][:-1])
    repeats = np.zeros(len(order), dtype=bool)
    repeats[order[1:]] = same
    return repeats


def mark_repeated_targets(examples: Examples) -> np.ndarray:
    """(E,) bool: the target stands in the user's whole past, or in the history where no more is known."""
    if examples.past is None:
        return (examples.history == examples.target[:, None]).any(axis=1)
    return mark_repeats(examples.past.sequences)[examples.past.split.end]


def measure_repeats(sequences: Sequences, splits: dict[str, Split]) -> dict[str, float]:
    """Share of each split's targets that stand in their user's past; 0 of a split without rows."""
    repeats = mark_repeats(sequences)
    return {name: float(repeats[splits[name].end].mean()) if len(splits[name]) else 0.0 for name in SPLITS}


def leaves_out_seen(filter_seen: bool | Literal["auto"], data: Prepared) -> bool:
    """Whether lists leave seen items out: as asked, or as the valid targets say."""
    if filter_seen != "auto":
        return filter_seen
    return len(data.splits["valid"]) > 0 and decide(measure_repeats(data.sequences, data.splits))


def decide(repeats: dict[str, float]) -> bool:
    """What `auto` makes of the shares that measure_repeats() found."""
    return repeats["valid"] < REPEATS_ALLOWED


def held_out(data: Prepared, split: str, filter_seen: bool | Literal["auto"]) -> Examples:
    """The rows of a split as they are to be answered."""
    examples = data.some_examples(split)
    return examples.without_seen() if leaves_out_seen(filter_seen, data) else examples
