"""Lists that are drawn, with the probability of each: what makes a log answer for other models than the one that ran.

Adding Gumbel noise to log-probabilities and taking the k largest draws k items without replacement, each with its
probability among those left (Plackett-Luce): Yellott (1977); Kool et al., "Stochastic beams and where to find them"
(arXiv 1903.06059).

    P(list) = product over j of p_j / (1 - sum of p over items above j)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# B lists, N candidates, k places


@dataclass(frozen=True)
class SampledSlates:
    """`items[b, j]` is a candidate's number, `propensities[b, j]` its probability given the places above it.

    The first column is the probability of the first item, the product of a row that of the list in this order.
    """

    items: np.ndarray  # (B, k)
    propensities: np.ndarray  # (B, k)


def sample_slates(
    scores: np.ndarray, k: int, generator: np.random.Generator, temperature: float = 1.0
) -> SampledSlates:
    """(B, N) scores or log-probabilities, -inf where an item may not be shown -> B lists of k.

    Softmax over scores / temperature; scores need no normalisation. ValueError where fewer than k may be shown.
    """
    logits = scores / temperature
    fewest = int(np.isfinite(logits).sum(axis=1).min())
    if fewest < k:
        raise ValueError(f"lists of {k} items cannot be drawn from {fewest} candidates")
    noisy = logits + generator.gumbel(size=logits.shape)
    items = np.argsort(-noisy, axis=1, kind="stable")[:, :k]
    return SampledSlates(items, slate_propensities(logits, items))


def slate_propensities(logits: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(B, N) log-probabilities, (B, k) lists -> (B, k) probabilities of each place given those above it.

    What is left is summed anew at each place: 1 minus what was taken would cancel where one item has nearly all.
    """
    left = logits.astype(float).copy()
    rows = np.arange(len(items))
    places = []
    for place in range(items.shape[1]):
        own = left[rows, items[:, place]]
        places.append(np.exp(own - log_sum(left)))
        left[rows, items[:, place]] = -np.inf
    return np.stack(places, axis=1)


def log_sum(logits: np.ndarray) -> np.ndarray:
    """(B, N) -> (B,) log of the sum of exponentials."""
    from scipy.special import logsumexp

    return np.asarray(logsumexp(logits, axis=1))
