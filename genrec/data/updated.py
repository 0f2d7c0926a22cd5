"""What an updated run's data artifact says of the run it was begun from: what its model learned, what was held out.

E train rows, N items
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genrec.artifacts import load_arrays, save_arrays
from genrec.data.sequences import Split
from genrec.errors import ArtifactError


@dataclass(frozen=True)
class Updated:
    learned: np.ndarray  # (E,) bool: train rows that the model of the run before was trained on
    num_learned_items: int  # items 0..n-1 were in that run's catalogue, the others are new
    earlier: Split  # test rows of all runs before, which no update trains on


def save_updated(updated: Updated, path: Path) -> None:
    save_arrays(
        path,
        learned=updated.learned,
        num_learned_items=np.array([updated.num_learned_items], dtype=np.int64),
        earlier_user=updated.earlier.user,
        earlier_end=updated.earlier.end,
    )


def load_updated(path: Path, num_rows: int, num_items: int) -> Updated | None:
    """None where the data were prepared and not updated; ArtifactError where it fits other rows or items."""
    if not path.exists():
        return None
    arrays = load_arrays(path, "learned", "num_learned_items", "earlier_user", "earlier_end")
    learned, items = arrays["learned"], int(arrays["num_learned_items"][0])
    if learned.shape != (num_rows,) or learned.dtype != bool or not 0 <= items <= num_items:
        raise ArtifactError(
            f"{path} tells of {learned.dtype} {learned.shape} rows and {items:,} items, the data beside it have "
            f"{num_rows:,} train rows and {num_items:,} items; begin the update anew in another --run.dir"
        )
    return Updated(learned, items, Split(arrays["earlier_user"], arrays["earlier_end"]))


@dataclass(frozen=True)
class Chosen:
    """What an update trains on."""

    rows: np.ndarray  # numbers of train rows, ascending
    items: np.ndarray  # (N,) bool: items that tasks about items ask for


def choose_replayed(updated: Updated, train: Split, num_items: int, replay: float, seed: int) -> Chosen:
    """All that is new, and of what was learned before the rows of a share of the users and the same share of the items.

    Users are drawn whole, since the rows of one are read on one trunk: half of the rows of every user would cost nearly
    what all of them do.
    """
    rng = np.random.default_rng(seed)
    users = np.unique(train.user[updated.learned])
    drawn = rng.choice(users, round(replay * len(users)), replace=False)
    rows = np.flatnonzero(~updated.learned | np.isin(train.user, drawn))
    items = np.ones(num_items, dtype=bool)
    items[: updated.num_learned_items] = False
    old = updated.num_learned_items
    items[rng.choice(old, round(replay * old), replace=False)] = True
    return Chosen(rows, items)
