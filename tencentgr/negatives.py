"""Negatives drawn on the device: uniform, by popularity, mixed, or harder as training goes on.

P positions, k negatives a position, N items (numbers 1..N), U users, K pairs of a user and an own item
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genrec.errors import ArtifactError

POPULAR_RATIO = 0.3  # of the fixed mix; the rest is uniform

# Curriculum: share of popular negatives up to each difficulty.
LESSONS = ((0.3, 0.1), (0.7, 0.5), (1.0, 0.8))
SCHEDULES = {
    "linear": lambda progress: progress,
    "cosine": lambda progress: 0.5 * (1 - math.cos(math.pi * progress)),
    "exponential": lambda progress: progress**2,
}


@dataclass(frozen=True)
class NegativeMix:
    """Where negatives come from, and how that changes with progress 0..1."""

    smart: bool = False  # some negatives by popularity; otherwise all are uniform
    curriculum: str | None = None  # a name of SCHEDULES: the popular share grows by LESSONS
    candidates: int = 1  # above 1, the hardest of up to so many draws is taken, more of them as training goes on

    def __post_init__(self) -> None:
        if self.curriculum is not None and not self.smart:
            raise ValueError("curriculum learning chooses how many negatives are popular; it needs smart sampling")

    def popular_ratio(self, progress: float) -> float:
        if not self.smart:
            return 0.0
        if self.curriculum is None:
            return POPULAR_RATIO
        difficulty = SCHEDULES[self.curriculum](progress)
        return next(ratio for limit, ratio in LESSONS if difficulty < limit or limit == 1.0)

    def draws(self, progress: float) -> int:
        """How many candidates stand behind one negative: 1 at the start, `candidates` at the end."""
        return 1 + round(progress * (self.candidates - 1))


def popularity_weights(counts: Tensor, factor: float, kind: str = "count") -> Tensor:
    """(N + 1,) training counts -> weights (N + 1,), the largest 1, row 0 zero: count^factor, or 1 / id^factor."""
    base = counts.double() if kind == "count" else 1 / torch.arange(len(counts)).clamp(min=1).double()
    base[0] = 0
    if not base.sum() > 0:
        raise ArtifactError("no item occurs in training, so there is nothing to draw negatives from")
    weights = (base / base.max()) ** factor  # divided first: a power of a large count is beyond all numbers
    weights[0] = 0
    return weights


class NegativeSampler(nn.Module):
    """Draws items a user has never had, uniformly or by popularity, both exactly and without a redraw.

    A module so that its tables move with the model; it has no weights and nothing to save.
    """

    def __init__(
        self,
        counts: Tensor,
        had: tuple[Tensor, Tensor],
        num_users: int,
        mix: NegativeMix,
        popularity_factor: float,
        popularity: str = "count",
    ):
        """counts (N + 1,) training events by item, row 0 ignored; popular items are drawn by `popularity_weights`;
        had: users 0..U-1 and items of all their events, flat, in any order, with repeats."""
        super().__init__()
        self.mix, self.num_items, step = mix, len(counts) - 1, len(counts)
        keys = torch.unique(had[0].long() * step + had[1].long())  # sorted by user, then item
        keys = keys[keys % step > 0]
        first = torch.searchsorted(keys, torch.arange(num_users + 1) * step)  # (U + 1,) where a user's keys begin
        most = int(first.diff().max()) if num_users else 0
        if most >= self.num_items:
            raise ArtifactError(f"a user has had all {self.num_items} items, so there is no negative to draw")
        self.halvings = most.bit_length()
        weight = popularity_weights(counts, popularity_factor, popularity)
        tables = {"keys": keys, "first": first, "popular": weight / weight.sum()} | rank_tables(weight)
        if mix.smart:
            tables |= owned_tables(keys, first, tables)
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, users: Tensor, k: int, progress: float) -> Tensor:
        """Users (P,) -> items (P, k) that they never had, each popular with the probability of the mix."""
        ratio = self.mix.popular_ratio(progress)
        uniform = self.uniform(users, k)
        if ratio == 0.0:
            return uniform
        chosen = torch.rand(uniform.shape, device=users.device) < ratio
        return torch.where(chosen, self.popular_or(users, uniform), uniform)

    def uniform(self, users: Tensor, k: int) -> Tensor:
        """(P,) -> (P, k): number r of the items not owned, r uniform; exact, without a redraw.

        With a user's own items o_0 < o_1 < ..., o_i - i of the others come before o_i (counting from 1), so r is
        passed by as many owned items as have o_i - i <= r.
        """
        free = self.num_items - (self.first[users + 1] - self.first[users])  # (P,)
        drawn = (torch.rand(len(users), k, dtype=torch.float64, device=users.device) * free[:, None]).long()
        drawn = 1 + torch.minimum(drawn, free[:, None] - 1)
        return drawn + self.owned_before(users, drawn)

    def owned_before(self, users: Tensor, drawn: Tensor) -> Tensor:
        """How many owned items o_i have o_i - i <= r."""
        base = users[:, None] * (self.num_items + 1)
        begin = self.first[users][:, None].expand_as(drawn)
        last = max(len(self.keys) - 1, 0)
        return self.count_passed(users, drawn, lambda at: self.keys[at.clamp(max=last)] - base - (at - begin))

    def count_passed(self, users: Tensor, drawn: Tensor, value_at: Callable[[Tensor], Tensor]) -> Tensor:
        """How many of the rising values of each user's stretch of the keys are <= drawn: a binary search."""
        begin = self.first[users][:, None].expand_as(drawn)
        low, high = begin.clone(), self.first[users + 1][:, None].expand_as(drawn).clone()
        for _ in range(self.halvings):
            middle = (low + high) // 2
            passed = (low < high) & (value_at(middle) <= drawn)
            low, high = torch.where(passed, middle + 1, low), torch.where(passed, high, torch.minimum(high, middle))
        return low - begin

    def popular_or(self, users: Tensor, instead: Tensor) -> Tensor:
        """(P,), (P, k) -> (P, k) items by popularity that the user never had; `instead` where those weigh nothing.

        A number r below the weight of all these is looked for among them in rank order: the owned items that it has
        passed say in which stretch between two owned ones it falls, and the running sum of ranks says where.
        """
        free = self.free[users][:, None].expand(instead.shape)
        drawn = torch.rand(instead.shape, dtype=torch.float64, device=users.device) * free
        drawn = torch.minimum(drawn, torch.nextafter(free, torch.zeros_like(free)))
        begin, last = self.first[users][:, None], max(len(self.keys) - 1, 0)
        passed = self.count_passed(users, drawn, lambda at: self.before[at.clamp(max=last)])
        start, gone = torch.zeros_like(passed), torch.zeros_like(drawn)
        end = torch.full_like(passed, self.num_items)
        if len(self.keys):
            previous, following = (begin + passed - 1).clamp(min=0), (begin + passed).clamp(max=last)
            start = torch.where(passed > 0, self.owned_rank[previous] + 1, start)
            gone = torch.where(passed > 0, self.before[previous], gone)
            end = torch.where(begin + passed < self.first[users + 1][:, None], self.owned_rank[following], end)
        rank = torch.searchsorted(self.reached[1:], self.reached[start] + (drawn - gone), right=True)
        rank = torch.minimum(torch.maximum(rank, start), end - 1)
        return torch.where(free > 0, self.by_rank[rank.clamp(min=0)], instead)

    def popular_items(self, shape: tuple[int, ...]) -> Tensor:
        """Items by popularity, whoever had them."""
        draw = torch.rand(shape, dtype=torch.float64, device=self.reached.device) * self.reached[-1]
        return self.by_rank[torch.searchsorted(self.reached[1:], draw, right=True).clamp(max=self.num_items - 1)]

    def shared(self, k: int, progress: float) -> tuple[Tensor, Tensor]:
        """k items for a whole batch with the probability of each draw, (k,), (k,): the proposal of sampled softmax."""
        ratio, device = self.mix.popular_ratio(progress), self.popular.device
        uniform = torch.randint(1, self.num_items + 1, (k,), device=device)
        items = torch.where(torch.rand(k, device=device) < ratio, self.popular_items((k,)), uniform)
        return items, ratio * self.popular[items] + (1 - ratio) / self.num_items


