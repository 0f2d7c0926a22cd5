"""What training minimises: scores of the next item against those of other items, and where the others come from.

B sequences, T tokens, P positions whose next token is an item, K negatives a position, N items, M items of a batch,
U users of a batch, w widened width

A query and an item score by their inner product, <similarity.query(state), similarity.item(vector)>.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tencentgr.features import ITEM
from tencentgr.model import TencentGR, item_rows
from tencentgr.negatives import NegativeSampler

CHUNK = 1024  # positions scored at once against all items


class Objective(nn.Module):
    """The loss of a batch as one module, so that it can be wrapped for several devices as a whole."""

    def __init__(self, model: TencentGR, sampler: NegativeSampler, loss: str, num_negatives: int, temperature: float,
                 learnable_temperature: bool = False, l2_emb: float = 0.0, whole_batch: bool = False,
                 temperature_end: float | None = None):  # fmt: skip
        super().__init__()
        self.model, self.sampler = model, sampler
        self.loss, self.num_negatives, self.l2_emb = loss, num_negatives, l2_emb
        self.whole_batch = whole_batch  # of infonce
        start = torch.tensor(math.log(temperature))
        learned = learnable_temperature and loss != "bce"
        self.log_temperature = nn.Parameter(start) if learned else None
        self.fixed_temperature, self.last_temperature = temperature, temperature_end or temperature

    def temperature(self, progress: float = 0.0) -> Tensor | float:
        """As learned, else as it stands on its way from the first to the last: first (last / first)^progress."""
        if self.log_temperature is not None:
            return self.log_temperature.exp()
        return self.fixed_temperature * (self.last_temperature / self.fixed_temperature) ** progress

    def forward(self, batch: dict[str, Tensor], progress: float = 0.0) -> Tensor:
        """A batch and how much of the training is done, 0..1 -> the mean loss over its P positions, ()."""
        wanted = batch["next_token_type"] == ITEM  # (B, T)
        loss = getattr(self, self.loss)(batch, wanted, progress)
        if self.l2_emb:
            loss = loss + self.l2_emb * self.model.item_tower.id.weight.norm()
        return loss

    def queries(self, batch: dict[str, Tensor], tokens: Tensor) -> Tensor:
        return self.model.similarity.query(self.model.encode(batch, tokens))  # (B, T, w)

    def bce(self, batch: dict[str, Tensor], wanted: Tensor, progress: float) -> Tensor:
        """Each target against K drawn items: mean BCE(target, 1) + mean BCE(drawn, 0)."""
        users = batch["sequence"][:, None].expand_as(wanted)[wanted]  # (P,)
        draws = self.sampler.mix.draws(progress)
        drawn = self.sampler(users, self.num_negatives * draws, progress)  # (P, K draws)
        tokens, positive, negative = self.model.item_vectors(item_rows(batch), batch["pos"][wanted], drawn)
        query, item = self.queries(batch, tokens)[wanted], self.model.similarity.item  # (P, w)
        good = (query * item(positive)).sum(dim=-1)  # (P,)
        bad = torch.einsum("pw,pkw->pk", query, item(negative))
        return bce(good, hardest(bad, draws))

    def infonce(self, batch: dict[str, Tensor], wanted: Tensor, progress: float) -> Tensor:
        """Each target against what the other users took at the same position, or with `whole_batch` at any."""
        if self.whole_batch:
            return self.infonce_of_batch(batch, wanted, progress)
        tokens, target = self.model.item_vectors(item_rows(batch), batch["pos"])
        matrix = similarity_matrix(self.queries(batch, tokens), self.model.similarity.item(target))
        return infonce(matrix / self.temperature(progress), batch["pos"], wanted)

    def infonce_of_batch(self, batch: dict[str, Tensor], wanted: Tensor, progress: float) -> Tensor:
        """Each target against every other item of the batch that its own user has not taken there."""
        items, place = torch.unique(batch["pos"][wanted], return_inverse=True)  # (M,) and (P,) in 0..M-1
        users, user = torch.unique(batch["sequence"], return_inverse=True)  # windows of one user are one
        user = user[:, None].expand_as(wanted)[wanted]  # (P,)
        taken = torch.zeros(len(users), len(items), dtype=torch.bool, device=items.device)
        taken[user, place] = True
        tokens, catalog = self.model.item_vectors(item_rows(batch), items)
        query = self.queries(batch, tokens)[wanted] / self.temperature(progress)  # (P, w)
        return batch_softmax(query, self.model.similarity.item(catalog), place, taken, user)

    def sampled(self, batch: dict[str, Tensor], wanted: Tensor, progress: float) -> Tensor:
        """Each target against K items drawn for the whole batch, corrected for how likely each was drawn."""
        drawn, probability = self.sampler.shared(self.num_negatives, progress)
        target = batch["pos"][wanted]  # (P,)
        tokens, positive, negative = self.model.item_vectors(item_rows(batch), target, drawn)
        query, item = self.queries(batch, tokens)[wanted], self.model.similarity.item  # (P, w)
        good = (query * item(positive)).sum(dim=-1) / self.temperature(progress)
        bad = query @ item(negative).T / self.temperature(progress)  # (P, w) @ (w, K)
        return sampled_softmax(good, bad, probability, drawn[None] == target[:, None])

    def full(self, batch: dict[str, Tensor], wanted: Tensor, progress: float) -> Tensor:
        """Each target against the whole catalogue."""
        everything = torch.arange(1, self.model.schema.num_items + 1, device=wanted.device)
        tokens, catalog = self.model.item_vectors(item_rows(batch), everything)
        query = self.queries(batch, tokens)[wanted] / self.temperature(progress)  # (P, w)
        return full_softmax(query, self.model.similarity.item(catalog), batch["pos"][wanted] - 1)


def bce(good: Tensor, bad: Tensor) -> Tensor:
    """mean -log sigmoid(good) + mean -log sigmoid(-bad), (P,), (P, K) -> ()."""
    return F.softplus(-good).mean() + F.softplus(bad).mean()


def hardest(scores: Tensor, draws: int) -> Tensor:
    """(P, K draws) -> (P, K): the highest of each group of `draws`; only that one gets a gradient."""
    return scores.unflatten(1, (-1, draws)).amax(dim=2) if draws > 1 else scores


def similarity_matrix(query: Tensor, target: Tensor) -> Tensor:
    """S[i, t, j] = <query of user i at t, target of user j at t>, (B, T, w), (B, T, w) -> (B, T, B)."""
    return torch.einsum("itw,jtw->itj", query, target)


def infonce(matrix: Tensor, target: Tensor, wanted: Tensor) -> Tensor:
    """Mean over wanted (B, T) of -log softmax_j S[i, t, j] at j = i; (B, T, B), (B, T), (B, T) -> ().

    Users without an item at t, and users whose item is the very target, are no negatives.
    """
    B = len(matrix)
    same = target.T[None] == target[:, :, None]  # (B, T, B): target of j equals target of i
    itself = torch.eye(B, dtype=torch.bool, device=matrix.device)[:, None]  # (B, 1, B)
    allowed = (wanted.T[None] & ~same) | itself
    logits = matrix.masked_fill(~allowed, -torch.inf)[wanted]  # (P, B)
    own = torch.arange(B, device=matrix.device)[:, None].expand_as(wanted)[wanted]
    return F.cross_entropy(logits.float(), own)


def batch_softmax(query: Tensor, items: Tensor, target: Tensor, taken: Tensor, user: Tensor) -> Tensor:
    """Mean of -log softmax over the items that the user of a position has not taken, and its target.

    query (P, w), items (M, w), target (P,) in 0..M-1, taken (U, M), user (P,) in 0..U-1 -> ()
    """

    def chunk(query: Tensor, items: Tensor, target: Tensor, user: Tensor) -> Tensor:
        hidden = taken[user].scatter(1, target[:, None], False)  # (p, M)
        return F.cross_entropy((query @ items.T).float().masked_fill(hidden, -torch.inf), target, reduction="sum")

    blocks = zip(query.split(CHUNK), target.split(CHUNK), user.split(CHUNK), strict=True)
    sums = [checkpoint(chunk, q, items, t, u, use_reentrant=False) for q, t, u in blocks]
    return torch.stack(sums).sum() / len(target)


def sampled_softmax(good: Tensor, bad: Tensor, probability: Tensor, hit: Tensor) -> Tensor:
    """Mean of log(e^good + sum_k e^bad_k / (K q_k)) - good, whose sum estimates the full one without bias.

    good (P,), bad (P, K), probability q of each draw (K,), hit (P, K) where a draw is the target -> ()
    """
    corrected = bad.float() - (probability * bad.shape[1]).log().float()
    logits = torch.cat([good.float()[:, None], corrected.masked_fill(hit, -torch.inf)], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(good), dtype=torch.long, device=good.device))


def full_softmax(query: Tensor, catalog: Tensor, target: Tensor) -> Tensor:
    """Mean of -log softmax over the catalogue; (P, w), (N, w), (P,) places in it -> (). Never more than CHUNK x N
    scores at once: they are computed again in the backward pass."""

    def chunk(query: Tensor, catalog: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy((query @ catalog.T).float(), target, reduction="sum")

    blocks = zip(query.split(CHUNK), target.split(CHUNK), strict=True)
    sums = [checkpoint(chunk, q, catalog, t, use_reentrant=False) for q, t in blocks]
    return torch.stack(sums).sum() / len(target)
