"""Negatives drawn on the device: uniform, by popularity, mixed, or harder as training goes on.

P positions, K negatives a position, N items (numbers 1..N), U users
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genrec.errors import ArtifactError

POPULAR_RATIO = 0.3  # of the fixed mix; the rest is uniform
ROUNDS = 8  # redraws of popular items that the user has; what is left then is drawn uniformly

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


class NegativeSampler(nn.Module):
    """Draws items a user has never had.

    A module so that its tables move with the model; it has no weights and nothing to save.
    """

    def __init__(
        self, counts: Tensor, had: tuple[Tensor, Tensor], num_users: int, mix: NegativeMix, popularity_factor: float
    ):
        """counts (N + 1,) training events by item, row 0 ignored, popular items are drawn by counts^factor;
        had: users 0..U-1 and items of all their events, flat, in any order, with repeats."""
        super().__init__()
        self.mix, self.num_items, step = mix, len(counts) - 1, len(counts)
        keys = torch.unique(had[0].long() * step + had[1].long())  # sorted by user, then item
        keys = keys[keys % step > 0]
        first = torch.searchsorted(keys, torch.arange(num_users + 1) * step)  # (U + 1,) where a user's keys begin
        most = int(first.diff().max()) if num_users else 0
        if most >= self.num_items:
            raise ArtifactError(f"a user has had all {self.num_items} items, so there is no negative to draw")
        weight = counts.double() ** popularity_factor * (torch.arange(step) > 0)
        if not weight.sum() > 0:
            raise ArtifactError("no item occurs in training, so there is nothing to draw negatives from")
        self.halvings = most.bit_length()
        popular = weight / weight.sum()
        for name, table in {"keys": keys, "first": first, "popular": popular, "reached": popular.cumsum(0)}.items():
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
        """How many owned items o_i have o_i - i <= r: a binary search in each user's stretch of the keys."""
        base = users[:, None] * (self.num_items + 1)
        begin = self.first[users][:, None].expand_as(drawn)
        low, high = begin.clone(), self.first[users + 1][:, None].expand_as(drawn).clone()
        for _ in range(self.halvings):
            middle = (low + high) // 2
            item = self.keys[middle.clamp(max=len(self.keys) - 1)] - base
            passed = (low < high) & (item - (middle - begin) <= drawn)
            low, high = torch.where(passed, middle + 1, low), torch.where(passed, high, torch.minimum(high, middle))
        return low - begin

    def popular_or(self, users: Tensor, instead: Tensor) -> Tensor:
        """(P,), (P, k) -> (P, k) items by popularity that the user never had; `instead` where ROUNDS gave none."""
        chosen, missing = instead, torch.ones_like(instead, dtype=torch.bool)
        for _ in range(ROUNDS):
            drawn = self.popular_items(instead.shape)
            fits = missing & ~self.owned(users[:, None], drawn)
            chosen, missing = torch.where(fits, drawn, chosen), missing & ~fits
        return chosen

    def popular_items(self, shape: torch.Size) -> Tensor:
        draw = torch.rand(shape, dtype=torch.float64, device=self.reached.device)
        return torch.searchsorted(self.reached, draw, right=True).clamp(max=self.num_items)

    def owned(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user has had each item, shapes broadcast -> bool."""
        if not len(self.keys):
            return torch.zeros(torch.broadcast_shapes(users.shape, items.shape), dtype=torch.bool, device=items.device)
        key = users * (self.num_items + 1) + items
        place = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        return self.keys[place] == key

    def shared(self, k: int, progress: float) -> tuple[Tensor, Tensor]:
        """k items for a whole batch with the probability of each draw, (k,), (k,): the proposal of sampled softmax."""
        ratio, device = self.mix.popular_ratio(progress), self.popular.device
        uniform = torch.randint(1, self.num_items + 1, (k,), device=device)
        items = torch.where(torch.rand(k, device=device) < ratio, self.popular_items((k,)), uniform)
        return items, ratio * self.popular[items] + (1 - ratio) / self.num_items
