"""All rows of a task at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genrec.data.catalog import Catalog
from genrec.data.sequences import Examples
from genrec.data.tasks import Task, draw_row_numbers, take_row


def task_rows(
    task: Task, share: float, examples: Examples, catalog: Catalog, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, int]]:
    """(items given, target item) of a task; a `share` below 1 draws that part of the rows, above 1 repeats them."""
    return (take_row(task, examples, row) for row in draw_row_numbers(task, share, examples.target, catalog, rng))
