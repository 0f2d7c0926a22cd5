"""A reward, a model, a metric and a SID method of one's own: named by `module:function`, from this directory.

cd examples
genrec evaluate --config tiny --models popular,plugins:recently_bought --metrics plugins:first_page
genrec sids --config tiny --method plugins:by_clusters
genrec rl --config tiny --rl.reward_type "{ranking: 1, plugins:novelty: 0.1}"
"""

from __future__ import annotations

import numpy as np

from genrec.evaluation.metrics import MISSED, Recommendations
from genrec.models.popular import leave_out, take_top_k


def novelty(groups, knowledge):
    """A reward: what few have bought is worth more, from 1 (never bought) to 0 (the best seller). (B, G)"""
    bought = np.log1p(knowledge.train_count[groups.item])
    return 1 - bought / np.log1p(knowledge.train_count.max())


class RecentlyBought:
    """A model: the items of training in the order in which they were last bought, the same for everybody."""

    def __init__(self, place: np.ndarray):
        self.place = place  # (N,) the higher, the later

    def recommend(self, examples, k: int) -> Recommendations:
        scores = np.tile(self.place.astype(np.float32), (len(examples), 1))
        return take_top_k(leave_out(scores, examples.excluded), k)  # without what a user has, where that is asked


def recently_bought(request):
    """What `evaluation.models` names: it gets the run's data and gives what has `recommend`."""
    data = request.data
    last_time = np.zeros(len(data.catalog), dtype=np.int64)
    np.maximum.at(last_time, data.sequences.item[data.seen], data.sequences.time[data.seen])
    return RecentlyBought(np.argsort(np.argsort(last_time, kind="stable"), kind="stable"))


def first_page(rank, k):
    """A metric: 1 where the truth is on the first page of three items, half that on the second, 0 beyond k. (E,)"""
    pages = 1 / (1 + rank // 3)
    return np.where((rank == MISSED) | (rank >= k), 0.0, pages)


def by_clusters(vectors, num_levels, codebook_size, seed):
    """A SID method: scikit-learn's k-means on what each level leaves over. (N, D) -> (N, L)"""
    from sklearn.cluster import MiniBatchKMeans

    left, codes = vectors.copy(), []
    for level in range(num_levels):
        means = MiniBatchKMeans(codebook_size, random_state=seed + level, n_init=1).fit(left)
        codes.append(means.labels_)
        left -= means.cluster_centers_[means.labels_]
    return np.stack(codes, axis=1)
