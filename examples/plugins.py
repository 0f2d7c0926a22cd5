"""A source of data, a task, a reward, a model, a metric and a SID method of one's own: named by `module:function`, from
this directory.

cd examples
genrec prepare --config tiny --data.source plugins:orders --dataset orders --run.dir outputs/orders
genrec sft --config tiny --sft.tasks "{sid_to_sid: 1, plugins:next_brand: 0.5}"
genrec evaluate --config tiny --models popular,plugins:recently_bought --metrics plugins:first_page
genrec sids --config tiny --method plugins:by_clusters
genrec rl --config tiny --rl.reward_type "{ranking: 1, plugins:novelty: 0.1}"
"""

from __future__ import annotations

import numpy as np

from genrec.evaluation.metrics import MISSED, Recommendations
from genrec.models.popular import leave_out, take_top_k
from genrec.own_tasks import OwnTask


def orders(data):
    """A source of data: the shop's orders, each of several goods, as events of one good each; and what the goods are.

    Frames with the columns of a table (docs/your-data.md). A real one would ask a database, or read `data.events`.
    """
    import polars as pl

    random = np.random.default_rng(len(data.dataset))
    first = random.integers(0, 36, size=(300, 6))  # 300 customers, six orders: a good and the next one on the shelf
    goods = np.stack([first, first + 1], axis=2).reshape(300, 12)
    place = np.tile(np.arange(12), 300)
    customer = np.arange(300).repeat(12)
    bought = pl.DataFrame({"customer_id": customer, "sku": goods.ravel(), "time": 1_714_521_600 + 86_400 * place})
    shelf = pl.DataFrame({"sku": np.arange(40)}).with_columns(title=pl.format("Jar {}", "sku"), brand=pl.lit("Acme"))
    return bought, shelf


def next_brand():
    """A task: the brand of what is bought next, from the titles before it. Items without a brand have no row."""
    return OwnTask(
        rows="history",
        wanted="text",
        instruction="Name the brand of the next {item} from the titles {bought}, oldest first.",
        part=lambda catalog, item: f"{catalog.title[item]}\n",
        answer=lambda catalog, item: catalog.brand[item],
    )


def brand_and_category():
    """A task that RL can score too: an item by what stands on its label."""
    return OwnTask(
        rows="item",
        wanted="sid",
        instruction="Give the semantic ID of a {item} of this brand and category.",
        part=lambda catalog, item: f"{catalog.brand[item]}: {catalog.categories[item]}",
    )


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
