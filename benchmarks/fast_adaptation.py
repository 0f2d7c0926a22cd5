"""Do a few gradient steps on their own events help users of one to three events, and does a learned start help them?

python benchmarks/fast_adaptation.py --run outputs/quickstart --seeds 3

U users, k events known, T positions, N items, d width, r rank

A fifth of the users of a run is held out: SASRec never sees them. Of each, the first k events are known and the next
ten are asked for. Scores read the state h of the history, after a begin mark, through what a user may change:

    profile     h + u                 u (d,), a vector of the user's own
    low_rank    h + B A h             A (r, d), B (d, r), an adapter of rank r (arXiv 2106.09685)

At request time a few gradient steps on the k known events change it. They begin at nothing (a model as it is), or
where Reptile (arXiv 1803.02999) has moved it on the users of training: phi <- phi + e mean(phi' - phi), phi' after the
steps on a user's first events. Rate and number of steps are chosen on half of the held-out users; the others measure.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measuring import timed
from genrec.data.sequences import Sequences
from genrec.evaluation.report import estimate_means
from genrec.models.sasrec import SasRec, SasRecShape
from genrec.store import RunStore
from genrec.training.sequential import cut_windows

KNOWN = (1, 2, 3)  # events of a new user
ASKED = 10  # events after them, each a target
HELD_OUT, RANK, MAX_LENGTH, WIDTH = 0.2, 4, 50, 64
RATES, STEPS = (0.1, 0.3, 1.0, 3.0), (1, 5)
TASK_EVENTS, META_STEPS, META_RATE, META_BATCH = 10, 100, 0.3, 32

Slow = dict[str, Tensor]  # what a user may change, one for all: (...); fast ones have a row a user: (U, ...)


class Shop(NamedTuple):
    histories: list[np.ndarray]  # a user's items, oldest first
    num_items: int  # N; the begin mark is item N


class Known(NamedTuple):
    """What is known of some users, T events each at most, and the frozen states before each of them."""

    states: Tensor  # (U, T, d), after the begin mark and t events
    targets: Tensor  # (U, T), -1 where there is none


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run of the main pipeline; its data are read")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num_epochs", type=int, default=12, help="of SASRec")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shop = read_shop(options.run)
    rows = [measure_seed(shop, seed, options.num_epochs) for seed in range(options.seeds)]
    print(make_tables(list(itertools.chain.from_iterable(rows))))


def read_shop(run: Path) -> Shop:
    store = RunStore(run)
    sequences = store.sequences()
    users = itertools.pairwise(sequences.offset)
    histories = [sequences.item[begin:end].astype(np.int64) for begin, end in users]
    return Shop([h for h in histories if len(h) > max(KNOWN)], len(store.catalog()))


class Trial(NamedTuple):
    """A way to adapt, and what it gave the users who choose."""

    score: float  # NDCG@10, mean over KNOWN
    start: Slow
    rate: float
    steps: int


def measure_seed(shop: Shop, seed: int, num_epochs: int) -> list[dict]:
    """A dict a kind of change, start and number of known events, with the ranks of the users who measure."""
    order = np.random.default_rng(seed).permutation(len(shop.histories))
    held = int(len(order) * HELD_OUT)
    chosen, measured, trained = order[: held // 2], order[held // 2 : held], order[held:]
    model = train_sasrec(shop, trained, seed, num_epochs)
    rows = []
    for kind, begin in (("profile", begin_profile), ("low_rank", begin_low_rank)):
        for name, learned in (("nothing", False), ("Reptile", True)):
            best = choose_trial(model, shop, chosen, trained if learned else None, begin(), seed)
            said = f"{best.steps} steps at {best.rate}, NDCG@10 {best.score:.4f} of those who choose"
            print(f"seed {seed}, {kind}, begun at {name}: {said}", flush=True)
            facts = {"kind": kind, "name": name}
            rows += [facts | compare(model, shop, measured, k, begin(), best) for k in KNOWN]
    return rows


def choose_trial(model, shop, chosen, trained: np.ndarray | None, nothing: Slow, seed: int) -> Trial:
    """The best of all rates and numbers of steps, from nothing or from Reptile's start on the `trained` users."""
    trials = []
    for rate, steps in itertools.product(RATES, STEPS):
        start = nothing if trained is None else reptile(model, shop, trained, nothing, rate, steps, seed)
        ranks = [adapted_ranks(model, shop, chosen, k, start, rate, steps)[0] for k in KNOWN]
        trials.append(Trial(float(np.mean([gains(each).mean() for each in ranks])), start, rate, steps))
    return max(trials, key=lambda trial: trial.score)