def rank_tables(weight: Tensor) -> dict[str, Tensor]:
    """Items by rising weight, and the running sum: small weights first, so that none is lost beside a large one.

    by_rank (N,) items; rank (N + 1,) of each item; reached (N + 1,) the weight of the first r ranks
    """
    by_rank = torch.sort(weight[1:], stable=True).indices + 1
    rank = torch.zeros(len(weight), dtype=torch.long)
    rank[by_rank] = torch.arange(len(by_rank))
    return {"by_rank": by_rank, "rank": rank, "reached": torch.cat([weight[:1], weight[by_rank].cumsum(0)])}


def owned_tables(keys: Tensor, first: Tensor, tables: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each user's items by rank, in the same stretches as the keys.

    owned_rank (K,); before (K,) the weight of what the user has not had below that rank; free (U,) of all of it. Sums
    of stretches between two owned items, none a difference of large numbers: what is left of them may be tiny.
    """
    step, reached = len(tables["rank"]), tables["reached"]
    owner = keys // step
    owned_rank = (owner * step + tables["rank"][keys % step]).sort().values - owner * step
    begins = torch.ones(len(keys), dtype=torch.bool)
    begins[1:] = owner[1:] != owner[:-1]
    start = torch.where(begins, 0, owned_rank.roll(1) + 1)
    before, sizes = reached[owned_rank] - reached[start], first.diff()
    for place in range(1, int(sizes.max()) if len(sizes) else 0):
        at = first[:-1][sizes > place] + place
        before[at] += before[at - 1]
    free = torch.full((len(sizes),), float(reached[-1]), dtype=torch.float64)
    some = sizes > 0
    last = first[1:][some] - 1
    free[some] = before[last] + (reached[-1] - reached[owned_rank[last] + 1])
    return {"owned_rank": owned_rank, "before": before, "free": free}


class SmartNegativeSampler:
    """Negatives for one user at a time, by the draws of training; torch's generator is the source of chance."""

    def __init__(
        self, itemnum: int, popularity_factor: float = 0.75, num_negatives: int = 10, counts: Tensor | None = None
    ):
        """`counts` (itemnum + 1,) training events by item; without them an item's id is its rank, 1 / id^factor."""
        self.itemnum, self.popularity_factor, self.num_negatives = itemnum, popularity_factor, num_negatives
        self.kind = "id" if counts is None else "count"
        self.counts = torch.zeros(itemnum + 1) if counts is None else counts

    def item_popularity(self) -> dict[int, float]:
        """Item -> its weight, the most popular has 1."""
        return dict(enumerate(popularity_weights(self.counts, self.popularity_factor, self.kind).tolist()[1:], start=1))

    def mixed_negative_sampling(
        self, user_seq: Sequence[int], popular_ratio: float = POPULAR_RATIO, random_ratio: float = 1 - POPULAR_RATIO
    ) -> list[int]:
        """`num_negatives` items the user never had: this share by popularity, then the others uniformly."""
        if min(popular_ratio, random_ratio) < 0 or abs(popular_ratio + random_ratio - 1) > 1e-6:
            raise ValueError(
                f"popular_ratio {popular_ratio} and random_ratio {random_ratio} must be shares that sum to 1"
            )
        num_popular = round(self.num_negatives * popular_ratio)
        popular = self.popular_negative_sampling(user_seq, num_popular)
        return popular + self.random_negative_sampling(user_seq, self.num_negatives - num_popular)

    def popular_negative_sampling(self, user_seq: Sequence[int], num: int) -> list[int]:
        sampler = self.sampler_of(user_seq)
        return sampler.popular_or(torch.tensor([0]), sampler.uniform(torch.tensor([0]), num))[0].tolist()

    def random_negative_sampling(self, user_seq: Sequence[int], num: int) -> list[int]:
        return self.sampler_of(user_seq).uniform(torch.tensor([0]), num)[0].tolist()

    def sampler_of(self, user_seq: Sequence[int]) -> NegativeSampler:
        items = torch.tensor(list(user_seq), dtype=torch.long)
        had = torch.zeros_like(items), items
        return NegativeSampler(self.counts, had, 1, NegativeMix(smart=True), self.popularity_factor, self.kind)
