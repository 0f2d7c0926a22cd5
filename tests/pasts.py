"""Users whose whole past is given, item by item."""

import numpy as np

from genrec.data.sequences import Past, Sequences, Split


def make_past(items: list[list[int]], target: int = 0) -> Past:
    """One row a user, who had `items[row]` before `target`."""
    length = np.array([len(each) + 1 for each in items])
    offset = np.concatenate([[0], np.cumsum(length)])
    item = np.concatenate([[*each, target] for each in items]).astype(np.int32)
    user = np.arange(len(items), dtype=np.int32)
    sequences = Sequences(item, np.arange(len(item)), offset, user.astype(np.str_))
    return Past(sequences, Split(user, offset[1:] - 1))