def compare(model, shop, users: np.ndarray, k: int, nothing: Slow, best: Trial) -> dict:
    """Ranks of the same rows by the model as it is, by the start without a step, and after the steps."""
    as_it_is, user = adapted_ranks(model, shop, users, k, nothing, best.rate, 0)
    unmoved, _ = adapted_ranks(model, shop, users, k, best.start, best.rate, 0)
    adapted, _ = adapted_ranks(model, shop, users, k, best.start, best.rate, best.steps)
    return {"k": k, "user": user, "as it is": as_it_is, "start": unmoved, "adapted": adapted}


# The model that is adapted


def train_sasrec(shop: Shop, users: np.ndarray, seed: int, num_epochs: int) -> SasRec:
    """On whole histories after a begin mark; frozen afterwards."""
    torch.manual_seed(seed)
    marked = [np.append(shop.num_items, shop.histories[user]) for user in users]
    offset = np.cumsum([0, *map(len, marked)])
    sequences = Sequences(np.concatenate(marked), np.arange(offset[-1]), offset, np.arange(len(marked)).astype(str))
    events = cut_windows(sequences, np.ones(offset[-1], dtype=bool), MAX_LENGTH)
    windows = torch.from_numpy(np.where(events >= 0, sequences.item[events], -1))
    shape = SasRecShape(shop.num_items + 1, WIDTH, 2, 2, 0.2, MAX_LENGTH, cosine=True, temperature=0.1)
    model = SasRec(shape)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - epoch / num_epochs)
    for epoch in range(num_epochs):
        losses = [step_sasrec(model, optimizer, batch) for batch in windows[torch.randperm(len(windows))].split(64)]
        schedule.step()
        print(f"seed {seed}, SASRec: epoch {epoch + 1}, loss {np.mean(losses):.4f}", flush=True)
    return model.eval().requires_grad_(False)


def step_sasrec(model: SasRec, optimizer: torch.optim.Optimizer, batch: Tensor) -> float:
    inputs, targets = batch[:, :-1], batch[:, 1:]
    real = targets >= 0
    loss = F.cross_entropy(model.score(model(inputs)[real]), targets[real])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def read_known(model: SasRec, shop: Shop, users: np.ndarray, events: int) -> Known:
    """The first `events` of each user, or as many as there are, and the states before them and after the last."""
    items = np.full((len(users), events + 1), -1, dtype=np.int64)
    items[:, 0] = shop.num_items
    for row, user in enumerate(users):
        first = shop.histories[user][:events]
        items[row, 1 : 1 + len(first)] = first
    items = torch.from_numpy(items)
    return Known(model(items), F.pad(items[:, 1:], (0, 1), value=-1))


# What a user may change


def begin_profile() -> Slow:
    return {"u": torch.zeros(WIDTH)}


def begin_low_rank() -> Slow:
    generator = torch.Generator().manual_seed(0)
    return {"A": torch.randn(RANK, WIDTH, generator=generator) / WIDTH**0.5, "B": torch.zeros(WIDTH, RANK)}


def change_states(states: Tensor, fast: Slow) -> Tensor:
    """(U, T, d) -> (U, T, d), by each user's own."""
    if "u" in fast:
        return states + fast["u"][:, None]
    return states + states @ fast["A"].transpose(1, 2) @ fast["B"].transpose(1, 2)


