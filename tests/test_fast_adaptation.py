"""The steps of benchmarks/fast_adaptation.py by hand: what they start from, one gradient, Reptile's move, the ranks."""

import numpy as np
import pytest
import torch

from benchmarks import fast_adaptation as bench
from genrec.models.sasrec import SasRec, SasRecShape

ITEMS, WIDTH = 12, 8


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(bench, "WIDTH", WIDTH)
    torch.manual_seed(0)
    shape = SasRecShape(ITEMS + 1, WIDTH, 1, 1, 0.0, 20, cosine=True, temperature=0.1)
    return SasRec(shape).eval().requires_grad_(False)


@pytest.fixture
def shop():
    random = np.random.default_rng(0)
    return bench.Shop([random.permutation(ITEMS)[:9].astype(np.int64) for _ in range(6)], ITEMS)


def test_no_step_leaves_the_model_as_it_is(model, shop):
    known = bench.read_known(model, shop, np.arange(6), 2)
    for start in (bench.begin_profile(), bench.begin_low_rank()):
        fast = bench.adapt(model, known, start, 1.0, 0)
        torch.testing.assert_close(bench.change_states(known.states, fast), known.states)


def test_a_step_is_the_users_own_gradient(model, shop):
    known = bench.read_known(model, shop, np.arange(6), 3)
    fast = bench.adapt(model, known, bench.begin_profile(), 0.5, 1)
    for user, history in enumerate(shop.histories):
        u = torch.zeros(WIDTH, requires_grad=True)
        states = model(torch.tensor([[ITEMS, *history[:3]]]))[0, :3]
        loss = torch.nn.functional.cross_entropy(model.score(states + u), torch.tensor(history[:3]))
        loss.backward()
        torch.testing.assert_close(fast["u"][user], -0.5 * u.grad, rtol=1e-4, atol=1e-6)


def test_reptile_moves_towards_what_the_users_came_to(model, shop, monkeypatch):
    monkeypatch.setattr(bench, "META_STEPS", 1)
    users = np.arange(6)
    known = bench.read_known(model, shop, users, bench.TASK_EVENTS)
    came_to = bench.adapt(model, known, bench.begin_profile(), 0.5, 2)["u"].mean(dim=0)
    moved = bench.reptile(model, shop, users, bench.begin_profile(), 0.5, 2, seed=0)["u"]
    torch.testing.assert_close(moved, bench.META_RATE * came_to)


def test_ranks_by_brute_force(model, shop):
    ranks, owner = bench.adapted_ranks(model, shop, np.arange(6), 2, bench.begin_profile(), 1.0, 0)
    assert owner.tolist() == np.repeat(np.arange(6), 7).tolist()
    for user, history in enumerate(shop.histories):
        scores = model.score(model(torch.tensor([[ITEMS, *history[:2]]]))[0, -1])[:ITEMS]
        rest = [item for item in range(ITEMS) if item not in history[:2]]
        for target, rank in zip(sorted(history[2:]), ranks[owner == user], strict=True):
            assert rank == sum(bool(scores[item] >= scores[target]) for item in rest if item != target)
