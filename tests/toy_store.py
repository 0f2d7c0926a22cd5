"""The toy shop from raw files to splits, for tests of what comes after."""

from pathlib import Path
from typing import Any

from genrec.config import Data
from genrec.data import amazon
from genrec.data.preparation import Preparation, prepare_shop
from genrec.data.toy import NUM_ITEMS, NUM_USERS, write_raw


def make_toy_store(
    directory: Path, num_users: int = NUM_USERS, num_items: int = NUM_ITEMS, seed: int = 0, **knobs: Any
) -> Preparation:
    """Raw files into `directory`, read, filtered (data knobs as named), split."""
    data = Data(source="toy", dataset="toy", raw_dir=directory, **knobs)
    write_raw(directory, data.dataset, num_users, num_items, seed)
    return prepare_shop(amazon.read_shop(data, amazon.EDITIONS["amazon18"]), data, seed)