def adapt(model: SasRec, known: Known, start: Slow, rate: float, steps: int) -> Slow:
    """Gradient steps of each user on what is known of the user; (...) -> (U, ...)."""
    fast = {name: value.expand(len(known.states), *value.shape).clone() for name, value in start.items()}
    for _ in range(steps):
        fast = {name: value.detach().requires_grad_() for name, value in fast.items()}
        losses = user_losses(model, known, fast)  # (U,)
        gradients = torch.autograd.grad(losses.sum(), list(fast.values()))
        fast = {name: value - rate * slope for (name, value), slope in zip(fast.items(), gradients, strict=True)}
    return {name: value.detach() for name, value in fast.items()}


def user_losses(model: SasRec, known: Known, fast: Slow) -> Tensor:
    """Mean -log p of the known events of each user, (U,)."""
    scores = model.score(change_states(known.states, fast))  # (U, T, N + 1)
    real = known.targets >= 0
    losses = F.cross_entropy(scores.transpose(1, 2), known.targets.clamp(min=0), reduction="none") * real
    return losses.sum(dim=1) / real.sum(dim=1)


def reptile(model, shop, users: np.ndarray, start: Slow, rate: float, steps: int, seed: int) -> Slow:
    """The start after META_STEPS batches of users, each of whom takes the steps on the first TASK_EVENTS events."""
    random = np.random.default_rng([seed, steps])
    known = read_known(model, shop, users, TASK_EVENTS)
    phi = {name: value.clone() for name, value in start.items()}
    for _ in range(META_STEPS):
        rows = torch.from_numpy(random.choice(len(users), min(META_BATCH, len(users)), replace=False))
        fast = adapt(model, Known(known.states[rows], known.targets[rows]), phi, rate, steps)
        phi = {name: value + META_RATE * (fast[name].mean(dim=0) - value) for name, value in phi.items()}
    return phi


# Numbers


def adapted_ranks(
    model, shop, users: np.ndarray, k: int, start: Slow, rate: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rank from 0 of each event that is asked for, known ones left out; and the user of each, (E,) both."""
    known = read_known(model, shop, users, k)
    fast = adapt(model, known, start, rate, steps)
    with torch.no_grad():
        scores = model.score(change_states(known.states[:, k:], fast))[:, 0, : shop.num_items].numpy()  # (U, N)
    ranks, owner = [], []
    for row, user in enumerate(users):
        own = scores[row].copy()
        own[shop.histories[user][:k]] = -np.inf
        targets = np.setdiff1d(shop.histories[user][k : k + ASKED], shop.histories[user][:k])
        ranks.append((own[None] >= own[targets][:, None]).sum(axis=1) - 1)  # ties stand before the target
        owner.append(np.full(len(targets), user))
    return np.concatenate(ranks), np.concatenate(owner)


def gains(ranks: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k of a single target, by row."""
    return np.where(ranks < k, 1 / np.log2(ranks + 2.0), 0.0)


def make_tables(rows: list[dict]) -> str:
    """Markdown: seeds pooled, differences paired by row, intervals over users with all rows of all seeds."""
    columns = ("changed", "begun at", "known", "rows", "as it is", "start", "after steps", "after steps - as it is")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for kind, name, k in itertools.product(("profile", "low_rank"), ("nothing", "Reptile"), KNOWN):
        told = [row for row in rows if (row["kind"], row["name"], row["k"]) == (kind, name, k)]
        lines.append(f"| {kind} | {name} | {k} | {make_cells(told)} |")
    return "\n".join(lines)


def make_cells(told: list[dict]) -> str:
    user = np.concatenate([row["user"] for row in told])
    as_it_is, start, adapted = (
        np.concatenate([gains(row[column]) for row in told]) for column in ("as it is", "start", "adapted")
    )
    change = estimate_means(user, {"change": adapted - as_it_is}, 42)["change"]
    means = f"{as_it_is.mean():.4f} | {start.mean():.4f} | {adapted.mean():.4f}"
    return f"{len(user):,} | {means} | {change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"


if __name__ == "__main__":
    print(f"\n{timed(main).cpu:.0f} CPU seconds")
