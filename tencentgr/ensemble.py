"""Several models that recommend together: one vector a query and one an item, whose inner product is their joint score.

Q queries, C candidates, w_i widened width of model i

Scores of different models have different scales. A query's scores by model i have over all candidates the variance
q' S q, with S the covariance of the candidates' vectors; divided by its root they weigh as much as any other model's.
What is left of a model's mean is the same for all candidates of a query, so lists do not depend on it.
"""

from __future__ import annotations

import numpy as np


def join_vectors(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """[(queries (Q, w_i), items (C, w_i)), ...] -> (Q, sum w_i), (C, sum w_i) float32: standardised scores add up."""
    queries = [query / scale_of(query, item)[:, None] for query, item in parts]
    items = [item for _, item in parts]
    return np.concatenate(queries, axis=1, dtype=np.float32), np.concatenate(items, axis=1, dtype=np.float32)


def scale_of(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Standard deviation of each query's scores over all candidates, (Q, w), (C, w) -> (Q,); 1 where they are equal."""
    spread = items.astype(np.float64) - items.mean(axis=0, dtype=np.float64)
    covariance = spread.T @ spread / len(items)  # (w, w)
    variance = np.einsum("qw,wv,qv->q", queries, covariance, queries, optimize=True)
    return np.sqrt(np.where(variance > 0, variance, 1.0))
